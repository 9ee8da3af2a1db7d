"""Our flows as deployments that the Prefect UI can start, served by this process."""

from typing import cast

from prefect import serve
from prefect.deployments.runner import RunnerDeployment

from flows.promote import promote, rollback
from flows.retrain import retrain


def main() -> None:
    """Register the deployments and run what is asked of them, until ended."""
    deployments = (
        retrain.to_deployment("retrain", description="Data to champion, for the workload that is named."),
        promote.to_deployment("promote", description="Make a version the champion, through the gate."),
        rollback.to_deployment("rollback", description="Go back to the version that served before."),
    )
    serve(*(cast(RunnerDeployment, one) for one in deployments), limit=2)


if __name__ == "__main__":
    main()
