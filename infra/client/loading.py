"""`load`: a registered version on this machine, fetched, proved and asked as the server does it, without one."""

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from infra.client.tables import Rows, columns_of, frame_of, joined, listed, pieces
from infra.platform.beside import servers
from infra.serving.errors import NotNow, Unservable
from infra.serving.options import ServeOptions, Target
from tasks.errors import RefusedError, StepError, UserError
from tasks.settings import load_settings
from tasks.system.signing import public_key

if TYPE_CHECKING:
    import pandas as pd

    from infra.serving.ipc.messages import Release
    from infra.serving.models.version import LoadedVersion

T = TypeVar("T")

_ROWS = 1000
"""Read at once, so that what is read stays small."""


class Model:
    """A version in this process: `predict` answers rows as the server would, byte for byte of the file that was proved."""

    def __init__(self, loaded: "LoadedVersion") -> None:
        self._loaded = loaded

    @property
    def name(self) -> str:
        return self._loaded.release.model

    @property
    def version(self) -> str:
        """Its number in the registry."""
        return self._loaded.release.version

    @property
    def digest(self) -> str:
        """SHA-256 of model.onnx, which its signed evidence names."""
        return self._loaded.release.digest

    @property
    def inputs(self) -> dict[str, str]:
        """Type and shape of what it takes, by name; -1: any length."""
        return {tensor.name: f"{tensor.word}{list(tensor.shape)}" for tensor in self._loaded.spec.inputs}

    @property
    def outputs(self) -> dict[str, str]:
        """Type and shape of what it says, by name."""
        return {tensor.name: f"{tensor.word}{list(tensor.shape)}" for tensor in self._loaded.spec.outputs}

    def predict(self, rows: Rows) -> "pd.DataFrame":
        """A row of answers for each of `rows`, as `slipway.predict` takes and gives them. Raises UserError for rows that do not fit."""
        import numpy as np
        import orjson

        from infra.serving.models.execution import run
        from infra.serving.wire.problems import Problem

        loaded = self._loaded
        names = [tensor.name for tensor in loaded.spec.inputs]
        columns = columns_of(self.name, rows, names)
        parts = []
        for part in pieces(len(columns[names[0]]), _ROWS):
            body = orjson.dumps({"inputs": listed(columns, part)}, option=orjson.OPT_SERIALIZE_NUMPY)
            try:
                outputs = run(loaded, [loaded.invocations.carefully(body)], loaded.pace.batch)
            except Problem as problem:
                raise UserError(
                    f"{self.name} does not answer rows {part.start} to {part.stop - 1}: {problem.message}."
                ) from problem
            parts.append(dict(zip(self.outputs, outputs.arrays, strict=True)))
        empty = {tensor.name: np.zeros(0, tensor.dtype) for tensor in loaded.spec.outputs}
        about = {"model": self.name, "versions": {self.version: self.digest}}
        return frame_of(joined(parts, self.outputs) if parts else empty, rows, about)

    def __repr__(self) -> str:
        return f"<{self.name} version {self.version}, {self.digest[:12]}…: {', '.join(self.inputs)} → {', '.join(self.outputs)}>"


def load(reference: str, *, permitted: bool = True, threads: int = 1) -> Model:
    """A registered version, ready to answer here: `digits`, `digits@champion` or `digits/3`, in the registry that commands use.

    Its digest, signature and evidence are checked as the server checks them, in a process of its own, and so is its permit to serve;
    `permitted` False: also a version that nobody has let through yet, to look at it. `threads`: of ONNX Runtime.

    Raises UserError for a version that is not there, RefusedError for one that may not serve or does not hold, StepError for a registry that is away.
    """
    target = Target.parse(reference)
    if target.path is not None:
        raise UserError(
            f"{reference}: a folder has no permit; load takes a registered version, such as {target.name}@champion."
        )
    from infra.serving.models.version import load_version

    settings = load_settings()
    beside = servers(settings.home, registry=settings.has_own_registry)
    os.environ.update(
        {
            name: word
            for name, word in beside.items()
            if name.startswith("MLFLOW_TRACKING_") and name != "MLFLOW_TRACKING_URI"
        }
    )
    uri = beside.get("MLFLOW_TRACKING_URI", settings.tracking_uri)
    options = ServeOptions(home=settings.home, tracking_uri=uri, public_key=public_key())
    try:
        release = _apart(_proved(target, options, permitted))
        return Model(load_version(release, threads, None, max_rows=2**31))
    except NotNow as error:
        raise StepError(f"{target} cannot be loaded now: {error}.") from error
    except Unservable as error:
        raise RefusedError(f"{target} is not loaded: {error}.") from error


async def _proved(target: Target, options: ServeOptions, permitted: bool) -> "Release":
    """Fetched into the server's own cache, or found there, and inspected."""
    from infra.serving.lifecycle.keys import FollowedKeys
    from infra.serving.lifecycle.preparation import Preparer
    from infra.serving.lifecycle.registry import Absent, AliasSource

    registry = await asyncio.to_thread(AliasSource, options.registry)
    try:
        pointer = await asyncio.to_thread(registry.resolve, target)
    except Absent as error:
        raise UserError(
            f"There is no {target} in the registry {load_settings().registry}: `slipway history {target.name}` says what there is."
        ) from error
    preparer = Preparer(options)
    await FollowedKeys(options, preparer).look(registry)
    return await preparer.from_registry(registry, target, pointer, permitted)


def _apart(work: Coroutine[Any, Any, T]) -> T:
    """Done in a thread of its own: a notebook's has a loop that runs already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
