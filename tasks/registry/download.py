"""The files of a registered version from a server that hands them out itself, without MLflow's client."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from tasks.registry.http import FILES_AT_ONCE, MlflowServer, RestError
from tasks.system.urls import without_secrets

if TYPE_CHECKING:
    from requests import Response

_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


def download_folder(server: MlflowServer, uri: str, folder: Path) -> Path | None:
    """Every file at an artifact address, below `folder`; its path, or None when the server does not hand them out itself.

    Raises RestError when there is nothing, and for a file outside of its folder.
    """
    parts = urlsplit(uri)
    if parts.scheme != "mlflow-artifacts" or parts.netloc:
        return None
    root = PurePosixPath(parts.path.lstrip("/"))
    names = _list(server, root, PurePosixPath())
    if not names:
        raise RestError(f"there is nothing at {uri}", "RESOURCE_DOES_NOT_EXIST")
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        list(pool.map(lambda one: _fetch(server, root / one, folder / one), names))
    return folder


def _list(server: MlflowServer, root: PurePosixPath, below: PurePosixPath) -> list[PurePosixPath]:
    found: list[PurePosixPath] = []
    answer = server.request("GET", _ARTIFACTS, params={"path": str(root / below)})
    for entry in answer.json().get("files", []):
        path = below / entry["path"]
        if path.is_absolute() or ".." in path.parts:
            raise RestError(f"the server names a file outside of its folder: {path}", "INVALID_PATH")
        found += _list(server, root, path) if entry["is_dir"] else [path]
    return found


def _fetch(server: MlflowServer, remote: PurePosixPath, local: Path) -> None:
    local.parent.mkdir(parents=True, exist_ok=True)
    with server.request("GET", f"{_ARTIFACTS}/{quote(str(remote))}", stream=True) as answer:
        with open(local, "wb") as file:
            for block in _blocks(server, answer):
                file.write(block)


def _blocks(server: MlflowServer, answer: "Response") -> Iterator[bytes]:
    from requests import RequestException

    try:
        yield from answer.iter_content(1 << 20)
    except RequestException as error:
        where = without_secrets(server.uri)
        raise RestError(f"MLflow at {where} broke off in the middle of a file", "UNAVAILABLE") from error
