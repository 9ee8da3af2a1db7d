"""A sealed version with its statements, and the key that it is signed with."""

import shutil
from pathlib import Path

import pytest
from stated import sealed


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_HOME", str(folder / "home"))
        (folder / "home").mkdir(mode=0o700)
        sealed(folder / "digits-v4")
    return folder


@pytest.fixture
def version(_made: Path, tmp_path: Path, home: Path) -> Path:
    """A copy of a version's folder, to be changed; its key is the home's."""
    shutil.copytree(_made / "home", home)
    return Path(shutil.copytree(_made / "digits-v4", tmp_path / "digits-v4"))
