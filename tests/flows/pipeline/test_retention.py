"""What a home keeps: all that what serves was made of, the newest few trainings, and no more, however often it retrains."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import promotions
import pytest

from flows.pipeline.retention import NEWEST, clean, models
from tasks.bundles.bundle import Bundle, Origin
from tasks.bundles.verification import make_read_only
from tasks.errors import StepError
from tasks.promotion.champion import promote
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.system.files import sha256_of
from tasks.system.locks import at_work
from tasks.system.storage import ObjectStorage

KILLED = """
import os, signal, sys
from pathlib import Path
from tasks.system.files import write_atomically

def content(file):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

write_atomically(Path(sys.argv[1]), content)
"""

BEGINS = "import sys, time; from pathlib import Path; from tasks.system.locks import at_work\n"


@pytest.fixture
def registry(home: Path, empty_mlflow_database: Path) -> Registry:
    home.mkdir()
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    registry = Registry(load_settings())
    registry.client.create_registered_model("toy")
    return registry


class Retraining:
    """What the pipeline leaves in a home, the `number`-th time; `rows` and `code` may be those of before."""

    def __init__(
        self, registry: Registry, number: int, *, rows: int | None = None, code: int | None = None
    ) -> None:
        self.home = registry.settings.home
        self.weights, self.file = digest(f"weights {number}"), digest(f"file {number}")
        self.rows = digest(f"rows {number if rows is None else rows}")
        state = digest(f"code {number if code is None else code}")[:16]
        work = self.home / "work" / "toy"
        key = digest(f"key {number}")[:16]
        made = [
            work
            / "training"
            / (key if number % 2 else f"{state}/{key}")
            / "best.pt",  # as the last release, or this
            work / f"fp32-{self.weights[:16]}" / state / "model.onnx",
            work / f"candidates-{self.weights[:16]}" / state / "int8-static.onnx",
            work / f"candidates-{self.weights[:16]}" / state / "training" / state / "best.pt",
            work / "reports" / f"search-0.5-{self.file[:16]}" / "fp32.test.npy",
            work / "search" / f"{self.weights[:16]}-{state}.log",
            self.home / "datasets" / "toy" / f"{self.rows[:16]}-12345678" / "dataset.json",
        ]
        made.append(write(made[0].with_name("best.pt.sha256"), f"{self.weights}  best.pt\n", number))
        for path in made[:-1]:
            write(path, "x" * 1000, number)
        named = f'{{"path": "{made[1]}"}}'
        made.append(write(self.home / "results" / f"export-{digest(f'result {number}')}", named, number))
        self.made = made

    def register(self, registry: Registry, tmp_path: Path) -> Version:
        run_id = registry.start_run("toy", "a run", {})
        evidence = promotions.make_evidence(self.file, "toy").model_copy(
            update={"checkpoint_sha256": self.weights, "fingerprint": self.rows}
        )
        (tmp_path / "evidence.json").write_text(evidence.model_dump_json())
        registry.log_file(run_id, tmp_path / "evidence.json")
        made = registry.client.create_model_version("toy", "file:///nowhere", run_id)
        return Version(model="toy", version=int(made.version), sha256=self.file, run_id=run_id)

    @property
    def there(self) -> bool:
        return all(path.is_file() for path in self.made)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, text: str, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for touched in (path, path.parent):
        os.utime(touched, (2_000_000_000 + number * 86400,) * 2)
    return path


def size(home: Path) -> int:
    kept = (home / "work", home / "datasets", home / "results")
    return sum(path.stat().st_size for folder in kept for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_however_often_it_retrains_a_home_holds_what_serves_and_the_newest_few(
    registry: Registry, tmp_path: Path
) -> None:
    home, made, sizes = registry.settings.home, [], []
    aliases = {"champion": 1, "previous": 0, "challenger": 2}
    for number in range(20):
        made.append(Retraining(registry, number))
        version = made[-1].register(registry, tmp_path)
        for alias, which in aliases.items():
            if which == number:
                registry.set_alias("toy", alias, version.version)
        clean(registry, ["toy"])
        serving = [made[which] for which in aliases.values() if which <= number]
        assert all(each.there for each in (*serving, *made[-NEWEST:]))
        sizes.append(size(home))
    assert len(set(sizes[len(aliases) + NEWEST :])) == 1
    assert not any(path.is_dir() and not any(path.iterdir()) for path in (home / "work").rglob("*"))


def test_of_what_one_checkpoint_was_made_into_by_changing_code_the_newest_stays_and_the_store_lets_go_too(
    registry: Registry, tmp_path: Path
) -> None:
    champion = Retraining(registry, 0)
    registry.set_alias("toy", "champion", champion.register(registry, tmp_path).version)
    onnx = champion.made[1]
    registry = Registry(registry.settings.model_copy(update={"store": (tmp_path / "bucket").as_uri()}))
    store = ObjectStorage((tmp_path / "bucket").as_uri(), registry.settings.home)
    mirrored = [Retraining(registry, number) for number in (1, 2)]
    for folder in (mirrored[0].made[6].parent, champion.made[6].parent):
        store.keep(folder)
    edited = [write(onnx.parent.with_name(digest(str(n))[:16]) / "model.onnx", "x", n) for n in (1, 2)]
    for number in range(3, 7):
        Retraining(registry, number)
    clean(registry, ["toy"])
    assert edited[-1].is_file() and not edited[0].exists() and not onnx.exists()
    assert not store.fetch(mirrored[0].made[6].parent) and store.fetch(champion.made[6].parent)


@pytest.mark.slow
def test_what_killed_runs_left_goes_and_a_dry_run_takes_nothing(registry: Registry, tmp_path: Path) -> None:
    home = registry.settings.home
    kept = Retraining(registry, 0)
    left = [home / "work" / "toy" / name / "model.onnx" for name in (".prove-abc", ".kept-x")]
    left += [
        kept.made[2].parent / ".int8-static-q" / "0.onnx",
        home / "datasets" / "toy" / ".new-1" / "a.npy",
    ]
    for path in left:
        write(path, "x" * 500, 0)
    labels = home / "labels" / "toy" / "2026-11-27"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(labels / "1.jsonl.gz")])
    (written,) = labels.iterdir()  # a name that nothing is written by again
    (labels / re.sub(r"-\d+-\d+\.", f"-{os.getpid()}.", written.name)).touch()  # a living process's
    said = clean(registry, models(home), dry_run=True)
    assert killed.returncode == -signal.SIGKILL and said.size == 2004
    assert {removal.path for removal in said.removed} == {written, *(path.parent for path in left)}
    assert all(path.is_file() for path in left)
    assert clean(registry, models(home)).removed == said.removed
    assert kept.there and not any(path.exists() for path in [*left, written])


def test_nothing_goes_when_the_evidence_of_what_serves_cannot_be_read(
    registry: Registry, tmp_path: Path
) -> None:
    made = [Retraining(registry, number) for number in range(8)]
    run_id = registry.start_run("toy", "a run", {})
    registry.client.create_model_version("toy", "file:///nowhere", run_id)
    registry.set_alias("toy", "champion", 1)
    with pytest.raises(StepError, match=r"evidence.json of toy version 1 is not to be had"):
        clean(registry, ["toy"])
    assert all(each.there for each in made)


def test_what_serves_stays_when_somebody_moved_the_alias_by_hand(registry: Registry, tmp_path: Path) -> None:
    made = [Retraining(registry, number) for number in range(2 + NEWEST)]
    serving, other = (each.register(registry, tmp_path) for each in made[:2])
    promote(registry, serving, against=None, why="the first")
    registry.set_alias("toy", "champion", other.version)
    clean(registry, ["toy"])
    assert made[0].there and made[1].there


def test_nothing_goes_while_a_run_is_at_work_and_a_killed_one_is_not(registry: Registry, home: Path) -> None:
    made = [Retraining(registry, number) for number in range(8)]
    code = f"{BEGINS}with at_work(Path(sys.argv[1]), 'toy'): print('begun', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None and run.stdout.readline() == "begun\n"
        with at_work(home, "toy"):  # runs are at work beside each other
            assert clean(registry, ["toy"]).busy == ("toy",)
        assert all(each.there for each in made)
        run.send_signal(signal.SIGKILL)
    cleaning = clean(registry, ["toy"])
    assert cleaning.busy == () and [each.there for each in made] == [False] * 5 + [True] * 3


def test_bundles_stay_while_they_run_or_a_version_names_them(registry: Registry, tmp_path: Path) -> None:
    home, names = registry.settings.home, [digest(f"bundle {number}") for number in range(14)]
    for number, name in enumerate(names):
        folder = home / "bundles" / name
        (folder / "code").mkdir(parents=True)
        bundle = Bundle(
            name="toy" if number else "other", reference="toy.py", files={}, python="3.11", slipway="0.1.0"
        )
        (folder / "bundle.json").write_bytes(bundle.to_json())
        (folder / "requirements.txt").write_text(name)
        write(home / "environments" / sha256_of(folder / "requirements.txt") / "py" / "a.py", "x", -10_000)
        make_read_only(folder)
        for path in (folder, home / "environments" / sha256_of(folder / "requirements.txt")):
            os.utime(path, (1_700_000_000 + number,) * 2)
    for folder in ("bundles", "environments"):
        write(home / folder / ".tmp-killed" / "half", "x", -10_000)
        write(home / folder / ".tmp-at-work" / "half", "x", 0)
    installed = home / "environments" / digest(names[0])
    write(installed / ".tmp-killed" / "half", "x", -10_000)
    store = ObjectStorage((tmp_path / "bucket").as_uri(), home)
    store.keep(home / "bundles" / names[2])
    registry = Registry(registry.settings.model_copy(update={"store": store.url}))
    registry.client.create_model_version("toy", "file:///nowhere", tags=Origin(bundle=names[1]).tags)
    removed = {removal.path.parent.name for removal in clean(registry, ["toy"]).removed}
    assert removed == {"bundles", "environments", installed.name}
    assert [path.name for path in installed.iterdir()] == ["py"]
    kept = {names[0], names[1], *names[-10:]}
    assert {path.name for path in (home / "bundles").iterdir()} == {".tmp-at-work", *kept}
    assert {path.name for path in (home / "environments").iterdir()} == {".tmp-at-work", *map(digest, kept)}
    assert store.fetch(home / "bundles" / names[2]), (
        "a deployment may name it, whose workers fetch it from there"
    )
