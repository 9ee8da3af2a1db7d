"""What `slipway up` wrote down about itself, and whether that still holds."""

import shutil
from pathlib import Path

import psutil
import pytest

from infra.platform.state import State, read_state, write_state
from tasks.errors import UserError


def test_a_platform_that_was_killed_is_not_up(tmp_path: Path) -> None:
    me = psutil.Process()
    write_state(tmp_path, State(pid=me.pid, created=me.create_time(), services=()))
    assert read_state(tmp_path) is not None
    write_state(tmp_path, State(pid=me.pid, created=me.create_time() - 3600, services=()))
    assert read_state(tmp_path) is None


def test_what_is_up_in_a_home_is_not_up_in_a_copy_of_it(tmp_path: Path) -> None:
    me, home, copy = psutil.Process(), tmp_path / "home", tmp_path / "copy"
    write_state(home, State(home=home, pid=me.pid, created=me.create_time(), services=()))
    shutil.copytree(home, copy)
    assert read_state(home) is not None and read_state(copy) is None


def test_a_home_by_another_name_is_the_same_home(tmp_path: Path) -> None:
    me, home = psutil.Process(), tmp_path / "home"
    write_state(home, State(home=home, pid=me.pid, created=me.create_time(), services=()))
    (tmp_path / "link").symlink_to(home)
    assert read_state(tmp_path / "link") is not None


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1, "of_another_version": true}'])
def test_what_another_version_wrote_is_a_sentence_and_no_traceback(tmp_path: Path, text: str) -> None:
    (tmp_path / "up.json").write_text(text)
    with pytest.raises(UserError, match="up.json is not of this version of Slipway: end that `slipway up`"):
        read_state(tmp_path)
