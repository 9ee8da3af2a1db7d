"""`--all`: whatever has a champion, or gets one, is served without being named and without a restart."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest
import serving_models as models
from registered import AWAY, BODY, Registered
from serving_process import ServerProcess, wait_for

from infra.serving.ipc.messages import Found, RegistryCheck
from infra.serving.lifecycle.finding import Finder
from infra.serving.options import ServeOptions, Target


class Registry:
    """One whose champions are set; None: it does not answer."""

    def __init__(self, *names: str) -> None:
        self.names: list[str] | None = list(names)
        self.told: list[str] = []

    def champions(self) -> tuple[list[str], list[str]]:
        if self.names is None:
            raise OSError("away")
        return self.names, self.told


class Looking:
    """A finder of a few models, what it says and what it follows."""

    def __init__(self, home: Path, registry: Registry, *named: str, **options: Any) -> None:
        self.said: list[Any] = []
        self.followed: list[str] = []

        async def source() -> Any:
            return registry

        async def follow(target: Target) -> None:
            self.followed.append(str(target))
            await asyncio.Event().wait()

        given = ServeOptions(home=home, all=True, poll=0.01, **options)
        self.finder = Finder(given, named, source, self.said.append, follow)

    async def until(self, count: int) -> None:
        """Run until so many models are followed, and one look more."""
        run = asyncio.create_task(self.finder.run())
        while len(self.followed) < count or not self.said:
            if run.done():
                await run  # never ends but by an error
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        run.cancel()
        await asyncio.wait([run])

    @property
    def found(self) -> list[list[str]]:
        return [
            [target.name for target in message.targets] for message in self.said if isinstance(message, Found)
        ]


def test_what_has_a_champion_is_followed_once_but_for_what_is_named_and_what_is_too_much(
    tmp_path: Path,
) -> None:
    registry = Registry("a model", "churn", "digits", "zebra")
    looking = Looking(tmp_path, registry, "digits", max_models=1)
    asyncio.run(looking.until(1))
    assert looking.followed == ["churn@champion"] and looking.found == [["churn", "digits"]]


def test_a_model_that_flows_say_something_of_is_followed_before_it_has_a_champion_and_not_waited_for(
    tmp_path: Path,
) -> None:
    registry = Registry("churn")
    registry.told = ["mine"]
    looking = Looking(tmp_path, registry)
    asyncio.run(looking.until(2))
    assert looking.found == [["churn"], ["mine"]], "readiness waits for what the first look finds"


def test_models_without_a_champion_take_no_room_of_those_that_have_one(tmp_path: Path) -> None:
    registry = Registry("churn")
    registry.told = ["failed", "forgotten"]
    looking = Looking(tmp_path, registry, max_models=2)
    asyncio.run(looking.until(2))
    registry.names = ["churn", "digits"]
    asyncio.run(looking.until(3))
    assert looking.followed == ["churn@champion", "failed@champion", "digits@champion"]


def test_the_first_look_is_told_even_when_there_is_nothing_for_readiness_waits_for_it(tmp_path: Path) -> None:
    looking = Looking(tmp_path, Registry())
    asyncio.run(looking.until(0))
    assert looking.found == [[]]


def test_without_the_registry_what_served_last_time_is_followed_and_nothing_said_to_be_all(
    tmp_path: Path,
) -> None:
    targets = tmp_path / "serving" / "cache" / "targets"
    targets.mkdir(parents=True)
    for name in ("churn@champion", "churn@challenger", "digits_3"):
        (targets / f"{name}.json").touch()
    registry = Registry()
    registry.names = None
    looking = Looking(tmp_path, registry)
    asyncio.run(looking.until(1))
    assert looking.followed == ["churn@champion"] and looking.found == [["churn"]]
    assert any(isinstance(message, RegistryCheck) and message.error for message in looking.said)


def test_it_ends_when_it_is_told_to_as_the_registry_answers(tmp_path: Path) -> None:
    async def end() -> None:
        asked: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()

        async def source() -> Any:
            answer = asyncio.get_running_loop().create_future()
            asked.put_nowait(answer)
            return await answer

        options = ServeOptions(home=tmp_path, all=True, poll=0.01)
        run = asyncio.create_task(Finder(options, (), source, lambda _: None, follow=None).run())  # type: ignore[arg-type]
        answer = await asked.get()
        answer.set_exception(OSError("away"))
        run.cancel()
        assert (await asyncio.wait([run], timeout=5))[0] == {run}

    asyncio.run(end())


@pytest.mark.slow
def test_a_model_is_served_from_its_first_promotion_on_and_without_the_registry_after_a_restart(
    home: Path, tmp_path: Path, empty_mlflow_database: Path
) -> None:
    shutil.copyfile(empty_mlflow_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.MlflowClient(uri, uri).create_experiment("serving", (tmp_path / "artifacts").as_uri())
    churn, broken = (Registered(uri, tmp_path / name) for name in ("churn", "broken"))
    broken.add(
        models.mlp(seed=2), "champion", change=lambda folder: (folder / "model.onnx").write_bytes(b"no")
    )
    options: dict[str, Any] = {"all": True, "allow_unsigned": True, "poll": 0.1, "home": home}
    with ServerProcess(tracking_uri=churn.uri, workers=2, **options) as server:
        wait_for(lambda: server.get("/ready").status == 200)
        served = server.get("/health").json["models"]
        assert list(served) == [broken.name] and served[broken.name]["refused"], (
            "and the others need not wait"
        )
        version = churn.add(models.mlp(seed=1))
        path = f"/models/{churn.name}/invocations"
        assert server.post(path, BODY).status == 404
        churn.move(version)
        wait_for(lambda: server.post(path, BODY).status == 200)
        assert server.get("/ready").status == 200
        assert {*server.get("/health").json["models"]} == {churn.name, broken.name}
    with ServerProcess(tracking_uri=AWAY, **options) as server:
        wait_for(lambda: server.get("/ready").status == 200)
        assert server.post(path, BODY).version == version
