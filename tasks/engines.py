"""What runs a graph, as a word and as a record: below settings and evidence, which both name it."""

import re
from typing import Self

from pydantic import Field

from tasks.errors import UserError
from tasks.system.frozen import Frozen

ALWAYS = "onnxruntime"
"""The engine that is always there; every ratio is against it, and whatever another does not run, it does."""

NAMES = (ALWAYS, "openvino")

CHOICES = (*NAMES, "openvino:bf16", "openvino:fp32")

_CHOICE = re.compile(r"(?P<name>[a-z]+)(?::(?P<numbers>[a-z0-9]+))?(?:/(?P<rows>[1-9][0-9]{0,5}))?")


class Engine(Frozen):
    """What runs a graph, and in which numbers. Evidence without one is of the time when there was ONNX Runtime alone."""

    name: str = ALWAYS
    version: str | None = Field(None, description="Of its package; None where it was not noted.")
    precision: str | None = Field(
        None, description="int8+bf16: 8-bit products, and the rest in bf16; None: as the file has it."
    )
    instructions: tuple[str, ...] = Field(
        (), description="What of this kind of processor its speed rests on, as Linux calls it: amx_bf16."
    )
    rows: int = Field(
        1, ge=1, description="Batches of at least so many rows run in it, smaller ones in ONNX Runtime."
    )

    @classmethod
    def parse(cls, text: str) -> Self:
        """`openvino`, `openvino:bf16`, `openvino:bf16/8`; UserError for what is none of these."""
        match = _CHOICE.fullmatch(text)
        if match is None:
            raise UserError(
                f"{text!r} is no engine: write NAME, NAME:PRECISION or NAME:PRECISION/ROWS, such as openvino:bf16/8."
            )
        return cls(name=match["name"], precision=match["numbers"], rows=int(match["rows"] or 1))

    @property
    def choice(self) -> str:
        """As `parse` takes it."""
        numbers = f":{self.numbers}" if self.numbers else ""
        return f"{self.name}{numbers}" + (f"/{self.rows}" if self.rows > 1 else "")

    @property
    def numbers(self) -> str | None:
        """The precision of what is not in 8 bits: bf16 of int8+bf16."""
        return self.precision and self.precision.rpartition("+")[2]

    @property
    def is_always_there(self) -> bool:
        """Whether it is ONNX Runtime."""
        return self.name == ALWAYS

    def __str__(self) -> str:
        """`openvino 2026.4.1 in bf16 from 8 rows on`."""
        parts = [self.name, self.version or "", f"in {self.precision}" if self.precision else ""]
        return " ".join(filter(None, [*parts, f"from {self.rows} rows on" if self.rows > 1 else ""]))


ONNX_RUNTIME = Engine()
"""In the file's own numbers."""
