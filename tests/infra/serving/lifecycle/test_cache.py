"""What a server remembers over a restart, in a cache that was copied or moved."""

import os
import re
import shutil
from pathlib import Path

import pytest

from infra.serving.ipc.messages import Release
from infra.serving.lifecycle.cache import Cache, Note, recall
from infra.serving.lifecycle.registry import Pointer
from infra.serving.options import Target
from tasks.system.files import write_atomically


@pytest.mark.parametrize("original_stays", [True, False])
def test_a_copied_cache_serves_its_own_files(tmp_path: Path, original_stays: bool) -> None:
    cache, target = Cache(tmp_path / "cache"), Target.parse("digits@champion")
    incoming = cache.incoming() / "m"
    incoming.mkdir()
    (incoming / "model.onnx").write_bytes(b"a model")
    folder = cache.keep(incoming)
    release = Release(model="digits", version="1", digest="d", folder=folder, evidence="verified")
    cache.remember(target, Note(pointer=Pointer(version="1", created=1), release=release))
    shutil.copytree(tmp_path / "cache", tmp_path / "copy")
    if not original_stays:
        shutil.rmtree(tmp_path / "cache")
    note = recall(tmp_path / "copy", target)
    assert note is not None and note.release.folder == tmp_path / "copy" / folder.name


def test_a_server_that_starts_leaves_what_another_is_fetching_and_removes_what_a_killed_one_had(
    tmp_path: Path,
) -> None:
    first = Cache(tmp_path / "cache")
    fetching = first.incoming()
    target = first.root / "targets" / "digits@champion.json"
    write_atomically(target, b"{}")
    own = re.search(rf"-{os.getpid()}-([0-9]+)[.]", fetching.name)
    assert own is not None and int(own[1]) > 0
    killed = fetching.name.replace(
        own[0], f"-{os.getpid()}-1."
    )  # of the container before, where its number was the same
    (first.root / killed).mkdir()
    (target.parent / killed.replace("incoming", target.name)).touch()
    Cache(tmp_path / "cache").tidy()
    assert [path.name for path in first.root.glob(".*")] == [fetching.name]
    assert [path.name for path in target.parent.iterdir()] == [target.name]
