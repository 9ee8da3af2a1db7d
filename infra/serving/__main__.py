"""`python -m infra.serving MODEL[@ALIAS]… --option …`"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from infra.serving.ipc.launch import FOLLOWER, WORKER, Started, start

if TYPE_CHECKING:
    import argparse

    from pydantic.fields import FieldInfo

_EXAMPLES = (
    "digits@champion",
    "digits@champion flights --port 8081 --record 0.1",
    "--all --port 8080",
    "digits=path/to/a/version --allow-unsigned",
)

_CODES = (
    "exit codes: 0 ended by SIGTERM; 1 it failed while running; 2 bad usage or bad input; 130 ended by Ctrl-C"
)


def parser(prog: str) -> "argparse.ArgumentParser":
    """One option a field of ServeOptions, described by it. A secret is none: whoever is on the machine reads command lines."""
    import argparse
    import typing

    from infra.serving.options import ServeOptions

    made = argparse.ArgumentParser(
        prog,
        usage=f"{prog} [MODEL ...] [--option VALUE ...]",
        description="Serve models of the registry, following their aliases.",
        epilog="\n".join(["examples:", *(f"  {prog} {words}" for words in _EXAMPLES), "", _CODES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="NAME, NAME@ALIAS, NAME/VERSION or NAME=FOLDER; see also --all",
    )
    for name, field in ServeOptions.model_fields.items():
        if not field.repr:
            continue
        flag = "--" + name.replace("_", "-")
        kind: Any = field.annotation
        settings: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(field)}
        if kind is bool:
            settings["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is tuple:
            settings |= {"action": "append", "metavar": name.upper()}
        elif typing.get_origin(kind) is typing.Literal:
            settings["choices"] = typing.get_args(kind)
        made.add_argument(flag, **settings)
    return made


def _help(field: "FieldInfo") -> str:
    """The option's sentence and its default, where there is one and the sentence does not say it."""
    said, default = str(field.description), field.get_default()
    plain = (
        isinstance(default, int | float | str) and not isinstance(default, bool) and "default:" not in said
    )
    return f"{said} (default: {default})" if plain else said


def main(arguments: Sequence[str] | None = None, prog: str = "python -m infra.serving") -> None:
    words = sys.argv[1:] if arguments is None else list(arguments)
    asked = {"-h", "--help"}.isdisjoint(words)
    ahead = {module: start(module) for module in (WORKER, FOLLOWER)} if words and asked else {}
    try:
        sys.exit(run(words, prog, ahead))
    except KeyboardInterrupt:  # before there is a server to end in order
        sys.exit(130)
    finally:
        for started in ahead.values():
            started.discard()


def run(words: Sequence[str], prog: str, ahead: dict[str, Started]) -> int:
    """The exit code: 2 with one sentence on stderr for what the user can mend."""
    from pydantic import ValidationError

    from infra.serving.options import ServeOptions
    from infra.serving.processes.main import serve
    from tasks.errors import UserError

    options = vars(parser(prog).parse_args(words))
    models = options.pop("models")
    try:
        return serve(models, ServeOptions(**options), ahead)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        asked = f"--{str(first['loc'][0]).replace('_', '-')} {first['input']}"
        print(f"error: {asked}: {first['msg']}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    main()
