"""How a version is let through by steps: mlflow.yaml's `rollout:` of a model."""

import datetime
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from tasks.system.frozen import Frozen

_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}

_SHADOW = "shadow"

_AGES = datetime.timedelta(days=700_000)
"""What any clock of today can count back; a rollout on terms that no pass can reckon with could not be ended either."""


def _duration(given: Any) -> Any:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *(s|min|h|d)", given) if isinstance(given, str) else None
    if match is None:
        raise ValueError(f"{given!r} is no length of time: write 90s, 10min, 24h or 7d")
    try:
        return datetime.timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError as error:
        raise ValueError(f"{given!r} is longer than a length of time can be") from error


def _written(duration: datetime.timedelta) -> str:
    return f"{duration.total_seconds():.15g}s"


def _share(given: Any) -> Any:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *%", given) if isinstance(given, str) else None
    if given == _SHADOW or given == 0:
        return 0.0
    if match is None or not 0 < float(match[1]) < 100:
        raise ValueError(f"{given!r} is no step: write shadow, or a share of the keys such as 1% or 50%")
    return float(match[1]) / 100


def _rising(steps: tuple[float, ...]) -> tuple[float, ...]:
    if not steps or list(steps) != sorted(set(steps)):
        raise ValueError("steps have to rise, such as [shadow, 1%, 10%, 50%]")
    return steps


Duration = Annotated[
    datetime.timedelta, BeforeValidator(_duration), PlainSerializer(_written, return_type=str)
]
"""A length of time, written 90s, 10min, 24h or 7d."""

Step = Annotated[
    float,
    BeforeValidator(_share),
    PlainSerializer(lambda share: f"{100 * share:.15g}%" if share else _SHADOW, return_type=str),
]
"""Share of the keys that the new version answers, in [0, 1): written shadow (none) or 10%."""


class Margins(Frozen):
    """What is still as good: beyond it a version goes back, surely within it it goes on."""

    errors: float = Field(
        0.002, gt=0, lt=1, description="Share of requests that it fails and the other answers."
    )
    slower: float = Field(1.1, ge=1, description="Ratio of CPU times of the same row, in the median.")
    tail: float = Field(
        0.01, gt=0, lt=1, description="Share of requests, net, that take it twice that ratio."
    )
    score: float | None = Field(
        0.01, gt=0, lt=1, description="Points of accuracy, as a share; null: not asked for."
    )


class Hold(Frozen):
    """The least that a version stays at a step."""

    minutes: float = Field(10, ge=0, le=4_000_000_000)
    requests: int = Field(200, ge=0, description="Pairs, at the shadow step; else requests that it answered.")


class RolloutPolicy(Frozen):
    """What a version has to show in production before it is the champion."""

    steps: Annotated[tuple[Step, ...], AfterValidator(_rising)] = (0.0, 0.01, 0.1, 0.5)
    key: str | None = Field(
        None,
        max_length=300,
        description="Header whose value always gets the same version; null: the request's id decides.",
    )
    alpha: float = Field(
        0.05, gt=0, le=0.2, description="Chance of ever deciding wrongly, each way, at any number of looks."
    )
    margin: Margins = Margins()
    hold: Hold = Hold()
    horizon: Duration = Field(
        datetime.timedelta(hours=24), le=_AGES, description="A label that comes later is missing."
    )
    patience: Duration = Field(datetime.timedelta(days=7), description="Then a person is asked.")
