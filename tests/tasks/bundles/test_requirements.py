"""What a workload needs besides Slipway travels as pins with hashes, and is installed by nothing else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_index import write_wheel

from tasks.bundles.environments import environment, put_on_path
from tasks.bundles.requirements import pinned
from tasks.errors import UserError
from tasks.system.files import sha256_of


@pytest.fixture
def index(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package index with `spoken_numbers`, which needs `spoken_digits`."""
    folder = tmp_path / "index"
    write_wheel(folder, "spoken_digits", "2.1", "WORDS = ('null', 'eins')\n")
    write_wheel(folder, "spoken_numbers", "1.3", "from spoken_digits import WORDS\n", "spoken-digits>=2")
    write_wheel(folder, "old_arrays", "1.0", "", "numpy<1")
    for name in ("PIP_CONFIG_FILE", "PIP_CONSTRAINT"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    path = [*sys.path]
    yield folder
    sys.path[:] = path
    for name in ("spoken_digits", "spoken_numbers"):
        sys.modules.pop(name, None)


def asked(tmp_path: Path, text: str) -> Path:
    (tmp_path / "asked.txt").write_text(text)
    return tmp_path / "asked.txt"


@pytest.mark.slow
def test_what_slipway_lacks_is_pinned_and_installed_once_behind_all_else(
    index: Path, tmp_path: Path, home: Path
) -> None:
    pins = pinned(asked(tmp_path, "# words\nSpoken.Numbers >=1.0\nnumpy\npandas>=2\n"))
    assert pins.names == ("spoken-digits==2.1", "spoken-numbers==1.3")
    hashes = [
        sha256_of(index / f"{name}-py3-none-any.whl") for name in ("spoken_digits-2.1", "spoken_numbers-1.3")
    ]
    assert (
        pins.text
        == f"spoken-digits==2.1 --hash=sha256:{hashes[0]}\nspoken-numbers==1.3 --hash=sha256:{hashes[1]}\n"
    )
    (tmp_path / "requirements.txt").write_text(pins.text)
    packages = environment(tmp_path / "requirements.txt")
    assert (
        packages
        == home
        / "environments"
        / sha256_of(tmp_path / "requirements.txt")
        / str(sys.implementation.cache_tag)
        / "site-packages"
    )
    made = packages.stat().st_mtime_ns
    assert environment(tmp_path / "requirements.txt") == packages and packages.stat().st_mtime_ns == made
    assert (packages / "spoken_digits.py").stat().st_mode & 0o777 == 0o444
    put_on_path(packages)
    assert sys.path[-1] == str(packages)
    import spoken_numbers  # type: ignore[import-not-found]

    assert spoken_numbers.WORDS == ("null", "eins")
    other = packages.parents[2] / ("a" * 64) / "cpython" / "site-packages"
    put_on_path(other)
    assert str(packages) not in sys.path and "spoken_numbers" not in sys.modules


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "nowhere-to-be-had==9\n",
            r"asked\.txt: the package index has no nowhere-to-be-had==9 for this Python",
        ),
        (
            "old-arrays\n",
            r"asked\.txt: Cannot install .*: it contradicts what Slipway itself is installed with",
        ),
    ],
)
def test_what_cannot_be_had_is_a_sentence(index: Path, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pinned(asked(tmp_path, text))


@pytest.mark.slow
def test_a_folder_or_address_is_no_release(index: Path, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "elsewhere", "spoken_words", "1.0", "")
    with pytest.raises(UserError, match="spoken-words is no release of a package index"):
        pinned(asked(tmp_path, f"{wheel}\n"))


@pytest.mark.slow
def test_another_file_under_the_same_version_is_not_installed_and_nothing_is_left(
    index: Path, tmp_path: Path, home: Path
) -> None:
    (tmp_path / "requirements.txt").write_text(pinned(asked(tmp_path, "spoken-digits\n")).text)
    write_wheel(index, "spoken_digits", "2.1", "import evil\n")
    with pytest.raises(UserError, match="pip did not come to an end .*(?i:hash|do not match)"):
        environment(tmp_path / "requirements.txt")
    assert not [*(home / "environments").glob("*/*")]
