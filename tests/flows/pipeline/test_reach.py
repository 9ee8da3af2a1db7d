"""The keys of this very tree: an edit anywhere in what a step reaches is in its key, and no other edit is."""

import ast
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT

from flows.pipeline.definitions import Code
from flows.pipeline.keys import RUN, STEPS
from flows.pipeline.names import ON_IMPORT, WHOLE, Node
from flows.pipeline.reach import Reach, reach


@pytest.fixture(scope="module")
def code() -> Code:
    return Code()


@pytest.fixture(scope="module")
def reached(code: Code) -> dict[str, Reach]:
    return digests_and_more(code)


def digests_and_more(code: Code) -> dict[str, Reach]:
    return {step: reach(code, [step]) for step in STEPS} | {"run": reach(code, RUN)}


def digests(code: Code) -> dict[str, str]:
    return {step: of_step.digest for step, of_step in digests_and_more(code).items()}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of all the source that a key may be of."""
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("tasks", "infra", "flows"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    return tmp_path


def write(path: Path, tree: ast.Module) -> None:
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)))


@pytest.mark.slow
def test_a_whole_runs_key_covers_all_that_a_step_uses(reached: dict[str, Reach]) -> None:
    for step in STEPS:
        assert len(reached[step].nodes) > 50
        assert reached[step].nodes <= reached["run"].nodes, step


def test_every_step_that_is_bound_is_one_whose_key_is_tested_here() -> None:
    from flows import steps
    from flows.pipeline.binding import CachedTask

    assert {task.root for task in vars(steps).values() if isinstance(task, CachedTask)} == set(STEPS)


def test_what_cannot_be_followed_is_little(reached: dict[str, Reach]) -> None:
    assert len(reached["run"].doubts) <= 0.02 * len(reached["run"].nodes), reached["run"].doubts


def test_every_package_has_a_file_by_which_names_are_followed() -> None:
    folders = {path.parent for top in ("tasks", "infra") for path in (ROOT / top).rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_the_proofs_key_has_the_server_and_the_process_that_probes_in_it(reached: dict[str, Reach]) -> None:
    modules = {node.module for node in reached["flows.steps.prove"].nodes}
    assert {"infra.serving.__main__", "infra.serving.processes.worker", "tasks.proof.first_run"} <= modules
    assert not any(node.module.startswith("infra.") for node in reached["flows.steps.train"].nodes)


@pytest.mark.slow
def test_formatting_comments_and_docstrings_are_in_no_key(copy: Path, code: Code) -> None:
    for path in copy.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and node.body:
                if ast.get_docstring(node) is None:
                    node.body.insert(0, ast.Expr(ast.Constant("New.")))
                elif len(node.body) > 1:
                    del node.body[0]
        write(path, tree)
        path.write_text("# a comment\n" + path.read_text().replace("\n", "\n\n"))
    assert digests(Code(copy)) == digests(code)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tasks.training.loop", "tasks.training.laps"),
        ("tasks.training", "tasks.learning"),
        ("tasks.proof", "tasks.evidence.proof"),
        ("infra.serving.models.slot", "infra.serving.models.place"),
    ],
)
def test_a_module_or_a_room_may_be_called_otherwise(copy: Path, code: Code, old: str, new: str) -> None:
    source, target = copy.joinpath(*old.split(".")), copy.joinpath(*new.split("."))
    target.parent.mkdir(exist_ok=True)
    (target.parent / "__init__.py").touch()
    shutil.move(
        source if source.is_dir() else source.with_suffix(".py"),
        target if source.is_dir() else target.with_suffix(".py"),
    )
    above, _, last = old.rpartition(".")
    for path in copy.rglob("*.py"):
        text = re.sub(rf"\b{re.escape(old)}\b", new, path.read_text())
        other, _, name = new.rpartition(".")
        path.write_text(
            re.sub(rf"from {re.escape(above)} import {last}\b", f"from {other} import {name} as {last}", text)
        )
    assert digests(Code(copy)) == digests(code)


@pytest.mark.slow
def test_an_edit_of_all_that_a_step_does_not_reach_leaves_its_key(
    copy: Path, code: Code, reached: dict[str, Reach]
) -> None:
    nodes = reached["run"].nodes
    edited = 0
    for name, path in files(copy):
        tree = ast.parse(path.read_text())
        if Node(name, WHOLE) in nodes or Node(name, ON_IMPORT) in nodes:
            continue
        for statement in tree.body:
            bound = set(names(statement))
            if bound and not any(Node(name, each) in nodes for each in bound):
                edited += edit_at_the_end(statement)
        write(path, tree)
    assert edited > 300 and digests(Code(copy)) == digests(code)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_an_edit_anywhere_in_a_definition_that_is_reached_makes_another_digest(
    copy: Path, code: Code, reached: dict[str, Reach], seed: int
) -> None:
    choose, edited = random.Random(seed), []
    for name, path in files(copy):
        tree = ast.parse(path.read_text())
        for statement in tree.body:
            nodes = [node for each in names(statement) if (node := Node(name, each)) in reached["run"].nodes]
            if nodes and edit_anywhere(statement, choose):
                edited += nodes
        write(path, tree)
    assert len(edited) > 0.9 * len(reached["run"].nodes)
    after = Code(copy)
    assert not {node for node in edited if after.definition(node).digest == code.definition(node).digest}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_one_edit_is_in_the_key_of_each_step_that_reaches_it_and_in_no_other(
    copy: Path, code: Code, reached: dict[str, Reach], seed: int
) -> None:
    choose = random.Random(seed)
    nodes = sorted(node for node in reached["run"].nodes if node.name.isidentifier())
    choose.shuffle(nodes)
    for node in nodes:
        path = copy / code.module(node.module).path.relative_to(ROOT)
        tree = ast.parse(path.read_text())
        statement = next((s for s in tree.body if node.name in names(s)), None)
        if statement is not None and edit_anywhere(statement, choose):
            break
    write(path, tree)
    after = digests(Code(copy))
    bound = set(names(statement))
    for step, before in reached.items():
        if {Node(node.module, name) for name in (*bound, WHOLE)} & before.nodes:
            assert after[step] != before.digest, f"{step} reaches {node}"
        elif Node(node.module, ON_IMPORT) not in before.nodes:
            assert after[step] == before.digest, f"{step} does not reach {node}"


def files(root: Path) -> Iterator[tuple[str, Path]]:
    for top in ("tasks", "infra"):
        for path in sorted((root / top).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if path.name == "__init__.py" else parts), path


def names(statement: ast.stmt) -> Iterator[str]:
    """What a plain top-level statement binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        yield from (
            n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        )


