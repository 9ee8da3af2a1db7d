"""What a step's result depends on, so that it can be reused, and so that "it ran again because …" can be said."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tasks.config import flatten
from tasks.system.files import sha256_of, write_atomically
from tasks.system.frozen import Frozen
from tasks.system.libraries import COMPUTING, installed
from tasks.workloads.catalogue import source_file
from tasks.workloads.dependencies import imports_of, module_file, neighbours

_ROOT = Path(__file__).parent.parent.parent


class Key(Frozen):
    """The parts of a key by kind: `source` (the steps' and what the workload's file imports), its file, libraries, inputs."""

    source: dict[str, str]
    workload: str
    libraries: dict[str, str]
    inputs: dict[str, str]

    @property
    def digest(self) -> str:
        """All parts in 64 hex digits."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def make_key(modules: Iterable[str], workload: str, inputs: Mapping[str, Any]) -> Key:
    """The key of what `modules` (such as "tasks.training.trainer") make of a workload and these inputs, in this environment.

    Inputs are records, knobs and plain values. Paths in them do not count, for the digests beside them do: the same
    rows in another folder are the same rows.
    """
    source = {name: digest for module in modules for name, digest in _source(module)} | neighbours(workload)
    return Key(
        source=source,
        workload=sha256_of(source_file(workload)),
        libraries=dict(_libraries()),
        inputs=flatten(_plain(inputs)),
    )


def _plain(value: Any) -> Any:
    """`value` as JSON would have it, without paths."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if not isinstance(v, Path)}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value if not isinstance(v, Path)]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def difference(old: Key | None, new: Key) -> str:
    """Why a step runs, in a few words: "data changed", "train.epochs 3 → 20", "tasks/train.py changed"."""
    if old is None:
        return "first run"
    causes = [f"{name} changed" for name in _changed(old.source, new.source)]
    if old.workload != new.workload:
        causes.append("the workload's file changed")
    causes += [
        f"{name} {old.libraries.get(name)} → {new.libraries.get(name)}"
        for name in _changed(old.libraries, new.libraries)
    ]
    changed = _changed(old.inputs, new.inputs)
    made = {name.split(".")[0] for name in changed if name.endswith(("sha256", "fingerprint"))}
    causes += [f"{'data' if name in ('dataset', 'fingerprint') else name} changed" for name in sorted(made)]
    causes += [
        f"{name} {old.inputs.get(name, 'unset')} → {new.inputs.get(name, 'unset')}"
        for name in changed
        if name.split(".")[0] not in made and not name.endswith("run_id")
    ]
    if not causes:
        return "its result was not kept"
    return ", ".join(causes[:3]) + (f" and {len(causes) - 3} more" if len(causes) > 3 else "")


def remember(folder: Path, step: str, key: Key) -> None:
    """Keep the key of the step's last run, for `difference`."""
    write_atomically(folder / f"{step}.json", key.model_dump_json().encode())


def recall(folder: Path, step: str) -> Key | None:
    try:
        return Key.model_validate_json((folder / f"{step}.json").read_text())
    except (OSError, ValueError):
        return None


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


@cache
def _source(module: str) -> tuple[tuple[str, str], ...]:
    """The digest of `module`'s file and of every file of tasks/ that it reaches by imports, wherever these stand."""
    reached: dict[str, str] = {}
    queue = [module]
    while queue:
        path = module_file(queue.pop(), _ROOT)
        if path is not None and (name := path.relative_to(_ROOT).as_posix()) not in reached:
            reached[name], imports = _read(path)
            queue += imports
    return tuple(sorted(reached.items()))


@cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    """A file's digest, and what it imports: parsed once, for most files are reached by most steps."""
    return sha256_of(path), tuple(name for name in imports_of(path, "tasks") if name.startswith("tasks."))


@cache
def _libraries() -> tuple[tuple[str, str], ...]:
    return tuple((name, installed(name) or "absent") for name in COMPUTING)
