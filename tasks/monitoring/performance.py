"""Whether the champion is still as good as it was proved, by labels that came in time: looked at as often as one likes."""

import datetime
import math

import numpy as np

from tasks.config import Gates
from tasks.errors import StepError, UserError
from tasks.goals.metric import Array
from tasks.monitoring.watched import Performance
from tasks.proof.evidence import Evidence
from tasks.rollout.evalue import log_wealth
from tasks.rollout.policy import RolloutPolicy
from tasks.settings import Settings
from tasks.traffic.labelled_rows import judged
from tasks.traffic.labels import labels_of
from tasks.traffic.score import scored

_DAY = 86_400

_MOST = 1 - 1e-6
"""Of a bound: nothing is surely below 1 by a bet on it."""


def performance(
    settings: Settings, model: str, version: int, evidence: Evidence, now: datetime.datetime
) -> Performance | None:
    """The champion's rows that are older than the horizon, against its proof; None where no labels came or no row has a score."""
    policy, hours = settings.policy(model).rollout or RolloutPolicy(), settings.policy(model).monitor.hours
    if not any(labels_of(settings.home, model).glob("*/*.jsonl.gz")) and settings.store is None:
        return None
    try:
        rows = judged(settings, model, now, policy.horizon)
    except StepError:
        raise
    except UserError:
        return None
    ripe = (now - policy.horizon).timestamp()
    its = (rows.table["version"].to_numpy() == str(version)) & (rows.times < ripe)
    recent = scored("recent", rows.right[its & (rows.times >= ripe - hours * 3600)])
    labelled = its & np.isfinite(rows.right)
    proof, margin = evidence.proof.report.score, Gates.model_validate(evidence.config["gates"]).margin
    days, right = rows.times[labelled] // _DAY, rows.right[labelled]
    created = evidence.created.timestamp() // _DAY
    since = surely_below(days - created, right, proof - margin, policy.alpha)
    below = None if since is None else datetime.datetime.fromtimestamp((since + created) * _DAY, datetime.UTC)
    return Performance(
        rows=recent.rows,
        labelled=recent.labelled,
        coverage=recent.coverage,
        score=recent.score,
        low=recent.low,
        high=recent.high,
        proof=proof,
        margin=margin,
        lower=surely_below(days - created, right, proof, policy.alpha) is not None,
        below_since=None if below is None else below.date(),
    )


def surely_below(days: Array, right: Array, bound: float, alpha: float) -> int | None:
    """The day from which on the mean of `right`, 0 or 1 a row, is surely below `bound`; None when that is not sure.

    A bet begins with every day, the first day's with the most at stake (1/2, 1/6, 1/12, …): together they reach 1/alpha with a chance
    of alpha at most while the mean has not fallen, however often one looks and whenever it falls.
    """
    if not len(days) or bound <= 0:
        return None
    starts, places = np.unique(np.maximum(days, 0).astype(int), return_inverse=True)
    rows, hits = np.bincount(places), np.bincount(places, right)
    after = [counts[::-1].cumsum()[::-1] for counts in (rows - hits, hits)]
    stakes = -np.log((starts + 1.0) * (starts + 2.0))
    wealth = stakes + log_wealth(dict(enumerate(after)), min(bound, _MOST), "below")
    top = wealth.max()
    sure = top + math.log(np.exp(wealth - top).sum()) >= -math.log(alpha)
    return int(starts[wealth.argmax()]) if sure else None
