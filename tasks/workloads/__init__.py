"""Workloads: what to learn from which data, one file each; the contract they keep, and how one is found and scored.

Public: `Workload`, its `Rows` and `DEFAULT_RECIPES`, `Batch` and `Training` for a training of one's own, `load_workload`, `names` and
`source_file`; `sources.parquet`, `csv` and `sql`; `Weights`, `Exported` and `Onnx` for a model that exists, `Files` for what it begins
with, `Known` for what its builder may ask.
"""

from tasks.workloads.catalogue import load_workload, names, source_file
from tasks.workloads.model_files import Exported, Files, Known, Onnx, Weights
from tasks.workloads.own_training import Batch, Training
from tasks.workloads.rows import Rows
from tasks.workloads.workload import DEFAULT_RECIPES, Workload

__all__ = [
    "DEFAULT_RECIPES",
    "Batch",
    "Exported",
    "Files",
    "Known",
    "Onnx",
    "Rows",
    "Training",
    "Weights",
    "Workload",
    "load_workload",
    "names",
    "source_file",
]
