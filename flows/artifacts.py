"""What a person finds beside a run in the Prefect UI: the candidates, the picture, the verdict, where to read on."""

import base64

from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

from tasks.monitor import Watched
from tasks.pareto import picture
from tasks.pictures import drifts
from tasks.records import Outcome, Selection

_MOST_COLUMNS = 100


def show_candidates(model: str, selection: Selection) -> None:
    """The table of candidates, and score against latency as a picture."""
    rows = [
        {
            "candidate": one.name,
            "status": one.status,
            "score": one.score,
            "size (bytes)": one.size_bytes,
            "latency": one.latency_ratio,
            "throughput": one.throughput_ratio,
            "why": "; ".join(one.reasons),
        }
        for one in selection.candidates
    ]
    create_table_artifact(rows, key=f"{_slug(model)}-candidates", description=selection.reason)
    svg = base64.b64encode(picture(selection.candidates).encode()).decode()
    create_image_artifact(f"data:image/svg+xml;base64,{svg}", key=f"{_slug(model)}-pareto")


def show_outcome(outcome: Outcome, address: str | None) -> None:
    """The decision with its reasons, and links."""
    lines = [f"# {outcome.model} version {outcome.version}: {outcome.decision}", ""]
    lines += [f"- {reason}" for reason in outcome.reasons]
    lines += ["", f"MLflow run: {f'[{outcome.run_id}]({address})' if address else outcome.run_id}"]
    lines += [f"Report: `{outcome.report}`"] if outcome.report else []
    create_markdown_artifact("\n".join(lines), key=f"{_slug(outcome.model)}-verdict")


def show_watched(found: Watched, threshold: float) -> None:
    """What the traffic looks like: in sentences, as a table of columns and as a picture."""
    lines = [f"# {found.model} version {found.version}: {found.status}", ""]
    lines += [f"- {reason}" for reason in found.reasons]
    lines += ["", "| hour (UTC) | rows |", "|---|---|"]
    lines += [f"| {hour} | {rows} |" for hour, rows in found.volume.by_hour.items()]
    create_markdown_artifact("\n".join(lines), key=f"{_slug(found.model)}-traffic")
    columns = [
        *(found.predictions.columns if found.predictions else ()),
        *(found.inputs.columns if found.inputs else ()),
    ]
    if columns:
        rows = [column.model_dump() for column in columns[:_MOST_COLUMNS]]
        create_table_artifact(rows, key=f"{_slug(found.model)}-drift", description="; ".join(found.reasons))
        svg = base64.b64encode(drifts(columns, threshold).encode()).decode()
        create_image_artifact(f"data:image/svg+xml;base64,{svg}", key=f"{_slug(found.model)}-drift-picture")


def show_question(model: str, text: str) -> None:
    """What whoever decides about a version has to see, beside the run that waits for the answer."""
    create_markdown_artifact(text, key=f"{_slug(model)}-question")


def _slug(model: str) -> str:
    """Artifact keys take no underscores."""
    return model.replace("_", "-")
