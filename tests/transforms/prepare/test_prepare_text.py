from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from beamsplit.models.errors import UsageError
from beamsplit.transforms.block import with_origin
from beamsplit.transforms.prepare import parse_prepare

VOCABULARY = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "a": 4, "b": 5, "c": 6, "d": 7}


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    made = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return str(path)


def run(spec: str, texts: list[str | None], kind: pa.DataType | None = None) -> tuple[dict, list]:
    step = pickle.loads(pickle.dumps(parse_prepare(spec)))  # noqa: S301
    block = with_origin(pa.record_batch({"text": pa.array(texts, type=kind or pa.string())}), "f", 0)
    result = step(block)
    assert result.block.schema == step.output_schema(block.schema)
    result.block.validate(full=True)
    return result.block.to_pydict(), result.failures


def test_rows_keep_their_length(tokenizer: str):
    made, failures = run(f"text:{tokenizer}", ["a b", "", "c x d"])
    assert made["input_ids"] == [[1, 4, 5, 2], [1, 2], [1, 6, 3, 7, 2]]
    assert made["attention_mask"] == [[1] * 4, [1] * 2, [1] * 5]
    assert made["token_type_ids"] == [[0] * 4, [0] * 2, [0] * 5]
    assert failures == [] and "text" not in made


def test_texts_are_cut(tokenizer: str):
    made, _ = run(f"text:{tokenizer},max_length=4", ["a b c d", "a"])
    assert made["input_ids"] == [[1, 4, 5, 2], [1, 4, 2]]


def test_padding_to_the_block_and_to_the_maximum(tokenizer: str):
    made, _ = run(f"text:{tokenizer},pad=block", ["a b", ""])
    assert made["input_ids"] == [[1, 4, 5, 2], [1, 2, 0, 0]]
    assert made["attention_mask"] == [[1, 1, 1, 1], [1, 1, 0, 0]]
    made, _ = run(f"text:{tokenizer},pad=max,max_length=5", ["a b", ""])
    assert made["input_ids"] == [[1, 4, 5, 2, 0], [1, 2, 0, 0, 0]]
    assert made["attention_mask"] == [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]


def test_padding_is_the_tokenizers_own(tmp_path: Path, tokenizer: str):
    made = Tokenizer.from_file(tokenizer)
    made.enable_padding(direction="left", pad_id=7, pad_type_id=1)
    path = str(tmp_path / "left.json")
    made.save(path)
    block, _ = run(f"text:{path},pad=max,max_length=4", ["a", ""])
    made.enable_padding(direction="left", pad_id=7, pad_type_id=1, length=4)
    expected = made.encode_batch(["a", ""])
    assert block["input_ids"] == [e.ids for e in expected]
    assert block["attention_mask"] == [e.attention_mask for e in expected]
    assert block["token_type_ids"] == [e.type_ids for e in expected]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("pad", ["none", "block", "max"])
def test_nulls_fail_alone(tokenizer: str, kind: pa.DataType, pad: str):
    made, failures = run(f"text:{tokenizer},pad={pad},max_length=3", ["a", None, "b"], kind)
    assert made["input_ids"] == [[1, 4, 2], [1, 5, 2]]
    assert made["_origin_row"] == [0, 2]
    assert failures == [(1, "null in column 'text'; --nulls text=VALUE would fill it")]
    made, failures = run(f"text:{tokenizer},pad={pad},max_length=3", [None], kind)
    assert made["input_ids"] == [] and len(failures) == 1


def test_columns_are_named_and_left_out(tokenizer: str):
    made, _ = run(f"text:{tokenizer},ids=x,mask=none,type_ids=none,keep", ["a"])
    assert list(made) == ["text", "x", "_origin_file", "_origin_row"]
    schema = pa.schema([("text", pa.string())])
    assert parse_prepare(f"text:{tokenizer}", ["text"]).output_schema(schema).names[0] == "text"


def test_threads_share_one_tokenizer(tokenizer: str):
    step = parse_prepare(f"text:{tokenizer}")
    block = pa.record_batch({"text": ["a b c", "d"] * 100})
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: step(block).block, range(16)))
    assert all(one == made[0] for one in made)


def test_wrong_files_and_options(tmp_path: Path, tokenizer: str):
    with pytest.raises(UsageError, match=r"file is missing; for example: --prepare text:tokenizer.json"):
        parse_prepare("text")
    with pytest.raises(UsageError, match=r"cannot read 'nowhere.json'.*No such file"):
        parse_prepare("text:nowhere.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UsageError, match=r"other.json is no tokenizer.json"):
        parse_prepare(f"text:{tmp_path / 'other.json'}")
    with pytest.raises(UsageError, match="max_length=1 leaves no room"):
        parse_prepare(f"text:{tokenizer},max_length=1")
    with pytest.raises(UsageError, match="name the same column"):
        parse_prepare(f"text:{tokenizer},mask=input_ids")
    with pytest.raises(UsageError, match="'body' is no flag of text"):
        parse_prepare(f"text:{tokenizer},body")
    with pytest.raises(UsageError, match=r"column 'text' .strings., which is missing, did you mean 'texts'"):
        parse_prepare(f"text:{tokenizer}").output_schema(pa.schema([("texts", pa.string())]))


def test_library_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'beamsplit\[text\]'"):
        parse_prepare("text:tokenizer.json")


class PanicException(BaseException):
    """As pyo3 raises it."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PanicException("called `Option::unwrap()`\non a `None` value"), "called `Option::unwrap()` on a `None` value"),
        (TypeError(""), "TypeError"),
    ],
)
def test_a_text_on_which_the_tokenizer_fails_fails_alone(tokenizer: str, error: BaseException, reason: str):
    class Panics:
        def encode_batch_fast(self, texts: list[str]) -> list:
            if any("d" in text for text in texts):
                raise error
            return Tokenizer.from_file(tokenizer).encode_batch(texts)

        encode_batch = encode_batch_fast

    step = parse_prepare(f"text:{tokenizer}")
    block = with_origin(pa.record_batch({"text": ["a", "d", None, "b", "c", "d a"]}), "f", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("beamsplit.transforms.prepare.text._tokenizer", lambda *_: (Panics(), 512, (0, 0, False)))
        result = step(block)
    assert result.block.column("_origin_row").to_pylist() == [0, 3, 4]
    assert result.block.column("input_ids").to_pylist() == [[1, 4, 2], [1, 5, 2], [1, 6, 2]]
    assert [failure.row for failure in result.failures] == [1, 2, 5]
    assert result.failures[0].reason == f"the tokenizer fails: {reason}"


def test_ctrl_c_while_texts_are_encoded_is_no_failed_row(tokenizer: str):
    class Interrupted:
        def encode_batch(self, texts: list[str]) -> list:
            raise KeyboardInterrupt

    step = parse_prepare(f"text:{tokenizer}")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("beamsplit.transforms.prepare.text._tokenizer", lambda *_: (Interrupted(), 512, (0, 0, False)))
        step(with_origin(pa.record_batch({"text": ["a"]}), "f", 0))
