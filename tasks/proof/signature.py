"""What a model takes and gives, as its MLflow folder says: whoever asks one version must be able to ask the next."""

import json
from pathlib import Path
from typing import Any

_SIDES = ("inputs", "outputs")


def signature_change(ours: Path, theirs: Path) -> str | None:
    """In words, what a folder's model takes or gives otherwise than the other's; None for the same, or where one says nothing."""
    new, old = _signature(ours), _signature(theirs)
    if new is None or old is None:
        return None
    changes = [
        f"{side} are {', '.join(new[side])} and were {', '.join(old[side])}"
        for side in _SIDES
        if new[side] != old[side]
    ]
    return "; ".join(changes) or None


def _signature(folder: Path) -> dict[str, list[str]] | None:
    """Each side's tensors, such as `label str[-1]`."""
    import yaml

    path = folder / "MLmodel"
    try:
        signature = yaml.safe_load(path.read_bytes())["signature"]
        return {side: sorted(map(_tensor, json.loads(signature[side]))) for side in _SIDES}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return None


def _tensor(item: dict[str, Any]) -> str:
    spec = item["tensor-spec"]
    return f"{item['name']} {spec['dtype']}{spec['shape']}"
