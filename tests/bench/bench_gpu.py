"""What a GPU alone can show: the same bits after a kill, bf16 against fp32, a bare loop's speed, memory that is short, a file for CPUs.

Runs tasks/ on whatever torch from 2.11 and Python from 3.11 on is there; no package index, Prefect or MLflow. `make gpu` runs it, on a machine
without our environment too: `make gpu-wheels` prepares what little else it needs. Where torch sees no GPU each part is skipped by name.
"""

import contextlib
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tasks.config import Data, Train
from tasks.data.arrays import Samples
from tasks.data.dataset import prepare
from tasks.errors import StepError
from tasks.onnx.export import export
from tasks.proof.validation import validate
from tasks.training import batches
from tasks.training.optimizer import learning_rate
from tasks.training.progress import Progress
from tasks.training.trainer import fit, train
from tasks.workloads.workload import Workload

LIBRARIES = (
    *("torch", "numpy", "scipy", "pandas", "pyarrow", "pandera", "scikit-learn"),
    *("onnx", "onnx_ir", "onnxscript", "onnxruntime", "pydantic", "psutil"),
)

OF_BARE = 0.95
"""Of a bare loop's rows a second, at the least, where both give the same bits again."""

ROWS, EXACT_ROWS, CLASSES, SIDE = 65_536, 32_768, 10, 28

WIDE = Train(epochs=4, batch_size=1024, lr=1e-3, patience=None, checkpoint_seconds=600)

EXACT = Train(epochs=3, batch_size=256, lr=2e-3, patience=None, checkpoint_seconds=0.05)


class Residual(nn.Module):
    """Convolutions with batch normalisation and dropout, of which each has its own way not to be exact."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
            for _ in range(4)
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(width * 16, CLASSES)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.first(image)
        for block in self.blocks:
            x = x + block(x)
        logits: torch.Tensor = self.head(x)
        return logits


def pictures(rows: int, seed: int) -> Samples:
    """scikit-learn's digits at 28 × 28, each again and again with noise, as there are few of them."""
    from sklearn.datasets import load_digits

    images, target = load_digits(return_X_y=True)
    random = np.random.default_rng(seed)
    index = random.integers(0, len(target), rows)
    large = np.kron(images.reshape(-1, 8, 8)[index] / 16, np.ones((1, 3, 3)))
    large = np.pad(large, ((0, 0), (2, 2), (2, 2))) + random.normal(0, 0.5, (rows, SIDE, SIDE))
    return Samples({"image": large[:, None].astype("float32")}, target[index].astype("int64"))


def workload(width: int = 64) -> Workload:
    return Workload(
        name="pictures",
        kind="classification",
        target="digit",
        load=lambda: None,  # type: ignore[arg-type, return-value]
        schema=lambda: None,  # type: ignore[arg-type, return-value]
        inputs=lambda frame: {},
        model=lambda: Residual(width),
    )


def trained(
    folder: Path, config: Train, rows: int, show: Callable[[Progress], None] | None = None, width: int = 64
) -> tuple[str, float]:
    """(SHA-256 of the best weights, score) of a training from its seed."""
    torch.manual_seed(0)
    module = Residual(width)
    checkpoint = fit(
        module, pictures(rows, 0), pictures(4096, 1), config, folder, workload=workload(width), progress=show
    )
    return checkpoint.sha256, checkpoint.score


def killed_and_resumed(folder: Path) -> dict[str, object]:
    """A real process is killed twice by SIGKILL, between and within epochs; what goes on ends with the same bits, in both precisions."""
    said: dict[str, object] = {}
    for precision in ("bf16", "fp32"):
        config = EXACT.model_copy(update={"precision": precision})
        whole, _ = trained(folder / f"whole-{precision}", config, EXACT_ROWS)
        again, _ = trained(folder / f"again-{precision}", config, EXACT_ROWS)
        for after in (60, 200):
            _kill_a_training(folder / f"killed-{precision}", precision, after)
        resumed, _ = trained(folder / f"killed-{precision}", config, EXACT_ROWS)
        said[f"{precision}: the same seed gives the same bits"] = again == whole
        said[f"{precision}: killed after steps 60 and 200, resumed to the same bits"] = resumed == whole
    return said


