"""`import slipway` is of the distribution, under that name alone."""

from pathlib import Path

from checkout import ROOT
from setuptools.config.pyprojecttoml import read_configuration


def test_the_wheel_has_slipway_at_its_top_and_nowhere_else() -> None:
    setuptools = read_configuration(ROOT / "pyproject.toml")["tool"]["setuptools"]
    packages = setuptools["packages"]
    assert {"slipway", "infra.client", "flows.cli"} <= {*packages} and "infra.client.slipway" not in packages
    assert Path(setuptools["package-dir"]["slipway"]) == Path("infra/client/slipway")
