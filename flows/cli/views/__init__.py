"""What commands print: one JSON document on stdout, or lines for people. Public: a module's `show_…`, and `live.live_steps`."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel
from rich.console import Console

from flows.cli.views.document import show_document

R = TypeVar("R", bound=BaseModel)


def or_json(view: Callable[[R, Console], None]) -> Callable[[R, bool], None]:
    """What prints a result as one JSON object where that is asked for, and as `view` does for people."""

    def show(result: R, as_json: bool) -> None:
        if as_json:
            show_document(result.model_dump_json())
        else:
            view(result, Console(highlight=False, soft_wrap=True))

    return show
