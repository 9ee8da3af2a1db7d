"""What a rollout's rules decide, and when, on simulated pairs of which the truth is known; Flagger's and Argo's beside, on the same streams.

Every pair is looked at. Looks are vectorised, by the bets that `decide()` makes itself, and `decide()` carries a sample of streams
through: asked around each change and at random, it has to end them as the vectorised looks did. One thread, a few minutes.
"""

import argparse
import math
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from figures import published, table
from rollout_streams import (
    GOOD,
    LOOKS,
    NAMES,
    PAIRS,
    POLICY,
    STREAMS,
    Array,
    Truth,
    carry_through,
    decide_at,
    draw,
    first,
    simulate,
    split,
    state,
)

from tasks.rollout.counts import Counts
from tasks.rollout.evalue import log_wealth
from tasks.rollout.guards import BRAKE, bets, failing
from tasks.rollout.policy import Margins
from tasks.rollout.record import RolloutRecord


def share(yes: Array) -> str:
    return f"{100 * yes.mean():.2f}%"


def median(at: Array) -> str:
    """Of when something came; 'never' where it did not in half of the streams."""
    return f"{np.median(at):,.0f}" if (at > 0).mean() > 0.5 else "never"


EQUAL = (
    ("failures of the request's own", GOOD),
    ("failures by chance: at the margin of 0.2%", replace(GOOD, failed=0.002, both_fail=0)),
)

RULES = ("Flagger, 50%", "Flagger, 10%", "Argo, 50%", "Argo, 10%")
"""Beside ours, by their share of the traffic."""

AT_MARGIN = {
    "errors 0.2%": replace(GOOD, failed=0.002, both_fail=0),
    "slower x1.1": replace(GOOD, slower=1.1),
    "tail 1% net": replace(GOOD, more_spikes=0.010746),
    "score -1 pt": replace(GOOD, better=0.02, worse=0.03),
}

HARM = {
    "1% errors": replace(GOOD, failed=0.01),
    "1% more than 0.2% by chance": replace(GOOD, failed=0.012, both_fail=0),
    "5% errors": replace(GOOD, failed=0.05),
    "x1.2 CPU": replace(GOOD, slower=1.2),
    "2% of requests 3x slower": replace(GOOD, more_spikes=0.02),
    "-2 pt (5% differ)": replace(GOOD, better=0.015, worse=0.035),
    "-5 pt (7% differ)": replace(GOOD, better=0.01, worse=0.06),
}


def equal(count: int) -> list[str]:
    about = f"*Equal versions, {count:,} rollouts of {PAIRS:,} pairs*, each looked at after every pair:"
    heads = ("", "went back", "ever harmful", "promoted", "shadow left, pairs", "promoted, pairs", *RULES)
    rows = []
    for name, truth in EQUAL:
        made = simulate(truth, count, beside=True, whole=True)
        shares = (share(at > 0) for at in (made.aborted, made.harmful, made.promoted))
        others = (f"{share(made.rules[rule] > 0)} went back" for rule in RULES)
        rows.append((name, *shares, median(made.shadow), median(made.promoted), *others))
    return [about, "", *table(heads, rows), ""]


def at_margin(count: int) -> list[str]:
    about = f"*One guard exactly at its margin, {count:,} rollouts each*: promoted is wrong, and {POLICY.alpha:.0%} may be:"
    may = POLICY.alpha + 3 * math.sqrt(POLICY.alpha * (1 - POLICY.alpha) / count)
    rows = []
    for name, truth in AT_MARGIN.items():
        made = simulate(truth, count, seed=1)
        rows.append((name, share(made.promoted > 0), f"{may:.2%}", share(made.aborted > 0)))
    return [about, "", *table(("", "promoted", "may, + 3 standard errors", "went back"), rows), ""]


def harm(count: int) -> list[str]:
    about = f"*Harm, {count:,} rollouts each*; medians, of the rules beside in requests until they go back:"
    heads = ("", "went back", "promoted", "pairs", "labels", "found in shadow", *RULES)
    rows = []
    for name, truth in HARM.items():
        made = simulate(truth, count, seed=2, beside=True)
        in_shadow = share((made.aborted > 0) & (made.shadow == 0))
        shares = (share(made.aborted > 0), share(made.promoted > 0))
        figures = (median(made.aborted), f"{np.median(made.labels):.0f}", in_shadow)
        rows.append((name, *shares, *figures, *(median(made.rules[rule]) for rule in RULES)))
    return [about, "", *table(heads, rows), ""]


