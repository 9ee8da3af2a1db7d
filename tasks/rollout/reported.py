"""What servers say of a version: how a rollout of it goes, and that they went back from it. Tags, which anybody may write and nobody obeys unseen."""

from pydantic import AwareDatetime, Field, ValidationError

from tasks.rollout.counts import Counts
from tasks.system.frozen import Frozen

POD_TAG = "pod/"
"""Before <host>-<pid>-<start>: a restart is another tag."""


class PodReport(Frozen):
    """The whole of what a process has counted since it started, every 10 s, as a tag of the rollout's MLflow run that only it writes."""

    at: AwareDatetime
    sequence: int = Field(ge=0, description="Of the record that it obeys.")
    counts: Counts = Counts()


class RevertNote(Frozen):
    """What a server writes on a version that it went back from: the tag `slipway.reverted`."""

    at: AwareDatetime
    by: str
    reason: str
    back_to: str = ""
    counts: Counts | None = Field(None, description="Of the process that went back from it, in a rollout.")
    rollout: str = Field(
        "", description="The rollout's MLflow run, for which the note counts whatever the clocks say."
    )


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
