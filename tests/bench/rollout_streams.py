"""Streams of pairs of which the truth is known, and what the rules of a rollout, and of others, decide along them: vectorised."""

import datetime
import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.decision import Action, Place, Pod, decide
from tasks.rollout.evalue import log_wealth
from tasks.rollout.guards import SHARES, bets
from tasks.rollout.policy import Hold, RolloutPolicy

PAIRS, LOOKS, STREAMS = 20_000, 1_000, 500
"""Of a rollout; at a time; at a time."""

POLICY = RolloutPolicy(hold=Hold(minutes=0, requests=0))
BEGAN = datetime.datetime(2026, 11, 27, tzinfo=datetime.UTC)

GUARDS = ("errors", "slower", "tail", "score")

WINDOW = 200
"""Requests between two checks of the rules beside."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Truth:
    """Chances of what a pair shows."""

    failed: float = 0.0002
    """It alone fails; and both do, which a pair does not count and a threshold does."""
    both_fail: float = 0.0018
    slower: float = 1.0
    """Ratio of CPU times, in the median; the noise is the worst that was measured of a file against itself: 5-95% are 0.75-1.29."""
    spikes: float = 0.01
    """Of runs that take three times as long, of either version."""
    more_spikes: float = 0.0
    """Of the new one's, besides."""
    better: float = 0.025
    worse: float = 0.025
    lost: float = 0.0
    """Of labels, where the new one was wrong."""
    labelled: bool = True

    def over(self, ratio: float) -> float:
        """The chance of a ratio of CPU times above this."""
        new, old = self.spikes + self.more_spikes, self.spikes
        chances = {1: (1 - new) * (1 - old) + new * old, 3: new * (1 - old), 1 / 3: old * (1 - new)}
        return sum(
            chance * 0.5 * math.erfc(math.log(ratio / (factor * self.slower)) / 0.165 / math.sqrt(2))
            for factor, chance in chances.items()
        )


GOOD = Truth()


@dataclass
class Outcome:
    """By stream: how it ended and after how many pairs; 0: not within PAIRS."""

    promoted: Array
    aborted: Array
    shadow: Array
    """Pairs until it left the shadow."""
    labels: Array
    """Labels that had been given when it ended: of pairs that differ."""
    harmful: Array
    """Pairs until some guard was surely harmful, promoted or not."""
    rules: dict[str, Array] = field(default_factory=dict)
    """Requests until a rule beside goes back."""


def draw(truth: Truth, rng: np.random.Generator, last: dict[str, Array], streams: int) -> dict[str, Array]:
    """The next LOOKS pairs of so many streams: what was counted up to each, [streams, LOOKS]; by names of Counts and LabelCounts."""
    fails, times, scores, keeps = rng.random((4, streams, LOOKS), dtype=np.float32)
    failed = fails < truth.failed
    timed = ~failed & (fails >= truth.failed + truth.both_fail)
    margin = POLICY.margin.slower
    events = {
        "pairs": np.ones_like(failed),
        "failed": failed,
        "new_failed": fails < truth.failed + truth.both_fail,
        "timed": timed,
        "slow": timed & (times < truth.over(margin)),
        "tail_worse": timed & (times < truth.over(2 * margin)),
        "tail_better": timed & (times >= truth.over(margin / 2)),
    }
    better = scores < truth.better
    wrong = ~better & (scores < truth.better + truth.worse)
    lost = wrong & (keeps < truth.lost)
    events |= {"better": better, "missing": lost, "worse": wrong & ~lost, "agreed": ~better & ~wrong}
    return {
        name: last.get(name, 0) + np.cumsum(event, axis=1, dtype=np.int32) for name, event in events.items()
    }


NAMES = [*draw(GOOD, np.random.default_rng(0), {}, 1)]


def split(seen: dict[str, Array], truth: Truth) -> tuple[SimpleNamespace, SimpleNamespace]:
    """As `bets` takes them."""
    counts = SimpleNamespace(**seen, requests=0, rescued=0, served=0)
    said = seen if truth.labelled else {name: 0 * values for name, values in seen.items()}
    return counts, SimpleNamespace(**said, neither=0)


