"""The page on deploying one's own model, its commands in their order on a real Prefect server."""

import os
from pathlib import Path

import deployed
import pytest
from checkout import ROOT
from commands import slipway
from pages import blocks
from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

PAGE = "docs/deploy.md"

ELSEWHERE = {
    "slipway deploy churn.py --requirements extra.txt": "tests/infra/test_own_model.py, with an index of its own",
    "slipway deploy https://github.com/team/models.git@1a2b3c4d:churn.py": "tests/tasks/workloads/test_publishing.py, from a repository of its own",
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_page_deploys_changes_lists_and_withdraws(prefect_server: str, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"},
        "SLIPWAY_HOME": str(tmp_path / "home"),
        "PREFECT_API_URL": prefect_server,
        "PYTHONPATH": str(ROOT),
    }
    with deployed.talking_to(prefect_server, tmp_path), get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name="slipway", type="process"))
        except ObjectAlreadyExists:
            pass
    said = []
    for command in (command for block in blocks(PAGE) for command in block.commands):
        if command in ELSEWHERE:
            continue
        if command == "slipway deploy churn.py":
            with (tmp_path / "churn.py").open("a") as file:
                file.write("# looked at again\n")
        done = slipway(command, environment, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout)
    written, first, again, listed, withdrawn = said
    assert "churn is deployed: bundle " in first and "Runs 0 2 * * * Europe/Berlin" in first
    assert "churn is updated: bundle " in again and "  churn.py changed" in again
    (row,) = [line for line in listed.splitlines() if line.split()[:2] == ["churn", "churn"]]
    assert "0 2 * * * Europe/Berlin" in row  # other tests' deployments stand beside it
    assert withdrawn.startswith("churn is withdrawn: nothing retrains or watches it any more")
