"""A rollout on real servers of one registry: what its record lets answer, what they report, and that one's finding is everybody's."""

import gzip
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import serving_models as models
from registered import BODY, ROW, Registered, Rollout
from registry_door import RegistryDoor
from serving_process import Answer, ServerProcess, wait_for

from tasks.rollout.counts import Counts
from tasks.rollout.policy import Margins
from tasks.system.signing import private_key, public_key
from tasks.traffic.labels import labels_of, read_labels

pytestmark = pytest.mark.slow  # every test starts servers


class Fleet:
    """Two servers, each with a cache of its own, and a champion whose next version fails some rows."""

    def __init__(self, registered: Registered, home: Path, stack: ExitStack) -> None:
        self.registered = registered
        self.homes = [home / "one", home / "two"]
        self.stack = stack
        self.old = registered.add(models.mlp(seed=1), "champion")
        self.new = registered.add(models.breaks_on_large(seed=1), "challenger")
        margin = Margins(slower=9)  # it has a few nodes more, which in microseconds are many
        self.rollout = Rollout(registered, self.old, self.new, key="x-user-id", margin=margin)
        self.servers = [self.serve(home) for home in self.homes]

    def serve(self, home: Path, **options: Any) -> ServerProcess:
        given = {"public_key": public_key(), **options}
        return self.stack.enter_context(self.registered.serve(home, **given))

    def answering(self, server: ServerProcess) -> Any:
        """The share that the new version has there, None where it has no lane."""
        stands = self.rollout.stands(server)
        return stands["weight"] if stands.get("answering") else None

    def all_at(self, weight: float | None, patience: float = 120) -> None:
        wait_for(lambda: [self.answering(server) for server in self.servers] == [weight] * 2, patience)

    def ask(self, server: ServerProcess, user: str, first: float = 0.0) -> Answer:
        """One row, whose first number decides whether the new version fails."""
        row = ROW.copy()
        row[0, 0] = first
        return server.post("/invocations", {"inputs": {"x": row.tolist()}}, {"X-User-Id": user})

    def by(self, server: ServerProcess, users: int = 60) -> list[str | None]:
        return [self.ask(server, f"user-{number}").version for number in range(users)]


@pytest.fixture
def fleet(mlflow_server: str, home: Path, tmp_path: Path) -> Iterator[Fleet]:
    private_key()
    public_key()
    with ExitStack() as stack:
        yield Fleet(Registered(mlflow_server, tmp_path / "models", sealed=True), home, stack)


