"""Copy the champion of the digits as `slipway copy` does, in a process that ends itself with SIGKILL amid it.

copy_in_a_process.py REGISTRY MOMENT
"""

import os
import signal
import sys
from pathlib import Path

from tasks.promotion.copying import copy_version, destination
from tasks.registry.registry import Registry
from tasks.settings import load_settings

MOMENTS = ("half uploaded", "uploaded", "before the claim", "claimed")


def main(to: str, moment: str) -> None:
    upload, claim = Registry.upload, Registry.claim

    def uploads(self: Registry, model_id: str, folder: Path) -> None:
        if moment == "half uploaded":
            self.client.log_model_artifact(model_id, str(folder / "model.onnx"), "")
            die()
        upload(self, model_id, folder)
        if moment == "uploaded":
            die()

    def claims(self: Registry, model: str, name: str, value: str) -> str:
        if moment == "before the claim" and name.startswith("entry-"):
            die()
        standing = claim(self, model, name, value)
        if moment == "claimed" and name.startswith("entry-"):
            die()
        return standing

    for name, method in {"upload": uploads, "claim": claims}.items():
        setattr(Registry, name, method)
    settings = load_settings()
    copy_version(settings, "digits", destination(settings, to), why="it was asked")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
