"""`python -m flows.orchestration.filled_forms`: the forms of our deployments, filled in with what their workloads say.

A process of its own: workloads bring torch, which the worker that registers deployments does not keep in memory for that.
"""

import yaml
from prefect import get_client
from prefect.client.schemas.actions import DeploymentUpdate

from flows.orchestration.own_form import filled_form
from flows.orchestration.own_parts import FILE
from flows.orchestration.reachability import in_a_sentence
from tasks.errors import UserError, exiting_in_a_sentence
from tasks.workloads.catalogue import load_workload


@exiting_in_a_sentence()
@in_a_sentence()
def main() -> None:
    """Of every deployment of retrain that is for one workload; whatever a person fills in is then a change of what would be used."""
    with get_client(sync_client=True) as client:
        for made in yaml.safe_load(FILE.read_text())["deployments"]:
            name = (made.get("parameters") or {}).get("workload")
            if name is None:
                continue
            try:
                workload = load_workload(name)
            except (
                UserError
            ) as error:  # its package is not here: the form stays empty, and its runs say the same
                print(f"The form of retrain/{made['name']} is not filled in: {error}")
                continue
            deployment = client.read_deployment_by_name(f"retrain/{made['name']}")
            form = filled_form(deployment.parameter_openapi_schema or {}, workload)
            form["properties"]["workload"] |= {"enum": [name], "default": name}
            client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=form))


if __name__ == "__main__":
    main()