def sure(
    truth: Truth, seen: dict[str, Array], question: str, guards: tuple[str, ...] = GUARDS
) -> dict[str, Array]:
    alpha = POLICY.alpha / (SHARES if question == "harmful" else 1)
    return {
        bet.guard: (log_wealth(bet.seen, bet.mean, bet.side) >= -math.log(alpha)) & bet.enough
        for bet in bets(POLICY.margin, *split(seen, truth))
        if bet.question == question and bet.guard in guards
    }


def harmful(truth: Truth, seen: dict[str, Array]) -> Array:
    """Looks at which a guard is surely harmful, of those at which it may become so: where a value came that is bad for it."""
    yes = np.zeros(seen["pairs"].shape, bool)
    for guard, bad in zip(GUARDS, ("failed", "slow", "tail_worse", "worse"), strict=True):
        places = np.nonzero(np.diff(seen[bad], axis=1, prepend=-1))
        yes[places] |= sure(
            truth, {name: values[places] for name, values in seen.items()}, "harmful", (guard,)
        )[guard]
    return yes


def first(yes: Array) -> Array:
    """Index of the first look that says yes; LOOKS without one."""
    return np.where(yes.any(axis=1), yes.argmax(axis=1), LOOKS)


def rules(failures: Array, routed: dict[float, Array]) -> dict[str, Array]:
    """Checks that failed in each window, [streams, windows], by the examples of the projects' own pages."""
    fails = failures.reshape(len(failures), -1, WINDOW)
    failed = {}
    for share, uniform in routed.items():
        here = (uniform < share).reshape(fails.shape)
        served = here.sum(axis=2)
        rate = 1 - (fails & here).sum(axis=2) / np.maximum(served, 1)
        failed[f"Flagger, {share:.0%}"] = (rate < 0.99) & (served > 0)
        failed[f"Argo, {share:.0%}"] = (rate < 0.95) & (served > 0)
    return failed


ALLOWED = {"Flagger": 5, "Argo": 4}
"""Failed checks that roll back: Flagger's threshold of 5; more than Argo's failureLimit of 3."""


def simulate(
    truth: Truth, count: int, *, seed: int = 0, beside: bool = False, whole: bool = False
) -> Outcome:
    """`whole`: go on looking for harm after a promotion."""
    parts = [
        _simulate(truth, min(STREAMS, count - start), np.random.default_rng([seed, start]), beside, whole)
        for start in range(0, count, STREAMS)
    ]
    names = ("promoted", "aborted", "shadow", "labels", "harmful")
    return Outcome(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
        rules={name: np.concatenate([part.rules[name] for part in parts]) for name in parts[0].rules},
    )


def _simulate(truth: Truth, streams: int, rng: np.random.Generator, beside: bool, whole: bool) -> Outcome:
    made = Outcome(*(np.zeros(streams, np.int64) for _ in range(5)))
    step = np.zeros(streams, np.int64)
    checks: dict[str, Array] = {}
    last: dict[str, Array] = {}
    for begin in range(0, PAIRS, LOOKS):
        open_ = np.nonzero((made.promoted == 0) & (made.aborted == 0))[0]
        if not (len(open_) or whole or beside):
            break
        seen = draw(truth, rng, last, streams)
        before = last.get("new_failed", np.zeros((streams, 1), np.int32))
        failures = np.diff(seen["new_failed"], axis=1, prepend=before) > 0
        last = {name: values[:, -1:] for name, values in seen.items()}
        stop = first(harmful(truth, seen))
        new = (stop < LOOKS) & (made.harmful == 0)
        made.harmful[new] = begin + stop[new] + 1
        some = {name: values[open_] for name, values in seen.items()}
        _go_up(truth, some, open_, stop[open_], step, begin, made)
        if beside:
            routed = {share: rng.random((streams, LOOKS), dtype=np.float32) for share in (0.5, 0.1)}
            for name, failed in rules(failures, routed).items():
                run = checks.get(name, np.zeros((streams, 1), np.int64)) + np.cumsum(failed, axis=1)
                checks[name] = run[:, -1:]
                gone = run >= ALLOWED[name.partition(",")[0]]
                when = made.rules.setdefault(name, np.zeros(streams, np.int64))
                fresh = gone.any(axis=1) & (when == 0)
                when[fresh] = begin + WINDOW * (gone.argmax(axis=1)[fresh] + 1)
    return made


