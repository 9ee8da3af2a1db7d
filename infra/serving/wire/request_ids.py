"""What a request is called: by the client, or by this process; in the answer, in the traffic record, and where its label comes back."""

import secrets
from collections.abc import Iterator, Mapping
from itertools import chain, count

from infra.serving.wire.problems import malformed

REQUEST_ID = b"x-request-id"

LONGEST_ID = 128

PRINTABLE = bytes(range(32, 127))

TAILS = tuple(b"%03x" % number for number in range(4096))


def new_ids() -> Iterator[bytes]:
    """Without end, and none that another process makes; an id costs a few dozen nanoseconds."""
    process = secrets.token_hex(6).encode()
    return chain.from_iterable(map((b"%b-%x" % (process, block)).__add__, TAILS) for block in count(1))


def is_repeatable(id: bytes) -> bool:
    """Whether it can be said again as it is, and be kept."""
    return len(id) <= LONGEST_ID and not id.translate(None, PRINTABLE)


def own_id(headers: Mapping[bytes, bytes]) -> bytes:
    """The client's own, or nothing where it has none. Raises Problem for one that is not repeatable."""
    given = headers.get(REQUEST_ID, b"")
    if not is_repeatable(given):
        raise malformed(f"the header 'x-request-id' takes at most {LONGEST_ID} printable ASCII characters")
    return given
