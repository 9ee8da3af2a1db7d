"""Messages between the server's processes."""

from serving_messages import refusal

from infra.serving.ipc.channel import LIMIT
from infra.serving.ipc.messages import Refusal


def test_a_reason_that_quotes_a_whole_model_still_fits_the_line() -> None:
    long = refusal("1").model_dump() | {"reason": "x" * 10 * LIMIT}
    assert len(Refusal.model_validate(long).model_dump_json().encode()) < LIMIT
