"""The traffic record, written and read: what a worker saw is what `monitor` finds, also after faults."""

import datetime
import errno
import gzip
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serving_models as models
from checkout import BENCH, ROOT, SUPPORT

from infra.serving.ipc.messages import Release
from infra.serving.models import recording
from infra.serving.models.execution import About, Done, ObservedRequest, Request
from infra.serving.models.lanes import Lot
from infra.serving.models.pairs import Pair
from infra.serving.models.recording import MAX_ROWS, QUEUE, Recorder, evict
from infra.serving.models.version import LoadedVersion, load_version
from infra.serving.wire.tensors import Outputs, assemble, rows_of
from tasks.monitoring.traffic import outputs, served_columns, volume
from tasks.records import TensorSpec
from tasks.rollout.record import RolloutRecord
from tasks.system.files import sha256_of
from tasks.traffic.pairs import read_pairs
from tasks.traffic.requests import read_traffic

LONG_AGO = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> LoadedVersion:
    folder = models.save(tmp_path_factory.mktemp("model"), models.two_inputs())
    digest = sha256_of(folder / "model.onnx")
    release = Release(model="texts", version="7", digest=digest, folder=folder, evidence="local")
    return load_version(release, threads=1, batch=None, max_rows=4096)


def asked(version: LoadedVersion, rows: int, length: int = 3) -> Done:
    """A batch of one request, answered."""
    random = np.random.default_rng(rows)
    features = random.normal(size=(rows, 4)).astype("float32")
    request_rows = rows_of(version.spec, [random.integers(1, 50, (rows, length)), features], rows)
    nobody: Any = None
    request = Request(request_rows, nobody, nobody, time.perf_counter())
    return Done([request], version, version.run([request_rows]), 0.001)


def recorded(home: Path, version: LoadedVersion, *batches: Done) -> Recorder:
    recorder = Recorder(home, share=1.0, slot=0)
    for batch in batches:
        recorder.saw(batch)
    recorder.close()
    return recorder


def test_what_was_asked_and_answered_is_found_again_a_row_each(
    version: LoadedVersion, tmp_path: Path
) -> None:
    batches = [asked(version, rows, length=rows + 1) for rows in (1, 3, 2)]
    recorder = recorded(tmp_path, version, *batches)
    assert (recorder.written, recorder.dropped) == (3, 0)
    table = read_traffic(tmp_path / "traffic" / "texts", LONG_AGO)
    assert table is not None
    assert volume(table).by_version == {"7": 6} and volume(table).p50_ms is not None
    specs = (
        TensorSpec(name="tokens", dtype="int64", shape=("batch", "length")),
        TensorSpec(name="features", dtype="float32", shape=("batch", 4)),
    )
    columns = served_columns(table, specs)
    given = [assemble(version.spec, [batch.requests[0].rows]) for batch in batches]
    tokens = [feeds["tokens"].reshape(-1) for feeds in given]
    np.testing.assert_array_equal(columns["tokens"], np.concatenate(tokens))
    features = np.concatenate([feeds["features"] for feeds in given])
    np.testing.assert_allclose(columns["features[2]"], features[:, 2], rtol=1e-7)
    answered = np.concatenate([batch.outputs.arrays[0] for batch in batches])
    np.testing.assert_allclose(outputs(table, {"sum": answered})["sum"], answered, rtol=1e-6)


def test_what_is_asked_now_and_then_is_written_before_the_server_ends(
    version: LoadedVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "PAUSE", 0.01)
    monkeypatch.setattr(recording, "FILE_SECONDS", 0.02)
    recorder = Recorder(tmp_path, share=1.0, slot=0)
    for number in (1, 2):
        recorder.saw(asked(version, 1))
        while recorder.written < number:
            time.sleep(0.01)
    recorder.close()
    assert len(list(tmp_path.rglob("*.jsonl.gz"))) == 2


def test_of_a_large_request_the_first_rows_are_kept(version: LoadedVersion, tmp_path: Path) -> None:
    recorded(tmp_path, version, asked(version, 5 * MAX_ROWS))
    table = read_traffic(tmp_path / "traffic" / "texts", LONG_AGO)
    assert table is not None and len(table) == MAX_ROWS


def test_numbers_that_json_has_no_word_for_are_read_as_nan(version: LoadedVersion, tmp_path: Path) -> None:
    batch, other = asked(version, 2), asked(version, 1)
    batch.outputs.arrays[0][0, 1] = np.nan
    other.outputs.arrays[0][:] = np.inf
    recorded(tmp_path, version, batch)
    recorded(tmp_path, version, other)
    table = read_traffic(tmp_path / "traffic" / "texts", LONG_AGO)
    assert table is not None
    like = {"sum": np.zeros((1, 4), "float32")}
    assert np.isnan(outputs(table, like)["sum"]).sum() == 5 and len(table) == 3


