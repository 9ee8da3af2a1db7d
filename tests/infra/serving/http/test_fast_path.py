"""With the fast path and without it, the same bytes are answered and the same is counted, whatever comes in and however split."""

import random
import re
from pathlib import Path

import pytest
import uvloop
from both_protocols import (
    KEY,
    LAST,
    TWO_ROWS,
    BothProtocols,
    compared,
    mutated,
    post,
    roll_out,
    statuses,
    torn,
)
from raw_requests import INFER, REQUESTS, VERDICTS

from infra.serving.models.recording import Recorder


def test_both_protocols_answer_byte_for_byte_the_same(folder: Path, tmp_path: Path) -> None:
    answers = compared(folder, tmp_path, [(name, [request + LAST]) for name, request in REQUESTS.items()])
    assert answers["plain"].startswith(b"HTTP/1.1 200 OK\r\n") and b"x-model-version: 7" in answers["plain"]
    assert answers["ten pipelined"].count(b"HTTP/1.1 200 OK") == 11
    assert re.findall(rb"HTTP/1.1 (\d+)", answers["good then bad then good"]) == [
        b"200",
        b"400",
        b"200",
        b"200",
    ]
    for name in ("no key", "wrong key"):
        assert answers[name].startswith(b"HTTP/1.1 401"), name
    assert answers["foreign host"].startswith(b"HTTP/1.1 421")
    assert answers["too long"].startswith(b"HTTP/1.1 413")
    assert answers["smuggled"].count(b"HTTP/1.1") == 2, "the inner request is body, never a request"
    for name in (
        "length and chunked",
        "chunked and length",
        "two lengths",
        "negative length",
        "obscured encoding",
    ):
        assert answers[name].count(b"HTTP/1.1 200") == 0, name


def verdict(answer: bytes) -> str:
    """The statuses of what came back, without that of the ping which follows where the connection stays open."""
    said = [status.decode() for status in re.findall(rb"HTTP/1.1 (\d+)", answer)]
    return " ".join(said[:-1] if answer.endswith(b"\r\n\r\n\n") else said)


def test_odd_and_hostile_requests_get_their_verdict_either_way(folder: Path, tmp_path: Path) -> None:
    cases = [(name, [request + LAST]) for name, (request, _) in VERDICTS.items()]
    answers = compared(folder, tmp_path, cases)
    assert {name: verdict(answer) for name, answer in answers.items()} == {
        name: wanted for name, (_, wanted) in VERDICTS.items()
    }


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_requests_own_id_comes_back_as_it_is_and_one_is_made_only_for_what_is_kept_by_it(
    folder: Path, tmp_path: Path, share: float
) -> None:
    ids = [b"a", b"order 7/b~", b"c" * 128, b"", b"a"]
    each = [post(extra=KEY + (b"X-Request-Id: %b\r\n" % id if id else b"")) for id in ids]
    ping = LAST.replace(b"\r\n", b"\r\nX-Request-Id: last\r\n", 1)
    pieces = {
        "one by one": [*each, ping],
        "in pieces": [part for request in each for part in (request[:40], request[40:])] + [ping],
        "pipelined": [b"".join(each) + ping],
    }

    async def run(name: str) -> list[list[bytes]]:
        protocols = BothProtocols(folder, tmp_path)
        protocols.service.slots["digits"].recorder = recorder
        answers = [
            await protocols.talk(way, pieces[name], patient=name != "pipelined")
            for way in (protocols.fast, protocols.plain)
        ]
        return [re.findall(rb"x-request-id: ([^\r]*)", answer) for answer in answers]

    made, recorder = set(), Recorder(tmp_path, share, 0)
    for name in pieces:
        for said in uvloop.run(run(name)):
            if share:
                made.add(said.pop(3))
            assert said == [b"a", b"order 7/b~", b"c" * 128, b"a", b"last"], name
    recorder.close()
    assert len(made) == 6 * share and b"" not in made


