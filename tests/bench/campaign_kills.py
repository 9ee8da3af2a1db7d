"""Parts of the campaign: retrainings ended by SIGKILL at any call that writes, and disks that fail at any; the next run ends the same."""

import contextlib
import errno
import random
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from campaign import Case, Part, Tried, Try, Wrong
from faulty_disk import NOTHING, Fault
from retrainings import DOTS, Ended, Retrainings, prefect_server

KILLS, IN_A_ROW, ROWS = 1_000, 4, 270
"""Each row of kills has as many as come before its run is done: 3.7 of 4."""

FAILURES = 1_212
"""As many calls as a retraining of the dots has, and a few more on a slow machine: each of them fails once."""

KILLS_OF_FIRST_RUNS, KILLS_OF_DIGITS = 100, 22

_LONGEST_SENTENCE = 1_000


class Drill:
    """A home with a champion, or (`first` None) an empty one; a run in it that nothing disturbs, and others that something does."""

    def __init__(
        self, retrainings: Retrainings, model: str, reference: str, first: list[str] | None, then: list[str]
    ) -> None:
        self.retrainings, self.model = retrainings, model
        self._reference, self._then = reference, then
        self._cpu = 0.0
        self._before = retrainings.scratch / f"{model}-before"
        self._number = 1 if first is None else 2
        if first is not None:
            _expect(retrainings.run(*first, reference=reference), "promoted")
        shutil.copytree(retrainings.home, self._before, symlinks=True)
        log = retrainings.scratch / f"{model}.log"
        self.whole = self.run(log=log)
        _expect(self.whole, "promoted")
        self.calls = log.read_text().splitlines()
        self.state = self._state()
        if self.state["problems"] or self.state["aliases"]["champion"] != self._number:
            raise AssertionError(f"the undisturbed retraining ended wrong: {self.state}")

    def _state(self) -> dict[str, Any]:
        """Where speed decides which candidate is picked, all candidates' bits are compared, and not which it was."""
        state = self.retrainings.state(self.model)
        if len(state["candidates"]) > 1:
            state["versions"] = [[number, decision] for number, _, decision in state["versions"]]
            state["verified"] = state["verified"][0]
            state["models"] = [[number, name] for number, name, _ in state["models"]]
        return state

    def begin(self) -> None:
        self._cpu = 0.0
        self.retrainings.fresh_home(self._before)

    def run(self, fault: Fault = NOTHING, log: Path | None = None) -> Ended:
        ended = self.retrainings.run(*self._then, reference=self._reference, fault=fault, log=log)
        self._cpu += ended.cpu
        return ended

    def what(self, fault: Fault) -> str:
        """The call that it is about, as the undisturbed retraining had it: in another it may be a neighbour."""
        like = [call for call in self.calls if fault.like in f"{call}\n"]
        call, _, path = like[min(fault.at, len(like) - 1)].partition(" ")
        return f"{call} of {re.sub('[0-9a-f]{16,}', '…', path)} ({fault.at} of {len(like):,})"

    def check_aliases(self, what: str) -> None:
        """At any moment the champion is the old one or the new one. Looked at in a copy: opening it here would mend it."""
        names = [path for path in self.retrainings.home.glob("mlflow.db*") if path.is_file()]
        if not names:
            return
        folder = self.retrainings.scratch / "looked-at"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path in names:
            shutil.copyfile(path, folder / path.name)
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
            query = "select version from registered_model_aliases where name = ? and alias = 'champion'"
            champions = [int(row[0]) for row in database.execute(query, [self.model])]
            sound = database.execute("pragma integrity_check").fetchone()[0]
        before = [[1], [2]] if self._number == 2 else [[], [1]]
        if champions not in before or sound != "ok":
            raise Wrong(f"right after {what} the champion is {champions}, and the database {sound}")

    def check_next(self, what: str) -> None:
        """The next run, which nothing disturbs, ends as the one that nothing disturbed."""
        ended = self.run()
        if ended.outcome is None:
            raise Wrong(f"the run after {what} failed with {ended.exit_code}: {ended.sentence or ended.bug}")
        if ended.outcome["decision"] not in ("promoted", "unchanged"):
            raise Wrong(f"the run after {what} ended {ended.outcome['decision']}: {ended.outcome['reasons']}")
        assert self.whole.outcome is not None
        state = self._state()
        for name, value in self.state.items():
            if state[name] != value:
                raise Wrong(f"after {what} and another run, {name} is {state[name]} and not {value}")
        if ended.outcome["version"] != self._number:
            raise Wrong(f"the run after {what} speaks of version {ended.outcome['version']}")

    def kill(self, first: int, dice: random.Random, kills: int) -> Tried:
        """A retraining killed, the next killed in what was left to do, and so on; then one that nothing disturbs."""
        self.begin()
        said, at, left = list[str](), first, len(self.calls)
        while len(said) < kills:
            fault = Fault(dice.choice(("kill", "tear")), at)
            what = f"{fault.way} at the {self.what(fault)}" if not said else f"{fault.way} at call {at}"
            ended = self.run(fault)
            if not ended.killed:
                if ended.outcome is None:
                    raise Wrong(f"after {said} a run failed: {ended.sentence or ended.bug}")
                break
            said.append(what)
            self.check_aliases(" and ".join(said))
            left = max(left - at, 40)
            at = dice.randrange(left)
        self.check_next(" and ".join(said))
        return Tried("kills, and the next run ended the same", len(said), {"CPU s a case": self._cpu})

    def fail(self, fault: Fault) -> Tried:
        """One retraining on a disk that fails, and another on one that does not."""
        self.begin()
        name = errno.errorcode[fault.error]
        since = "from then on" if fault.way == "full" else "once"
        what = f"{name} {since} at the {self.what(fault)}"
        ended = self.run(fault)
        if ended.bug or not (ended.outcome or ended.sentence):
            raise Wrong(f"{what} ended with {ended.exit_code}: {ended.bug}")
        if "\n" in ended.sentence or len(ended.sentence) > _LONGEST_SENTENCE:
            raise Wrong(f"{what} is said in no sentence: {ended.sentence}")
        self.check_aliases(what)
        self.check_next(what)
        how = "it failed in a sentence" if ended.sentence else "it ended well all the same"
        return Tried(f"{name} {since}: {how}, the next run ended the same", 1, {"CPU s a case": self._cpu})


