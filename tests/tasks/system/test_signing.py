"""A folder's signature counts by the key that made it, whatever the signature says of that key."""

import json
import shutil
from pathlib import Path

import promotions
import pytest
from changed_folders import handed_over

from tasks.proof import evidence
from tasks.system.files import sha256_of
from tasks.system.signing import EvidenceError, keyring, private_key, sign_folder, signed_digest


def hinting(folder: Path, hint: str | None) -> None:
    """Anybody may say in a signature which key it is of, or say nothing."""
    path = folder / "evidence.sig"
    envelope = json.loads(path.read_bytes())
    envelope["verificationMaterial"]["publicKey"] = {} if hint is None else {"hint": hint}
    path.write_text(json.dumps(envelope))


@pytest.mark.parametrize("hint", ["", None])
def test_what_an_ended_key_signs_counts_no_more_where_the_signature_does_not_name_it(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    hint: str | None,
) -> None:
    promotions.seal_folder(tmp_path / "in time", "digits", 2.0)
    thief = Path(shutil.copy(private_key(), tmp_path / "stolen.pem"))
    given = Path(shutil.copy(home / "keys" / "public.pem", tmp_path / "given.pem"))
    handed_over({sha256_of(tmp_path / "in time" / "evidence.json")})
    promotions.seal_folder(tmp_path / "by the new", "digits", 3.0)
    promotions.seal_folder(tmp_path / "forged", "digits", 9.0)
    sign_folder(tmp_path / "forged", thief)
    for name in ("in time", "by the new", "forged"):
        hinting(tmp_path / name, hint)
    for root in (given, home / "keys" / "public.pem"):  # a server has the first, and a new machine the last
        monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(root))
        for name in ("in time", "by the new"):
            assert evidence.verify(tmp_path / name).decision == "pass"
            digest = sha256_of(tmp_path / name / "evidence.json")
            assert signed_digest(tmp_path / name, "evidence.json", keyring()) == digest
        with pytest.raises(EvidenceError, match="whose successor took over") as refused:
            evidence.verify(tmp_path / "forged")
        assert refused.value.part == "key"
        assert signed_digest(tmp_path / "forged", "evidence.json", keyring()) is None
        hinting(tmp_path / "forged", "0" * 64)
        with pytest.raises(EvidenceError, match="signed by another key"):
            evidence.verify(tmp_path / "forged")
        hinting(tmp_path / "forged", hint)
    assert capsys.readouterr().out == ""  # stdout is a command's alone
