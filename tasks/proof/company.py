"""Whether a row's answer hangs on the rows that come with it: a server puts those of many clients in one batch."""

from collections.abc import Sequence

import numpy as np

from tasks.data.arrays import Array, Arrays
from tasks.data.asked import AskedRows
from tasks.goals.answer import distances
from tasks.measured import Company
from tasks.onnx.session import Session, run_named
from tasks.records import Fitted
from tasks.workloads.scoring import decisions
from tasks.workloads.workload import Workload

COMPANY_ROWS = 200

_BATCHES = (7, 64, COMPANY_ROWS)

_COMPANIES = [(order, _BATCHES[(order + shift) % 3]) for shift in range(3) for order in range(3)]
"""An order and a batch size each; the first three have all orders and all sizes."""

_STILL = 1e-4
"""As a share of the largest number: what moves no further in three companies is rounding, and six more would not move it."""


def measure_company(
    session: Session,
    inputs: Arrays,
    workload: Workload,
    fitted: Sequence[Fitted] = (),
    asked: AskedRows | None = None,
    targets: Sequence[Array] = (),
) -> Company:
    """The same rows alone, in batches of several sizes, in the other order and in another: each answer against its own alone.

    8-bit arithmetic that takes its scale from a whole batch fails here (2.5% of answers of a text classifier), and so does
    a model that normalises over the batch. With `asked`, the rows as requests bring them, alone is as such a request is padded,
    and beside others as the longest text there can be would have it: so does one that does not leave its padding out of account.
    """
    few = {name: array[:COMPANY_ROWS] for name, array in inputs.items()}
    alone = run_named(session, few, workload.served, 1)
    if asked is not None:
        alone = _as_asked(session, asked, workload.served, alone)
    own, rows = decisions(workload, alone, fitted, targets), len(alone[workload.served[0]])
    changed, farthest = np.zeros(rows, dtype=bool), 0.0
    still = _STILL * max(1.0, *(float(np.abs(answer["numbers"]).max(initial=0.0)) for answer in own))
    orders = (np.arange(rows), np.arange(rows)[::-1], np.random.default_rng(0).permutation(rows))
    for asked_before, (place, batch) in enumerate(_COMPANIES):
        if asked_before == len(_BATCHES) and farthest <= still and not changed.any():
            break
        order = orders[place]
        turned = {name: array[order] for name, array in few.items()}
        answered = run_named(session, turned, workload.served, batch)
        beside = {name: output[np.argsort(order)] for name, output in answered.items()}
        said = decisions(workload, beside, fitted, targets)
        for goal, ours, theirs in zip(workload.goals, own, said, strict=True):
            far = distances(ours["numbers"], theirs["numbers"])
            farthest = max(farthest, float(far.max(initial=0.0)))
            changed |= goal.answer.moved(ours, theirs)
    return Company(rows=rows, max_abs=farthest, changed=float(changed.mean()))


def _as_asked(session: Session, asked: AskedRows, names: Sequence[str], alone: Arrays) -> Arrays:
    """Each row's outputs as a request of its own has them; as they were where they are as long as the row is padded."""
    answers = [session.run([*names], asked.feed(slice(row, row + 1))) for row in range(len(asked))]
    columns = [[answer[place] for answer in answers] for place in range(len(names))]
    return {
        name: np.concatenate(column)
        if {each.shape[1:] for each in column} == {alone[name].shape[1:]}
        else alone[name]
        for name, column in zip(names, columns, strict=True)
    }