def _kill_a_training(folder: Path, precision: str, after: int) -> None:
    child = subprocess.Popen(
        [sys.executable, __file__, "train", str(folder), precision], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("step ") and int(line.split()[1]) >= after:
            break
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "the training ended before it was killed"


def precisions(folder: Path) -> dict[str, object]:
    """Rows a second and score in bf16 and fp32, by turns, of a module whose multiplications are most of its work."""
    rates: dict[str, list[float]] = {"bf16": [], "fp32": []}
    scores = {}
    for turn in range(3):
        for precision, seen in rates.items():
            config = WIDE.model_copy(update={"precision": precision})
            rate, scores[precision] = _rate(folder / f"{precision}-{turn}", config, ROWS // 4, 256)
            seen.append(rate)
    median = {name: statistics.median(seen) for name, seen in rates.items()}
    return {
        "bf16 rows/s": round(median["bf16"]),
        "fp32 rows/s": round(median["fp32"]),
        "bf16 / fp32": round(median["bf16"] / median["fp32"], 2),
        "scores": {name: round(score, 4) for name, score in scores.items()},
    }


def _rate(folder: Path, config: Train, rows: int = 0, width: int = 64) -> tuple[float, float]:
    """Rows a second of the last epochs, without the first, which is spent on choosing kernels; and the score."""
    ends: list[float] = []

    def show(progress: Progress) -> None:
        if progress.score is not None and progress.step * config.epochs >= (len(ends) + 1) * progress.steps:
            ends.append(time.perf_counter())

    rows = rows or ROWS
    _, score = trained(folder, config, rows, show, width)
    return rows * (len(ends) - 1) / (ends[-1] - ends[0]), score


def bare_loop(folder: Path) -> dict[str, object]:
    """Rows a second of ours, all included, with rows on the GPU and sent to it, against the loop that people write first."""
    ours, sent, bare, relaxed = [], [], [], []
    share = batches._SHARE
    for turn in range(3):
        ours.append(_rate(folder / f"ours-{turn}", WIDE)[0])
        batches._SHARE = 0.0
        sent.append(_rate(folder / f"sent-{turn}", WIDE)[0])
        batches._SHARE = share
        with _exact():
            bare.append(_bare())
        relaxed.append(_bare())
    of_bare = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    return {
        "ours rows/s": round(statistics.median(ours)),
        "ours, rows sent each step": round(statistics.median(sent)),
        "bare loop, exact too": round(statistics.median(bare)),
        "bare loop, not exact": round(statistics.median(relaxed)),
        "ours / bare, exact too": round(of_bare, 3),
        f"at least {OF_BARE} of it": of_bare >= OF_BARE,
        "ours / bare, not exact": round(
            statistics.median(a / b for a, b in zip(ours, relaxed, strict=True)), 3
        ),
    }


@contextlib.contextmanager
def _exact() -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def _bare() -> float:
    """Everything on the GPU before it starts, bf16, a fused optimizer, and the same validation at each epoch's end."""
    torch.manual_seed(0)
    module, rows, held = Residual(64).cuda(), pictures(ROWS, 0), pictures(4096, 1)
    x, y = torch.from_numpy(rows.inputs["image"]).cuda(), torch.from_numpy(rows.target).cuda()
    vx, vy = torch.from_numpy(held.inputs["image"]).cuda(), torch.from_numpy(held.target).cuda()
    optimizer = torch.optim.AdamW(module.parameters(), WIDE.lr, weight_decay=WIDE.weight_decay, fused=True)
    steps = WIDE.epochs * (ROWS // WIDE.batch_size)
    step, ends = 0, []
    for _ in range(WIDE.epochs):
        module.train()
        for index in torch.randperm(len(x), device="cuda").split(WIDE.batch_size):
            optimizer.param_groups[0]["lr"] = learning_rate(WIDE, step, steps)
            with torch.autocast("cuda", torch.bfloat16):
                loss = functional.cross_entropy(module(x[index]).float(), y[index])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), WIDE.clip_norm or math.inf)
            optimizer.step()
            step += 1
        module.eval()
        with torch.inference_mode():
            outputs = torch.cat([module(part) for part in vx.split(WIDE.batch_size)])
            functional.cross_entropy(outputs, vy).item()
            (outputs.argmax(1) == vy).float().mean().item()
        ends.append(time.perf_counter())
    return ROWS * (WIDE.epochs - 1) / (ends[-1] - ends[0])


def short_of_memory(folder: Path) -> dict[str, object]:
    """A batch that no GPU holds is a sentence, and the process goes on."""
    huge = WIDE.model_copy(update={"epochs": 1, "batch_size": 65_536})
    try:
        trained(folder / "huge", huge, ROWS, width=4096)
    except StepError as error:
        said = str(error)
    else:
        said = "held all of it: give a larger width"
    torch.cuda.empty_cache()
    _, score = trained(folder / "after", EXACT, EXACT_ROWS)
    return {
        "said": said,
        "score of the next training": round(score, 3),
        "gone on": "does not hold a batch" in said,
    }


def file_for_cpus(folder: Path) -> dict[str, object]:
    """The digits workload trained on the GPU, exported, and its file held against torch on the CPU by the same validation as ever."""
    dataset = prepare("digits", Data(), folder)
    checkpoint = train("digits", dataset, Train(epochs=8, lr=2e-3, device="cuda"), folder / "training")
    candidate = export("digits", dataset, checkpoint, folder / "model.onnx", metadata={})
    report = validate("digits", dataset, candidate, candidate, folder / "reports")
    return {
        "exported from CUDA by": candidate.onnx.exporter if candidate.onnx else None,
        "parity with torch": [parity.model_dump(mode="json") for parity in report.parity],
        "score": report.score,
        "problems": list(report.problems),
    }


def machine() -> dict[str, object]:
    free, total = torch.cuda.mem_get_info()
    return {
        "GPU": f"{torch.cuda.get_device_name()}, {total / 2**30:.0f} GiB",
        "driver": subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
        ).stdout.strip(),
        "CPU": f"{os.cpu_count()} cores",
        "python": platform.python_version(),
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
        **{name: version(name) for name in LIBRARIES},
    }


PARTS: dict[str, Callable[[Path], dict[str, object]]] = {
    "killed and resumed": killed_and_resumed,
    "bf16 against fp32": precisions,
    "against a bare loop": bare_loop,
    "memory that is short": short_of_memory,
    "a file for CPUs": file_for_cpus,
}


def main() -> None:
    if sys.argv[1:2] == ["train"]:
        config = EXACT.model_copy(update={"precision": sys.argv[3]})
        trained(
            Path(sys.argv[2]), config, EXACT_ROWS, lambda progress: print("step", progress.step, flush=True)
        )
        return
    words = [word for word in sys.argv[1:] if word != "--write"]  # there is no table of its parts
    wanted = [name for name in PARTS if not words or any(word in name for word in words)]
    if not torch.cuda.is_available():
        for name in wanted:
            print(f"skipped: {name} (torch sees no GPU here)")
        return
    print(json.dumps({"machine": machine()}, indent=1), flush=True)
    for name in wanted:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            figures = PARTS[name](Path(scratch))
        print(
            json.dumps({name: figures, "seconds": round(time.perf_counter() - started, 1)}, indent=1),
            flush=True,
        )


if __name__ == "__main__":
    main()
