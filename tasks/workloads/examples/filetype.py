"""Which kind of file is it? A stranger's ONNX file, Magika's of 3 MB (Apache-2.0), judged on files that this machine has.

Nothing is trained: Google's file ships as it came, or in 8 bits, after it has shown how often it is right here.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import Gates
from tasks.goals import Classify
from tasks.workloads import DEFAULT_RECIPES, Files, Onnx, Rows, Workload
from tasks.workloads.sources import packaged_file

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa

FOLDER = "models/standard_v3_3"

KINDS = {
    ".c": "c", ".h": "c", ".cmake": "cmake", ".css": "css", ".gif": "gif", ".gz": "gzip", ".html": "html", ".jar": "jar",
    ".js": "javascript", ".json": "json", ".m4": "m4", ".md": "markdown", ".pl": "perl", ".pm": "perl", ".png": "png",
    ".py": "python", ".pyc": "pythonbytecode", ".rst": "rst", ".sh": "shell", ".so": "elf", ".svg": "svg", ".tcl": "tcl",
    ".ttf": "ttf", ".xml": "xml", ".yaml": "yaml",
}  # fmt: skip
"""What a file is by its name, in Magika's words: the truth that it is held to."""

ROOTS = ("/usr/share", "/usr/lib", "/usr/include")

MOST, A_FOLDER = 24, 2
"""Files of a kind, and of them in one folder: neighbours are alike."""

END, BLOCK, PADDING, SMALLEST = 1024, 4096, 256, 8


def load_frame() -> "pd.DataFrame":
    """One row a file: 2,048 numbers of its two ends, and its kind, an ordered category of all 214 that the model knows."""
    import json

    import pandas as pd

    described = json.loads(packaged_file("magika", f"{FOLDER}/config.min.json", "filetype").read_text())
    pairs = [(ends(path), kind) for path, kind in chosen(ROOTS)]
    frame = pd.DataFrame(pairs, columns=["bytes", "kind"])
    return frame.assign(kind=pd.Categorical(frame["kind"], described["target_labels_space"], ordered=True))


def chosen(roots: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Some files of each kind below these folders, in the order of their names."""
    of_kind: Counter[str] = Counter()
    for root in roots:
        for folder, inner, names in os.walk(root):
            inner.sort()
            here: Counter[str] = Counter()
            for path in (Path(folder, name) for name in sorted(names)):
                kind = KINDS.get(path.suffix)
                if kind is None or of_kind[kind] >= MOST or here[kind] >= A_FOLDER or not _readable(path):
                    continue
                of_kind[kind] += 1
                here[kind] += 1
                yield path, kind


def _readable(path: Path) -> bool:
    return (
        path.is_file()
        and not path.is_symlink()
        and os.access(path, os.R_OK)
        and path.stat().st_size >= SMALLEST
    )


def ends(path: Path) -> list[int]:
    """A file's first and last 1,024 bytes, as Magika has them: white space at the very ends left out, 256 where there is none."""
    with path.open("rb") as file:
        head = file.read(BLOCK).lstrip()[:END]
        file.seek(max(0, path.stat().st_size - BLOCK))
        tail = file.read().rstrip()[-END:]
    missing = [PADDING] * (2 * END - len(head) - len(tail))
    return [*head, *missing[: END - len(head)], *missing[END - len(head) :], *tail]


def schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    return pa.DataFrameSchema({"bytes": pa.Column(object), "kind": pa.Column()})


def to_inputs(frame: "pd.DataFrame") -> "dict[str, np.ndarray[Any, Any]]":
    """{"bytes": int32[n, 2048]}."""
    import numpy as np

    return {"bytes": np.array(frame["bytes"].to_list(), "int32").reshape(-1, 2 * END)}


workload = Workload(
    name="filetype",
    load=load_frame,
    schema=schema,
    goal=Classify("kind", output="target_label"),
    inputs=to_inputs,
    model=Onnx(Files(package="magika", path=f"{FOLDER}/model.onnx", licence="Apache-2.0")),
    rows=Rows(slices=("kind",)),
    train=None,
    recipes=tuple(recipe for recipe in DEFAULT_RECIPES if not recipe.name.startswith("pruned")),
    gates=Gates(min_score=0.8),
)
