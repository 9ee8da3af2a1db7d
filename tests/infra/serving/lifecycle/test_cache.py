"""What a server remembers over a restart, in a cache that was copied or moved."""

import shutil
from pathlib import Path

import pytest

from infra.serving.ipc.messages import Release
from infra.serving.lifecycle.cache import Cache, Note, recall
from infra.serving.lifecycle.registry import Pointer
from infra.serving.options import Target


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
