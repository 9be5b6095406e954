from __future__ import annotations

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.prepare import list_prepare, parse_prepare
from beamsplit.transforms.spec import Spec, boolean, number, numbers, one_of, parse_spec, whole, wholes


def test_parse():
    assert parse_spec("a") == Spec("a", (), ())
    assert parse_spec("a:") == Spec("a", (), ())
    assert parse_spec("a: b , c = d=e:f ,g") == Spec("a", ("b", "g"), (("c", "d=e:f"),))
    for bad in ("", ":b", "a:,", "a:b,", "a:c=", "a:=c"):
        with pytest.raises(ValueError, match=r"empty|no step is named"):
            parse_spec(bad)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (whole(0), "3", 3),
        (wholes(1, 2), "3/4", (3, 4)),
        (number, "-1e3", -1000.0),
        (numbers, "1/2.5", (1.0, 2.5)),
        (boolean, "False", False),
        (one_of("a", "b"), "b", "b"),
    ],
)
def test_readers(read, text: str, value: object):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "wanted"),
    [
        (whole(1), "0", "whole number of at least 1"),
        (whole(1), "1.5", "whole number of at least 1"),
        (wholes(1, 2), "1/2/3", "at most 2"),
        (number, "inf", "finite"),
        (numbers, "1//2", "several with /"),
        (boolean, "maybe", "true or false"),
        (one_of("a", "b"), "c", "one of a, b"),
    ],
)
def test_readers_say_what_is_wanted(read, text: str, wanted: str):
    with pytest.raises(ValueError, match=wanted):
        read(text)


def test_flags_stand_alone_or_are_set():
    assert parse_prepare("bytes:begin=2,strip") == parse_prepare("bytes:begin=2,strip=true")
    assert parse_prepare("bytes:begin=2,strip") != parse_prepare("bytes:begin=2,strip=no")


def test_every_example_is_a_spec_that_parses():
    shown = list_prepare()
    assert [step.name for step in shown] == ["image", "augment", "text", "bytes", "scale", "onehot"]
    for step in shown:
        assert step.summary and step.options
        if step.name == "text":  # its file is not there, which is found last
            with pytest.raises(UsageError, match=r"cannot read 'tokenizer.json'"):
                parse_prepare(step.example)
        else:
            parse_prepare(step.example)
