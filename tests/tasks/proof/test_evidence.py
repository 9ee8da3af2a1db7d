"""What was proved is bound to the bytes: every way in which it can come apart is named."""

import datetime
import json
import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from checkout import ROOT
from onnx import TensorProto, helper, numpy_helper

from tasks.errors import UserError
from tasks.measured import Proof, Report, Verdict
from tasks.proof import evidence, provenance
from tasks.proof.evidence import Evidence
from tasks.proof.provenance import Code
from tasks.system import signing
from tasks.system.files import sha256_of
from tasks.system.signing import EvidenceError


def write_model(path: Path, weight: float = 2.0, external: bool = False) -> None:
    """y = x · weight, as a file of a few hundred bytes."""
    tensor = numpy_helper.from_array(np.full((4, 3), weight, "float32"), "w")
    if external:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [tensor],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()
    )


def make_evidence(sha256: str, model: str = "digits", decision: str = "pass") -> Evidence:
    report = Report(
        name="fp32", split="test", rows=360, score=0.98, score_name="accuracy", sha256=sha256, size_bytes=300
    )
    verdict = Verdict(decision=decision, reasons=("accuracy 0.980 on 360 rows",))  # type: ignore[arg-type]
    return Evidence(
        model=model,
        workload=model,
        created=datetime.datetime(2026, 11, 22, 3, 0, tzinfo=datetime.UTC),
        model_sha256=sha256,
        run_id="0" * 32,
        fingerprint="f" * 64,
        rows={"train": 1000, "validation": 200, "test": 360},
        checkpoint_sha256="c" * 64,
        code=Code(revision="a" * 40, dirty=False),
        config={"train": {"epochs": 3}},
        libraries=evidence.library_versions(),
        machine=evidence.machine(),
        candidates=(report,),
        picked="fp32",
        proof=Proof(report=report, baseline=report, verdict=verdict),
    )


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh SLIPWAY_HOME; its keys folder."""
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SLIPWAY_PRIVATE_KEY", raising=False)
    monkeypatch.delenv("SLIPWAY_PUBLIC_KEY", raising=False)
    return tmp_path / "home" / "keys"


@pytest.fixture
def sealed(keys: Path, tmp_path: Path) -> Path:
    """A model folder with signed evidence."""
    folder = tmp_path / "sealed"
    write_model(folder / "model.onnx")
    (folder / "MLmodel").write_text("flavors: {}\n")
    evidence.seal(folder, make_evidence(sha256_of(folder / "model.onnx")))
    return folder


def failing_part(folder: Path, **options: object) -> tuple[str, str]:
    with pytest.raises(EvidenceError) as raised:
        evidence.verify(folder, **options)  # type: ignore[arg-type]
    assert raised.value.exit_code == 1
    return raised.value.part, str(raised.value)


def test_a_sealed_folder_verifies_and_gives_its_evidence_back(sealed: Path) -> None:
    verified = evidence.verify(sealed, model="digits")
    assert verified.decision == "pass" and verified == make_evidence(sha256_of(sealed / "model.onnx"))


def test_it_verifies_after_a_download_under_another_name(sealed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "7"
    shutil.copytree(sealed, copy)
    (copy / "registered_model_meta").write_text("model_name: digits\n")
    evidence.verify(copy)


@pytest.mark.parametrize("name", ["evidence.json", "evidence.sig", "model.onnx"])
def test_a_missing_file_is_named(sealed: Path, name: str) -> None:
    (sealed / name).unlink()
    part, message = failing_part(sealed)
    assert part == "missing" and name in message


def test_every_flipped_bit_of_the_model_is_found(sealed: Path) -> None:
    content = (sealed / "model.onnx").read_bytes()
    for position in range(0, len(content), 17):
        (sealed / "model.onnx").write_bytes(
            content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        )
        part, message = failing_part(sealed)
        assert part == "model.onnx" and "model.onnx was altered" in message


def test_altered_evidence_is_found(sealed: Path) -> None:
    content = json.loads((sealed / "evidence.json").read_text())
    content["proof"]["verdict"]["decision"] = "fail"
    (sealed / "evidence.json").write_text(json.dumps(content))
    assert failing_part(sealed)[0] == "evidence.json"


@pytest.mark.parametrize("name", ["MLmodel", "surprise.py", "nested/surprise.py", ".gitignore"])
def test_any_other_file_that_was_changed_or_added_is_named(sealed: Path, name: str) -> None:
    (sealed / name).parent.mkdir(exist_ok=True)
    (sealed / name).write_text("flavors: {python_function: {}}\n")
    part, message = failing_part(sealed)
    assert part == name and name in message


def test_a_file_that_was_taken_away_is_named(sealed: Path) -> None:
    (sealed / "MLmodel").unlink()
    assert failing_part(sealed) == ("MLmodel", "sealed: MLmodel is missing.")


def test_a_link_is_refused(sealed: Path, tmp_path: Path) -> None:
    (sealed / "model.onnx").rename(tmp_path / "away.onnx")
    (sealed / "model.onnx").symlink_to(tmp_path / "away.onnx")
    assert failing_part(sealed)[0] == "missing"


def test_a_damaged_signature_is_found_wherever_it_is_damaged(sealed: Path) -> None:
    content = (sealed / "evidence.sig").read_bytes()
    for position in range(0, len(content), 101):
        (sealed / "evidence.sig").write_bytes(
            content[:position] + bytes([content[position] ^ 2]) + content[position + 1 :]
        )
        assert failing_part(sealed)[0] in {"signature", "key", "other"}
    for length in (0, 1, 100, len(content) - 1):
        (sealed / "evidence.sig").write_bytes(content[:length])
        assert failing_part(sealed)[0] == "signature"


@pytest.mark.parametrize("name", ["evidence.sig", "evidence.json"])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_file_of_brackets_alone_is_a_sentence(sealed: Path, name: str, opening: str) -> None:
    (sealed / name).write_text(opening * 100_000)
    with pytest.raises(EvidenceError):
        evidence.verify(sealed)


def test_a_signature_by_another_key_is_found(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "stranger"))
    signing.private_key()
    part, message = failing_part(sealed, public_key=signing.public_key())
    assert part == "key" and "another key" in message


def test_evidence_of_another_file_is_refused_even_when_signed(sealed: Path) -> None:
    write_model(sealed / "model.onnx", weight=3.0)
    signing.sign_folder(sealed, signing.private_key())
    part, message = failing_part(sealed)
    assert part == "other" and "evidence is of another file" in message
    with pytest.raises(EvidenceError, match="another file"):
        evidence.seal(sealed, make_evidence("0" * 64))


def test_evidence_of_another_model_is_refused(sealed: Path) -> None:
    part, message = failing_part(sealed, model="flights")
    assert part == "other" and "'digits' and not of 'flights'" in message


def test_incomplete_evidence_is_refused_even_when_signed(sealed: Path) -> None:
    content = json.loads((sealed / "evidence.json").read_text())
    del content["proof"]
    (sealed / "evidence.json").write_text(json.dumps(content))
    signing.sign_folder(sealed, signing.private_key())
    part, message = failing_part(sealed)
    assert part == "evidence.json" and "proof" in message


def test_evidence_of_a_later_slipway_still_verifies(sealed: Path) -> None:
    content = json.loads((sealed / "evidence.json").read_text())
    content["proof"]["report"]["carbon"] = 3
    content["novelty"] = True
    (sealed / "evidence.json").write_text(json.dumps(content))
    signing.sign_folder(sealed, signing.private_key())
    assert evidence.verify(sealed).decision == "pass"


def test_weights_outside_the_file_are_not_sealed(keys: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "model" / "model.onnx", external=True)
    assert onnx.load(tmp_path / "model" / "model.onnx", load_external_data=False)
    with pytest.raises(UserError, match="keeps weights in another file"):
        evidence.seal(tmp_path / "model", make_evidence(sha256_of(tmp_path / "model" / "model.onnx")))
    assert not (tmp_path / "model" / "evidence.sig").exists()


def test_keys_are_for_their_owner_alone(keys: Path) -> None:
    path = signing.private_key()
    assert path == keys / "private.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
@pytest.mark.parametrize("named", [False, True])
def test_a_key_that_others_can_read_signs_nothing(
    keys: Path, monkeypatch: pytest.MonkeyPatch, mode: int, named: bool
) -> None:
    key = signing.private_key()
    if named:
        monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", str(key))
    key.chmod(mode)
    assert signing.private_key() == key, "nobody comes through its folder"
    key.parent.chmod(0o755)
    with pytest.raises(UserError, match=f"can be read by others .mode {mode:04o}.*: `chmod 600 "):
        signing.private_key()
    key.chmod(0o600)
    assert signing.private_key() == key


def test_many_that_make_the_key_at_once_share_one(keys: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        contents = set(pool.map(lambda _: signing.private_key().read_bytes(), range(16)))
    assert len(contents) == 1
    assert sorted(p.name for p in keys.iterdir()) == ["private.pem"]


def test_keys_from_the_environment_win(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "other"))
    own = signing.private_key()
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "third"))
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", str(own))
    evidence.seal(sealed, make_evidence(sha256_of(sealed / "model.onnx")))
    assert evidence.verify(sealed).decision == "pass"
    monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(tmp_path / "nothing.pem"))
    with pytest.raises(UserError, match="SLIPWAY_PUBLIC_KEY=.*is no file"):
        evidence.verify(sealed)


def test_two_halves_of_different_pairs_are_noticed_before_anything_is_signed(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [(tmp_path / f"{name}.pem", tmp_path / f"{name}.pub") for name in ("staging", "production")]
    for pair in pairs:
        signing.create_key_pair(*pair)
    (sealed / signing.SIGNATURE).unlink()
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", str(pairs[0][0]))
    monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(pairs[1][1]))
    with pytest.raises(
        UserError, match=r"production.pub is not the public half of .*staging.pem, .*name both halves of one"
    ):
        evidence.seal(sealed, make_evidence(sha256_of(sealed / "model.onnx")))
    assert not (sealed / signing.SIGNATURE).exists()
    monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(pairs[0][1]))
    evidence.seal(sealed, make_evidence(sha256_of(sealed / "model.onnx")))
    assert evidence.verify(sealed).decision == "pass"


def test_another_key_for_a_while_does_not_change_who_is_trusted_after(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signing.create_key_pair(tmp_path / "other.pem", tmp_path / "other.pub")
    with monkeypatch.context() as meanwhile:
        meanwhile.setenv("SLIPWAY_PRIVATE_KEY", str(tmp_path / "other.pem"))
        with pytest.raises(EvidenceError, match="signed by another key"):
            evidence.verify(sealed)
    assert evidence.verify(sealed).decision == "pass"


def test_a_file_that_is_no_key_is_one_sentence(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "junk.pem").touch(0o600)
    (tmp_path / "junk.pem").write_text("no key")
    monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(tmp_path / "junk.pem"))
    with pytest.raises(UserError, match="junk.pem is not a PEM public key"):
        evidence.verify(sealed)
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", str(tmp_path / "junk.pem"))
    with pytest.raises(UserError, match="junk.pem is not a PEM private key"):
        evidence.seal(sealed, make_evidence(sha256_of(sealed / "model.onnx")))


def test_without_any_key_the_server_says_what_it_needs(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "server"))
    with pytest.raises(UserError, match="no public key at .*SLIPWAY_PUBLIC_KEY"):
        evidence.verify(sealed)


def test_the_code_revision_says_whether_files_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert evidence.code_state(tmp_path) == Code(revision=None, dirty=True)
    who = {
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@t",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@t",
    }
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, env={**os.environ, **who})
    clean = evidence.code_state(tmp_path)
    assert clean.revision is not None and not clean.dirty
    (tmp_path / "requirements.lock").write_text("numpy==2\n")
    lock = sha256_of(tmp_path / "requirements.lock")
    assert evidence.code_state(tmp_path) == Code(revision=clean.revision, dirty=True, lock=lock)
    monkeypatch.setenv("SLIPWAY_REVISION", "v1.2")
    own = sha256_of(ROOT / "requirements.lock")
    assert provenance.code_state() == Code(revision="v1.2", dirty=False, lock=own)


@pytest.mark.slow
def test_verifying_imports_nothing_heavy(sealed: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tasks.proof import evidence; evidence.verify(Path(sys.argv[1]));"
        "print([m for m in ('torch', 'mlflow', 'prefect', 'pandas', 'numpy', 'scipy', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(sealed)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_slipway_installed_inside_another_project_does_not_take_its_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = {f"GIT_{whose}_{what}": "t@t" for whose in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, env={**os.environ, **who})
    installed = tmp_path / ".venv" / "tasks" / "proof" / "provenance.py"
    installed.parent.mkdir(parents=True)
    installed.touch()
    monkeypatch.delenv("SLIPWAY_REVISION", raising=False)
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.code_state() == Code(revision=None, dirty=True)


def test_a_file_from_before_that_has_its_run_and_its_source_inside_still_verifies_and_loads(
    tmp_path: Path, keys: Path
) -> None:
    """Its digest is of those bytes as they are: nothing of an older version is written anew."""
    from tasks.onnx.session import open_session

    folder = tmp_path / "older"
    write_model(folder / evidence.MODEL)
    proto = onnx.load(folder / evidence.MODEL)
    proto.ir_version = 10
    helper.set_model_props(proto, {"slipway.run_id": "0" * 32, "slipway.code": "a" * 40})
    note = proto.graph.node[0].metadata_props.add()
    note.key, note.value = "pkg.torch.onnx.stack_trace", 'File "/home/somebody/mine.py", line 3, in forward'
    (folder / evidence.MODEL).write_bytes(proto.SerializeToString())
    evidence.seal(folder, make_evidence(sha256_of(folder / evidence.MODEL)))
    assert evidence.verify(folder).run_id == "0" * 32
    (answer,) = open_session(folder / evidence.MODEL).run(None, {"x": np.ones((2, 4), "float32")})
    assert answer.shape == (2, 3)
