"""What reading a value costs beside the model: CPU time a text and a picture, alone and in a batch, by the module that serves.

And that numbers pay nothing: a row of numbers through a worker's reader, a batch and its answer, with the libraries of codecs
not loaded. Compare two checkouts by running each in turn.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from figures import listed, published

sys.path.append(str(Path(__file__).parents[1] / "support"))

import serving_models as models

from infra.serving.codecs.mlflow_scoring import predictions
from infra.serving.ipc.messages import Release
from infra.serving.models.execution import Request, answered
from infra.serving.models.version import load_version
from tasks.system.files import sha256_of


def microseconds(work: Callable[[], object], per: int, seconds: float = 1.5) -> float:
    """CPU time a piece of work, the median of fifteen stretches."""
    begun = time.process_time()
    work()
    times = max(1, int(seconds / 15 / max(time.process_time() - begun, 1e-6)))
    stretches = []
    for _ in range(15):
        begun = time.process_time()
        for _ in range(times):
            work()
        stretches.append((time.process_time() - begun) / times / per * 1e6)
    return round(median(stretches), 1)


def numbers(folder: Path) -> dict[str, float]:
    row = np.random.default_rng(0).normal(size=(1, 64)).astype("float32").tolist()
    models.save(folder, models.mlp(), {"x": row})
    digest = sha256_of(folder / "model.onnx")
    release = Release(model="m", version="1", digest=digest, folder=folder, evidence="local")
    loaded = load_version(release, threads=1, batch=None, max_rows=4096)
    body = json.dumps({"inputs": {"x": row}}).encode()

    def answer(count: int) -> None:
        rows = [loaded.invocations.at_once(body) for _ in range(count)]
        answered(loaded, None, [Request(r, predictions, None, 0.0) for r in rows if r], 64)  # type: ignore[arg-type]

    return {f"numbers, {count} at once": microseconds(partial(answer, count), count) for count in (1, 32)}


def values(folder: Path) -> dict[str, float]:
    from coded import jpegs, texts, write_tokenizer

    from tasks.codecs import Coded, Image, Text

    coded = Coded(
        {
            "text": Text(column="text", tokenizer=write_tokenizer(folder / "t.json"), length=64),
            "photo": Image(column="photo", size=(24, 24)),
        }
    )
    figures = {}
    for name, given in (("text", texts(564)[-64:]), ("photo", jpegs(64))):
        reader = coded.decoder.readers[name]
        taken = [reader.take(value, at).value for at, value in enumerate(given)]
        figures[f"{name}, taken"] = microseconds(lambda r=reader, g=given[0]: r.take(g, 0), 1)  # type: ignore[misc]
        for count in (1, 64):
            work = lambda r=reader, v=taken[:count]: r.read(v)  # noqa: E731
            figures[f"{name}, {count} at once"] = microseconds(work, count)
    return figures


def main() -> None:
    with (
        published("codecs", "tokenizers", "pillow", "onnxruntime") as lines,
        tempfile.TemporaryDirectory() as scratch,
    ):
        figures: dict[str, object] = dict(numbers(Path(scratch) / "numbers"))
        loaded = sorted({"tokenizers", "PIL"} & {*sys.modules})
        figures |= {
            "libraries of codecs that numbers load": ", ".join(loaded) or "none",
            **values(Path(scratch)),
        }
        lines += ["CPU µs a value:", "", *listed(figures)]


if __name__ == "__main__":
    main()
