"""`python -m flows.orchestration.filled_forms`: the forms of our deployments, filled in with what their workloads say, and sent as they are.

A process of its own: workloads bring torch, which the worker that registers deployments does not keep in memory for that.
"""

from typing import Any

import yaml
from prefect import get_client
from prefect.client.schemas.actions import DeploymentUpdate

from flows.orchestration.own_form import filled_form, without_nulls
from flows.orchestration.own_parts import FILE
from flows.orchestration.reachability import in_a_sentence
from tasks.errors import UserError, exiting_in_a_sentence
from tasks.workloads.catalogue import load_workload


@exiting_in_a_sentence()
@in_a_sentence()
def main() -> None:
    """Of every deployment in infra/prefect.yaml: what a person leaves as it is fits the form, and what she fills in is a change of what would be used."""
    with get_client(sync_client=True) as client:
        for made in yaml.safe_load(FILE.read_text())["deployments"]:
            flow = made["entrypoint"].rpartition(".")[2]
            deployment = client.read_deployment_by_name(f"{flow}/{made['name']}")
            form = without_nulls(_filled(made, deployment.parameter_openapi_schema or {}))
            client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=form))


def _filled(made: dict[str, Any], form: dict[str, Any]) -> dict[str, Any]:
    name = (made.get("parameters") or {}).get("workload")
    if name is None:
        return form
    try:
        form = filled_form(form, load_workload(name))
    except UserError as error:  # its package is not here: the form stays empty, and its runs say the same
        print(f"The form of retrain/{made['name']} is not filled in: {error}")
        return form
    form["properties"]["workload"] |= {"enum": [name], "default": name}
    return form


if __name__ == "__main__":
    main()
