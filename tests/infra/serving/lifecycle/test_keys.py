"""A real server that was given one public key, and nothing else of keys: it serves on while they change, and learns of each from the registry."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
import serving_models as models
from registered import AWAY, BODY, Registered
from serving_process import ServerProcess, wait_for

from infra.serving.lifecycle.keys import FollowedKeys
from infra.serving.lifecycle.preparation import Preparer
from infra.serving.options import ServeOptions
from tasks.promotion import keys
from tasks.registry.claims import KEYS
from tasks.registry.registry import Registry
from tasks.registry.tags import EVIDENCE_TAG
from tasks.settings import load_settings
from tasks.system.files import sha256_of
from tasks.system.signing import private_key, public_key, sign_folder

pytestmark = pytest.mark.slow


class Production:
    """A registry of its own, for the record of keys is a registry's; and a server with a home of its own."""

    def __init__(self, home: Path, tmp_path: Path, database: Path) -> None:
        home.mkdir(mode=0o700)
        shutil.copyfile(database, home / "mlflow.db")
        self.settings = load_settings()
        self.registered = Registered(self.settings.tracking_uri, tmp_path / "models", sealed=True)
        self.registered.client.create_experiment(
            "serving", artifact_location=(tmp_path / "artifacts").as_uri()
        )
        private_key()
        self.given = Path(shutil.copy(public_key(), tmp_path / "given.pem"))
        self.home = tmp_path / "server"

    def add(self, seed: int, *aliases: str, **how: Any) -> str:
        version = self.registered.add(models.mlp(seed=seed), **how)
        folder = self.registered.folders[version]
        self.registered.tag(version, EVIDENCE_TAG, sha256_of(folder / "evidence.json"))
        for alias in aliases:
            self.registered.move(version, alias)
        return version

    def serve(self, **options: Any) -> ServerProcess:
        return self.registered.serve(self.home, public_key=self.given, **options)


def test_a_server_with_the_first_public_key_alone_follows_every_hand_over_and_revocation(
    home: Path, tmp_path: Path, empty_mlflow_database: Path
) -> None:
    made = Production(home, tmp_path, empty_mlflow_database)
    first = made.add(1, "champion")
    with made.serve() as server:

        def serving() -> str | None:
            return server.post("/invocations", BODY).version

        thief = Path(shutil.copy(private_key(), tmp_path / "stolen.pem"))
        keys.rotate(made.settings, why="a year old")
        second = made.add(2, "champion")
        wait_for(lambda: serving() == second)

        forged = made.add(3, "champion", change=lambda folder: sign_folder(folder, thief))
        wait_for(lambda: "whose successor took over" in server.log.read_text())
        assert serving() == second
        made.registered.move(second)
        assert forged not in (first, second)

    with made.serve(
        tracking_uri=AWAY
    ) as alone:  # all that it needs to check the second's signature lies in its cache
        assert alone.post("/invocations", BODY).version == second

    with made.serve() as server:
        made.registered.move(first, "previous")
        assert server.post("/invocations", BODY).version == second
        ended = keys.rotate(made.settings, why="stolen").ended
        keys.revoke(made.settings, ended[:12], since="2026-01-01", why="stolen with the machine")
        wait_for(lambda: server.post("/invocations", BODY).version == first)
        assert "is revoked from" in server.log.read_text()


class Kept:
    """What a registry has of keys, as it is at a moment."""

    def __init__(self, claims: dict[str, str]) -> None:
        self.claims: dict[str, str] | None = claims

    def keys(self) -> dict[str, str]:
        if self.claims is None:
            raise ConnectionError("away")
        return self.claims


def test_servers_that_share_a_cache_each_hear_of_a_revocation_and_know_of_it_after_a_restart(
    home: Path, tmp_path: Path, empty_mlflow_database: Path
) -> None:
    made = Production(home, tmp_path, empty_mlflow_database)
    options = ServeOptions(home=tmp_path / "server", public_key=made.given)
    there = Kept({})

    def look(server: FollowedKeys) -> bool:
        return asyncio.run(server.look(there))  # type: ignore[arg-type]

    one, other = (FollowedKeys(options, Preparer(options)) for _ in range(2))
    assert not look(one) and not look(other)
    ended = keys.rotate(made.settings, why="a year old").ended
    there.claims = Registry(made.settings).claims(KEYS)
    assert [look(one), look(other), look(one), look(other)] == [True, True, False, False]
    keys.revoke(made.settings, ended, since="2026-01-01", why="stolen")
    claims = Registry(made.settings).claims(KEYS)
    there.claims = claims
    assert look(one) and one.revoking
    there.claims = None
    assert look(other) and other.revoking, "from the cache, where the registry is away"
    again = FollowedKeys(options, Preparer(options))
    assert again.revoking and not look(again)
    there.claims = claims
    assert again.revoking and not look(again)


def test_a_damaged_record_keeps_no_server_from_starting_and_is_named(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    private_key()
    options = ServeOptions(home=tmp_path / "server", public_key=public_key())
    preparer = Preparer(options)
    preparer.cache.changes.mkdir(parents=True)
    (preparer.cache.changes / "ring-0.json").write_text("half")
    server = FollowedKeys(options, preparer)
    assert server.known == {} and not asyncio.run(server.look(Kept({})))  # type: ignore[arg-type]
    assert "ring-0.json is damaged" in caplog.text
