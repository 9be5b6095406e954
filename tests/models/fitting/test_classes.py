from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from beamsplit.models.fitting.classes import ClassNames, class_names, parse_names, zipmap_note
from tests import onnx_models
from tests.onnx_models import save


def classifier(estimator: object, classes: list[str] | list[int], *, zipmap: bool) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 4)).astype(np.float32)
    target = np.array(classes)[np.digitize(x[:, 0], np.linspace(-0.5, 0.5, len(classes) - 1))]
    return onnx_models._from_sklearn(estimator.fit(x, target), 4, {"zipmap": zipmap})  # type: ignore[attr-defined]


def estimator(name: str) -> object:
    from sklearn import ensemble, linear_model, naive_bayes, neural_network, svm

    return {
        "linear": lambda: linear_model.LogisticRegression(),
        "trees": lambda: ensemble.RandomForestClassifier(3, random_state=0),
        "boosted": lambda: ensemble.GradientBoostingClassifier(n_estimators=3),
        "svm": lambda: svm.SVC(probability=True, random_state=0),
        "bayes": lambda: naive_bayes.GaussianNB(),
        "mlp": lambda: neural_network.MLPClassifier((4,), max_iter=5),
    }[name]()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("classes", [["no", "yes"], ["a", "b", "c"], [3, 7], [0, 5, 9]])
@pytest.mark.parametrize("name", ["linear", "trees", "boosted", "svm", "bayes", "mlp"])
def test_classifiers_of_scikit_learn(tmp_path: Path, name: str, classes: list, zipmap: bool):
    path = save(classifier(estimator(name), classes, zipmap=zipmap), tmp_path / "m.onnx")
    output = "output_probability" if zipmap else "probabilities"
    assert class_names(path, {}).of(output, len(classes)) == tuple(classes)
    assert class_names(path, {}).of(output, len(classes) - 1) is None


def test_a_note_tells_the_classes(tmp_path: Path):
    path = save(onnx_models.zipmap(labels="string"), tmp_path / "m.onnx")
    assert "output_probability is one list a row, for the classes high, low, mid (--finish" in zipmap_note(path)


def test_a_model_of_no_classes(tmp_path: Path):
    path = save(onnx_models.mlp(4, outputs=2), tmp_path / "m.onnx")
    assert class_names(path, {}) == ClassNames()
    assert class_names(path, {"labels": '["a", "b"]'}).of("y", 2) == ("a", "b")
    assert class_names(path, {"labels": '["a", "b", "c"]'}).of("y", 2) is None


def test_the_label_of_a_classifier_is_no_score(tmp_path: Path):
    node = helper.make_node(
        "LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", coefficients=[1.0, -1.0],
        intercepts=[0.0, 0.0], classlabels_strings=["no", "yes"],
    )  # fmt: skip
    outputs = [("label", TensorProto.STRING, ["n"]), ("twice", TensorProto.FLOAT, ["n", 2])]
    add = helper.make_node("Add", ["scores", "scores"], ["twice"])
    model = onnx_models.build(
        [node, add], [("x", TensorProto.FLOAT, ["n", 1])], outputs, extra_opsets={"ai.onnx.ml": 3}
    )
    # What Add makes of the scores is not followed: nothing is said of it.
    assert class_names(save(model, tmp_path / "m.onnx"), {}).outputs == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('["cat", "dog"]', ("cat", "dog")),
        ('{"0": "cat", "1": "dog"}', ("cat", "dog")),
        ('{"cat": 0, "dog": 1}', ("cat", "dog")),
        ("{1: 'dog', 0: 'cat'}", ("cat", "dog")),
        ("('cat', 'dog')", ("cat", "dog")),
        ("cat,dog", ("cat", "dog")),
        ("cat\ndog", ("cat", "dog")),
        ("[3, 7]", (3, 7)),
        ('{"0": "cat", "2": "dog"}', ()),
        ("__import__('os').getcwd()", ()),
        ("[__import__('os').getcwd(), 'a']", ()),
        ("imagenet", ()),
        ("[1.5, 2.5]", ()),
        ("[", ()),
        ("[" * 100_000, ()),
        ("", ()),
    ],
)
def test_names_in_a_text(text: str, names: tuple):
    assert parse_names(text) == names
