"""Where a private key may be: a file, a variable, a token of SoftHSM's; and what is said of one that is not there, or does not open."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import promotions
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from typer.testing import CliRunner

from flows.cli.app import app
from tasks.attestation.bundle import Signers
from tasks.errors import UserError
from tasks.promotion.champion import promote
from tasks.promotion.ledger import read_ledger
from tasks.promotion.verification import verify
from tasks.proof import evidence
from tasks.proof.permit import PERMIT_TAG, read_permit
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.system import signing
from tasks.system.files import sha256_of
from tasks.system.signers import fingerprint, load, public_pem

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")

SOFTHSM = pytest.mark.skipif(
    not MODULE.exists()
    or shutil.which("softhsm2-util") is None
    or importlib.util.find_spec("PyKCS11") is None,
    reason="SoftHSM is not installed: apt-get install softhsm2, pip install 'slipway[pkcs11]'",
)

KEY, NEXT = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey = KEY, passphrase: str = "") -> str:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    made = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return made.decode()


@pytest.mark.parametrize("passphrase", ["", "open sesame"])
@pytest.mark.parametrize("given", ["text", "file"])
def test_a_key_in_a_variable_or_a_file_signs_with_its_passphrase_or_without(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, passphrase: str
) -> None:
    path, text = tmp_path / "key.pem", pem(passphrase=passphrase)
    path.touch(0o600)
    path.write_text(text)
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", text if given == "text" else str(path))
    if passphrase:
        with pytest.raises(
            UserError, match="is encrypted: give its passphrase in SLIPWAY_KEY_PASSPHRASE"
        ) as said:
            signing.signer()
        assert "BEGIN" not in str(said.value)
        monkeypatch.setenv("SLIPWAY_KEY_PASSPHRASE", "wrong")
        with pytest.raises(UserError, match="does not open with the passphrase in SLIPWAY_KEY_PASSPHRASE"):
            signing.signer()
        monkeypatch.setenv("SLIPWAY_KEY_PASSPHRASE", passphrase)
    assert public_pem(signing.signer()) == public_pem(KEY)
    promotions.seal_folder(tmp_path / "model", "digits", 2.0)
    assert evidence.verify(tmp_path / "model").decision == "pass"
    assert signing.keyring().fits("text", signing.sign_text("text", signing.signer()))
    assert not (signing.keys_folder() / "private.pem").exists()


def test_a_key_that_does_not_match_or_is_of_another_kind_is_one_sentence_without_the_key(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = pem(ec.generate_private_key(ec.SECP256R1()))
    monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(tmp_path / "public.pem"))
    (tmp_path / "public.pem").write_text(public_pem(KEY))
    for text, words in (
        (other, "is not the public half of SLIPWAY_PRIVATE_KEY=the one given"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "elliptic curve"),
    ):
        monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", text)
        with pytest.raises(UserError, match=words) as said:
            signing.signer()
        assert "BEGIN" not in str(said.value) and "\n" not in str(said.value)


@pytest.mark.parametrize("variable", ["SLIPWAY_PRIVATE_KEY", "SLIPWAY_PUBLIC_KEY", "--to"])
@pytest.mark.parametrize(
    "value",
    [
        f'"{pem()}"',
        repr(pem()),
        pem().replace("\n", "\\n"),
        "".join(pem().splitlines()[1:-1]),
        "".join(pem().splitlines()[1:-1]) * 9,
        f"{KEY.private_numbers().private_value:064x}",
        '"pkcs11:token=t;object=o?module-path=/m.so&pin-value=12345678"',
        "pkcs11:token=t;object=o;pin-value=12345678",
    ],
    ids=[
        "quoted",
        "repr",
        "lines written out",
        "base64",
        "long base64",
        "hex",
        "quoted token",
        "misplaced pin",
    ],
)
def test_a_key_that_is_written_otherwise_is_read_or_refused_without_a_word_of_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    secrets = (*pem().splitlines()[1:-1], "12345678", f"{KEY.private_numbers().private_value:064x}")
    text = ""
    try:
        if variable == "--to":
            load(value, variable)
        else:
            monkeypatch.setenv(variable, value)
            signing.signer()
    except UserError as error:
        text = str(error)
    assert text or value[1:].startswith("-----BEGIN"), "which OpenSSL reads in quotes"
    assert not any(secret[:20] in text for secret in secrets) and "\n" not in text


def test_a_fingerprint_is_what_sha256sum_says_of_the_public_file_and_what_a_signature_names(
    home: Path, tmp_path: Path
) -> None:
    signing.private_key()
    name = fingerprint(public_pem(signing.signer()))
    assert (
        subprocess.run(["sha256sum", signing.public_key()], capture_output=True, text=True).stdout.split()[0]
        == name
    )
    promotions.seal_folder(tmp_path / "model", "digits", 2.0)
    assert name in (tmp_path / "model" / "evidence.sig").read_text()


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A token of SoftHSM's with two keys, `signing` and `next`; a process opens its module once."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm.conf"))
        softhsm("--init-token --free --label slipway --so-pin 4321 --pin 1234")
        for name, number, key in (("signing", "01", KEY), ("next", "02", NEXT)):
            (folder / "key.pem").write_text(pem(key))
            softhsm(f"--import {folder / 'key.pem'} --token slipway --label {name} --id {number} --pin 1234")
        (folder / "key.pem").unlink()
        yield


def softhsm(words: str) -> None:
    subprocess.run(["softhsm2-util", *words.split()], check=True, capture_output=True)


@SOFTHSM
@pytest.mark.usefixtures("token")
def test_a_key_in_a_token_of_softhsm_signs_folders_and_texts_and_never_leaves_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"pkcs11:token=slipway;object=signing?module-path={MODULE}&pin-value=9999"
    with pytest.raises(UserError, match="CKR_PIN_INCORRECT") as said:
        load(address)
    assert "9999" not in str(said.value)
    address = f"pkcs11:token=slipway;object=signing?module-path={MODULE}&pin-value=1234"
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", address)
    assert public_pem(signing.signer()) == public_pem(KEY)
    promotions.seal_folder(tmp_path / "model", "digits", 2.0)
    assert evidence.verify(tmp_path / "model").decision == "pass"
    assert signing.keyring().fits("text", signing.sign_text("text", signing.signer()))
    assert signing.level().number == 1, "this process has the PIN"
    with ThreadPoolExecutor(8) as threads:  # as the signing service has them
        texts = [f"text {number}" for number in range(200)]
        signatures = list(threads.map(lambda text: signing.sign_text(text, load(address)), texts))
    assert all(map(signing.keyring().fits, texts, signatures))
    for wrong, words in (
        (address.replace("token=slipway", "token=another"), "Could not find a token with label another"),
        (address.replace("object=signing", "object=another"), "Could not find any object with label another"),
        (address.replace("token=slipway", "slot-id=77"), "CKR_SLOT_ID_INVALID"),
        (address.replace(str(MODULE), "/nowhere.so"), "ValueError"),
    ):
        with pytest.raises(UserError, match=words) as said:
            load(wrong)
        assert "1234" not in str(said.value)


@pytest.mark.slow
@SOFTHSM
@pytest.mark.usefixtures("token")
def test_one_key_of_a_token_hands_over_to_another_of_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_mlflow_database: Path
) -> None:
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    registry = Registry(load_settings())
    addresses = [
        f"pkcs11:token=slipway;object={name}?module-path={MODULE}&pin-value=1234"
        for name in ("signing", "next")
    ]
    names = [fingerprint(public_pem(key)) for key in (KEY, NEXT)]
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", addresses[0])
    old = promoted(registry, tmp_path, 2.0)
    said = CliRunner().invoke(app, ["keys", "rotate", "--reason", "a year old", "--to", addresses[1]])
    assert said.exit_code == 0, said.output
    assert "1234" not in said.output and "set SLIPWAY_PRIVATE_KEY to the new key" in " ".join(said.output.split())  # fmt: skip
    with pytest.raises(UserError, match="was handed over on"):
        promoted(registry, tmp_path, 3.0)

    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", addresses[1])
    new = promoted(registry, tmp_path, 4.0)
    for version, name in ((old, names[0]), (new, names[1])):
        assert verify(registry.settings, f"toy/{version.version}").decision == "pass"
        folder = registry.download(version, tmp_path / f"of-{version.version}")
        assert signing.signed_by(folder, signing.keyring()) == name
        permits = Signers(signing.keyring(), sha256_of(folder / evidence.EVIDENCE))
        read_permit(registry.tags(version)[PERMIT_TAG], permits.fits)
        assert [by for by, _ in permits.signed] == [name]
    assert read_ledger(registry, "toy", whole=True).problems == ()
    assert not (signing.keys_folder() / "private.pem").exists()
    # by a process that opens the token anew, with the new key alone
    words = [sys.executable, "-m", "flows.cli", "keys", "--json"]
    keys = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)["keys"]
    assert [(key["fingerprint"], key["standing"], key["signs_here"]) for key in keys] == [
        (names[0], "ended", False),
        (names[1], "in force", True),
    ]


def promoted(registry: Registry, tmp_path: Path, weight: float) -> Version:
    version = promotions.register(registry, "toy", tmp_path, weight)
    promote(registry, version, against=read_ledger(registry, "toy").serving, why="x", verdict="pass")
    return version
