from __future__ import annotations

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.feature_names import check_features
from tests.command import Command
from tests.onnx_models import mlp, save

COLUMNS = ("a", "b", "c")


@pytest.mark.parametrize(
    ("metadata", "key"),
    [
        ({}, None),
        ({"author": "a,b,c"}, None),
        ({"feature_names": '["a", "b", "c"]'}, "feature_names"),
        ({"Feature_Names_In_": "['a', 'b', 'c']"}, "Feature_Names_In_"),
        ({"features": "a,b,c"}, "features"),
        ({"columns": "a\nb\nc"}, "columns"),
        ({"feature_names": '["f0", "f1", "f2"]'}, None),
        ({"feature_names": '["Column_0", "Column_1", "Column_2"]'}, None),
        ({"feature_names": '["x"]'}, None),
    ],
)
def test_names_that_agree_or_say_nothing(metadata, key):
    assert check_features(metadata, COLUMNS, "it") == key


@pytest.mark.parametrize("names", ['["c", "b", "a"]', '["age", "height", "weight"]', "x,y,z"])
def test_other_names_are_refused(names):
    with pytest.raises(UsageError, match=r"it would take the columns a, b, c, .* metadata \(feature_names\) name"):
        check_features({"feature_names": names}, COLUMNS, "it")


def model_of(command: Command, names: str | None) -> str:
    model = mlp(4, outputs=2)
    if names is not None:
        model.metadata_props.add(key="feature_names", value=names)
    return save(model, command.folder / "named.onnx")


def test_columns_by_position_are_told(command: Command):
    note = "input 'x' takes 4 columns in the order of the file (a, b, c, d); if the model has another, say it with"
    code, _, err = command.run("--keep", "id", columns=None)
    assert code == 0 and note in err
    assert note not in command.run("--keep", "id")[2]
    code, _, err = command.run("--keep", "id", model=model_of(command, "a,b,c,d"), columns=None)
    assert code == 0 and note not in err


def test_columns_by_position_of_a_model_that_names_others_are_refused(command: Command):
    model = model_of(command, "d,c,b,a")
    message = command.error("--keep", "id", model=model, columns=None)
    assert "metadata (feature_names) name d, c, b, a; say which columns these are" in message
    assert command.run("--keep", "id", "--quiet", model=model)[0] == 0
