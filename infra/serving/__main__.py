"""`python -m infra.serving MODEL[@ALIAS]… --option …`"""

import argparse
import sys
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from infra.serving.options import ServeOptions
from tasks.errors import UserError


def parser(prog: str) -> argparse.ArgumentParser:
    """One option a field of ServeOptions, described by it."""
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
    from infra.serving.main import serve

    options = vars(parser(prog).parse_args(arguments))
    models = options.pop("models")
    try:
        sys.exit(serve(models, ServeOptions(**options)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        print(f"error: --{str(first['loc'][0]).replace('_', '-')}: {first['msg']}", file=sys.stderr)
        sys.exit(2)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
