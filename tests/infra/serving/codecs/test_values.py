"""Values in requests, whichever protocol brings them: the same rows, refused one by one, and counted by what they come to."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
import pytest
from coded import NASTY, echo_of, jpeg, jpegs, texts, write_tokenizer
from onnx import TensorProto, helper
from PIL import Image as Pictures

from infra.serving.codecs.bytes_tensors import packed as packed_texts
from infra.serving.codecs.mlflow_scoring import predictions
from infra.serving.errors import Unservable
from infra.serving.http import openapi
from infra.serving.http.service import Service
from infra.serving.ipc.messages import Release
from infra.serving.models.execution import Request, execute
from infra.serving.models.recording import Sample, _line
from infra.serving.models.version import LoadedVersion, load_version
from infra.serving.wire.budget import Budget
from infra.serving.wire.problems import Problem
from infra.serving.wire.tensors import Outputs, RequestRows
from tasks.codecs import Coded, Codes, Image, Text
from tasks.records import TensorSpec
from tasks.system.files import sha256_of

Array = np.ndarray[Any, Any]
NOBODY: Any = None


def loaded_from(folder: Path) -> LoadedVersion:
    digest = sha256_of(folder / "model.onnx")
    release = Release(model="m", version="1", digest=digest, folder=folder, evidence="local")
    return load_version(release, threads=1, batch=16, max_rows=4096)


def int64(*names: str, shape: tuple[int | str, ...] = ("batch",)) -> list[TensorSpec]:
    return [TensorSpec(name=name, dtype="int64", shape=shape) for name in names]


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> LoadedVersion:
    folder = tmp_path_factory.mktemp("reads")
    coded = Coded(
        {
            "gloss": Text(column="gloss", tokenizer=write_tokenizer(folder / "t.json"), length=48),
            "plan": Codes(column="plan", words=("basic", "plus")),
        }
    )
    tensors = [
        *int64("input_ids", "attention_mask", shape=("batch", "length")),
        *int64("plan"),
        TensorSpec(name="numbers", dtype="float32", shape=("batch", 2)),
    ]
    return loaded_from(echo_of(coded, tensors, columns(["a cat"]), folder))


@pytest.fixture(scope="module")
def sees(tmp_path_factory: pytest.TempPathFactory) -> LoadedVersion:
    coded = Coded({"photo": Image(column="photo", size=(24, 24))})
    tensors = [TensorSpec(name="image", dtype="uint8", shape=("batch", 24, 24, 3))]
    example = {"photo": [base64.b64encode(jpegs(1)[0]).decode()]}
    return loaded_from(echo_of(coded, tensors, example, tmp_path_factory.mktemp("sees")))


def columns(glosses: Sequence[str]) -> dict[str, list[Any]]:
    count = len(glosses)
    return {"gloss": [*glosses], "plan": (["plus", "?"] * count)[:count], "numbers": [[1.5, -2.0]] * count}


def answer(version: LoadedVersion, rows: RequestRows) -> list[Array]:
    return [*version.run([rows]).arrays]


def test_all_forms_of_both_protocols_bring_the_same_rows(reads: LoadedVersion) -> None:
    given = columns(NASTY)
    names, count = list(given), len(NASTY)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*given.values(), strict=True)]
    bodies = [
        {"inputs": given},
        {"instances": rows},
        {"dataframe_records": rows},
        {"dataframe_split": {"columns": names, "data": [[*row.values()] for row in rows]}},
    ]
    answers = [answer(reads, reads.invocations.read(orjson.dumps(body))) for body in bodies]
    v2: list[dict[str, Any]] = [
        {"name": "gloss", "datatype": "BYTES", "shape": [count], "data": given["gloss"]},
        {"name": "plan", "datatype": "BYTES", "shape": [count], "data": [base64.b64encode(w.encode()).decode() for w in given["plan"]], "parameters": {"content_type": "base64"}},
        {"name": "numbers", "datatype": "FP32", "shape": [count, 2], "data": given["numbers"]},
    ]  # fmt: skip
    answers.append(answer(reads, reads.inference.read(orjson.dumps({"inputs": v2}), None)[0]))
    raw = [packed_texts(np.array(given[name], object)) for name in ("gloss", "plan")]
    raw.append(np.array(given["numbers"], "<f4").tobytes())
    for item, part in zip(v2, raw, strict=True):
        item.pop("data")
        item["parameters"] = {"binary_data_size": len(part)}
    head = orjson.dumps({"inputs": v2})
    for _ in range(2):  # what is kept of the first's head must not be taken for the second's
        body = head + b"".join(raw)
        answers.append(answer(reads, reads.inference.read(body, str(len(head)).encode())[0]))
    for other in answers[1:]:
        for expected, got in zip(answers[0], other, strict=True):
            np.testing.assert_array_equal(expected, got)
    assert answers[0][0].shape == (count, 48) and answers[0][2].tolist() == [2, 0] * (count // 2) + [2] * (
        count % 2
    )


def requests(version: LoadedVersion, bodies: Sequence[dict[str, Any]]) -> list[Request]:
    read = [version.invocations.read(orjson.dumps({"inputs": body})) for body in bodies]
    return [Request(rows, predictions, NOBODY, 0.0) for rows in read]


def test_texts_of_several_requests_are_padded_together_and_a_long_request_is_one(
    reads: LoadedVersion,
) -> None:
    short, long = requests(reads, [columns(["a cat"]), columns(["the dog " * 12])])
    (done,) = execute(reads, None, [short, long], 64)
    assert isinstance(done.outputs, Outputs) and done.outputs.arrays[0].shape == (2, 32)
    (alone,) = execute(reads, None, [short], 64)
    assert isinstance(alone.outputs, Outputs) and alone.outputs.arrays[0].shape == (1, 16)
    np.testing.assert_array_equal(alone.outputs.arrays[0][0], done.outputs.arrays[0][0, :16])
    (many,) = execute(reads, None, requests(reads, [columns(texts(100))]), 16)
    assert isinstance(many.outputs, Outputs) and many.outputs.arrays[0].shape == (100, 48)


def test_a_damaged_picture_is_refused_by_itself_and_the_rest_of_its_batch_runs_as_one(
    sees: LoadedVersion,
) -> None:
    good, cut = [base64.b64encode(picture).decode() for picture in (jpegs(1)[0], jpegs(2)[1][:-40])]
    asked = requests(sees, [{"photo": photos} for photos in ([good], [good, good, cut], [cut], [good])])
    *refused, done = execute(sees, None, asked, 64)
    assert [each.requests for each in (*refused, done)] == [[asked[1]], [asked[2]], [asked[0], asked[3]]]
    said = [each.outputs for each in refused]
    assert [(p.status, p.message) for p in said if isinstance(p, Problem)] == [
        (422, "'photo': value 2 is no whole JPEG or PNG"),
        (422, "'photo': value 0 is no whole JPEG or PNG"),
    ]
    assert isinstance(done.outputs, Outputs) and len(done.outputs.arrays[0]) == 2
    (long,) = execute(sees, None, requests(sees, [{"photo": [good] * 20 + [cut]}]), 16)
    assert isinstance(long.outputs, Problem) and "value 20" in long.outputs.message


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gloss": ["x" * 20_001]}, "'gloss' holds 20,001 characters, at most 20,000 are taken"),
        ({"gloss": [3]}, "input 'gloss' must hold text only"),
        ({"gloss": "a cat"}, "input 'gloss' must hold text only"),
        ({"gloss": []}, "input 'gloss' must be a list of at least one row"),
        ({"gloss": [["a"]]}, "input 'gloss' must hold text only"),
        ({"gloss": [1.5] * 40_000}, "input 'gloss' must hold text only"),
        ({"gloss": ["a", "b"]}, "has 1 rows, 'gloss' has 2"),
    ],
)
def test_what_is_no_text_is_said_when_it_is_read(
    reads: LoadedVersion, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(Problem) as caught:
        reads.invocations.read(orjson.dumps({"inputs": columns(["a"]) | changed}))
    assert (caught.value.status, said in caught.value.message) == (422, True), caught.value.message


@pytest.mark.parametrize(
    ("item", "raw", "said"),
    [
        ({"datatype": "FP32", "shape": [1], "data": ["a"]}, b"", "'FP32', the model takes BYTES"),
        ({"datatype": "BYTES", "shape": [1], "data": ["a"], "parameters": {"content_type": "np"}}, b"", "'str' or 'base64'"),
        ({"datatype": "BYTES", "shape": [1], "data": ["?"], "parameters": {"content_type": "base64"}}, b"", "no base64"),
        ({"datatype": "BYTES", "shape": [2], "data": ["a"]}, b"", "has 1 values, its shape [2] needs 2"),
        ({"datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}, b"\2\0\0\0a", "does not match its shape and its values"),
        ({"datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 9}}, b"\1\0\0\0a", "the body is too short"),
        ({"datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 5}}, b"\1\0\0\0a", "does not match its shape"),
        ({"datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 3}}, b"\1\0\0", "does not match its shape"),
    ],
)  # fmt: skip
def test_bytes_that_do_not_add_up_are_said(
    sees: LoadedVersion, item: dict[str, Any], raw: bytes, said: str
) -> None:
    head = orjson.dumps({"inputs": [{"name": "photo", **item}]})
    with pytest.raises(Problem) as caught:
        sees.inference.read(head + raw, str(len(head)).encode())
    assert caught.value.status == 422 and said in caught.value.message, caught.value.message


def test_rows_count_as_what_they_come_to_and_wait_as_they_came(sees: LoadedVersion) -> None:
    picture = jpegs(1)[0]
    body = orjson.dumps({"inputs": {"photo": [base64.b64encode(picture).decode()] * 3}})
    rows = sees.invocations.read(body)
    assert rows.buffers == ([picture] * 3,) and sees.invocations.at_once(body) is None
    width, height = 16, 20
    assert (
        rows.size == 3 * 4 * ((len(picture) + 2) // 3) + 3 * (len(picture) + 24 * 24 * 3) + 3 * width * height
    )
    assert not sees.pace.at_once(1) and not sees.pace.inline


def test_a_body_that_is_one_value_is_what_json_would_have_of_it(
    sees: LoadedVersion, reads: LoadedVersion
) -> None:
    assert dict(sees.invocations.taking.bodies) == {"image/jpeg": "photo", "image/png": "photo"}
    rows = sees.invocations.read(sees.invocations.wrapped("image/jpeg", jpegs(1)[0]))
    assert rows.buffers == ([jpegs(1)[0]],)
    assert reads.invocations.taking.bodies == {}  # it has three inputs
    paths = openapi.document({"m": sees, "n": reads})["paths"]
    bodies = [paths[f"/models/{name}/invocations"]["post"]["requestBody"]["content"] for name in "mn"]
    assert [[*body] for body in bodies] == [
        ["application/json", "image/jpeg", "image/png"],
        ["application/json"],
    ]


def test_no_text_is_recorded_but_what_is_watched_of_it(reads: LoadedVersion) -> None:
    (request,) = requests(reads, [columns(["a cat", "日本日本"])])
    (done,) = execute(reads, None, [request], 64)
    line = json.loads(_line(Sample(done, request, 0, 0.1)))
    assert line["inputs.gloss.length"] == [[5.0], [4.0]] and line["inputs.plan.code"] == [[2], [0]]
    assert line["inputs.numbers"] == [[1.5, -2.0]] * 2 and not [
        name for name in line if name == "inputs.gloss"
    ]


def shouts() -> Any:
    """A graph that takes and gives text by itself: by its place in a table, and as it is."""
    text, number = TensorProto.STRING, TensorProto.INT64
    nodes = [
        helper.make_node("Gather", ["words", "which"], ["label"]),
        helper.make_node("Identity", ["said"], ["again"]),
    ]
    words = helper.make_tensor("words", text, [3], ["café".encode(), b"", "日本".encode()])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "shouts", [value("which", number, ["n"]), value("said", text, ["n", 2])],
        [value("label", text, ["n"]), value("again", text, ["n", 2])], [words],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_text_of_a_graphs_own_goes_in_and_out_in_json_and_as_bytes(tmp_path: Path) -> None:
    example = {"which": [0], "said": [["a", "b"]]}
    onnx.save(shouts(), tmp_path / "model.onnx")
    (tmp_path / "serving_input_example.json").write_text(json.dumps({"inputs": example}))
    version = loaded_from(tmp_path)
    said = [["x", "日本"], ["", "z"]]
    (request,) = requests(version, [{"which": [2, 1], "said": said}])
    (done,) = execute(version, None, [request], 64)
    assert isinstance(done.outputs, Outputs)
    _, body = predictions(version.headings, done.outputs, 0, 2)
    assert json.loads(body)["predictions"] == {"label": ["日本", ""], "again": said}
    asked = [
        {"name": "which", "datatype": "INT64", "shape": [2], "data": [2, 1]},
        {"name": "said", "datatype": "BYTES", "shape": [2, 2], "data": said},
    ]
    for binary in (False, True):
        document = {"inputs": asked, "parameters": {"binary_data_output": binary}}
        rows, wanted = version.inference.read(orjson.dumps(document), None)
        heading, body = wanted.render(version.headings, version.run([rows]), 0, 2)
        head, packed = body, b""
        if binary:
            length = int(dict(heading.pairs)[b"inference-header-content-length"])
            head, packed = body[:length], body[length:]
        outputs = json.loads(head)["outputs"]
        assert [(o["name"], o["datatype"], o["shape"]) for o in outputs] == [
            ("label", "BYTES", [2]), ("again", "BYTES", [2, 2]),
        ]  # fmt: skip
        if binary:
            assert packed == b"".join(packed_texts(np.array(text, object)) for text in (["日本", ""], said))
            assert sum(o["parameters"]["binary_data_size"] for o in outputs) == len(packed)
        else:
            assert [o["data"] for o in outputs] == [["日本", ""], ["x", "日本", "", "z"]]


def test_a_codec_that_does_not_hold_is_not_served(sees: LoadedVersion, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for path in sees.release.folder.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    document = (folder / "codec.json").read_text()
    (folder / "codec.json").write_text(document.replace("50000000", "50000001"))
    with pytest.raises(Unservable, match="codec: codec.json is not the one that model.onnx was proved with"):
        loaded_from(folder)
    (folder / "codec.json").unlink()
    with pytest.raises(Unservable, match="codec: codec.json cannot be read: No such file"):
        loaded_from(folder)


def test_pictures_that_take_seconds_to_decode_are_too_many(sees: LoadedVersion) -> None:
    blank = jpeg(Pictures.new("1", (7000, 7000)), "PNG")
    assert len(blank) < 20_000
    many = [base64.b64encode(blank).decode()] * 4
    with pytest.raises(Problem, match="come to 588000000 bytes when they are decoded") as caught:
        sees.invocations.read(orjson.dumps({"inputs": {"photo": many}}))
    assert caught.value.status == 413
    assert sees.invocations.read(orjson.dumps({"inputs": {"photo": many[:1]}})).size > 3 * 7000 * 7000


def test_rows_that_come_to_more_than_is_held_are_refused_before_they_wait(sees: LoadedVersion) -> None:
    """By the service, which is where bytes are counted: for ever when they never fit, and else for now."""
    service = Service.__new__(Service)
    service.budget = Budget(100_000)
    for size, used, status in ((90_000, 0, 413), (70_000, 50_000, 503), (70_000, 1_000, None)):
        service.budget.used = used
        problem = service._without_room(size)
        assert (problem and problem.status) == status
