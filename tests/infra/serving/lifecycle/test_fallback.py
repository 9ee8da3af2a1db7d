"""What serves when a version may not: real servers on a real MLflow, whoever moved the alias."""

import datetime
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import serving_models as models
from registered import AWAY, BODY, ROW, Registered, looked_again, serves
from serving_process import ServerProcess, wait_for

from tasks.proof.permit import PERMIT_TAG
from tasks.registry.tags import REVERTED_TAG
from tasks.system.signing import private_key, public_key

pytestmark = pytest.mark.slow  # every test starts servers


@pytest.fixture
def registered(mlflow_server: str, home: Path, tmp_path: Path) -> Registered:
    private_key()
    public_key()
    return Registered(mlflow_server, tmp_path / "models", sealed=True)


def said(server: ServerProcess, name: str, version: str) -> str:
    """Why a version is refused, as /ready says it."""

    def behind() -> Any:
        refusal = server.get("/ready").json["behind"].get(name)
        return refusal if refusal and refusal["version"] == version else None

    return str(wait_for(behind)["reason"])


def test_a_version_without_a_permit_is_not_served_whoever_moves_the_alias_and_is_as_soon_as_it_has_one(
    registered: Registered, home: Path
) -> None:
    first = registered.add(models.mlp(seed=1), "champion")
    unproved = registered.add(models.mlp(seed=2), "champion", permitted=False)
    server = registered.serve(home, ready=False)
    try:
        server.wait_listening()
        assert f"slipway promote {registered.name} {unproved}" in said(server, registered.name, unproved)
        assert (server.get("/ready").status, server.post("/invocations", BODY).status) == (503, 503)
        registered.move(first)
        server.wait_ready()
        registered.move(unproved)
        assert "it has no permit" in said(server, registered.name, unproved)
        assert server.get("/ready").status == 200 and serves(server, first)()
        registered.permit(unproved)
        wait_for(serves(server, unproved))
        assert server.get("/ready").json["behind"] == {}
    finally:
        server.stop()


def test_an_older_versions_files_and_permit_under_a_newer_number_are_not_served(
    registered: Registered, home: Path
) -> None:
    old = registered.add(models.mlp(seed=1), "champion")
    new = registered.add(models.mlp(seed=2), "champion")
    source = registered.client.get_model_version(registered.name, old)
    copied = registered.client.create_model_version(
        registered.name, source.source, source.run_id, dict(source.tags)
    )
    with registered.serve(home) as server:
        assert serves(server, new)()
        registered.move(copied.version)
        assert f"its permit is of {registered.name} version {old}" in said(
            server, registered.name, copied.version
        )
        registered.tag(copied.version, PERMIT_TAG, registered.permit(new))
        assert f"its permit is of {registered.name} version {new}" in wait_for(
            lambda: f"version {new} (" in (text := said(server, registered.name, copied.version)) and text
        )
        assert serves(server, new)()


def test_a_withdrawn_version_gives_way_to_the_one_before_and_deleting_that_brings_nothing_back(
    registered: Registered, home: Path
) -> None:
    first = registered.add(models.mlp(seed=1), "champion", "previous")
    second = registered.add(models.mlp(seed=2))
    with registered.serve(home) as server:
        registered.move(second)
        wait_for(serves(server, second))
        granted = registered.tags(second)[PERMIT_TAG]
        registered.withdraw(second)
        wait_for(serves(server, first))
        assert "may not serve: wrong sevens (ada" in said(server, registered.name, second)
        assert [event["kind"] for event in server.get("/status").json["events"]][0] == "revert"
        (follower,) = server.children("infra.serving.processes.follower")
        os.kill(follower, signal.SIGKILL)
        assert REVERTED_TAG not in registered.tags(second), "it is signed already"
        for tag in ({PERMIT_TAG: granted}, {}):  # an older one, and none at all
            registered.untag(second, PERMIT_TAG)
            for key, value in tag.items():
                registered.tag(second, key, value)
            looked_again(server, registered.name)
            assert serves(server, first)()
        (worker,) = server.children("infra.serving.processes.worker")
        os.kill(worker, signal.SIGKILL)
        assert serves(server, first)()
    with registered.serve(home, tracking_uri=AWAY) as server:
        assert serves(server, first)()
    with registered.serve(home) as server:
        looked_again(server, registered.name)
        assert serves(server, first)()
        registered.permit(second, serial=3)
        wait_for(serves(server, second))


