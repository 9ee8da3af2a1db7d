"""A value is read alike alone and among others, whoever asks; what is no such value is said, and what does not hold is not run."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coded import NASTY, jpeg, jpegs, texts, write_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures

from tasks.codecs import Coded, Codes, Image, Text
from tasks.codecs.decoding import DOCUMENT, CodecError, Decoder, Unreadable, bound_decoder, open_decoder

Array = np.ndarray[Any, Any]
LENGTH = 48


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Coded:
    tokenizer = write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")
    return Coded(
        {
            "gloss": Text(column="gloss", tokenizer=tokenizer, length=LENGTH),
            "photo": Image(column="photo", size=(24, 20)),
            "plan": Codes(column="plan", words=("basic", "plus")),
        }
    )


def folder_of(coded: Coded, folder: Path) -> Path:
    for name, content in {DOCUMENT: coded.document, **coded.files}.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.slow
def test_texts_are_the_numbers_that_transformers_makes_of_them(coded: Coded, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    (tmp_path / "t.json").write_bytes(next(iter(coded.files.values())))
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "t.json"), pad_token="[PAD]")
    asked = texts(500)
    expected = theirs(asked, truncation=True, max_length=LENGTH, padding="max_length", return_tensors="np")
    reader = coded.decoder.readers["gloss"]
    got = reader.read([reader.take(text, at)[0] for at, text in enumerate(asked)], widest=True)
    for name in ("input_ids", "attention_mask"):
        np.testing.assert_array_equal(got[name], expected[name])


@settings(max_examples=60, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(NASTY) | st.text(max_size=80), min_size=1, max_size=9),
    at=st.integers(0, 8),
)
def test_a_text_is_read_alike_alone_and_padded_together(coded: Coded, chosen: list[str], at: int) -> None:
    at, reader = at % len(chosen), coded.decoder.readers["gloss"]
    taken = [reader.take(text, place)[0] for place, text in enumerate(chosen)]
    together, widest = reader.read(taken), reader.read(taken, widest=True)
    alone = reader.read([taken[at]])
    width, own = together["input_ids"].shape[1], alone["input_ids"].shape[1]
    assert width in range(16, LENGTH + 1, 16) and widest["input_ids"].shape[1] == LENGTH
    for name, array in together.items():
        np.testing.assert_array_equal(array, widest[name][:, :width])
        np.testing.assert_array_equal(array[at, :own], alone[name][0])
        assert not array[at, own:].any()


def test_a_zero_at_the_end_which_numpy_drops_is_dropped_for_all(coded: Coded) -> None:
    reader = coded.decoder.readers["gloss"]
    assert reader.take("a\0b\0\0", 0)[0] == "a\0b" == reader.take(b"a\0b", 0)[0]


def test_pictures_come_upright_in_one_size_from_bytes_and_from_base64(coded: Coded) -> None:
    reader = coded.decoder.readers["photo"]
    corner = Pictures.new("RGB", (40, 48), "white")
    corner.paste("black", (0, 0, 20, 24))
    upright = reader.read([jpeg(corner)])["image"][0]
    assert upright.shape == (24, 20, 3) and upright[2, 2].max() < 30 and upright[20, 17].min() > 220
    turned = jpeg(corner.rotate(90, expand=True), turned=6)  # as a phone writes it that was held upright
    taken = reader.take(base64.b64encode(turned).decode(), 0)
    assert taken == (turned, len(turned) + 3 * 24 * 20, 3 * 40 * 48)
    np.testing.assert_allclose(reader.read([taken.value])["image"][0].astype(int), upright, atol=12)
    png = jpeg(corner.convert("RGBA"), "PNG")
    assert reader.read([reader.take(png, 0)[0]])["image"].dtype == np.uint8


def test_words_are_their_places_and_any_other_word_is_nought(coded: Coded) -> None:
    reader = coded.decoder.readers["plan"]
    taken = [reader.take(word, at)[0] for at, word in enumerate(("plus", b"basic", "", "Plus"))]
    assert reader.read(taken)["plan"].tolist() == [2, 1, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("gloss", "x" * 2_000_000, "'gloss' holds 2,000,000 characters, at most 20,000 are taken"),
        ("gloss", b"\xff", "'gloss': value 3 is no Unicode text"),
        ("gloss", "\ud800", "'gloss': value 3 is no Unicode text"),
        ("gloss", 7, "'gloss': value 3 is no text"),
        ("plan", None, "'plan': value 3 is no text"),
        ("photo", b"GIF89a", "'photo': value 3 is no JPEG or PNG"),
        ("photo", "no base64!", "'photo': value 3 is no base64"),
        ("photo", lambda: jpegs(1)[0][:100], "'photo': value 3 is no JPEG or PNG"),
        ("photo", lambda: jpeg(Pictures.new("1", (20_000, 20_000)), "PNG"), "'photo': value 3 has 400,000,000 pixels"),
        ("photo", lambda: jpeg(Pictures.new("1", (9_000, 10_000)), "PNG"), "'photo': value 3 has 90,000,000 pixels"),
    ],
)  # fmt: skip
def test_what_is_no_such_value_is_said_before_it_is_decoded(
    coded: Coded, name: str, value: Any, said: str
) -> None:
    with pytest.raises(Unreadable) as caught:
        coded.decoder.readers[name].take(value() if callable(value) else value, 3)
    assert [*caught.value.said] == [3] and str(caught.value) == said


def test_every_damaged_picture_of_a_batch_is_named_at_once(coded: Coded) -> None:
    good, cut = jpegs(1)[0], jpegs(2)[1][:-40]
    with pytest.raises(Unreadable) as caught:
        coded.decoder.readers["photo"].read([cut, good, cut])
    assert [caught.value.of(at, 0) for at in caught.value.said] == [
        f"'photo': value {at} is no whole JPEG or PNG" for at in (0, 2)
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda said: said.update(version=2), "codec.json is of version 2, and this reads 1: take a newer Slipway"),
        (lambda said: said["inputs"][0].update(kind="sound"), "unknown kind 'sound'"),
        (lambda said: said["inputs"][0].update(file="../t.json"), "names the file '../t.json', which is not beside it"),
        (lambda said: said["inputs"][0].pop("length"), "codec.json is incomplete: KeyError 'length'"),
        (lambda said: said.pop("inputs"), "does not say its version and inputs"),
    ],
)  # fmt: skip
def test_a_codec_of_another_release_is_refused(coded: Coded, change: Callable[[Any], Any], said: str) -> None:
    document = json.loads(coded.document)
    change(document)
    with pytest.raises(CodecError, match=said.replace("(", r"\(")):
        Decoder(json.dumps(document).encode(), coded.files.__getitem__)


def test_one_digest_binds_the_codec_and_its_files(coded: Coded, tmp_path: Path) -> None:
    folder, digest = folder_of(coded, tmp_path), coded.decoder.sha256
    assert open_decoder(folder, digest).sha256 == digest
    assert bound_decoder(folder, {"slipway.codec": digest}) is not None
    with pytest.raises(CodecError, match="model.onnx, which does not name it"):
        bound_decoder(folder, {})
    with pytest.raises(CodecError, match="not the one that model.onnx was proved with"):
        open_decoder(folder, "0" * 64)
    (tokenizer,) = folder.glob("*tokenizer.json")
    tokenizer.write_bytes(tokenizer.read_bytes() + b" ")
    with pytest.raises(CodecError, match="gloss.tokenizer.json is not the file that codec.json names"):
        open_decoder(folder, digest)
    tokenizer.unlink()
    with pytest.raises(CodecError, match="gloss.tokenizer.json cannot be read"):
        open_decoder(folder, digest)
    assert bound_decoder(tmp_path / "elsewhere", {}) is None


@pytest.mark.parametrize(("name", "package"), [("text", "tokenizers"), ("image", "pillow")])
def test_an_absent_library_is_said_in_a_sentence(
    coded: Coded, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, {"text": "tokenizers", "image": "PIL"}[name], None)
    with pytest.raises(
        CodecError, match=rf"The package '{package}' is not installed: pip install 'slipway\[{name}\]'"
    ):
        Decoder(coded.document, coded.files.__getitem__)


def test_the_module_stands_on_numpy_alone_until_a_value_is_read() -> None:
    code = "import sys, tasks.codecs.decoding; print(*{'torch', 'pandas', 'PIL', 'tokenizers', 'pydantic'} & {*sys.modules})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
