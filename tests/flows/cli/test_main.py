"""The command line, in this process where nothing heavy is started, as a process where it is."""

import errno
import inspect
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promotions
import pytest
from typer.main import get_command

from flows.cli import __main__ as cli
from flows.cli.app import app
from flows.cli.arguments import EXIT_CODES, examples_in
from flows.cli.overrides import knob_names
from infra.serving.__main__ import parser
from tasks.promotion.champion import promote
from tasks.registry.registry import Registry
from tasks.settings import load_settings

WORKLOAD = """
from dataclasses import replace
from tasks.workloads.examples.digits import *
from tasks.workloads.examples.digits import workload as digits
"""

Slipway = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _still_hears_ctrl_c() -> Iterator[None]:
    """A command that was interrupted hears no second one, nor would what is started after it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def slipway(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Slipway:
    """Runs a command in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["slipway", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "Unknown workload 'nowhere': name one of "),
        (["digts"], "Unknown workload 'digts' (is it 'digits'?): name one of "),
        (["digits", "--set", "gates.min_score=0.5"], "gates.min_score=0.5 cannot be asked of digits: "),
        (["missing/file.py"], "No workload file 'missing/file.py'"),
        (["digits", "--set", "train.epoch=1"], "did you mean train.epochs?"),
        (["digits", "--set", "train.epochs=0"], "train.epochs=0: it has to be at least 1."),
        (["digits", "--set", "model=lstm"], "has one model without a name"),
        (["digits", "--set", "data.until=2026-01-01"], "needs a time column"),
        (["digits", "--set", "data.until=2026-02-30"], "'2026-02-30' is not a YAML value"),
        (
            ["digits", "--set", "recipes=[{name: x, steps: [{kind: shrink}]}]"],
            "unknown compression method 'shrink'",
        ),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_code_2(
    slipway: Slipway, home: Path, arguments: list[str], sentence: str
) -> None:
    code, out, err = slipway("run", *arguments)
    assert code == 2 and out == "" and sentence in err
    assert err.startswith("slipway: ") and err.count("\n") == 1 and "Traceback" not in err
    assert not (home / "mlflow.db").exists()


def test_what_a_workload_prints_stays_off_the_stdout_of_json(slipway: Slipway, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        f"print('here I am')\n{WORKLOAD}\nworkload = replace(digits, name='loud')\n"
    )
    code, out, err = slipway("run", str(tmp_path / "loud.py"), "--json", "--set", "train.epoch=1")
    assert code == 2 and json.loads(out)["decision"] == "failed"
    assert "here I am" in err


