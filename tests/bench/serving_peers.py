"""What people serve ONNX models with otherwise, each in its usual way, in an environment of its own where it needs one."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".slipway" / "bench"

SESSION = """
import os
import numpy as np, onnxruntime as ort, orjson
options = ort.SessionOptions(); options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
dtype = "float32" if entry.type == "tensor(float)" else "int64"
def predict(rows):
    return session.run(None, {entry.name: np.asarray(rows, dtype)})[0]
"""
FASTAPI = (
    SESSION
    + """
from fastapi import FastAPI, Request, Response
app = FastAPI()
@app.post("/invocations")
async def invocations(request: Request):
    rows = orjson.loads(await request.body())["inputs"][entry.name]
    return Response(orjson.dumps({"predictions": predict(rows)}, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
"""
)
NOTHING = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            await send({"type": (await receive())["type"] + ".complete"})
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
"""
LITSERVE = (
    SESSION.replace("session = ", "def open_session(): return ").replace(
        "entry =", "session = open_session(); entry ="
    )
    + """
import litserve as ls
class Api(ls.LitAPI):
    def setup(self, device): pass
    def decode_request(self, request): return request["inputs"][entry.name][0]
    def batch(self, inputs): return np.asarray(inputs, dtype)
    def predict(self, rows): return predict(rows)
    def unbatch(self, output): return list(output)
    def encode_response(self, output): return {"predictions": [output.tolist()]}
if __name__ == "__main__":
    api = Api(max_batch_size=64, batch_timeout=0.001, api_path="/invocations")
    ls.LitServer(api, accelerator="cpu").run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False, log_level="error")
"""
)
BENTO = (
    SESSION
    + """
import bentoml
@bentoml.service(workers=1, traffic={"timeout": 60})
class Api:
    @bentoml.api(route="/invocations")
    def invocations(self, inputs: dict) -> dict:
        return {"predictions": predict(inputs[entry.name]).tolist()}
"""
)
COGLET = """
import os
import coglet
coglet.server.serve("predictor.py:Predictor", host="127.0.0.1", port=int(os.environ["PORT"]))
"""
PREDICTOR = (
    SESSION
    + """
from cog import BasePredictor
class Predictor(BasePredictor):
    async def predict(self, {name}: list) -> list:
        return predict({name}).tolist()
"""
)


class Peer:
    """A server in a process tree of its own; `field` is where it has the rows in a body."""

    field = "inputs"

    def __init__(
        self, name: str, command: list[str], port: int, path: str = "/invocations", **environment: str
    ) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}{path}"
        log = (HOME / f"{name.replace(' ', '-')}.log").open("wb")
        path = f"{Path(command[0]).parent}:{os.environ['PATH']}"
        every = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PORT": str(port), **environment}
        self.process = subprocess.Popen(command, env=every, stdout=log, stderr=log, cwd=HOME)

    def asked(self, body: bytes) -> bytes:
        """What we are asked, as this one is asked it."""
        return body.replace(b'"inputs"', b'"%b"' % self.field.encode(), 1)

    def wait(self, body: bytes, headers: dict[str, str], patience: float = 120) -> bool:
        """Until it answers a prediction; False when it never does."""
        end = time.monotonic() + patience
        request = urllib.request.Request(self.url, self.asked(body), headers)
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return bool(answer.status == 200)
            except OSError:
                time.sleep(0.2)
        return False

    def signal(self, number: int) -> None:
        for each in tree(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(each, number)

    def stop(self) -> None:
        for child in tree(self.process.pid)[::-1]:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


@contextmanager
def halted(servers: Sequence[Peer]) -> Iterator[None]:
    """These do not run meanwhile: even an idle server wakes up now and then, at the cost of whoever is measured."""
    for server in servers:
        server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for server in servers:
            server.signal(signal.SIGCONT)


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    import psutil

    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int) -> float:
    """CPU time of a process tree, from /proc."""
    total = 0
    for each in tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def environment(name: str, *packages: str) -> Path:
    """The Python of an environment of its own, made on first use."""
    folder = HOME / "envs" / name
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "made").touch()
    return python


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def uvicorn(name: str, source: str, **given: Any) -> Peer:
    module = f"peer_{name}"
    (HOME / f"{module}.py").write_text(source)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", f"{module}:app", "--port", str(port)]
    return Peer(name, [*command, "--no-access-log", "--log-level", "error"], port, **given)


def script(name: str, source: str, packages: tuple[str, ...], *command: str, **given: str) -> Peer:
    python = environment(name, *packages)
    module = f"peer_{name}"
    (HOME / f"{module}.py").write_text(source)
    port = free_port()
    words = [word.format(module=module, port=port) for word in command]
    program = str(python.parent / words[0])
    return Peer(name, [program, *words[1:]], port, **given)


def peers(folder: Path, names: Sequence[str]) -> list[Peer]:
    """These peers, serving the ONNX file in a model folder; one that cannot be installed is left out, and said so."""
    model = {"MODEL": str(folder / "model.onnx")}
    basics = ("onnxruntime", "numpy", "orjson")
    bento = ("bentoml", "serve", "{module}:Api", "--host", "127.0.0.1", "--port", "{port}")
    makers: dict[str, Callable[[], Peer]] = {
        "mlflow": lambda: mlflow(folder),
        "fastapi": lambda: uvicorn("fastapi", FASTAPI, **model),
        "nothing": lambda: uvicorn("nothing", NOTHING),
        "litserve": lambda: script(
            "litserve", LITSERVE, ("litserve", *basics), "python", "{module}.py", **model
        ),
        "bentoml": lambda: script("bentoml", BENTO, ("bentoml", *basics), *bento, **model),
        "coglet": lambda: coglet(folder, basics, model),
    }
    found = []
    for name, make in makers.items():
        if name in names:
            try:
                found.append(make())
            except (OSError, subprocess.SubprocessError) as error:
                print(f"{name} is left out: {error}", flush=True)
    return found


def mlflow(folder: Path) -> Peer:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "-m", str(folder)]
    return Peer("mlflow", [*command, "-h", "127.0.0.1", "-p", str(port)], port)


def coglet(folder: Path, basics: tuple[str, ...], model: dict[str, str]) -> Peer:
    """Replicate's server: HTTP in Rust, and a process of Python that is asked over a socket. It refuses what is more than it may do at once."""
    (HOME / "predictor.py").write_text(PREDICTOR.replace("{name}", folder.name))
    packages = ("coglet", "cog", *basics)
    peer = script(
        "coglet",
        COGLET,
        packages,
        "python",
        "{module}.py",
        COG_MAX_CONCURRENCY="128",
        COG_LOG_LEVEL="error",
        **model,
    )
    peer.url, peer.field = peer.url.replace("/invocations", "/predictions"), "input"
    return peer
