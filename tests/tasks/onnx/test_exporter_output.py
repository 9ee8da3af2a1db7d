"""What exporters say: off the streams, and in one sentence with the model's own line."""

import os
import threading
import warnings
from pathlib import Path

import pytest
import torch

from tasks.onnx.exporter_output import Line, followed, is_by_data, own_line, quietly, reason


def test_nothing_that_is_printed_within_reaches_a_stream_but_what_other_threads_say(
    capfd: pytest.CaptureFixture[str],
) -> None:
    other = threading.Thread(target=lambda: print("from another thread"))
    with quietly():
        print("a graph")
        os.write(1, b"a graph in C++")
        other.start()
        other.join()
        warnings.warn("advice", stacklevel=1)
    print("after")
    assert capfd.readouterr().out.splitlines()[-1] == "after"
    with quietly():
        os.write(1, b"again")
    assert capfd.readouterr() == ("", "")


def test_lines_that_a_trace_froze_are_told_when_they_are_the_models_own() -> None:
    with quietly() as frozen:
        warnings.warn("Converting a tensor to a Python boolean", torch.jit.TracerWarning, stacklevel=1)
        warnings.warn_explicit("the same", torch.jit.TracerWarning, torch.nn.__file__, 7)
        warnings.warn("another kind", UserWarning, stacklevel=1)
    assert [Path(line.file).name for line in frozen] == ["test_exporter_output.py"]
    assert str(frozen[0]).startswith(f'test_exporter_output.py:{frozen[0].number} ‘warnings.warn("Converting')


def chained() -> Exception:
    try:
        try:
            raise RuntimeError("\x1b[96mtoo  deep\x1b[0m\nwith more lines")
        except RuntimeError as cause:
            raise ValueError("Next steps:\n- file an issue") from cause
    except ValueError as error:
        return error


def test_the_innermost_cause_is_said_on_one_line_without_colours() -> None:
    said = reason(chained())
    assert said.endswith(
        '‘raise RuntimeError("\\x1b[96mtoo  deep\\x1b[0m\\nwith more lines")’: RuntimeError: too deep'
    )
    assert reason(chained(), with_line=False) == "RuntimeError: too deep"


def test_a_line_that_is_only_named_in_words_counts_and_a_librarys_does_not(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    error = RuntimeError(
        f'File "{mine}", line 3, in forward\n  File "{torch.nn.__file__}", line 9, in forward'
    )
    assert own_line(error) == Line(str(mine), 3)
    assert (
        own_line(RuntimeError("nothing")) is None
        and reason(RuntimeError("nothing")) == "RuntimeError: nothing"
    )


def test_what_torch_export_followed_to_the_end_is_told_from_what_it_gave_up_at() -> None:
    class TorchExportError(Exception):
        pass

    assert followed(None) and followed(ValueError("only 4D query, key, and value are supported"))
    assert followed(TorchExportError("Constraints violated (batch)!"))
    stuck = TorchExportError("Could not guard on data-dependent expression Eq(u0, 1)")
    assert not followed(stuck) and is_by_data(stuck) and not is_by_data(TorchExportError("no such operator"))
