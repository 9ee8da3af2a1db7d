"""Nothing of a bundle is imported of which any byte is not what its digest and its signature say."""

import datetime
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.bundles.bundle import RECORD, Bundle, digest_of, files_in
from tasks.bundles.packing import pack
from tasks.bundles.verification import check
from tasks.errors import UserError
from tasks.system import key_chain as chains
from tasks.system import keyring as keyrings
from tasks.system.signers import load, public_pem
from tasks.system.signing import (
    EvidenceError,
    create_key_pair,
    keys_folder,
    private_key,
    public_key,
    sign_folder,
)

SOURCES = {"mine.py": "workload = 1\n", "net/deep.py": "A = 2\n", "words.txt": "a\nb\n"}


@pytest.fixture
def packed(tmp_path: Path, home: Path) -> tuple[Path, Bundle]:
    for name, text in SOURCES.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(text)
    folder = tmp_path / "bundle"
    return folder, pack(folder, "mine", "mine.py", {name: tmp_path / "source" / name for name in SOURCES})


def test_what_was_packed_holds_and_the_same_files_are_the_same_bundle(
    packed: tuple[Path, Bundle], tmp_path: Path
) -> None:
    folder, bundle = packed
    assert check(folder, bundle.digest) == bundle
    again = pack(
        tmp_path / "again",
        "mine",
        "mine.py",
        {name: tmp_path / "source" / name for name in reversed(SOURCES)},
    )
    assert again == bundle


@st.composite
def damages(draw: st.DrawFn) -> Callable[[Path], str]:
    """Some way to alter a folder, which gives back the name of what is altered."""
    name = draw(st.sampled_from([RECORD, *(f"code/{name}" for name in SOURCES)]))
    how = draw(st.sampled_from(["flip", "cut", "grow", "remove", "rename", "add", "link"]))
    place, bit = draw(st.integers(0, 10_000)), draw(st.integers(0, 7))

    def alter(folder: Path) -> str:
        path = folder / name
        content = bytearray(path.read_bytes())
        if how == "flip":
            content[place % len(content)] ^= 1 << bit
            path.write_bytes(content)
        elif how == "cut":
            path.write_bytes(content[:-1])
        elif how == "grow":
            path.write_bytes(content + b"\n")
        elif how == "remove":
            path.unlink()
        elif how == "rename":
            path.rename(path.with_name(f"{bit}{path.name}"))
        elif how == "add":
            path.with_name(f"{bit}.py").write_bytes(content)
        else:
            path.rename(folder.parent / "moved")
            path.symlink_to(folder.parent / "moved")
        return name

    return alter


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(damage=damages())
def test_whatever_is_altered_is_refused(packed: tuple[Path, Bundle], damage: Callable[[Path], str]) -> None:
    folder, bundle = packed
    damaged = folder.with_name("damaged")
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(folder, damaged)
    damage(damaged)
    with pytest.raises(UserError, match=r"is not what its digest says: .+|is a link"):
        check(damaged, bundle.digest)


def test_a_new_digest_for_altered_files_needs_a_new_signature(packed: tuple[Path, Bundle]) -> None:
    folder, _ = packed
    (folder / "code" / "mine.py").write_text("import evil\n")
    with pytest.raises(EvidenceError, match="mine.py was altered after it was signed"):
        check(folder, digest_of(files_in(folder)))


def test_strangers_are_refused_until_they_are_listed(
    packed: tuple[Path, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, bundle = packed
    private, public = tmp_path / "colleague.pem", tmp_path / "colleague-public.pem"
    create_key_pair(private, public)
    sign_folder(folder, private)
    with pytest.raises(UserError, match="signed by a key that is not this home's own, SLIPWAY_PUBLIC_KEY's"):
        check(folder, bundle.digest)
    monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(public))
    assert check(folder, bundle.digest) == bundle
    monkeypatch.delenv("SLIPWAY_PUBLIC_KEY")
    monkeypatch.chdir(tmp_path)
    Path("mlflow.yaml").write_text("runs: [colleague-public.pem]")
    assert check(folder, bundle.digest) == bundle
    sign_folder(folder, private_key())
    with pytest.raises(UserError, match=r"not in mlflow.yaml's `runs` \(.*colleague-public.pem\)"):
        check(folder, bundle.digest)
    public.unlink()
    with pytest.raises(UserError, match="colleague-public.pem, and there is no such file"):
        check(folder, bundle.digest)


@pytest.mark.parametrize("listed", [False, True])
def test_one_of_a_key_that_was_handed_over_holds_until_that_is_revoked(
    packed: tuple[Path, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    folder, bundle = packed
    if listed:
        monkeypatch.chdir(tmp_path)
        shutil.copyfile(public_key(), "ada.pem")
        Path("mlflow.yaml").write_text("runs: [ada.pem]")
    old = load(str(private_key()))
    create_key_pair(tmp_path / "new" / "private.pem", tmp_path / "new" / "public.pem")
    new = load(str(tmp_path / "new" / "private.pem"))
    claims: dict[str, str] = {}
    for action, signers in (("rotate", (old, new)), ("revoke", (new,))):
        chain = chains.read_chain(claims, {public_pem(old)})
        change = chains.Change(
            sequence=len(chain) + 1, at=datetime.datetime.now(datetime.UTC), action=action,  # type: ignore[arg-type]
            key=public_pem(new), ended=public_pem(old), who="ada", why="a year old", holds=chains.parts(())[0],
            previous=chain[-1].change.digest if chain else chains.FIRST,
        )  # fmt: skip
        claims |= dict([chains.claimed(change, len(chain) + 1, *signers)])
        assert keyrings.keep(keys_folder(), "a registry", claims, public_key())
        shutil.copyfile(tmp_path / "new" / "public.pem", keys_folder() / "public.pem")
        if action == "rotate":
            assert check(folder, bundle.digest) == bundle
            if listed:
                Path("mlflow.yaml").write_text("runs: [new/public.pem]")
                with pytest.raises(UserError, match="signed by a key that is not in mlflow.yaml's `runs`"):
                    check(folder, bundle.digest)
                Path("mlflow.yaml").write_text("runs: [ada.pem]")
    with pytest.raises(UserError, match="is signed by a key that is not"):
        check(folder, bundle.digest)
    sign_folder(folder, tmp_path / "new" / "private.pem")
    assert check(folder, bundle.digest) == bundle, "the key that it was handed over to needs no new file"


def test_an_unsigned_one_and_a_damaged_signature_are_refused(packed: tuple[Path, Bundle]) -> None:
    folder, bundle = packed
    (folder / "evidence.sig").write_text("{}")
    with pytest.raises(EvidenceError, match="damaged"):
        check(folder, bundle.digest)
    (folder / "evidence.sig").unlink()
    with pytest.raises(UserError, match="has no evidence.sig: nobody signed it"):
        check(folder, bundle.digest)


@pytest.mark.parametrize(
    ("newer", "message"),
    [
        ({"python": "3.99"}, "was made with Python 3.99 and here is"),
        ({"slipway": "99.0"}, "was made with Slipway 99.0 and here is .*: update"),
    ],
)
def test_what_is_too_new_for_this_machine_is_said(
    packed: tuple[Path, Bundle], newer: dict[str, str], message: str
) -> None:
    folder, bundle = packed
    (folder / RECORD).write_bytes(bundle.model_copy(update=newer).to_json())
    sign_folder(folder, private_key())
    with pytest.raises(UserError, match=message):
        check(folder, digest_of(files_in(folder)))
