"""`predict`: the running server asked for answers, as many rows at a time as it takes."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from infra.client.tables import Array, Rows, columns_of, frame_of, joined, listed
from infra.platform.state import read_state
from infra.serving.options import LOOPBACK, ServeOptions, Target
from infra.serving.wire.tensors import V2_TYPES
from tasks.errors import RefusedError, StepError, UserError
from tasks.system.sentences import some
from tasks.system.urls import without_secrets

if TYPE_CHECKING:
    import pandas as pd
    from requests import Response

SERVER_VARIABLE, KEY_VARIABLE = "SLIPWAY_SERVER", "SLIPWAY_SERVER_KEY"

_ROWS = 1000
"""In one request; fewer where these are too much for the server."""

_DTYPES = {word: np.dtype(name) for name, word in V2_TYPES.items()}

_BUSY = (429, 503)


def predict(
    model: str,
    rows: Rows,
    *,
    server: str | None = None,
    key: str | None = None,
    timeout: float = 60.0,
) -> "pd.DataFrame":
    """A running server's answers: a row for each of `rows`, a column for each of the model's outputs.

    `rows`: a DataFrame, columns by name, a list of rows by name, or one array for a model with one input; columns that
    the model does not take are left out. `server`: its address; left out, SLIPWAY_SERVER, the one of `slipway up` on SLIPWAY_HOME,
    or the one that `slipway serve` starts unless told otherwise. `key`: left out, SLIPWAY_SERVER_KEY. `timeout`: seconds for each
    request, a busy server's pauses included. What an output has more than one number of a row of, a cell has as an array;
    `.attrs` says which server and which versions answered.

    Raises UserError, in one sentence, for rows that do not fit, a model that is not served, a server that is not there or a key it does not take.
    """
    target = Target.parse(model)
    asked = _Server(_address(server), key or os.environ.get(KEY_VARIABLE) or "", timeout)
    described = asked.describe(target)
    inputs = [tensor["name"] for tensor in described["inputs"]]
    dtypes = {tensor["name"]: _DTYPES[tensor["datatype"]] for tensor in described["outputs"]}
    columns = columns_of(target.name, rows, inputs)
    length = len(columns[inputs[0]])
    outputs: list[dict[str, Array]] = []
    versions: dict[str, str] = {}
    most, start = _ROWS, 0
    while start < length:
        part = slice(start, min(start + most, length))
        answer = asked.predictions(target.name, listed(columns, part), part, length)
        if answer is None:  # too much at once
            most = (part.stop - part.start) // 2
            continue
        said, version, digest = answer
        versions[version] = digest
        outputs.append({name: np.array(said[name], dtype) for name, dtype in dtypes.items()})
        start = part.stop
    empty = {name: np.zeros(0, dtype) for name, dtype in dtypes.items()}
    about = {"model": target.name, "server": asked.where, "versions": versions}
    return frame_of(joined(outputs, dtypes) if outputs else empty, rows, about)


def _address(given: str | None) -> str:
    if address := given or os.environ.get(SERVER_VARIABLE):
        if urlsplit(address).scheme not in ("http", "https"):
            raise UserError(f"{address!r} is no server's address: write it as http://host:8080.")
        return address.rstrip("/")
    state = read_state(Path(os.environ.get("SLIPWAY_HOME") or ".slipway").absolute())
    for service in state.services if state is not None else ():
        if service.name == "server":
            return service.url
    port = ServeOptions.model_fields["port"].default
    return f"http://{LOOPBACK[0]}:{port}"


class _Server:
    """A model server, as one caller asks it."""

    def __init__(self, url: str, key: str, timeout: float) -> None:
        import requests

        self.url = url
        self.where = without_secrets(url)
        self.timeout = timeout
        self.session = requests.Session()
        self.session.trust_env = urlsplit(url).hostname not in LOOPBACK  # no proxy for one's own machine
        self.session.auth = lambda request: request  # nor an account of ~/.netrc in the key's place
        if key:
            self.session.headers["X-API-Key"] = key

    def describe(self, target: Target) -> dict[str, Any]:
        """The model's inputs and outputs, as the Open Inference Protocol has them."""
        response = self._ask("GET", f"/v2/models/{target.name}")
        if response.status_code == 404:
            raise UserError(
                f"{target.name} is not served at {self.where}: there is {self._models() or 'no model'}."
            )
        self._check(response, "")
        described: dict[str, Any] = _json(response)
        if "inputs" not in described or "outputs" not in described:
            raise StepError(
                f"{self.where} is no model server of Slipway's: give the right address as server= or in {SERVER_VARIABLE}."
            )
        return described

    def predictions(
        self, model: str, columns: dict[str, Any], part: slice, length: int
    ) -> "tuple[Mapping[str, Any], str, str] | None":
        """What the model says of some rows, with version and digest; None when these are too many for one request."""
        import orjson

        body = orjson.dumps({"inputs": columns}, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = {"Content-Type": "application/json"}
        response = self._ask("POST", f"/models/{model}/invocations", data=body, headers=headers)
        if part.stop - part.start > 1 and _too_many(response):
            return None
        self._check(
            response, f" (rows {part.start} to {part.stop - 1})" if part.stop - part.start < length else ""
        )
        about = response.headers
        return _json(response)["predictions"], about["X-Model-Version"], about["X-Model-Digest"]

    def _models(self) -> str:
        return some([*_json(self._ask("GET", "/health")).get("models", {})], 20)

    def _ask(self, method: str, path: str, **what: Any) -> "Response":
        """The server's answer; a busy one is asked again when it says, for as long as `timeout`."""
        import requests

        end = time.monotonic() + self.timeout
        while True:
            left = max(end - time.monotonic(), 0.001)
            try:
                response = self.session.request(
                    method, self.url + path, timeout=(min(5.0, left), left), allow_redirects=False, **what
                )
            except requests.Timeout as error:
                raise StepError(
                    f"{self.where} has not answered in {self.timeout:g} s: give it longer with timeout=."
                ) from error
            except (requests.RequestException, UnicodeError) as error:
                raise UserError(
                    f"No model server answers at {self.where}: start one with `slipway up` or `slipway serve`, "
                    f"or name another as server= or in {SERVER_VARIABLE}."
                ) from error
            said = response.headers.get("Retry-After", "")
            pause = float(said) if said.isdigit() else 1.0
            if response.status_code not in _BUSY or time.monotonic() + pause > end:
                return response
            time.sleep(pause)

    def _check(self, response: "Response", which: str) -> None:
        """Raises what a refusal says, as one sentence."""
        if response.ok and response.status_code < 300:
            return
        if response.status_code in (401, 403):
            wanted = f"give it as key= or in {KEY_VARIABLE}"
            had = "its key is refused" if "X-API-Key" in self.session.headers else "it asks for a key"
            raise RefusedError(f"{self.where} does not answer, for {had}: {wanted}.")
        said = str(_json(response).get("error") or f"status {response.status_code}").rstrip(".")
        kind = UserError if response.status_code in (400, 413, 415, 422) else StepError
        raise kind(f"{self.where} does not answer{which}: {said}.")


def _json(response: "Response") -> dict[str, Any]:
    try:
        said = response.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _too_many(response: "Response") -> bool:
    """Whether fewer rows might be taken."""
    return response.status_code == 413 or (
        response.status_code == 422 and "rows are more than" in str(_json(response).get("error"))
    )
