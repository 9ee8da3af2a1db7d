"""What a person finds beside a run in the Prefect UI: the candidates, the picture, the verdict, where to read on."""

import base64

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.bundles.bundle import Bundle
from tasks.monitoring.chart import drifts
from tasks.monitoring.watched import Watched
from tasks.outcome import Outcome, Selection
from tasks.promotion.audit import Audit
from tasks.promotion.rollout_status import Standing
from tasks.registry.registry import Registry
from tasks.reporting.candidates import cells
from tasks.reporting.pareto import picture
from tasks.reporting.rollout_progress import guard_rows
from tasks.reporting.why import why_it_ran, why_started

_MOST_COLUMNS = 100


def show_candidates(model: str, selection: Selection) -> None:
    """The table of candidates, and score against latency as a picture when there is more than one."""
    candidates = selection.candidates
    rows = [{**cells(candidate), "why": "; ".join(candidate.reasons)} for candidate in candidates]
    create_table_artifact(rows, key=f"{_slug(model)}-candidates", description=selection.reason)
    if sum(candidate.score is not None for candidate in candidates) > 1:
        title = f"{model}: score against latency of the candidates"
        _show_picture(f"{_slug(model)}-pareto", title, picture(candidates))


def show_source(bundle: Bundle, model: str, source: str | None, *, ran: bool) -> None:
    """Whose code runs, from which commit, and where its files are: as they ran, or as they were when nothing had to run again."""
    lines = [f"# The code of {model}", "", f"- bundle `{bundle.digest}`", f"- {bundle.state}"]
    lines += [f"- by {bundle.author}"] if bundle.author else []
    lines += [f"- with {', '.join(bundle.requirements)}"] if bundle.requirements else []
    if source:
        which = "its files as they run" if ran else "the files that the version was made with"
        lines += ["", f"Source: [{which}]({source})"]
    create_markdown_artifact("\n".join(lines), key=f"{_slug(model)}-source")


def show_outcome(outcome: Outcome, registry: Registry, reason: str = "") -> None:
    """The decision with its reasons, and links."""
    run_id = outcome.run_id or ""
    address = registry.run_address(outcome.model, run_id)
    report = registry.run_address(outcome.model, run_id, "report.html")
    lines = [f"# {outcome.model} version {outcome.version}: {outcome.decision}", ""]
    lines += [f"- {reason}" for reason in outcome.reasons]
    if reason:
        lines += ["", why_started(outcome, reason)]
    if outcome.decision != "unchanged":
        lines += ["", why_it_ran(outcome.steps)]
    lines += ["", f"MLflow run: {f'[{outcome.run_id}]({address})' if address else outcome.run_id}"]
    if address:
        lines += ["", f"Report: [the proof on one page]({report})"]
        lines += ["", f"All runs: [what came of each]({registry.runs_address(outcome.model)})"]
    elif outcome.report:
        lines += ["", f"Report: `{outcome.report}`"]
    create_markdown_artifact("\n".join(lines), key=f"{_slug(outcome.model)}-verdict")


def show_watched(watched: Watched, threshold: float) -> None:
    """What the traffic looks like: in sentences, as a table of columns and as a picture."""
    lines = [f"# {watched.model} version {watched.version}: {watched.status}", ""]
    lines += [f"- {reason}" for reason in watched.reasons]
    lines += ["", "| hour (UTC) | rows |", "|---|---|"]
    lines += [f"| {hour} | {rows} |" for hour, rows in watched.volume.by_hour.items()]
    create_markdown_artifact("\n".join(lines), key=f"{_slug(watched.model)}-traffic")
    columns = [
        *(watched.predictions.columns if watched.predictions else ()),
        *(watched.inputs.columns if watched.inputs else ()),
    ]
    if columns:
        rows = [column.model_dump() for column in columns[:_MOST_COLUMNS]]
        create_table_artifact(
            rows, key=f"{_slug(watched.model)}-drift", description="; ".join(watched.reasons)
        )
        title = f"{watched.model}: how far each column has drifted"
        _show_picture(f"{_slug(watched.model)}-drift-picture", title, drifts(columns, threshold))


def show_rollout(standing: Standing, drawing: str) -> None:
    """Where a rollout stands: in a sentence, as a table of guards with what is still to go, and as a picture."""
    decision = standing.decision
    where = f"at {100 * standing.weight:g}% of the keys" if standing.weight else "in shadow"
    lines = [
        f"# {standing.model}: version {standing.new} beside version {standing.old}, {standing.status} {where}",
        "",
        decision.why,
        "",
    ]
    rows = guard_rows(standing.policy, standing.counts, standing.labels, decision.answers, decision.to_go)
    if rows:
        lines += [f"| {' | '.join(rows[0])} |", f"|{'---|' * len(rows[0])}"]
        lines += [f"| {' | '.join(row.values())} |" for row in rows]
    lines += ["", f"{len(standing.pods)} server processes report, {standing.counts.pairs:,} pairs in all."]
    create_markdown_artifact("\n".join(lines), key=f"{_slug(standing.model)}-rollout")
    title = f"{standing.model}: what is not ruled out, after so many pairs"
    _show_picture(f"{_slug(standing.model)}-rollout-picture", title, drawing)


def show_audit(audit: Audit) -> None:
    """A line a version, and all that does not hold."""
    lines = [f"# {audit.headline}", "", "| model | version | promoted | score | |", "|---|---|---|---|---|"]
    for model in audit.models:
        lines += [
            f"| {model.model} | {version.version} | {version.promoted:%Y-%m-%d} | {version.score if version.score is None else f'{version.score:.4f}'} "
            f"| {version.standing}{': ' if version.problems or version.notes else ''}{'; '.join((*version.problems, *version.notes))} |"
            for version in model.versions
        ]
    lines += ["", *(f"- {fault}" for fault in audit.faults())]
    create_markdown_artifact("\n".join(lines), key="audit")


def show_question(model: str, text: str) -> None:
    """What whoever decides about a version has to see, beside the run that waits for the answer."""
    create_markdown_artifact(text, key=f"{_slug(model)}-question")


def _show_picture(key: str, title: str, svg: str) -> None:
    """In markdown: an image artifact would print all of its address beside it."""
    encoded = base64.b64encode(svg.encode()).decode()
    create_markdown_artifact(f"# {title}\n\n![{title}](data:image/svg+xml;base64,{encoded})", key=key)


def _slug(model: str) -> str:
    """Artifact keys take no underscores."""
    return model.replace("_", "-")
