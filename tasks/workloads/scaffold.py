"""A first workload file of one's own: a template under another name."""

import re
from pathlib import Path

from tasks.errors import UserError
from tasks.workloads.catalogue import names

_TEMPLATES = {
    "table": "template.py",
    "text": "template_text.py",
    "image": "template_image.py",
    "lightning": "template.py",
}

_FITS = {"lightning": "template_lightning.py"}
"""Of these the table's template gets its `fit` from another file."""


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
    text = _template(like).replace('name="template"', f'name="{name}"')
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    return name


def _template(like: str) -> str:
    folder = Path(__file__).parent
    text = (folder / _TEMPLATES[like]).read_text("utf-8")
    if like not in _FITS:
        return text
    fit = (folder / _FITS[like]).read_text("utf-8").partition("\n\n\ndef fit(")[2]
    for before, after in (
        ("import DEFAULT_RECIPES, Workload", "import DEFAULT_RECIPES, Training, Workload"),
        (
            "    import pandera.pandas as pa\n    from torch",
            "    import pandera.pandas as pa\n    import torch\n    from torch",
        ),
        ("\nworkload = Workload(", f"\ndef fit({fit}\n\nworkload = Workload("),
        ("    train=Train(", "    fit=fit,\n    train=Train("),
    ):
        text = text.replace(before, after, 1)
    return text
