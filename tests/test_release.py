from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from tasks.release import release


def test_two_runs_of_a_model_do_not_write_its_folder_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def releasing(*_: object) -> str:
        with pytest.raises(Timeout):
            FileLock(tmp_path / "release.lock").acquire(timeout=0)
        return "released"

    monkeypatch.setattr("tasks.release._release", releasing)
    nothing: Any = None
    done: Any = release(nothing, nothing, nothing, nothing, nothing, tmp_path / "package", "key", nothing)
    assert done == "released"
