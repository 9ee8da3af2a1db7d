"""A first workload file of one's own: a template under another name."""

import re
from pathlib import Path

from tasks.errors import UserError
from tasks.workloads.catalogue import names

_TEMPLATES = {"table": "template.py", "text": "template_text.py", "image": "template_image.py"}


def new_workload(path: Path, like: str = "table") -> str:
    """Write a commented workload that runs as it stands to `path`, and return the model's name, which is the file's.

    Raises UserError for a file that is there, a folder that is not, a name that cannot be a model's or is one of ours, and a
    sort of workload that there is no template of.
    """
    if like not in _TEMPLATES:
        raise UserError(f"There is no template like {like!r}: choose one of {', '.join(_TEMPLATES)}.")
    name = re.sub(r"[^a-z0-9_-]", "_", path.stem.lower()).lstrip("_-")[:64]
    if path.suffix != ".py" or not name:
        raise UserError(f"{str(path)!r} cannot be a workload's file: name one such as churn.py.")
    if name in names():
        raise UserError(f"{name!r} is a workload that comes with Slipway: choose another name for {path}.")
    if path.exists():
        raise UserError(
            f"{path} is there already and is left as it is: choose another name, or move it away."
        )
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent}: make it first, or name another.")
    text = (
        Path(__file__)
        .with_name(_TEMPLATES[like])
        .read_text("utf-8")
        .replace('name="template"', f'name="{name}"')
    )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    return name
