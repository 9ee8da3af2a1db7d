"""Training's progress, as a line in the terminal and as a progress artifact in the Prefect UI."""

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast
from uuid import UUID

from httpx import HTTPError
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

from tasks.training.progress import Progress, ShowProgress, progress_bar

_EVERY_SECONDS = 2.0


@contextmanager
def report_progress(model: str) -> Iterator[ShowProgress]:
    """Where `train` reports to. The artifact is kept up to date by a thread: the loop never waits for the server."""
    latest: list[Progress] = []
    done = threading.Event()

    with progress_bar(f"train {model}") as bar:

        def show(progress: Progress) -> None:
            latest[:] = [progress]
            bar(progress)

        context = contextvars.copy_context()  # the artifact belongs to this task run
        thread = threading.Thread(
            target=context.run, args=(_update_artifact, model, latest, done), daemon=True
        )
        if TaskRunContext.get() is not None:
            thread.start()
        try:
            yield show
        finally:
            done.set()
            if thread.is_alive():
                thread.join(timeout=5)


def _update_artifact(model: str, latest: list[Progress], done: threading.Event) -> None:
    artifact: UUID | None = None
    while not done.wait(_EVERY_SECONDS):
        if not latest:
            continue
        percent, said = 100 * latest[0].step / latest[0].steps, _describe(model, latest[0])
        with suppress(HTTPError):  # the server is restarted, and training goes on
            if artifact is None:
                artifact = cast(UUID, create_progress_artifact(percent, description=said))
            else:
                update_progress_artifact(artifact, percent, description=said)
    if artifact is not None:
        with suppress(HTTPError):
            update_progress_artifact(artifact, 100.0, description=_describe(model, latest[0]))


def _describe(model: str, progress: Progress) -> str:
    score = "not yet known" if progress.score is None else f"{progress.score:.4f}"
    return f"{model}: epoch {progress.epoch} of {progress.epochs}, loss {progress.loss:.4f}, validation score {score}"
