"""The signing service: it signs what Slipway makes, nothing else, and only for who has its key; and who trains beside it is told how far the key is."""

import base64
import datetime
import http.client
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import promotions
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from free_ports import free_port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_of_folder import refused_by
from stated import register_stated

from infra.secrets.signer import STATEMENTS, kind_of, main, serve
from tasks.attestation.results import RESULTS
from tasks.attestation.statements import PROVENANCE
from tasks.errors import StepError, UserError
from tasks.promotion.attesting import attest
from tasks.promotion.champion import promote
from tasks.promotion.entries import FIRST, LedgerEntry
from tasks.promotion.ledger import read_ledger
from tasks.promotion.verification import verify
from tasks.proof import evidence
from tasks.proof.permit import PERMIT_TAG, SUMMARY, Permit, issue, read_permit
from tasks.registry.registry import Registry
from tasks.registry.status_tags import StatusTag
from tasks.rollout.record import RolloutRecord
from tasks.settings import load_settings
from tasks.system import signing
from tasks.system.key_chain import Change
from tasks.system.signers import load

NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.UTC)

ENTRY = LedgerEntry(
    sequence=1, at=NOW, model="digits", action="promote", from_version=None, to_version=1, who="ada", why="good",
    verdict="pass", evidence="e" * 64, previous=FIRST,
).canonical  # fmt: skip

PERMIT = Permit(
    model="digits", version=1, run_id="r" * 32, model_sha256="a" * 64, evidence_sha256="e" * 64, policy_sha256="b" * 64,
    granted=True, basis="gate", serial=1, at=NOW, by="the gate", why="accuracy 0.98",
)  # fmt: skip

TEXTS = [
    ENTRY,
    RolloutRecord(
        model="digits",
        run="r",
        old=1,
        new=2,
        old_sha256="a",
        new_sha256="b",
        salt="s",
        step=0,
        weight=0.1,
        sequence=3,
    ).model_dump_json(),
    StatusTag(model="digits", subject="run", said="promoted v7").model_dump_json(exclude_defaults=True),
    f"slipway ledger head of digits in its own home: 12 {'f' * 64}",
]


