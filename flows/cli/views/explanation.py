"""What `slipway explain` shows: what each answer hangs on, and what they hang on together."""

import json

from rich.console import Console
from rich.markup import escape

from tasks.reporting.explanation import STABLE, Explanation, Feature

_MOST = 5


def show_explanation(found: Explanation, *, as_json: bool) -> None:
    """One JSON object on stdout, or a line for each row."""
    if as_json:
        overall = [one.model_dump() for one in found.overall()]
        print(json.dumps({"stable": found.stable, "overall": overall, **found.model_dump(mode="json")}))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{found.model}[/bold] version {found.version}: what its answers hang on")
    for row in found.rows:
        largest = sorted(row.features, key=lambda one: -abs(one.weight))[:_MOST]
        console.print(f"  row {row.row:<5} {escape(row.answer):<12} {_list(largest)}")
    console.print(f"  {'together':<9} {'':<12} {_list(found.overall()[:_MOST], sign='')}")
    word = "[green]stable[/]" if found.stable else "[yellow]not stable[/]"
    console.print(
        f"\n{word} across two seeds: correlation {found.agreement:.2f} ({STABLE} is asked). {found.method}; "
        "the weight is how much the answer falls when others' values stand there."
    )


def _list(features: list[Feature], sign: str = "+") -> str:
    return escape(", ".join(f"{one.name} {one.weight:{sign}.3g}" for one in features))