def _go_up(
    truth: Truth, seen: dict[str, Array], streams: Array, stop: Array, step: Array, begin: int, made: Outcome
) -> None:
    """Carry out what each look decides, until a stream is promoted or goes back."""
    within = sure(truth, seen, "within")
    always = within["errors"] & within["slower"] & within["tail"]
    goes_up = (always, always & within["score"])
    for row, stream in enumerate(streams):
        look, end = 0, stop[row]
        while step[stream] < len(POLICY.steps):
            asked = goes_up[int(step[stream] >= len(POLICY.steps) - 2)][row, look:end]
            if not asked.any():
                break
            look += int(asked.argmax()) + 1
            step[stream] += 1
            if step[stream] == 1:
                made.shadow[stream] = begin + look
        at = None
        if step[stream] == len(POLICY.steps):
            made.promoted[stream], at = begin + look, look - 1
        elif end < LOOKS:
            made.aborted[stream], at = begin + end + 1, end
        if at is not None:
            made.labels[stream] = sum(int(seen[name][row, at]) for name in ("better", "worse", "missing"))


def carry_through(truth: Truth, seed: int, streams: int) -> int:
    """Carry some streams through by `decide()` itself, asked at the looks where an answer changes and at random ones; how many looks."""
    outcome = simulate(truth, streams, seed=seed)
    rng, last, asked = np.random.default_rng([seed, 0]), {}, 0
    step, ended = np.zeros(streams, int), np.zeros(streams, bool)
    for begin in range(0, PAIRS, LOOKS):
        if ended.all():
            break
        seen = draw(truth, rng, last, streams)
        last = {name: values[:, -1:] for name, values in seen.items()}
        answers = (harmful(truth, seen), *sure(truth, seen, "within").values())
        for stream in np.nonzero(~ended)[0]:
            turns = {0, *np.random.default_rng(begin + stream).integers(0, LOOKS, 5)}
            for yes in answers:
                turns |= {
                    int(turn) + near for turn in np.nonzero(np.diff(yes[stream]))[0] for near in range(6)
                }
            for look in sorted(turn for turn in turns if turn < LOOKS):
                asked += 1
                action = decide_at(
                    truth, {name: values[stream, look] for name, values in seen.items()}, int(step[stream])
                )
                if action == "step":
                    step[stream] += 1
                    assert step[stream] > 1 or outcome.shadow[stream] == begin + look + 1
                if action in ("promote", "abort"):
                    at = outcome.promoted if action == "promote" else outcome.aborted
                    assert at[stream] == begin + look + 1, (truth, stream, action, begin + look + 1)
                    ended[stream] = True
                    break
    assert not (outcome.promoted + outcome.aborted)[~ended].any()
    return asked


def decide_at(truth: Truth, seen: dict[str, Any], step: int) -> Action:
    """By `decide()` itself, of one stream at one look."""
    counts, labels = split(seen, truth)
    said = {name: int(getattr(labels, name)) for name in ("agreed", "better", "worse", "missing")}
    pods = {"a": Pod(age=datetime.timedelta(), sequence=1)}
    place = Place(step=step, sequence=1, began=BEGAN, stepped=BEGAN, last=BEGAN, pods=pods)
    told = LabelCounts(matured=sum(said.values()), **said)
    return decide(POLICY, place, state(counts), told, BEGAN).action


def state(counts: SimpleNamespace) -> Counts:
    """`agreed` is by label here."""
    return Counts(**{name: int(getattr(counts, name)) for name in Counts.model_fields if name != "agreed"})
