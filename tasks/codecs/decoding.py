"""How a value of a request becomes tensors: the one module that training, the model server and MLflow's python_function run.

It travels in a model's folder, in code/slipway_codec, so it stands on numpy alone: nothing of Slipway, and tokenizers and
pillow where they are first needed.
"""

import base64
import binascii
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Values = Sequence[Any]
Spec = Mapping[str, Any]

VERSION = 1
"""Of codec.json: whoever finds another one in it must not guess."""

DOCUMENT = "codec.json"

METADATA = "slipway.codec"
"""Under this name model.onnx has the SHA-256 of its codec.json, so that the model's own digest binds all."""


class CodecError(Exception):
    """A codec.json, or a file that it names, that cannot be run here; the text says why."""


class Unreadable(Exception):
    """Values that a codec does not take: what is wrong with each, by its place, for which `{at}` stands in the sentence."""

    def __init__(self, said: Mapping[int, str]) -> None:
        self.said = dict(said)
        super().__init__(self.of(next(iter(said))))

    def of(self, at: int, first: int = 0) -> str:
        """The sentence about one value, counted from the first of those that came with it."""
        return self.said[at].replace("{at}", str(at - first))


class Taken(NamedTuple):
    """A value that a codec takes, the bytes that it and its tensors come to, and those that reading it takes meanwhile."""

    value: Any
    size: int
    passing: int = 0


class Reader(Protocol):
    """One input of a request: what is taken of it, and the tensors that it comes to."""

    gives: tuple[str, ...]
    bodies: tuple[str, ...]
    """Content types of a body that is one value as it is."""
    prompt: bool
    """Whether a value is looked at in microseconds."""

    def take(self, value: Any, at: int) -> "Taken":
        """A value made ready for `read`; Unreadable for one that is not taken."""

    def read(self, values: Values, widest: bool = False) -> Arrays:
        """The tensors of values that were taken, [n, …] each; `widest`: as wide as any value can make them."""

    def summaries(self, values: Values) -> Arrays:
        """What is watched of such values in production, [n] each."""


