"""What a file's imports reach: the source that decides what it does, found without running any of it."""

import ast
from pathlib import Path

from tasks.system.files import sha256_of
from tasks.workloads.catalogue import source_file

ROOT = Path(__file__).parent.parent.parent


def neighbours(reference: str) -> dict[str, str]:
    """The SHA-256 of every file that a workload's file reaches by imports, by its path below the folder they are in.

    These are the files beside a workload that was named by its path, those of the package of one that was named as a
    module, and those beside the workloads that come with Slipway. What steps are made of, they name themselves.
    """
    file = source_file(reference)
    module = reference.partition(":")[0]
    by_path = file == Path(module).resolve()
    package = "" if by_path else _package(module, file)
    root = file.parent if by_path else file.parents[package.count(".") + bool(package)]
    found: dict[str, str] = {}
    queue = imports_of(file, package)
    while queue:
        name = queue.pop()
        base = ROOT if name.startswith("tasks.") else root
        path = module_file(name, base) if by_path or base == ROOT or _same_top(name, package) else None
        if path is None or path == file or _is_slipways(path) or (known := _name(path, base)) in found:
            continue
        found[known] = sha256_of(path)
        queue += imports_of(path, _package(name, path))
    return dict(sorted(found.items()))


def imports_of(path: Path, package: str) -> list[str]:
    """The modules that a file of `package` names in its imports, and their packages; also those inside functions."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []  # whoever imports it says so
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*filter(None, above), *filter(None, [node.module])])
            found |= {base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)}
    return sorted(
        {".".join(name.split(".")[:n]) for name in found for n in range(1, name.count(".") + 2)} - {""}
    )


def module_file(module: str, root: Path) -> Path | None:
    """The file below `root` that is imported as `module`."""
    base = root.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _package(module: str, file: Path) -> str:
    return module if file.name == "__init__.py" else module.rpartition(".")[0]


def _same_top(name: str, package: str) -> bool:
    return name.partition(".")[0] == package.partition(".")[0]


def _is_slipways(path: Path) -> bool:
    """Whether it is a file of what steps are made of, and not one that a workload of ours has beside it."""
    return path.is_relative_to(ROOT / "tasks") and path.parent != ROOT / "tasks" / "workloads" / "examples"


def _name(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix()
