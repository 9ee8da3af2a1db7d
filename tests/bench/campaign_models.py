"""A part of the campaign: model files made to do harm, through all that ever opens a model, and a server whose alias is moved to them."""

import asyncio
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hostile_models
import serving_models as models
from campaign import Case, Part, Tried, Try, Wrong
from mlflow_process import MlflowProcess
from serving_process import ServerProcess, move, publish, wait_for

CASES = 220
NAME = "digits"
LONGEST = 200
MEMORY = 6 << 30
"""Address space of whatever opens a file here: a machine that is used by others stays usable."""
SECONDS = 15
"""Instead of two minutes: a model that never ends would take the campaign that long, six times over."""
PATIENCE = f"""
import sys
if any(name in sys.orig_argv for name in ("infra.serving.processes.follower", "infra.serving.lifecycle.inspector")):
    import infra.serving.lifecycle.inspection as inspection
    inspection.SECONDS = {SECONDS}
"""
WAS_HERE = Path("/tmp/slipway-was-here")
BODY = {"inputs": {"x": [[0.5] * 64]}}


def one_sentence(said: str, of: str) -> str:
    """What is said to people. Wrong where it has several lines, what a terminal acts on, or no end."""
    if not said or len(said) > 1_200 or any(ord(letter) < 32 or ord(letter) == 127 for letter in said):
        raise Wrong(f"{of} says no plain sentence: {said[:300]!r}")
    return said


def sign(folder: Path) -> None:
    """As whoever has the key can, whatever the file is."""
    from tasks.proof.evidence import EVIDENCE
    from tasks.system.signing import private_key, sign_folder

    evidence = models.evidence_of(folder, NAME)
    (folder / EVIDENCE).write_bytes(evidence.model_dump_json().encode())
    sign_folder(folder, private_key())


class Served:
    """A server that follows an alias, and what it is that serves."""

    def __init__(self, scratch: Path) -> None:
        self.registry = MlflowProcess(scratch).start()
        self.uri = self.registry.url
        self.home = scratch / "home"
        try:
            self.server = self._serve(scratch)
        except BaseException:
            self.registry.kill()
            raise
        self.pids = self._pids()

    def _serve(self, scratch: Path) -> ServerProcess:
        os.environ["SLIPWAY_HOME"] = str(self.home)
        self.sound = hostile_models.sound(scratch / "sound")
        good = shutil.copytree(self.sound, scratch / "good")
        models.seal(good, NAME)
        self.good = publish(self.uri, NAME, good, ["champion"])
        options: dict[str, Any] = {"tracking_uri": self.uri, "poll": 0.1, "log_level": "error", "watch": 0}
        (scratch / "ahead").mkdir()
        (scratch / "ahead" / "sitecustomize.py").write_text(PATIENCE)
        return ServerProcess(f"{NAME}@champion", home=self.home, ahead=scratch / "ahead", **options)

    def _pids(self) -> list[int]:
        return self.server.children("infra.serving.processes.worker") + self.server.children(
            "infra.serving.processes.follower"
        )

    def offer(self, folder: Path) -> str:
        """What the server says of the version, which was registered with a permit and named by the alias; nothing where it serves it."""
        version = publish(self.uri, NAME, folder, ["champion"])

        def came() -> str | None:
            about = self.server.get("/health").json["models"][NAME]
            if about["version"] == version:
                return "it serves"
            refused = about["refused"]
            return refused["reason"] if refused and refused["version"] == version else None

        try:
            said = wait_for(came, LONGEST, 0.05)
            answer = self.server.post("/invocations", BODY)
        finally:
            move(self.uri, NAME, "champion", self.good)
        wait_for(lambda: self.server.post("/invocations", BODY).version == self.good)
        if answer.status >= 500:
            raise Wrong(f"a request is answered {answer.status} once the server was offered the file")
        if said != "it serves" and (answer.status, answer.version) != (200, self.good):
            raise Wrong(f"the good version answers {answer.status} as {answer.version} beside it")
        if self._pids() != self.pids:
            self.pids = self._pids()
            raise Wrong("a process of the server died of it")
        return "" if said == "it serves" else one_sentence(said, "/health")

    def megabytes(self) -> float:
        lines = [Path(f"/proc/{pid}/status").read_text().splitlines() for pid in self.pids]
        return sum(int(line.split()[1]) for each in lines for line in each if line.startswith("VmRSS")) / 1024

    def close(self) -> None:
        self.server.stop()
        self.registry.kill()


