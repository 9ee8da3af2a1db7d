"""A start from the cache: what was signed is served again, and nothing that was touched since."""

import asyncio
import base64
import datetime
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serving_models as models
from serving_inspector import Inspector

from infra.serving.errors import Unservable
from infra.serving.ipc.launch import start_inspector
from infra.serving.lifecycle.inspection import InspectionRequest, InspectionResult
from infra.serving.lifecycle.preparation import Preparer
from infra.serving.lifecycle.registry import Pointer
from infra.serving.options import ServeOptions, Target
from tasks.proof.permit import Permit, issue
from tasks.system import signing
from tasks.system.files import sha256_of

DIGITS, NOON = Target.parse("digits"), datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC)


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    made = models.save(tmp_path / "model", models.mlp((4, 3)), {"x": [[0.5] * 4]})
    (made / "more").mkdir()
    (made / "more" / "notes.txt").write_text("signed too")
    models.seal(made)
    signing.public_key()  # which is made of the private half, as a server does when it starts
    return made


@pytest.fixture(scope="module")
def inspector() -> Iterator[Inspector]:
    running = Inspector()
    yield running
    running.close()


def again(folder: Path, model: str = "digits", key: Path | None = None) -> InspectionRequest:
    """What is asked of a folder that was parsed before."""
    return InspectionRequest(folder=folder, model=model, key=key or signing.public_key(), parse=False)


@pytest.mark.slow
def test_a_folder_as_it_was_signed_is_what_it_was(folder: Path, inspector: Inspector) -> None:
    expected = inspector.ask(again(folder))
    assert expected == InspectionResult(
        digest=sha256_of(folder / "model.onnx"), decided="pass", score=expected.score
    )
    assert re.fullmatch(r"accuracy 0\.\d{4}.* on [\d,]+ test rows", expected.score or "")
    (folder / "registered_model_meta").write_text("MLflow adds this when it downloads")
    assert inspector.ask(again(folder)) == expected


