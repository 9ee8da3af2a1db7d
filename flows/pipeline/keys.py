"""What a step's result depends on, so that it can be reused, and so that "it ran again because …" can be said.

`python -m flows.pipeline.keys` prints how many definitions each step's key is of, and what in them is whole files.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flows.pipeline.definitions import Code
from flows.pipeline.reach import reach, source_of
from tasks.bundles.bundle import PREFIX, is_bundle
from tasks.config import flatten
from tasks.records import Material
from tasks.system.files import write_atomically
from tasks.system.frozen import Frozen
from tasks.system.libraries import COMPUTING, installed
from tasks.workloads.dependencies import slipway_names, workload_sources
from tasks.workloads.origin import libraries_of

SCHEME = "definitions"
"""How keys are made. One of another scheme says nothing about what has changed since."""

STEPS = tuple(
    f"flows.steps.{name}"
    for name in (
        "train",
        "try_training",
        "export",
        "compress",
        "in_engine",
        "validate",
        "prove",
        "cross_validate",
    )
)

RUN = (
    "flows.steps.prepare",
    "flows.trainings.search",
    "flows.steps.train",
    "flows.candidates.make_and_measure",
    "flows.candidates.pick_and_prove",
)
"""What a run's version is made by: all but how it is kept, promoted and shown."""


_SHOWN = {"source", "bundle"}
"""Parts of a key for people: what a definition is called, and in which bundle it came, decides no result."""


class Key(Frozen):
    """The parts of a key by kind.

    `code` is all that the step's definitions say and how they are wired, `source` a line for each of them, for people;
    `workload` the workload's own file and `files` what that imports, and what its models
    are made of; `bundle` what that came in; `returns` the classes that the result is stored as.
    """

    scheme: str = ""
    bundle: str = ""
    code: str = ""
    source: str = ""
    workload: str = ""
    files: dict[str, str] = {}
    returns: tuple[str, ...] = ()
    libraries: dict[str, str] = {}
    inputs: dict[str, str] = {}

    @property
    def digest(self) -> str:
        """All parts in 64 hex digits. Names of definitions are not among them: a moved one is what it was."""
        return _digest(self.model_dump(mode="json", exclude=_SHOWN))


def make_key(
    roots: Iterable[str],
    workload: str,
    inputs: Mapping[str, Any],
    returns: Iterable[str] = (),
    materials: Iterable[Material] = (),
) -> Key:
    """The key of what `roots` (such as "tasks.training.trainer.train") make of a workload and these inputs, here.

    Inputs are records, knobs and plain values. Paths in them do not count, for the digests beside them do: the same
    rows in another folder are the same rows.
    """
    (_, own), *helpers = workload_sources(workload).items()
    code, source = source_of((*roots, *slipway_names(workload)))
    return Key(
        scheme=SCHEME,
        bundle=workload.removeprefix(PREFIX) if is_bundle(workload) else "",
        code=code,
        source=source,
        workload=own,
        files=dict(helpers) | {material.name: material.sha256 for material in materials},
        returns=tuple(returns),
        libraries=dict(_libraries()) | libraries_of(workload),
        inputs=flatten(_plain(inputs)),
    )


def code_of(function: str, workload: str) -> str:
    """16 hex digits of all code that a function reaches: Slipway's, the workload's, and the libraries' versions."""
    key = make_key((function,), workload, {})
    return _digest(key.model_dump(mode="json", exclude=_SHOWN | {"returns", "inputs"}))[:16]


def _plain(value: Any) -> Any:
    """`value` as JSON would have it, without paths."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if not isinstance(v, Path)}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value if not isinstance(v, Path)]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _digest(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def difference(old: Key | None, new: Key) -> str:
    """Why a step runs, in a few words: "data changed", "train.epochs 3 → 20", "loop.Loop changed"."""
    if old is None:
        return "first run"
    if old.scheme != new.scheme:
        return "keys are made anew"
    causes = [f"{name} changed" for name in (*_redefined(old, new), *_changed(old.files, new.files))]
    if old.workload != new.workload:
        causes.append("the workload's file changed")
    if old.returns != new.returns:
        causes.append("the class of its result moved")
    causes += [
        f"{name} {old.libraries.get(name)} → {new.libraries.get(name)}"
        for name in _changed(old.libraries, new.libraries)
    ]
    causes += _other_inputs(old, new)
    if not causes:
        return "its result was not kept"
    return ", ".join(causes[:3]) + (f" and {len(causes) - 3} more" if len(causes) > 3 else "")


def _other_inputs(old: Key, new: Key) -> list[str]:
    """Knobs with their values; of what is known by a digest, such as the data, only that it is another."""
    changed = _changed(old.inputs, new.inputs)
    made = {name.split(".")[0] for name in changed if name.endswith(("sha256", "fingerprint"))}
    parts = ["data" if name in ("dataset", "fingerprint") else name for name in sorted(made)]
    return [f"{part} changed" for part in parts] + [
        f"{name} {old.inputs.get(name, 'unset')} → {new.inputs.get(name, 'unset')}"
        for name in changed
        if name.split(".")[0] not in made and not name.endswith("run_id")
    ]


def remember(folder: Path, step: str, key: Key) -> None:
    """Keep the key of the step's last run, for `difference`."""
    write_atomically(folder / f"{step}.json", key.model_dump_json().encode())


def recall(folder: Path, step: str) -> Key | None:
    """The key of the step's last run; of one of another scheme no more than that there was one."""
    try:
        kept = json.loads((folder / f"{step}.json").read_bytes())
        return Key.model_validate(kept) if kept.get("scheme") == SCHEME else Key()
    except (OSError, ValueError, AttributeError):
        return None


def _redefined(old: Key, new: Key) -> list[str]:
    """The definitions that are not what they were; where none differs, the names that they use lead elsewhere."""
    if old.code == new.code:
        return []
    before, after = (dict(line.rsplit(" ", 1) for line in key.source.splitlines()) for key in (old, new))
    digests = {digest for namesakes in before.values() for digest in namesakes.split("+")}
    changed = [name for name in _changed(before, after) if name in after]
    return [name for name in changed if not digests.issuperset(after[name].split("+"))] or ["imports"]


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


@cache
def _libraries() -> tuple[tuple[str, str], ...]:
    return tuple((name, installed(name) or "absent") for name in COMPUTING)


def unresolved(code: Code) -> list[str]:
    """The files that a run's key has as a whole, for names alone do not say what in them is used; and why."""
    return sorted(f"{node.module}: {reason}" for node, reason in reach(code, RUN).doubts.items())


def main() -> None:
    code = Code()
    for name, roots in (*((step, (step,)) for step in STEPS), ("a run", RUN)):
        reached = reach(code, roots)
        print(f"{name:<28}{len(reached.nodes):>5} definitions, {len(reached.doubts)} whole files")
    print(*unresolved(code), sep="\n")


if __name__ == "__main__":
    main()
