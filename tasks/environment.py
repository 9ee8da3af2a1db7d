"""Every variable of the environment that Slipway reads, for the reference in docs/; a test holds the code to this list."""

from pathlib import Path

import yaml

from tasks.system.frozen import Frozen


class Variable(Frozen):
    """One variable: its name, what it is for, and what holds while it is unset (empty: nothing, or as the meaning says)."""

    name: str
    meaning: str
    default: str = ""


def environment_variables() -> tuple[Variable, ...]:
    """As environment.yaml, which lies beside this, lists them."""
    listed = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    return tuple(map(Variable.model_validate, listed))
