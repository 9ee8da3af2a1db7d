"""A rollout's decisions made again from its entries: they come out, and what somebody changed does not. What servers report is written by hand."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import rollouts
from rollouts import BAD, GOOD

from tasks.promotion import rolling
from tasks.promotion.ledger import read_ledger
from tasks.promotion.replay import replay
from tasks.registry.registry import Registry
from tasks.registry.tags import REVERTED_TAG
from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.guards import answers
from tasks.rollout.reported import RevertNote
from tasks.settings import load_settings
from tasks.system.signing import EvidenceError
from tasks.traffic.pairs import Labelled

MODEL = "digits"


@pytest.fixture
def registry(home: Path, empty_mlflow_database: Path) -> Registry:
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    made = rollouts.with_rollout(Registry(load_settings()), hold={"minutes": 0, "requests": 0})
    rollouts.begun(made, MODEL)
    return made


def decided(registry: Registry, *reported: Counts) -> None:
    for counts in reported:
        rollouts.report(registry, MODEL, counts)
        rolling.advance(registry.settings, MODEL)


@pytest.mark.slow
def test_every_decision_follows_again_and_a_changed_count_or_bet_is_named(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided(registry, GOOD, GOOD, BAD)
    replayed = replay(registry, MODEL)
    assert (replayed.entries, replayed.notes) == (3, ())
    whole = read_ledger(registry, MODEL, whole=True)

    def with_entry(number: int, **changes: Any) -> None:
        """As somebody leaves it who has the key, so that the chain holds."""
        entry = whole.entries[number - 1]
        assert entry.rollout is not None
        changed = entry.model_copy(update={"rollout": entry.rollout.model_copy(update=changes)})
        entries = tuple(changed if each is entry else each for each in whole.entries)
        ledger = whole.model_copy(update={"entries": entries})
        monkeypatch.setattr("tasks.promotion.replay.read_ledger", lambda *_, **__: ledger)

    policy = rollouts.rollout_of(registry, MODEL).terms.policy
    with_entry(3, counts=GOOD.model_copy(update={"slow": 801}))
    with pytest.raises(EvidenceError, match=r"entry 3 .*slower, harmful: log wealth .* and its counts give"):
        replay(registry, MODEL)
    with_entry(3, counts=BAD, answers=answers(policy, BAD, None))
    with pytest.raises(EvidenceError, match=r"entry 3 .* does not follow from its counts, .* is to abort"):
        replay(registry, MODEL)
    with_entry(5, counts=GOOD, answers=answers(policy, GOOD, None))
    with pytest.raises(EvidenceError, match=r"entry 5 .* does not follow from its counts"):
        replay(registry, MODEL)


@pytest.mark.slow
def test_one_count_changed_in_mlflow_is_named(registry: Registry) -> None:
    decided(registry, GOOD)
    experiment = registry.client.get_experiment_by_name(f"slipway-ledger/{MODEL}/claims")
    assert experiment is not None
    run = experiment.tags["slipway.claims"]
    text = registry.client.get_run(run).data.params["entry-3"]
    with sqlite3.connect(registry.settings.home / "mlflow.db") as tables:
        changed = text.replace('"slow":800', '"slow":700')
        assert changed != text
        tables.execute("UPDATE params SET value = ? WHERE run_uuid = ? AND key = 'entry-3'", (changed, run))
    tables.close()
    with pytest.raises(EvidenceError, match=r"entry 3 .*(rewritten|is not signed by|log wealth)") as found:
        replay(Registry(registry.settings), MODEL)
    assert found.value.exit_code == 1


@pytest.mark.slow
def test_a_server_whose_counts_do_not_bear_its_word_out_is_said_and_not_believed(registry: Registry) -> None:
    new = registry.version(MODEL, 2)
    assert new is not None
    run = rollouts.rollout_of(registry, MODEL).stands.run
    few = Counts(pairs=300, failed=3, timed=297)
    note = RevertNote(
        at="2026-11-27T00:00:00Z",  # type: ignore[arg-type]
        by="host:7",
        reason="it fails",
        counts=few,
        rollout=run,
    )
    registry.tag_version(new, {REVERTED_TAG: note.model_dump_json()})
    rolling.advance(registry.settings, MODEL)
    [said] = replay(registry, MODEL).notes
    assert "rests on the word of host:7: the counts that it gave do not bear it out" in said


@pytest.mark.slow
def test_labels_are_counted_again_where_traffic_is_there_still(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = LabelCounts(matured=3000, agreed=2900, better=60, worse=20, neither=10, missing=10)
    with_labels = rollouts.with_rollout(registry, hold={"minutes": 0, "requests": 0}, margin={"score": 0.01})
    rolling.say(registry.settings, MODEL, "abort", why="begun anew with labels")
    rollouts.again(with_labels, MODEL)
    told, looks = [Labelled(labels, "a" * 64)], []

    def labelled(*asked: Any, anew: bool = False) -> Labelled:
        looks.append(asked)
        return told[0]

    for module in ("rollout_status", "replay"):
        monkeypatch.setattr(f"tasks.promotion.{module}.labelled", labelled)
    decided(with_labels, Counts(pairs=5, timed=5))
    assert len(looks) == 1, "reading them takes seconds, and a pass reads them once"
    decided(with_labels, GOOD)
    assert replay(with_labels, MODEL).recounted == 1
    told[0] = Labelled(LabelCounts(), "b" * 64)
    [said] = replay(with_labels, MODEL).notes
    assert "recomputed from the entries alone: traffic of then is gone" in said
    told[0] = Labelled(labels.model_copy(update={"better": 61, "missing": 9}), "b" * 64)
    with pytest.raises(EvidenceError, match="traffic and labels of then give .*better=61"):
        replay(with_labels, MODEL)
