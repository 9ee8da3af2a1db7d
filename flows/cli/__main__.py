"""The `slipway` command's entry. It imports nothing of ours before Ctrl-C is one line, for the rest takes half a second."""

import signal
import sys
from types import FrameType

_INTERRUPTED = 130

_STOPPED = {
    "run": "stopped; the same command goes on from the last checkpoint, and what serves still serves.",
    "backfill": "stopped; the same command goes on where it was.",
    "up": "stopped; all of it is down.",
}
"""What Ctrl-C leaves behind."""


class _Interrupt(KeyboardInterrupt):
    """Of a class of its own: once a plain one has passed through `exec`, `python -m` ends by the signal, whatever caught it."""

    came = False
    """Libraries make other errors of it: pydantic, where it builds a validator."""


def main() -> None:
    """Run one command; interrupted, say so in one line and exit with 130."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        from flows.cli.app import run

        run()
    except BaseException as end:
        code = end.code if isinstance(end, SystemExit) else 1
        if not (_Interrupt.came and code) and not isinstance(end, KeyboardInterrupt) and code != _INTERRUPTED:
            raise
        # a second one would only break what is said and tidied up now
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(f"slipway: {_STOPPED.get(''.join(sys.argv[1:2]), 'stopped.')}", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _Interrupt.came = True
    raise _Interrupt


if __name__ == "__main__":
    main()
