"""Champions of a release before there were permits: where the private key is, they get theirs before a server asks for it."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from flows.cli.neighbours import join_platform
from tasks.errors import UserError
from tasks.settings import Settings, load_settings
from tasks.system import signing

log = logging.getLogger("slipway")


def before_serving(words: Sequence[str]) -> None:
    """Of what `slipway serve` is told to serve, and where the platform of its home keeps it. What cannot be done now leaves it to the server to say what is missing."""
    from infra.serving.__main__ import parser

    if not {"-h", "--help"}.isdisjoint(words) or not words:
        return
    given = vars(parser("slipway serve").parse_args(words))
    for option, variable in (("home", "SLIPWAY_HOME"), ("tracking_uri", "MLFLOW_TRACKING_URI")):
        if option in given:
            os.environ[variable] = str(given[option])
    join_platform()
    if not given.get("allow_unsigned"):
        try:
            permit(load_settings(), given["models"])
        except UserError as error:
            log.debug("no champion was looked at: %s", error)


def permit(settings: Settings, references: Sequence[str]) -> None:
    """Give a permit to each that the ledger, or its gate, let through then; a server that has served one here has it."""
    from infra.serving.lifecycle.cache import recall
    from infra.serving.options import Target

    targets = [target for text in references if (target := Target.parse(text)).path is None]
    notes = {str(target): recall(settings.home / "serving" / "cache", target) for target in targets}
    asked = [name for name, note in notes.items() if note is None or not note.pointer.permit]
    if not asked or not _has_key(settings.home) or not _has_registry(settings):
        return
    from tasks.promotion.ledger import read_ledger
    from tasks.promotion.permits import may_serve
    from tasks.registry.lookup import find_version
    from tasks.registry.registry import Registry

    registry = Registry(settings)
    for reference in asked:
        try:
            version = find_version(registry, reference)
            why_not = may_serve(registry, read_ledger(registry, version.model), version)
            log.debug("%s: %s", reference, why_not or "it may serve")
        except UserError as error:
            log.debug("%s: %s", reference, error)


def _has_key(home: Path) -> bool:
    """None is made for this: a new one fits nothing."""
    return signing.given() is not None or (home / "keys" / "private.pem").is_file()


def _has_registry(settings: Settings) -> bool:
    """Looking into a database that is not there would make it."""
    return not settings.embedded or Path(settings.tracking_uri.removeprefix("sqlite:///")).is_file()
