"""Where things are: SLIPWAY_HOME, the registry, and each model's promotion policy (mlflow.yaml)."""

import os
import tempfile
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from tasks.config import Gates, RunConfig
from tasks.errors import UserError
from tasks.rollout.policy import RolloutPolicy
from tasks.system.frozen import Frozen
from tasks.system.urls import without_secrets

_FILE = "mlflow.yaml"

ANYONE: Literal["anyone on this machine"] = "anyone on this machine"


Runs = Literal["anyone on this machine"] | tuple[Path, ...]
"""Whose workloads run: files and modules here and bundles by this machine's own key; or only bundles by one of these public keys."""


class Limits(Frozen):
    """When served traffic is no longer what the champion was trained on."""

    hours: float = Field(24, gt=0, description="Rows that were served in the last so many hours count.")
    min_rows: int = Field(200, ge=1, description="With fewer recorded rows nothing is said.")
    psi: float = Field(
        0.25, gt=0, description="Population stability index from which a column has drifted, if surely."
    )
    p_value: float = Field(0.01, gt=0, lt=1, description="Corrected p-value below which a drift is sure.")
    share: float = Field(
        0.1, ge=0, lt=1, description="Share of the inputs that may drift before it is an alarm."
    )
    labelled: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of so many hours' rows with a label, from which their score decides.",
    )


class Policy(Frozen):
    """What one model needs to be promoted, and how it is watched."""

    approval: Literal["auto", "manual"] = Field("auto", description="Whether a pass promotes by itself.")
    moves: Literal["permitted", "ledger"] = Field(
        "permitted",
        description="What servers take when the alias moves: any version with a permit, or only what the ledger promoted.",
    )
    approvers: tuple[str, ...] | None = Field(
        None,
        description="Who may let a version through, send one back, and steer a rollout; everybody else trains, and may say no. Left out: whoever has the key.",
    )
    by_account: bool = Field(
        False,
        description="Whether MLflow has to know the approver's account: a name that is only said decides nothing then, nor does Prefect's form, whose accounts are one shared word.",
    )
    patience_days: float = Field(7, gt=0, description="How long a question waits; then it is a refusal.")
    monitor: Limits = Limits()
    gates: dict[str, Any] = Field({}, description="Gates of the workload that production overrides.")
    rollout: RolloutPolicy | None = Field(
        None, description="How a version is let through by steps; none: the alias moves at once."
    )

    @property
    def starts_by_gate(self) -> bool:
        """Whether a pass alone is enough for whoever moves the alias by hand."""
        return self.approval == "auto" and self.moves == "permitted"

    @property
    def permits_by_gate(self) -> bool:
        """Whether a pass alone lets a version serve, whoever moves the alias to it; where a rollout begins, that is what permits it."""
        return self.starts_by_gate and self.rollout is None


class Settings(Frozen):
    """Where this process keeps and finds things; read once, at a command's start."""

    home: Path
    tracking_uri: str
    store: str | None = None
    runs: Runs = ANYONE
    models: dict[str, Policy] = {}

    @property
    def embedded(self) -> bool:
        """Whether MLflow is a local SQLite file, so that artifacts go under `home`."""
        return self.tracking_uri.startswith("sqlite:")

    @property
    def has_own_registry(self) -> bool:
        """Whether neither the environment nor mlflow.yaml names another than the one in `home`."""
        return self.tracking_uri == _own_database(self.home)

    @property
    def registry(self) -> str:
        """Where models are looked for, in words, without a password."""
        if self.has_own_registry:
            return f"of {self.home} (SLIPWAY_HOME)"
        return f"at {without_secrets(self.tracking_uri)}"

    def policy(self, model: str) -> Policy:
        return self.models.get(model) or self.models.get("default") or Policy()

    def apply_policy(self, model: str, run: RunConfig) -> RunConfig:
        """`run` with the gates that production sets for this model. Raises UserError for a gate that does not exist."""
        gates = {**run.gates.model_dump(), **self.policy(model).gates}
        try:
            return run.model_copy(update={"gates": Gates.model_validate(gates)})
        except ValidationError as error:
            raise UserError(f"{_FILE}, models.{model}.gates: {_first(error)}.") from error

    def check_policy(self, model: str, run: RunConfig) -> None:
        """Raise UserError for a gate that was asked for and that production has set otherwise: neither is dropped unsaid."""
        enforced = self.apply_policy(model, run).gates
        for name in self.policy(model).gates:
            asked, wanted = getattr(run.gates, name), getattr(enforced, name)
            if asked != wanted:
                raise UserError(
                    f"gates.{name}={asked} cannot be asked of {model}: {_settings_file()} sets it to {wanted}, for whoever owns production; change it there."
                )


def load_settings() -> Settings:
    """Read mlflow.yaml (here, else Slipway's own) and the environment. Raises UserError for what does not fit."""
    home = Path(os.environ.get("SLIPWAY_HOME") or ".slipway").absolute()
    path = _settings_file()
    try:
        content = _read_yaml(path)
        content.pop("aliases", None)  # older files explained the aliases as data
        if "home" in content:
            raise UserError(f"{path} sets home: that is SLIPWAY_HOME's, in the environment.")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or content.get("tracking_uri")
        given = {
            "home": _writable(home),
            "tracking_uri": uri or _own_database(home),
            "runs": runs(),
            "store": os.environ.get("SLIPWAY_STORE") or content.get("store"),
        }
        return Settings.model_validate(content | given)
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error)}.") from error


def runs() -> Runs:
    """mlflow.yaml's `runs` alone, which holds before any code of a user's is imported; no home is made for it."""
    path = _settings_file()
    given = _read_yaml(path).get("runs", ANYONE)
    listed = isinstance(given, list) and given and all(isinstance(key, str) for key in given)
    if given != ANYONE and not listed:
        raise UserError(
            f"{path}: runs: {given!r} says not whose: write `{ANYONE}`, or a list of PEM public keys' paths."
        )
    return ANYONE if given == ANYONE else tuple(path.absolute().parent / key for key in given)


def _own_database(home: Path) -> str:
    return f"sqlite:///{home / 'mlflow.db'}"


def _settings_file() -> Path:
    if named := os.environ.get("SLIPWAY_SETTINGS"):
        return Path(named)
    here = Path(_FILE)
    return here if here.is_file() else Path(__file__).parent.parent / _FILE


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        if os.environ.get("SLIPWAY_SETTINGS"):
            raise UserError(
                f"SLIPWAY_SETTINGS={path} is not there: name a file such as mlflow.yaml, or unset it."
            )
        return {}
    try:
        content = yaml.safe_load(path.read_bytes()) or {}
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): mend its permissions.") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no text, or a day that no month has
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__}; it must be a mapping such as `tracking_uri: null`."
        )
    return content


def _writable(home: Path) -> Path:
    """The folder, made for its owner alone."""
    if "?" in str(home):
        raise UserError(
            f"SLIPWAY_HOME={home} has a '?', where a database's address ends: choose another folder."
        )
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass  # nameless where the system has that: a kill leaves nothing
    except OSError as error:
        raise UserError(
            f"SLIPWAY_HOME={home} cannot be written ({error.strerror}): choose another folder or mend its permissions."
        ) from error
    return home


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    said = problem["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, problem['loc'])) or 'value'}: {said}"
