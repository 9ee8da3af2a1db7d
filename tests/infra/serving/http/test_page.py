"""The server's pages as a person sees them, in a real browser, wide and narrow."""

import datetime
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving_models as models
from registered import Registered
from serving_process import ROOT, ServerProcess, wait_for

from tasks.registry.registry import Registry
from tasks.registry.status_tags import STATUS_TAG, StatusTag, publish
from tasks.settings import load_settings
from tasks.system.signing import private_key, public_key

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SCREENS = ROOT / ".slipway" / "screenshots"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = models.save(tmp_path_factory.mktemp("m") / "digits", models.mlp(), {"x": [[0.5] * 64]})
    keys = tmp_path_factory.mktemp("k") / "keys"
    keys.write_text("open-sesame\n")
    home = tmp_path_factory.mktemp("home")
    with ServerProcess(f"digits={folder}", home=home, keys_file=keys) as process:
        yield process


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_asks_for_a_key_shows_what_serves_and_sends_the_example(
    server: ServerProcess, width: int
) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    digest = server.said["models"]["digits"]["digest"]
    wrong: list[str] = []
    SCREENS.mkdir(parents=True, exist_ok=True)
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{server.url}/live")
        page.get_by_text("needs a key").wait_for()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.get_by_label("This server asks for a key").fill("open-sesame")
        page.get_by_role("button", name="Use it").click()
        page.get_by_text("version local", exact=True).wait_for()
        page.get_by_text(digest).wait_for()
        page.get_by_role("button", name="Send").click()
        page.get_by_text("200, version local").wait_for()
        page.get_by_text("version local serves").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (
            "nothing is wider than the window"
        )
        page.screenshot(path=SCREENS / f"serving-{width}.png", full_page=True)
        browser.close()
    assert wrong == []
    assert Path(SCREENS / f"serving-{width}.png").stat().st_size > 10_000


def test_the_first_page_has_what_flows_say_for_who_has_a_key_and_nothing_that_nobody_signed(
    mlflow_server: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    private_key(), public_key()
    registered = Registered(mlflow_server, tmp_path / "models", sealed=True)
    registered.add(models.mlp(seed=1), "champion")
    registry, name = Registry(load_settings()), registered.name
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(1)
    form = "http://127.0.0.1:4200/runs/flow-run/1#answer"
    asked = StatusTag(
        model=name, subject="question", said="Promote version 2?", until=tomorrow, pages={"prefect": form}
    )
    publish(registry, asked)
    registry.tag_model(name, {f"{STATUS_TAG}run": '["promoted v9 by nobody", "AAAA"]'})
    keys, links = tmp_path / "keys", ("Prefect=http://127.0.0.1:4200", "MLflow=http://127.0.0.1:5000")
    keys.write_text("open-sesame\n")
    with registered.serve(home, keys_file=keys, link=links, public_key=public_key(), poll=0.2) as server:
        with sync.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
            person = {"username": "ada", "password": "open-sesame"}
            page = browser.new_page(viewport={"width": 390, "height": 844}, http_credentials=person)
            page.set_default_timeout(120_000)
            wrong: list[str] = []
            page.on(
                "console", lambda message: wrong.append(message.text) if message.type == "error" else None
            )
            page.goto(server.url)
            wait_for(lambda: page.reload() and page.get_by_text("1 waiting for an answer").count())
            assert page.get_by_role("link", name="Answer it in Prefect").get_attribute("href") == form
            assert (
                page.get_by_text("version 1 serves").count() == 1
                and page.get_by_text("by nobody").count() == 0
            )
            assert page.get_by_role("link", name="Version 1 in MLflow").count() == 1
            publish(registry, asked.model_copy(update={"said": "ada approved version 2", "until": None}))
            publish(registry, StatusTag(model=name, subject="run", said="unchanged: nothing new"))
            wait_for(lambda: page.reload() and page.get_by_text("unchanged: nothing new").count())
            assert page.get_by_text("nobody is asked anything").count() == 1
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            page.screenshot(path=SCREENS / "models-390.png", full_page=True)
            browser.close()
    assert wrong == []