def lines(home: Path, name: str, pattern: str) -> list[Any]:
    return [
        json.loads(line)
        for path in sorted((home / "traffic" / name).rglob(pattern))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


def test_keys_have_their_lane_on_every_server_and_what_one_finds_takes_the_version_from_all(
    fleet: Fleet,
) -> None:
    one, two = fleet.servers
    rollout, old, new = fleet.rollout, fleet.old, fleet.new
    fleet.rollout.write()
    fleet.all_at(0.0)
    assert fleet.by(one) == [old] * 60, "in shadow it answers nobody"
    wait_for(lambda: rollout.stands(one)["counts"]["pairs"] > 0)  # they are made a little later
    assert rollout.stands(one)["counts"]["requests"] == 0
    rollout.write(step=1, weight=0.5)
    fleet.all_at(0.5)
    shared = fleet.by(one)
    assert {old, new} == set(shared) and shared == fleet.by(two)
    pinned = {
        version: one.post(f"/v2/models/{fleet.registered.name}/versions/{version}/infer", infer()).version
        for version in (old, new)
    }
    assert pinned == {old: old, new: new}, "either can be asked for"
    fleet.registered.move(new)  # by hand: the alias names what is being rolled out
    rollout.write("[]")
    wait_for(lambda: rollout.stands(two)["why"])
    assert fleet.by(two) == shared, "what nobody signed changes nothing, and nor does a hand"
    newest = rollout.record
    rollout.write(weight=0.9, sequence=newest.sequence - 1)
    wait_for(lambda: "older" in (rollout.stands(two)["why"] or ""))
    assert fleet.by(two) == shared
    rollout.record = newest
    rollout.write()
    wait_for(lambda: {stands["why"] for stands in map(rollout.stands, fleet.servers)} == {None})
    statuses = set()
    for number in range(300):
        statuses.add(fleet.ask(one, f"user-{number}", first=5.0 if number % 10 == 0 else 0.0).status)
        if fleet.answering(one) is None:
            break
    assert statuses == {200}, "what it fails the champion answers"
    fleet.all_at(None, patience=2)
    note = json.loads(wait_for(lambda: fleet.registered.tags(new).get("slipway.reverted")))
    assert note["rollout"] == rollout.run and note["back_to"] == old
    counts = Counts.model_validate(note["counts"])
    assert counts.rescued + counts.failed >= 3
    assert fleet.by(one) == fleet.by(two) == [old] * 60
    assert fleet.registered.client.get_registered_model(fleet.registered.name).aliases == {
        "challenger": new,
        "champion": new,
    }, "no server moves an alias"


def infer() -> dict[str, Any]:
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": ROW.reshape(-1).tolist()}
    return {"inputs": [tensor]}


def test_counts_only_grow_a_restart_waits_for_the_registry_and_labels_find_their_rows(fleet: Fleet) -> None:
    one, two = fleet.servers
    name, rollout = fleet.registered.name, fleet.rollout
    rollout.write(weight=0.5)
    fleet.all_at(0.5)
    shared = fleet.by(one)
    first = wait_for(lambda: (found := rollout.reports()) and len(found) == 2 and found)
    assert {report.sequence for report in first.values()} == {rollout.record.sequence}
    (worker,) = one.children("infra.serving.processes.worker")
    two.stop()
    with RegistryDoor(fleet.registered.uri) as door:
        away = fleet.serve(fleet.homes[1], tracking_uri=door.uri, poll=4)
        assert fleet.by(away) == [fleet.old] * 60, "without the registry it does not know that it may"
        seen: list[Any] = []
        door.is_open = True
        wait_for(lambda: seen.append(fleet.answering(away)) or seen[-1] is not None)  # type: ignore[func-returns-value]
        assert door.looks <= 2 and seen[-1] == 0.5, "and is right when it has looked again"
        assert set(seen[:-1]) <= {None} and fleet.by(away) == shared
        away.stop()
    fleet.servers[1] = two = fleet.serve(fleet.homes[1])
    fleet.all_at(0.5)
    later = wait_for(lambda: len(found := rollout.reports()) >= 3 and found)
    summed = [sum((report.counts for report in found.values()), Counts()) for found in (first, later)]
    assert all(getattr(summed[1], field) >= getattr(summed[0], field) for field in Counts.model_fields)
    assert any(f"-{worker}-" in process for process in later)
    answer = one.post("/invocations", BODY, {"X-Request-Id": "order-7"})
    assert answer.headers["x-request-id"] == "order-7"
    path = f"/v2/models/{name}/labels"
    said = one.post(path, {"labels": [{"id": "order-7", "label": 3, "at": "2026-11-27T10:00:00Z"}]})
    assert (said.status, said.json) == (202, {"accepted": 1})
    (label,) = read_labels(labels_of(fleet.homes[0], name))
    assert (label.id, label.row, label.label) == ("order-7", 0, "3")
    bad = one.post(path, {"labels": [{"id": "a", "label": 1}, {"id": "b", "row": -1, "label": 1}]})
    assert bad.status == 422 and "label 1: row is -1" in bad.json["error"]
    assert one.post("/invocations", BODY).version in (fleet.old, fleet.new)
    one.stop()
    counted = [line for line in lines(fleet.homes[0], name, "*.pairs.jsonl.gz") if "pairs" in line]
    assert sum(line["pairs"] for line in counted) >= 10 and {line["rollout"] for line in counted} == {
        rollout.run
    }
