"""Real rows in sizes that no exporter has traced: odd batches, and every further dynamic axis cut short."""

from collections.abc import Iterator

import numpy as np

from tasks.data.arrays import Array, Samples
from tasks.workloads.workload import Workload

Arrays = dict[str, Array]

_BATCHES = (1, 2, 7)


def odd_sizes(samples: Samples, workload: Workload) -> Iterator[Arrays]:
    """Real rows in odd batches, and pairs of them in other lengths."""
    for batch in _BATCHES:
        yield batch_of(samples, batch)
    for _, arrays in at_lengths(batch_of(samples, 2), workload, (0.3, 0.7)):
        yield arrays


def batch_of(samples: Samples, count: int) -> Arrays:
    """The first `count` rows, some of them again where there are fewer."""
    few = samples[:count].inputs
    return {name: np.resize(array, (count, *array.shape[1:])) for name, array in few.items()}


def at_lengths(arrays: Arrays, workload: Workload, shares: tuple[float, ...]) -> Iterator[tuple[str, Arrays]]:
    """The arrays with each dynamic axis but the batch's cut to these shares of its length, and what that is: length=12."""
    for axis_name in sorted({name for axes in workload.dynamic.values() for name in axes.values()}):
        for share in shares:
            cut, length = dict(arrays), 0
            for name, axes in workload.dynamic.items():
                for axis in (axis for axis, named in axes.items() if named == axis_name):
                    length = max(1, int(cut[name].shape[axis] * share))
                    cut[name] = cut[name].take(range(length), axis=axis)
            yield f"{axis_name}={length}", cut
