"""What several commands take, said once."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import typer

from flows.cli.suggestions import models, settings, workloads

_CODES = "Exit codes: "

Reference = Annotated[
    str,
    typer.Argument(
        metavar="WORKLOAD",
        help="A workload's name (digits), module (package.module) or file (path/to/file.py).",
        autocompletion=workloads,
    ),
]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a setting: dotted name, YAML value; again for another. `slipway settings` lists them.",
        autocompletion=settings,
    ),
]

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="The registered model's name, such as digits.", autocompletion=models
    ),
]

Target = Annotated[
    str,
    typer.Argument(
        metavar="MODEL[@ALIAS|/VERSION]", help="Which version; default: its champion.", autocompletion=models
    ),
]

Reason = Annotated[str, typer.Option(help="Why; kept in the ledger.")]

Who = Annotated[
    str | None,
    typer.Option(
        help="Who decides; default: MLflow's account, else SLIPWAY_USER, else git's user.name, else the OS user."
    ),
]

NewSignature = Annotated[
    bool,
    typer.Option(
        "--new-signature",
        help="Its clients know that it takes or gives something else than the champion.",
    ),
]

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; everything else goes to stderr.")
]


EXIT_CODES = {
    0: "done",
    1: "it failed while running",
    2: "bad usage or bad input",
    130: "ended by Ctrl-C",
}
"""What each command ends with, unless it says otherwise."""

REFUSED = {3: "refused, and nothing was moved"}
"""Of what decides."""


def after_help(*examples: str, codes: Mapping[int, str] = MappingProxyType({})) -> str:
    """A help text's last lines: commands to be copied, an empty line between, or they would run together; and what exit codes mean."""
    return "\n\n".join(["Examples:", *examples, _CODES + "; ".join(_each(codes))])


def examples_in(epilog: str) -> list[str]:
    """The commands of such a text."""
    return epilog.split("\n\n")[1:-1]


def codes_in(epilog: str) -> str:
    """Its exit codes, as they are shown."""
    return epilog.rpartition(_CODES)[2]


def _each(codes: Mapping[int, str]) -> list[str]:
    return [f"{code} {meaning}" for code, meaning in sorted({**EXIT_CODES, **codes}.items())]
