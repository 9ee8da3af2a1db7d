"""Checkpoints that survive: a full or broken disk, a process that ends, a power cut, flipped bits, cut files."""

import errno
import itertools
import logging
import os
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import StepError
from tasks.records import Checkpoint
from tasks.training.checkpoint import CheckpointStore, digest_path, load, load_weights, save


def state(number: int) -> dict[str, Any]:
    return {"step": number, "module": {"weight": torch.full((3, 2), float(number))}}


def store(folder: Path) -> CheckpointStore:
    return CheckpointStore(folder, "this training")


def newest(folder: Path) -> int:
    """The step that a new process would go on from; 0: from the start."""
    loaded = store(folder).load()
    assert loaded is None or bool((loaded["module"]["weight"] == loaded["step"]).all())
    return 0 if loaded is None else int(loaded["step"])


class Operation(NamedTuple):
    kind: str
    name: str = ""
    to: str = ""
    data: bytes = b""


class Disk:
    """Stands where tasks.files meets the operating system: records what is done, and can break any one of it."""

    def __init__(self, break_at: int = -1, how: int | None = None) -> None:
        self.operations: list[Operation] = []
        self._break_at, self._how = break_at, how
        self._names: dict[int, str] = {}

    @contextmanager
    def watching(self) -> Iterator["Disk"]:
        make, open_, sync = tempfile.mkstemp, os.fdopen, os.fsync
        rename, unlink = os.rename, os.unlink

        def mkstemp(*args: Any, **knobs: Any) -> tuple[int, str]:
            handle, name = make(*args, **knobs)
            self._names[handle] = Path(name).name
            self._happens(Operation("create", Path(name).name))
            return handle, name

        def fdopen(handle: int, *args: Any, **knobs: Any) -> Any:
            return _Watched(open_(handle, *args, **knobs), self._names[handle], self._happens)

        def fsync(handle: int) -> None:
            if Path(os.readlink(f"/proc/self/fd/{handle}")).is_dir():
                self._happens(Operation("sync folder"))
            else:
                self._happens(Operation("sync", self._names[handle]))
            sync(handle)

        def rename_(source: Any, target: Any, **knobs: Any) -> None:
            self._happens(Operation("rename", Path(source).name, Path(target).name))
            rename(source, target, **knobs)

        def unlink_(path: Any, **knobs: Any) -> None:
            if os.path.exists(path):
                self._happens(Operation("unlink", Path(path).name))
            unlink(path, **knobs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "mkstemp", mkstemp)
            for name, watched in [
                ("fdopen", fdopen),
                ("fsync", fsync),
                ("rename", rename_),
                ("unlink", unlink_),
            ]:
                patch.setattr(os, name, watched)
            yield self

    def _happens(self, operation: Operation) -> None:
        self.operations.append(operation)
        if len(self.operations) - 1 == self._break_at:
            if self._how is None:
                os._exit(9)
            raise OSError(self._how, os.strerror(self._how))


class _Watched:
    """A file whose writes are seen; half of a write that is made to fail reaches it, as on a disk that fills up."""

    def __init__(self, file: Any, name: str, happens: Callable[[Operation], None]) -> None:
        self._file, self._name, self._happens = file, name, happens

    def write(self, data: bytes) -> int:
        half = len(data) // 2
        self._file.write(data[:half])
        self._happens(Operation("write", self._name, data=bytes(data)))
        self._file.write(data[half:])
        return len(data)

    def __enter__(self) -> "_Watched":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def record(saves: int) -> tuple[list[Operation], list[int]]:
    """The operations of so many saves, and after how many of them each save had returned."""
    with tempfile.TemporaryDirectory() as folder, Disk().watching() as disk:
        checkpoints = store(Path(folder))
        returned = []
        for number in range(1, saves + 1):
            checkpoints.save(state(number))
            returned.append(len(disk.operations))
        return list(disk.operations), returned


def operations_of_the_third_save() -> range:
    operations, returned = record(3)
    third = operations[returned[1] :]
    assert {"create", "write", "sync", "rename", "sync folder", "unlink"} == {
        operation.kind for operation in third
    }
    return range(len(third))


