"""Inspections in forks of one process that has imported everything: isolated like the real ones, and twenty times quicker."""

import importlib
import os
import subprocess
import sys

from serving_process import ROOT

from infra.serving.lifecycle.inspection import InspectionRequest, InspectionResult
from infra.serving.lifecycle.inspector import inspect_version


class Inspector:
    """A process that is asked on standard input and answers on standard output, one line each."""

    def __init__(self) -> None:
        path = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "bench")))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def ask(self, request: InspectionRequest) -> InspectionResult:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(request.model_dump_json(), file=self.process.stdin, flush=True)
        return InspectionResult.model_validate_json(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


LIBRARIES = (
    "onnx",
    "onnxruntime",
    "yaml",
    "infra.serving.models.version",
)


def main() -> None:
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            print(inspect_version(InspectionRequest.model_validate_json(line)).model_dump_json(), flush=True)
            os._exit(0)
        if os.waitpid(pid, 0)[1] != 0:
            print(flush=True)


if __name__ == "__main__":
    main()
