"""Why a run ran, picked what it picked, and promotes or does not: one paragraph, for whoever finds it in the morning."""

from collections.abc import Iterable

from tasks.outcome import Selection, StepTime
from tasks.proof.evidence import Evidence

_FOLLOWS = {
    "fail": "The gate refuses it, so it does not serve, and what serves goes on serving",
    "inconclusive": "The gate is not sure, so a person has to decide, and what serves goes on serving until then",
    "pass": "The gate lets it pass, and mlflow.yaml leaves it at that: it becomes the champion, unless the run was told not to promote",
    "manual": "The gate lets it pass, and mlflow.yaml asks for a person's approval: it waits for an answer",
}


def why(evidence: Evidence, selection: Selection, approval: str) -> str:
    """In sentences; `approval`: auto or manual, as mlflow.yaml says for the model."""
    verdict = evidence.proof.verdict
    follows = _FOLLOWS["manual" if (verdict.decision, approval) == ("pass", "manual") else verdict.decision]
    picked = f" Of {len(selection.candidates)} candidates it picked {selection.reason}." if selection.reason else ""
    return f"{why_it_ran(evidence.times)}{picked} {follows}: {verdict.reasons[0]}."


def why_it_ran(steps: Iterable[StepTime]) -> str:
    """By the first step that had something new to do."""
    new = next((step for step in steps if not step.cached and step.reason != "every time"), None)
    if new is None:
        return "Every step's result was there already, and no version was made of them."
    if new.reason == "first run":
        return f"It ran because there was nothing like it before ({new.name}: first run)."
    return f"It ran because of {new.name}: {new.reason}."
