"""Models that the converters of others do not take as they are, or convert to other numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from beamsplit.models.convert.sklearn_types import check_trees
from beamsplit.models.errors import UsageError
from beamsplit.pipelines import convert

rng = np.random.default_rng(0)
X = rng.standard_normal((300, 4)).astype(np.float32)
NUMBERS = X[:, 0] - 2 * X[:, 1] + X[:, 2] * X[:, 3]
TWO, THREE, SHARES = (NUMBERS > 0).astype(int), np.digitize(NUMBERS, [-1, 1]), rng.random(300)


def xgboost_model(path: Path, y: Any, x: Any = X, **params: Any) -> str:
    import xgboost

    made = xgboost.DMatrix(x, y, enable_categorical=isinstance(x, pd.DataFrame))
    xgboost.train({"nthread": 1, "max_depth": 3, "seed": 1, **params}, made, 6).save_model(path / "m.ubj")
    return str(path / "m.ubj")


def lightgbm_model(path: Path, y: Any, **params: Any) -> str:
    import lightgbm

    asked = {"verbose": -1, "num_threads": 1, "num_leaves": 5, "bagging_freq": 1, "bagging_fraction": 0.6, **params}
    lightgbm.train(asked, lightgbm.Dataset(X, y), 6).save_model(path / "m.txt")
    return str(path / "m.txt")


def catboost_model(path: Path, y: Any, x: Any = X, **params: Any) -> str:
    import catboost

    model = catboost.CatBoost(
        {"iterations": 6, "verbose": 0, "allow_writing_files": False, "thread_count": 1, **params}
    )
    model.fit(catboost.Pool(x, y, cat_features=["c"] if isinstance(x, pd.DataFrame) else None))
    model.save_model(str(path / "m.cbm"))
    return str(path / "m.cbm")


def sklearn_model(path: Path, y: Any, model: Any) -> str:
    import skops.io

    skops.io.dump(model.fit(X, y), path / "m.skops")
    return str(path / "m.skops")


def gradients(predicted: Any, data: Any) -> tuple[Any, Any]:
    return predicted - data.get_label(), np.ones_like(predicted)


@pytest.mark.parametrize(
    ("y", "params"),
    [
        (THREE, {"objective": "multi:softmax", "num_class": 3}),
        (TWO, {"objective": "reg:logistic"}),
        (NUMBERS, {"booster": "dart", "rate_drop": 0.5}),
        (THREE, {"objective": "multi:softprob", "num_class": 3, "booster": "dart", "rate_drop": 0.5}),
        (THREE, {"objective": "multi:softprob", "num_class": 3, "num_parallel_tree": 4, "subsample": 0.5}),
        (TWO, {"objective": "binary:logistic", "num_parallel_tree": 4, "subsample": 0.5, "base_score": 0.8}),
    ],
)
def test_xgboost(tmp_path, capsys, y, params):
    model = xgboost_model(tmp_path, y, **params)
    assert convert.main([model, "-o", str(tmp_path / "m.onnx")]) == 0, capsys.readouterr()


@pytest.mark.parametrize(
    ("y", "params"),
    [
        (NUMBERS, {"objective": "fair"}),
        (np.abs(NUMBERS) + 1, {"objective": "mape"}),
        (NUMBERS, {"objective": gradients}),
        (SHARES, {"objective": "cross_entropy"}),
        (TWO, {"objective": "binary", "sigmoid": 2.5}),
        (THREE, {"objective": "multiclassova", "num_class": 3, "sigmoid": 0.5}),
        (NUMBERS, {"objective": "regression", "boosting": "rf"}),
        (TWO, {"objective": "binary", "boosting": "rf"}),
        (THREE, {"objective": "multiclass", "num_class": 3, "boosting": "rf"}),
    ],
)
def test_lightgbm(tmp_path, capsys, y, params):
    model = lightgbm_model(tmp_path, y, **params)
    assert convert.main([model, "-o", str(tmp_path / "m.onnx")]) == 0, capsys.readouterr()


def test_catboost_with_each_class_against_the_others(tmp_path, capsys):
    model = catboost_model(tmp_path, THREE, loss_function="MultiClassOneVsAll")
    assert convert.main([model, "-o", str(tmp_path / "m.onnx")]) == 0, capsys.readouterr()


@pytest.mark.parametrize("name", ["forest", "boosted", "binned", "outliers", "linear", "stacked", "vote", "soft vote"])
def test_scikit_learn_without_trust(tmp_path, capsys, name):
    from sklearn import ensemble, linear_model, pipeline, preprocessing, svm, tree

    two = [("a", linear_model.LogisticRegression()), ("b", tree.DecisionTreeClassifier(max_depth=2))]
    soft = ensemble.VotingClassifier(two, voting="soft", weights=[3, 1])
    model, y = {
        "vote": (ensemble.VotingClassifier([*two, ("c", tree.DecisionTreeClassifier())]), THREE),
        "soft vote": (pipeline.make_pipeline(preprocessing.StandardScaler(), soft), np.array(["a", "b", "c"])[THREE]),
        "forest": (ensemble.RandomForestClassifier(3), np.array(["a", "b", "c"])[THREE]),
        "boosted": (ensemble.GradientBoostingRegressor(n_estimators=3), NUMBERS),
        "binned": (ensemble.HistGradientBoostingClassifier(max_iter=3), TWO),
        "outliers": (ensemble.IsolationForest(n_estimators=3), None),
        "linear": (svm.LinearSVC(), THREE),
        "stacked": (
            ensemble.StackingRegressor(
                [(str(at), linear_model.Ridge(at)) for at in range(1, 7)], tree.DecisionTreeRegressor(max_depth=2)
            ),
            NUMBERS,
        ),
    }[name]
    assert convert.main([sklearn_model(tmp_path, y, model), "-o", str(tmp_path / "m.onnx")]) == 0, capsys.readouterr()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: xgboost_model(path, NUMBERS, booster="gblinear", max_depth=None), "it is a gblinear of XGBoost"),
        (lambda path: xgboost_model(path, np.stack([NUMBERS, SHARES], 1)), "it has several targets"),
        (
            lambda path: xgboost_model(path, THREE, pd.DataFrame({"c": pd.Categorical(THREE)})),
            "it splits by categories",
        ),
        (lambda path: lightgbm_model(path, NUMBERS, objective="regression", linear_tree=True), "linear functions in"),
        (lambda path: lightgbm_model(path, NUMBERS, objective="regression", reg_sqrt=True), "trained with reg_sqrt"),
        (
            lambda path: catboost_model(path, THREE, pd.DataFrame({"c": THREE.astype(str)}), loss_function="RMSE"),
            "takes categories, texts or embeddings",
        ),
    ],
)
def test_what_no_converter_takes_is_told_in_one_line(tmp_path, capsys, make, words):
    assert convert.main([make(tmp_path), "-o", str(tmp_path / "m.onnx")]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1 and not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("of", ["MultiOutputClassifier", "RandomForestClassifier"])
def test_several_classifiers_in_one(tmp_path, capsys, of):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.multioutput import MultiOutputClassifier

    model = RandomForestClassifier(2) if of.startswith("R") else MultiOutputClassifier(LogisticRegression())
    made = sklearn_model(tmp_path, np.stack([TWO, THREE], 1), model)
    assert convert.main([made, "-o", str(tmp_path / "m.onnx")]) == 2
    assert "convert each by itself" in capsys.readouterr().err


@pytest.mark.parametrize("field", ["left_child", "right_child", "feature"])
def test_trees_that_lead_out_of_themselves(field):
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(2, max_depth=3).fit(X, NUMBERS)
    check_trees(model, "m.skops")
    tree = model.estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"][field][0] = 4000 if field != "feature" else 4
    tree.__setstate__(state)
    with pytest.raises(UsageError, match=r"m\.skops has a tree whose nodes lead out of it"):
        check_trees({"steps": [model]}, "m.skops")
