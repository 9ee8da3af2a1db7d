"""`python -m infra.serving`: what it is told on the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from serving_process import PATIENCE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "there is nothing to serve"),
        (("a@b@c",), "not an alias"),
        (("../x",), "not a model to serve"),
        (("digits=/nowhere",), "not a folder"),
        (("digits", "digits@challenger"), "named twice"),
        (("digits", "--poll=0"), "poll"),
        (("digits", "--engine=tensorrt"), "no engine 'tensorrt': choose onnxruntime or openvino"),
        (("digits",), "no public key"),
        (("digits=.", "--home=/dev/null/home"), "choose another --home"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    home: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.serving", *arguments], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert says in done.stderr and "Traceback" not in done.stderr
