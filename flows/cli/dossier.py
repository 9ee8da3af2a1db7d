"""All that is on file about a version, as one document: dossier."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.arguments import EXIT_CODES, Json, Target, after_help

commands = typer.Typer()


@commands.command(
    epilog=after_help(
        "slipway dossier digits",
        "slipway dossier digits/3 --out digits-v3.pdf",
        "slipway dossier digits@champion --with provider --json",
        codes={1: f"{EXIT_CODES[1]}, or something in it does not hold, which it says first"},
    )
)
def dossier(
    target: Target,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An .html or .pdf file; default: MODEL-vN-dossier.html here; with --json, none.",
        ),
    ] = None,
    provider: Annotated[
        Path | None,
        typer.Option(
            "--with",
            metavar="FOLDER",
            help="What only the provider can write, a file a heading: point-1.md … point-9.md, article-12.md.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Data, training, proof, decisions, rollouts and incidents of a version, under the headings of the EU's AI Act (Annex IV, Article 12)."""
    from flows.cli.views.dossier import show_dossier
    from flows.cli.views.waiting import working
    from tasks.promotion.dossier import dossier as gather
    from tasks.reporting.dossier import check_writer, write_page
    from tasks.settings import load_settings

    if out is not None:
        check_writer(out)
    with working("dossier", target, quiet=json):
        gathered = gather(load_settings(), target, provider)
        if out is None and not json:
            out = Path(f"{gathered.model}-v{gathered.version}-dossier.html")
        if out is not None:
            write_page(gathered, out)
    show_dossier(gathered, out, json)
    raise typer.Exit(1 if gathered.problems else 0)
