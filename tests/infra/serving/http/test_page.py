"""The server's page as a person sees it, in a real browser, wide and narrow."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving_models as models
from serving_process import ROOT, ServerProcess

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
        page.goto(server.url)
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
