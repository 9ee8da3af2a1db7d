"""Why a run ran, and why its version is promoted or not: one paragraph, for whoever finds it in the morning."""

from collections.abc import Iterable

from tasks.outcome import Outcome, StepTime
from tasks.proof.evidence import Evidence

_FOLLOWS = {
    "fail": "The gate refuses it ({}): it does not serve, and what serves goes on serving.",
    "inconclusive": "The gate is not sure ({}): a person has to decide, and what serves goes on serving until then.",
    "pass": "The gate lets it pass ({}), and mlflow.yaml leaves it at that: it becomes the champion, unless the run was told not to promote.",
    "manual": "The gate lets it pass ({}), and mlflow.yaml asks for a person's approval: it waits for an answer.",
}

_SAID = {
    "fail": "The gate refused it",
    "inconclusive": "The gate was not sure",
    "pass": "The gate let it pass",
}


def why(evidence: Evidence, approval: str) -> str:
    """In sentences; `approval`: auto or manual, as mlflow.yaml says for the model."""
    verdict = evidence.proof.verdict
    follows = _FOLLOWS["manual" if (verdict.decision, approval) == ("pass", "manual") else verdict.decision]
    return f"{why_it_ran(evidence.times)} {follows.format(verdict.reasons[0])}"


def why_then(evidence: Evidence) -> str:
    """The same, long afterwards: without what was to follow, which may have come otherwise."""
    verdict = evidence.proof.verdict
    return f"{why_it_ran(evidence.times)} {_SAID[verdict.decision]}: {verdict.reasons[0]}."


def why_it_ran(steps: Iterable[StepTime]) -> str:
    """By the first step that had something new to do."""
    new = next((step for step in steps if not step.cached and step.reason != "every time"), None)
    if new is None:
        return "It ran because no version was made of this before; every step's result was there already."
    if new.reason == "first run":
        return f"It ran because {new.name} had not run before."
    return f"It ran because of {new.name}: {new.reason}."


def why_started(outcome: Outcome, reason: str) -> str:
    """What a run was started for, and why there was nothing to do, if there was not."""
    nothing = (
        " There was nothing to learn: the training rows are those of before, and newer ones would change that."
        if outcome.decision == "unchanged"
        else ""
    )
    return f"Started because of {reason.rstrip('.')}.{nothing}"
