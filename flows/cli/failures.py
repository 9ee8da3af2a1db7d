"""What a command says when the machine or a database fails it: one sentence, as for anything else that a user can mend."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.errors import StepError, UserError
from tasks.system.files import NO_MEMORY, why_it_broke

_LEAST_BYTES = 640 * 2**20
"""Of address space, for what every command imports: with less, libraries end the process without a word of ours."""


def check_limits() -> None:
    """Raise StepError where a limit leaves too little to begin with."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < _LEAST_BYTES:
        raise StepError(
            f"The address space is limited to {limit >> 20} MB (ulimit -v), and a command takes {_LEAST_BYTES >> 20} MB: lift the limit."
        )


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Errors of the machine and of databases as StepError. A bug keeps its traceback."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        try:
            said = why_it_broke(error) or _of_a_database(error)
        except MemoryError:  # not even for that
            said = StepError(NO_MEMORY)
        if said is None:
            raise
        raise said from error


def _of_a_database(error: Exception) -> StepError | None:
    from tasks.registry.reachability import explain_database, is_a_databases
    from tasks.settings import load_settings

    return explain_database(load_settings().tracking_uri, error) if is_a_databases(error) else None
