"""A rollout on real servers: what it costs a request, and what happens to clients when a version, a process or the registry fails.

`bench_rollout_live.py [routing] [cost] [fleet] [away] [killed] [--before CHECKOUT]`: all of them, or those named; `before`: a checkout
without rollouts, whose cost is the measure.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bench_serving
import serving_models as models
from figures import listed, published
from serving_peers import HOME, Peer, free_port, halted
from serving_process import ServerProcess, wait_for

sys.path.append(str(Path(__file__).parents[1] / "support"))

from mlflow_process import MlflowProcess
from registered import ROW, Registered, Rollout
from registry_door import RegistryDoor

from infra.serving.models.lanes import Lane
from tasks.registry.tags import REVERTED_TAG
from tasks.rollout.counts import Counts
from tasks.rollout.policy import Margins
from tasks.rollout.record import RolloutRecord
from tasks.system.signing import private_key, public_key

BODY, JSON = bench_serving.body_of(bench_serving.WORKS[0])

WIDE = Margins(slower=9)
"""For versions that are equal but for a few nodes, which in microseconds are many."""

ROUNDS, AWAY_SECONDS = 15, 300


SHOWN: dict[str, object] = {}


def show(what: str, value: object) -> None:
    """As it comes, and in the table at the end."""
    print(f"{what:64}{value}", file=sys.stderr, flush=True)
    SHOWN[what] = value


def ratio(first: list[float], second: list[float]) -> str:
    ratios = sorted(b / a for a, b in zip(first, second, strict=True))
    return f"{statistics.median(ratios):.4f} (quartiles {ratios[len(ratios) // 4]:.4f} to {ratios[3 * len(ratios) // 4]:.4f})"


class Place:
    """A registry, a home for keys, and servers that end with the run."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.folder = HOME / "rollout"
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "home").mkdir(parents=True)
        os.environ["SLIPWAY_HOME"] = str(self.folder / "home")
        private_key()
        self.key = public_key()
        self.stack = stack
        self.registry = stack.enter_context(MlflowProcess(self.folder))
        self.uri = self.registry.url

    def rollout(self, old: Any, new: Any, **record: Any) -> tuple[Registered, Rollout]:
        registered = Registered(self.uri, self.folder / f"models-{time.time_ns()}", sealed=True)
        versions = registered.add(old, "champion"), registered.add(new, "challenger")
        return registered, Rollout(registered, *versions, key="x-user-id", margin=WIDE, **record)

    def serve(self, registered: Registered, name: str, **options: Any) -> ServerProcess:
        given = {"public_key": self.key, "log_level": "error", "poll": 0.5, **options}
        return self.stack.enter_context(registered.serve(self.folder / name, **given))


def weight_at(rollout: Rollout, server: ServerProcess) -> float | None:
    stands = rollout.stands(server)
    return stands["weight"] if stands.get("answering") else None


def cost(place: Place, before: Path | None) -> None:
    """CPU microseconds a request, by turns in one run: a turn of each, and the ratio of the two in each round."""
    script = bench_serving.lua(BODY, JSON, alike=True)
    registered, rollout = place.rollout(models.mlp(seed=1), models.mlp(seed=1))
    server = place.serve(registered, "cost")
    ours: Any = SimpleNamespace(process=server.process, url=f"{server.url}/invocations")
    used: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS + 1):
        for opened in (False, True):
            rollout.write(open=opened, step=2, weight=0.1)
            wait_for(lambda opened=opened: weight_at(rollout, server) == (0.1 if opened else None))
            turn = bench_serving.wrk(ours, 64, script, 2)
            assert not turn["bad"]
            if number:
                used[opened].append(turn["cpu_us"])
    show("CPU a request, no rollout, microseconds", round(statistics.median(used[False]), 2))
    show("CPU a request, a rollout at 10% with pairs: ratio", ratio(used[False], used[True]))
    server.stop()
    if before is not None:
        without(place, before, script)


