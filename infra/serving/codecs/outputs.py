"""What a model gave for a batch, written once for all the requests in it."""

from collections.abc import Sequence

import orjson

from infra.serving.wire.tensors import Array, Spec

MARK = b"\n"  # in no JSON that orjson writes


class Outputs:
    """The outputs of one batch; JSON is made in one go and cut into rows, which costs a third of making it row by row."""

    __slots__ = ("_rows", "arrays", "single", "spec")

    def __init__(self, spec: Spec, arrays: Sequence[Array]) -> None:
        self.spec = spec
        self.arrays = arrays
        self.single: list[bytes] = []
        self._rows: list[tuple[int, list[bytes]] | None] = [None] * len(arrays)

    def answer_each(self) -> list[bytes]:
        """`single`: what /invocations answers to each row, were it alone in its request."""
        columns = []
        for array, (left, right) in zip(self.arrays, self.spec.frames, strict=True):
            depth, text = _inside(array)
            left, right = left + b"[" * depth, b"]" * depth + right
            text = text.replace(_separator(depth), right + MARK + left)
            columns.append(b"".join((left, text, right)).split(MARK))
        self.single = (
            columns[0] if len(columns) == 1 else [b"".join(row) for row in zip(*columns, strict=True)]
        )
        return self.single

    def json(self, index: int, start: int, stop: int) -> bytes:
        """Rows start to stop of an output as a JSON array; what is not finite becomes null."""
        depth, rows = self._rows[index] or self._cut(index)
        return b"".join((b"[" * depth, _separator(depth).join(rows[start:stop]), b"]" * depth))

    def _cut(self, index: int) -> tuple[int, list[bytes]]:
        depth, text = _inside(self.arrays[index])
        cut = self._rows[index] = depth, text.split(_separator(depth))
        return cut


def _inside(array: Array) -> tuple[int, bytes]:
    """How deep an array is nested in JSON, and its JSON without that many outer brackets. Nothing is nested in an empty axis."""
    depth = array.ndim if array.size else array.shape.index(0) + 1
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    return depth, text[depth : len(text) - depth]


def _separator(depth: int) -> bytes:
    """What stands between two rows."""
    return b"]" * (depth - 1) + b"," + b"[" * (depth - 1)
