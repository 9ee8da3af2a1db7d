"""What a workload says of an input that is no tensor by itself: text, a picture, words; and codec.json, made of it."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.codecs.decoding import VERSION, CodecError, Decoder, Unreadable
from tasks.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]
    Arrays = dict[str, Array]
    Column = Callable[[pd.DataFrame], Array]

_KINDS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")


class Codec:
    """One input of a request: which column has such values, and how they become tensors."""

    column: str
    gives: tuple[str, ...]

    def gives_of(self, name: str) -> tuple[str, ...]:
        """The tensors' names, in `forward` and in the graph, for the input of this name."""
        return self.gives or (name,)

    def axes_of(self, name: str) -> dict[str, dict[int, str]]:
        """Those axes of them, besides the batch, whose size differs between requests."""
        return {}

    def spec(self, name: str) -> dict[str, Any]:
        """Its part of codec.json. UserError for a file that is not what it has to be."""
        raise NotImplementedError

    def files(self, name: str) -> dict[str, bytes]:
        """What lies beside model.onnx for it."""
        return {}

    def value_of(self, cell: Any) -> Any:
        """A cell of the column, as a request has it."""
        return cell


@dataclass(frozen=True, kw_only=True)
class Text(Codec):
    """Text through a tokenizer.json of Hugging Face's tokenizers: int64[n, length] numbers, and a mask of those that are there.

    `gives` names the tensors: the numbers, the mask, and, if it has a third name, the segments. A request's rows are padded
    together, to a multiple of `pad` numbers and no more than `length`, at which they are cut. `tokenizer` is the file's path,
    or a function that makes its text, the same each time.
    """

    column: str
    tokenizer: Path | str | Callable[[], str]
    length: int = 128
    pad: int = 16
    gives: tuple[str, ...] = ("input_ids", "attention_mask")
    most_characters: int = 20_000

    def __post_init__(self) -> None:
        _check(self, 1 <= len(self.gives) <= 3, "gives", "one to three names")
        for field in ("length", "pad", "most_characters"):
            _check(self, getattr(self, field) > 0, field, "a number above 0")

    def axes_of(self, name: str) -> dict[str, dict[int, str]]:
        return {tensor: {1: f"{name}_length"} for tensor in self.gives}

    def spec(self, name: str) -> dict[str, Any]:
        (file, content), *_ = self.files(name).items()
        said = _tokenizer_in(content, f"{name}'s tokenizer" if callable(self.tokenizer) else self.tokenizer)
        return {
            "kind": "text",
            "file": file,
            "sha256": hashlib.sha256(content).hexdigest(),
            "length": self.length,
            "pad": self.pad,
            "pad_id": (said.get("padding") or {}).get("pad_id") or _number_of(said, "[PAD]", "<pad>") or 0,
            "unknown_id": _number_of(said, said["model"].get("unk_token"), "[UNK]", "<unk>"),
            "most_characters": self.most_characters,
        }

    def files(self, name: str) -> dict[str, bytes]:
        try:
            if callable(self.tokenizer):
                return {f"{name}.tokenizer.json": self.tokenizer().encode()}
        except ModuleNotFoundError as error:
            raise UserError(
                f"The package {error.name!r}, which makes {name}'s tokenizer, is not installed: pip install {error.name}."
            ) from error
        path = Path(self.tokenizer)
        try:
            return {f"{name}.tokenizer.json": path.read_bytes()}
        except OSError as error:
            raise UserError(
                f"Text finds no tokenizer at {path} ({error.strerror}): give it the tokenizer.json of a fast tokenizer, which "
                "tokenizer.save_pretrained(folder) writes."
            ) from error


@dataclass(frozen=True, kw_only=True)
class Image(Codec):
    """Pictures, as bytes or paths in the column: uint8[n, height, width, 3], turned as EXIF says, in one `size` (height, width).

    Scaling of the numbers belongs into the module.
    """

    column: str
    size: tuple[int, int]
    gives: tuple[str, ...] = ("image",)
    formats: tuple[str, ...] = ("JPEG", "PNG")
    most_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        _check(self, len(self.gives) == 1, "gives", "one name")
        _check(self, len(self.size) == 2 and min(self.size) > 0, "size", "a height and a width")
        _check(
            self,
            bool(self.formats) and {*self.formats} <= {*_KINDS},
            "formats",
            f"some of {', '.join(_KINDS)}",
        )
        _check(self, self.most_pixels > 0, "most_pixels", "a number above 0")

    def spec(self, name: str) -> dict[str, Any]:
        return {
            "kind": "image",
            "size": [*self.size],
            "formats": [*self.formats],
            "most_pixels": self.most_pixels,
        }

    def value_of(self, cell: Any) -> Any:
        return picture_in(cell)


@dataclass(frozen=True, kw_only=True)
class Codes(Codec):
    """Words as their places in `words`, int64[n], from 1; any other word is 0. The tensor has the input's name, or `gives`."""

    column: str
    words: tuple[str, ...]
    gives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self, len(self.gives) < 2, "gives", "one name, or none")
        _check(self, bool(self.words) and len({*self.words}) == len(self.words), "words", "different words")

    def spec(self, name: str) -> dict[str, Any]:
        return {"kind": "codes", "words": [*self.words]}


