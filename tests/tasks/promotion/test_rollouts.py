"""What a chain of a rollout's entries says, and where it does not hold."""

import datetime
import re
from typing import Any

import pytest

from tasks.promotion.entries import FIRST, LedgerEntry, check_chain
from tasks.promotion.rollouts import check_rollouts, last_rollout, open_rollout, policy_sha256
from tasks.rollout.counts import Counts
from tasks.rollout.evidence import RolloutEvidence, Terms
from tasks.rollout.policy import RolloutPolicy

POLICY = RolloutPolicy.model_validate({"steps": ["shadow", "10%", "50%"]})

TERMS = Terms(policy=POLICY, old=1, new=2, old_sha256="a" * 64, new_sha256="b" * 64, salt="s" * 16)


def evidence(step: int, **changes: Any) -> RolloutEvidence:
    stands = {"run": "r" * 32, "step": step, "weight": POLICY.steps[step], "policy": policy_sha256(POLICY)}
    return RolloutEvidence(**{**stands, "counts": Counts(pairs=step), **changes})


def chain(*decided: tuple[str, RolloutEvidence | None]) -> list[LedgerEntry]:
    """Version 1 is promoted, and then what is decided about version 2."""
    made: list[LedgerEntry] = []
    at = datetime.datetime(2026, 11, 27, tzinfo=datetime.UTC)
    for action, rollout in (("promote", None), *decided):
        made.append(
            LedgerEntry(
                sequence=len(made) + 1,
                at=at + len(made) * datetime.timedelta(minutes=1),
                model="digits",
                action=action,  # type: ignore[arg-type]
                from_version=1 if made else None,
                to_version=2 if made else 1,
                who="ada",
                why="because",
                verdict="pass",
                evidence=None,
                previous=made[-1].digest if made else FIRST,
                rollout=rollout,
            )
        )
    return made


START = ("start", evidence(0, terms=TERMS))


def test_a_rollout_that_goes_its_way_holds_and_is_read_back_from_its_text() -> None:
    entries = chain(START, ("step", evidence(1)), ("pause", evidence(1)), ("resume", evidence(1)))
    assert [*check_chain(entries), *check_rollouts(entries)] == []
    rollout = open_rollout([LedgerEntry.model_validate_json(entry.canonical) for entry in entries])
    assert rollout is not None and rollout.terms == TERMS and rollout.stepped == entries[2]
    assert (rollout.record.step, rollout.record.weight, rollout.record.sequence) == (1, 0.1, 5)
    assert open_rollout(entries[:4]) is not None and not open_rollout(entries[:4]).record.open  # type: ignore[union-attr]
    ended = chain(START, ("step", evidence(1)), ("abort", evidence(1)))
    rollout = last_rollout(ended)
    assert rollout is not None and rollout.ended and open_rollout(ended) is None
    assert list(check_rollouts([*ended[:-1], *chain(START, ("finish", evidence(0)))[2:]])) != []


@pytest.mark.parametrize(
    ("decided", "words"),
    [
        ([("step", evidence(1))], "entry 2 .* belongs to no rollout that was going on"),
        ([("start", None)], "does not say on what terms"),
        ([START, START], "starts a second rollout while entry 2"),
        ([START, ("step", evidence(2))], "stands at step 2 .* does not follow step 0"),
        ([START, ("step", evidence(1, weight=0.5))], "stands at step 1 .50.00%., which does not follow"),
        ([START, ("step", evidence(1, run="another"))], "is about another rollout"),
        ([START, ("abort", evidence(0)), ("step", evidence(1))], "entry 4 .* belongs to no rollout"),
        ([("start", evidence(0, terms=TERMS, policy="0" * 64))], "has another policy than the one"),
    ],
)
def test_what_does_not_follow_is_named(decided: list[Any], words: str) -> None:
    assert any(re.search(words, problem) for problem in check_rollouts(chain(*decided)))
