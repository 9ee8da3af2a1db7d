"""The frame of the campaign: parts of many seeded cases, each kept when it is finished, so that a campaign goes on where it was ended.

    python tests/bench/bench_campaign.py [--only PART …] [--scale 0.01] [--jobs 2] [--minutes 60] [--seed 7] [--again] [--write]

A part opens what its cases share and gives the function that tries a case. The same seed and number always mean the same case, whatever
the scale, and the first so many of a part's cases are spread over all of it: a part that was ended early has seen a sample of the whole.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from figures import WRITES, machine, sentence, write

FOLDER = Path(".slipway/bench/campaign")
SEED = 20261126


class Wrong(AssertionError):
    """What a case must never end in: said in a sentence, kept with the case, and the part goes on."""


class Exhausted(Exception):
    """There are no more cases of this part than those before."""


class Broken(Exception):
    """What a part's cases share is gone, as when somebody ends its processes: a finding about none of them, and the part's end."""


@dataclass(frozen=True)
class Case:
    """A case by its number, from 0; `dice` are its own."""

    number: int
    seed: int
    part: str

    @property
    def dice(self) -> random.Random:
        return random.Random(f"{self.seed} {self.part} {self.number}")

    def among(self, total: int) -> int:
        """Which of `total` things it is about: each once, the first few far from each other. Raises Exhausted past the last."""
        if self.number >= total:
            raise Exhausted
        return self.spread(total)

    def spread(self, total: int) -> int:
        """The same where there are more cases than things: then a thing comes again."""
        step = next(s for s in range(round(total * 0.618) or 1, 2 * total + 1) if math.gcd(s, total) == 1)
        return (self.number * step + random.Random(self.seed).randrange(total)) % total


@dataclass(frozen=True)
class Tried:
    """What came of a case: a few words that are counted, how many tries it was, and figures (their extremes and median are shown)."""

    outcome: str
    tries: int = 1
    figures: Mapping[str, float] = field(default_factory=dict)


Try = Callable[[Case], Tried]


@dataclass(frozen=True)
class Part:
    """One line of the table. `tries` is what a case counts as, for the plan; `alone` where two at a time would disturb each other."""

    name: str
    what: str
    cases: int
    open: Callable[[Path], AbstractContextManager[Try]]
    tries: int = 1
    alone: bool = False


@dataclass(frozen=True)
class Kept:
    """A finished case as it stands in the part's file, a line of JSON each."""

    case: int
    seed: int
    outcome: str
    tries: int
    figures: dict[str, float]
    cpu: float
    seconds: float
    wrong: str = ""


