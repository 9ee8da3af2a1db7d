"""What workloads with codecs are tried on: a small tokenizer, texts that break careless readers, digits as JPEGs, and two workloads."""

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.codecs import Coded
    from tasks.records import Dataset, TensorSpec

NASTY = [
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "tail\0",
        "[CLS]",
        "what [CLS] is [SEP] this [PAD]",
        "naïve café Ångström",
        "e\u0301 é",
    ),
    *(
        "日本語のテキスト",
        "한국어",
        "👩‍👩‍👧‍👦 🏳️‍🌈",
        "mixed 日本 and 🙂",
        "\u202egnp.exe",
        "x" * 300,
        "a " * 300,
        "ﬁ ﬂ",
        "\ufeffbom",
    ),
    *(
        "tab\tnew\nline\r",
        "ΑΒΓ абв",
        "１２３",
        "don't",
        "##wordpiece",
        "zero\u200bwidth",
        "\u0000\u0001\u0002",
    ),
]

WORDS = [
    "a", "the", "cat", "dog", "feline", "mammal", "plant", "tree", "leaf", "that", "eats", "grows", "small", "large", "of",
    "with", "green", "animal", "flower", "wild", "tame", "café", "日本", "🙂", "x-ray", "don't", "[CLS]", "ångström",
]  # fmt: skip


def texts(count: int, seed: int = 0) -> list[str]:
    """The nasty ones, and sentences of words, some of which no tokenizer here knows."""
    draw = random.Random(seed)
    made = [
        " ".join(draw.choice([*WORDS, chr(draw.randint(33, 0x2FFF))]) for _ in range(draw.randint(1, 40)))
        for _ in range(count - len(NASTY))
    ]
    return [*NASTY, *made]


def write_tokenizer(path: Path, corpus: Sequence[str] = ()) -> Path:
    """A WordPiece tokenizer as BERT has it, of few words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*WORDS, *corpus], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(word, tokenizer.token_to_id(word)) for word in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(path))
    return path


def jpegs(count: int) -> list[bytes]:
    """Handwritten digits, each in one of several sizes, modes and turns."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    made = []
    for at, pixels in enumerate(load_digits().images[:count]):
        picture = Image.fromarray((pixels * 15).astype(np.uint8)).resize((16 + at % 50, 20 + at % 37))
        made.append(jpeg(picture if at % 3 else picture.convert("RGB"), turned=1 + at % 8))
    return made


def jpeg(picture: object, kind: str = "JPEG", turned: int = 1) -> bytes:
    """A picture's file; `turned` is EXIF's orientation, from 1."""
    from PIL import Image

    assert isinstance(picture, Image.Image)
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = turned
    picture.save(file, kind, exif=exif)
    return file.getvalue()


def write_echo(path: Path, tensors: "Sequence[TensorSpec]", sha256: str) -> None:
    """A graph whose answers are the very tensors that a request comes to, bound to a codec."""
    import onnx
    from onnx import TensorProto, helper

    kinds = {"int64": TensorProto.INT64, "uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    nodes = [helper.make_node("Identity", [spec.name], [f"{spec.name}_again"]) for spec in tensors]
    takes, gives = (
        [helper.make_tensor_value_info(f"{s.name}{end}", kinds[s.dtype], [*s.shape]) for s in tensors]
        for end in ("", "_again")
    )
    graph = helper.make_graph(nodes, "echo", takes, gives)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"slipway.codec": sha256})
    onnx.save(model, path)


def echo_of(coded: "Coded", tensors: "Sequence[TensorSpec]", example: object, folder: Path) -> Path:
    """What a server needs of a model's folder, of a graph that echoes."""
    files = {"codec.json": coded.document, **coded.files}
    files["serving_input_example.json"] = json.dumps({"inputs": example}).encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    write_echo(folder / "model.onnx", tensors, coded.decoder.sha256)
    return folder


def prepared(workload: str, folder: Path) -> "Dataset":
    """The stored rows of one of coded_workloads'."""
    from tasks.config import Data
    from tasks.data.dataset import prepare

    reference = f"{Path(__file__).with_name('coded_workloads.py')}:{workload}"
    return prepare(reference, Data(), folder / "datasets")


def echo(workload: str, folder: Path) -> "tuple[Dataset, Path]":
    """The stored rows of one of coded_workloads', and the MLflow folder of a graph that echoes what a request comes to."""
    from tasks.onnx.export import describe
    from tasks.onnx.package import build_folder

    dataset = prepared(workload, folder)
    assert dataset.codec is not None
    write_echo(folder / "echo.onnx", dataset.inputs, dataset.codec.sha256)
    build_folder(describe(folder / "echo.onnx", "echo", dataset.inputs, None), dataset, folder / "package")
    return dataset, folder / "package"
