"""What keeps the platform's processes running, with small processes in place of the servers."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from checkout import ROOT

from infra.platform.services import Service, ServiceGroup
from tasks.errors import StepError
from tasks.system.processes import MARK, start_tied
from tasks.system.urls import answers


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def page(name: str, *after: str) -> Service:
    """A web server of the standard library on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    return Service(
        name, ("http.server", "--bind", "127.0.0.1", port), f"http://127.0.0.1:{port}/", after=after
    )


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Callable[..., ServiceGroup]]:
    made: list[ServiceGroup] = []

    def start(*services: Service) -> ServiceGroup:
        made.append(ServiceGroup(services, tmp_path / "logs", {"PYTHONPATH": str(ROOT)}))
        return made[-1]

    yield start
    for group in made:
        group.stop(10)


@pytest.mark.parametrize(("keys", "told"), [(True, "a word"), (False, None)])
def test_a_server_that_neither_signs_nor_checks_is_told_of_no_key(
    keys: bool, told: str | None, keep: Callable[..., ServiceGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_KEY_PASSPHRASE", "a word")
    group = keep(replace(page("server"), keys=keys))
    group.start()
    (server,) = group.kept
    assert psutil.Process(server.pid).environ().get("SLIPWAY_KEY_PASSPHRASE") == told


@pytest.mark.slow
def test_a_service_starts_when_what_it_needs_is_up_and_again_when_it_dies(
    keep: Callable[..., ServiceGroup],
) -> None:
    group = keep(page("second", "first"), page("first"))
    told: list[str] = []
    group.start(told.append)
    assert told == ["first", "second"]
    second, first = group.kept
    assert first.since < second.since and not group.revive()

    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    until(group.revive)
    until(lambda: answers(first.service.health))
    assert (first.restarts, second.restarts) == (1, 0)

    pids = [kept.pid for kept in group.kept]
    group.stop(10)
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)


def test_what_does_not_start_is_said_with_the_end_of_its_log(keep: Callable[..., ServiceGroup]) -> None:
    group = keep(Service("page", ("http.server", "no-port"), "http://127.0.0.1:9/"))
    with pytest.raises(StepError, match=r"page ended with code 2; the end of .*page\.log:\n(.*\n)*.*no-port"):
        group.start()


@pytest.mark.slow
def test_what_dies_at_once_is_started_again_later_each_time(
    keep: Callable[..., ServiceGroup], caplog: pytest.LogCaptureFixture
) -> None:
    service = page("brief")
    group = keep(service)
    group.start()
    brief = group.kept[0]
    brief.service = Service("brief", ("this",), service.health)
    assert brief.process is not None
    brief.process.kill()
    with caplog.at_level(logging.WARNING):
        until(lambda: group.revive() and brief.restarts == 2)
    assert [record.args[2] for record in caplog.records if isinstance(record.args, tuple)] == [1.0, 2.0]


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], psutil.Process]:
    """A module `parent` that starts a child and waits; the child, once it runs."""
    (tmp_path / "parent.py").write_text(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid) + ' ')\ntime.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")

    def child() -> psutil.Process:
        pid = tmp_path / "pid"
        until(lambda: pid.is_file() and pid.read_text().endswith(" "))
        return psutil.Process(int(pid.read_text()))

    return child


@pytest.mark.slow
def test_what_is_on_a_leash_ends_with_its_children_when_its_holder_is_killed(
    parent: Callable[[], psutil.Process],
) -> None:
    """The holder is killed with SIGKILL, so nothing but the kernel can say so."""
    code = "import time; from tasks.system.processes import MARK, start_tied; start_tied(('parent',)); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", code])
    child = parent()
    on_leash = psutil.Process(child.ppid())
    holder.kill()
    holder.wait()
    assert psutil.wait_procs([child, on_leash], timeout=60)[1] == []


@pytest.mark.slow
def test_what_a_killed_service_left_behind_ends_with_the_others(
    parent: Callable[[], psutil.Process], tmp_path: Path
) -> None:
    group = ServiceGroup([Service("parent", ("parent",), "http://127.0.0.1:9/")], tmp_path / "logs", {})
    group.kept[0].start({MARK: group.mark})
    child = parent()
    on_leash = psutil.Process(child.ppid())
    on_leash.kill()
    group.stop(10)
    assert psutil.wait_procs([child], timeout=60)[1] == []


def test_a_module_on_a_leash_ends_by_itself_with_its_own_code() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = start_tied(("http.server", "no-port"), env=environment, stderr=subprocess.DEVNULL)
    assert process.wait(120) == 2 and process.stdin is not None
    process.stdin.close()
