"""What `slipway run` shows when it is done; stdout is kept for results."""

from shlex import quote

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.cli.views import or_json
from tasks.outcome import CandidateResult, Outcome
from tasks.reporting.candidates import cells
from tasks.reporting.cost import describe, total

_COLOURS = {
    "promoted": "green",
    "rolling": "green",
    "registered": "yellow",
    "unchanged": "cyan",
    "refused": "red",
    "failed": "red",
}


@or_json
def show_outcome(outcome: Outcome, console: Console) -> None:
    """Print the outcome on stdout: one JSON object, or a summary for people."""
    colour = _COLOURS[outcome.decision]
    version = f" version {outcome.version}" if outcome.version is not None else ""
    console.print(
        f"\n[bold]{outcome.model}[/bold]{version}: [bold {colour}]{outcome.decision}[/] in {outcome.seconds:.1f} s"
    )
    for reason in outcome.reasons:
        console.print(f"  • {escape(reason)}")
    for name, value in _facts(outcome).items():
        console.print(f"  {name:<8} {escape(value)}")
    if outcome.candidates:
        console.print("\nCandidates, on the validation split; ratios against fp32:")
        console.print(_candidates(outcome.candidates))
        for candidate in outcome.candidates:
            if candidate.reasons:
                console.print(f"  [dim]{candidate.name}: {escape('; '.join(candidate.reasons))}[/dim]")
    console.print("\nTry next:")
    for line in _next(outcome):
        console.print(f"  {escape(line)}")


def _facts(outcome: Outcome) -> dict[str, str]:
    facts = {
        "picked": outcome.picked,
        "score": None if outcome.score is None else f"{outcome.score:.4f} on the test split",
        "digest": f"sha256:{outcome.digest}" if outcome.digest else None,
        "cost": None if (cost := total(outcome.steps)) is None else describe(cost),
        "run": outcome.run_id,
        "report": outcome.report,
    }
    return {name: value for name, value in facts.items() if value}


def _candidates(candidates: tuple[CandidateResult, ...]) -> Table:
    rows = [cells(candidate) for candidate in candidates]
    table = Table(box=None, padding=(0, 2, 0, 1), header_style="dim")
    for place, name in enumerate(rows[0]):  # a long name is folded before any number is cut
        table.add_column(name, justify="left" if place < 2 else "right", no_wrap=place > 0, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    return table


def _server(model: str) -> str:
    """Where it is served: by the platform that is up here, or a server that is to be started."""
    from infra.platform.state import read_state
    from tasks.settings import load_settings

    settings = load_settings()
    state = read_state(settings.home) if settings.has_own_registry else None
    urls = [part.url for part in state.services if part.name == "server"] if state is not None else []
    if urls:
        return f"{urls[0]}/#{model}        where it is served, and what came of it stands"
    return f"slipway serve {model}@champion        the model server, on http://127.0.0.1:8080"


def _next(outcome: Outcome) -> list[str]:
    model = outcome.model
    if outcome.decision in ("promoted", "unchanged"):
        return [
            _server(model),
            f"slipway verify {model}@champion       check digest, signature and evidence again",
            f"slipway history {model}               who promoted what, when and why",
        ]
    if outcome.decision == "rolling":
        return [
            f"slipway rollout {model}               what both versions answered, and what is still to go",
            "slipway up                            it goes on by itself, every minute",
        ]
    if outcome.decision == "registered":
        return [f'slipway promote {model} {outcome.version} --reason "…"    make it the champion']
    return [
        f"slipway history {model}               what serves now, and why",
        f"slipway settings {quote(outcome.workload)}              what to change with --set",
    ]
