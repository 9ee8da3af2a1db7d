"""MLflow's server in one process: its own command keeps a second one that only waits, with 200 MB and five seconds."""

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from infra.platform.accounts import MLFLOW
from infra.platform.own_machine import OwnMachineOnly
from tasks.errors import exiting_in_a_sentence
from tasks.registry.moved import lead_home
from tasks.registry.tables import make_tables
from tasks.registry.tags import MOVED_BY_TAG

_FIRST_VISIT = """<style>[data-assistant-ui] { display: none !important }</style><script>
for (const [name, value] of Object.entries({
  "mlflow.workflowType_v1": "machine_learning",
  "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": true,
  "mlflow.home.getting-started.collapsed_v1": true,
  "mlflow.settings.telemetry.enabled_v1": false,
  "mlflow.telemetry.info.alert.dismissed_v1": true,
  "_mlflow_model_registry_promo_modal_dismissed_v1": true
})) if (localStorage.getItem(name) === null) localStorage.setItem(name, JSON.stringify(value))
</script>"""
"""No assistant, no tour of prompts or of the registry, and no notice about usage data: the server sends none."""


def main() -> None:
    """`python -m infra.platform.mlflow_server PORT STORE ARTIFACTS`: serve on loopback until ended; with accounts if there is a first one."""
    import uvicorn  # before mlflow.server: it looks for it to put its host checks on

    port, store, artifacts = sys.argv[1:]
    with exiting_in_a_sentence():
        lead_home(store)
    from mlflow.server import constants, handlers

    os.environ.update(
        {
            constants.BACKEND_STORE_URI_ENV_VAR: store,
            constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
            constants.ARTIFACTS_DESTINATION_ENV_VAR: artifacts,
            constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        }
    )
    make_tables(store)
    handlers.initialize_backend_stores(store, None, "mlflow-artifacts:/")
    os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"  # as `mlflow server` says: the kind of app that is made
    app = _with_accounts() if os.environ.get(MLFLOW) else _open()
    _open_as_machine_learning()
    uvicorn.run(OwnMachineOnly(app, int(port)), host="127.0.0.1", port=int(port), log_level="warning")


def _open_as_machine_learning() -> None:
    """What a browser that was never here keeps for MLflow's pages, which have no setting of the server's for it."""
    from mlflow.server import app

    page = Path(app.static_folder or "", "index.html").read_text()
    page = page.replace("<head>", f"<head>{_FIRST_VISIT}", 1)
    app.view_functions["serve"] = lambda: page


def _open() -> Any:
    from mlflow.server.fastapi_app import app

    return app


def _with_accounts() -> Any:
    """The app that asks who asks. MLflow takes the first password it is given and no other later: said now, not by every run."""
    from mlflow.server import app as flask
    from mlflow.server import auth

    app = auth.create_app()
    user = os.environ["MLFLOW_TRACKING_USERNAME"]
    if not auth.store.authenticate_user(user, os.environ["MLFLOW_TRACKING_PASSWORD"]):
        sys.exit(
            f"MLflow keeps the first password that {user!r} was given, and {MLFLOW} is another: give that one, or, if it is "
            f"lost, move the users of {auth.auth_config.database_uri} away, for accounts to begin anew."
        )
    flask.after_request(_note_mover)
    return app


def _note_mover(response: Any) -> Any:
    """Whose account moved the alias, for the ledger: MLflow itself keeps no word of it."""
    from flask import request
    from mlflow.server import auth, handlers

    asked = request.get_json(silent=True) if request.path.endswith("/registered-models/alias") else None
    if isinstance(asked, dict) and asked.get("alias") == "champion" and response.status_code == 200:
        who: Any = auth.authenticate_request()
        moved = {"who": who.username, "version": asked.get("version")}
        store: Any = handlers._get_model_registry_store()
        store.set_registered_model_tag(asked["name"], _Tag(MOVED_BY_TAG, json.dumps(moved)))
    return response


class _Tag(NamedTuple):
    """As a store of MLflow's takes one."""

    key: str
    value: str


if __name__ == "__main__":
    main()
