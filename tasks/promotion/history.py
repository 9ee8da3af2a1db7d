"""What served when, and who decided: the ledger held against the aliases as they stand."""

import datetime

from tasks.errors import UserError
from tasks.promotion.entries import Ledger, LedgerEntry
from tasks.promotion.ledger import read_ledger
from tasks.records import Version
from tasks.registry.lookup import check_model
from tasks.registry.registry import Registry
from tasks.settings import Settings
from tasks.system.frozen import Frozen


class History(Frozen):
    """A model's decisions, or with `at` those that say what served then; `problems` say where the record breaks.

    `pending`, which is one of them, is no break: a decision that is being carried out, or that the next one ends.
    """

    model: str
    champion: int | None
    challenger: int | None
    previous: int | None
    proved: bool | None
    entries: tuple[LedgerEntry, ...]
    problems: tuple[str, ...]
    pending: str | None = None
    notes: tuple[str, ...] = ()
    at: str | None = None


def history(settings: Settings, model: str, at: str | None = None) -> History:
    """Read the ledger and check it. `at` is a day (2026-05-03) or a moment (2026-05-03T14:00, UTC unless it says).

    `proved` is whether the champion's evidence holds, looked at only when the champion is not the ledger's own. Raises
    UserError for a model that is not there, or a date that is none.
    """
    registry = Registry(settings)
    check_model(registry, model)
    ledger, champion = _read(registry, model)
    number = champion.version if champion is not None else None
    problems, last, pending = list(ledger.problems), ledger.unfinished, None
    if last is not None:
        pending = f"a {last.action} to v{last.to_version} by {last.who} is under way, or was interrupted: the next decision ends it"
        problems.append(pending)
    moved = number not in _may_serve(ledger)
    proved = _is_proved(registry, champion) if moved else champion is not None or None
    if moved:
        what = "removed" if number is None else f"moved to v{number}, {'proved' if proved else 'UNPROVED'},"
        problems.append(f"the champion was {what} outside of Slipway; by the ledger v{ledger.serving} serves")
    return History(
        model=model,
        champion=number,
        challenger=registry.number(model, "challenger"),
        previous=registry.number(model, "previous"),
        proved=proved,
        entries=ledger.served(*_span(at)) if at else ledger.entries,
        problems=tuple(problems),
        pending=pending,
        notes=ledger.notes,
        at=at,
    )


def _read(registry: Registry, model: str) -> tuple[Ledger, Version | None]:
    """The ledger, and what the alias says by it: what was decided between the two readings is no move outside of Slipway."""
    ledger = read_ledger(registry, model, whole=True)
    while True:
        champion = registry.by_alias(model, "champion")
        if (champion.version if champion is not None else None) in _may_serve(ledger):
            return ledger, champion
        before, ledger = ledger, read_ledger(registry, model, whole=True)
        if (ledger.head, ledger.unfinished) == (before.head, before.unfinished):
            return ledger, champion


def _may_serve(ledger: Ledger) -> set[int | None]:
    last = ledger.unfinished
    return {ledger.serving} | ({last.from_version} if last is not None and last.moved else set())


def _is_proved(registry: Registry, version: Version | None) -> bool:
    if version is None:
        return False
    from tasks.promotion.verification import check_version, downloaded

    try:
        with downloaded(registry, version) as folder:
            return check_version(folder, version).decision == "pass"
    except UserError:
        return False


def _span(text: str) -> tuple[datetime.datetime, datetime.datetime]:
    """The day, or the one moment, that a text names; local time counts as UTC unless it has an offset."""
    try:
        start = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(
            f"--at {text!r} is no date: write a day (2026-05-03) or a moment (2026-05-03T14:00)."
        ) from error
    whole_day = len(text) <= len("2026-05-03")
    start = start if start.tzinfo else start.replace(tzinfo=datetime.UTC)
    length = datetime.timedelta(days=1) if whole_day else datetime.timedelta(microseconds=1)
    return start, min(start, datetime.datetime.max.replace(tzinfo=datetime.UTC) - length) + length
