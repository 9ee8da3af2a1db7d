"""A workload is published once and found by its digest on machines that have none of its files."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_index import write_wheel

from tasks.bundles.bundle import Bundle, changes
from tasks.bundles.kept import bundle_of
from tasks.errors import UserError
from tasks.system.files import sha256_of
from tasks.workloads.catalogue import load_workload
from tasks.workloads.dependencies import workload_files, workload_sources
from tasks.workloads.origin import libraries_of
from tasks.workloads.publishing import publish

MINE = """
from dataclasses import replace
from helpers_of_mine import NAME
from tasks.workloads.examples.digits import workload as digits
WORDS = "words.txt"
workload = replace(digits, name=NAME)
"""


@pytest.fixture
def laptop(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a workload, of a home with a store; what is put on the path goes again."""
    folder = tmp_path / "laptop"
    folder.mkdir()
    (folder / "mine.py").write_text(MINE)
    (folder / "helpers_of_mine.py").write_text("NAME = 'mine'\n")
    (folder / "words.txt").write_text("a\n")
    (folder / "rows.csv").write_text("never,packed\n")
    monkeypatch.setenv("SLIPWAY_STORE", f"file://{tmp_path / 'store'}")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path, modules = [*sys.path], {*sys.modules}
    yield folder
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def worker(laptop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another machine, entered by `enter`: a home of its own that has the laptop's public key and store."""
    folder = tmp_path / "worker"
    folder.mkdir()
    (folder / "mlflow.yaml").write_text("runs: [laptop.pem]")
    return folder


def enter(worker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(worker.parent / "home")
    shutil.copy(home / "keys" / "public.pem", worker / "laptop.pem")
    monkeypatch.setenv("SLIPWAY_HOME", str(worker / "home"))
    monkeypatch.chdir(worker)


def objects(tmp_path: Path, bundle: Bundle) -> Path:
    return tmp_path / "store" / "bundles" / bundle.digest


@pytest.mark.slow
def test_a_worker_without_the_file_runs_what_was_published(
    laptop: Path, worker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = workload_sources(str(laptop / "mine.py"))
    bundle = publish(str(laptop / "mine.py"))
    assert {*bundle.files} == {"code/mine.py", "code/helpers_of_mine.py", "code/words.txt"}
    assert (bundle.name, bundle.reference, bundle.clean) == ("mine", "mine.py", None)
    assert publish(str(laptop / "mine.py")) == bundle and publish(bundle.workload) == bundle
    shutil.rmtree(laptop)
    enter(worker, monkeypatch)
    with pytest.raises(UserError, match="mine.py is in no signed bundle, and mlflow.yaml's `runs` lets only"):
        load_workload("mine.py")
    assert load_workload(bundle.workload).name == "mine" and load_workload("digits").name == "digits"
    assert workload_sources(bundle.workload) == sources
    files = workload_files(bundle.workload)
    assert files["mine.py"] == worker / "home" / "bundles" / bundle.digest / "code" / "mine.py"
    modes = {path.stat().st_mode & 0o777 for path in files["mine.py"].parents[1].rglob("*")}
    assert modes == {0o444, 0o555} and not [*files["mine.py"].parent.rglob("__pycache__")]
    assert bundle_of(bundle.workload) == bundle


@pytest.mark.slow
def test_an_edited_helper_is_another_bundle_beside_the_first(laptop: Path) -> None:
    first = publish(str(laptop / "mine.py"))
    (laptop / "helpers_of_mine.py").write_text("NAME = 'edited'\n")
    second = publish(str(laptop / "mine.py"))
    assert changes(first, second) == ("helpers_of_mine.py changed",)
    assert [load_workload(b.workload).name for b in (first, second, first)] == ["mine", "edited", "mine"]


@pytest.mark.slow
def test_a_byte_that_is_flipped_in_the_store_or_here_is_refused_before_any_import(
    laptop: Path, worker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = publish(str(laptop / "mine.py"))
    enter(worker, monkeypatch)
    kept = objects(tmp_path, bundle) / bundle.files["code/helpers_of_mine.py"]
    honest, marker = kept.read_bytes(), tmp_path / "ran"
    evil = f"open({str(marker)!r}, 'w')\n".encode()
    kept.chmod(0o600)
    kept.write_bytes(evil)
    with pytest.raises(UserError, match=r"holds helpers_of_mine\.py of .* altered"):
        load_workload(bundle.workload)
    manifest = objects(tmp_path, bundle) / "manifest.json"
    listed = json.loads(manifest.read_text())
    (tmp_path / "evil").write_bytes(evil)
    forged = sha256_of(tmp_path / "evil")
    (objects(tmp_path, bundle) / forged).write_bytes(evil)
    manifest.write_text(json.dumps({**listed, "code/helpers_of_mine.py": forged}))
    with pytest.raises(UserError, match=r"is not what its digest says: code/helpers_of_mine\.py was altered"):
        load_workload(bundle.workload)
    assert not [path for path in (worker / "home" / "bundles").iterdir() if not path.name.startswith(".")]
    kept.write_bytes(honest)
    manifest.write_text(json.dumps(listed))
    assert load_workload(bundle.workload).name == "mine"
    here = workload_files(bundle.workload)["helpers_of_mine.py"]
    here.chmod(0o644)
    here.write_bytes(evil)
    with pytest.raises(UserError, match=r"code/helpers_of_mine\.py was altered"):
        load_workload(bundle.workload)
    assert not marker.exists()


@pytest.mark.slow
def test_compiled_code_that_somebody_put_beside_it_is_never_run(laptop: Path) -> None:
    bundle = publish(str(laptop / "mine.py"))
    code = workload_files(bundle.workload)["mine.py"].parent
    code.chmod(0o755)
    (code / "__pycache__").mkdir()
    (code / "__pycache__" / "helpers_of_mine.cpython-311.pyc").write_bytes(b"evil")
    assert load_workload(bundle.workload).name == "mine"
    assert not (code / "__pycache__").exists() and code.stat().st_mode & 0o777 == 0o555


@pytest.mark.slow
def test_a_package_travels_with_what_is_above_and_weights_with_whoever_names_them(
    laptop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = laptop / "shop_of_mine"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "sizes.py").write_text("SIZE = 3\n")
    (package / "models" / "__init__.py").write_text("")
    (package / "models" / "net.onnx").write_bytes(b"weights")
    (package / "models" / "churn.py").write_text(
        "from dataclasses import replace\nfrom pathlib import Path\nfrom ..sizes import SIZE\nfrom tasks.workloads import Files\n"
        "from tasks.workloads.examples.digits import workload as digits\n"
        "churn = replace(digits, name='churn', bases={'net': Files(path=Path(__file__).with_name('net.onnx'))})\n"
    )
    monkeypatch.syspath_prepend(str(laptop))
    sources = workload_sources("shop_of_mine.models.churn:churn")
    bundle = publish("shop_of_mine.models.churn:churn")
    assert (
        "code/shop_of_mine/models/net.onnx" in bundle.files
        and bundle.reference == "shop_of_mine.models.churn:churn"
    )
    for _ in range(2):  # its name is taken by the other folder's package, before and after
        assert workload_sources(bundle.workload) == sources
        assert str(tmp_path / "home" / "bundles") in str(load_workload(bundle.workload).bases["net"].path)
        assert str(laptop) in str(load_workload("shop_of_mine.models.churn:churn").bases["net"].path)


@pytest.mark.slow
def test_what_is_not_in_the_bundle_is_missed_when_it_is_published_and_not_at_night(laptop: Path) -> None:
    (laptop / "mine.py").write_text(MINE + "from pathlib import Path\nPath('rows.csv').read_text()\n")
    home = laptop.parent / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(laptop)
        with pytest.raises(
            UserError, match=r"does not load from its bundle, where only what it imports is: .*rows.csv"
        ):
            publish("mine.py")
    assert not [*(home / "bundles").iterdir()] and not (laptop.parent / "store").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"helpers_of_mine.py": "NAME = 'mine'\nPASSWORD = 'hunter" + "22'\n"},
            r"helpers_of_mine\.py seems to hold a password in a literal \(line 2\)",
        ),
        ({"words.txt": "x" * 51_000_000}, r"more than 50 MB, and .*words\.txt 51 MB of them"),
    ],
)
def test_what_has_no_place_in_a_bundle_is_refused_with_the_files_name(
    laptop: Path, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (laptop / name).write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        publish(str(laptop / "mine.py"))
    assert "hunter" not in str(raised.value)


def test_links_slipways_own_and_what_lies_elsewhere_are_refused(
    laptop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="digits comes with Slipway, which every worker has"):
        publish("digits")
    (laptop / "words.txt").rename(tmp_path / "words.txt")
    (laptop / "words.txt").symlink_to(tmp_path / "words.txt")
    with pytest.raises(UserError, match=r"words\.txt is a link"):
        publish(str(laptop / "mine.py"))
    (laptop / "words.txt").unlink()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "shared_by_mine.py").write_text("")
    (laptop / "mine.py").write_text(f"import shared_by_mine{MINE}")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    with pytest.raises(UserError, match=r"lib/shared_by_mine\.py lies outside of the workload's own folder"):
        publish(str(laptop / "mine.py"))


