"""Evidence names the workload's own commit, whatever it is found by."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tasks.bundles.checkout import cloned, is_git, state_of
from tasks.errors import UserError
from tasks.workloads.origin import libraries_of, origin_of
from tasks.workloads.publishing import publish

MINE = """
from dataclasses import replace
from helper_of_repository import NAME
from tasks.workloads.examples.digits import workload as digits
workload = replace(digits, name=NAME)
"""


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Git as it is on a machine where nobody has said anything."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@shop.example"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "models").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "models" / "mine.py").write_text(MINE)
    (folder / "models" / "helper_of_repository.py").write_text("NAME = 'mine'\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "First")
    git(folder, "remote", "add", "origin", "https://ann:token" + "-of-hers@git.shop.example/models.git")
    return folder


def test_a_files_own_repository_is_named_without_credentials_and_with_what_is_not_committed(
    repository: Path,
) -> None:
    mine = repository / "models" / "mine.py"
    first = git(repository, "rev-parse", "HEAD")
    origin = origin_of(str(mine))
    assert origin is not None and (origin.commit, origin.clean, origin.changes) == (first, True, "")
    assert (origin.author, origin.repository) == (
        "Ann <ann@shop.example>",
        "https://git.shop.example/models.git",
    )
    (repository / "README").write_text("what the workload does not import")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "Second")
    assert origin_of(str(mine)) == origin
    (repository / "models" / "helper_of_repository.py").write_text("NAME = 'other'\n")
    changed = origin_of(str(mine))
    assert changed is not None and (changed.commit, changed.clean) == (first, False)
    changes = state_of([mine, mine.with_name("helper_of_repository.py")]).changes
    assert b"-NAME = 'mine'\n+NAME = 'other'\n" in changes and str(repository).encode() not in changes
    assert changed.changes == hashlib.sha256(changes).hexdigest()
    assert changed.tags["slipway.workload_state"] == f"changed {changed.changes[:16]}"
    assert str(changed).startswith(
        f"commit {first[:12]} of https://git.shop.example/models.git, with changes"
    )
    assert origin_of("digits") is None


def test_a_file_that_git_does_not_know_is_in_the_changes_as_a_whole(repository: Path, tmp_path: Path) -> None:
    new = repository / "models" / "new.py"
    new.write_text("import os\n")
    state = state_of([new])
    assert (state.commit, state.clean) == ("", False) and b"+import os\n" in state.changes
    (tmp_path / "alone.py").write_text("")
    assert state_of([tmp_path / "alone.py"]).clean is None


@pytest.mark.slow
def test_a_commit_of_a_repository_is_the_bundle_of_its_files(repository: Path, tmp_path: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    (repository / "models" / "helper_of_repository.py").write_text("NAME = 'newer'\n")
    git(repository, "commit", "-qam", "Second")
    url = f"file://{repository}"
    bundle = publish(f"{url}@{first[:10]}:models/mine.py")
    assert (bundle.name, bundle.reference, bundle.commit, bundle.clean, bundle.origin) == (
        "mine",
        "mine.py",
        first,
        True,
        url,
    )
    origin = origin_of(bundle.workload)
    assert origin is not None and (origin.bundle, origin.commit, origin.author) == (
        bundle.digest,
        first,
        "Ann <ann@shop.example>",
    )
    for name in ("main", "v1"):
        if name == "v1":
            git(repository, "tag", "-a", "v1", "-m", "v1", first)
        with pytest.raises(
            UserError,
            match=rf"'{name}' is a name that may mean another commit tomorrow: .*it is at {git(repository, 'rev-parse', f'{name}^{{}}')[:12]} now",
        ):
            publish(f"{url}@{name}:models/mine.py")
    with pytest.raises(UserError, match="has no commit 0123456789: name one that is pushed"):
        publish(f"{url}@0123456789:models/mine.py")
    with pytest.raises(UserError, match="has no models/other.py at that commit"):
        publish(f"{url}@{first}:models/other.py")
    with pytest.raises(UserError, match="cannot be cloned"):
        publish(f"file://{tmp_path}/nowhere@{first}")
    with (
        pytest.raises(UserError, match=r"several files that may be the workload, or none \(none\): name it"),
        cloned(f"{url}@{first}"),
    ):
        pass


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("https://host/team/models.git@1a2b3c4", True),
        ("ssh://git@host/team/models.git@1a2b3c4:models/churn.py", True),
        ("git@host:team/models.git@main:churn.py:other", True),
        ("models/churn.py", False),
        ("package.module:attribute", False),
        ("https://host/team/models.git", False),
    ],
)
def test_a_commit_is_told_from_a_file(reference: str, expected: bool) -> None:
    assert is_git(reference) == expected


def test_the_libraries_that_a_workload_imports_are_named_with_their_versions(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import json, numpy, hypothesis, neighbour\nfrom tasks.config import Train\ndef load():\n    import yaml\n"
    )
    (tmp_path / "neighbour.py").write_text("import nowhere_to_be_had\n")
    assert {*libraries_of(str(tmp_path / "mine.py"))} == {"hypothesis", "pyyaml"}
