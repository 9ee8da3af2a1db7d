"""Compression methods, one file each: torch-side ones act on a checkpoint, onnx-side ones on an ONNX file."""

from typing import Any

from tasks.config import Step


def parse_step(step: Any) -> Step:
    """A recipe's step as the knobs of its method."""
    raise ValueError("no compression methods yet")
