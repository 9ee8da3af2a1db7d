"""The files that a workload's code stands in: what decides its results besides Slipway's own."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import SUPPORT

from tasks.config import Data
from tasks.data.dataset import prepare, read_split
from tasks.workloads.dependencies import slipway_names, workload_files, workload_sources


def write(folder: Path, files: dict[str, str]) -> str:
    """The files, of which the first is the workload's; how it is named."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    return str(folder / next(iter(files)))


@pytest.mark.parametrize(
    "line",
    [
        "from rows import load",
        "def load():\n    from rows import load\n    return load()",
        "from .rows import load",
        "from . import rows",
        "import rows as r",
        "try:\n    import rows\nexcept ImportError:\n    rows = None",
        "class Load:\n    def __call__(self):\n        import rows",
        "import importlib\nrows = importlib.import_module('rows')",
        "import importlib\nrows = importlib.import_module('ro' + 'ws')",
        "from net.deep import rows",
        "import net.deep.rows",
        "from net import start",
        "import runpy\nrows = runpy.run_path('net/deep/rows.py')",
        "from pathlib import Path\nimport importlib.util as u\ns = u.spec_from_file_location('r', Path(__file__).parent / 'net' / 'deep' / 'rows.py')",
        "import sys\nsys.path.insert(0, 'net')\nfrom deep import rows",
    ],
)
def test_a_helper_belongs_to_the_workload_however_it_is_imported(tmp_path: Path, line: str) -> None:
    reference = write(
        tmp_path,
        {
            "mine.py": line,
            "rows.py": "A = 1",
            "net/__init__.py": "",
            "net/start.py": "from .deep.rows import A",
            "net/deep/rows.py": "A = 1",
            "other.py": "A = 1",
        },
    )
    before = workload_sources(reference)
    reached = "net/deep/rows.py" if "net" in line else "rows.py"
    by_path = ("import_module", "run_path", "spec_from_file_location")
    assert reached in before and ("other.py" in before) == any(word in line for word in by_path)
    (tmp_path / reached).write_text("A = 2")
    after = workload_sources(reference)
    assert [name for name in before if before[name] != after[name]] == [reached]


def test_a_package_counts_with_what_is_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path,
        {
            "ours_above/models/mine.py": "from ..sizes import SIZE\nimport numpy, shared_above",
            "ours_above/__init__.py": "",
            "ours_above/models/__init__.py": "import os\nos.getcwd()",
            "ours_above/sizes.py": "SIZE = 3",
            "shared_above.py": "",
        },
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert set(workload_files("ours_above.models.mine")) == {
        "ours_above/models/mine.py",
        "ours_above/__init__.py",
        "ours_above/models/__init__.py",
        "ours_above/sizes.py",
        "shared_above.py",
    }


def test_comments_docstrings_and_formatting_are_no_change(tmp_path: Path) -> None:
    reference = write(tmp_path, {"mine.py": "from rows import A\ndef load(): return A", "rows.py": "A = 1"})
    before = workload_sources(reference)
    write(
        tmp_path,
        {
            "mine.py": '"""Mine."""\nfrom rows import A  # one\n\n\ndef load():\n    """It."""\n    return (A)\n'
        },
    )
    write(tmp_path, {"rows.py": "# ours\nA = 1\n"})
    assert workload_sources(reference) == before


def test_a_file_that_does_not_parse_counts_as_it_is(tmp_path: Path) -> None:
    reference = write(tmp_path, {"mine.py": "import rows", "rows.py": "A = ("})
    before = workload_sources(reference)
    write(tmp_path, {"rows.py": "A = (1"})
    assert workload_sources(reference) != before


def test_what_comes_with_slipway_has_a_key_of_its_own_and_its_workloads_are_workloads(tmp_path: Path) -> None:
    reference = write(
        tmp_path,
        {
            "mine.py": "from tasks.config import Train\nfrom tasks.workloads.examples import digits\nimport tasks.recipes"
        },
    )
    assert set(workload_files(reference)) == {
        "mine.py",
        "tasks/workloads/examples/__init__.py",
        "tasks/workloads/examples/digits.py",
    }
    assert {"tasks.config.Train", "tasks.recipes"} <= set(slipway_names(reference))
    cells = workload_files("cells")["tasks/workloads/examples/cells.py"]
    copied = write(tmp_path, {"my_cells.py": cells.read_text()})
    for named in ("cells", str(cells), copied):
        assert "tasks/workloads/examples/genes.txt" in workload_sources(named)