def two_saved(folder: Path) -> CheckpointStore:
    checkpoints = store(folder)
    checkpoints.save(state(1))
    checkpoints.save(state(2))
    return checkpoints


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_any_operation_of_a_save_may_fail(tmp_path: Path, code: int) -> None:
    for at in operations_of_the_third_save():
        folder = tmp_path / str(at)
        folder.mkdir()
        checkpoints = two_saved(folder)
        returned = False
        with Disk(at, code).watching():
            try:
                checkpoints.save(state(3))
                returned = True
            except StepError as error:
                assert str(folder) in str(error)
        assert newest(folder) == 3 if returned else newest(folder) in (2, 3)
        checkpoints.save(state(4))
        assert newest(folder) == 4
        assert len(list(folder.glob("*"))) == 4, "two generations and their digests, nothing left over"


@pytest.mark.slow
def test_the_process_may_end_at_any_operation_of_a_save(tmp_path: Path) -> None:
    for at in operations_of_the_third_save():
        folder = tmp_path / str(at)
        folder.mkdir()
        checkpoints = two_saved(folder)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # forking while torch has threads; the child uses none
            child = os.fork()
        if child == 0:
            with Disk(at).watching():
                checkpoints.save(state(3))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert newest(folder) in (2, 3)
        again = store(folder)
        again.load()
        again.save(state(4))
        assert newest(folder) == 4


def test_a_full_disk_is_named_with_what_is_needed_and_free(tmp_path: Path) -> None:
    checkpoints = two_saved(tmp_path)
    with Disk(1, errno.ENOSPC).watching(), pytest.raises(StepError) as caught:
        checkpoints.save({"step": 3, "module": {"weight": torch.zeros(1000)}})
    assert str(caught.value).startswith(
        f"No space for a checkpoint in {tmp_path}: at least 4,016 bytes are needed and "
    )
    assert newest(tmp_path) == 2


class _File:
    def __init__(self) -> None:
        self.written, self.synced = b"", b""


def crashes(operations: list[Operation]) -> Iterator[dict[str, bytes]]:
    """Every folder that a power cut right now may leave, as name → content.

    What was synced is there. Of a file's later writes none, half or all may be; of the folder's later creations,
    renames and removals any may have reached the disk, in their order (POSIX promises no more).
    """
    files: dict[str, _File] = {}
    durable: dict[str, _File] = {}
    pending: list[tuple[Operation, _File]] = []
    for operation in operations:
        if operation.kind == "create":
            files[operation.name] = _File()
        elif operation.kind == "write":
            files[operation.name].written += operation.data
        elif operation.kind == "sync":
            files[operation.name].synced = files[operation.name].written
        if operation.kind in ("create", "rename", "unlink"):
            file = files[operation.name] if operation.kind == "create" else files.pop(operation.name)
            pending.append((operation, file))
            if operation.kind == "rename":
                files[operation.to] = file
        if operation.kind == "sync folder":
            durable, pending = dict(files), []
    for chosen in itertools.product([False, True], repeat=len(pending)):
        names = dict(durable)
        for operation, file in itertools.compress(pending, chosen):
            names.pop(operation.name, None)
            if operation.kind != "unlink":
                names[operation.to or operation.name] = file
        unsynced = [name for name, file in names.items() if file.synced != file.written]
        for shares in itertools.product([0.0, 0.5, 1.0], repeat=len(unsynced)):
            contents = {name: file.written for name, file in names.items()}
            for name, share in zip(unsynced, shares, strict=True):
                synced, written = names[name].synced, names[name].written
                contents[name] = written[: len(synced) + round(share * (len(written) - len(synced)))]
            yield contents


def lost_after_a_crash(operations: list[Operation], returned: list[int], folder: Path) -> tuple[int, int]:
    """How many of the folders that a power cut may leave, at any moment, load, and how many lost what was acknowledged."""
    seen: dict[tuple[tuple[str, bytes], ...], int] = {}
    lost = total = 0
    for end in range(len(operations) + 1):
        if end < len(operations) and operations[end].kind == "write":
            continue  # the writes before are covered by the halves of what comes after
        acknowledged = sum(count <= end for count in returned)
        for contents in crashes(operations[:end]):
            key = tuple(sorted((name, data) for name, data in contents.items() if not name.endswith(".tmp")))
            if key not in seen:
                for path in folder.iterdir():
                    path.unlink()
                for name, data in key:
                    (folder / name).write_bytes(data)
                seen[key] = newest(folder)
            total += 1
            lost += seen[key] < acknowledged
    return total, lost