@contextmanager
def open_models(scratch: Path) -> Iterator[Try]:
    from infra.serving.lifecycle import inspection
    from tasks.proof import probe

    logging.disable(logging.WARNING)
    inspection.SECONDS, probe._SECONDS = SECONDS, float(SECONDS)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    served = Served(scratch)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    try:
        yield lambda case: attempt(case, served, scratch)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        served.close()


def attempt(case: Case, served: Served, scratch: Path) -> Tried:
    names = list(hostile_models.HARMS)
    name = names[case.number % len(names)]
    harm, folder = hostile_models.HARMS[name], scratch / "hostile"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(served.sound, folder)
    harm.change(folder, case.dice)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    try:
        said = inspected(folder)
        if said is None and not harm.odd:
            raise Wrong("the inspector lets it pass")
        if harm.whole:
            probed(folder / "model.onnx", scratch)
            unproved(folder, served.sound)
            sign(folder)
            serves = served.offer(folder) == ""
        else:
            serves = started(folder, scratch)
        if serves and (said is not None or not harm.odd):
            raise Wrong(f"it serves, and the inspector says {said!r}")
        if WAS_HERE.exists():
            WAS_HERE.unlink()
            raise Wrong("code in it was run")
    except Wrong as error:
        raise Wrong(f"{name}: {error}") from None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    figures = {"server MB": served.megabytes()} | (
        {"largest helper MB": peak / 1024} if peak > before else {}
    )
    return Tried("serves, and does what any model may" if serves else "refused in a sentence", 1, figures)


def inspected(folder: Path) -> str | None:
    """Why the server's own inspection refuses it."""
    from infra.serving.lifecycle.inspection import InspectionRequest, inspect

    result = asyncio.run(inspect(InspectionRequest(folder=folder, model=NAME)))
    return None if result.refused is None else one_sentence(result.refused, "the inspector")


def probed(path: Path, scratch: Path) -> None:
    """The pipeline's probe comes to an end, and says why where it does not run it."""
    import numpy as np

    from tasks.errors import LostError
    from tasks.proof.probe import probe

    (scratch / "test").mkdir(exist_ok=True)
    np.save(scratch / "test" / "x.npy", np.zeros((2, 64), np.float32))
    dataset: Any = SimpleNamespace(folder=scratch, inputs=[SimpleNamespace(name="x")])
    try:
        said = probe(path, dataset, "test", 2).problem
    except LostError as error:
        said = str(error)
    if said is not None:
        one_sentence(said, "the probe")


def unproved(folder: Path, sound: Path) -> None:
    """What was signed with other bytes in it, or not at all, does not pass for proved."""
    from tasks.proof.evidence import verify
    from tasks.system.signing import EvidenceError

    signed = folder.with_name("signed")
    shutil.rmtree(signed, ignore_errors=True)
    shutil.copytree(sound, signed)
    models.seal(signed, NAME)
    same = all((signed / n).read_bytes() == (folder / n).read_bytes() for n in os.listdir(sound))
    for each in os.listdir(folder):
        shutil.copy(folder / each, signed / each)
    for unfit in (folder, *(() if same else (signed,))):
        try:
            verify(unfit, model=NAME)
        except EvidenceError as error:
            one_sentence(str(error), "verify")
        else:
            raise Wrong("it passes for proved")


def started(folder: Path, scratch: Path) -> bool:
    """Whether a server that is given the folder itself serves it; it ends with a sentence otherwise."""
    words = [
        sys.executable,
        "-m",
        "infra.serving",
        f"{NAME}={folder}",
        "--port=0",
        f"--home={scratch / 'own'}",
    ]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
    )
    last = (done.stderr.strip().splitlines() or [""])[-1]
    if done.returncode == 0 or "Traceback" in done.stderr:
        raise Wrong(f"`serve` of the folder ends with {done.returncode}: {done.stderr[-500:]}")
    one_sentence(last, "serve")
    return bool(json.loads(done.stdout)) if done.stdout else False


PARTS = (
    Part(
        "models", f"{CASES} model files of {len(hostile_models.HARMS)} hostile kinds, through inspection, probe, verification and a server",
        CASES, open_models, alone=True,
    ),
)  # fmt: skip
