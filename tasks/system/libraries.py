"""The libraries that a result depends on, in one list: a step's key and the evidence both name their versions."""

from importlib.metadata import PackageNotFoundError, version

COMPUTING = (
    "torch",
    "numpy",
    "pandas",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "scikit-learn",
    "scipy",
    "torch-pruning",
)
"""What decides numbers and graphs: another version of one makes another key."""

AROUND = ("mlflow", "prefect")
"""What moves and keeps results without changing them: in the evidence only."""


def installed(name: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