def bundle(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "evidence.sig"
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


def payload(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what is signed, and keep the signature."""

    def inside(content: dict[str, Any]) -> None:
        statement = json.loads(base64.b64decode(content["dsseEnvelope"]["payload"]))
        change(statement)
        content["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    bundle(folder, inside)


def add_honestly(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"].append({"name": "x", "algorithm": "sha256", "digest": "00" * 32})


def link(folder: Path) -> None:
    (folder / "MLmodel").rename(folder.parent / "elsewhere")
    (folder / "MLmodel").symlink_to(folder.parent / "elsewhere")


def other_key(folder: Path) -> None:
    """Signed anew, by somebody else."""
    mine = Path(os.environ["SLIPWAY_HOME"]) / "keys"
    mine.rename(mine.with_name("kept"))
    models.seal(folder)
    for path in mine.iterdir():
        path.unlink()
    mine.rmdir()
    mine.with_name("kept").rename(mine)


def signature_of(content: dict[str, Any]) -> dict[str, Any]:
    signature: dict[str, Any] = content["dsseEnvelope"]["signatures"][0]
    return signature


CHANGES: dict[str, Callable[[Path], object]] = {
    "model altered": lambda f: (f / "model.onnx").write_bytes(b"x"),
    "metadata altered": lambda f: (f / "MLmodel").write_text("x"),
    "file in a folder altered": lambda f: (f / "more" / "notes.txt").write_text("x"),
    "evidence altered": lambda f: (f / "evidence.json").write_text(
        (f / "evidence.json").read_text().replace('"pass"', '"fail"')
    ),
    "evidence gone": lambda f: (f / "evidence.json").unlink(),
    "signature gone": lambda f: (f / "evidence.sig").unlink(),
    "file gone": lambda f: (f / "more" / "notes.txt").unlink(),
    "file added": lambda f: (f / "extra").write_text(""),
    "hidden file added": lambda f: (f / ".hidden").write_text(""),
    "ignored name in a folder": lambda f: (f / "more" / "registered_model_meta").write_text(""),
    "link": link,
    "link to a folder": lambda f: (f / "etc").symlink_to("/etc"),
    "not JSON": lambda f: (f / "evidence.sig").write_text("{"),
    "a list": lambda f: (f / "evidence.sig").write_text("[]"),
    "empty object": lambda f: (f / "evidence.sig").write_text("{}"),
    "no signature": lambda f: bundle(f, lambda b: b["dsseEnvelope"].update(signatures=[])),
    "signature of nothing": lambda f: bundle(f, lambda b: signature_of(b).update(sig="")),
    "signature cut": lambda f: bundle(f, lambda b: signature_of(b).update(sig=signature_of(b)["sig"][:-8])),
    "other hint": lambda f: bundle(
        f, lambda b: b["verificationMaterial"]["publicKey"].update(hint="00" * 32)
    ),
    "other payload type": lambda f: bundle(f, lambda b: b["dsseEnvelope"].update(payloadType="text/plain")),
    "file promised": lambda f: payload(f, add_honestly),
    "statement reformatted": lambda f: payload(f, lambda s: None),
    "more ignored": lambda f: payload(
        f, lambda s: s["predicate"]["serialization"]["ignore_paths"].append("extra")
    ),
    "another key": other_key,
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_touched_since_it_was_signed_is_refused(
    folder: Path, inspector: Inspector, change: str
) -> None:
    CHANGES[change](folder)
    result = inspector.ask(again(folder))
    assert result.refused is not None and result.digest is None


@pytest.mark.slow
def test_evidence_of_another_model_or_of_other_bytes_does_not_hold(
    folder: Path, inspector: Inspector
) -> None:
    assert "'other'" in str(inspector.ask(again(folder, model="other")).refused)
    (folder / "model.onnx").write_bytes(models.mlp((4, 3), seed=5).SerializeToString())
    signing.sign_folder(folder, signing.private_key())
    assert "of another file" in str(inspector.ask(again(folder)).refused)


@pytest.mark.slow
def test_a_key_of_another_curve_fits_nothing(folder: Path, inspector: Inspector, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP384R1())
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "public.pem").write_bytes(public)
    assert inspector.ask(again(folder, key=tmp_path / "public.pem")).refused is not None


@pytest.fixture
def preparer(folder: Path, home: Path) -> Preparer:
    """Of a home whose cache holds the folder; nothing was proved in this process yet."""
    made = Preparer(ServeOptions(home=home), start_inspector())
    made.cache.keep(folder)
    return made


def permitted(folder: Path, **what: object) -> Pointer:
    """Version 1 with a permit for these bytes."""
    usual = {
        "model": "digits", "version": 1, "run_id": "", "model_sha256": sha256_of(folder / "model.onnx"), "evidence_sha256": "",
        "policy_sha256": "", "granted": True, "basis": "gate", "serial": 1, "at": NOON, "by": "ada", "why": "wrong sevens",
    }  # fmt: skip
    text = issue(Permit.model_validate(usual | what), signing.private_key())
    return Pointer(version="1", created=1, permit=text)


def cached(preparer: Preparer) -> Path:
    (folder,) = (path for path in preparer.cache.root.iterdir() if path.is_dir())
    return folder


@pytest.mark.slow
def test_the_process_that_was_started_early_checks_the_signature_and_the_next_is_one_of_its_own(
    preparer: Preparer,
) -> None:
    folder, early = cached(preparer), preparer.inspector
    preparer.cache.mark(folder)
    release = asyncio.run(preparer.from_cache(DIGITS, permitted(folder), folder))
    assert (release.evidence, release.decided) == ("verified", "pass")
    assert early is not None and early.process.returncode is not None and preparer.inspector is None
    (folder / "extra").write_text("x")
    with pytest.raises(Unservable, match="extra was added"):
        asyncio.run(preparer.from_cache(DIGITS, permitted(folder), folder))


@pytest.mark.slow
def test_a_model_is_tried_the_first_time_and_its_signature_is_checked_every_time(
    folder: Path, home: Path
) -> None:
    (folder / "serving_input_example.json").write_text("{")
    models.seal(folder)
    preparer = Preparer(ServeOptions(home=home))
    kept = preparer.cache.keep(folder)
    with pytest.raises(Unservable, match="example"):
        asyncio.run(preparer.from_cache(DIGITS, permitted(kept), kept))
    preparer.cache.mark(kept)
    assert asyncio.run(preparer.from_cache(DIGITS, permitted(kept), kept)).decided == "pass"


@pytest.mark.slow
def test_a_folder_that_was_proved_is_served_with_a_permit_that_holds_and_as_the_model_that_it_is_alone(
    preparer: Preparer,
) -> None:
    folder = cached(preparer)
    preparer.cache.mark(folder)

    def refusal(target: Target, pointer: Pointer) -> str:
        with pytest.raises(Unservable) as refused:
            asyncio.run(preparer.from_cache(target, pointer, folder))
        return str(refused.value)

    assert "it has no permit" in refusal(DIGITS, Pointer(version="1", created=1))
    assert "not signed by the owner" in refusal(
        DIGITS, permitted(folder).model_copy(update={"permit": forged(permitted(folder).permit)})
    )
    assert asyncio.run(preparer.from_cache(DIGITS, permitted(folder), folder)).version == "1"
    other = permitted(folder, model="other")
    assert "'other'" in refusal(Target.parse("other"), other), "its evidence is of another model"
    withdrawn = permitted(folder, granted=False, serial=2)
    assert "may not serve: wrong sevens" in refusal(DIGITS, withdrawn)
    assert "may not serve: wrong sevens" in refusal(DIGITS, permitted(folder))


def forged(permit: str) -> str:
    """Another one's signature."""
    envelope = json.loads(permit)
    envelope["signatures"][0]["sig"] = base64.b64encode(b"0" * 70).decode()
    return json.dumps(envelope)
