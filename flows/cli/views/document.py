"""The one JSON document of a command that was asked for it: alone on stdout, whatever else is printed, and also when it fails."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

from tasks.errors import UserError
from tasks.system.sentences import typed_line

_USAGE = "The command was not given as it takes its words: `slipway COMMAND --help` shows them."

_STOPPED = "stopped."


class _Stdout:
    """Where the document goes, and whether it is there."""

    stream: TextIO | None = None
    written = False


def show_document(text: str) -> None:
    """Print a command's JSON on stdout."""
    print(text, file=_Stdout.stream or sys.stdout, flush=True)
    _Stdout.written = True


@contextmanager
def json_alone(words: Sequence[str]) -> Iterator[None]:
    """With `--json` among a command's words, all that is printed goes to stderr but the document, which is {"error": …} if it fails.

    What compiled code prints goes there too, for the rest of the process.
    """
    if "--json" not in words or words[0] == "serve":
        yield
        return
    _Stdout.stream, _Stdout.written = _own(sys.stdout), False
    try:
        with redirect_stdout(sys.stderr):
            yield
    except SystemExit as end:
        if end.code:
            _show_error(_STOPPED if end.code == 130 else _USAGE)
        raise
    except KeyboardInterrupt:
        _show_error(_STOPPED)
        raise
    except Exception as error:
        _show_error(str(error) if isinstance(error, UserError) else typed_line(error))
        raise
    finally:
        _Stdout.stream = None


def _own(stdout: TextIO) -> TextIO:
    """Stdout by another number, where it is a process's own: what writes to number 1 writes to stderr from now on."""
    try:
        if stdout.fileno() != 1:
            return stdout
    except (OSError, ValueError):
        return stdout
    stdout.flush()
    own = os.fdopen(os.dup(1), "w", encoding=stdout.encoding, errors=stdout.errors)
    os.dup2(2, 1)
    return own


def _show_error(said: str) -> None:
    if not _Stdout.written:
        show_document(json.dumps({"error": said}))