class Journal:
    """The finished cases of a part, on disk; two processes may add to it."""

    def __init__(self, folder: Path, part: str, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._seed = folder / f"{part}.jsonl", seed

    def add(self, kept: Kept) -> None:
        with self._path.open("ab") as file:
            file.write(
                f"\n{json.dumps(asdict(kept))}\n".encode()
            )  # a line of its own, whatever was cut off before

    def read(self) -> dict[int, Kept]:
        """By number, the last of each; a line that was cut off is a case to be tried again."""
        cases = {}
        for line in self._path.read_bytes().splitlines() if self._path.exists() else ():
            try:
                kept = Kept(**json.loads(line))
            except (ValueError, TypeError):
                continue
            if kept.seed == self._seed:
                cases[kept.case] = kept
        return cases


def try_part(part: Part, options: argparse.Namespace, until: float) -> None:
    """Every case of this process's share that is not in the journal, until there are no more or the time is over."""
    journal = Journal(options.folder, part.name, options.seed)
    done = {n for n, kept in journal.read().items() if not (options.again and kept.wrong)}
    index, shares = options.share
    missing = [n for n in range(planned(part, options.scale)) if n not in done and n % shares == index]
    if not missing or time.monotonic() > until:
        return
    with (
        tempfile.TemporaryDirectory(prefix=f"campaign-{part.name}-") as scratch,
        part.open(Path(scratch)) as attempt,
    ):
        for number in missing:
            if time.monotonic() > until:
                return
            try:
                journal.add(_tried(attempt, Case(number, options.seed, part.name)))
            except Exhausted:
                return


def _tried(attempt: Try, case: Case) -> Kept:
    cpu, clock = _cpu(), time.monotonic()
    wrong = ""
    try:
        tried = attempt(case)
    except (Exhausted, Broken):
        raise
    except Wrong as error:
        tried, wrong = Tried("WRONG"), str(error)
    except Exception as error:  # a drill that breaks has shown nothing, and says so
        tried, wrong = Tried("WRONG"), f"{type(error).__name__}: {error}\n{traceback.format_exc()[-3000:]}"
    if wrong:
        print(f"{case.part} {case.number}: {wrong}", file=sys.stderr, flush=True)
    cpu, clock = _cpu() - cpu, time.monotonic() - clock
    return Kept(
        case.number,
        case.seed,
        tried.outcome,
        tried.tries,
        dict(tried.figures),
        round(cpu, 3),
        round(clock, 3),
        wrong,
    )


def _cpu() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def planned(part: Part, scale: float) -> int:
    return max(1, round(part.cases * scale))


def row(part: Part, journal: Mapping[int, Kept]) -> dict[str, object]:
    """A part's line of the table."""
    cases = journal.values()
    figures: dict[str, list[float]] = {}
    for kept in cases:
        for name, value in kept.figures.items():
            figures.setdefault(name, []).append(value)
    outcomes = Counter[str]()
    for kept in cases:
        outcomes[kept.outcome] += kept.tries
    return {
        "part": part.name,
        "what": part.what,
        "planned": part.cases * part.tries,
        "tried": sum(kept.tries for kept in cases),
        "wrong": sum(bool(kept.wrong) for kept in cases),
        "outcomes": dict(outcomes.most_common()),
        "figures": {
            name: {"least": min(values), "median": statistics.median(values), "most": max(values)}
            for name, values in figures.items()
        },
        "cpu_minutes": round(sum(kept.figures.get("CPU s a case", kept.cpu) for kept in cases) / 60, 1),
    }


def table(rows: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Markdown, for docs/benchmarks.md."""
    yield "| part | tried, of planned | wrong | what came of it | CPU min |"
    yield "|---|---|---|---|---|"
    for line in rows:
        outcomes, figures = line["outcomes"], line["figures"]
        assert isinstance(outcomes, dict) and isinstance(figures, dict)
        said = [f"{count:,} {outcome}" for outcome, count in outcomes.items()]
        said += [
            f"{name} {f['median']:,.4g} ({f['least']:,.4g} to {f['most']:,.4g})"
            for name, f in figures.items()
        ]
        yield (
            f"| {line['what']} (`{line['part']}`) | {line['tried']:,} of {line['planned']:,} | {line['wrong']} "
            f"| {'; '.join(said)} | {line['cpu_minutes']} |"
        )


def main(parts: Sequence[Part]) -> int:
    """The exit code is 1 when any case of the parts asked for ended wrong."""
    names = [part.name for part in parts]
    parser = argparse.ArgumentParser(
        description="The campaign: every kind of fault and attack, seeded and resumable."
    )
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names)
    )
    parser.add_argument("--scale", type=float, default=1.0, help="how much of each part, such as 0.01")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="begin no case after so many; go on later"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(2, os.cpu_count() or 1),
        help="processes for parts whose cases may run side by side",
    )
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--again", action="store_true", help="try those again that ended wrong")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where finished cases are kept")
    parser.add_argument("--share", type=_share, default=(0, 1), help=argparse.SUPPRESS)
    options = parser.parse_args()
    until = time.monotonic() + options.minutes * 60
    chosen = [part for part in parts if part.name in options.only]
    for part in chosen:
        print(f"== {part.name}: {part.what}", file=sys.stderr, flush=True)
        jobs = 1 if part.alone else options.jobs
        others = [_other(part, options, number, jobs, until) for number in range(1, jobs)]
        options.share = options.share if jobs == 1 else (0, jobs)
        try_part(part, options, until)
        for other in others:
            other.wait()
        options.share = (0, 1) if jobs > 1 else options.share
    if options.share[0]:
        return 0  # whoever started this share tells of all
    shown = parts if WRITES else chosen  # the page has one table for all of them
    rows = [
        row(part, kept) for part in shown if (kept := Journal(options.folder, part.name, options.seed).read())
    ]
    lines = [f"Last gone on with {sentence(machine('torch', 'mlflow', 'prefect'))}", "", *table(rows)]
    print("\n".join(lines))
    if WRITES:
        write("campaign", lines)
    return int(any(line["wrong"] for line in rows))


def _other(
    part: Part, options: argparse.Namespace, number: int, jobs: int, until: float
) -> "subprocess.Popen[bytes]":
    words = ["--only", part.name, "--scale", str(options.scale), "--seed", str(options.seed)]
    words += [
        "--folder",
        str(options.folder),
        "--share",
        f"{number}/{jobs}",
        "--jobs",
        "1",  # it has its share, and begins no others
        *(["--again"] if options.again else []),
    ]
    if until < math.inf:
        words += ["--minutes", str((until - time.monotonic()) / 60)]
    return subprocess.Popen([sys.executable, sys.argv[0], *words], stdout=subprocess.DEVNULL)


def _share(text: str) -> tuple[int, int]:
    index, _, shares = text.partition("/")
    return int(index), int(shares)