def labels(count: int) -> list[str]:
    """The score alone, so that no other guard hides what labels do."""
    about = f"*Labels until surely not 1 point worse, {count:,} streams of up to {2 * PAIRS:,} pairs*:"
    rows = [
        prove(f"equal, {differ:.0%} differ", count, replace(GOOD, better=differ / 2, worse=differ / 2))
        for differ in (0.02, 0.05, 0.1)
    ]
    bad = replace(GOOD, better=0.02, worse=0.03)
    rows.append(prove("exactly 1 point worse (a wrong yes)", count, bad))
    for lost in (0.1, 0.3):
        less = replace(bad, lost=lost)
        rows.append(prove(f"the same, {lost:.0%} of labels lost where it was wrong", count, less))
        rows.append(prove("were they left in as agreement", count, less, naive="agreement"))
    rows += [
        prove("the same, bad news 3 days late, horizon 1 day: lost", count, replace(bad, lost=1.0)),
        prove("the same, bad news 3 days late, horizon 4 days: all in time", count, bad),
        prove("were they used as they come, at 1,000 pairs a day", count, bad, naive="late"),
    ]
    made = simulate(replace(GOOD, labelled=False), min(count, 500), seed=4)
    none = f"No labels at all: {np.count_nonzero(made.promoted)} of {len(made.promoted)} promoted; no traffic: {decide_at(GOOD, dict.fromkeys(NAMES, 0), 3)}."
    return [about, "", *table(("", "shown", "labels, median (90%)", "pairs"), rows), "", none, ""]


def prove(name: str, count: int, truth: Truth, naive: str | None = None) -> tuple[str, ...]:
    """`naive`: labels as others use them; `agreement`: what has none is left in as a pair that agrees, `late`: as they come."""
    at, told = np.zeros(count, np.int64), np.zeros(count, np.int64)
    late = 3_000
    for start in range(0, count, STREAMS):
        rng, last = np.random.default_rng([3, start]), {}
        rows = np.arange(start, min(start + STREAMS, count))
        worse_before = np.zeros((len(rows), late), np.int32)
        for begin in range(0, 2 * PAIRS, LOOKS):
            if (at[rows] > 0).all():
                break
            seen = draw(truth, rng, last, len(rows))
            last = {key: values[:, -1:] for key, values in seen.items()}
            used = dict(seen)
            if naive == "agreement":
                used |= {"agreed": seen["agreed"] + seen["missing"], "missing": 0 * seen["missing"]}
            if naive == "late":
                known = np.concatenate([worse_before, seen["worse"]], axis=1)
                used["worse"], worse_before = known[:, :LOOKS], known[:, LOOKS:]
            _, said = split(used, truth)
            bet = next(
                b
                for b in bets(POLICY.margin, split(seen, truth)[0], said)
                if (b.guard, b.question) == ("score", "within")
            )
            yes = (log_wealth(bet.seen, bet.mean, bet.side) >= -math.log(POLICY.alpha)) & bet.enough
            when = first(yes)
            new = np.nonzero((when < LOOKS) & (at[rows] == 0))[0]
            at[rows[new]] = begin + when[new] + 1
            told[rows[new]] = (used["better"] + used["worse"])[new, when[new]]
    shown = told[at > 0]
    figures = f"{np.median(shown):,.0f} ({np.quantile(shown, 0.9):,.0f})" if len(shown) > count / 2 else "-"
    return name, share(at > 0), figures, median(at)


FLEETS = (1, 4, 20, 100)


def brakes(count: int) -> list[str]:
    """A process alone, by its own counts: three guards' wealth in one."""
    about = f"*A process alone, {count:,} of them*: what it takes to go back by itself, in requests of the whole fleet, medians:"
    rows = []
    for name, truth in {
        "equal": GOOD,
        "5% errors": HARM["5% errors"],
        "1% errors": HARM["1% errors"],
    }.items():
        at = np.zeros(count, np.int64)
        rng, last = np.random.default_rng(5), {}
        for begin in range(0, PAIRS, LOOKS):
            seen = draw(truth, rng, last, count)
            last = {key: values[:, -1:] for key, values in seen.items()}
            counts, said = split(seen, truth)
            asked = [b for b in bets(Margins(score=None), counts, said) if b.question == "harmful"]
            logs = [np.where(b.enough, log_wealth(b.seen, b.mean, b.side), -np.inf) for b in asked]
            when = first(np.logaddexp.reduce(logs) >= math.log(3 * BRAKE))
            new = (at == 0) & (when < LOOKS)
            at[new] = begin + when[new] + 1
            for stream in np.nonzero(new)[0][:3]:
                for look in {when[stream], max(when[stream] - 1, 0)}:
                    one = split({key: values[stream, look] for key, values in seen.items()}, truth)[0]
                    assert (failing(state(one), POLICY.margin) is not None) == (look == when[stream])
        fleets = []
        for fleet in FLEETS:
            drawn = (
                np.random.default_rng(6).choice(np.where(at, at, 10**9), (1_000, fleet)).min(axis=1) * fleet
            )
            fleets.append(f"{np.median(drawn):,.0f}" if np.median(drawn) < 10**8 else "never")
        rows.append((name, share(at > 0), *fleets))
    return [about, "", *table(("", "went back", *(f"{fleet} processes" for fleet in FLEETS)), rows), ""]


