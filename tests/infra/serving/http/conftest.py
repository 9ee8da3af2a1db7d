"""One model folder for all tests of the server's HTTP side."""

from pathlib import Path

import pytest
import serving_models as models
from both_protocols import ROW


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(tmp_path_factory.mktemp("m") / "digits", models.mlp(), {"x": [ROW]})
