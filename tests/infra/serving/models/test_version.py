"""A version in memory: what it is loaded from, and rows that go through it."""

from pathlib import Path

import numpy as np
import pytest
import serving_models as models
from onnx import helper

from infra.serving.errors import Unservable
from infra.serving.ipc.messages import Release
from infra.serving.models.version import load_version
from tasks.system.files import sha256_of


def test_what_onnx_runtime_cannot_load_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x09")
    digest = sha256_of(tmp_path / "model.onnx")
    release = Release(model="m", version="1", digest=digest, folder=tmp_path, evidence="unsigned")
    with pytest.raises(Unservable, match="does not load in ONNX Runtime"):
        load_version(release, threads=1, batch=None, max_rows=9)


def test_rows_that_do_not_come_out_as_they_went_in_are_nobodys_answer(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], axes=[1], keepdims=0),
        helper.make_node("GreaterOrEqual", ["most", "zero"], ["kept"]),
        helper.make_node("Compress", ["x", "kept"], ["y"], axis=0),
    ]
    weights = {"zero": np.array(0, np.float32)}
    proto = models.graph(nodes, [models.floats("x", "n", 2)], [models.floats("y", "m", 2)], weights)
    folder = models.save(tmp_path / "m", proto)
    digest = sha256_of(folder / "model.onnx")
    release = Release(model="m", version="1", digest=digest, folder=folder, evidence="unsigned")
    loaded = load_version(release, threads=1, batch=None, max_rows=9)
    first, second = (loaded.invocations.read(b'{"inputs": [[%d, -2]]}' % number) for number in (1, -1))
    assert loaded.run([first, first]).arrays[0].tolist() == [[1, -2], [1, -2]]
    with pytest.raises(ValueError, match="1 rows came out for 2"):
        loaded.run([second, first])
