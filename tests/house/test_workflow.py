"""The public CI and the hook before a commit run what is run here, and nothing else."""

import subprocess
import sys

import pytest
import yaml
from checkout import ROOT


@pytest.mark.slow
def test_the_workflow_is_one_and_calls_ci_run() -> None:
    path = ROOT / ".github" / "workflows" / "ci.yml"
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    steps = yaml.safe_load(path.read_text())["jobs"]["run"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]


def test_the_hook_before_a_commit_is_make_lint() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local" and [hook["entry"] for hook in repository["hooks"]] == ["make lint"]
