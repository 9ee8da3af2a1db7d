"""Models that exist: files on the disk or in a package that weights come from, pinned by the digest of what they hold."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.errors import UserError
from tasks.records import Material
from tasks.system.files import sha256_of

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

_NO_CONTENT = ("__pycache__",)


@dataclass(frozen=True)
class Files:
    """A file or folder on the disk, or inside an installed package, which is not imported.

    What it holds is pinned: its SHA-256 is in the keys of steps and, with the licence as stated here, in the evidence.
    """

    package: str | None = None
    path: Path | str = "."
    licence: str | None = None

    def locate(self, what: str = "file") -> Path:
        """Where it is. Raises UserError, saying what to install or to mend, when it is not there; `what` is for."""
        if self.package is None:
            place = Path(self.path)
            if not place.exists():
                hint = "" if place.is_absolute() else ": Path(__file__).with_name(…) is found from any folder"
                raise UserError(f"There is no {what} {place}{hint or ': check the path'}.")
            return place.resolve()
        top = self.package.partition(".")[0]
        spec = importlib.util.find_spec(top)
        folders = [*(spec.submodule_search_locations or ())] if spec is not None else []
        if not folders:
            raise UserError(
                f"The package {top!r}, which has the {what}, is not installed: pip install {top}."
            )
        place = Path(folders[0]).joinpath(*self.package.split(".")[1:], self.path)
        if not place.exists():
            raise UserError(
                f"The package {top!r} has no {self.path}, the {what}: install another version of it."
            )
        return place.resolve()

    def material(self, name: str) -> Material:
        """What is there now, by its digest. Raises UserError when it is not there."""
        return Material(name=name, sha256=_digest_of(self.locate(name)), licence=self.licence)


@dataclass(frozen=True)
class ModelFile:
    """A file that weights come from; what is made of it is in tasks/training/given.py."""

    path: Path | str | Files

    has_module: ClassVar[bool] = False
    """Whether there is a torch module to train, with weights that may change."""

    @property
    def files(self) -> Files:
        return self.path if isinstance(self.path, Files) else Files(path=self.path)

    @property
    def name(self) -> str:
        """As people know it: model.onnx."""
        return Path(self.files.path).name

    def content(self) -> bytes:
        """All of it, read at once. Raises UserError when it is not there, or empty."""
        place = self.files.locate(self.name)
        if not place.is_file():
            raise UserError(f"{place} is a folder: name the file with the weights in it.")
        if not (content := place.read_bytes()):
            raise UserError(f"{place} is empty: write it again.")
        return content


@dataclass(frozen=True)
class Weights(ModelFile):
    """A trained state_dict, .pt or .safetensors, and the function that builds the module that it fits.

    With `train` it is where a fine-tuning begins; with train=None it ships as it is.
    """

    build: Build

    has_module: ClassVar[bool] = True


@dataclass(frozen=True)
class Exported(ModelFile):
    """A program that torch.export.save wrote, .pt2; it needs none of its author's code. train=None."""


@dataclass(frozen=True)
class Onnx(ModelFile):
    """An ONNX file. train=None."""


class Known(dict[str, "np.ndarray[Any, Any]"]):
    """The training inputs by name, and what else a function that builds a model may ask for."""

    def __init__(
        self,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        classes: Mapping[str, tuple[str, ...] | None] | None = None,
        bases: Mapping[str, Files] | None = None,
    ) -> None:
        super().__init__(inputs)
        self._classes, self._bases = classes or {}, bases or {}

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs that are learned, in their order."""
        return tuple(self._classes)

    def classes(self, output: str | None = None) -> tuple[str, ...]:
        """The classes' names in the order of an output's logits; None: the first output that has any.

        Raises UserError when none are learned.
        """
        names = [output] if output is not None else list(self._classes)
        known = [classes for name in names if (classes := self._classes.get(name))]
        if not known:
            raise UserError(f"known.classes({output or ''}) is asked for, and no classes are learned of it.")
        return known[0]

    def base(self, name: str) -> Path:
        """Where the files of a base are; they are read while the module is built, and never after.

        Raises UserError for one that the workload does not name, or that is not installed.
        """
        if name not in self._bases:
            named = ", ".join(self._bases) or "none"
            raise UserError(
                f"known.base({name!r}) is asked for, and the workload's bases are {named}: add bases={{{name!r}: Files(…)}}."
            )
        return self._bases[name].locate(f"base {name}")


if TYPE_CHECKING:
    Build = (
        Callable[[], nn.Module]
        | Callable[[dict[str, np.ndarray[Any, Any]]], nn.Module]
        | Callable[[Known], nn.Module]
    )
    Source = Build | ModelFile


def why_not_ours(source: object, trains: bool) -> str | None:
    """Why a workload that `trains`, or does not, cannot have this as its model; None when it can."""
    if isinstance(source, ModelFile):
        if trains and not source.has_module:
            return f"{source.name} ships as it is, and nothing of it is trained: say train=None."
    elif not callable(source):
        return not_a_module(source)
    elif not trains:
        return "train=None ships weights that are made up: name Weights, Exported or Onnx."
    return None


def not_a_module(value: object) -> str:
    """The sentence for what is given as a model, or built, and is no torch module."""
    kind = type(value)
    if kind.__module__.partition(".")[0] in ("sklearn", "xgboost", "lightgbm", "catboost"):
        return f"model is a {kind.__name__}: export it with skl2onnx and give Onnx(…)."
    return f"its model is a {kind.__name__}; return a torch.nn.Module."


def _digest_of(place: Path) -> str:
    """SHA-256 of a file; of a folder, over the names and digests of all that lies below it."""
    if place.is_file():
        return _of_file(place)
    files = sorted(
        path.relative_to(place).as_posix()
        for path in place.rglob("*")
        if path.is_file() and not {*_NO_CONTENT} & {*path.parts}
    )
    pairs = [[name, _of_file(place / name)] for name in files]
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def _of_file(path: Path) -> str:
    """A large file is read once, and again when anything that the disk says of it is another."""
    said = path.stat()
    return _read(path, said.st_size, said.st_mtime_ns, said.st_ctime_ns, said.st_ino)


@lru_cache(maxsize=4096)
def _read(path: Path, *_said: int) -> str:
    return sha256_of(path)
