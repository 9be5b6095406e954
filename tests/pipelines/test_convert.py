"""Models of the real libraries, converted and then scored by the command."""

from __future__ import annotations

import os
import pickle
import signal
import threading

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.models.convert.compare import compare
from beamsplit.pipelines import convert, score

ROWS, NAMES = 400, ("age", "height", "weight", "income")


@pytest.fixture
def data(tmp_path):
    """(features, two classes, three classes, numbers); the features in `rows.parquet`, behind an id."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, 4)).astype(np.float32)
    two = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)
    columns = {name: x[:, at] for at, name in enumerate(NAMES)}
    pq.write_table(pa.table({"id": np.arange(ROWS), **columns}), tmp_path / "rows.parquet")
    return x, two, two + (x[:, 3] > 0.5), 2 * x[:, 0] + x[:, 1]


def train(kind: str, data, path) -> str:
    """Train and save a model of a kind; the name of its file."""
    x, two, three, numbers = data
    y = {"two": two, "three": three, "numbers": numbers}[kind.split()[1]]
    if kind.startswith("sklearn"):
        import skops.io
        from sklearn.linear_model import LinearRegression, LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        last = LinearRegression() if kind.endswith("numbers") else LogisticRegression()
        skops.io.dump(make_pipeline(StandardScaler(), last).fit(x, y), path / "m.skops")
        return str(path / "m.skops")
    if kind.startswith("xgboost"):
        import xgboost

        matrix = xgboost.DMatrix(x, y, feature_names=list(NAMES))
        objective = {"two": "binary:logistic", "three": "multi:softprob", "numbers": "reg:squarederror"}[
            kind.split()[1]
        ]
        classes = {"num_class": 3} if kind.endswith("three") else {}
        xgboost.train({"objective": objective, "nthread": 1, **classes}, matrix, 10).save_model(path / "m.ubj")
        return str(path / "m.ubj")
    if kind.startswith("lightgbm"):
        import lightgbm

        objective = {"two": "binary", "three": "multiclass", "numbers": "regression"}[kind.split()[1]]
        classes = {"num_class": 3} if kind.endswith("three") else {}
        asked = {"objective": objective, "verbose": -1, "num_threads": 1, **classes}
        lightgbm.train(asked, lightgbm.Dataset(x, y, feature_name=list(NAMES)), 10).save_model(path / "m.txt")
        return str(path / "m.txt")
    import catboost

    maker = catboost.CatBoostRegressor if kind.endswith("numbers") else catboost.CatBoostClassifier
    model = maker(iterations=10, verbose=0, allow_writing_files=False, thread_count=1)
    model.fit(catboost.Pool(x, y, feature_names=list(NAMES)))
    model.save_model(str(path / "m.cbm"))
    return str(path / "m.cbm")


KINDS = [f"{kind} {y}" for kind in ("sklearn", "xgboost", "lightgbm", "catboost") for y in ("two", "three", "numbers")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_converted_compared_and_scored(kind, data, tmp_path, capsys):
    model, made = train(kind, data, tmp_path), str(tmp_path / "m.onnx")
    sample = tmp_path / "rows.parquet"
    if kind.startswith("sklearn"):  # knows no names
        sample = tmp_path / "features.parquet"
        pq.write_table(pq.read_table(tmp_path / "rows.parquet").drop_columns("id"), sample)
    assert convert.main([model, "-o", made, "--sample", str(sample)]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "compared with the original on 400 rows (the sample):" in out
    assert "differ" not in out.replace("largest difference", "").replace("0 of 400 rows differ", "")
    assert onnx.load(made).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "rows"
    argv = ["--model", made, "--input", str(tmp_path / "rows.parquet"), "--columns", f"x={','.join(NAMES)}"]
    assert score.main([*argv, "--output", str(tmp_path / "p.parquet"), "--quiet", "--workers", "1"]) == 0
    assert pq.read_table(tmp_path / "p.parquet").num_rows == ROWS
    assert convert.main([model, "-o", made, "--overwrite"]) == 0, capsys.readouterr().err
    assert "512 rows (rows made up; --sample compares on yours)" in capsys.readouterr().out


def test_columns_of_texts(tmp_path, capsys):
    import pandas as pd
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pd.DataFrame({"city": ["a", "b", "c", "b"] * 20, "age": np.arange(80, dtype=np.float32)})
    steps = make_column_transformer((OneHotEncoder(), ["city"]), (StandardScaler(), ["age"]))
    model = make_pipeline(steps, LogisticRegression()).fit(frame, frame["age"] > 30)
    path, made = str(tmp_path / "m.skops"), str(tmp_path / "m.onnx")
    skops.io.dump(model, path)
    frame.to_parquet(tmp_path / "rows.parquet")
    assert convert.main([path, "-o", made]) == 2
    assert "takes columns by their names (city, age), of types that it does not tell" in capsys.readouterr().err
    assert convert.main([path, "-o", made, "--sample", str(tmp_path / "rows.parquet")]) == 0
    assert "city [rows, 1], age [rows, 1] -> label, probabilities" in capsys.readouterr().out


def refused(capsys, *argv: object) -> str:
    assert convert.main([str(one) for one in argv]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    return err


def test_what_is_refused(data, tmp_path, capsys):
    model = train("sklearn two", data, tmp_path)
    made = tmp_path / "m.onnx"
    assert "the extension tells no library" in refused(capsys, "m.h5", "-o", made)
    assert "holds weights or a pickled module" in refused(capsys, "m.pt", "-o", made)
    assert "is no file of this machine" in refused(capsys, tmp_path / "none.skops", "-o", made)
    assert "end the name in .onnx" in refused(capsys, model, "-o", tmp_path / "m.bin")
    assert "--tolerance 2 is a share" in refused(capsys, model, "-o", made, "--tolerance", 2)
    for name in ("m.txt", "m.cbm", "m.ubj", "n.skops"):
        (tmp_path / name).write_bytes(b"no model at all")
        assert "cannot be loaded as a model of" in refused(capsys, tmp_path / name, "-o", made)
    with_id = tmp_path / "rows.parquet"
    assert "has 5 columns of numbers" in refused(capsys, model, "-o", made, "--sample", with_id)
    made.write_bytes(b"there")
    assert "is there already; add --overwrite" in refused(capsys, model, "-o", made)
    assert made.read_bytes() == b"there"


class Ran:
    """Tells whether its pickle ran."""

    happened = False

    def __reduce__(self):
        return (ran, ())


def ran():
    Ran.happened = True
    return Ran()


def test_code_runs_only_with_trust(tmp_path, capsys):
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Ran()))
    assert "is a pickle, which can run any code" in refused(capsys, tmp_path / "m.pkl", "-o", tmp_path / "m.onnx")
    assert not Ran.happened
    assert "is no model of scikit-learn" in refused(capsys, tmp_path / "m.pkl", "-o", tmp_path / "m.onnx", "--trust")
    assert Ran.happened
    skops.io.dump(FunctionTransformer(ran).fit([[1.0]]), tmp_path / "m.skops")
    error = refused(capsys, tmp_path / "m.skops", "-o", tmp_path / "m.onnx")
    assert "test_convert.ran), whose code would run; if you know who made it, add --trust" in error


def test_a_model_that_differs_is_not_written(data, tmp_path, capsys, monkeypatch):
    from beamsplit.models.convert import original

    model, made = train("lightgbm numbers", data, tmp_path), tmp_path / "m.onnx"
    from beamsplit.models.convert import lightgbm_model

    real = lightgbm_model.Original
    monkeypatch.setattr(
        lightgbm_model,
        "Original",
        lambda width, names, export, predict, missing: real(
            width, names, export, lambda feeds: {"variable": predict(feeds)["variable"] + 1}, missing=missing
        ),
    )
    assert original.MATRIX == "x"
    assert convert.main([model, "-o", str(made), "--sample", str(tmp_path / "rows.parquet")]) == 1
    out, err = capsys.readouterr()
    assert "variable: largest difference 1, 400 of 400 rows differ by more than is allowed" in out
    assert "400 rows differ from the original" in err and not made.exists()


def test_comparing():
    nan = float("nan")
    ours = {"y": np.array([[1.0, nan], [2.0, 3.0], [nan, 0.0]]), "label": np.array([1, 2, 3]), "more": np.zeros(3)}
    theirs = {"y": np.array([[1.0, nan], [2.0, 3.0002], [1.0, 0.0]]), "label": np.array([1, 2, 4])}
    y, label = compare(ours, theirs, 1e-4)
    assert (y.wrong, y.largest) == (1, float("inf"))
    assert (label.wrong, label.line) == (1, "label: largest difference 1, 1 of 3 rows differ by more than is allowed")
    (texts,) = compare({"label": np.array(["a", "b"])}, {"label": np.array(["a", "c"])}, 1e-4)
    assert texts.line == "label: 1 of 2 rows differ by more than is allowed"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_one_line(monkeypatch, capsys, number: signal.Signals, code: int):
    def hit(argv: object) -> None:
        os.kill(os.getpid(), number)
        threading.Event().wait(60)

    monkeypatch.setattr("beamsplit.pipelines.convert.run", hit)
    assert convert.main(["m.skops", "-o", "m.onnx"]) == code
    assert capsys.readouterr().err == "interrupted: nothing was written\n"
