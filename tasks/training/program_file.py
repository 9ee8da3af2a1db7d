"""An exported program, .pt2, and which of its inputs' axes are free."""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from tasks.errors import UserError
from tasks.system.sentences import first_line, typed_line
from tasks.training.weights_file import unsafe_globals

_PLAIN = ("archive_format", "archive_version", "byteorder")


def program_in(content: bytes, name: str) -> ExportedProgram:
    """The program in a .pt2 file called `name`.

    Raises UserError for another file, for one that would unpickle more than tensors, and for a program of training mode.
    """
    try:
        pickled = [part for part in _pickled_parts(content) if unsafe_globals(part)]
    except (zipfile.BadZipFile, ValueError, KeyError) as error:
        raise UserError(f"{name} is no program that torch.export.save wrote: {first_line(error)}.") from error
    if pickled:
        raise UserError(
            f"{name} holds pickled objects, which run code when they are loaded: export the module anew."
        )
    try:
        program = torch.export.load(io.BytesIO(content))
    except Exception as error:  # torch raises whatever it meets
        raise UserError(
            f"{name} is no program that this torch ({torch.__version__}) loads: {typed_line(error)}."
        ) from error
    if any(_trains(node) for node in program.graph.nodes):
        raise UserError(
            f"{name} was exported in training mode, dropout and all: call module.eval() before torch.export."
        )
    return program


def inputs_of(program: ExportedProgram) -> Iterator[tuple[str, Tensor]]:
    """What the program was traced with, by name: a size that may be another is a symbol in its shape."""
    wanted = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in wanted and isinstance(node.meta.get("val"), Tensor):
            yield str(node.target), node.meta["val"]


def _pickled_parts(content: bytes) -> Iterator[bytes]:
    """The parts of the archive that torch would unpickle: all but words, and tensors that lie there raw."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        raw = set[str]()
        for entry in archive.namelist():
            if entry.endswith("_config.json"):
                held = json.loads(archive.read(entry)).get("config", {}).values()
                raw |= {payload["path_name"] for payload in held if not payload.get("use_pickle")}
        for entry in archive.namelist():
            base = entry.rpartition("/")[2]
            if not (base in raw or base in _PLAIN or base.endswith(".json") or "/.data/" in entry):
                yield archive.read(entry)


def _trains(node: Any) -> bool:
    """Whether a node is one that a module in training mode has: random zeros, or statistics of the batch."""
    if node.op != "call_function":
        return False
    target, given = str(node.target), list(node.args)
    if target.startswith("aten.dropout"):
        return bool(given[2])
    return target.startswith("aten.batch_norm") and bool(given[5])