def test_a_lane_that_opens_has_its_keys_on_connections_that_knew_of_none(
    folder: Path, tmp_path: Path
) -> None:
    users = [b"user-%d" % number for number in range(40)]
    each = [post(extra=KEY + b"X-User-Id: %b\r\n" % user) for user in users]

    async def run(name: str) -> tuple[list[bytes], list[bytes], int]:
        protocols = BothProtocols(folder, tmp_path)
        slot, asked = protocols.service.slots["digits"], 0

        class Opening(getattr(protocols, name)):  # type: ignore[misc]
            def data_received(self, data: bytes) -> None:
                nonlocal asked
                asked += 1
                if asked == len(each) + 1:
                    roll_out(protocols, weight=0.5, draws=False)
                super().data_received(data)

        answer = await protocols.talk(Opening, [*each, *each, LAST], patient=True)
        lane = slot.lane
        assert lane is not None and not re.findall(rb"x-request-id", answer), "nothing of them is kept"
        answered = re.findall(rb"x-model-version: (\d)", answer)
        return answered, [b"8" if lane.takes(user) else b"7" for user in users], len(lane.batcher.requests)

    for name in ("fast", "plain"):
        answered, wanted, waiting = uvloop.run(run(name))
        assert answered[: len(users)] == [b"7"] * len(users), name
        assert answered[len(users) :] == wanted and {*wanted} == {b"7", b"8"} and not waiting, name


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_who_asks_for_a_rollouts_new_version_by_its_number_is_no_evidence_for_it(
    folder: Path, tmp_path: Path, share: float
) -> None:
    by_number = post(INFER, b"/v2/models/digits/versions/8/infer")
    routed = [post(extra=KEY + b"X-User-Id: %d\r\n" % number) for number in range(10)]

    async def run() -> tuple[int, int, dict[str, int]]:
        protocols = BothProtocols(folder, tmp_path)
        roll_out(protocols, weight=0.5, draws=False)
        slot = protocols.service.slots["digits"]
        slot.recorder = recorder
        answer = await protocols.talk(protocols.fast, [*routed, by_number, by_number, LAST], patient=True)
        assert slot.lane is not None
        by_new = [*map(slot.lane.takes, (b"%d" % number for number in range(10)))].count(True)
        return answer.count(b"x-model-version: 8"), by_new, slot.lane.pairs.counted

    recorder = Recorder(tmp_path, share, 0)
    answered, by_new, counted = uvloop.run(run())
    recorder.close()
    assert (answered, counted["requests"]) == (by_new + 2, by_new) and by_new > 0


@pytest.mark.slow
def test_however_a_request_is_split_its_answer_is_the_same(folder: Path, tmp_path: Path) -> None:
    dice = random.Random(20261126)
    cases = [
        (f"{name} {turn}", torn(dice, request + LAST))
        for turn in range(4)
        for name, (request, _) in VERDICTS.items()
    ]
    answers = compared(folder, tmp_path, cases)
    for name in {case.rpartition(" ")[0] for case, _ in cases}:
        wanted = VERDICTS[name][1]
        assert [verdict(answers[f"{name} {turn}"]) for turn in range(4)] == [wanted] * 4, name


def test_both_protocols_agree_on_mutated_and_split_requests(folder: Path, tmp_path: Path) -> None:
    dice = random.Random(20261122)
    corpus = list(REQUESTS.values())
    cases = []
    for number in range(400):
        whole = mutated(dice, dice.choice(corpus), dice.choice((0, 1, 1, 2, 5))) + LAST
        cases.append((f"{number}: {whole!r}", torn(dice, whole)))
    answers = compared(folder, tmp_path, cases)
    assert statuses(answers) <= {b"2", b"4", b"1"}, "no mutation may cost more than a 4xx"


def test_what_arrives_before_an_answer_waits_its_turn(folder: Path, tmp_path: Path) -> None:
    """The broken one is refused at once, and yet must not overtake the others."""

    async def run() -> bytes:
        protocols = BothProtocols(folder, tmp_path)

        class Hasty(protocols.fast):  # type: ignore[misc, name-defined]
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                if data == post(TWO_ROWS):
                    super().data_received(post())
                    super().data_received(post(b"{"))

        return await protocols.talk(Hasty, [post(), post(TWO_ROWS), LAST], patient=True)

    assert re.findall(rb"HTTP/1.1 (\d+)", uvloop.run(run())) == [b"200", b"200", b"200", b"400", b"200"]
