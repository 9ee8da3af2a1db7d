"""What a row is made of, as people would say it: its columns, the words of a text, the patches of a picture, else places."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.data import to_inputs
from tasks.workloads import Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]
    Arrays = dict[str, Array]

_MOST_LETTERS = 16
"""A column behind so many elements (a code's letters, an angle's sine and cosine) is one part; behind more it is a picture."""
_MOST_PARTS = 1024
_MOST_PATCHES = 16
_OTHER_CODES = 5


@dataclass(frozen=True)
class Parts:
    """A row's inputs cut into parts: `masks` number each element's part, `names` are theirs."""

    masks: "Arrays"
    names: list[str]


def columns_behind(
    workload: Workload, frame: "pd.DataFrame", inputs: "Arrays"
) -> dict[str, list[str] | None]:
    """For each input, the column behind each element of a row, "" where none moves it; None where they cannot be told.

    Found by giving a row other rows' values in one column and looking which elements follow.
    """
    import numpy as np

    before = to_inputs(workload, frame.head(1))
    owners = {name: np.full(array[0].size, "", dtype=object) for name, array in before.items()}
    clear = {name: before[name].shape[1:] == inputs[name].shape[1:] for name in before}
    for column in frame.columns:
        if column in (workload.target, workload.time):
            continue
        for name, moved in _moved(workload, frame, str(column), before).items():
            if moved is None:
                clear[name] = False
                continue
            clear[name] &= bool(moved.sum() <= _MOST_LETTERS) and not owners[name][moved].any()
            owners[name][moved] = str(column)
    return {name: list(owners[name]) if clear[name] else None for name in before}


def _moved(
    workload: Workload, frame: "pd.DataFrame", column: str, before: "Arrays"
) -> "dict[str, Array | None]":
    """For each input, which elements of the first row follow `column`; None where its length does.

    Two codes may share letters, so several are tried; of numbers, one.
    """
    import numpy as np
    from pandas.api.types import is_numeric_dtype

    others = frame[column][(frame[column] != frame[column].iloc[0]).to_numpy()]
    tries = others.iloc[:1] if is_numeric_dtype(others) else others.drop_duplicates().iloc[:_OTHER_CODES]
    moved: dict[str, Array | None] = {
        name: np.zeros(array[0].size, dtype=bool) for name, array in before.items()
    }
    for place in range(len(tries)):
        changed = frame.head(1).assign(**{column: tries.iloc[place : place + 1].to_numpy()})
        for name, array in to_inputs(workload, changed).items():
            known = moved[name]
            if array.shape != before[name].shape:
                moved[name] = None
            elif known is not None:
                moved[name] = known | (array[0] != before[name][0]).reshape(-1)
    return moved


def cut(row: "Arrays", columns: dict[str, list[str] | None]) -> Parts:
    """A part for each column or element; for text as bytes, one for each word; for a large picture, one for each patch."""
    masks: Arrays = {}
    names: list[str] = []
    for name, array in row.items():
        labels, numbers = _words(array) or _elements(name, array, columns[name])
        masks[name] = (numbers + len(names)).reshape(array.shape).astype("int64")
        names += labels
    return Parts(masks, names)


def _elements(name: str, array: "Array", known: list[str] | None) -> "tuple[list[str], Array]":
    """Each element's column, else its place; what would be too many parts to try goes by patches."""
    import numpy as np

    size = array[0].size
    if size > _MOST_PARTS and not (known and all(known)):
        return _patches(name, array)
    labels = [(known[i] if known else "") or _element(name, array.shape[1:], i) for i in range(size)]
    places = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return list(places), np.array([places[label] for label in labels])


def _patches(name: str, array: "Array") -> "tuple[list[str], Array]":
    """Squares of a picture [1, …, height, width] through all its channels; of anything else, stretches."""
    import numpy as np

    shape = array.shape[1:]
    spread = shape[-2:] if len(shape) > 1 else shape
    sides = [min(size, _MOST_PATCHES if len(spread) > 1 else _MOST_PATCHES**2) for size in spread]
    along = [np.arange(size) * side // size for size, side in zip(spread, sides, strict=True)]
    numbers = along[0] if len(along) == 1 else along[0][:, None] * sides[1] + along[1][None, :]
    labels = [f"{name} patch {','.join(map(str, place))}" for place in np.ndindex(*sides)]
    return labels, np.broadcast_to(numbers, shape).reshape(-1)


def _element(name: str, shape: tuple[int, ...], index: int) -> str:
    import numpy as np

    place = np.unravel_index(index, shape) if shape else ()
    return f"{name}[{','.join(map(str, place))}]" if place else name


def _words(array: "Array") -> "tuple[list[str], Array] | None":
    """Words of a row of bytes with their positions, or None when it is no text: at least nine in ten are printable ASCII."""
    import numpy as np

    if array.ndim != 2 or array.dtype.kind not in "iu" or array.shape[1] < 8:
        return None
    values = array[0].astype("int64")
    seen = values[values != 0]
    if not len(seen) or ((seen >= 32) & (seen < 127)).mean() < 0.9 or 32 not in seen:
        return None
    starts = (values == 32) | ((values == 0) & (np.roll(values, 1) != 0))
    numbers = np.cumsum(starts) - int(starts[0])
    labels = [
        f"{''.join(chr(v) for v in values[numbers == n] if 32 <= v < 127).strip() or 'padding'} ({n})"
        for n in range(int(numbers.max()) + 1)
    ]
    return labels, numbers
