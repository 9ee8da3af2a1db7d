"""The `slipway` command, forked from a process that has imported everything: hundreds of mistakes and decisions without a second of imports each.

What a cold start needs is tested where imports are. `python warm.py ADDRESS` serves.
"""

import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

from checkout import BENCH, ROOT

from flows.cli.run import QUIETLY
from infra.platform.prefect import client_environment

_ASKS = """#!{python} -IS
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({address!r})
asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)])
socket.send_fds(server, [asked.encode()], [0, 1, 2])
code = int(server.recv(16))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@contextmanager
def warm(environment: dict[str, str]) -> Iterator[Path]:
    """The command, warm: a program that asks a process to fork and be it. No threads in that one, which its children would lack."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-"))  # short: an address has 108 characters at most
    address, program = str(folder / "socket"), folder / "slipway"
    program.write_text(_ASKS.format(python=sys.executable, address=address))
    program.chmod(0o700)
    path = os.pathsep.join(map(str, (ROOT, BENCH, Path(__file__).parent)))
    process = subprocess.Popen(
        [sys.executable, __file__, address],
        env={**environment, **quietly(), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        yield program
    finally:
        process.terminate()
        process.communicate()
        shutil.rmtree(folder)


def serve(address: str) -> None:
    """Fork for each that asks; what its process had imported is imported here before the next."""
    from retrainings import IMPORTED, import_all, measure_briefly, read_operators

    import_all([*IMPORTED])
    read_operators()
    measure_briefly()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(address)
    server.listen()
    print("ready", flush=True)
    while True:
        asking, _ = server.accept()
        asked, handles, _, _ = socket.recv_fds(asking, 1 << 20, 3)
        child = os.fork()
        if child == 0:
            server.close()
            asking.close()
            os._exit(
                command(handles, *json.loads(asked))
            )  # at its end it would wait for threads that it has not
        for handle in handles:
            os.close(handle)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with suppress(OSError):
            asking.send(str(code).encode())
        asking.close()


def command(handles: list[int], words: list[str], folder: str, environment: dict[str, str]) -> int:
    """What `slipway WORDS` does, in this process; its exit code."""
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    code = environment.get("PYTHONPATH", "").partition(os.pathsep)[0]
    if code and code != str(ROOT):
        take(code)
    sys.argv = ["slipway", *words]
    home = Path(environment.get("SLIPWAY_HOME", ".slipway")).absolute()
    with suppress(OSError):
        home.mkdir(mode=0o700, exist_ok=True)
    for name, value in (client_environment(home) | quietly()).items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a home that cannot be: the command says it
        import_module("prefect.context").refresh_global_settings_context()
    try:
        runpy.run_module("flows.cli", run_name="__main__")
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def take(code: str) -> None:
    """Another copy of this tree: what was imported of ours is forgotten, and what is others' stays."""
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("flows", "infra", "tasks"):
            del sys.modules[name]
    sys.path.insert(0, code)


def quietly() -> dict[str, str]:
    """What a command tells libraries before it imports them."""
    return {
        **QUIETLY,
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "slipway",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


if __name__ == "__main__":
    serve(sys.argv[1])