@pytest.fixture
def service(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address; its key is in another folder than the home, which has the public half alone."""
    apart = tmp_path / "apart"
    signing.create_key_pair(apart / "private.pem", tmp_path / "public.pem")
    address = f"http://127.0.0.1:{free_port()}"
    with serve(address, load(str(apart / "private.pem")), "secret") as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        monkeypatch.setenv("SLIPWAY_SIGNER", address)
        monkeypatch.setenv("SLIPWAY_SIGNER_KEY", "secret")
        monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(tmp_path / "public.pem"))
        yield address
        running.shutdown()
        thread.join()


def test_all_that_is_signed_here_can_be_signed_there(
    service: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "slipway.signer")
    key = signing.signer()
    for text in TEXTS:
        assert signing.keyring().fits(text, signing.sign_text(text, key))
    assert read_permit(issue(PERMIT, key), signing.keyring().fits) == PERMIT
    promotions.seal_folder(tmp_path / "model", "digits", 2.0)
    assert evidence.verify(tmp_path / "model").decision == "pass"
    assert not (signing.keys_folder() / "private.pem").exists()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(TEXTS) + 2 and all("(sha256 " in line for line in said)
    assert "a permit for digits version 1, serial 1" in said[-2] and "secret" not in caplog.text


def test_what_others_named_is_one_line_of_its_log(service: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "slipway.signer")
    named = "digits\nslipway.signer signed a permit\x1b[2K"
    status = StatusTag(model=named, subject="run", said="promoted v7")
    signing.sign_text(status.model_dump_json(exclude_defaults=True), signing.signer())
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.isprintable() and "digits�slipway.signer signed a permit" in said


@pytest.mark.slow
def test_a_version_with_statements_is_promoted_and_attested_where_the_service_alone_has_the_key(
    service: str,
    home: Path,
    tmp_path: Path,
    empty_mlflow_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "slipway.signer")
    home.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    registry = Registry(load_settings())
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("tasks.system.signers.is_here", lambda host: False)  # as if it were on another host
        far = register_stated(registry, "toy", tmp_path, 1.0)
        promote(registry, far, against=None, why="the first", who="ada", verdict="pass")
    near = register_stated(registry, "toy", tmp_path, 2.0)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("tasks.system.signers.is_here", lambda host: False)
        promote(registry, near, against=1, why="better", who="ada", verdict="pass")
    permits = [
        read_permit(registry.tags(version)[PERMIT_TAG], signing.keyring().fits) for version in (far, near)
    ]
    assert [permit.build_level for permit in permits] == [2, 1], "no more than the statements say"
    assert verify(registry.settings, "toy").statements == ("prepare", "train", "export", "tests", "decide")
    assert read_ledger(registry, "toy", whole=True).problems == ()
    attested = attest(registry.settings, "toy/1", tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert refused_by(page, tmp_path / "out", attested.key_sha256) is None
    assert "Build level 2 of SLSA is stated" in page and "has the key, on another host" in page
    assert not [*home.rglob("private.pem")]
    kinds = {kind for record in caplog.records for kind in STATEMENTS.values() if f"signed {kind}" in record.getMessage()}  # fmt: skip
    assert kinds == {*STATEMENTS.values()}, "it signs no kind that nothing makes"
    assert {*STATEMENTS} > {PROVENANCE, RESULTS, SUMMARY} and len(STATEMENTS) == 4


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "none of the texts"),
        (b"an invoice", "none of the texts"),
        (ENTRY.replace('"why"', ' "why"').encode(), "none of the texts"),
        (b"DSSEv1 4 text 2 {}", "no in-toto statement in DSSE"),
        (b"DSSEv1 28 application/vnd.in-toto+json 2 {}", "of a kind that Slipway makes"),
        (b"DSSEv1 28 application/vnd.in-toto+json 9 {}", "no in-toto statement in DSSE"),
        (b"DSSEv1 28 application/vnd.in-toto+json " + b"9" * 5000 + b" {}", "no in-toto statement in DSSE"),
        (b"DSSEv1 28 application/vnd.in-toto+json 3 {\xff}", "is not UTF-8"),
    ],
)
def test_what_slipway_does_not_make_is_not_signed(service: str, data: bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        kind_of(data)
    with pytest.raises(StepError, match=rf"signing service {service} refused: .*{words}"):
        signing.signer().sign(data, ec.ECDSA(hashes.SHA256()))


def test_a_change_of_keys_is_not_signed(service: str) -> None:
    change = Change(
        sequence=1,
        at=NOW,
        action="rotate",
        key="k",
        ended="e",
        who="eve",
        why="mine",
        holds="",
        previous=FIRST,
    )
    with pytest.raises(StepError, match="none of the texts"):
        signing.sign_text(change.canonical, signing.signer())


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_changed_character_of_a_text_makes_it_another_kind_or_a_fault(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    place, letter = data.draw(st.integers(0, len(text) - 1)), data.draw(st.characters(codec="utf-8"))
    try:
        kind_of((text[:place] + letter + text[place + 1 :]).encode())
    except UserError as error:
        assert "\n" not in str(error)


def test_it_answers_nobody_without_its_key_and_has_no_other_interface(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = signing.signer()
    body = json.dumps({"data": base64.b64encode(ENTRY.encode()).decode(), "hash": "SHA256"})
    asked = {
        ("POST", "/sign", body, ""): 401,
        ("POST", "/sign", body, "Bearer secre"): 401,
        ("POST", "/sign", "no json", "Bearer secret"): 422,
        ("POST", "/sign", body.replace("SHA256", "MD5"), "Bearer secret"): 422,
        ("POST", "/", body, "Bearer secret"): 404,
        ("GET", "/", "", ""): 404,
        ("GET", "/public-key", "", ""): 200,
        ("PUT", "/sign", body, "Bearer secret"): 501,
    }
    assert {question: status(service, *question) for question in asked} == asked
    assert status(service, "POST", "/sign", body, "Bearer secret", **{"Content-Length": "9" * 5000}) == 413
    monkeypatch.setenv("SLIPWAY_SIGNER_KEY", "another")
    with pytest.raises(UserError, match="does not take this key: set SLIPWAY_SIGNER_KEY"):
        signing.sign_text(ENTRY, key)
    for written, words in (
        ("two\nlines", "is not one line of ASCII"),
        ("gehëim", "is not one line of ASCII"),
    ):
        monkeypatch.setenv("SLIPWAY_SIGNER_KEY", written)
        with pytest.raises(UserError, match=words) as said:
            signing.sign_text(ENTRY, key)
        assert written not in str(said.value)
    monkeypatch.setenv("SLIPWAY_SIGNER_KEY", "secret\n")  # as a file of it ends
    signing.sign_text(ENTRY, key)
    for address in ("http://signer:99999", "http://signer:port", "http://[::1", "ftp://ada:hidden@signer"):
        monkeypatch.setenv("SLIPWAY_SIGNER", address)
        with pytest.raises(UserError, match="is no address of a signing service") as said:
            signing.signer()
        assert "hidden" not in str(said.value)
    monkeypatch.setenv("SLIPWAY_SIGNER", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StepError, match="does not answer .*: nothing is signed without it"):
        signing.signer()


def status(service: str, method: str, path: str, body: str, key: str, **more: str) -> int:
    connection = http.client.HTTPConnection(
        str(urlsplit(service).hostname), urlsplit(service).port, timeout=10
    )
    connection.request(method, path, body, ({"Authorization": key} if key else {}) | more)
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def test_only_a_key_that_a_training_cannot_reach_is_level_two(
    service: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signing.level().number == 1, "on this machine nothing shows that the service is another user's"
    public = signing.public_key()
    monkeypatch.setattr("tasks.system.signers.Service._public", load_public_of(public))
    own = [
        "0.0.0.0",
        "127.0.0.2",
        "localhost",
        "[::]",
        "[::1]",
        "LOCALHOST.",
        socket.gethostname(),
        "nobody.invalid",
    ]
    for host in own:
        monkeypatch.setenv("SLIPWAY_SIGNER", f"http://{host}:8090")
        assert signing.level().number == 1, f"nothing shows that {host} is another machine"
    monkeypatch.setenv("SLIPWAY_SIGNER", "http://192.0.2.7:8090")
    assert signing.level() == (2, "the signing service http://192.0.2.7:8090 has the key, on another host")
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", str(tmp_path / "apart" / "private.pem"))
    assert signing.level() == (1, "the process that trains has the key of the signing service at hand")
    monkeypatch.delenv("SLIPWAY_SIGNER")
    assert signing.level() == (1, "the process that trains has the key at hand")


def load_public_of(path: Path) -> object:
    from tasks.system.ecdsa import load_public

    return load_public(path.read_bytes(), "it")


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a second user")
def test_a_socket_of_another_user_is_level_two_and_one_of_this_user_level_one(
    home: Path, tmp_path: Path
) -> None:
    """As root there is nothing that a training could not read, so that both are asked by processes of other users."""
    folder = Path("/tmp") / f"slipway-signer-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        with serve(f"unix://{folder}/socket", load(str(signing.private_key())), "") as running:
            (folder / "socket").chmod(0o666)
            thread = threading.Thread(target=running.serve_forever)
            thread.start()
            levels = [level_as(user, f"unix://{folder}/socket") for user in (0, 65534)]
            running.shutdown()
            thread.join()
    finally:
        shutil.rmtree(folder)
    assert levels == ["1", "2"]


def level_as(user: int, address: str) -> str:
    code = f"import os; os.setuid({user}); print(Service({address!r}).level().number)"
    command = [sys.executable, "-c", f"from tasks.system.signers import Service; {code}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://signer", "is no address"),
        ("http://127.0.0.1:port", "is no address"),
        ("http://127.0.0.1:99999", "is no address"),
        ("http://0.0.0.0:1", "would sign for whoever reaches it"),
        ("unix:///nowhere/socket", "cannot be listened at"),
    ],
)
def test_an_address_that_will_not_do_is_one_sentence(home: Path, address: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        serve(address, load(str(signing.private_key())), "")


def test_a_password_in_its_address_is_in_no_log(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "slipway.signer")

    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", ended)
    port = free_port()
    main([f"http://ada:secret@127.0.0.1:{port}"])
    assert f"at http://127.0.0.1:{port}" in caplog.text and "secret" not in caplog.text


@pytest.mark.parametrize("given", [" ", "\t", ","])
def test_a_password_of_blanks_starts_no_service_that_signs_for_anybody(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", lambda *_: None)
    monkeypatch.setenv("SLIPWAY_SIGNER_KEY", given)
    with pytest.raises(SystemExit):
        main([f"http://127.0.0.1:{free_port()}"])
    assert "SLIPWAY_SIGNER_KEY is set and holds no secret: give one, or unset it." in capsys.readouterr().err
