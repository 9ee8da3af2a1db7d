"""Prefect's server in this process, for this machine alone: `slipway up` has it with its pages, a single run without."""

import os
import sys


def main() -> None:
    """`python -m flows.orchestration.prefect_server PORT [--no-accounts]`: serve on loopback until ended, as Prefect's settings say."""
    import uvicorn

    from infra.platform.own_machine import OwnMachineOnly, origins

    port = int(sys.argv[1])
    if "--no-accounts" in sys.argv:  # those are meant for `slipway up`: who would be told here?
        os.environ.pop("PREFECT_SERVER_API_AUTH_STRING", None)
    os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(origins(port))
    from prefect.server.api.server import create_app

    uvicorn.run(OwnMachineOnly(create_app(final=True), port), host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    main()
