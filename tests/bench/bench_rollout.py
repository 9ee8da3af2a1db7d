"""What a rollout's rules decide, and when, on simulated pairs of which the truth is known; Flagger's and Argo's beside, on the same streams.

    python tests/bench/bench_rollout.py [--aa 10000] [--margin 2000] [--harm 1000]

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


def equal(count: int) -> None:
    print(f"\nEqual versions, {count:,} rollouts of {PAIRS:,} pairs, each looked at after every pair")
    print(
        f"{'':<44}{'went back':>11}{'ever harmful':>14}{'promoted':>10}{'shadow left':>13}{'promoted at':>13}  rolled back by the rules beside"
    )
    for name, truth in EQUAL:
        made = simulate(truth, count, beside=True, whole=True)
        others = ", ".join(f"{rule} {share(at > 0)}" for rule, at in made.rules.items())
        print(
            f"{name:<44}{share(made.aborted > 0):>11}{share(made.harmful > 0):>14}{share(made.promoted > 0):>10}"
            f"{median(made.shadow):>13}{median(made.promoted):>13}  {others}"
        )


def at_margin(count: int) -> None:
    print(
        f"\nOne guard exactly at its margin, {count:,} rollouts each: promoted is wrong, and {POLICY.alpha:.0%} may be"
    )
    print(f"{'':<28}{'promoted':>10}{'may, + 3 s.e.':>15}{'went back':>11}")
    may = POLICY.alpha + 3 * math.sqrt(POLICY.alpha * (1 - POLICY.alpha) / count)
    for name, truth in AT_MARGIN.items():
        made = simulate(truth, count, seed=1)
        print(f"{name:<28}{share(made.promoted > 0):>10}{may:>15.2%}{share(made.aborted > 0):>11}")


def harm(count: int) -> None:
    print(f"\nHarm, {count:,} rollouts each; medians")
    print(
        f"{'':<28}{'went back':>11}{'promoted':>10}{'pairs':>8}{'labels':>8}{'in shadow':>11}  requests until the rules beside go back"
    )
    for name, truth in HARM.items():
        made = simulate(truth, count, seed=2, beside=True)
        others = ", ".join(f"{rule} {median(at)}" for rule, at in made.rules.items())
        print(
            f"{name:<28}{share(made.aborted > 0):>11}{share(made.promoted > 0):>10}{median(made.aborted):>8}"
            f"{np.median(made.labels):>8.0f}{share((made.aborted > 0) & (made.shadow == 0)):>11}  {others}"
        )


def labels(count: int) -> None:
    """The score alone, so that no other guard hides what labels do."""
    print(f"\nLabels until surely not 1 pt worse, {count:,} streams of up to {2 * PAIRS:,} pairs")
    print(f"{'':<62}{'shown':>8}{'labels, median (90%)':>22}{'pairs':>8}")
    for differ in (0.02, 0.05, 0.1):
        prove(f"equal, {differ:.0%} differ", count, replace(GOOD, better=differ / 2, worse=differ / 2))
    bad = replace(GOOD, better=0.02, worse=0.03)
    prove("exactly 1 pt worse (a wrong yes)", count, bad)
    for lost in (0.1, 0.3):
        prove(f"the same, {lost:.0%} of labels lost where it was wrong", count, replace(bad, lost=lost))
        prove("  were they left in as agreement", count, replace(bad, lost=lost), naive="agreement")
    prove("the same, bad news 3 days late, horizon 1 day: lost", count, replace(bad, lost=1.0))
    prove("the same, bad news 3 days late, horizon 4 days: all in time", count, bad)
    prove("  were they used as they come, at 1,000 pairs a day", count, bad, naive="late")
    made = simulate(replace(GOOD, labelled=False), min(count, 500), seed=4)
    print(
        f"No labels at all: {np.count_nonzero(made.promoted)} of {len(made.promoted)} promoted; no traffic: {decide_at(GOOD, dict.fromkeys(NAMES, 0), 3)}"
    )


def prove(name: str, count: int, truth: Truth, naive: str | None = None) -> None:
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
    print(f"{name:<62}{share(at > 0):>8}{figures:>22}{median(at):>8}")


def brakes(count: int) -> None:
    """A process alone, by its own counts: three guards' wealth in one."""
    print(
        f"\nA process alone, {count:,} of them: what it takes to go back by itself, in requests of the whole fleet, median"
    )
    print(f"{'':<28}{'went back':>11}" + "".join(f"{f'{fleet} processes':>15}" for fleet in (1, 4, 20, 100)))
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
        for fleet in (1, 4, 20, 100):
            drawn = (
                np.random.default_rng(6).choice(np.where(at, at, 10**9), (1_000, fleet)).min(axis=1) * fleet
            )
            fleets.append(f"{np.median(drawn):,.0f}" if np.median(drawn) < 10**8 else "never")
        print(f"{name:<28}{share(at > 0):>11}" + "".join(f"{figure:>15}" for figure in fleets))


KEYS, SERVERS = 1_000_000, 3


def lanes() -> None:
    """Who gets the new version, asked of the server's own lanes in processes of their own."""
    with ProcessPoolExecutor(SERVERS, mp_context=multiprocessing.get_context("spawn")) as servers:
        answered = [*servers.map(takes_new, [POLICY.steps] * SERVERS)]
    alike = all(np.array_equal(answered[0], other) for other in answered[1:])
    news = np.unpackbits(answered[0], axis=1, count=KEYS).astype(bool)
    turns = np.abs(np.diff(news.astype(np.int8), axis=0)).sum(axis=0)
    print(
        f"\n{KEYS:,} keys on {SERVERS} servers: alike on all: {alike}; changes of a key on the way up, at most: {turns.max()}"
    )
    for step, new in zip(POLICY.steps, news, strict=True):
        error = math.sqrt(step * (1 - step) / KEYS)
        far = f", {(new.mean() - step) / error:+.1f} s.e." if step else ""
        print(f"  {step:.0%} asked, {new.mean():.4%} of the keys{far}")


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


def cost() -> None:
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
    print("\nCPU a call, median of 9")
    print(f"log_wealth {microseconds(lambda: log_wealth(seen, 0.01, 'above'), 500):.0f} us", end=", ")
    print(
        f"a process's own brake {microseconds(lambda: failing(counts, POLICY.margin), 100):.0f} us", end=", "
    )
    print(f"decide {microseconds(lambda: decide_at(GOOD, names, 2), 20) / 1e3:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--aa", type=int, default=10_000, help="rollouts of equal versions")
    parser.add_argument("--margin", type=int, default=2_000, help="rollouts with a guard at its margin, each")
    parser.add_argument("--harm", type=int, default=1_000, help="rollouts of each harm")
    args = parser.parse_args()
    began = time.process_time()
    cost()
    lanes()
    asked = sum(carry_through(truth, 7, 6) for truth in (GOOD, *AT_MARGIN.values(), *HARM.values()))
    print(
        f"decide() itself, asked {asked:,} times along {6 * (1 + len(AT_MARGIN) + len(HARM))} streams, did what follows below"
    )
    harm(args.harm)
    labels(args.margin)
    at_margin(args.margin)
    brakes(min(args.margin, 1_000))
    equal(args.aa)
    print(f"\n{time.process_time() - began:,.0f} CPU s")


if __name__ == "__main__":
    main()
