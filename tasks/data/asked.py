"""What a request brings of stored rows: text, pictures and words as they are in their columns, beside tensors; and the codec."""

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.codecs import Reading
from tasks.codecs.declared import picture_in
from tasks.codecs.decoding import DOCUMENT, CodecError, Decoder, Unreadable, open_decoder
from tasks.data.arrays import Arrays
from tasks.errors import StepError
from tasks.records import CodecInput, CodecRecord, Dataset, TensorSpec

if TYPE_CHECKING:
    import pandas as pd

CODEC = "codec"
"""The folder of a dataset in which codec.json and its files lie as they will beside the model."""


def store_codec(reading: Reading, folder: Path) -> CodecRecord | None:
    """codec.json and its files in `folder`; None, and no folder, where a request brings tensors."""
    if not reading.codecs:
        return None
    folder.mkdir()
    for name, content in {DOCUMENT: reading.document, **reading.files}.items():
        (folder / name).write_bytes(content)
    inputs = [
        CodecInput(name=name, kind=codec.spec(name)["kind"], column=codec.column, gives=codec.gives_of(name))
        for name, codec in reading.codecs.items()
    ]
    return CodecRecord(sha256=hashlib.sha256(reading.document).hexdigest(), inputs=tuple(inputs))


def with_codec(fingerprint: str, reading: Reading) -> str:
    """The rows' fingerprint; where codecs read them, that of both: another tokenizer makes other rows of the same text."""
    if not reading.codecs:
        return fingerprint
    return hashlib.sha256(fingerprint.encode() + reading.document).hexdigest()


@dataclass(frozen=True)
class AskedRows:
    """Some rows: `inputs` as they are stored, `values` of those inputs that `decoder` makes tensors of."""

    inputs: Arrays
    values: dict[str, list[Any]] = field(default_factory=dict)
    decoder: Decoder | None = None
    specs: tuple[TensorSpec, ...] = ()
    """What a request brings, by name."""

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def request(self, rows: slice) -> dict[str, Any]:
        """What JSON has of them, by name: text, base64 for a picture, numbers."""
        made = self._made
        numbers = {name: array[rows].tolist() for name, array in self.inputs.items() if name not in made}
        return {name: [*map(_carried, values[rows])] for name, values in self.values.items()} | numbers

    def feed(self, rows: slice) -> Arrays:
        """The tensors that such a request comes to, padded as it would be by itself."""
        made = {} if self.decoder is None else self.decoder.read({n: v[rows] for n, v in self.values.items()})
        stored = {n: np.ascontiguousarray(a[rows]) for n, a in self.inputs.items() if n not in made}
        return {**made, **stored}

    @property
    def _made(self) -> set[str]:
        readers = () if self.decoder is None else self.decoder.readers.values()
        return {tensor for reader in readers for tensor in reader.gives}


def asked_values(dataset: Dataset, frame: "pd.DataFrame") -> tuple[Decoder, dict[str, list[Any]]]:
    """The codec that a dataset was stored with, and what a request would bring of these rows, as that takes it."""
    assert dataset.codec is not None
    try:
        decoder = open_decoder(dataset.folder / CODEC, dataset.codec.sha256)
        return decoder, decoder.take(
            {coded.name: [*map(_of_kind(coded.kind), frame[coded.column])] for coded in dataset.codec.inputs}
        )
    except (CodecError, Unreadable, OSError) as error:
        raise StepError(
            f"The rows of {dataset.workload} in {dataset.folder} cannot be asked as a request ({error}): make them again with --force."
        ) from error


def _of_kind(kind: str) -> Any:
    return picture_in if kind == "image" else lambda cell: cell


def _carried(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
