"""`serve`: bind the port, run the supervisor, tidy up."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import closing, suppress

from infra.serving.http.api_keys import keys_given
from infra.serving.ipc.launch import Started
from infra.serving.ipc.log import set_up
from infra.serving.options import LOOPBACK, ServeOptions, Target, traffic_of
from infra.serving.processes.supervisor import Supervisor
from tasks.errors import UserError
from tasks.system.scratch import scratch

INTERRUPTED = 130

logger = logging.getLogger("slipway.serving")


def serve(models: Sequence[str], options: ServeOptions, ahead: dict[str, Started]) -> int:
    """Serve until SIGTERM or SIGINT; gives back the exit code, 0 or 130. UserError for what cannot be served at all.

    `ahead`: processes that were started early, by module; those that are used are taken out.
    """
    targets = tuple(Target.parse(text) for text in models)
    check(targets, options)
    set_up(options.log_level, "server")
    open_to_all = not keys_given() and options.keys_file is None
    if open_to_all and options.host not in LOOPBACK:
        logger.warning("%s is open to whoever can reach it: there are no keys (--keys-file)", options.host)
    listener = bind(options)
    with scratch("serving") as run_folder, closing(listener):
        supervisor = Supervisor(targets, options, listener, run_folder, ahead)
        asyncio.run(supervisor.run())
    if supervisor.failure is not None:
        raise UserError(supervisor.failure)
    return INTERRUPTED if supervisor.interrupted else 0


def check(targets: tuple[Target, ...], options: ServeOptions) -> None:
    """What no registry needs to be asked for."""
    keys_given()
    check_names(targets, options)
    by_alias = options.all or any(target.path is None for target in targets)
    if by_alias and not options.allow_unsigned:
        check_key(options)
    check_home(options)


def check_names(targets: tuple[Target, ...], options: ServeOptions) -> None:
    """What is to be served is said, once."""
    names = [target.name for target in targets]
    if not targets and not options.all:
        raise UserError("there is nothing to serve: name a model, such as digits@champion, or say --all")
    if len(set(names)) != len(names):
        raise UserError(f"{max(names, key=names.count)!r} is named twice: one name serves one version")
    for target in targets:
        if target.path is not None and not target.path.is_dir():
            raise UserError(
                f"{target.path} is not a folder: {target.name}=FOLDER takes an MLflow model folder"
            )


def check_home(options: ServeOptions) -> None:
    """The folders that the processes write to can be made; those that are there may be read-only."""
    for folder in (options.cache, *([traffic_of(options.home)] if options.record else ())):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder} cannot be made ({error.strerror}): choose another --home") from None


def check_key(options: ServeOptions) -> None:
    """There must be a key to check evidence with; beside its private half it is made when it is missing."""
    if options.public_key is None and not options.key.is_file():
        from tasks.system.signing import public_key

        with suppress(UserError):
            public_key()
    if not options.key.is_file():
        raise UserError(
            f"there is no public key at {options.key}: say --public-key, or --allow-unsigned to go without evidence"
        )


def bind(options: ServeOptions) -> socket.socket:
    """The listening socket that all workers share: it stays open when one of them has to be started again."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"cannot listen on {options.host}:{options.port}: {error.strerror}; choose another --host or --port, 0 takes a free one"
        ) from None
    listener.listen(4096)
    return listener
