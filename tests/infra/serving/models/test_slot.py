"""Who looks at what comes to a model: with every request it is asked, so it is known beforehand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from infra.serving.models.slot import Observers, Slot
from infra.serving.options import ServeOptions


def test_nobody_looks_on_but_lanes_comparisons_that_go_on_and_a_record_that_takes_a_share(
    tmp_path: Path,
) -> None:
    nothing: Any = None
    slot: Any = Slot("digits", ServeOptions(home=tmp_path), nothing, nothing)
    assert slot.observers is None
    lane: Any = SimpleNamespace()
    watch: Any = SimpleNamespace(saw=lambda done: None, over=False)
    recorder: Any = SimpleNamespace(share=0.0, saw=lambda done: None)
    slot.recorder = recorder
    assert slot.observers is None, "it has only a rollout's pairs to write"
    recorder.share = 0.5
    slot.recorder, slot.watch = recorder, watch
    assert slot.observers == Observers(None, watch, recorded=True)
    before = slot.observers
    slot.lane = lane
    assert slot.observers == Observers(lane, watch, recorded=True) is not before
    slot.lane, slot.recorder = None, None
    done: Any = SimpleNamespace(rescued_from=None, requests=())
    slot.ran(done)
    assert slot.observers == Observers(None, watch, recorded=False)
    watch.over = True
    slot.ran(done)
    assert slot.observers is None