class Coded:
    """The inputs of a workload that declares codecs: called with a frame, as a function of its own would be.

    A function in the mapping makes the one tensor of its name, which requests bring as it is.
    """

    def __init__(self, declared: "Mapping[str, Codec | Column]") -> None:
        """Raises UserError for names that cannot be an input's, and for two tensors of one name."""
        self.columns: dict[str, Column] = {}
        self.codecs: dict[str, Codec] = {}
        for name, value in declared.items():
            if isinstance(value, Codec):
                self.codecs[name] = value
            elif callable(value):
                self.columns[name] = value
            else:
                raise UserError(
                    f"inputs[{name!r}] is a {type(value).__name__}: give Text, Image, Codes, or a function of the frame."
                )
        if not declared:
            raise UserError("inputs names nothing: give a function of the frame, or codecs by name.")
        self._check_names()
        self.axes = {
            tensor: axes
            for name, codec in self.codecs.items()
            for tensor, axes in codec.axes_of(name).items()
        }
        self.widths = {
            axis: codec.pad
            for name, codec in self.codecs.items()
            if isinstance(codec, Text)
            for axes in codec.axes_of(name).values()
            for axis in axes.values()
        }
        """Of what the size of such an axis is a multiple, by the axis's name."""

    def _check_names(self) -> None:
        made = [tensor for name, codec in self.codecs.items() for tensor in codec.gives_of(name)]
        tensors = [*made, *self.columns]
        if twice := [name for name in tensors if tensors.count(name) > 1]:
            raise UserError(f"inputs gives two tensors named {twice[0]!r}: name one otherwise, by gives=.")
        if wrong := [name for name in (*self.codecs, *self.columns) if not str(name).isidentifier()]:
            raise UserError(f"inputs names {wrong[0]!r}: use a Python name.")

    def __call__(self, frame: "pd.DataFrame") -> "Arrays":
        """All tensors, as wide as a request can make them, so that parts of the rows fit together."""
        arrays = self.decoder.read(self.taken(frame), widest=True) if self.codecs else {}
        return {**arrays, **{name: make(frame) for name, make in self.columns.items()}}

    def taken(self, frame: "pd.DataFrame") -> dict[str, list[Any]]:
        """The rows' values as a request would bring them. Raises UserError for those that it could not."""
        given = {}
        for name, codec in self.codecs.items():
            if codec.column not in frame.columns:
                raise UserError(
                    f"inputs[{name!r}] reads the column {codec.column!r}, and load() gave {', '.join(map(str, frame.columns))}."
                )
            given[name] = [*_values(codec, frame[codec.column], name)]
        try:
            return self.decoder.take(given)
        except Unreadable as error:
            raise UserError(
                f"A row is not what its codec takes: {error}: drop or mend it in load()."
            ) from None

    @cached_property
    def files(self) -> dict[str, bytes]:
        """All that lies beside model.onnx, without codec.json."""
        return {
            file: content
            for name, codec in self.codecs.items()
            for file, content in codec.files(name).items()
        }

    @cached_property
    def document(self) -> bytes:
        """codec.json. Raises UserError for a file that is not what it has to be."""
        inputs = [
            {"name": name, **codec.spec(name), "gives": [*codec.gives_of(name)]}
            for name, codec in self.codecs.items()
        ]
        return json.dumps({"version": VERSION, "inputs": inputs}, indent=1, ensure_ascii=False).encode()

    @cached_property
    def decoder(self) -> Decoder:
        """What runs in training, as it will in the server."""
        try:
            return Decoder(self.document, self.files.__getitem__)
        except CodecError as error:
            raise UserError(f"{error}.") from error


class Plain:
    """The inputs of a workload that makes its tensors by a function of its own: a request brings them as they are."""

    def __init__(self, make: "Callable[[pd.DataFrame], Arrays]") -> None:
        self.make = make
        self.codecs: dict[str, Codec] = {}
        self.axes: dict[str, dict[int, str]] = {}
        self.widths: dict[str, int] = {}
        self.files: dict[str, bytes] = {}
        self.document = b""

    def __call__(self, frame: "pd.DataFrame") -> "Arrays":
        return self.make(frame)


Reading = Coded | Plain


def picture_in(cell: Any) -> Any:
    """The bytes of a picture that a cell has, or names by its path."""
    return Path(cell).read_bytes() if isinstance(cell, str | Path) else cell


def _values(codec: Codec, cells: Sequence[Any], name: str) -> Iterator[Any]:
    for at, cell in enumerate(cells):
        try:
            yield codec.value_of(cell)
        except OSError as error:
            raise UserError(
                f"inputs[{name!r}] finds no file {str(cell)!r} of row {at} ({error.strerror}): put bytes, or whole paths, into the column."
            ) from error


def _check(codec: Any, holds: bool, field: str, what: str) -> None:
    if not holds:
        raise UserError(f"{type(codec).__name__}({field}={getattr(codec, field)!r}): give {what}.")


def _tokenizer_in(content: bytes, path: Path | str) -> dict[str, Any]:
    try:
        said = json.loads(content)
        said["model"]["vocab"]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is no tokenizer: Text takes a tokenizer.json: tokenizer.save_pretrained(folder) of a fast tokenizer writes one."
        ) from None
    return dict(said)


def _number_of(tokenizer: Mapping[str, Any], *words: str | None) -> int | None:
    """The number of the first of these words that a tokenizer has."""
    added = {token["content"]: token["id"] for token in tokenizer.get("added_tokens") or ()}
    vocabulary = tokenizer["model"]["vocab"]
    places = (
        vocabulary if isinstance(vocabulary, dict) else {word: at for at, (word, _) in enumerate(vocabulary)}
    )
    return next((number for word in words if (number := added.get(word, places.get(word))) is not None), None)
