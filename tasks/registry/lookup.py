"""Versions by the names that people write: MODEL, MODEL@ALIAS, MODEL/VERSION."""

import re

from tasks.errors import UserError
from tasks.records import Version
from tasks.registry.registry import Registry

_REFERENCE = re.compile(r"(?P<model>[^@/]+)(?:@(?P<alias>[^@/]+)|/(?P<version>\d{1,9}))?")


def find_version(registry: Registry, reference: str) -> Version:
    """The version that MODEL (its champion), MODEL@ALIAS or MODEL/VERSION names. Raises UserError when there is none."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UserError(
            f"{reference!r} names no version: write MODEL, MODEL@ALIAS or MODEL/VERSION, such as digits@champion."
        )
    model, alias, number = match["model"], match["alias"] or "champion", match["version"]
    version = registry.version(model, int(number)) if number else registry.by_alias(model, alias)
    if version is not None:
        return version
    check_model(registry, model)
    which = number or f"with the alias {alias!r}"
    raise UserError(f"{model} has no version {which}: see `slipway history {model}`.")


def check_model(registry: Registry, model: str) -> None:
    """Raise UserError when the registry has no such model."""
    if registry.model_tags(model) is None:
        raise UserError(
            f"There is no model {model!r} in the registry {registry.settings.registry}: `slipway run {model}` makes its first version."
        )
