"""The quick second look at a signed folder accepts nothing that model-signing would refuse."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import serving_models as models

from infra.serving.lifecycle.cached_proof import still_holds
from infra.serving.lifecycle.inspection import InspectionRequest, InspectionResult, look
from tasks.proof import signing
from tasks.system.files import sha256_of


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    made = models.save(tmp_path / "model", models.mlp((4, 3)), {"x": [[0.5] * 4]})
    (made / "more").mkdir()
    (made / "more" / "notes.txt").write_text("signed too")
    models.seal(made)
    return made


def both(folder: Path, model: str = "digits") -> tuple[InspectionResult | None, InspectionResult]:
    question = InspectionRequest(folder=folder, model=model, key=signing.public_key(), parse=False)
    return still_holds(question), look(question)


def test_a_folder_as_it_was_signed_is_found_to_be_what_the_library_finds(folder: Path) -> None:
    quick, thorough = both(folder)
    assert quick == thorough == InspectionResult(digest=sha256_of(folder / "model.onnx"), decided="pass")
    (folder / "registered_model_meta").write_text("MLflow adds this when it downloads")
    assert both(folder) == (quick, thorough)


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
    import os

    mine = Path(os.environ["SLIPWAY_HOME"]) / "keys"
    mine.rename(mine.with_name("kept"))
    models.seal(folder)
    for path in mine.iterdir():
        path.unlink()
    mine.rmdir()
    mine.with_name("kept").rename(mine)


def signature_of(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["dsseEnvelope"]["signatures"][0]
    return found


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


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_library_refuses_is_never_accepted_quickly(folder: Path, change: str) -> None:
    CHANGES[change](folder)
    quick, thorough = both(folder)
    assert thorough.refused is not None
    assert quick is None


def test_evidence_of_another_model_or_of_other_bytes_does_not_hold(folder: Path) -> None:
    quick, thorough = both(folder, model="other")
    assert quick is None and thorough.refused is not None
    (folder / "model.onnx").write_bytes(models.mlp((4, 3), seed=5).SerializeToString())
    signing.sign_folder(folder, signing.private_key())
    quick, thorough = both(folder)
    assert quick is None and thorough.refused is not None


def test_a_key_of_another_kind_is_left_to_the_library(folder: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP384R1())
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "public.pem").write_bytes(public)
    assert still_holds(InspectionRequest(folder=folder, model="digits", key=tmp_path / "public.pem")) is None
