"""What a worker says of the rollouts that it obeys, now and then."""

import datetime
from collections.abc import Iterable, Iterator

from infra.serving.ipc.messages import Tally
from infra.serving.models.slot import Slot
from tasks.rollout.counts import Counts
from tasks.rollout.reported import PodReport


def tallies(slots: Iterable[Slot], process: str) -> Iterator[Tally]:
    """All that was counted of each rollout since this process started; also nothing, which says that it obeys."""
    for slot in slots:
        if (record := slot.record) is None:
            continue
        counted = slot.counted.get(str(record.new), {}) if slot.run == record.run else {}
        at = datetime.datetime.now(datetime.UTC)
        report = PodReport(at=at, sequence=record.sequence, counts=Counts(**counted))
        yield Tally(model=slot.name, run=record.run, process=process, report=report)
