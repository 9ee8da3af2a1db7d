"""What `slipway new` and `slipway migrate` wrote."""

from pathlib import Path
from shlex import quote

from rich.console import Console

from flows.cli.views import or_json
from tasks.system.frozen import Frozen


class Written(Frozen):
    """A workload's new file."""

    path: Path
    workload: str
    like: str


class CarriedOver(Frozen):
    """A workload's older file, with the goal that it has now; `clients`: what whoever asks the model will see."""

    path: Path
    goal: str
    clients: str


@or_json
def show_written(written: Written, console: Console) -> None:
    """And what comes next."""
    path = written.path
    console.print(
        f"{path}: the workload {written.workload}. Replace its functions with yours; next: slipway check {quote(str(path))}",
        markup=False,
    )


@or_json
def show_carried_over(carried: CarriedOver, console: Console) -> None:
    """With what to tell whoever asks the model."""
    console.print(f"{carried.path}: goal={carried.goal}. {carried.clients}", markup=False)
