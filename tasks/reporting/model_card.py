"""Evidence → what MLflow's pages say of a model and of a version: what it is, how good, how to ask it, what served before, where weak."""

import json
from collections.abc import Iterator, Sequence

from tasks.config import Gates
from tasks.data.dataset import asked_rows
from tasks.measured import Interval
from tasks.proof.evidence import Evidence
from tasks.records import Dataset, OnnxModel, TensorSpec
from tasks.reporting.candidates import numbers

_WEAKEST = 5

_LONGEST_ROW = 700

_DIGITS = 7

WRITTEN_HERE = "*Slipway writes this page with each version, for as long as it ends with this line.*"


def model_card(
    evidence: Evidence, dataset: Dataset, onnx_model: OnnxModel, served: Sequence[str] = ()
) -> str:
    """Markdown for the version's description in MLflow; `served`: what served before it, the last first, in words."""
    return "\n".join(
        [
            *_what(evidence, onnx_model),
            *_score(evidence),
            *_call(evidence.model, dataset),
            "\n## What served before\n",
            *([f"- {line}" for line in served] or ["Nothing: it is the first that was made."]),
            *_limits(evidence),
            *_data(evidence),
            *_tensors(dataset, onnx_model),
        ]
    )


def measured(evidence: Evidence) -> Iterator[str]:
    """The parts that need nothing but the evidence: how good, where weak, of which rows."""
    yield from _score(evidence)
    yield from _limits(evidence)
    yield from _data(evidence)


def model_page(model: str, workload: str, dataset: Dataset, runs: str | None) -> str:
    """Markdown for the registered model's description, which holds whichever version serves; `runs`: where its runs are shown."""
    all_runs = f" [What came of each run]({runs})." if runs else ""
    return "\n".join(
        [
            f"# {model}\n",
            f"Made by `slipway run {workload}`. Which version is which, its alias says: **champion** serves, **previous** served before it, "
            f"and **challenger** is the newest whose proof is complete, until it serves. How good a version is, and how it was judged, its own page says.{all_runs}",
            *_call(model, dataset),
            f"\n## What served before\n\n`slipway history {model}` says what served when, who decided and why; "
            f"`slipway rollback {model}` goes back.\n",
            WRITTEN_HERE,
        ]
    )


def _what(evidence: Evidence, onnx_model: OnnxModel) -> Iterator[str]:
    report = evidence.proof.report
    yield f"# {evidence.model}: {report.score_name} {report.score:.4f}, {evidence.proof.verdict.decision}\n"
    yield (
        f"`{evidence.picked}`, ONNX opset {onnx_model.opset}, {report.size_bytes / 1e3:,.0f} kB, made by `slipway run {evidence.workload}` "
        f"on {evidence.created:%d %B %Y} from code `{(evidence.code.revision or 'unknown')[:12]}`"
        f"{' with uncommitted changes' if evidence.code.dirty else ''}. SHA-256 `{evidence.model_sha256}`, proved in {report.engine}.\n"
    )
    if evidence.origin is not None:
        yield f"The workload: {evidence.origin}.\n"
    yield from (f"- {reason}" for reason in (*evidence.proof.verdict.reasons, *evidence.remarks))


def _score(evidence: Evidence) -> Iterator[str]:
    proof = evidence.proof
    yield "\n## Score\n"
    yield f"| {proof.report.score_name} on the test rows | | interval |"
    yield "|---|---|---|"
    yield f"| this version | {proof.report.score:.4f} | {_interval(proof.report.interval)} |"
    if proof.baseline.name != proof.report.name:
        yield f"| fp32, uncompressed | {proof.baseline.score:.4f} | {_interval(proof.baseline.interval)} |"
    if proof.comparison is not None and proof.comparison.difference is not None:
        yield f"| less champion v{proof.comparison.champion} | {proof.comparison.difference:+.4f} | {_interval(proof.comparison.interval, '+.4f')} |"
    for other in proof.report.others:
        yield f"| {other.goal}, {other.score_name} | {other.score} | {_interval(other.interval)} |"
    for detail in proof.report.details:
        yield f"| {detail.name} | {numbers(detail.values)} | {_interval(detail.interval)} |"
    yield f"\n| speed, one thread, in {proof.report.engine} | median | against fp32's throughput |"
    yield "|---|---|---|"
    for speed in proof.report.speed:
        yield f"| batch {speed.batch} | {speed.p50_ms:.3f} ms | {speed.throughput_ratio:.2f}× ({speed.interval:.2f}) |"


def _limits(evidence: Evidence) -> Iterator[str]:
    """Where it is weakest, what it was never shown, and what it does then."""
    report = evidence.proof.report
    enough = Gates.model_validate(evidence.config["gates"]).min_slice_rows
    yield "\n## Limits\n"
    scored = [(group.score, group) for group in report.slices if group.score is not None]
    for score, group in sorted(scored, key=lambda pair: pair[0])[:_WEAKEST]:
        doubt = "" if group.rows >= enough else f", too few to judge (under {enough})"
        yield f"- {group.column}={group.value}: {report.score_name} {score:.4f} on {group.rows} rows{doubt}"
    yield from (f"- {odd.given}: {odd.outcome}" for odd in report.behaviour)
    yield f"- The interval covers chance in the choice of {report.rows} test rows, and not a change of the world they came from."


def _data(evidence: Evidence) -> Iterator[str]:
    yield "\n## Data\n"
    yield f"{evidence.described_rows} rows, fingerprint `{evidence.fingerprint}`."


def _call(model: str, dataset: Dataset) -> Iterator[str]:
    """With a row of the validation split where it is short enough to read."""
    row = _short(asked_rows(dataset, "validation", 1).request(slice(0, 1)))
    body = json.dumps({"inputs": row}, ensure_ascii=False).replace("'", "\\u0027")
    what = (
        "A real row:"
        if len(body) <= _LONGEST_ROW
        else "A row is long; a body that works lies beside the model:"
    )
    given = f"'{body}'" if len(body) <= _LONGEST_ROW else "@serving_input_example.json"
    yield f"""
## Ask it

{what}

```
slipway serve {model}@champion
curl -H 'Content-Type: application/json' -d {given} http://127.0.0.1:8080/models/{model}/invocations
```
"""
    for classes in (fitted.classes for fitted in dataset.fitted if fitted.classes):
        shown = ", ".join(f"{code} = {name}" for code, name in enumerate(classes[:30]))
        yield f"Classes in the order of the outputs: {shown}{' …' if len(classes) > 30 else ''}."


def _short(value: object) -> object:
    """A row's numbers as people write them: an example says what is asked, and more digits say nothing."""
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_short(each) for each in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _tensors(dataset: Dataset, onnx_model: OnnxModel) -> Iterator[str]:
    yield "\n## Tensors\n"
    yield "| tensor | dtype | shape |"
    yield "|---|---|---|"
    yield from (f"| in: {_tensor(spec)} |" for spec in dataset.asked)
    yield from (f"| out: {_tensor(spec)} |" for spec in onnx_model.outputs)


def _tensor(spec: TensorSpec) -> str:
    return f"`{spec.name}` | {spec.dtype} | {' × '.join(map(str, spec.shape))}"


def _interval(interval: Interval | None, spec: str = ".4f") -> str:
    return "" if interval is None else f"{interval:{spec}}"
