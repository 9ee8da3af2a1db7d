"""A part of the campaign: a checkpoint that rots on the disk, by a bit or from its end, under a training that is to go on."""

import logging
import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from campaign import Case, Part, Tried, Try, Wrong

FLIPS, CUTS = 1_000, 200

_GENERATION = 25


@contextmanager
def open_rot(scratch: Path) -> Iterator[Try]:
    """A training killed amid its epochs, and one that was finished; every case rots a copy of either, and trains again."""
    import bench_drill
    import filelock  # noqa: F401  what a training imports, once for all forks
    import psutil  # noqa: F401
    import torch._dynamo  # noqa: F401

    logging.disable(logging.WARNING)  # every case has one, as it should
    config = bench_drill.CONFIG.model_copy(update={"checkpoint_seconds": 0.0, "epochs": 2})
    drill = bench_drill.make_drill(scratch, config)
    whole = drill.finish(scratch / "finished")
    drill.kill_at_save(scratch / "killed", _GENERATION)

    def attempt(case: Case) -> Tried:
        name = case.dice.choice(("killed", "killed", "finished"))
        rotten = scratch / "rotten"
        shutil.rmtree(rotten, ignore_errors=True)
        shutil.copytree(scratch / name, rotten)
        files = [p for p in sorted(rotten.glob("*/*")) if p.name.startswith(("last-", "best", "checkpoint"))]
        if not files:
            raise AssertionError(f"{name} left no checkpoint")
        path = case.dice.choice(files)
        what = rot(path, case)
        said = in_a_fork(lambda: _train_again(bench_drill, drill, rotten, whole.sha256))
        if said:
            raise Wrong(f"{what} of {path.name} in the {name} training: {said}")
        return Tried(f"{what.partition(' ')[0]}: the same bits in the end")

    yield attempt


def rot(path: Path, case: Case) -> str:
    """Flip a bit of the file, or cut it off somewhere; what was done, in words."""
    content = bytearray(path.read_bytes())
    if case.number % 6 != 5:  # 1,000 to 200
        bit = case.dice.randrange(len(content) * 8)
        content[bit // 8] ^= 1 << bit % 8
        what = f"flip of bit {bit}"
    else:
        length = case.dice.randrange(len(content))
        del content[length:]
        what = f"cut to {length} bytes"
    path.write_bytes(content)
    return what


def _train_again(bench_drill: ModuleType, drill: object, folder: Path, sha256: str) -> str:
    from tasks.training.checkpoint import load_weights
    from tasks.training.trainer import train

    config = drill.config.model_copy(update={"checkpoint_seconds": 60.0})  # type: ignore[attr-defined]  # no knob of its outcome
    checkpoint = train(bench_drill.WORKLOAD, drill.dataset, config, folder)  # type: ignore[attr-defined]
    if checkpoint.sha256 != sha256:
        return f"other weights: {checkpoint.sha256[:16]} where {sha256[:16]} were trained"
    load_weights(checkpoint)
    return ""


def in_a_fork(function: Callable[[], str]) -> str:
    """What the function says, run in a process of its own that has all that was imported here; an error's last lines else."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            said = function()
        except BaseException:
            said = traceback.format_exc()[-2000:]
        os.write(writer, said.encode()[:60_000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said or (f"its process ended with {status}" if status else "")


PARTS = (
    Part(
        "rot", f"{FLIPS:,} bits flipped and {CUTS} cuts in a training's checkpoints", FLIPS + CUTS, open_rot
    ),
)