def test_where_nothing_may_serve_nothing_does_and_ready_says_why(registered: Registered, home: Path) -> None:
    only = registered.add(models.mlp(seed=1), "champion")
    with registered.serve(home, workers=2) as server:
        assert serves(server, only)()
        registered.withdraw(only)
        wait_for(lambda: server.get("/ready").status == 503)
        assert "there is no version before it" in said(server, registered.name, only)
        wait_for(lambda: server.post("/invocations", BODY).status == 503)
    registered.untag(only, PERMIT_TAG)
    server = registered.serve(home, ready=False, tracking_uri=AWAY)
    try:
        server.wait_listening()
        assert "wrong sevens" in said(server, registered.name, only)
        assert server.get("/ready").status == 503
    finally:
        server.stop()
    registered.permit(only, serial=3)
    with registered.serve(home) as server:
        assert serves(server, only)()


def test_a_permit_that_is_deleted_from_a_version_that_serves_stops_nothing(
    registered: Registered, home: Path
) -> None:
    version = registered.add(models.mlp(seed=1), "champion")
    with registered.serve(home) as server:
        registered.untag(version, PERMIT_TAG)
        looked_again(server, registered.name)
        assert serves(server, version)()
    for uri, behind in ((AWAY, {registered.name}), (registered.uri, set())):
        with registered.serve(home, tracking_uri=uri) as server:
            assert serves(server, version)()
            wait_for(lambda: server.get("/ready").json["behind"].keys() == behind)  # noqa: B023


def test_what_a_server_went_back_from_all_others_go_back_from_and_new_ones_do_not_take(
    registered: Registered, home: Path, tmp_path: Path
) -> None:
    homes = [tmp_path / f"pod-{number}" for number in range(3)]
    good = registered.add(models.mlp(seed=1), "champion")
    bad = registered.add(models.breaks_on_large())
    large = ROW.copy()
    large[0, 0] = 5
    for each in homes:
        shutil.copytree(home / "keys", each / "keys")
    with registered.serve(homes[0]) as pod, registered.serve(homes[1]) as sibling:
        registered.move(bad)
        for server in (pod, sibling):
            wait_for(serves(server, bad))
        wait_for(
            lambda: pod.post("/invocations", {"inputs": {"x": large.tolist()}}) and serves(pod, good)(),
            pause=0,
        )
        wait_for(serves(sibling, good))
        assert "went back from it" in said(sibling, registered.name, bad)
        with registered.serve(homes[2]) as newcomer:
            assert serves(newcomer, good)()
            assert "went back from it" in said(newcomer, registered.name, bad)
            registered.permit(bad, serial=2)
            for server in (pod, sibling, newcomer):
                wait_for(serves(server, bad))


def test_a_note_alone_with_nothing_to_go_back_to_stops_nothing_and_is_said(
    registered: Registered, home: Path
) -> None:
    only = registered.add(models.mlp(seed=1), "champion")
    with registered.serve(home) as server:
        at = datetime.datetime.now(datetime.UTC).isoformat()
        note = {"at": at, "by": "mallory", "back_to": "99", "reason": "for fun"}
        registered.tag(only, REVERTED_TAG, json.dumps(note))
        assert "there is no version before it that may serve" in said(server, registered.name, only)
        assert server.get("/ready").status == 200 and serves(server, only)()
