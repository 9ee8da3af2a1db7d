"""Who decides, how far that is known, and who may."""

import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import promotions
import pytest

from tasks.errors import RefusedError
from tasks.promotion.champion import promote
from tasks.promotion.deciders import Decider, Rule, check_may_decide, decided_by
from tasks.promotion.ledger import read_ledger
from tasks.promotion.manual import accept_ledger, decline_version, promote_version, roll_back_to
from tasks.promotion.rolling import say
from tasks.registry.registry import Registry
from tasks.settings import Policy, Settings


@pytest.fixture
def server() -> Iterator[str]:
    """Says of whoever asks that they are bob, as MLflow with accounts does."""

    class Bob(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/2.0/mlflow/users/current" else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"user": {"id": 2, "username": "bob"}}).encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Bob) as made:
        Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://bob:secret@127.0.0.1:{made.server_port}"
        made.shutdown()


def with_policy(folder: Path, uri: str, **policy: object) -> Settings:
    return Settings(home=folder, tracking_uri=uri, models={"digits": Policy.model_validate(policy)})


def test_an_account_is_known_and_every_other_name_is_claimed(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_USER", "night shift")
    known = with_policy(tmp_path, server)
    assert decided_by(known) == decided_by(known, "bob") == Decider(who="bob")
    assert decided_by(known, "ada") == Decider(who="ada", account="bob", claimed=True)
    open_ = with_policy(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    assert decided_by(open_) == Decider(who="night shift", claimed=True)
    assert decided_by(open_, "ada") == Decider(who="ada", claimed=True)
    assert decided_by(known, Rule("the rollout")) == Decider(who="the rollout")
    away = with_policy(tmp_path, "http://bob:secret@127.0.0.1:9")
    assert decided_by(away, "bob") == Decider(who="bob", claimed=True)


def test_without_a_word_it_is_whom_git_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLIPWAY_USER", raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.chdir(tmp_path)
    here = with_policy(tmp_path, "sqlite:///x.db")
    assert decided_by(here).who and decided_by(here).claimed, "the operating system's user"
    subprocess.run(["git", "config", "--global", "user.name", "Grace Hopper"], check=True)
    assert decided_by(here).who == "Grace Hopper"


def test_only_approvers_decide_and_by_account_only_those_that_mlflow_knows(
    server: str, tmp_path: Path
) -> None:
    def refused(who: str | None, uri: str, **policy: object) -> str:
        with pytest.raises(RefusedError) as raised:
            check_may_decide(with_policy(tmp_path, uri, **policy), "digits", who)
        return str(raised.value)

    local = "sqlite:///x.db"
    check_may_decide(with_policy(tmp_path, local), "digits", "carl")
    check_may_decide(with_policy(tmp_path, local, approvers=["ada"]), "digits", "ada")
    check_may_decide(with_policy(tmp_path, server, approvers=["bob"], by_account=True), "digits", None)
    said = refused("carl", local, approvers=["ada", "bob"])
    assert "carl may train digits, and ada, bob decide what serves" in said and said.endswith(
        "nothing was moved."
    )
    assert "nobody decide" in refused("ada", local, approvers=[])
    assert "Nothing proves that this is ada" in refused("ada", server, approvers=["ada"], by_account=True)
    assert "bob may train digits" in refused(None, server, approvers=["ada"], by_account=True)


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_whatever_a_person_decides_is_refused_to_who_only_trains(
    settings: Settings, registry: Registry, model: str
) -> None:
    """But for a no, which anybody may say; and the gate decides as before."""
    first, second = promotions.register_bare(registry, model, 2)
    team = settings.model_copy(update={"models": {model: Policy(approvers=("ada",))}})
    promote(Registry(team), first, against=None, why="the gate let it through", who="carl")
    for decide in (
        lambda: promote_version(team, model, 2, why="mine", who="carl"),
        lambda: roll_back_to(team, model, 1, why="mine", who="carl"),
        lambda: accept_ledger(team, model, why="mine", who="carl"),
        lambda: say(team, model, "finish", why="mine", who="carl"),
    ):
        with pytest.raises(RefusedError, match="carl may train"):
            decide()
    assert decline_version(team, model, second.version, why="too slow", who="carl").person == "carl (claimed)"
    assert [entry.action for entry in read_ledger(registry, model).entries] == ["promote", "refuse"]