def test_more_than_there_is_time_for_is_dropped_and_counted(version: LoadedVersion, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, share=1.0, slot=0)
    batch = asked(version, 1)
    for _ in range(2 * QUEUE):
        recorder.saw(batch)
    recorder.close()
    assert recorder.dropped > 0 and recorder.written + recorder.dropped == 2 * QUEUE


def test_at_the_end_all_that_waits_is_written_but_for_what_cannot_be(
    version: LoadedVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "PAUSE_BYTES", 1)
    recorder = Recorder(tmp_path, share=1.0, slot=0)
    cannot_be: Any = None
    for rows, request in ((1, ...), (2, cannot_be), (3, ...), (4, ...)):
        done = asked(version, rows)
        sample = recording.Sample(done, done.requests[0] if request is ... else request, 0, 0.0)
        assert recorder._put(sample, 1)
    recorder.close()
    assert (recorder.written, recorder.dropped) == (3, 1)
    table = read_traffic(tmp_path / "traffic" / "texts", LONG_AGO)
    assert table is not None and len(table) == 8


def test_a_full_disk_costs_what_is_written_then_and_nothing_that_was_there(
    version: LoadedVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(tmp_path, version, asked(version, 1))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        recorder = recorded(tmp_path, version, asked(version, 2))
        assert (recorder.written, recorder.dropped) == (0, 1)
    recorded(tmp_path, version, asked(version, 4))
    table = read_traffic(tmp_path / "traffic" / "texts", LONG_AGO)
    assert table is not None and len(table) == 5
    assert {path.suffix for path in (tmp_path / "traffic").rglob("*") if path.is_file()} == {".gz"}


@pytest.mark.slow
def test_a_kill_while_it_writes_leaves_whole_files_only(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from infra.serving.models import recording
import test_recording as here
recording.PAUSE, recording.FILE_SECONDS = 0.001, 0.0
home = Path({str(tmp_path)!r})
folder = here.models.save(home / "model", here.models.two_inputs())
release = here.Release(model="texts", version="7", digest=here.sha256_of(folder / "model.onnx"), folder=folder, evidence="local")
version = here.load_version(release, threads=1, batch=None, max_rows=4096)
recorder, batch = here.Recorder(home, share=1.0, slot=0), here.asked(version, 16)
while True:
    recorder.saw(batch)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, BENCH, SUPPORT)))}
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment)
    try:
        end = time.monotonic() + 120
        while len(list((tmp_path / "traffic").rglob("*.gz"))) < 20 and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    files = list((tmp_path / "traffic").rglob("*.gz"))
    assert len(files) >= 20
    for path in files:
        assert gzip.decompress(path.read_bytes()).endswith(b"]]}\n")


def test_a_file_that_was_torn_is_left_out_and_said_and_the_others_are_read(
    version: LoadedVersion, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)
    for rows in (1, 2, 4):
        recorded(tmp_path, version, asked(version, rows))
    first, second, third = sorted((tmp_path / "traffic").rglob("*.gz"))
    os.truncate(second, 60)
    third.write_bytes(b"")
    table = read_traffic(tmp_path / "traffic" / "texts", LONG_AGO)
    assert table is not None and len(table) == 1
    assert second.name in caplog.text and third.name in caplog.text and first.name not in caplog.text


