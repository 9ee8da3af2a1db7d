"""The store: what another machine gets is whole, what it was, and the newest; and what it is told when it cannot have it."""

import errno
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_digits
from fsspec.implementations.local import LocalFileSystem

from tasks.config import Data, Train
from tasks.data.dataset import prepare, read_split
from tasks.errors import StepError, UserError
from tasks.system.storage import ObjectStorage
from tasks.training.checkpoint import load
from tasks.training.metrics import read_metrics
from tasks.training.progress import Progress
from tasks.training.trainer import train

WORKLOAD = str(Path(tiny_digits.__file__))


@pytest.fixture
def url(tmp_path: Path) -> str:
    (tmp_path / "bucket").mkdir()
    return (tmp_path / "bucket").as_uri()


def machine(tmp_path: Path, name: str, url: str) -> ObjectStorage:
    (tmp_path / name).mkdir(exist_ok=True)
    return ObjectStorage(url, tmp_path / name)


def test_a_folder_comes_back_as_it_was_on_another_machine(tmp_path: Path, url: str) -> None:
    here, there = machine(tmp_path, "here", url), machine(tmp_path, "there", url)
    folder = tmp_path / "here" / "datasets" / "a"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "x.npy").write_bytes(b"rows")
    (folder / "dataset.json").write_bytes(b"{}")
    here.check()
    here.keep(folder)
    copy = tmp_path / "there" / "datasets" / "a"
    assert there.fetch(copy)
    assert {p.relative_to(copy).as_posix(): p.read_bytes() for p in copy.rglob("*") if p.is_file()} == {
        "train/x.npy": b"rows",
        "dataset.json": b"{}",
    }
    assert not there.fetch(tmp_path / "there" / "datasets" / "unknown")


def test_a_folder_that_is_forgotten_is_gone_with_all_below_it_and_its_neighbours_stay(
    tmp_path: Path, url: str
) -> None:
    here = machine(tmp_path, "here", url)
    for name in ("work/a", "work/a/b", "work/ab"):
        (tmp_path / "here" / name).mkdir(parents=True)
        (tmp_path / "here" / name / "file").write_text(name)
        here.keep(tmp_path / "here" / name, ["file"])
    here.forget(tmp_path / "here" / "work" / "a")
    left = [
        path.relative_to(tmp_path / "bucket").parts[:2]
        for path in (tmp_path / "bucket").rglob("*")
        if path.is_file()
    ]
    assert {*left} == {("work", "ab")}
    here.forget(tmp_path / "here" / "never" / "kept")


def test_an_altered_object_is_refused_and_nothing_appears(tmp_path: Path, url: str) -> None:
    here, there = machine(tmp_path, "here", url), machine(tmp_path, "there", url)
    folder = tmp_path / "here" / "work"
    folder.mkdir()
    (folder / "last-000001.pt").write_bytes(b"weights")
    here.keep(folder)
    kept = next(path for path in (tmp_path / "bucket" / "work").iterdir() if path.name != "manifest.json")
    kept.write_bytes(b"wEights")
    with pytest.raises(StepError, match=r"holds last-000001\.pt of work altered: its SHA-256 is not"):
        there.fetch(tmp_path / "there" / "work")
    assert list((tmp_path / "there").iterdir()) == []


