"""Makes the pictures of the pages: `slipway up` in a home of its own, one run of digits from Prefect's form, and a browser on all of it.

Wants Debian's chromium; takes about five minutes. Pictures are cut to what they are to show, and kept under 150 kB.
"""

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[2]

sys.path.insert(0, str(ROOT / "tests" / "bench"))

from platform_process import Platform  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

IMAGES = ROOT / "docs" / "images"

MOST_BYTES = 150_000

FLAGS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"

WIDE, HIGH = 1200, 860


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="slipway-pictures-") as folder:
        home = Path(folder) / "home"
        with Platform(home, ROOT, OMP_NUM_THREADS="1") as platform, browser() as page:
            run = picture_form(platform, page)
            ended = platform.ended(run)
            assert ended["state_type"] == "COMPLETED", ended
            picture_run(platform, page, run)
            picture_mlflow(platform, page)
            picture_report(home, page)
            picture_server(platform, page)
            picture_models(platform, page)


@contextmanager
def browser() -> "Iterator[Page]":
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("There is no chromium: apt-get install chromium.")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
        page = opened.new_page(viewport={"width": WIDE, "height": HIGH}, color_scheme="light")
        page.set_default_timeout(300_000)
        yield page
        opened.close()


def picture_form(platform: Platform, page: "Page") -> str:
    """The form of retrain, one field filled in; then it is submitted, and the run's id given back."""
    deployment = platform.deployment("retrain/digits")["id"]
    page.set_viewport_size({"width": WIDE, "height": 4000})  # all of the form
    page.goto(f"{platform.addresses['prefect']}/deployments/deployment/{deployment}/run")
    epochs = page.locator(".schema-form-property", has=page.get_by_text("Epochs (Optional)", exact=True)).last
    epochs.locator("input").fill("12")
    keep(page, "form", around=epochs)
    page.set_viewport_size({"width": WIDE, "height": HIGH})
    button = page.get_by_role("button", name="Submit")
    while button.is_visible():  # a press while the page still checks a field is lost
        button.click()
        page.wait_for_timeout(10_000)
    asked = [run for run in platform.runs("retrain/digits") if "auto-scheduled" not in run["tags"]]
    return str(asked[0]["id"])


def picture_run(platform: Platform, page: "Page", run: str) -> None:
    """The run's page when it is over: its steps in time, and its artifacts below."""
    page.goto(f"{platform.addresses['prefect']}/runs/flow-run/{run}")
    page.get_by_text("Completed", exact=True).first.wait_for()
    page.get_by_role("tab", name="Artifacts").or_(page.get_by_text("Artifacts", exact=True)).first.click()
    page.get_by_role("link", name="digits-verdict").first.wait_for()
    page.wait_for_timeout(5000)  # the graph is drawn
    keep(page, "run")


def picture_mlflow(platform: Platform, page: "Page") -> None:
    """The registered version: its aliases, and the model card."""
    page.goto(f"{platform.addresses['mlflow']}/#/models/digits/versions/1")
    page.get_by_text("champion").first.wait_for()
    page.wait_for_timeout(3000)
    close = page.get_by_role(
        "button", name="Close"
    )  # of MLflow's assistant, which takes a third of the window
    if close.count():
        close.first.click()
    page.wait_for_timeout(1000)
    keep(page, "mlflow")


def picture_report(home: Path, page: "Page") -> None:
    page.goto((home / "work" / "digits" / "report.html").as_uri())
    keep(page, "report")


def picture_server(platform: Platform, page: "Page") -> None:
    platform.until(lambda: platform.status()[1]["serves"]["digits"] == "1", "the server to serve it")
    page.goto(f"{platform.addresses['server']}/live")
    page.get_by_text("version 1", exact=True).first.wait_for()
    for _ in range(5):
        page.get_by_role("button", name="Send").first.click()
        page.wait_for_timeout(1000)
    page.wait_for_timeout(5000)  # its numbers are those of a moment ago
    keep(page, "server")


def picture_models(platform: Platform, page: "Page") -> None:
    """The first page: what serves, and what flows said of it."""
    page.goto(platform.addresses["server"])
    page.get_by_text("version 1 serves").wait_for()
    page.set_viewport_size(
        {"width": WIDE, "height": round(page.locator("main").bounding_box()["height"]) + 20}
    )  # type: ignore[index]
    keep(page, "models")


def keep(page: "Page", name: str, around: "Locator | None" = None) -> None:
    """What the window shows, or a window around an element, in few colours: flat pages lose nothing."""
    from PIL import Image

    box = around.bounding_box() if around is not None else None
    clip = None
    if box is not None:
        left, top = max(0, box["x"] - 40), max(0, box["y"] - HIGH / 2)
        clip = {"x": left, "y": top, "width": WIDE - left, "height": HIGH}
    picture = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    path = IMAGES / f"{name}.png"
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path.relative_to(ROOT)}  {size / 1e3:.0f} kB", flush=True)
    assert size <= MOST_BYTES, f"{path} has {size} bytes"


if __name__ == "__main__":
    main()
