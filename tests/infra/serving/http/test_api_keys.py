"""API keys from a file that changes."""

import logging
from pathlib import Path

import pytest

from infra.serving.http.api_keys import Keys
from infra.serving.options import ServeOptions
from infra.serving.processes.main import serve
from tasks.errors import UserError


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


@pytest.mark.parametrize("given", [",", " ", " , ,", "\t"])
def test_keys_that_are_set_and_are_none_are_refused_and_no_open_server(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_SERVE_KEYS", given)
    with pytest.raises(
        UserError, match="SLIPWAY_SERVE_KEYS is set to .* and has no key in it: name one, or unset it"
    ):
        Keys(None)
    with pytest.raises(UserError, match="has no key in it"):
        serve(["digits@champion"], ServeOptions(home=Path(), allow_unsigned=True), {})


@pytest.mark.parametrize("given", [" ", "\t", ","])
def test_a_webhooks_secret_that_is_set_and_is_none_is_refused(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_SERVE_WEBHOOK_SECRET", given)
    with pytest.raises(
        UserError, match="SLIPWAY_SERVE_WEBHOOK_SECRET is set and holds no secret: give .*, or unset it"
    ):
        ServeOptions()
    monkeypatch.setenv("SLIPWAY_SERVE_WEBHOOK_SECRET", "")
    assert ServeOptions().webhook_secret is None


def test_blanks_around_keys_are_no_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_SERVE_KEYS", " one ,, two")
    keys = Keys(None)
    assert keys.allow({b"x-api-key": b"one"}) and keys.allow({b"x-api-key": b"two"})
    assert not keys.allow({b"x-api-key": b""}) and not keys.allow({})