def test_a_machine_that_dies_while_it_mirrors_leaves_the_state_before(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = machine(tmp_path, "here", url), machine(tmp_path, "there", url)
    folder = tmp_path / "here" / "work"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    here.keep(folder, ["a"])
    (folder / "a").write_bytes(b"2")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tasks.system.storage.write_atomically", die)  # of the manifest, which comes last
        with pytest.raises(KeyboardInterrupt):
            here.keep(folder, ["a"])
    assert there.fetch(tmp_path / "there" / "work")
    assert (tmp_path / "there" / "work" / "a").read_bytes() == b"1"
    here.keep(folder, ["a"])
    assert len(list((tmp_path / "bucket" / "work").iterdir())) == 2  # what nobody names any more is gone


def test_what_is_here_is_not_replaced(tmp_path: Path, url: str) -> None:
    here = machine(tmp_path, "here", url)
    folder = tmp_path / "here" / "work"
    folder.mkdir()
    (folder / "a").write_bytes(b"old")
    here.keep(folder)
    (folder / "a").write_bytes(b"newer")
    here.fetch(folder)
    assert (folder / "a").read_bytes() == b"newer"


def test_a_store_that_is_away_stops_no_work_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.system.storage.MIRROR_SECONDS", 0.01)
    (tmp_path / "bucket").write_text("a file, where a folder is needed")
    store = machine(tmp_path, "here", (tmp_path / "bucket").as_uri())
    (tmp_path / "here" / "a").write_bytes(b"1")
    with store.mirroring(tmp_path / "here", lambda: ["a"]):
        end = time.monotonic() + 60
        while "Not mirrored, work goes on" not in caplog.text and time.monotonic() < end:
            time.sleep(0.01)
    assert "Not mirrored, work goes on: SLIPWAY_STORE=file://" in caplog.text


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://x/y", r"SLIPWAY_STORE=nonsense://x/y cannot be used .*give an fsspec address"),
        ("file:///proc/nowhere", r"SLIPWAY_STORE=file:///proc/nowhere is not there .*create the bucket"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_sentence(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ObjectStorage(url, tmp_path).check()


def test_another_machine_gets_the_same_dataset_without_making_it(tmp_path: Path, url: str) -> None:
    here, there = machine(tmp_path, "here", url), machine(tmp_path, "there", url)
    made = prepare(WORKLOAD, Data(), tmp_path / "here" / "datasets")
    here.keep(made.folder)
    (made.folder / "mark").touch()  # not mirrored: it came after
    fetched = prepare(WORKLOAD, Data(), tmp_path / "there" / "datasets", fetch=there.fetch)
    assert fetched.folder.is_relative_to(tmp_path / "there") and not (fetched.folder / "mark").exists()
    assert np.array_equal(read_split(fetched, "test").target, read_split(made, "test").target)
    assert fetched.model_copy(update={"folder": made.folder}) == made


@pytest.mark.slow
def test_another_machine_goes_on_from_the_mirrored_checkpoint_to_the_same_bytes(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Train(epochs=3, checkpoint_seconds=0, threads=1, patience=None)
    dataset = prepare(WORKLOAD, Data(), tmp_path / "datasets")
    here, there = machine(tmp_path, "here", url), machine(tmp_path, "there", url)
    whole = train(WORKLOAD, dataset, config, tmp_path / "whole")
    monkeypatch.setattr("tasks.system.storage.MIRROR_SECONDS", 0.01)
    monkeypatch.setattr("tasks.training.progress.SHOW_SECONDS", 0)

    def stop(progress: Progress) -> None:
        if progress.step == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(WORKLOAD, dataset, config, tmp_path / "here" / "work" / "training", store=here, progress=stop)
    seen: list[Progress] = []
    resumed = train(
        WORKLOAD, dataset, config, tmp_path / "there" / "work" / "training", store=there, progress=seen.append
    )
    assert 0 < seen[0].step <= 31
    assert resumed.sha256 == whole.sha256
    assert [(m.key, m.step) for m in read_metrics(resumed.metrics) if m.key == "train/loss"] == [
        (m.key, m.step) for m in read_metrics(whole.metrics) if m.key == "train/loss"
    ]
    finished = machine(tmp_path, "third", url)
    taken = train(WORKLOAD, dataset, config, tmp_path / "third" / "work" / "training", store=finished)
    assert taken.sha256 == whole.sha256 and len(list(taken.path.parent.glob("last-*.pt"))) == 1
    assert load(taken.path)["weights"].keys() == load(whole.path)["weights"].keys()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError(), KeyError("x")]
)
def test_a_mirror_that_meets_any_error_says_so_and_goes_on(
    tmp_path: Path,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    monkeypatch.setattr("tasks.system.storage.MIRROR_SECONDS", 0.01)
    store, tried, again = machine(tmp_path, "here", url), [], threading.Event()

    def keep(folder: Path, names: list[str]) -> None:
        tried.append(names)
        if len(tried) == 3:
            again.set()
        raise error

    monkeypatch.setattr(store, "keep", keep)
    with store.mirroring(tmp_path / "here", lambda: ["a"]):
        assert again.wait(30)
    assert f"Not mirrored, work goes on: {type(error).__name__}" in caplog.text


def test_two_machines_may_look_at_once_whether_a_store_is_there(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = machine(tmp_path, "here", url), machine(tmp_path, "there", url)
    remove = LocalFileSystem.rm_file

    def look_meanwhile(files: LocalFileSystem, path: str) -> None:
        monkeypatch.undo()
        there.check()
        remove(files, path)

    monkeypatch.setattr(LocalFileSystem, "rm_file", look_meanwhile)
    here.check()
    assert list((tmp_path / "bucket").iterdir()) == []


def test_a_manifest_that_names_a_file_elsewhere_writes_nothing(tmp_path: Path, url: str) -> None:
    here, there = machine(tmp_path, "here", url), machine(tmp_path, "there", url)
    folder = tmp_path / "here" / "work"
    folder.mkdir()
    (folder / "a").write_bytes(b"evil")
    here.keep(folder)
    manifest = tmp_path / "bucket" / "work" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"a"', '"../../outside"'))
    with pytest.raises(StepError, match="names a file outside of work: ../../outside"):
        there.fetch(tmp_path / "there" / "work")
    assert not list(tmp_path.rglob("outside"))


def test_a_manifest_is_never_seen_half_written(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = machine(tmp_path, "here", url), machine(tmp_path, "there", url)
    folder = tmp_path / "here" / "work"
    folder.mkdir()
    (folder / "a").write_bytes(b"first")
    here.keep(folder)
    (folder / "a").write_bytes(b"second")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StepError, match="No space left"):
        here.keep(folder)
    monkeypatch.undo()
    assert there.fetch(tmp_path / "there" / "work")
    assert (tmp_path / "there" / "work" / "a").read_bytes() == b"first"