def test_a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    total, lost = lost_after_a_crash(*record(4), tmp_path)
    assert total > 100
    assert lost == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "sync folder"])
def test_the_replay_of_a_power_cut_notices_a_missing_fsync(tmp_path: Path, kind: str) -> None:
    operations, returned = record(3)
    kept = [number for number, operation in enumerate(operations) if operation.kind != kind]
    without = [sum(number < count for number in kept) for count in returned]
    assert lost_after_a_crash([operations[number] for number in kept], without, tmp_path)[1] > 0


@pytest.mark.slow
def test_every_flipped_bit_is_detected_and_the_generation_before_is_used(tmp_path: Path) -> None:
    two_saved(tmp_path)
    dice = random.Random(0)
    for path in (tmp_path / "last-000002.pt", tmp_path / "last-000002.pt.sha256"):
        whole = path.read_bytes()
        for _ in range(500):
            bit = dice.randrange(len(whole) * 8)
            altered = bytearray(whole)
            altered[bit // 8] ^= 1 << bit % 8
            path.write_bytes(altered)
            assert newest(tmp_path) == 1
        path.write_bytes(whole)
    assert newest(tmp_path) == 2


def test_every_truncation_is_detected_and_the_generation_before_is_used(tmp_path: Path) -> None:
    two_saved(tmp_path)
    path = tmp_path / "last-000002.pt"
    whole = path.read_bytes()
    for length in random.Random(0).sample(range(len(whole)), 200):
        path.write_bytes(whole[:length])
        assert newest(tmp_path) == 1


def test_a_torn_checkpoint_is_named_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    two_saved(tmp_path)
    (tmp_path / "last-000002.pt").write_bytes(b"torn")
    with caplog.at_level(logging.WARNING):
        assert newest(tmp_path) == 1
    assert f"{tmp_path / 'last-000002.pt'} is torn or altered" in caplog.text


def test_a_damaged_generation_does_not_push_out_the_good_one(tmp_path: Path) -> None:
    two_saved(tmp_path)
    (tmp_path / "last-000002.pt").write_bytes(b"torn")
    checkpoints = store(tmp_path)
    assert checkpoints.load() is not None
    checkpoints.save(state(3))
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["last-000001.pt", "last-000003.pt"]


def test_the_state_of_another_training_is_not_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    CheckpointStore(tmp_path, "another training").save(state(1))
    assert store(tmp_path).load() is None
    assert "is of another training" in caplog.text


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    digest = save(path, {"weights": {"w": torch.zeros(2)}})
    checkpoint = Checkpoint(
        path=path, sha256=digest, epoch=1, step=1, score=1.0, stopped="", metrics=tmp_path / "metrics.jsonl"
    )
    assert load_weights(checkpoint)["w"].tolist() == [0, 0]
    save(path, {"weights": {"w": torch.ones(2)}})
    with pytest.raises(StepError, match="is missing or not the one that was trained"):
        load_weights(checkpoint)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    save(path, {"weights": _Evil()})
    with pytest.raises(Exception, match="[Ww]eights.only"):
        load(path)


class _Evil:
    def __reduce__(self) -> Any:
        return os.abort, ()


def test_sha256sum_can_check_the_digest_file(tmp_path: Path) -> None:
    digest = save(tmp_path / "best.pt", state(1))
    assert digest_path(tmp_path / "best.pt").read_text() == f"{digest}  best.pt\n"


tensors = st.tuples(
    st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8, torch.bfloat16]),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 100),
).map(lambda drawn: torch.full(drawn[1], drawn[2]).to(drawn[0]))
values = st.recursive(
    tensors
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.none()
    | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second and type(first) is type(second))


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=8), values, max_size=4))
@settings(max_examples=50, deadline=None)
def test_any_state_comes_back_as_it_was_and_has_one_digest(content: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.pt", Path(folder) / "another-name.pt"
        assert save(first, content) == save(second, content)
        assert same(content, load(first))
