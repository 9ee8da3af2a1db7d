"""Which ports the platform takes."""

import socket
from pathlib import Path

import pytest

from infra.platform import ports
from infra.platform.ports import choose_ports


def test_a_taken_port_is_stepped_over_and_the_choice_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        usual = taken.getsockname()[1]
        monkeypatch.setattr(ports, "USUAL", {"page": usual})
        chosen = choose_ports(tmp_path)
        assert chosen["page"] > usual and (chosen["page"] - usual) % 10 == 0
    assert choose_ports(tmp_path) == chosen
