"""Paths that are not predictions: which of them need a key, and what they say."""

from pathlib import Path

import uvloop
from both_protocols import BothProtocols


def test_metrics_need_a_key_unless_they_are_opened(folder: Path, tmp_path: Path) -> None:
    async def run() -> list[bytes]:
        protocols, answers = BothProtocols(folder, tmp_path), []
        for opened in (False, True):
            protocols.service.options = protocols.service.options.model_copy(update={"open_metrics": opened})
            for path in (b"/metrics", b"/metrics/", b"/status"):
                head = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"
                answers.append(await protocols.talk(protocols.fast, [head % path]))
        return answers

    answers = uvloop.run(run())
    assert [answer[9:12] for answer in answers] == [b"401"] * 3 + [b"200", b"401", b"401"]
    assert b'slipway_serving_events_total{event="refusal",model="digits"} 0.0\n' in answers[3], (
        "the first is seen"
    )
