"""Who decides: a person, by name and as far as it is known whether it is they; and who may.

MLflow knows its accounts, and says as whom it knows us. All else is a word: `--who`, SLIPWAY_USER, git's name, the name typed into
Prefect's form, whose accounts are one shared word. The ledger keeps which of the two it was.
"""

import getpass
import os
import subprocess
from contextlib import suppress

from tasks.errors import RefusedError
from tasks.registry.http import account_at
from tasks.settings import Settings
from tasks.system.frozen import Frozen

_LONGEST = 200

_GIT_SECONDS = 2


class Rule(str):
    """What decides by a rule, or is found to have decided: no person."""


class Decider(Frozen):
    """Who decides. `account`: as whom MLflow knows the process that does, where it knows anybody; `claimed`: nothing proves that it is `who`."""

    who: str
    account: str | None = None
    claimed: bool = False


def decided_by(settings: Settings, given: str | None = None) -> Decider:
    """As given, else MLflow's account, else SLIPWAY_USER, else git's name, else the operating system's user."""
    if isinstance(given, Rule):
        return Decider(who=str(given))
    account = account_at(settings.tracking_uri)
    name = (given or "").strip() or account or _own_name()
    claimed = name != account
    return Decider(who=name[:_LONGEST], account=account if claimed else None, claimed=claimed)


def check_may_decide(settings: Settings, model: str, given: str | None) -> None:
    """Raise RefusedError where mlflow.yaml names who decides what serves of this model, and it is somebody else."""
    policy = settings.policy(model)
    if policy.approvers is None:
        return
    decider, approvers = decided_by(settings, given), ", ".join(policy.approvers) or "nobody"
    if decider.who not in policy.approvers:
        raise RefusedError(
            f"{decider.who} may train {model}, and {approvers} decide what serves (approvers in mlflow.yaml): ask there; nothing was moved."
        )
    if policy.by_account and decider.claimed:
        raise RefusedError(
            f"Nothing proves that this is {decider.who}, and mlflow.yaml asks for an account of MLflow's (by_account): set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to theirs, and decide by a command; nothing was moved."
        )


def _own_name() -> str:
    if name := os.environ.get("SLIPWAY_USER", "").strip() or _git_name():
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


def _git_name() -> str:
    with suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, timeout=_GIT_SECONDS
        )
        return asked.stdout.strip()
    return ""
