"""Releasing: what two runs at once must not do to each other."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock, Timeout

from tasks.promotion.registration import register


class Asked(Exception):
    pass


def test_a_run_holds_its_models_folder_from_the_first_thing_that_it_asks_a_fake_registry(
    tmp_path: Path,
) -> None:
    other = FileLock(tmp_path / "release.lock")

    class Registry:
        def run_address(self, *_: str) -> str:
            with pytest.raises(Timeout):
                other.acquire(timeout=0)
            raise Asked

    registry: Any = Registry()
    evidence: Any = SimpleNamespace(model="digits", run_id="r1")
    picked: Any = SimpleNamespace(onnx="model.onnx")
    nothing: Any = None
    with pytest.raises(Asked):
        register(registry, evidence, nothing, picked, nothing, tmp_path / "package", "key", nothing)
    other.acquire(timeout=0)
    other.release()
