"""Parts of the campaign: retrainings ended by SIGKILL at any call that writes, and disks that fail at any; the next run ends the same."""

import contextlib
import errno
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from campaign import Case, Part, Tried, Try, Wrong
from faulty_disk import NOTHING, Fault
from retrainings import DOTS, Ended, Retrainings, empty_registry, prefect_server

KILLS, KILLS_OF_DIGITS, FAILURES = 1_000, 20, 2_000

_LONGEST_SENTENCE = 1_000


class Drill:
    """A home with a champion, a retraining of it that nothing disturbs, and others that something does."""

    def __init__(
        self, retrainings: Retrainings, model: str, reference: str, first: list[str], then: list[str]
    ) -> None:
        self.retrainings, self.model = retrainings, model
        self._reference, self._then = reference, then
        self._before = retrainings.scratch / f"{model}-before"
        ended = retrainings.run(*first, reference=reference)
        _expect(ended, "promoted")
        shutil.copytree(retrainings.home, self._before, symlinks=True)
        log = retrainings.scratch / f"{model}.log"
        self.whole = self.run(log=log)
        _expect(self.whole, "promoted")
        self.calls = log.read_text().splitlines()
        self.state = retrainings.state(model)
        if self.state["problems"] or self.state["aliases"]["champion"] != 2:
            raise AssertionError(f"the undisturbed retraining ended wrong: {self.state}")

    def begin(self) -> None:
        self.retrainings.fresh_home(self._before)

    def run(self, fault: Fault = NOTHING, log: Path | None = None) -> Ended:
        return self.retrainings.run(*self._then, reference=self._reference, fault=fault, log=log)

    def what(self, at: int) -> str:
        """The call with this number, as the undisturbed retraining had it: in another it may be a neighbour."""
        call, _, path = self.calls[min(at, len(self.calls) - 1)].partition(" ")
        return f"{call} of {re.sub('[0-9a-f]{16,}', '…', path)} ({at} of {len(self.calls):,})"

    def check_aliases(self, what: str) -> None:
        """At any moment the champion is the old one or the new one. Looked at in a copy: opening it here would mend it."""
        names = [path for path in self.retrainings.home.glob("mlflow.db*") if path.is_file()]
        folder = self.retrainings.scratch / "looked-at"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path in names:
            shutil.copyfile(path, folder / path.name)
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
            query = "select version from registered_model_aliases where name = ? and alias = 'champion'"
            champions = [int(row[0]) for row in database.execute(query, [self.model])]
            sound = database.execute("pragma integrity_check").fetchone()[0]
        if champions not in ([1], [2]) or sound != "ok":
            raise Wrong(f"right after {what} the champion is {champions}, and the database {sound}")

    def check_next(self, what: str) -> None:
        """The next run, which nothing disturbs, ends as the one that nothing disturbed."""
        ended = self.run()
        if ended.outcome is None:
            raise Wrong(f"the run after {what} failed with {ended.exit_code}: {ended.sentence or ended.bug}")
        if ended.outcome["decision"] not in ("promoted", "unchanged"):
            raise Wrong(f"the run after {what} ended {ended.outcome['decision']}: {ended.outcome['reasons']}")
        assert self.whole.outcome is not None
        state = self.retrainings.state(self.model)
        for name, value in self.state.items():
            if state[name] != value:
                raise Wrong(f"after {what} and another run, {name} is {state[name]} and not {value}")
        if ended.outcome["version"] != 2 or ended.outcome["digest"] != self.state["versions"][1][1]:
            raise Wrong(f"the run after {what} speaks of version {ended.outcome['version']}")

    def kill(self, fault: Fault) -> Tried:
        """One retraining killed, and another."""
        self.begin()
        what = f"a kill {'within' if fault.way == 'tear' else 'before'} the {self.what(fault.at)}"
        ended = self.run(fault)
        if not ended.killed and ended.outcome is None:
            raise Wrong(f"{what} did not come, and the run failed: {ended.sentence or ended.bug}")
        self.check_aliases(what)
        self.check_next(what)
        return Tried(
            "the next run ended the same"
            if ended.killed
            else "ended before its kill, and so did the next run"
        )

    def fail(self, fault: Fault) -> Tried:
        """One retraining on a disk that fails, and another on one that does not."""
        self.begin()
        name = errno.errorcode[fault.error]
        since = "from then on" if fault.way == "full" else "once"
        what = f"{name} {since} at the {self.what(fault.at)}"
        ended = self.run(fault)
        if ended.bug or not (ended.outcome or ended.sentence):
            raise Wrong(f"{what} ended with {ended.exit_code}: {ended.bug}")
        if "\n" in ended.sentence or len(ended.sentence) > _LONGEST_SENTENCE:
            raise Wrong(f"{what} is said in no sentence: {ended.sentence}")
        self.check_aliases(what)
        self.check_next(what)
        how = "it failed in a sentence" if ended.sentence else "it ended well all the same"
        return Tried(f"{name} {since}: {how}, the next run ended the same")


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
    first: tuple[str, ...] = (),
    then: tuple[str, ...] = ("train.lr=0.4",),
) -> Iterator[Drill]:
    retrainings = Retrainings(scratch, prefect_api)
    try:
        retrainings.home.mkdir(mode=0o700)
        if empty_database is None:
            empty_registry(retrainings.home / "mlflow.db")
        else:
            shutil.copyfile(empty_database, retrainings.home / "mlflow.db")
        yield Drill(retrainings, model, reference, list(first), list(then))
    finally:
        retrainings.close()


@contextmanager
def open_kills(scratch: Path) -> Iterator[Try]:
    with prefect_server(scratch / "prefect-server") as api, drilled(scratch, api, None) as drill:

        def attempt(case: Case) -> Tried:
            at = case.spread(len(drill.calls))
            return drill.kill(Fault(case.dice.choice(("kill", "tear")), at))

        yield attempt


@contextmanager
def open_kills_of_digits(scratch: Path) -> Iterator[Try]:
    knobs: dict[str, Any] = {"first": ("recipes=[]", "train.epochs=8"), "then": ("train.epochs=9",)}
    with (
        prefect_server(scratch / "prefect-server") as api,
        drilled(scratch, api, None, "digits", "digits", **knobs) as drill,
    ):

        def attempt(case: Case) -> Tried:
            return drill.kill(Fault("kill", case.spread(len(drill.calls))))

        yield attempt


@contextmanager
def open_failures(scratch: Path) -> Iterator[Try]:
    """Every call fails once with EIO, and every call is the first on a disk that is full."""
    with prefect_server(scratch / "prefect-server") as api, drilled(scratch, api, None) as drill:

        def attempt(case: Case) -> Tried:
            at, full = divmod(case.among(2 * len(drill.calls)), 2)
            return drill.fail(Fault("full", at, errno.ENOSPC) if full else Fault("fail", at, errno.EIO))

        yield attempt


PARTS = (
    Part("kills", f"{KILLS:,} retrainings killed at a call that writes, or within it", KILLS, open_kills),
    Part(
        "kills-of-digits",
        f"{KILLS_OF_DIGITS} retrainings of digits, recipes and all, killed so",
        KILLS_OF_DIGITS,
        open_kills_of_digits,
    ),
    Part(
        "failures",
        "every call that writes failed in turn (EIO), and the disk full from it on (ENOSPC)",
        FAILURES,
        open_failures,
    ),
)
