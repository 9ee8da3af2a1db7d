"""What a command says when the machine or a database fails it: one sentence, as for anything else that a user can mend."""

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.errors import UserError


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Errors of the machine and of databases as StepError. A bug keeps its traceback."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        from tasks.registry.reachability import explain_database, is_a_databases
        from tasks.settings import load_settings
        from tasks.system.files import why_it_broke

        said = why_it_broke(error)
        if said is None and is_a_databases(error):
            said = explain_database(load_settings().tracking_uri, error)
        if said is None:
            raise
        raise said from error
