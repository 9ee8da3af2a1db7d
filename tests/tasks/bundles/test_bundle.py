"""The digest of a bundle is of its content alone."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.bundles.bundle import Bundle, changes, digest_in, digest_of, files_in
from tasks.errors import UserError
from tasks.system.files import sha256_of

PATHS = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), min_size=1)
FILES = st.dictionaries(PATHS, st.binary(min_size=32, max_size=32).map(bytes.hex), min_size=1, max_size=8)


@given(FILES, st.randoms())
def test_files_in_any_order_have_the_same_digest(files: dict[str, str], random: "st.randoms") -> None:
    mixed = list(files.items())
    random.shuffle(mixed)
    assert digest_of(dict(mixed)) == digest_of(files)


@given(FILES, FILES)
def test_other_files_have_another_digest(files: dict[str, str], others: dict[str, str]) -> None:
    assert (digest_of(files) == digest_of(others)) == (files == others)


def test_the_digest_is_what_sha256sum_says_to_a_stranger(tmp_path: Path) -> None:
    for name in ("bundle.json", "code/a b.py", "code/é.py", "code/net/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "evidence.sig").write_text("signed")
    listed = "find . -type f ! -name evidence.sig | sed 's,^./,,' | sort | tr '\\n' '\\0' | xargs -0 sha256sum | sha256sum"
    said = subprocess.run(
        listed,
        shell=True,
        cwd=tmp_path,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split()[0] == digest_of(files_in(tmp_path))


def test_a_link_is_no_part_of_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "outside.py").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match="outside.py is a link"):
        files_in(tmp_path)


@pytest.mark.parametrize(
    "reference", ["bundle:", "bundle:12ab", f"bundle:{'g' * 64}", f"bundle:{'a' * 64}/../x"]
)
def test_what_names_no_bundle_is_said(reference: str) -> None:
    with pytest.raises(UserError, match="names no bundle: bundle: goes before the 64 hex digits"):
        digest_in(reference)


def test_changes_are_said_file_by_file_and_pin_by_pin() -> None:
    old = Bundle(
        name="churn",
        reference="churn.py",
        files={"code/churn.py": "a", "code/gone.py": "b", "code/helpers.py": "c"},
        requirements=("emoji==1.0", "text-unidecode==1.2"),
        python="3.11",
        slipway="0.1.0",
        commit="1" * 40,
        clean=True,
        digest="1",
    )
    files = {"code/churn.py": "a", "code/helpers.py": "d", "code/new.py": "e"}
    new = old.model_copy(
        update={"files": files, "requirements": ("text-unidecode==1.3",), "clean": False, "digest": "2"}
    )
    assert changes(old, new) == (
        "gone.py is gone",
        "helpers.py changed",
        "new.py is new",
        "requirements: - emoji 1.0",
        "requirements: text-unidecode 1.2 → 1.3",
        "commit 111111111111, with changes that are not committed (before: commit 111111111111)",
    )
    assert changes(old, old) == ()


def test_a_record_that_is_read_again_is_the_same(tmp_path: Path) -> None:
    bundle = Bundle(name="churn", reference="churn.py", files={}, python="3.11", slipway="0.1.0")
    (tmp_path / "bundle.json").write_bytes(bundle.to_json())
    assert Bundle.model_validate_json((tmp_path / "bundle.json").read_bytes()) == bundle
    assert files_in(tmp_path) == {"bundle.json": sha256_of(tmp_path / "bundle.json")}
