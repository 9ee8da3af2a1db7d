"""What Linux says of the processor."""

from pathlib import Path

from tasks.system.processor import model


def test_the_processor_has_the_name_that_linux_gives_it_or_none(tmp_path: Path) -> None:
    named = tmp_path / "cpuinfo"
    named.write_text("processor\t: 0\nmodel name\t: AMD EPYC 7742: 64-Core\n\nmodel name\t: another\n")
    assert model(named) == "AMD EPYC 7742: 64-Core"
    for text in ("processor\t: 0\nCPU part\t: 0xd0c\n", "model name\t: \n"):
        named.write_text(text)
        assert model(named) is None
    assert model(tmp_path / "nowhere") is None
