"""Logging of one process of the server: to stderr, saying which process speaks."""

import logging
import sys


def set_up(level: str, who: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s [{who}] %(message)s", "%H:%M:%S"))
    for name, least in (("slipway", level.upper()), ("uvicorn", "WARNING")):
        logger = logging.getLogger(name)
        logger.setLevel(least)
        logger.addHandler(handler)
        logger.propagate = False
