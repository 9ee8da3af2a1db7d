"""Parts of the sentences that people read: another's error on one line, the first of many names, what a user's code raised."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tasks.errors import UserError


def first_line(error: BaseException, most: int = 200) -> str:
    """The first line of what an error says, without its full stop; the error's type where it says nothing."""
    lines = str(error).strip().splitlines()
    return shortened(lines[0].rstrip("."), most) if lines else type(error).__name__


def typed_line(error: BaseException, most: int = 200) -> str:
    """The same behind the error's type: for errors that say little without it, such as KeyError: 'label'."""
    line = first_line(error, most)
    return line if line == type(error).__name__ else f"{type(error).__name__}: {line}"


def shortened(text: str, most: int = 1000) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def some(names: Sequence[object], most: int = 8) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(map(str, names[:most]))
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


@contextmanager
def as_user_error(what: str, hint: str = "") -> Iterator[None]:
    """What code of a user's raises, as a UserError that begins with what failed; a UserError goes through as it is."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {type(error).__name__}: {str(error).rstrip('.')}{hint}.") from error
