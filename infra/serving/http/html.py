"""HTML made of text: whatever is not an element of ours is escaped, and links lead to web pages alone."""

import html
from collections.abc import Iterable
from urllib.parse import urlsplit


class Html(str):
    """What is HTML already."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str) -> Html:
    """An element of text and elements; `class_` is its class."""
    said = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{said}>{joined(children)}</{name}>")


def joined(parts: Iterable[str], between: str = "") -> Html:
    return Html(between.join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def link(text: str, address: str) -> str:
    """The text alone, where the address is none of a web page."""
    try:
        fits = urlsplit(address).scheme in ("http", "https")
    except ValueError:
        fits = False
    return element("a", text, href=address, rel="noreferrer") if fits else text