def test_a_list_that_is_named_counts_as_its_bytes_and_rows_do_not(tmp_path: Path) -> None:
    reference = write(
        tmp_path,
        {
            "mine.py": "from net.words import W\nrows = 'rows.csv'",
            "net/words.py": "from pathlib import Path\nW = Path(__file__).with_name('words.txt').read_text()",
            "net/words.txt": "a = 1  # no comment",
            "rows.csv": "1",
            "other.txt": "",
        },
    )
    before = workload_sources(reference)
    assert set(before) == {"mine.py", "net/words.py", "net/words.txt"}
    (tmp_path / "net/words.txt").write_text("a = 1  # no comments")
    after = workload_sources(reference)
    assert [name for name in before if before[name] != after[name]] == ["net/words.txt"]


VISITS = """
    from functools import partial
    import numpy as np, pandas as pd, pandera.pandas as pa
    from torch import nn
    from tasks.workloads import Workload

    def load():
        random = np.random.default_rng(5)
        return pd.DataFrame({"a": random.lognormal(0, 2, 300), "y": np.arange(300) % 2})

    def features(frame, columns):
        return {"x": frame[columns].to_numpy("float32")}

    workload = Workload(name="visits", kind="classification", load=load, schema=pa.DataFrameSchema({"y": pa.Column("int64")}),
        target="y", inputs=INPUTS, model=lambda: nn.Linear(1, 2))
"""


DECORATED_HERE = """
    def doubled(function):
        return lambda frame: {"x": 2 * function(frame, ["a"])["x"]}

"""


@pytest.mark.parametrize("in_a_helper", [False, True])
@pytest.mark.parametrize(
    "inputs",
    [
        "partial(features, columns=['a'])",
        "partial(partial(features), columns=['a'])",
        "lambda frame: features(frame, ['a'])",
        "type('F', (), {'__call__': lambda self, frame: features(frame, ['a'])})()",
        "(lambda columns: lambda frame: features(frame, columns))(['a'])",
        "doubled(features)",
        "[lambda frame: features(frame, ['a'])][0]",
        "getattr(sys.modules[features.__module__], 'features').__get__(None, object) and partial(features, columns=['a'])",
    ],
)
def test_an_edited_function_makes_new_arrays_however_it_is_called(
    tmp_path: Path, inputs: str, in_a_helper: bool
) -> None:
    """hamilton#1116, joblib#1287; also in a process that has seen the function before its edit."""
    text = VISITS.replace("INPUTS", inputs).replace("from functools", "import sys\n    from functools")
    features = text[text.index("    def features") : text.index("    workload =")]
    files = {"visits.py": text.replace(features, DECORATED_HERE + features)}
    if in_a_helper:
        files = {
            "visits.py": text.replace(
                features, DECORATED_HERE + "    from visits_features import features\n\n"
            ),
            "visits_features.py": features,
        }
    reference = write(tmp_path, files)
    assert (arrays(reference, tmp_path) > 0).all()
    write(tmp_path, {name: text.replace("frame[columns]", "-frame[columns]") for name, text in files.items()})
    assert (arrays(reference, tmp_path) < 0).all()


def arrays(reference: str, folder: Path) -> "np.ndarray[Any, Any]":
    return read_split(prepare(reference, Data(), folder / "datasets"), "train").inputs["x"]


def test_a_folder_that_a_file_puts_on_the_path_is_looked_into_and_others_are_not(tmp_path: Path) -> None:
    files = {"mine.py": "import os\nimport rows", "net/rows.py": "A = 1"}
    assert set(workload_sources(write(tmp_path, files))) == {"mine.py"}


def test_a_list_in_a_folder_below_counts(tmp_path: Path) -> None:
    reference = write(tmp_path, {"mine.py": "W = open('lists/words.txt')", "lists/words.txt": "a"})
    assert "lists/words.txt" in workload_sources(reference)


def test_a_helper_that_is_imported_late_is_in_the_key(tmp_path: Path) -> None:
    shop = SUPPORT / "cases" / "lazy_helper"
    for name in ("shop.py", "shop_relative_top.py"):
        names = {Path(file).name for file in workload_files(str(shop / name))}
        assert {"shop.py", "shop_rows.py", "small.py", "__init__.py"} <= names