def without(place: Place, before: Path, script: Path) -> None:
    """This checkout, which has rollouts, against one that has none, both without any."""
    folder = models.save(place.folder / "cost-folder", models.mlp(), {"x": ROW.tolist()})
    (HOME / "keys").write_text("bench\n")
    peers = []
    for root in (before, bench_serving.ROOT):
        port = free_port()
        command = [sys.executable, "-m", "infra.serving", f"bench={folder}", "--port", str(port)]
        command += ["--home", str(place.folder / root.name), "--log-level", "error"]
        command += ["--keys-file", str(HOME / "keys")]
        peers.append(Peer(root.name, command, port, PYTHONPATH=str(root)))
        place.stack.callback(peers[-1].stop)
        assert peers[-1].wait(BODY, JSON | {"X-API-Key": "bench"})
    for ids in (False, True):
        script = bench_serving.lua(BODY, JSON, alike=not ids)
        used: list[list[float]] = [[], []]
        for number in range(ROUNDS + 1):
            for at, peer in enumerate(peers):
                with halted([peers[1 - at]]):
                    turn = bench_serving.wrk(peer, 64, script, 2)
                if number:
                    used[at].append(turn["cpu_us"])
        what = "an id each" if ids else "no ids"
        show(f"CPU a request, before, {what}, microseconds", round(statistics.median(used[0]), 2))
        show(f"CPU a request, without a rollout, {what}: ratio to before", ratio(*used))


def routing(place: Place, before: Path | None) -> None:
    """What choosing a lane takes, and how a million keys are shared."""
    record = RolloutRecord(
        model="m", run="r", old=1, new=2, old_sha256="", new_sha256="", salt="salt", step=0, weight=0.01, sequence=1, key="u"
    )  # fmt: skip
    queue = SimpleNamespace(loop=None, budget=None, max_wait=1.0, timeout=1.0)
    slot: Any = SimpleNamespace(name="m", batcher=queue)
    nobody: Any = SimpleNamespace(old=None)
    lanes = [Lane(slot, record, nobody, nobody) for _ in range(3)]
    keys = [b"user-%d" % number for number in range(1_000_000)]
    start = time.process_time()
    for key in keys:
        lanes[0].takes(key)
    show("choosing a lane, ns of CPU", round((time.process_time() - start) / len(keys) * 1e9))
    changes, last = [0] * len(keys), [False] * len(keys)
    for weight in (0.0, 0.01, 0.1, 0.5):
        seen = []
        for lane in lanes:
            lane.obey(record.model_copy(update={"weight": weight}))
            seen.append([lane.takes(key) for key in keys])
        assert seen[0] == seen[1] == seen[2]
        changes = [count + (a != b) for count, a, b in zip(changes, last, seen[0], strict=True)]
        last = seen[0]
        show(
            f"a million keys at {weight:.0%}",
            f"{sum(last) / len(keys):.4%}, most changes of a key {max(changes)}",
        )


class Load(threading.Thread):
    """One client of a server, asking as fast as it is answered, or so many times a second; what it was told is counted."""

    def __init__(self, server: ServerProcess, bad: float = 0.0, pause: float = 0.0) -> None:
        super().__init__(daemon=True)
        self.address, self.bad, self.pause = server.address, bad, pause
        self.statuses: Counter[object] = Counter()
        self.going = True

    def run(self) -> None:
        good, broken = ROW.copy(), ROW.copy()
        broken[0, 0] = 5.0
        bodies = [json.dumps({"inputs": {"x": row.tolist()}}) for row in (good, broken)]
        connection, dice = HTTPConnection(*self.address, timeout=30), random.Random(1)
        while self.going:
            headers = JSON | {"X-User-Id": f"user-{dice.randrange(10_000)}"}
            try:
                connection.request("POST", "/invocations", bodies[dice.random() < self.bad], headers)
                answer = connection.getresponse()
                answer.read()
                self.statuses[answer.status] += 1
            except OSError as error:
                self.statuses[type(error).__name__] += 1
                connection.close()
            time.sleep(self.pause)


@contextlib.contextmanager
def loaded(*loads: Load) -> Iterator[Counter[object]]:
    told: Counter[object] = Counter()
    for load in loads:
        load.start()
    yield told
    for load in loads:
        load.going = False
        load.join()
        told.update(load.statuses)


