"""What `slipway explain` shows: what each answer hangs on, and what they hang on together."""

import json

from rich.console import Console
from rich.markup import escape

from flows.cli.views.document import show_document
from tasks.reporting.explanation import STABLE, Explanation, Feature

_MOST = 5


def show_explanation(explanation: Explanation, *, as_json: bool) -> None:
    """One JSON object on stdout, or a line for each row."""
    if as_json:
        overall = [feature.model_dump() for feature in explanation.overall()]
        show_document(
            json.dumps(
                {"stable": explanation.stable, "overall": overall, **explanation.model_dump(mode="json")}
            )
        )
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{explanation.model}[/bold] version {explanation.version}: what its answers hang on")
    for row in explanation.rows:
        largest = sorted(row.features, key=lambda feature: -abs(feature.weight))[:_MOST]
        console.print(f"  row {row.row:<5} {escape(row.answer):<12} {_list(largest)}")
    console.print(f"  {'together':<9} {'':<12} {_list(explanation.overall()[:_MOST], sign='')}")
    word = "[green]stable[/]" if explanation.stable else "[yellow]not stable[/]"
    console.print(
        f"\n{word} across two seeds: correlation {explanation.agreement:.2f} ({STABLE} is asked). {explanation.method}; "
        "the weight is how much the answer falls when others' values stand there."
    )


def _list(features: list[Feature], sign: str = "+") -> str:
    return escape(", ".join(f"{feature.name} {feature.weight:{sign}.3g}" for feature in features))
