"""Labels from end to end: a real server beside whose champion another version answers, its record, the route, and the commands."""

import datetime
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import digit_versions
import numpy as np
import pytest
from rollouts import passed, rollout_of, with_rollout
from serving_process import ServerProcess, wait_for
from watched_digits import watched_home

from flows.cli import __main__ as cli
from infra.serving.models.pairs import MOST_A_SECOND
from tasks.data.dataset import read_split
from tasks.records import Candidate, Dataset
from tasks.registry.registry import Registry
from tasks.rollout.policy import RolloutPolicy
from tasks.settings import load_settings
from tasks.traffic.pairs import labelled

ROWS = 120


@pytest.fixture
def slipway(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["slipway", *arguments])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out if code == 0 else said.err

    return run


@pytest.mark.slow
def test_labels_come_back_by_request_and_are_held_to_answers_and_to_pairs(
    linear_digits: tuple[Dataset, Candidate],
    empty_mlflow_database: Path,
    tmp_path: Path,
    slipway: Callable[..., tuple[int, str]],
) -> None:
    with watched_home(tmp_path, empty_mlflow_database, *linear_digits):
        registry = with_rollout(Registry(load_settings()), margin={"score": 0.01})
        assert passed(registry, digit_versions.register(registry, *linear_digits, noise=0.15), 1) == "rolling"
        rows = read_split(linear_digits[0], "validation")
        images, truth = np.array(rows.inputs["image"])[:ROWS], [str(digit) for digit in rows.target[:ROWS]]

        with ServerProcess("digits@champion", home=tmp_path, record=1.0, poll=0.1) as server:

            def ask(name: str, image: Any) -> None:
                answer = server.post(
                    "/invocations", {"inputs": {"image": [image.tolist()]}}, {"X-Request-Id": name}
                )
                assert answer.headers["x-request-id"] == name and answer.version == "1", answer.headers

            wait_for(
                lambda: (
                    server.metric('slipway_serving_rollout_weight{model="digits"') == 0
                    and server.get("/v2/models/digits/versions/2").status == 200
                )
            )
            for number, image in enumerate(images):
                ask(f"q{number}", image)
                time.sleep(2 / MOST_A_SECOND)  # faster ones are answered and not compared
            labels = [{"id": f"q{number}", "label": word} for number, word in enumerate(truth)]
            kept = server.post("/v2/models/digits/labels", {"labels": labels[: ROWS // 2]})
            assert (kept.status, kept.json) == (202, {"accepted": ROWS // 2})
            refused = server.post(
                "/v2/models/digits/labels", {"labels": [{"id": "q1", "label": "1", "row": -1}]}
            )
            assert refused.status == 422 and "row is -1" in refused.json["error"]

        _, said = slipway("labels", "wanted", "digits", "--out", str(tmp_path / "wanted.csv"), "--json")
        wanted = json.loads(said)
        assert wanted["rows"] and wanted["rows"][0]["old"] != wanted["rows"][0]["new"]
        assert {int(row["id"][1:]) for row in wanted["rows"]} <= {*range(ROWS // 2, ROWS)}
        header, *lines = (tmp_path / "wanted.csv").read_text().splitlines()
        filled = [line.replace(",0,,", f",0,{truth[int(line[1:].partition(',')[0])]},", 1) for line in lines]
        (tmp_path / "filled.csv").write_text("\n".join([header, *filled]))
        _, said = slipway("labels", "add", "digits", str(tmp_path / "filled.csv"), "--json")
        assert json.loads(said) == {"model": "digits", "labels": len(filled), "unknown": 0, "empty": 0}

        _, before = slipway("score", "digits", "--by", "version", "--json")
        score = json.loads(before)
        assert (score["overall"]["rows"], score["overall"]["labelled"]) == (ROWS, ROWS // 2 + len(filled))
        slipway("labels", "add", "digits", str(tmp_path / "filled.csv"))
        assert slipway("score", "digits", "--by", "version", "--json")[1] == before
        _, shown = slipway("score", "digits", "--by", "day")
        assert "coverage" in shown and f"{score['overall']['coverage']:.1%}" in shown
        _, shown = slipway("labels", "wanted", "digits")
        assert "0 rows that versions answer differently want a label" in shown
        code, shown = slipway("labels", "add", "digits", str(tmp_path / "none.csv"))
        assert code == 2 and "none.csv cannot be read" in shown

        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=24, minutes=1)
        record = rollout_of(registry, "digits").record
        counts = labelled(registry.settings, "digits", record, RolloutPolicy(), now).counts
        differ = counts.better + counts.worse + counts.neither
        assert counts.matured == counts.agreed + differ > differ >= len(filled) and counts.missing == 0
        assert (
            labelled(
                registry.settings, "digits", record, RolloutPolicy(), now - datetime.timedelta(minutes=2)
            ).counts.matured
            == 0
        )
