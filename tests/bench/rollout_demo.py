"""`make rollout-demo`: three versions of the digits, one of them worse, before a real server that is asked and told the labels all the while.

The worse one is trained to be, and let through a gate that was opened for it; production finds it out and goes back. The good one is promoted.
All in a folder that is gone afterwards. Commands share one Prefect server and what they import: two cores have three minutes.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.append(str(Path(__file__).parents[1] / "support"))

from free_ports import free_port
from warm import warm

ROOT = Path(__file__).parent.parent.parent

POLICY = """models:
  digits:
    gates: {min_score: 0, margin: 0.9, slice_margin: 1}
    rollout:
      steps: [shadow, 20%]
      key: x-user-id
      margin: {errors: 0.02, slower: 2, tail: 0.1, score: 0.03}
      hold: {minutes: 0, requests: 50}
      horizon: 5s
"""
"""Wide margins and short times: a demonstration has minutes, production has days."""

VERSIONS = {1: (6, 0.002), 2: (1, 0.00002), 3: (8, 0.002)}
"""Epochs and learning rate; the second hardly learns."""

_LONGEST = 300


def slipway(program: Path, *words: str) -> str:
    """The command, as a person gives it."""
    shown = f"$ slipway {' '.join(words)}"
    print(f"\n{shown}", flush=True)
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"{shown}\n{done.stdout}{done.stderr}")
    return done.stdout


def train(program: Path, number: int) -> None:
    epochs, rate = VERSIONS[number]
    knobs = [f"train.epochs={epochs}", f"train.lr={rate}", "recipes=[]"]
    words = [word for knob in knobs for word in ("--set", knob)]
    outcome = json.loads(slipway(program, "run", "digits", *words, "--json"))
    print(
        f"  version {outcome['version']}: score {outcome['score']:.3f} on the test split, {outcome['decision']}"
    )


@contextlib.contextmanager
def server(port: int) -> Iterator[None]:
    words = ["-m", "infra.serving", "digits@champion", "--port", str(port), "--poll", "0.5"]
    with open("server.log", "wb") as log:
        process = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while not _answers(f"http://127.0.0.1:{port}/ready"):
            if time.monotonic() > end or process.poll() is not None:
                sys.exit(Path("server.log").read_text())
            time.sleep(0.2)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


class Clients(threading.Thread):
    """Users that ask about digits, one after the other, and tell the labels a moment later."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.url, self.ending = f"http://127.0.0.1:{port}/v2/models/digits", threading.Event()
        self.asked = self.failed = 0

    def __enter__(self) -> "Clients":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.join()

    def run(self) -> None:
        from tasks.workloads.examples.digits import load_frame, to_inputs

        frame = load_frame()
        images, digits = to_inputs(frame)["image"], frame["label"].tolist()
        told: list[dict[str, Any]] = []
        while not self.ending.is_set():
            row = self.asked % len(digits)
            name = uuid4().hex
            tensor = {
                "name": "image",
                "datatype": "FP32",
                "shape": [1, 1, 8, 8],
                "data": images[row].ravel().tolist(),
            }
            self._post(
                "infer", {"inputs": [tensor]}, {"X-Request-Id": name, "X-User-Id": f"user-{row % 200}"}
            )
            told.append({"id": name, "row": 0, "label": str(digits[row])})
            self.asked += 1
            if len(told) == 100:
                self._post("labels", {"labels": told}, {})
                told = []
            time.sleep(0.004)

    def _post(self, what: str, body: dict[str, Any], headers: dict[str, str]) -> None:
        headers = {"Content-Type": "application/json", **headers}
        request = urllib.request.Request(f"{self.url}/{what}", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                answer.read()
        except OSError as error:
            self.failed += 1
            print(f"  a client got {error}", flush=True)


def roll(began: float) -> str:
    """Look until the rollout is over, as the platform does every minute; how it ended."""
    from tasks.promotion.rolling import advance
    from tasks.settings import load_settings

    settings, said = load_settings(), ""
    end = time.monotonic() + _LONGEST
    while time.monotonic() < end:
        standing = advance(settings, "digits")
        assert standing is not None
        made, pairs = standing.made, f"{standing.counts.pairs:,} pairs"
        if made is not None:
            print(
                f"  {time.monotonic() - began:4.0f} s  {made.action}, after {pairs}: {made.why}", flush=True
            )
            if standing.status == "ended":
                return made.action
        elif (waits := standing.decision.why.partition(":")[0]) != said:
            said = waits
            print(f"  {time.monotonic() - began:4.0f} s  {pairs}; {waits} …", flush=True)
        time.sleep(1)
    sys.exit(f"nothing was decided in {_LONGEST} s: {standing.decision.why}")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rollout-demo-") as scratch:
        os.chdir(scratch)
        Path("mlflow.yaml").write_text(POLICY)
        os.environ.update(
            SLIPWAY_HOME=str(Path(scratch) / "home"),
            PYTHONPATH=str(ROOT),
            PYTHONWARNINGS="ignore",
            MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
            TORCH_LOGS="-onnx",
        )
        for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
            os.environ.pop(name, None)
        print(f"mlflow.yaml:\n{POLICY}")
        with prefect(Path(scratch) / "home"), warm(dict(os.environ)) as program:
            ends, asked, failed = demonstrate(program, began)
        os.chdir(ROOT)
    used = os.times()
    print(
        f"{asked:,} requests, {failed} failed; {time.monotonic() - began:.0f} s in all, {sum(used[:4]):.0f} s of CPU"
    )
    if ends != ["abort", "promote"] or failed:
        sys.exit(f"expected an abort and a promotion, and no failed request: {ends}")


@contextlib.contextmanager
def prefect(home: Path) -> Iterator[None]:
    """The server that each `slipway run` would start for itself."""
    from flows.orchestration.embedded import EmbeddedServer

    server = EmbeddedServer(home)
    server.start()
    try:
        server.wait()
        yield
    finally:
        server.stop()


def demonstrate(program: Path, began: float) -> tuple[list[str], int, int]:
    """How each rollout ended, requests, and how many of them failed."""
    train(program, 1)
    port = free_port()
    with server(port), Clients(port) as clients:
        ends = []
        for number in (2, 3):
            train(program, number)
            ends.append(roll(began))
        print(slipway(program, "history", "digits"))
        print(slipway(program, "verify", "digits@champion", "--replay"))
    return ends, clients.asked, clients.failed


if __name__ == "__main__":
    main()
