"""The registry as the follower reads it."""

from pathlib import Path

import pytest

from infra.serving.lifecycle.registry import AliasSource, Unfetched


def test_a_full_disk_is_told_from_a_registry_that_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = AliasSource.__new__(AliasSource)  # else mlflow's address would change for all

    def full(*_: object, **__: object) -> str:
        raise ValueError("The following failures occurred: [Errno 28] No space left on device: 'model.onnx'")

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", full)
    with pytest.raises(Unfetched, match="the disk of the cache is full"):
        registry.fetch("digits", "1", tmp_path)