def fleet(place: Place, before: Path | None) -> None:
    """Two servers, and a version that fails 5% of the inputs."""
    registered, rollout = place.rollout(models.mlp(seed=1), models.breaks_on_large(seed=1))
    servers = [place.serve(registered, f"fleet-{number}") for number in range(2)]
    rollout.write(step=2, weight=0.1)
    wait_for(lambda: [weight_at(rollout, server) for server in servers] == [0.1, 0.1])
    with loaded(*[Load(server, bad=0.05, pause=0.01) for server in servers]) as told:
        wait_for(lambda: None in [weight_at(rollout, server) for server in servers], pause=0.005)
        found = time.monotonic()
        wait_for(lambda: [weight_at(rollout, server) for server in servers] == [None, None], pause=0.005)
        show("every server at weight 0 after the first finding, s", round(time.monotonic() - found, 2))
    show("a bad version at 10%: what clients were told", dict(told))
    aliases = registered.client.get_registered_model(registered.name).aliases
    show(
        "the alias",
        f"version {aliases['champion']}, as before: {aliases['champion'] == str(rollout.record.old)}",
    )
    note = wait_for(lambda: registered.tags(str(rollout.record.new)).get(REVERTED_TAG))
    show("the note on the version", json.loads(note)["reason"])


def away(place: Place, before: Path | None) -> None:
    """The registry stops at 10%, a bad version is found meanwhile, and the note is written when it is back, once."""
    registered, rollout = place.rollout(models.mlp(seed=1), models.breaks_on_large(seed=1))
    door = place.stack.enter_context(RegistryDoor(place.uri))
    door.is_open = True
    server = place.serve(registered, "away", tracking_uri=door.uri)
    rollout.write(step=2, weight=0.1)
    wait_for(lambda: weight_at(rollout, server) == 0.1)
    place.registry.send(signal.SIGSTOP)
    try:
        with loaded(Load(server, pause=0.01)) as told:
            time.sleep(AWAY_SECONDS)
        show(
            f"registry away for {AWAY_SECONDS} s at 10%: weight, and what clients were told",
            (weight_at(rollout, server), dict(told)),
        )
        with loaded(Load(server, bad=0.05)) as told:
            wait_for(lambda: weight_at(rollout, server) is None)
        show("a bad version found without the registry: what clients were told", dict(told))
    finally:
        place.registry.send(signal.SIGCONT)
    start = time.monotonic()
    note = wait_for(lambda: registered.tags(str(rollout.record.new)).get(REVERTED_TAG))
    show("its note is there after the registry's return, s", round(time.monotonic() - start, 1))
    sent = door.notes
    time.sleep(30)
    unchanged = registered.tags(str(rollout.record.new))[REVERTED_TAG] == note
    show("sent until then and in the next 30 s; unchanged", (sent, door.notes - sent, unchanged))


def killed(place: Place, before: Path | None) -> None:
    """A worker killed under load: counts never fall, and it comes back at its weight."""
    registered, rollout = place.rollout(models.mlp(seed=1), models.mlp(seed=1))
    server = place.serve(registered, "killed")
    rollout.write(step=2, weight=0.1)
    wait_for(lambda: weight_at(rollout, server) == 0.1)
    sums: list[Counts] = []
    with loaded(*[Load(server) for _ in range(4)]) as told:
        for _ in range(3):
            before_kill = len(rollout.reports())
            wait_for(lambda before_kill=before_kill: len(rollout.reports()) > before_kill)
            sums.append(sum((report.counts for report in rollout.reports().values()), Counts()))
            (worker,) = server.children("infra.serving.processes.worker")
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda: weight_at(rollout, server) == 0.1)
        time.sleep(12)
        sums.append(sum((report.counts for report in rollout.reports().values()), Counts()))
    show("three workers killed: pairs and requests reported", [(each.pairs, each.requests) for each in sums])
    show("three workers killed: what clients were told", dict(told))


PARTS: dict[str, Callable[[Place, Path | None], None]] = {
    "routing": routing,
    "cost": cost,
    "fleet": fleet,
    "away": away,
    "killed": killed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--before", type=Path)
    asked = parser.parse_args()
    with published("rollout live", "mlflow", "onnxruntime") as lines:
        with contextlib.ExitStack() as stack:
            place = Place(stack)
            for name in asked.parts or PARTS:
                PARTS[name](place, asked.before)
        lines += listed(SHOWN)


if __name__ == "__main__":
    main()
