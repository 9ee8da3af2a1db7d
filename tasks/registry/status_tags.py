"""What people see of a model on one page: short signed tags on the registered model, the last word on each subject.

Flows write what only they know (a run's outcome, drift, a question); the model server and `slipway status` read the same tags.
A tag that our key did not sign is not shown. The server imports this: nothing heavy here.
"""

import datetime
import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, ValidationError

from tasks.system.frozen import Frozen
from tasks.system.sentences import first_line, shortened
from tasks.system.signing import keyring, sign_text, signing_key

if TYPE_CHECKING:
    from tasks.registry.registry import Registry

log = logging.getLogger("slipway")

STATUS_TAG = "slipway.status."
"""And the subject behind it."""

LONGEST = 5000
"""Characters of a tag, as MLflow's databases keep them."""

Subject = Literal["champion", "run", "traffic", "question"]

Tone = Literal["good", "plain", "warn", "bad"]

Page = Literal["prefect", "mlflow", "report"]

Said = Annotated[str, AfterValidator(lambda text: shortened(" ".join(text.split()), 400))]


class StatusTag(Frozen):
    """The last word on one subject. `until`: it is open, and nobody answers it after that; `pages`: where to read on, by what shows them."""

    model: str
    subject: Subject
    at: AwareDatetime = Field(default_factory=lambda: datetime.datetime.now(datetime.UTC))
    said: Said
    tone: Tone = "plain"
    version: int | None = None
    until: AwareDatetime | None = None
    pages: Mapping[Page, str] = {}

    def open(self, now: datetime.datetime) -> bool:
        """Whether somebody is still asked."""
        return self.until is not None and now < self.until


Statuses = Mapping[Subject, StatusTag]


def publish(registry: "Registry", tag: StatusTag, *, first: bool = False) -> None:
    """Write it on the registered model, signed; `first`: one without versions is made to bear it, for pages know no other place.

    What cannot be written is said in the log, and no reason for a run to fail.
    """
    try:
        key = signing_key()
        if key is None:
            return
        there = registry.model_tags(tag.model) is not None
        if first and not there:
            registry.begin_model(tag.model)
        if first or there:
            payload = tag.model_dump_json(exclude_defaults=True)
            text = json.dumps([payload, sign_text(payload, key)], separators=(",", ":"), ensure_ascii=False)
            registry.tag_model(tag.model, {STATUS_TAG + tag.subject: text})
    except Exception as error:  # MLflow's, the network's and the key's have no common base
        log.warning("%s: its page is not told of the %s: %s", tag.model, tag.subject, first_line(error))


def all_statuses(registry: "Registry") -> dict[str, Statuses]:
    """Of every registered model of which something was said. Raises UserError where there is no public key to check it with."""
    said = {name: tags for name, tags in registry.models().items() if status_texts(tags)}
    fits = keyring().fits if said else None
    return {} if fits is None else {name: read_statuses(name, tags, fits) for name, tags in said.items()}


def status_texts(tags: Mapping[str, str]) -> dict[str, str]:
    """Of a registered model's tags those that are meant to be these."""
    return {name: text for name, text in tags.items() if name.startswith(STATUS_TAG) and len(text) <= LONGEST}


def read_statuses(model: str, tags: Mapping[str, str], fits: Callable[[str, str], bool]) -> Statuses:
    """By subject, what `fits` says that our key signed of this model; parses nothing unsigned, and leaves out the rest."""
    read = (_read(text, fits) for text in status_texts(tags).values())
    return {tag.subject: tag for tag in read if tag is not None and tag.model == model}


def _read(text: str, fits: Callable[[str, str], bool]) -> StatusTag | None:
    try:
        payload, signature = json.loads(text)
        if isinstance(payload, str) and isinstance(signature, str) and fits(payload, signature):
            return StatusTag.model_validate_json(payload)
    except (ValueError, TypeError, RecursionError, ValidationError):
        pass
    return None