def test_a_bundle_that_is_nowhere_is_said(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = f"bundle:{'a' * 64}"
    with pytest.raises(
        UserError,
        match="There is no bundle aaaaaaaaaaaa in .*, and no store to fetch it from: set SLIPWAY_STORE",
    ):
        load_workload(reference)
    monkeypatch.setenv("SLIPWAY_STORE", f"file://{tmp_path / 'store'}")
    with pytest.raises(UserError, match="no bundle aaaaaaaaaaaa in the store either"):
        load_workload(reference)


@pytest.mark.slow
def test_what_slipway_lacks_comes_with_the_bundle_and_its_version_is_named(
    laptop: Path, worker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = write_wheel(tmp_path / "index", "names_from_afar", "1.3", "NAME = 'installed'\n")
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheel.parent),
    }.items():
        monkeypatch.setenv(name, value)
    (laptop / "mine.py").write_text(MINE.replace("helpers_of_mine", "names_from_afar"))
    (laptop / "asked.txt").write_text("names-from-afar\n")
    with pytest.raises(UserError, match="No module named 'names_from_afar'"):
        publish(str(laptop / "mine.py"))
    bundle = publish(str(laptop / "mine.py"), requirements=laptop / "asked.txt")
    assert bundle.requirements == ("names-from-afar==1.3",) and "requirements.txt" in bundle.files
    del sys.modules["names_from_afar"]
    enter(worker, monkeypatch)
    assert load_workload(bundle.workload).name == "installed"
    assert libraries_of(bundle.workload)["names-from-afar"] == "1.3"
    assert str(worker / "home" / "environments") in str(sys.modules["names_from_afar"].__file__)
    assert {*workload_files(bundle.workload)} >= {"mine.py"} and "names_from_afar.py" not in workload_files(
        bundle.workload
    )
