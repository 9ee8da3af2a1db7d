"""What an exporter says: kept off both streams, and what matters of it put in a sentence with the model's own line."""

import linecache
import logging
import os
import re
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tasks.system.sentences import typed_line

_LOGGERS = ("torch.onnx", "torch.fx", "torch.export", "torch._dynamo")

_HOUSE = Path(__file__).parents[2]

_EXAMPLES = _HOUSE / "tasks" / "workloads" / "examples"

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

_PLACE = re.compile(r'File "(?P<file>[^"\n]+)", line (?P<line>\d+)')

_BY_DATA = ("GuardOnDataDependent", "data-dependent", "Data dependent")

_CAPTURED = "Constraints violated"
"""What torch.export says of a module that it followed to its end, and whose axes are not as free as was asked."""


class Line(NamedTuple):
    """A line of the model's own code."""

    file: str
    number: int

    def __str__(self) -> str:
        """`churn.py:23 ‘if flat.mean() > 0.1:’`."""
        code = linecache.getline(self.file, self.number).strip()
        return f"{Path(self.file).name}:{self.number}" + (f" ‘{code[:120]}’" if code else "")


@contextmanager
def quietly() -> Iterator[list[Line]]:
    """Without what exporters print, log and warn of; the lines whose values a trace has frozen are what it gives."""
    frozen: list[Line] = []
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with _no_output(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield frozen
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    lines = [Line(w.filename, w.lineno) for w in caught if w.category.__name__ == "TracerWarning"]
    frozen += [line for line in dict.fromkeys(lines) if _is_own(line.file)]


@contextmanager
def _no_output() -> Iterator[None]:
    """Nothing that this thread prints, and nothing that C++ prints, reaches a stream: stdout is for a command's answer."""
    with redirect_stdout(_OfOthers(sys.stdout)), redirect_stderr(_OfOthers(sys.stderr)):
        kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 1)
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
            os.close(nowhere)


class _OfOthers:
    """A stream that takes what other threads write, such as the line that shows how far a run is."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._silent = threading.get_ident()

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self._silent else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def reason(error: Exception, with_line: bool = True) -> str:
    """Why an export failed, on one line and without colours: the model's own line where it is known, and torch's words."""
    causes = _causes(error)
    line = own_line(error) if with_line else None
    said = " ".join(_COLOUR.sub("", typed_line(causes[-1])).split())
    return f"{line}: {said}" if line else said


def own_line(error: Exception) -> Line | None:
    """The innermost line of the model's own code that an exporter's error names, in its traceback or in words."""
    for cause in reversed(_causes(error)):
        frames = [
            Line(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(cause.__traceback__)
        ]
        named = [Line(match["file"], int(match["line"])) for match in _PLACE.finditer(str(cause))]
        for line in reversed([*frames, *named]):
            if _is_own(line.file):
                return line
    return None


def is_by_data(error: Exception) -> bool:
    """Whether torch.export gave up at a decision that hangs on the data."""
    return any(word in f"{type(cause).__name__}: {cause}" for cause in _causes(error) for word in _BY_DATA)


def unsaid(error: Exception) -> list[Line]:
    """Where a value of the data becomes Python's own, as in torch.equal: a trace freezes it without a warning."""
    own = any(type(cause).__name__ == "DataDependentOutputException" for cause in _causes(error))
    return [line] if own and (line := own_line(error)) is not None else []


def followed(error: Exception | None) -> bool:
    """Whether torch.export came to the module's end, so that whatever it decides, it decides by shapes."""
    failed = error is not None and type(error).__name__ == "TorchExportError"
    return not failed or any(_CAPTURED in str(cause) for cause in _causes(error))


def _causes(error: BaseException | None) -> list[BaseException]:
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__
    return causes


def _is_own(file: str) -> bool:
    """Whether it is neither a library's nor ours: an example is like a file of the user's."""
    path = Path(file)
    with suppress(OSError):
        path = path.resolve()
    if "site-packages" in path.parts or path.is_relative_to(sysconfig.get_path("stdlib")):
        return False
    ours = any(path.is_relative_to(_HOUSE / top) for top in ("flows", "tasks", "infra"))
    return path.suffix == ".py" and (not ours or path.is_relative_to(_EXAMPLES))
