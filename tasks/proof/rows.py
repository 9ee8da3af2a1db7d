"""The rows that a version was made of: as they are stored, or made again while its workload still loads them."""

from pathlib import Path

from tasks.config import Data
from tasks.data.dataset import prepare
from tasks.errors import StepError
from tasks.proof.evidence import Evidence
from tasks.records import Dataset


def rows_of(evidence: Evidence, root: Path) -> Dataset:
    """The dataset that the evidence names, from below `root`. Raises StepError when other rows have taken its place.

    What is stored comes first: a workload that loads other rows by now is no reason not to judge, explain or watch
    the version that learned from these.
    """
    # without a name: code that changed since makes other inputs of the same rows
    name = evidence.dataset or f"{evidence.fingerprint[:16]}-*"
    for path in sorted((root / evidence.model).glob(f"{name}/dataset.json")):
        stored = Dataset.model_validate_json(path.read_text())
        if stored.fingerprint == evidence.fingerprint:
            return stored.model_copy(update={"folder": path.parent.resolve()})
    dataset = prepare(evidence.workload, Data.model_validate(evidence.config["data"]), root)
    if dataset.fingerprint != evidence.fingerprint:
        raise StepError(
            f"{evidence.model} was made of rows ({evidence.fingerprint[:16]}…) that {evidence.workload} no longer loads "
            f"({dataset.fingerprint[:16]}…) and that are not under {root}: `slipway run {evidence.workload}` makes a version of what it loads now."
        )
    return dataset