def edit_at_the_end(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        statement.body.append(ast.parse("edited = 1").body[0])
    elif isinstance(statement, ast.Assign):
        statement.value = ast.Tuple([statement.value], ast.Load())
    return True


def edit_anywhere(statement: ast.stmt, choose: random.Random) -> bool:
    """Change one thing that decides what the code does, somewhere inside; False where there is nothing of the kind."""
    documented = {
        id(n.value)
        for n in ast.walk(statement)
        if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)
    }
    decorators = [d for d in getattr(statement, "decorator_list", ()) if "step(" in ast.unparse(d)]
    bound = {id(n) for d in decorators for n in ast.walk(d)}  # how long a step may take decides no result
    spots = [n for n in ast.walk(statement) if id(n) not in documented | bound and isinstance(n, _SPOTS)]
    choose.shuffle(spots)
    return any(edited(spot) for spot in spots)


_SPOTS = (
    ast.Constant,
    ast.BinOp,
    ast.Compare,
    ast.BoolOp,
    ast.If,
    ast.Return,
    ast.FunctionDef,
    ast.ClassDef,
    ast.Call,
    ast.arguments,
)


def edited(spot: ast.AST) -> bool:
    match spot:
        case ast.Constant(value=bool() as value):
            spot.value = not value
        case ast.Constant(value=int() | float() as value):
            spot.value = value + 1 if value + 1 != value else value / 2  # 1e300 and one is 1e300
        case ast.Constant(value=str() as value):
            spot.value = value + "x"
        case ast.Constant():
            spot.value = 7
        case ast.BinOp():
            spot.op = ast.Add() if not isinstance(spot.op, ast.Add) else ast.Sub()
        case ast.Compare():
            spot.ops[0] = ast.Lt() if not isinstance(spot.ops[0], ast.Lt) else ast.GtE()
        case ast.BoolOp():
            spot.op = ast.And() if isinstance(spot.op, ast.Or) else ast.Or()
        case ast.If():
            spot.test = ast.UnaryOp(ast.Not(), spot.test)
        case ast.Return(value=ast.expr() as value):
            spot.value = ast.Tuple([value], ast.Load())
        case ast.FunctionDef() | ast.ClassDef():
            spot.body.append(ast.parse("edited = 1").body[0])
        case ast.Call(args=[_, _, *_]):
            spot.args.reverse()
            return ast.dump(spot.args[0]) != ast.dump(spot.args[-1])
        case ast.arguments(defaults=[default, *_]):
            spot.defaults[0] = ast.Tuple([default], ast.Load())
        case _:
            return False
    return True


@pytest.mark.slow
def test_what_one_process_has_read_spares_the_next_the_reading_until_a_file_changes(copy: Path) -> None:
    def digest() -> str:
        words = [
            sys.executable,
            "-c",
            "from flows.pipeline.reach import source_of as s; print(s(('flows.steps.prove',))[0])",
        ]
        return subprocess.run(
            words,
            env={**os.environ, "PYTHONPATH": str(copy)},
            cwd=copy,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    first = digest()
    kept = next((copy / "flows" / "pipeline" / "__pycache__").glob("reach-*.json"))
    assert digest() == first
    content = kept.read_text()
    for name, old, new in (
        ("tasks/proof/speed.py", "0.95", "0.9"),
        ("infra/serving/http/page.html", "<", "< "),
    ):
        path = copy / name
        path.write_text(path.read_text().replace(old, new, 1))
        assert digest() != first
        first = digest()
    kept.write_text(content)  # of files that are no longer so
    assert digest() == first
    kept.write_text("torn")
    assert digest() == first
