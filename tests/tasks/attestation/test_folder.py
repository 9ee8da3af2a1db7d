"""The folder is whole or not there, and whatever is changed in it a command of its own page names."""

import json
import random
import shutil
from pathlib import Path

import pytest
from changed_folders import Folders, Proved, handed_over, permit_of
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from page_of_folder import refused_by, shell, steps
from stated import sealed

from tasks.attestation.bundle import ATTESTATIONS
from tasks.attestation.folder import PAGE, Attested, write_folder
from tasks.attestation.former_keys import CHANGES
from tasks.errors import UserError
from tasks.proof.evidence import read
from tasks.system.signers import fingerprint, load, public_pem
from tasks.system.signing import keyring, private_key, signed_by

ENTRY = '{"sequence":4}'


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> "Folders":
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_HOME", "")
        return Folders(tmp_path_factory.mktemp("folders"))


def written(version: Path, out: Path) -> Attested:
    evidence = read(version)
    return write_folder(out, version, evidence, 4, permit_of(version, evidence, 4, ENTRY), ENTRY)


def test_it_holds_what_its_page_lists_and_passes_what_its_page_says(folders: Folders) -> None:
    listed = {line.split("`")[1] for line in folders.page.splitlines() if line.startswith("| `")} | {"SHA256SUMS", PAGE}  # fmt: skip
    assert listed == {f"{p.name}/" if p.is_dir() else p.name for p in folders.folder.iterdir()}
    assert refused_by(folders.page, folders.folder, folders.key) is None
    lines = (folders.folder / ATTESTATIONS).read_bytes()
    assert lines.startswith((folders.folder / "model" / ATTESTATIONS).read_bytes())


@pytest.mark.slow
def test_nothing_that_was_changed_is_accepted(folders: Folders, tmp_path: Path) -> None:
    """As the campaign's part `attestations`, which tries 10,000."""
    dice = random.Random(26)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_HOME", "")
        rotated = Folders(tmp_path / "rotated", rotated=True)
    assert refused_by(rotated.page, rotated.folder, rotated.key) is None
    for each in (folders, rotated):
        for _ in range(30):
            what = each.changed(tmp_path / "changed", dice)
            assert refused_by(each.page, tmp_path / "changed", each.key) is not None, what


def test_a_flipped_bit_is_named_with_its_file(folders: Folders, tmp_path: Path) -> None:
    third = steps(folders.page)[3]
    for name in folders.files:
        shutil.copytree(folders.folder, tmp_path / "changed")
        path = tmp_path / "changed" / name
        path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
        said = shell(third, tmp_path / "changed", folders.key)
        assert said is not None and (f"./{name}" in said or name == "SHA256SUMS")
        shutil.rmtree(tmp_path / "changed")


def test_there_is_a_folder_or_nothing(version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr("tasks.attestation.folder.bill_of_materials", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            written(version, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []
    (tmp_path / "out").mkdir()
    attested = written(version, tmp_path / "out")
    assert (attested.folder, attested.permitted, attested.missing) == (tmp_path / "out", True, ())
    with pytest.raises(UserError, match="What is said of digits cannot be written in /proc: No such"):
        written(version, Path("/proc/nowhere/out"))
    with pytest.raises(UserError, match="out has something in it: name a folder that is not there yet"):
        written(version, tmp_path / "out")


def test_a_machine_with_the_public_key_alone_is_told_what_to_do(version: Path, tmp_path: Path, home: Path) -> None:  # fmt: skip
    (home / "keys" / "private.pem").rename(tmp_path / "elsewhere.pem")
    with pytest.raises(UserError, match="this machine has the public key alone: write it where the private"):
        write_folder(tmp_path / "out", version, read(version), 4, None, None)


def test_a_key_that_stock_tools_would_not_check_is_refused(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    home.mkdir(mode=0o700)
    private = tmp_path / "own.pem"
    pem = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    private.write_bytes(pem)
    private.chmod(0o600)
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", str(private))
    version = sealed(tmp_path / "digits-v1")
    with pytest.raises(UserError, match="is a key of the curve secp384r1, and stock tools check these"):
        write_folder(tmp_path / "out", version, read(version), 1, None, None)
    assert not (tmp_path / "out").exists()


def test_an_older_version_is_attested_with_what_its_evidence_has(tmp_path: Path, home: Path) -> None:
    home.mkdir(mode=0o700)
    older = sealed(tmp_path / "digits-v1", stated=False)
    attested = write_folder(tmp_path / "out", older, read(older), 1, None, None)
    assert attested.missing == ("statements from the time when it was made",)
    assert not attested.permitted and "permit" not in attested.statements
    page = (tmp_path / "out" / PAGE).read_text()
    assert "was made without: statements from the time when it was made" in page
    assert refused_by(page, tmp_path / "out", attested.key_sha256) is None


@pytest.mark.platform
@pytest.mark.timeout(1200)
def test_a_stranger_without_slipway_checks_it_by_the_page(
    folders: Folders, tmp_path: Path, home: Path
) -> None:
    """In an environment that the page makes itself: it fetches packages, which takes minutes. Of one key, and of two: the permit is the second's."""
    home.mkdir(mode=0o700)
    proved = Proved(tmp_path / "digits-v4", 4)
    first, changes = signed_by(proved.folder, keyring()), handed_over(proved.signed)
    proved.permit = permit_of(proved.folder, proved.evidence, 4, proved.entry)
    second = fingerprint(public_pem(load(str(private_key()))))
    of_two = proved.attest(tmp_path / "of-two-keys", changes)
    of_one = Path(shutil.copytree(folders.folder, tmp_path / "of-one-key"))
    hints = [
        json.loads(line)["verificationMaterial"]["publicKey"]["hint"]
        for line in (of_two / ATTESTATIONS).read_text().splitlines()
    ]
    assert {*hints[:-1]} == {first} and hints[-1] == second == signed_by(of_two, keyring())
    for folder, key in ((of_one, folders.key), (of_two, second)):
        commands = steps((folder / PAGE).read_text())
        assert [*commands] == [1, 2, 3, 4, 5, 6]
        for number in commands:
            assert (said := shell(commands[number], folder, key)) is None, f"step {number}: {said}"
        python = tmp_path / "checking" / "bin" / "python"
        assert shell(f"{python} -c 'import tasks'", tmp_path, "") is not None
        path = folder / "model" / "evidence.json"
        evidence = path.read_text()
        path.write_text(json.dumps(json.loads(evidence) | {"fingerprint": "0" * 64}))
        for number in (3, 4, 5):
            assert shell(commands[number], folder, key) is not None, f"step {number}"
        path.write_text(evidence)
    changed = of_two / CHANGES
    for less in ([], json.loads(changed.read_text())[:-1]):
        changed.write_text(json.dumps(less))
        said = shell(commands[5], of_two, second)
        assert said is not None and "the changes of keys do not lead to key.pem" in said