def test_a_syntax_error_in_a_workload_is_named_with_its_line(slipway: Slipway, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import torch\nworkload = (\n")
    code, _, err = slipway("run", str(tmp_path / "mine.py"))
    assert code == 2 and "mine.py, line 2: '(' was never closed" in err


def test_with_json_a_failure_is_an_object_too(slipway: Slipway) -> None:
    code, out, err = slipway("run", "nowhere", "--json")
    failed = json.loads(out)
    assert (
        code == 2
        and failed["decision"] == "failed"
        and "nowhere" in failed["reasons"][0]
        and "nowhere" in err
    )


def test_a_home_that_cannot_be_written_is_said(
    slipway: Slipway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "file"))
    code, _, err = slipway("run", "digits")
    assert code == 2 and "cannot be written" in err


@pytest.mark.parametrize("command", ["history", "run"])
def test_an_unreachable_registry_is_said_at_once(
    slipway: Slipway, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code, _, err = slipway(command, "digits")
    assert code == 1 and "MLflow does not answer at http://127.0.0.1:9" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no database at all, " * 100, "is damaged ("),
        (b"SQLite format 3\x00" + b"\xff" * 5000, "is damaged ("),
    ],
    ids=["text", "torn"],
)
def test_a_damaged_database_is_a_sentence(slipway: Slipway, home: Path, content: bytes, said: str) -> None:
    home.mkdir()
    (home / "mlflow.db").write_bytes(content)
    code, _, err = slipway("history", "digits")
    assert code == 1 and said in err and "put a backup in its place" in err and err.count("\n") == 1


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_the_machine_lacks_is_a_sentence_and_with_json_an_object(
    slipway: Slipway, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("flows.cli.run.run_here", fail)
    code, out, err = slipway("run", "digits", "--json")
    assert code == 1 and json.loads(out)["reasons"][0] in err and "Traceback" not in err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prlimit") is None, reason="there is no prlimit here")
@pytest.mark.parametrize(
    ("megabytes", "says"),
    [
        (300, "The address space is limited to 300 MB"),
        (600, "and a command takes 640 MB"),
        (2000, "There is no model"),
    ],
)
def test_a_limit_of_address_space_is_a_sentence(
    home: Path, empty_mlflow_database: Path, megabytes: int, says: str
) -> None:
    home.mkdir()
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    command = ["prlimit", f"--as={megabytes << 20}", sys.executable, "-m", "flows.cli", "history", "digits"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.startswith("slipway: ") and says in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "said"), [("run", "goes on from the last checkpoint"), ("check", "stopped.")]
)
def test_ctrl_c_is_a_sentence_and_exit_code_130(
    slipway: Slipway, monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.settings.load_settings", interrupted)
    monkeypatch.setattr("flows.cli.run.load_settings", interrupted)
    code, out, err = slipway(command, "digits")
    assert code == 130 and out == "" and err.startswith("slipway: stopped") and said in err


def test_every_example_of_the_help_is_a_command_that_can_be_given() -> None:
    commands = dict(leaves(get_command(app)))
    del commands["serve"]
    for name, command in commands.items():
        typed = [re.split(" [<>]+ ", line)[0] for line in examples_in(command.epilog)]
        examples = [shlex.split(line)[1:] for line in typed]
        assert examples, name
        for words in examples:
            depth = len(name.split())
            assert " ".join(words[:depth]) == name
            command.make_context(name, words[depth:])


def leaves(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by the words that name it; `ledger accept` is one in a group."""
    for word, command in group.commands.items():
        name = f"{above}{word}"
        if hasattr(command, "commands"):
            yield from leaves(command, f"{name} ")
        else:
            yield name, command


@pytest.mark.slow
def test_a_locale_without_our_characters_gets_question_marks(tmp_path: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment |= {"PYTHONPATH": str(Path(cli.__file__).parent.parent), "SLIPWAY_HOME": str(tmp_path)}
    for words, said in ((["new", "churn.py"], b"churn.py: the workload churn."), (["settings"], b"Settings")):
        command = [sys.executable, "-m", "flows.cli", *words]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True)
        assert done.returncode == 0 and said in done.stdout, done.stderr
    assert "or R²" in (tmp_path / "churn.py").read_text("utf-8")


def test_the_servers_help_has_its_defaults_and_examples(slipway: Slipway) -> None:
    code, out, _ = slipway("serve", "--help")
    said = " ".join(out.split())
    assert code == 0 and "Port to listen on; 0 takes a free one. (default: 8080)" in said
    assert "default: home/keys/public.pem. (default" not in said
    for line in out.split("examples:")[1].partition("exit codes:")[0].strip().splitlines():
        _, command, *words = shlex.split(line)
        given = parser("slipway serve").parse_args(words)
        assert command == "serve" and (given.models or given.all)


def test_settings_of_a_workload_are_those_that_a_run_takes(slipway: Slipway) -> None:
    code, out, _ = slipway("settings", "digits", "--json")
    knobs = json.loads(out)
    assert code == 0 and [*knobs] == knob_names()
    assert knobs["gates.min_score"]["value"] == 0.96, "as mlflow.yaml has it"
    assert knobs["train.epochs"]["help"] == "Passes over the training rows, at most. (from 1, up to 10,000)"
    code, out, _ = slipway("settings", "digits")
    assert code == 0 and all(name in out for name in knob_names())


def test_every_command_explains_itself_and_its_exit_codes(slipway: Slipway) -> None:
    for name, command in leaves(get_command(app)):
        code, out, _ = slipway(*name.split(), "--help")
        said = " ".join(out.replace("│", " ").split())
        codes = said.lower().partition("exit codes: ")[2]
        assert code == 0 and f"slipway {name}" in said, name
        assert all(re.search(rf"\b{number} \w", codes) for number in EXIT_CODES), name
        ends = re.findall(r"Exit\((\d) if|else (\d)\)", inspect.getsource(command.callback.__wrapped__))
        assert all(f"{a or b} " in codes for a, b in ends), name


NO_JSON = {
    "serve": "prints one line of JSON as soon as it answers",
    "completion": "prints a script for a shell",
}


def test_every_command_prints_json_on_demand_or_has_a_reason_not_to() -> None:
    for name, command in leaves(get_command(app)):
        has = any("--json" in parameter.opts for parameter in command.params)
        assert has != (name in NO_JSON), name


def test_what_new_and_migrate_wrote_is_json_on_demand(slipway: Slipway, tmp_path: Path) -> None:
    path = tmp_path / "churn.py"
    _, out, _ = slipway("new", str(path), "--json")
    assert json.loads(out) == {"path": str(path), "workload": "churn", "like": "table"}
    path.write_text(path.read_text().replace("goal=", "kind="))
    code, out, _ = slipway("migrate", str(path), "--json")
    assert isinstance(json.loads(out), dict)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import tasks.training.trainer", ["prefect", "mlflow"]),
        ("import flows.cli.app", ["prefect", "torch", "mlflow", "pandas", "numpy"]),
        ("import tasks.promotion.history, flows.cli.views.outcome", ["torch", "prefect"]),
        ("import tasks.proof.evidence", ["torch", "prefect", "mlflow", "pandas"]),
        ("import infra.serving.processes.main", ["torch", "prefect"]),
        ("import tasks.config", ["numpy", "torch"]),
        ("from tasks.workloads import load_workload; load_workload('digits').load()", ["torch", "sklearn"]),
    ],
)
def test_imports_stay_as_light_as_promised(code: str, absent: list[str]) -> None:
    check = f"{code}\nimport sys\nprint([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_history_of_a_real_registry_loads_neither_mlflow_nor_torch(
    home: Path, empty_mlflow_database: Path, tmp_path: Path
) -> None:
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    registry = Registry(load_settings())
    version = promotions.register(registry, "digits", tmp_path / "scratch", 1.0)
    promote(registry, version, against=None, why="it is better than none", who="ada")
    check = (
        "import sys\nfrom flows.cli import __main__ as cli\nsys.argv = ['slipway', 'history', 'digits']\n"
        "try:\n    cli.main()\nexcept SystemExit as ended:\n    print(ended.code, 'mlflow' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, env=os.environ.copy()
    )
    *shown, loaded = done.stdout.splitlines()
    assert loaded == "0 False False", done.stderr
    assert shown[0] == "digits: champion is version 1"
    assert re.search(r"promote +– +1 +ada .* pass +it is better than none", shown[-1])


def test_what_libraries_say_is_shown_to_who_asks_for_it() -> None:
    code = (
        "import logging, sys, warnings\nfrom flows.cli import __main__ as cli\nsys.argv = ['slipway', '--version']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    print(logging.getLogger().level, warnings.filters[0][0])"
    )
    for debug, said in (("", f"{logging.WARNING} ignore"), ("1", f"{logging.DEBUG} default")):
        environment = {**os.environ, "SLIPWAY_DEBUG": debug, "PYTHONWARNINGS": "default"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.stdout.splitlines()[1:] == [said], done.stderr


JSON_COMMANDS = [
    ["run", "nowhere"],
    ["run", "digits", "--bogus"],
    ["run"],
    ["check", "nowhere"],
    ["check", "digits", "--set", "train.epoch=1"],
    ["settings", "nowhere"],
    ["promote", "nothing", "1", "--reason", "x"],
    ["rollback", "nothing", "--reason", "x"],
    ["history", "nothing", "--at", "yesterday"],
    ["verify", "nothing"],
    ["monitor", "nothing"],
    ["explain", "nothing"],
    ["ledger", "accept", "nothing", "--reason", "x"],
    ["status"],
    ["no-such-command"],
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", JSON_COMMANDS, ids=" ".join)
def test_stdout_is_json_whenever_it_was_asked_for(slipway: Slipway, arguments: list[str]) -> None:
    code, out, err = slipway(*arguments, "--json")
    document = json.loads(out)
    assert code != 0 and isinstance(document, dict)
    if "error" in document:
        assert err and document["error"] and "\n" not in document["error"]


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [(KeyError("label"), 1, "KeyError: 'label'"), (KeyboardInterrupt(), 130, "KeyboardInterrupt")],
)
def test_a_bug_and_an_interruption_are_json_too(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: int,
    said: str,
) -> None:
    def failing(*_: object, **__: object) -> None:
        print("on my way")
        raise raised

    monkeypatch.setattr("flows.cli.run.run_here", failing)
    monkeypatch.setattr(sys, "argv", ["slipway", "run", "digits", "--json"])
    with pytest.raises((SystemExit, KeyError)) as ended:
        cli.main()
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["decision"] == "failed" and document["reasons"] == [said]
    assert "on my way" in err and getattr(ended.value, "code", 1) == code


@pytest.mark.slow
def test_what_compiled_code_and_a_workload_print_stays_off_the_stdout_of_json(
    tmp_path: Path, prefect_server: str
) -> None:
    """pytorch#41774: an exporter that prints a graph."""
    (tmp_path / "loud.py").write_text(
        f"import os\nprint('from Python')\nos.write(1, b'from below')\nos.system('echo from a child')\n{WORKLOAD}\n"
        "workload = replace(digits, name='loud', load=lambda: os.write(1, b'from load'))\n"
    )
    environment = {**os.environ, "SLIPWAY_HOME": str(tmp_path / "home"), "PREFECT_API_URL": prefect_server}
    for command in ("run", "check", "settings"):
        words = [sys.executable, "-m", "flows.cli", command, str(tmp_path / "loud.py"), "--json"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        json.loads(done.stdout)
        assert "from Python" in done.stderr and "from below" in done.stderr and "from a child" in done.stderr
