"""Every variable of the environment that Slipway reads, for the reference in docs/; a test holds the code to this list."""

from tasks.system.frozen import Frozen


class Variable(Frozen):
    """One variable: its name, what it is for, and what holds while it is unset (empty: nothing, or as the meaning says)."""

    name: str
    meaning: str
    default: str = ""


def _variable(name: str, meaning: str, default: str = "") -> Variable:
    return Variable(name=name, meaning=meaning, default=default)


VARIABLES: tuple[Variable, ...] = (
    _variable(
        "SLIPWAY_HOME", "The folder of all state: databases, datasets, results, keys, logs.", ".slipway"
    ),
    _variable(
        "SLIPWAY_STORE", "Where datasets and checkpoints go too, for other machines: s3://bucket/slipway."
    ),
    _variable(
        "SLIPWAY_PRIVATE_KEY", "The PEM file to sign with; unset: the key under SLIPWAY_HOME, made once."
    ),
    _variable("SLIPWAY_PUBLIC_KEY", "The PEM file to check signatures with; unset: the private key's half."),
    _variable("SLIPWAY_USER", "Who decides, for the ledger; unset: the user of the operating system."),
    _variable(
        "SLIPWAY_TASK_RUNNER", "Where candidates are made: threads, ray or ray://host:10001.", "threads"
    ),
    _variable("SLIPWAY_WEBHOOK_URL", "Whom our automations on the Prefect server tell what happened."),
    _variable("SLIPWAY_SQL_URL", "The database of a workload that loads by `sql(…)` and names no other."),
    _variable(
        "SLIPWAY_SERVE_KEYS", "The model server's API keys, with commas between; --keys-file is for many."
    ),
    _variable(
        "SLIPWAY_SERVE_WEBHOOK_SECRET", "Shared with MLflow's webhook, whose calls the server then obeys."
    ),
    _variable(
        "SLIPWAY_REVISION", "The code's revision, for evidence, where there is no git checkout: an image."
    ),
    _variable("SLIPWAY_DEBUG", "With any value: what libraries say to each other is on the screen."),
    _variable(
        "SLIPWAY_MARK", "Set by Slipway for the processes that it starts, to know them again. Not for you."
    ),
    _variable(
        "MLFLOW_TRACKING_URI", "MLflow's address; unset: as mlflow.yaml says, else a file under SLIPWAY_HOME."
    ),
    _variable("MLFLOW_TRACKING_USERNAME", "Who asks MLflow; with MLFLOW_TRACKING_PASSWORD."),
    _variable("MLFLOW_TRACKING_TOKEN", "Who asks MLflow, in one word."),
    _variable(
        "MLFLOW_AUTH_ADMIN_PASSWORD", "`slipway up`: MLflow asks for accounts; the first one's password."
    ),
    _variable("MLFLOW_AUTH_ADMIN_USERNAME", "`slipway up`: the first account's name.", "admin"),
    _variable(
        "MLFLOW_AUTH_CONFIG_PATH", "`slipway up`: MLflow's own settings of accounts, in place of ours."
    ),
    _variable("PREFECT_API_URL", "The Prefect server to run on; unset: `slipway run` starts one for itself."),
    _variable("PREFECT_API_AUTH_STRING", "Who asks that Prefect server: name:password."),
    _variable("PREFECT_SERVER_API_AUTH_STRING", "`slipway up`: Prefect asks for this name:password."),
    _variable("RAY_ADDRESS", "The cluster for SLIPWAY_TASK_RUNNER=ray; unset: one of this machine's own."),
    _variable("WORDNET_HOME", "Where the workload glosses finds WordNet's data.noun.", "/usr/share/wordnet"),
)
