"""Some rows of every split, and those at the edges: the emptiest, the longest, the smallest and the largest, asked of a file."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from tasks.codecs.decoding import Unreadable
from tasks.data.arrays import Array, Samples
from tasks.data.dataset import asked_rows, read_split
from tasks.data.splits import SPLITS
from tasks.onnx.session import Session
from tasks.records import Dataset
from tasks.system.sentences import first_line, some

_SOME, _SEEN, _BATCH = 256, 50_000, 32


def problems_at_edges(session: Session, dataset: Dataset) -> Iterator[str]:
    """What a gate must refuse: rows that get no answer, or one that is no finite number; a sentence a split."""
    for split in SPLITS:
        samples = read_split(dataset, split)
        rows = rows_to_ask(samples)
        try:
            strange = [
                row
                for start in range(0, len(rows), _BATCH)
                for row in _strange(session, samples, rows[start : start + _BATCH])
            ]
        except Exception as error:  # the runtime's own errors have no common base
            yield f"some of the {len(rows)} {split} rows that were asked, its edges among them, get no answer: {first_line(error)}"
            continue
        if strange:
            yield (
                f"{len(strange)} of {len(rows)} {split} rows that were asked, its edges among them, get an answer that is not a finite "
                f"number (row {some(strange, 3)})"
            )


def problems_with_odd_values(session: Session, dataset: Dataset) -> Iterator[str]:
    """The same of what no row has to be: an empty text, a picture of one point; read as a request's would be."""
    if dataset.codec is None:
        return
    usual = asked_rows(dataset, "validation", 1)
    for coded in dataset.codec.inputs:
        for what, value in _ODD[coded.kind]():
            assert usual.decoder is not None
            try:
                taken = usual.decoder.readers[coded.name].take(value, 0).value
                feed = replace(usual, values={**usual.values, coded.name: [taken]}).feed(slice(0, 1))
                finite = all(np.isfinite(o).all() for o in session.run(None, feed) if o.dtype.kind == "f")
            except Unreadable:  # the server takes no such value either
                continue
            except Exception as error:  # the runtime's own errors have no common base
                yield f"{coded.name!r} of {what} gets no answer: {first_line(error)}"
                continue
            if not finite:
                yield f"{coded.name!r} of {what} gets an answer that is not a finite number"


def _texts() -> Iterator[tuple[str, str]]:
    yield from (("no letters", ""), ("a blank", " "), ("words of a tokenizer's own", "[PAD] [CLS] [UNK]"))
    yield from (("letters from elsewhere", "日本語 🙂"), ("20,000 letters", "a " * 10_000))


def _pictures() -> Iterator[tuple[str, bytes]]:
    from PIL import Image

    for what, size, colour in (
        ("one point", (1, 1), 0),
        ("black points", (64, 64), 0),
        ("white points", (64, 64), 255),
        ("a line's height", (2000, 1), 128),
    ):
        file = io.BytesIO()
        Image.new("L", size, colour).save(file, "PNG")
        yield what, file.getvalue()


_ODD: dict[str, Callable[[], Iterator[tuple[str, str | bytes]]]] = {
    "text": _texts,
    "image": _pictures,
    "codes": lambda: iter((("no letters", ""),)),
}


def rows_to_ask(samples: Samples) -> Array:
    """Row numbers: some from everywhere, and of each input those with the least and the most of what a row can have."""
    seen = np.unique(np.linspace(0, len(samples) - 1, min(_SEEN, len(samples)), dtype=int))
    asked = [np.unique(np.linspace(0, len(samples) - 1, min(_SOME, len(samples)), dtype=int))]
    for array in samples.inputs.values():
        for measure in _measures(array, seen):
            asked.append(seen[[measure.argmin(), measure.argmax()]])
    return np.unique(np.concatenate(asked))


def _measures(array: Array, rows: Array) -> Iterator[Array]:
    """Of each of these rows its smallest and its largest number, how much there is of them, and how many are not zero."""
    measures = []
    for part in np.array_split(rows, 1 + len(rows) // 1024):
        cells = array[part].reshape(len(part), -1).astype("float64")
        lowest, highest = cells.min(1, initial=np.inf), cells.max(1, initial=-np.inf)
        measures.append([lowest, highest, np.abs(cells).sum(1), (cells != 0).sum(1)])
    yield from (np.concatenate(measure) for measure in zip(*measures, strict=True))


def _strange(session: Session, samples: Samples, rows: Array) -> list[int]:
    """Those of these rows of which any output has NaN or infinity."""
    outputs = session.run(
        None, {name: np.ascontiguousarray(array[rows]) for name, array in samples.inputs.items()}
    )
    finite = np.ones(len(rows), bool)
    for output in outputs:
        if output.dtype.kind == "f":
            finite &= np.isfinite(output.reshape(len(rows), -1)).all(1)
    return [int(row) for row in rows[~finite]]