KEYS, SERVERS = 1_000_000, 3


def lanes() -> list[str]:
    """Who gets the new version, asked of the server's own lanes in processes of their own."""
    with ProcessPoolExecutor(SERVERS, mp_context=multiprocessing.get_context("spawn")) as servers:
        answered = [*servers.map(takes_new, [POLICY.steps] * SERVERS)]
    alike = all(np.array_equal(answered[0], other) for other in answered[1:])
    news = np.unpackbits(answered[0], axis=1, count=KEYS).astype(bool)
    turns = np.abs(np.diff(news.astype(np.int8), axis=0)).sum(axis=0)
    about = f"*Routing: {KEYS:,} keys on {SERVERS} servers*: alike on all: {alike}; changes of a key on the way up, at most: {turns.max()}:"
    rows = []
    for step, new in zip(POLICY.steps, news, strict=True):
        error = math.sqrt(step * (1 - step) / KEYS)
        far = f"{(new.mean() - step) / error:+.1f}" if step else ""
        rows.append((f"{step:.0%}", f"{new.mean():.4%}", far))
    return [about, "", *table(("asked", "of the keys", "standard errors off"), rows), ""]


def takes_new(steps: tuple[float, ...]) -> Array:
    """By step and key, as bits."""
    from infra.serving.models.lanes import Lane

    digest = {"old_sha256": "a" * 64, "new_sha256": "b" * 64}
    begun = RolloutRecord(
        model="m", run="r", old=1, new=2, salt="5a17", step=0, weight=0, sequence=1, **digest
    )
    lane = object.__new__(Lane)  # routing alone: no versions, no batches
    lane.salt = begun.salt.encode()
    taken = []
    for step, weight in enumerate(steps):
        lane.obey(begun.model_copy(update={"step": step, "weight": weight}))
        taken.append([lane.takes(b"user-%d" % key) for key in range(KEYS)])
    return np.packbits(taken, axis=1)


def cost() -> list[str]:
    def microseconds(call: Any, times: int) -> float:
        rounds = []
        for _ in range(9):
            began = time.process_time()
            for _ in range(times):
                call()
            rounds.append((time.process_time() - began) / times * 1e6)
        return statistics.median(rounds)

    seen, counts = (
        {-1: 3, 0: 2_000, 1: 5},
        Counts(pairs=2_500, timed=2_500, slow=700, tail_worse=20, tail_better=30),
    )
    names = dict(zip(NAMES, (2_500, 0, 4, 2_490, 700, 20, 30, 60, 0, 60, 2_380), strict=True))
    wealth = microseconds(lambda: log_wealth(seen, 0.01, "above"), 500)
    brake = microseconds(lambda: failing(counts, POLICY.margin), 100)
    whole = microseconds(lambda: decide_at(GOOD, names, 2), 20)
    return [
        f"CPU a call, medians of 9: a wealth {wealth:.0f} µs, a process's look at itself {brake:.0f} µs, a decision {whole / 1e3:.1f} ms.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--aa", type=int, default=10_000, help="rollouts of equal versions")
    parser.add_argument("--margin", type=int, default=2_000, help="rollouts with a guard at its margin, each")
    parser.add_argument("--harm", type=int, default=1_000, help="rollouts of each harm")
    args = parser.parse_args()
    with published("rollout", "numpy") as lines:
        lines += decided(args)


def decided(args: argparse.Namespace) -> list[str]:
    began = time.process_time()
    lines = [*cost(), *lanes()]
    asked = sum(carry_through(truth, 7, 6) for truth in (GOOD, *AT_MARGIN.values(), *HARM.values()))
    streams = 6 * (1 + len(AT_MARGIN) + len(HARM))
    lines += [
        f"`decide()` itself, asked {asked:,} times along {streams} streams, did what follows.",
        "",
        *harm(args.harm),
        *labels(args.margin),
        *at_margin(args.margin),
        *brakes(min(args.margin, 1_000)),
        *equal(args.aa),
    ]
    return [*lines, f"{time.process_time() - began:,.0f} CPU s in all."]


if __name__ == "__main__":
    main()
