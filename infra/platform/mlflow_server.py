"""MLflow's server in one process: its own command keeps a second one that only waits, with 200 MB and five seconds."""

import os
import sys

from infra.platform.accounts import MLFLOW


def main() -> None:
    """`python -m infra.platform.mlflow_server PORT STORE ARTIFACTS`: serve on loopback until ended; with accounts if there is a first one."""
    import uvicorn  # before mlflow.server: it looks for it to put its host checks on

    port, store, artifacts = sys.argv[1:]
    from mlflow.server import constants, handlers

    os.environ.update(
        {
            constants.BACKEND_STORE_URI_ENV_VAR: store,
            constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
            constants.ARTIFACTS_DESTINATION_ENV_VAR: artifacts,
            constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        }
    )
    handlers.initialize_backend_stores(store, None, "mlflow-artifacts:/")
    asks = bool(os.environ.get(MLFLOW))
    os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"  # as `mlflow server` says: the kind of app that is made
    app = "mlflow.server.auth:create_app" if asks else "mlflow.server.fastapi_app:app"
    uvicorn.run(app, factory=asks, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
