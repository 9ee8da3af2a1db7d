"""Which commit code is of: the git repository that files lie in, or one that is cloned at a commit."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tasks.errors import LostError, StepError, UserError
from tasks.system.scratch import scratch
from tasks.system.urls import without_secrets

_PLAIN = (
    "-c",
    "core.quotepath=off",
    "-c",
    "diff.noprefix=false",
    "-c",
    "diff.mnemonicprefix=false",
    "-c",
    "core.fsmonitor=false",
)
"""A diff is the same on every machine, whatever people like to see."""

_DIFF = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--full-index", "--binary")

_REFERENCE = re.compile(
    r"(?P<url>(?:(?:https?|ssh|file|git)://|[\w.-]+@[\w.-]+:).+)@(?P<commit>[^@/:]+)(?::(?P<path>[^:]+\.py(?::\w+)?))?"
)

_HASH = re.compile(r"[0-9a-f]{7,64}")


class State(NamedTuple):
    """Of files: the last commit that changed them, whether they are as it has them, who wrote it, from where, and what is not committed."""

    commit: str = ""
    clean: bool | None = None
    author: str = ""
    origin: str = ""
    changes: bytes = b""


def state_of(files: Sequence[Path]) -> State:
    """Of the repository that the first of the files is in; outside of any, or without git, only who packs.

    The last commit that touched these files, not the newest of all: what did not change is the same bundle.
    """
    top = _top(files[0].parent)
    if top is None:
        return State(author=_person(files[0].parent))
    inside = [str(path.relative_to(top)) for path in files if path.is_relative_to(top)]
    kept = _git(top, "ls-files", "-z", "--", *inside).split("\0")
    new = sorted({*inside} - {*kept})
    commit, _, author = _git(top, "log", "-1", "--format=%H %an <%ae>", "--", *inside).strip().partition(" ")
    if not commit:
        return State(clean=False, author=_person(top), origin=_origin(top), changes=_difference(top, [], new))
    changes = _difference(top, [name for name in inside if name in kept], new)
    clean = not changes and len(inside) == len(files)
    return State(commit, clean, author if clean else _person(top), _origin(top), changes)


def is_git(reference: str) -> bool:
    """Whether a commit of a repository is named: https://host/repository@1a2b3c4[:path/to/file.py]."""
    return _REFERENCE.fullmatch(reference) is not None


@contextmanager
def cloned(reference: str) -> Iterator[str]:
    """The file at that commit, in a folder that goes afterwards. Raises UserError for a branch or a tag, which may move."""
    match = _REFERENCE.fullmatch(reference)
    assert match is not None, reference
    url, commit, path = match["url"], match["commit"], match["path"]
    if not _HASH.fullmatch(commit):
        raise UserError(_no_commit(url, commit))
    with scratch("clone") as place:
        folder = place / _repository(url)
        _cloned(url, folder)
        try:
            full = _git(folder, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}").strip()
            if not full.startswith(commit):  # a branch that is called as a commit would be
                raise UserError(_no_commit(url, commit))
        except subprocess.CalledProcessError as error:
            raise UserError(
                f"{without_secrets(url)} has no commit {commit}: name one that is pushed, by 7 digits or more of its hash."
            ) from error
        _git(folder, "checkout", "--quiet", "--detach", full)
        _git(folder, "remote", "set-url", "origin", without_secrets(url))
        yield _file_in(folder, url, path)


def _file_in(folder: Path, url: str, path: str | None) -> str:
    """The workload's file in a clone, with its attribute."""
    if path is None:
        files = [file for file in sorted(folder.rglob("*.py")) if b"Workload(" in file.read_bytes()]
        if len(files) != 1:
            named = ", ".join(str(file.relative_to(folder)) for file in files[:5]) or "none"
            raise UserError(
                f"{without_secrets(url)} has several files that may be the workload, or none ({named}): name it, …@COMMIT:path/to/file.py."
            )
        return str(files[0])
    name, _, attribute = path.partition(":")
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise UserError(f"{without_secrets(url)} has no {name} at that commit: check the path.")
    return f"{file}:{attribute}" if attribute else str(file)


def _no_commit(url: str, name: str) -> str:
    """A branch or tag with the commit that it has now."""
    try:
        listed = _run("ls-remote", "--", url, name, f"{name}^{{}}").split("\n")
    except (UserError, subprocess.SubprocessError):
        listed = []
    commits = [line.split("\t")[0] for line in listed if "\t" in line]
    hint = (
        f"it is at {commits[-1][:12]} now, so @{commits[-1][:12]}"
        if commits
        else "give 7 digits or more of its hash"
    )
    return f"{name!r} is a name that may mean another commit tomorrow: name the commit itself ({hint})."


def _cloned(url: str, folder: Path) -> None:
    try:
        _run(
            "clone",
            "--quiet",
            "--no-checkout",
            "--no-tags",
            "-c",
            "core.hooksPath=/dev/null",
            "--",
            url,
            str(folder),
        )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.replace(url, without_secrets(url)).strip().splitlines() or ["it does not answer"]
        said = lines[-1].removeprefix("fatal: ").rstrip(".")
        raise StepError(
            f"{without_secrets(url)} cannot be cloned ({said}): check the address, and that git has credentials for it."
        ) from error


def _repository(url: str) -> str:
    return re.sub(r"\W+", "-", url.rstrip("/").rpartition("/")[2].removesuffix(".git")) or "repository"


def _top(folder: Path) -> Path | None:
    try:
        return Path(_git(folder, "rev-parse", "--show-toplevel").strip()).resolve()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def _difference(top: Path, kept: list[str], new: list[str]) -> bytes:
    """What is not committed of these files, new ones as a whole; paths are those below the repository."""
    text = _git(top, *_PLAIN, "diff", *_DIFF, "HEAD", "--", *kept) if kept else ""
    for name in new:
        text += _git(top, *_PLAIN, "diff", *_DIFF, "--no-index", "--", os.devnull, name, differs=True)
    return text.encode("utf-8", "surrogateescape")


def _origin(top: Path) -> str:
    """Where it is cloned from, without credentials; a folder of this machine means nothing elsewhere."""
    try:
        url = _git(top, "remote", "get-url", "origin").strip()
    except subprocess.CalledProcessError:
        return ""
    elsewhere = "://" in url or re.match(r"[\w.-]+@[\w.-]+:", url)
    return without_secrets(url) if elsewhere else ""


def _person(folder: Path) -> str:
    """Who works here, as git knows them, else as the system does."""
    try:
        name, mail = (_git(folder, "config", key).strip() for key in ("user.name", "user.email"))
        return f"{name} <{mail}>"
    except (FileNotFoundError, subprocess.CalledProcessError):
        import getpass

        try:
            return getpass.getuser()
        except (KeyError, OSError):
            return ""


def _git(folder: Path, *words: str, differs: bool = False) -> str:
    """What git says in a folder. Raises CalledProcessError when it fails; `differs`: code 1 is an answer."""
    return _run("-C", str(folder), *words, answers=(0, 1) if differs else (0,))


def _run(*words: str, answers: tuple[int, ...] = (0,)) -> str:
    settings = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *words],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            env={**os.environ, **settings},
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise LostError("git did not answer within five minutes: try again.") from error
    except FileNotFoundError as error:
        raise subprocess.CalledProcessError(127, "git", "", "git is not installed") from error
    if done.returncode not in answers:
        raise subprocess.CalledProcessError(done.returncode, "git", done.stdout, done.stderr)
    return done.stdout
