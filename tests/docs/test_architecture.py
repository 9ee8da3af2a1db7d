"""The table of rooms is the folders, in an order that the contracts allow."""

import re
import tomllib

from checkout import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()


def named() -> list[str]:
    """`top/room` or `top/module.py` of each row, several to a row."""
    found = []
    for row in re.findall(r"^\| (`(?:flows|infra|tasks)/.*?) \|", PAGE, re.M):
        first, *others = re.findall(r"`([^`]+)`", row)
        top = first.partition("/")[0]
        found += [first, *(f"{top}/{name}" for name in others)]
    return found


def rooms() -> set[str]:
    """Folders with code in them, and the modules beside those."""
    found = set()
    for top in ("flows", "infra", "tasks"):
        found |= {f"{top}/{path.parent.name}" for path in (ROOT / top).glob("*/__init__.py")}
        found |= {f"{top}/{path.name}" for path in (ROOT / top).glob("[!_]*.py")}
    return found


def test_the_table_names_every_room_once() -> None:
    assert sorted(named()) == sorted(rooms())


def test_what_stands_higher_in_the_table_is_no_lower_layer_of_a_contract() -> None:
    order = [name.removesuffix(".py").replace("/", ".") for name in named()]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for top in ("flows", "infra", "tasks"):
        layers = next(one["layers"] for one in contracts if one.get("containers") == [top])
        depth = {f"{top}.{name.strip()}": at for at, layer in enumerate(layers) for name in layer.split("|")}
        depths = [depth[name] for name in order if name.startswith(f"{top}.")]
        assert depths == sorted(depths), top
