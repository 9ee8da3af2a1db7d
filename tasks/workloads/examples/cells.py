"""Which of ten types a blood cell is, from what 765 genes express: 700 cells that ship inside scanpy.

So few cells decide little, so the score is also cross-validated over all of them, and comes with its interval.
"""

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tasks.config import Gates, Train
from tasks.errors import UserError
from tasks.workloads.sources import packaged_file
from tasks.workloads.workload import DEFAULT_RECIPES, Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

GENES = tuple(files("tasks.workloads.examples").joinpath("genes.txt").read_text("utf-8").split())
"""The 765 genes of the file by name, in its order: the model knows them by their place alone."""


def load_frame() -> "pd.DataFrame":
    """One row a cell: log-normalised counts, float32, a column a gene, and the cell's type.

    Read with h5py: importing scanpy takes ten seconds. The scaled matrix in the same file was fitted on all cells.
    """
    import numpy as np
    import pandas as pd

    path = packaged_file("scanpy", "datasets/10x_pbmc68k_reduced.h5ad", "cells")
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            "The package 'h5py', which reads cells, is not installed: pip install 'slipway[cells]'."
        ) from error
    with h5py.File(path) as file:
        matrix = file["raw.X"]
        starts, genes, values = (matrix[name][:] for name in ("indptr", "indices", "data"))
        names = [name.decode() for name in file["raw.var"]["index"]]
        types = np.array([name.decode() for name in file["uns/bulk_labels_categories"]])
        labels = types[file["obs"]["bulk_labels"]]
    counts = np.zeros((len(labels), len(names)), "float32")
    counts[np.repeat(np.arange(len(labels)), np.diff(starts)), genes] = values
    return (
        pd.DataFrame(counts, columns=names).assign(cell_type=labels.astype(object)).astype({"cell_type": str})
    )


def schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    genes = {name: pa.Column("float32", pa.Check.in_range(0, 20)) for name in GENES}
    return pa.DataFrameSchema({**genes, "cell_type": pa.Column(str)}, strict=True)


def to_inputs(frame: "pd.DataFrame") -> "dict[str, np.ndarray[Any, Any]]":
    """{"genes": float32[n, 765]}, each gene in its place, whatever the order of the columns."""
    if missing := [name for name in GENES if name not in frame.columns]:
        raise UserError(
            f"The rows of cells have no gene {missing[0]!r}: all {len(GENES)} of tasks/workloads/examples/genes.txt are needed, by these names."
        )
    return {"genes": frame[[*GENES]].to_numpy("float32")}


def build_model() -> "nn.Module":
    """One hidden layer; half of it, and a third of the genes, left out of each step: there are more genes than cells."""
    import torch
    from torch import nn

    class CellsNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Dropout(0.3), nn.Linear(len(GENES), 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)
            )

        def forward(self, genes: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.layers(genes)
            return logits

    return CellsNet()


workload = Workload(
    name="cells",
    kind="classification",
    load=load_frame,
    schema=schema,
    target="cell_type",
    inputs=to_inputs,
    model=build_model,
    slices=("cell_type",),
    train=Train(epochs=30, lr=3e-3, batch_size=32, weight_decay=0.1, patience=10, threads=1),
    recipes=tuple(recipe for recipe in DEFAULT_RECIPES if recipe.name != "int8-dynamic"),
    gates=Gates(min_score=0.75, max_score_drop=0.01, folds=5),
)
