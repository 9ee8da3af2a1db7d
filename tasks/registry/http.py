"""HTTP to an MLflow server as MLflow's own client speaks it: who asks, which certificates hold, what is sent again."""

import base64
import os
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

_LONGEST_PAUSE_SECONDS = 5.0

_TIMEOUT_SECONDS = (5, 60)

_NEEDS_MLFLOW = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_WORKSPACE")


class RestError(StepError):
    """What the server answered instead; `error_code` as in MlflowException."""

    def __init__(self, message: str, error_code: str) -> None:
        super().__init__(message)
        self.error_code = error_code

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered a little later."""
        return self.error_code in ("UNAVAILABLE", "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")


@dataclass(frozen=True)
class MlflowServer:
    """An MLflow server, and for about how many seconds to wait for it when it is away."""

    uri: str
    patience: float = 0.0

    def request(self, method: str, path: str, **how: Any) -> "Response":
        import requests

        where = without_secrets(self.uri).rstrip("/")
        try:
            answer = self._session.request(
                method, where + path, timeout=_TIMEOUT_SECONDS, verify=certificates(), **how
            )
        except requests.RequestException as error:
            raise RestError(
                f"MLflow at {where} does not answer ({type(error).__name__})", "UNAVAILABLE"
            ) from error
        if answer.ok:
            return answer
        try:
            said = answer.json()
            raise RestError(f"MLflow at {where}: {said['message']}", said["error_code"])
        except (ValueError, KeyError, TypeError):
            raise RestError(f"MLflow at {where} answers {answer.status_code}", "INTERNAL_ERROR") from None

    @cached_property
    def _session(self) -> "Session":
        return open_session(self.uri, tries=3 + round(self.patience / _LONGEST_PAUSE_SECONDS))


def needs_mlflow() -> bool:
    """Whether requests are signed, or changed by a plugin: then only MLflow's own client can make them."""
    return any(map(os.environ.get, _NEEDS_MLFLOW))


def open_session(uri: str, tries: int = 0) -> "Session":
    """Connections that are kept, with account and certificates; what surely did not reach the server is sent again."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    session = requests.Session()
    session.headers.update(_account(uri))
    again = Retry(
        tries,
        read=0,
        other=0,
        backoff_factor=0.2,
        backoff_max=_LONGEST_PAUSE_SECONDS,
        status_forcelist=(429, 503),
        allowed_methods=None,
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=FILES_AT_ONCE, max_retries=again))
    session.cert = os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None
    return session


def certificates() -> bool | str:
    """What requests takes as `verify`; given with each request, for else REQUESTS_CA_BUNDLE wins over it."""
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        return False
    return os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True


def _account(uri: str) -> dict[str, str]:
    """From the address, the environment, or ~/.mlflow/credentials."""
    parts = urlsplit(uri)
    user = unquote(parts.username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = unquote(parts.password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if not user and Path(os.path.expanduser("~/.mlflow/credentials")).is_file():
        from mlflow.utils.credentials import read_mlflow_creds

        found = read_mlflow_creds()
        user, password = found.username, found.password
    if not user:
        return {}
    account = base64.b64encode(f"{user}:{password or ''}".encode())
    return {"Authorization": f"Basic {account.decode()}"}