def test_the_oldest_files_go_when_there_are_too_many_and_parquet_of_former_releases_stays(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "traffic" / "texts"
    for hour in ("2026-11-01/23", "2026-11-02/00", "2026-11-02/01"):
        (folder / hour).mkdir(parents=True)
        (folder / hour / "1-0-9.jsonl.gz").write_bytes(b"x" * 100)
        (folder / hour / "old.parquet").write_bytes(b"x" * 1000)
    evict(folder, 200)
    left = [path.parent.name for path in sorted(folder.rglob("*.gz"))]
    assert left == ["00", "01"] and len(list(folder.rglob("*.parquet"))) == 3


def test_pairs_wait_for_their_labels_however_much_is_sampled_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "traffic" / "texts"
    for hour in ("2026-11-01/23", "2026-11-02/00", "2026-11-02/01"):
        (folder / hour).mkdir(parents=True)
        (folder / hour / "1-0-9.jsonl.gz").write_bytes(b"x" * 100)
        (folder / hour / "1-0-9.pairs.jsonl.gz").write_bytes(b"x" * 60)
    evict(folder, 120)
    samples = {*folder.rglob("*.gz")} - {*folder.rglob("*.pairs.jsonl.gz")}
    assert [path.parent.name for path in samples] == ["01"]
    assert sorted(path.parent.name for path in folder.rglob("*.pairs.jsonl.gz")) == ["00", "01"]


def test_a_long_record_stays_within_its_bound(
    version: LoadedVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MODEL_BYTES", 2000)
    for _ in range(8):
        recorded(tmp_path, version, asked(version, 16))
    sizes = [path.stat().st_size for path in (tmp_path / "traffic").rglob("*.gz")]
    assert 0 < sum(sizes) - max(sizes) <= 2000 and len(sizes) < 8


def test_rows_that_the_last_release_kept_as_parquet_are_read_with_the_new_ones(
    version: LoadedVersion, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    now = datetime.datetime.now(datetime.UTC)
    rows = [
        {"version": "6", "digest": "d" * 64, "latency_ms": 2.0, "inputs.tokens": [1, 2], "inputs.features": [0.5] * 4,
         "outputs.sum": [1.0] * 4, "outputs.total": [1.0]} for _ in range(3)
    ]  # fmt: skip
    moments = pa.array([now] * 3, pa.timestamp("us", "UTC"))
    table = pa.Table.from_pylist(rows).add_column(0, "time", moments)
    folder = tmp_path / "traffic" / "texts" / now.strftime("%Y-%m-%d/%H")
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "1-2.parquet", compression="zstd")
    recorded(tmp_path, version, asked(version, 2))
    both = read_traffic(tmp_path / "traffic" / "texts", LONG_AGO)
    assert both is not None and volume(both).by_version == {"6": 3, "7": 2}
    assert outputs(both, {"sum": np.zeros((1, 4), "float32")})["sum"].shape == (5, 4)
    later = now + datetime.timedelta(hours=2)
    assert read_traffic(tmp_path / "traffic" / "texts", later) is None


def drawn_of(done: Done) -> Done:
    """The same batch, whose request was drawn in a rollout."""
    record = RolloutRecord(
        model="texts", run="r", old=7, new=8, old_sha256="", new_sha256="", salt="s", step=1, weight=0.1, sequence=1
    )  # fmt: skip
    rows, nobody = done.requests[0].rows, done.requests[0].reply
    request = ObservedRequest(About(b"order-7", b"ada", Lot(record, 0.9)), rows, nobody, nobody, 0.0)  # type: ignore[arg-type]
    return done._replace(requests=[request])


@pytest.mark.parametrize("why", ["no room", "no line"])
def test_a_pair_that_differs_and_cannot_be_kept_is_counted_as_one_without_a_label(
    version: LoadedVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Or what differs in large requests would be gone, and what agrees in them be kept."""
    drawn = drawn_of(asked(version, 3))
    assert isinstance(drawn.outputs, Outputs)
    if why == "no room":
        monkeypatch.setattr(recording, "QUEUE_BYTES", 10)
    else:
        monkeypatch.setattr(recording, "_pair_line", {}.__getitem__)
    recorder = Recorder(tmp_path, share=0.0, slot=0)
    for agreed in (True, True, False):
        recorder.noted(Pair(drawn, 1, agreed, drawn.outputs))
    recorder.close()
    [hour] = read_pairs(tmp_path / "traffic" / "texts", "r")
    assert (hour.pairs, hour.agreed, hour.differ) == (3, 2, ())


def test_pairs_that_differ_have_lines_of_their_own_whatever_the_share_and_all_are_counted(
    version: LoadedVersion, tmp_path: Path
) -> None:
    done, other = asked(version, 3), asked(version, 2)
    drawn = drawn_of(done)
    assert isinstance(other.outputs, Outputs) and isinstance(done.outputs, Outputs)
    recorder = Recorder(tmp_path, share=0.0, slot=0)
    recorder.saw(done)
    for agreed in (False, True, True):
        recorder.noted(Pair(drawn, 1, agreed, other.outputs))
    recorder.close()
    (path,) = (tmp_path / "traffic" / "texts").rglob("*.jsonl.gz")
    line, counted = map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
    assert path.name.endswith(".pairs.jsonl.gz")
    assert (line["id"], line["version"], line["rollout"], line["weight"]) == ("order-7", "7", "r", 0.9)
    assert len(line["key"]) == 16 and "ada" not in path.read_bytes().decode("latin-1")
    totals = dict(
        zip((tensor.name for tensor in done.outputs.spec.outputs), done.outputs.arrays, strict=True)
    )
    assert line["outputs.total"] == [[pytest.approx(float(totals["total"][1]))]]
    assert len(line["inputs.tokens"]) == len(line["inputs.features"]) == 1
    assert (line["pair"]["row"], line["pair"]["new"], line["pair"]["old"]) == (1, 8, 7)
    assert line["pair"]["other"]["sum"] == pytest.approx(other.outputs.arrays[0][0].tolist())
    assert {key: counted[key] for key in ("rollout", "version", "pairs", "agreed")} == {
        "rollout": "r",
        "version": "7",
        "pairs": 3,
        "agreed": 2,
    }
