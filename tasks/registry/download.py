"""The files of a registered version, from whoever keeps them: the server, this machine, or a storage that MLflow reads."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from tasks.errors import StepError
from tasks.registry.http import FILES_AT_ONCE, MlflowError, MlflowServer
from tasks.registry.rest import RestClient
from tasks.system.sentences import first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tasks.registry.local import LocalClient

_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"

_MISSING = "RESOURCE_DOES_NOT_EXIST"


def download_version(
    client: "MlflowClient | RestClient | LocalClient", name: str, version: int, folder: Path, file: str = ""
) -> Path:
    """Every file of a version, or the one named `file`, below `folder`; where they are. Raises StepError when they are not to be had.

    That there are none `is_missing` tells from all that may pass: a storage that does not answer says no more than that it failed.
    """
    try:
        address = client.get_model_version_download_uri(name, str(version))
        parts = urlsplit(address)
        if parts.scheme == "mlflow-artifacts" and not parts.netloc and isinstance(client, RestClient):
            return _from_server(client.server, PurePosixPath(parts.path.lstrip("/")), folder, file)
        if parts.scheme in ("", "file"):
            return _from_here(Path(unquote(parts.path)), folder, file)
        return _from_storage(address, client.tracking_uri, folder, file)
    except StepError:
        raise
    except FileNotFoundError as error:
        raise MlflowError(first_line(error), _MISSING) from error
    except Exception as error:  # MLflow's, the disk's and those of storages have no common base
        raise StepError(first_line(error)) from error


def _from_here(root: Path, folder: Path, file: str) -> Path:
    if not file:
        return Path(shutil.copytree(root, folder, dirs_exist_ok=True))
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(root / file, folder)).parent


def _from_storage(address: str, tracking_uri: str, folder: Path, file: str) -> Path:
    from mlflow.artifacts import download_artifacts, list_artifacts

    folder.mkdir(parents=True, exist_ok=True)
    where = f"{address.rstrip('/')}/{file}" if file else address
    try:
        there = Path(download_artifacts(where, dst_path=str(folder), tracking_uri=tracking_uri))
    except Exception as error:
        if file and file not in (
            PurePosixPath(each.path).name for each in list_artifacts(address, tracking_uri=tracking_uri)
        ):
            raise MlflowError(f"there is no {file}", _MISSING) from error
        raise
    return there.parent if file else there


def _from_server(server: MlflowServer, root: PurePosixPath, folder: Path, file: str) -> Path:
    names = [PurePosixPath(file)] if file else _list(server, root, PurePosixPath())
    if not names:
        raise MlflowError(f"MLflow at {server.where} has no files at {root}", _MISSING)
    try:
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            list(pool.map(lambda name: _fetch(server, root / name, folder / name), names))
    except MlflowError as error:
        if file and PurePosixPath(file) not in _list(server, root, PurePosixPath()):
            raise MlflowError(f"MLflow at {server.where} has no {file} at {root}", _MISSING) from error
        raise
    return folder


def _list(server: MlflowServer, root: PurePosixPath, below: PurePosixPath) -> list[PurePosixPath]:
    names: list[PurePosixPath] = []
    for entry in server.ask("GET", _ARTIFACTS, params={"path": str(root / below)}).get("files", []):
        path = below / entry["path"]
        if path.is_absolute() or ".." in path.parts:
            raise MlflowError(f"the server names a file outside of its folder: {path}", "INVALID_PATH")
        names += _list(server, root, path) if entry["is_dir"] else [path]
    return names


def _fetch(server: MlflowServer, remote: PurePosixPath, local: Path) -> None:
    from requests import RequestException

    local.parent.mkdir(parents=True, exist_ok=True)
    address = f"{_ARTIFACTS}/{quote(str(remote))}"
    try:
        with server.request("GET", address, stream=True) as response, local.open("wb") as file:
            file.writelines(response.iter_content(1 << 20))
    except RequestException as error:
        raise MlflowError(f"MLflow at {server.where} broke off in the middle of a file") from error
