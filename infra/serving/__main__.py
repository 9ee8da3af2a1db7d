"""`python -m infra.serving MODEL[@ALIAS]… --option …`"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from infra.serving.early import FOLLOWER, WORKER, Started, start

if TYPE_CHECKING:
    import argparse


def parser(prog: str) -> "argparse.ArgumentParser":
    """One option a field of ServeOptions, described by it."""
    import argparse
    import typing

    from infra.serving.options import ServeOptions

    made = argparse.ArgumentParser(prog, description="Serve models of the registry, following their aliases.")
    made.add_argument(
        "models", nargs="+", metavar="MODEL", help="NAME, NAME@ALIAS, NAME/VERSION or NAME=FOLDER"
    )
    for name, field in ServeOptions.model_fields.items():
        flag = "--" + name.replace("_", "-")
        kind: Any = field.annotation
        settings: dict[str, Any] = {"default": argparse.SUPPRESS, "help": field.description}
        if kind is bool:
            settings["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is tuple:
            settings |= {"action": "append", "metavar": name.upper()}
        elif typing.get_origin(kind) is typing.Literal:
            settings["choices"] = typing.get_args(kind)
        made.add_argument(flag, **settings)
    return made


def main(arguments: Sequence[str] | None = None, prog: str = "python -m infra.serving") -> None:
    words = sys.argv[1:] if arguments is None else list(arguments)
    asked = {"-h", "--help"}.isdisjoint(words)
    ahead = {module: start(module) for module in (WORKER, FOLLOWER)} if words and asked else {}
    try:
        sys.exit(run(words, prog, ahead))
    finally:
        for started in ahead.values():
            started.discard()


def run(words: Sequence[str], prog: str, ahead: dict[str, Started]) -> int:
    """The exit code: 2 with one sentence on stderr for what the user can mend."""
    from pydantic import ValidationError

    from infra.serving.main import serve
    from infra.serving.options import ServeOptions
    from tasks.errors import UserError

    options = vars(parser(prog).parse_args(words))
    models = options.pop("models")
    try:
        return serve(models, ServeOptions(**options), ahead)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        print(f"error: --{str(first['loc'][0]).replace('_', '-')}: {first['msg']}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    main()
