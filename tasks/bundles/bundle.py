"""What a bundle says of itself, and the digest that it is named by."""

import hashlib
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tasks.errors import UserError
from tasks.system.files import sha256_of
from tasks.system.frozen import Frozen
from tasks.system.signing import SIGNATURE

RECORD = "bundle.json"

CODE = "code"

REQUIREMENTS = "requirements.txt"

CHANGES = "changes.diff"

PREFIX = "bundle:"

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Bundle(Frozen):
    """A workload as it was packed: from which commit, by whom, and every file by its digest.

    `reference` names the workload inside code/; `clean` says whether the files are those of `commit`, None outside of git.
    """

    name: str
    reference: str
    files: dict[str, str]
    requirements: tuple[str, ...] = ()
    python: str
    slipway: str
    commit: str = ""
    clean: bool | None = None
    author: str = ""
    origin: str = ""
    digest: str = ""

    def to_json(self) -> bytes:
        """As it stands in the bundle, which cannot hold its own digest."""
        return f"{self.model_dump_json(indent=1, exclude={'digest'})}\n".encode()

    @property
    def workload(self) -> str:
        """What names it wherever a workload is named: bundle:<digest>."""
        return f"{PREFIX}{self.digest}"

    @property
    def state(self) -> str:
        """Where the code comes from, for people: commit 1a2b3c4d5e6f of https://host/repository, with changes."""
        return _state(self.commit, self.clean, self.origin)


class Origin(Frozen):
    """Where a workload's code came from, as it ran: its bundle, and the commit that its files are of.

    `changes`: the SHA-256 of what was not committed of them; `clean` is None outside of git.
    """

    bundle: str = ""
    commit: str = ""
    clean: bool | None = None
    changes: str = ""
    author: str = ""
    repository: str = ""

    def __str__(self) -> str:
        """As people read it: bundle 614763df9d75, commit 1a2b3c4d5e6f of https://host/repository, by Ann <ann@host>."""
        bundle = f"bundle {self.bundle[:12]}, " if self.bundle else ""
        return f"{bundle}{_state(self.commit, self.clean, self.repository)}{f', by {self.author}' if self.author else ''}"

    @property
    def tags(self) -> dict[str, str]:
        """For people who search in MLflow."""
        state = (
            "" if self.clean is None else "clean" if self.clean else f"changed {self.changes[:16]}".strip()
        )
        named = {
            "bundle": self.bundle,
            "workload_commit": self.commit,
            "workload_state": state,
            "workload_author": self.author,
            "workload_repository": self.repository,
        }
        return {f"slipway.{name}": value for name, value in named.items() if value}


def _state(commit: str, clean: bool | None, repository: str) -> str:
    if not commit:
        return "in no git repository" if clean is None else "not committed"
    changed = "" if clean else ", with changes that are not committed"
    return f"commit {commit[:12]}{f' of {repository}' if repository else ''}{changed}"


def is_bundle(reference: str) -> bool:
    """Whether a bundle is named, and no file or module."""
    return reference.startswith(PREFIX)


def digest_in(reference: str) -> str:
    """The digest that a reference names. Raises UserError for what is none."""
    digest = reference.removeprefix(PREFIX)
    if not is_digest(digest):
        raise UserError(
            f"{reference!r} names no bundle: {PREFIX} goes before the 64 hex digits of its SHA-256, as `slipway deploy` says them."
        )
    return digest


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def digest_of(files: Mapping[str, str]) -> str:
    """The digest of files by path and SHA-256, in whatever order: that of `sha256sum`'s own list of them, sorted by path."""
    listed = sorted((path.encode(), sha256) for path, sha256 in files.items())
    return hashlib.sha256(
        b"".join(sha256.encode() + b"  " + path + b"\n" for path, sha256 in listed)
    ).hexdigest()


def files_in(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder but its signature. Raises UserError for a link and whatever else is no file."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise UserError(
                f"{name} is a link or no file at all, and a bundle holds files alone: put the file itself there."
            )
        if path.is_file() and name != SIGNATURE:
            files[name] = sha256_of(path)
    return files


def slipway_version() -> str:
    try:
        return version("slipway")
    except PackageNotFoundError:
        return "0"


def changes(old: Bundle, new: Bundle) -> tuple[str, ...]:
    """What is otherwise in `new`, a line each: "helpers.py changed", "requirements: + text-unidecode 1.3"."""
    before, after = _code(old), _code(new)
    lines = [
        f"{path} {_became(before.get(path), after.get(path))}"
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]
    pins = dict(map(_pin, old.requirements)), dict(map(_pin, new.requirements))
    for name in sorted({*pins[0], *pins[1]}):
        was, now = pins[0].get(name), pins[1].get(name)
        if was != now:
            lines.append(
                f"requirements: {f'+ {name} {now}' if was is None else f'- {name} {was}' if now is None else f'{name} {was} → {now}'}"
            )
    if old.reference != new.reference:
        lines.append(f"the workload is {new.reference} and was {old.reference}")
    if (old.commit, old.clean) != (new.commit, new.clean):
        lines.append(f"{new.state} (before: {old.state})")
    return tuple(lines) or (
        (f"packed by Slipway {new.slipway} for Python {new.python}",) if old.digest != new.digest else ()
    )


def _code(bundle: Bundle) -> dict[str, str]:
    return {
        path.removeprefix(f"{CODE}/"): sha256
        for path, sha256 in bundle.files.items()
        if path.startswith(f"{CODE}/")
    }


def _became(was: str | None, now: str | None) -> str:
    return "is new" if was is None else "is gone" if now is None else "changed"


def _pin(requirement: str) -> tuple[str, str]:
    name, _, pinned = requirement.partition("==")
    return name, pinned
