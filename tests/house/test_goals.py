"""No step asks which goal, answer or metric it has: what differs between them, they do themselves."""

import re
from pathlib import Path

from checkout import ROOT

ASKS = re.compile(
    r"isinstance\([^)]*\b(Answer|Goal|Target|Metric|Marks|Values|One|Many|Each|Quantiles)\b"
    r"|workload\.kind\b|\bgoal\.name\s*==|\bmetric\.name\s*[!=]=|\.kind == \"(classification|regression)\""
    r"|\bclasses is (not )?None|\bmatch (goal|answer|metric)\b"
)


def test_no_step_outside_goals_asks_what_it_has() -> None:
    files = [path for top in ("tasks", "flows", "infra") for path in (ROOT / top).rglob("*.py")]
    steps = [path for path in files if not path.is_relative_to(ROOT / "tasks" / "goals")]
    asked = [
        f"{path.relative_to(ROOT)}: {said.group()}"
        for path in steps
        for said in ASKS.finditer(path.read_text())
    ]
    assert asked == [] and len(steps) > 200


def test_the_pattern_finds_what_it_forbids(tmp_path: Path) -> None:
    for line in (
        "isinstance(answer, One)",
        "if workload.kind == 'x'",
        "if dataset.classes is None:",
        "isinstance(goal.metric, Metric)",
        "goal.metric.name != 'accuracy'",
    ):
        assert ASKS.search(line)
