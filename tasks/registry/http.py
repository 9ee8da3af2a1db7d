"""HTTP to an MLflow server as MLflow's own client speaks it: who asks, which certificates hold, what is sent again."""

import base64
import os
from configparser import ConfigParser
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tasks.errors import StepError
from tasks.system.urls import without_secrets

if TYPE_CHECKING:
    from requests import Response, Session

FILES_AT_ONCE = 4

LONGEST_PAUSE_SECONDS = 5.0
"""Between two tries of one request."""

_CONNECT_SECONDS, _ANSWER_SECONDS = 5.0, 60.0

_NEEDS_MLFLOW = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_WORKSPACE")


class MlflowError(StepError):
    """MLflow does not answer, or answers something else; `error_code` as in MlflowException."""

    def __init__(self, message: str, error_code: str = "UNAVAILABLE") -> None:
        super().__init__(message)
        self.error_code = error_code

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered a little later."""
        return self.error_code in ("UNAVAILABLE", "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")


def is_missing(error: Exception) -> bool:
    """Whether MLflow said, to its own client or to ours, that there is no such thing."""
    return getattr(error, "error_code", None) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class MlflowServer:
    """An MLflow server; what surely did not reach it is sent again up to `tries` times."""

    uri: str
    tries: int = 0

    @property
    def where(self) -> str:
        return without_secrets(self.uri).rstrip("/")

    def ask(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        """What the server says, as JSON. Raises MlflowError for all else."""
        with suppress(ValueError):
            answer = self.request(method, path, **how).json()
            if isinstance(answer, dict):
                return answer
        raise MlflowError(f"{self.where} is not an MLflow server: mend MLFLOW_TRACKING_URI.", "BAD_REQUEST")

    def request(self, method: str, path: str, **how: Any) -> "Response":
        """The response to one that went well; its body may be anything. Raises MlflowError for all else."""
        import requests

        seconds = float(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT") or _ANSWER_SECONDS)
        options = {"timeout": (_CONNECT_SECONDS, seconds), "verify": _certificates(), **how}
        try:
            response = self._session.request(method, self.where + path, **options)
        except requests.RequestException as error:
            raise MlflowError(
                f"MLflow does not answer at {self.where} ({_reason(error)}): start it there, or unset MLFLOW_TRACKING_URI for the local store."
            ) from error
        if not response.ok:
            raise self._refusal(response)
        return response

    def _refusal(self, response: "Response") -> MlflowError:
        if response.status_code in (401, 403):
            return MlflowError(
                f"MLflow at {self.where} does not accept who asks: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
                "PERMISSION_DENIED",
            )
        try:
            said = response.json()
            return MlflowError(f"MLflow at {self.where}: {said['message']}", said["error_code"])
        except (ValueError, KeyError, TypeError):
            status = response.status_code
            return MlflowError(f"MLflow at {self.where} answers {status}: see its log.", "INTERNAL_ERROR")

    @cached_property
    def _session(self) -> "Session":
        """Connections that are kept, with account and certificates."""
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        session = requests.Session()
        session.headers.update(_account(self.uri))
        again = Retry(
            self.tries,
            read=0,
            other=0,
            backoff_factor=0.2,
            backoff_max=LONGEST_PAUSE_SECONDS,
            status_forcelist=(429, 503),
            allowed_methods=None,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=FILES_AT_ONCE, max_retries=again))
        session.cert = os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None
        return session


def account_at(uri: str) -> str | None:
    """As whom the server at an address knows us, where it has accounts and ours is one; an open one, or none, knows nobody."""
    if urlsplit(uri).scheme not in ("http", "https") or needs_mlflow() or not _account(uri):
        return None
    with suppress(MlflowError, KeyError, TypeError):
        return str(MlflowServer(uri).ask("GET", "/api/2.0/mlflow/users/current")["user"]["username"])
    return None


def needs_mlflow() -> bool:
    """Whether requests are signed, or changed by a plugin: then only MLflow's own client can make them."""
    return any(map(os.environ.get, _NEEDS_MLFLOW))


def _certificates() -> bool | str:
    """What requests takes as `verify`; given with each request, for else REQUESTS_CA_BUNDLE wins over it."""
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        return False
    return os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True


def _account(uri: str) -> dict[str, str]:
    """From the address, the environment, or ~/.mlflow/credentials."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    parts, kept = urlsplit(uri), ConfigParser(interpolation=None)
    kept.read(Path(os.path.expanduser("~/.mlflow/credentials")))
    user, password = (
        unquote(given or "") or os.environ.get(name, "") or kept.get("mlflow", name.lower(), fallback="")
        for given, name in (
            (parts.username, "MLFLOW_TRACKING_USERNAME"),
            (parts.password, "MLFLOW_TRACKING_PASSWORD"),
        )
    )
    if not user:
        return {}
    account = base64.b64encode(f"{user}:{password}".encode())
    return {"Authorization": f"Basic {account.decode()}"}


def _reason(error: BaseException) -> str:
    """The innermost of the errors that a library wrapped around each other: [Errno 111] Connection refused."""
    inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return _reason(inner)
    return str(error) or type(error).__name__
