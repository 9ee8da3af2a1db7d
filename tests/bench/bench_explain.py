"""From where two seeds' attributions agree well enough: the champions under SLIPWAY_HOME against models that know nothing.

For each model: the agreement of two seeds with its own weights, with its weights shuffled within each tensor (a model of
the same shape that has learned nothing), and of one seed's row with the other seed's next row (what rows have in common).
Agreement tells noise of the draws and not truth, so it is held against what a reader takes from a picture: how many of a
row's five largest parts both seeds name, at 4 to 32 draws.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from figures import cell, published, table

from tasks.config import Data
from tasks.data.dataset import prepare, read_frame
from tasks.proof.evidence import MODEL, read
from tasks.records import Dataset
from tasks.reporting import attribution
from tasks.reporting.attribution import AttributedRow, attribute
from tasks.settings import load_settings
from tasks.workloads.catalogue import load_workload

DRAWS, ROWS, LARGEST = (4, 8, 16, 32), 20, 5


def main() -> None:
    with published("explain", "torch", "onnxruntime") as lines:
        rows = list(compared())
        lines += table(list(rows[0]), [list(map(cell, row.values())) for row in rows])


def compared() -> Iterator[dict[str, object]]:
    home = load_settings().home
    packages = sorted(home.glob("work/*/package"))
    if not packages:
        raise SystemExit(f"{home} has no champions: begin with slipway run digits")
    for package in packages:
        evidence = read(package)
        dataset = prepare(evidence.workload, Data.model_validate(evidence.config["data"]), home / "datasets")
        for draws in DRAWS:
            attribution.DRAWS = draws
            told = measured(evidence.workload, dataset, package / MODEL)
            yield {"model": evidence.model, "draws": draws, **told}


def measured(reference: str, dataset: Dataset, model: Path) -> dict[str, float]:
    """Means over rows of the model's agreement, those of the controls, and the share of largest parts in common."""
    real, nothing = (seeds(reference, dataset, file) for file in (model.read_bytes(), shuffled(model)))
    pairs = [(a.by_seed[0], b.by_seed[1]) for a, b in zip(real, real[1:], strict=False)]
    same = [(a, b) for a, b in pairs if len(a) == len(b)]
    return {
        "trained": mean([row.agreement for row in real]),
        "lowest row": round(min(row.agreement for row in real), 3),
        "untrained": mean([row.agreement for row in nothing]),
        "other row": mean([attribution.agreement(a, b) for a, b in same]),
        "common of 5": mean([in_common(row) for row in real]),
        "untrained's": mean([in_common(row) for row in nothing]),
    }


def seeds(reference: str, dataset: Dataset, model: bytes) -> list[AttributedRow]:
    workload, test = load_workload(reference), read_frame(dataset, "test").head(ROWS)
    return list(attribute(workload, dataset, model, test, list(range(len(test)))))


def shuffled(model: Path) -> bytes:
    """The file with the numbers of each weight tensor in random order."""
    import onnx
    from onnx import numpy_helper

    graph, random = onnx.load(model), np.random.default_rng(0)
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype in (np.float32, np.float16, np.int8, np.uint8) and values.ndim > 1:
            mixed = random.permutation(values.reshape(-1)).reshape(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(mixed, tensor.name))
    return bytes(graph.SerializeToString())


def in_common(row: AttributedRow) -> float:
    """The share of the largest parts that both seeds name."""
    most = min(LARGEST, len(row.weights))
    first, second = (set(np.argsort(-abs(weights))[:most]) for weights in row.by_seed)
    return len(first & second) / most


def mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 3) if values else float("nan")


if __name__ == "__main__":
    main()
