"""What several commands take, said once."""

from typing import Annotated

import typer

Reference = Annotated[
    str,
    typer.Argument(
        metavar="WORKLOAD",
        help="A workload's name (digits), module (package.module) or file (path/to/file.py).",
    ),
]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a setting: dotted name, YAML value; again for another. `slipway settings` lists them.",
    ),
]

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The registered model's name, such as digits.")]

Target = Annotated[
    str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", help="Which version; default: its champion.")
]

Reason = Annotated[str, typer.Option(help="Why; kept in the ledger.")]

Who = Annotated[str | None, typer.Option(help="Who decides; default: SLIPWAY_USER, else the OS user.")]

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


def examples(*commands: str) -> str:
    """A help text's last lines, each to be copied; an empty line between, or they would run together."""
    return "\n\n".join(["Examples:", *commands])