def _expect(ended: Ended, decision: str) -> None:
    if ended.outcome is None or ended.outcome["decision"] != decision:
        raise AssertionError(f"an undisturbed run ended {ended.outcome}: {ended.sentence or ended.bug}")


@contextmanager
def drilled(
    scratch: Path,
    prefect_api: str,
    empty_database: Path | None,
    model: str = "dots",
    reference: str = DOTS,
    first: tuple[str, ...] | None = (),
    then: tuple[str, ...] = ("train.lr=0.4",),
) -> Iterator[Drill]:
    retrainings = Retrainings(scratch, prefect_api)
    try:
        retrainings.home.mkdir(mode=0o700)
        if empty_database is not None:
            shutil.copyfile(empty_database, retrainings.home / "mlflow.db")
        yield Drill(retrainings, model, reference, first if first is None else list(first), list(then))
    finally:
        retrainings.close()


@contextmanager
def open_kills(scratch: Path) -> Iterator[Try]:
    with prefect_server(scratch / "prefect-server") as api, drilled(scratch, api, None) as drill:

        def attempt(case: Case) -> Tried:
            return drill.kill(case.spread(len(drill.calls)), case.dice, IN_A_ROW)

        yield attempt


@contextmanager
def open_kills_of_first_runs(scratch: Path) -> Iterator[Try]:
    """In a home where nothing is yet: its database, its keys and its first version are made as well."""
    with (
        prefect_server(scratch / "prefect-server") as api,
        drilled(scratch, api, None, first=None) as drill,
    ):

        def attempt(case: Case) -> Tried:
            return drill.kill(case.spread(len(drill.calls)), case.dice, 1)

        yield attempt


@contextmanager
def open_kills_of_digits(scratch: Path) -> Iterator[Try]:
    knobs: dict[str, Any] = {
        "first": ("recipes=[]", "train.epochs=8"),
        # surely no worse, for mlflow.yaml owns the margin; and nothing is picked by a measured time, which no two runs have alike
        "then": ("train.epochs=12", "engines=[onnxruntime]", "gates.prefer=size"),
    }
    with (
        prefect_server(scratch / "prefect-server") as api,
        drilled(scratch, api, None, "digits", "digits", **knobs) as drill,
    ):

        def attempt(case: Case) -> Tried:
            return drill.kill(case.spread(len(drill.calls)), case.dice, 1)

        yield attempt


@contextmanager
def open_failures(scratch: Path) -> Iterator[Try]:
    """Every call fails in turn: half of them once with EIO, half as the first on a disk that is full."""
    with prefect_server(scratch / "prefect-server") as api, drilled(scratch, api, None) as drill:

        def attempt(case: Case) -> Tried:
            at = min(case.among(FAILURES), len(drill.calls) - 1)
            return drill.fail(
                Fault("full", at, errno.ENOSPC) if case.number % 2 else Fault("fail", at, errno.EIO)
            )

        yield attempt


PARTS = (
    Part(
        "kills",
        f"{KILLS:,} kills at a call that writes, or within it",
        ROWS,
        open_kills,
        IN_A_ROW,
    ),
    Part(
        "kills-of-first-runs",
        f"{KILLS_OF_FIRST_RUNS} first runs in an empty home, killed so",
        KILLS_OF_FIRST_RUNS,
        open_kills_of_first_runs,
    ),
    Part(
        "kills-of-digits",
        f"{KILLS_OF_DIGITS} retrainings of digits, recipes and all, killed so",
        KILLS_OF_DIGITS,
        open_kills_of_digits,
    ),
    Part(
        "failures",
        "every call that writes failed in turn, once (EIO) or as the first on a full disk (ENOSPC)",
        FAILURES,
        open_failures,
    ),
)
