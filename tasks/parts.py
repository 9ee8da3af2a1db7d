"""What a row is made of, as people would say it: its columns, the words of a text, else the places of an array."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.data import to_inputs
from tasks.workloads import Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]
    Arrays = dict[str, Array]


@dataclass(frozen=True)
class Parts:
    """A row's inputs cut into parts: `masks` number each element's part, `names` are theirs."""

    masks: "Arrays"
    names: list[str]


def columns_behind(
    workload: Workload, frame: "pd.DataFrame", inputs: "Arrays"
) -> dict[str, list[str] | None]:
    """For each input, the column behind each element of a row, "" where none moves it; None where they cannot be told.

    Found by giving a row another row's value in one column and looking which elements follow.
    """
    import numpy as np

    base = frame.head(1)
    before = to_inputs(workload, base)
    owners = {name: np.full(array[0].size, "", dtype=object) for name, array in before.items()}
    clear = {name: before[name].shape[1:] == inputs[name].shape[1:] for name in before}
    for column in frame.columns:
        others = frame[column][(frame[column] != frame[column].iloc[0]).to_numpy()]
        if column in (workload.target, workload.time) or others.empty:
            continue
        for name, array in to_inputs(workload, base.assign(**{column: others.iloc[:1].to_numpy()})).items():
            if array.shape != before[name].shape:
                clear[name] = False
                continue
            moved = (array[0] != before[name][0]).reshape(-1)
            clear[name] &= bool(moved.sum() <= 1)
            owners[name][moved] = str(column)
    return {name: list(owners[name]) if clear[name] else None for name in before}


def cut(row: "Arrays", columns: dict[str, list[str] | None]) -> Parts:
    """A part for each element; for text as bytes, one for each word."""
    import numpy as np

    masks: Arrays = {}
    names: list[str] = []
    for name, array in row.items():
        words = _words(array)
        if words is not None:
            labels, numbers = words
        else:
            numbers = np.arange(array[0].size)
            known = columns[name] or [""] * array[0].size
            labels = [known[i] or _element(name, array.shape[1:], i) for i in range(array[0].size)]
        masks[name] = (numbers + len(names)).reshape(array.shape).astype("int64")
        names += labels
    return Parts(masks, names)


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
