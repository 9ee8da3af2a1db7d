"""What one process life of a server reports of a rollout, as a tag of the rollout's MLflow run; only that process writes it, and it only grows."""

from pydantic import AwareDatetime, Field, ValidationError

from tasks.rollout.counts import Counts
from tasks.system.frozen import Frozen

POD_TAG = "pod/"
"""Before <host>-<pid>-<start>: a restart is another tag."""


class PodReport(Frozen):
    """The whole of what a process has counted since it started, every 10 s."""

    at: AwareDatetime
    sequence: int = Field(ge=0, description="Of the record that it obeys.")
    counts: Counts = Counts()


def read_reports(tags: dict[str, str]) -> dict[str, PodReport]:
    """Those among a run's tags, by pod; one that cannot be read is left out: whoever can write a tag must not hold up decisions."""
    reports = {}
    for name, text in tags.items():
        if name.startswith(POD_TAG):
            try:
                reports[name.removeprefix(POD_TAG)] = PodReport.model_validate_json(text)
            except ValidationError:
                continue
    return reports