class TextReader:
    """Words as the numbers of a tokenizer, and a mask of those that are there."""

    bodies: tuple[str, ...] = ("text/plain",)
    prompt: bool = True

    def __init__(self, name: str, spec: Spec, files: Mapping[str, bytes]) -> None:
        os.environ.setdefault(
            "TOKENIZERS_PARALLELISM", "false"
        )  # a thread of its own for each core helps nobody
        try:
            import tokenizers
        except ImportError:
            raise _absent("tokenizers", "text") from None
        try:
            self.tokenizer = tokenizers.Tokenizer.from_str(files[spec["file"]].decode())
        except Exception as error:  # the library raises bare ones
            raise CodecError(
                f"{spec['file']} is no tokenizer that tokenizers {tokenizers.__version__} reads"
            ) from error
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(spec["length"])
        self.name = name
        self.gives = tuple(spec["gives"])
        self.length, self.pad, self.most = spec["length"], spec["pad"], spec["most_characters"]
        self.pad_id, self.unknown_id = spec["pad_id"], spec["unknown_id"]

    def take(self, value: Any, at: int) -> Taken:
        try:
            text = value.decode() if isinstance(value, bytes) else value
            if not isinstance(text, str):
                raise Unreadable({at: f"{self.name!r}: value {{at}} is no text"})
            size = len(text.encode())
        except UnicodeError:
            raise Unreadable({at: f"{self.name!r}: value {{at}} is no Unicode text"}) from None
        if len(text) > self.most:
            raise Unreadable(
                {at: f"{self.name!r} holds {len(text):,} characters, at most {self.most:,} are taken"}
            )
        # numpy's own text, which MLflow makes of a request, has no zeros at its end: so has nobody's
        return Taken(text.rstrip("\0"), size + 8 * len(self.gives) * min(self.length, size + self.pad))

    def read(self, values: Values, widest: bool = False) -> Arrays:
        encodings = self.tokenizer.encode_batch_fast([*values])
        counts = np.array([len(encoding) for encoding in encodings], "int64")
        longest = int(counts.max(initial=1))
        width = self.length if widest else min(self.length, max(1, -(-longest // self.pad)) * self.pad)
        there = np.arange(width) < counts[:, None]
        ids = np.full(there.shape, self.pad_id, "int64")
        ids[there] = [number for encoding in encodings for number in encoding.ids]
        made = [ids, there.astype("int64")]
        if len(self.gives) > 2:
            types = np.zeros(there.shape, "int64")
            types[there] = [number for encoding in encodings for number in encoding.type_ids]
            made.append(types)
        return dict(zip(self.gives, made, strict=False))

    def summaries(self, values: Values) -> Arrays:
        encodings = self.tokenizer.encode_batch_fast([*values])
        unknown = [encoding.ids.count(self.unknown_id) / max(1, len(encoding)) for encoding in encodings]
        return {
            "length": np.array([len(value) for value in values], "float64"),
            "unknown": np.array(unknown, "float64"),
        }


class ImageReader:
    """Pictures upright, in one size, uint8[n, height, width, 3]; a size that is too large is refused before it is decoded."""

    bodies: tuple[str, ...] = ("image/jpeg", "image/png")
    prompt: bool = False

    def __init__(self, name: str, spec: Spec, files: Mapping[str, bytes]) -> None:
        try:
            from PIL import Image, ImageOps
        except ImportError:
            raise _absent("pillow", "image") from None
        self.pillow: Any = Image
        self.upright: Any = ImageOps.exif_transpose
        self.name = name
        self.gives = tuple(spec["gives"])
        self.height, self.width = spec["size"]
        self.most, self.formats = spec["most_pixels"], tuple(spec["formats"])

    def take(self, value: Any, at: int) -> Taken:
        content = _content(value, f"{self.name!r}: value {{at}} is no base64", at)
        width, height = self._open(content, at).size
        return Taken(content, len(content) + 3 * self.width * self.height, 3 * width * height)

    def read(self, values: Values, widest: bool = False) -> Arrays:
        pictures = np.empty((len(values), self.height, self.width, 3), "uint8")
        said: dict[int, str] = {}
        for at, value in enumerate(values):
            try:
                picture = self.upright(self._open(value, at)).convert("RGB")
            except Unreadable as error:
                said |= error.said
            except Exception:  # a decoder raises whatever a damaged file makes it meet
                said[at] = f"{self.name!r}: value {{at}} is no whole {self._kinds}"
            else:
                pictures[at] = picture.resize((self.width, self.height), self.pillow.Resampling.BILINEAR)
        if said:
            raise Unreadable(said)
        return {self.gives[0]: pictures}

    def summaries(self, values: Values) -> Arrays:
        pictures = self.read(values)[self.gives[0]].reshape(len(values), -1)
        sizes = [self._open(value, at, draft=False).size for at, value in enumerate(values)]
        return {
            "mean": pictures.mean(1, dtype="float64"),
            "contrast": pictures.std(1, dtype="float64"),
            "size": np.array([(width * height) ** 0.5 for width, height in sizes], "float64"),
        }

    @property
    def _kinds(self) -> str:
        return " or ".join(self.formats)

    def _open(self, content: bytes, at: int, draft: bool = True) -> Any:
        """The picture, of which no more than its head is read; a JPEG is decoded no larger than about twice what is asked."""
        bombs = (self.pillow.DecompressionBombError, self.pillow.DecompressionBombWarning)
        try:
            picture = self.pillow.open(io.BytesIO(content), formats=self.formats)
            pixels = picture.size[0] * picture.size[1]
        except bombs as error:
            pixels = int((re.findall(r"\d+", str(error)) or [2**63])[0])
        except Exception:
            raise Unreadable({at: f"{self.name!r}: value {{at}} is no {self._kinds}"}) from None
        if pixels > self.most:
            raise Unreadable({at: f"{self.name!r}: value {{at}} has {pixels:,} pixels"})
        side = 2 * max(self.width, self.height)
        if draft:
            picture.draft("RGB", (side, side))
        return picture


class CodesReader:
    """Words as their places in a table, int64[n], from 1; 0 is a word that is not in it."""

    bodies: tuple[str, ...] = ()
    prompt: bool = True

    def __init__(self, name: str, spec: Spec, files: Mapping[str, bytes]) -> None:
        self.name = name
        self.gives = tuple(spec["gives"])
        self.codes = {word: code for code, word in enumerate(spec["words"], 1)}

    def take(self, value: Any, at: int) -> Taken:
        word = value.decode(errors="replace") if isinstance(value, bytes) else value
        if not isinstance(word, str):
            raise Unreadable({at: f"{self.name!r}: value {{at}} is no text"})
        return Taken(word.rstrip("\0"), 8 + len(word))

    def read(self, values: Values, widest: bool = False) -> Arrays:
        return {self.gives[0]: np.array([self.codes.get(value, 0) for value in values], "int64")}

    def summaries(self, values: Values) -> Arrays:
        return {"code": self.read(values)[self.gives[0]]}


READERS: dict[str, Callable[[str, Spec, Mapping[str, bytes]], Reader]] = {
    "text": TextReader,
    "image": ImageReader,
    "codes": CodesReader,
}


class Decoder:
    """What a codec.json says, ready to run: a reader for each input of a request that is no tensor by itself."""

    def __init__(self, document: bytes, file: Callable[[str], bytes]) -> None:
        """`file` gives the content of a file by its name. CodecError for what this code does not know, or does not hold."""
        try:
            said = json.loads(document)
            version, inputs = said["version"], said["inputs"]
        except (ValueError, KeyError, TypeError):
            raise CodecError(f"{DOCUMENT} does not say its version and inputs") from None
        if version != VERSION:
            raise CodecError(
                f"{DOCUMENT} is of version {version!r}, and this reads {VERSION}: take a newer Slipway"
            )
        try:
            self.readers = {spec["name"]: _reader(spec, file) for spec in inputs}
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(f"{DOCUMENT} is incomplete: {type(error).__name__} {error}") from None
        self.sha256 = hashlib.sha256(document).hexdigest()

    def take(self, given: Mapping[str, Values]) -> dict[str, list[Any]]:
        """Values as they are in a request, by input, made ready to be read; Unreadable for what is not taken."""
        return {
            name: [reader.take(value, at).value for at, value in enumerate(given[name])]
            for name, reader in self.readers.items()
        }

    def read(self, taken: Mapping[str, Values], widest: bool = False) -> Arrays:
        """All tensors of values that were taken."""
        arrays: Arrays = {}
        for name, reader in self.readers.items():
            arrays |= reader.read(taken[name], widest)
        return arrays

    def summaries(self, taken: Mapping[str, Values]) -> Arrays:
        """What is watched, as `gloss.length`."""
        return {
            f"{name}.{what}": numbers
            for name, reader in self.readers.items()
            for what, numbers in reader.summaries(taken[name]).items()
        }


def open_decoder(folder: Path, sha256: str) -> Decoder:
    """The codec in a folder, if it is the one that has this digest, and each of its files the one that it names; else CodecError."""
    try:
        document = (folder / DOCUMENT).read_bytes()
        if hashlib.sha256(document).hexdigest() != sha256:
            raise CodecError(f"{DOCUMENT} is not the one that model.onnx was proved with")
        return Decoder(document, lambda name: (folder / name).read_bytes())
    except OSError as error:
        raise CodecError(
            f"{Path(error.filename or DOCUMENT).name} cannot be read: {error.strerror}"
        ) from None


def bound_decoder(folder: Path, metadata: Mapping[str, str]) -> Decoder | None:
    """The codec that a graph's metadata names, from the graph's folder; None for a model that takes tensors alone.

    CodecError for one that does not hold, and for a codec.json that the graph does not name.
    """
    if (sha256 := metadata.get(METADATA)) is not None:
        return open_decoder(folder, sha256)
    if (folder / DOCUMENT).exists():
        raise CodecError(
            f"{DOCUMENT} is beside model.onnx, which does not name it: nobody proved them together"
        )
    return None


def _reader(spec: Spec, file: Callable[[str], bytes]) -> Reader:
    kind, files = spec["kind"], {}
    if kind not in READERS:
        raise CodecError(f"{DOCUMENT} has an input of the unknown kind {kind!r}: take a newer Slipway")
    if (name := spec.get("file")) is not None:
        if name != Path(name).name:
            raise CodecError(f"{DOCUMENT} names the file {name!r}, which is not beside it")
        files[name] = file(name)
        if hashlib.sha256(files[name]).hexdigest() != spec["sha256"]:
            raise CodecError(f"{name} is not the file that {DOCUMENT} names: its SHA-256 is another")
    return READERS[kind](spec["name"], spec, files)


def _content(value: Any, otherwise: str, at: int) -> bytes:
    """Bytes as they are, or in base64."""
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise Unreadable({at: otherwise}) from None


def _absent(package: str, extra: str) -> CodecError:
    return CodecError(
        f"The package {package!r} is not installed: pip install 'slipway[{extra}]', or {package} alone"
    )
