"""API keys from a file that changes."""

import logging
from pathlib import Path

import pytest

from infra.serving.http.api_keys import Keys


def test_keys_that_cannot_be_read_stay_and_are_complained_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)
    path = tmp_path / "keys"
    path.write_text("k3y\n")
    keys = Keys(path)
    path.rename(tmp_path / "away")
    for _ in range(3):
        keys.refresh()
    assert keys.allow({b"x-api-key": b"k3y"}) and caplog.text.count("the keys stay") == 1
    (tmp_path / "away").rename(path)
    keys.refresh()
    path.unlink()
    keys.refresh()
    assert caplog.text.count("the keys stay") == 2
