"""What Tab offers for a command's words: nothing is imported, asked or made for it, and what cannot be looked up is not offered."""

import os
from contextlib import suppress
from pathlib import Path


def models(incomplete: str) -> list[str]:
    """Models that ran or were served from this home, and the examples."""
    home = Path(os.environ.get("SLIPWAY_HOME") or ".slipway")
    here: set[str] = set()
    with suppress(OSError):
        here |= {path.name for path in (home / "work").iterdir() if path.is_dir()}
    with suppress(OSError):
        here |= {
            path.name.partition("@")[0] for path in (home / "serving" / "cache" / "targets").glob("*@*.json")
        }
    return _fitting({*here, *_examples()}, incomplete)


def workloads(incomplete: str) -> list[str]:
    """The examples, and files of Python where the word is the beginning of one's path."""
    folder, _, start = incomplete.rpartition("/")
    inside = f"{folder}/" if folder else incomplete[:1] if incomplete[:1] == "/" else ""
    files: set[str] = set()
    with suppress(OSError):
        for path in Path(inside or ".").iterdir():
            if (
                path.name.startswith(start)
                and not path.name.startswith(".")
                and (path.suffix == ".py" or path.is_dir())
            ):
                files.add(f"{inside}{path.name}{'/' if path.is_dir() else ''}")
    return _fitting({*files, *_examples()}, incomplete)


def settings(incomplete: str) -> list[str]:
    """Names that --set takes, up to their value."""
    from flows.cli.overrides import knob_names

    return [f"{name}=" for name in _fitting(set(knob_names()), incomplete)]


def _examples() -> list[str]:
    from tasks.workloads.places import names

    return [*names()]


def _fitting(words: set[str], incomplete: str) -> list[str]:
    return sorted(word for word in words if word.startswith(incomplete))
