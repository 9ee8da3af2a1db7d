"""Whether the Prefect server that settings name is there and lets us in: its own client would end in a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from httpx import HTTPStatusError, TransportError
from prefect import get_client
from prefect.settings import PREFECT_API_URL

from tasks.errors import StepError


def check_prefect() -> None:
    """Raise StepError in a sentence when the server does not answer, or does not accept who asks."""
    with in_a_sentence(), get_client(sync_client=True) as client:
        client.hello().raise_for_status()


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """What Prefect's client says about a server that it cannot use, as a StepError."""
    where = PREFECT_API_URL.value()
    try:
        yield
    except TransportError as error:
        raise StepError(
            f"Prefect does not answer at {where} ({error or type(error).__name__}): start it there, or unset PREFECT_API_URL."
        ) from error
    except HTTPStatusError as error:
        denied = f"Prefect at {where} does not accept who asks: set PREFECT_API_AUTH_STRING to user:password, or PREFECT_API_KEY."
        absent = f"{where} is not the API of a Prefect server: PREFECT_API_URL is like http://host:4200/api."
        if sentence := {401: denied, 403: denied, 404: absent}.get(error.response.status_code):
            raise StepError(sentence) from error
        raise
