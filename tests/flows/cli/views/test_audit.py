"""`slipway audit` as people read it."""

import datetime

import pytest

from flows.cli.views.audit import show_audit
from tasks.promotion.audit import Audit, AuditedModel, AuditedVersion

NOW = datetime.datetime(2026, 11, 27, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("of_keys", "of_ledger", "of_version", "steps"),
    [
        ((), (), (), ["slipway audit --replay"]),
        ((), (), ("model.onnx was altered",), ["slipway verify digits/2"]),
        ((), ("entry 3 was altered",), (), ["slipway history digits"]),
        (("a change of keys is not signed",), (), (), ["slipway keys"]),
    ],
)
def test_what_to_try_next_is_where_a_fault_is_looked_into(
    of_keys: tuple[str, ...],
    of_ledger: tuple[str, ...],
    of_version: tuple[str, ...],
    steps: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    standing = "fails" if of_version else "holds"
    version = AuditedVersion(version=2, standing=standing, promoted=NOW, problems=of_version)  # type: ignore[arg-type]
    model = AuditedModel(model="digits", entries=3, versions=(version,), problems=of_ledger)
    show_audit(Audit(at=NOW, replayed=False, models=(model,), problems=of_keys), as_json=False)
    said = capsys.readouterr().out.partition("Try next:\n")[2]
    assert [line.strip() for line in said.splitlines()] == steps
