"""The operators of ai.onnx.ml: trees, linear models, encoders; and texts."""

from __future__ import annotations

from collections.abc import Sequence

from beamsplit.models.independence.dims import Dim, size, unknown
from beamsplit.models.independence.lies import Ends, Given, Rows, Same, rows_on, shape_of, the_same
from beamsplit.models.independence.reading import Node


def _table(data: Given | None) -> Given:
    """[rows, columns].

    Raises:
        Ends: it is another shape, of which nothing says what would be a row.
    """
    shape = shape_of(data)
    assert data is not None
    if len(shape) != 2 or (isinstance(data, Rows) and data.axis != 0):
        raise Ends("its input is no table with the rows on the first axis")
    return data


def ensemble(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """What scores rows: trees, linear models, support vectors; a label and scores, or values alone."""
    data = _table(given[0])
    shape = shape_of(data)
    outputs: list[Given] = []
    for position in range(len(node.outputs)):
        one = (position == 0 and len(node.outputs) > 1) or (node.op.endswith("Classifier") and position == 0)
        made = shape[:1] if one else (shape[0], _columns(node))
        outputs.append(data.shaped(0, made) if isinstance(data, Rows) else Same(made))
    return outputs


def _columns(node: Node) -> Dim:
    count = node.whole("n_targets") or node.whole("targets") if not node.op.endswith("Classifier") else 0
    return size(count) if count else unknown()


def columns(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Scaler, Imputer and Normalizer: within a row of a table."""
    data = _table(given[0])
    return [data if isinstance(data, Rows) else Same(shape_of(data))]


def each(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Each element by itself."""
    data = given[0]
    assert data is not None
    return [data if isinstance(data, Rows) else Same(shape_of(data))]


def one_hot(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """OneHotEncoder: an axis more behind all others."""
    data = given[0]
    made = (*shape_of(data), unknown())
    return [data.shaped(data.axis, made) if isinstance(data, Rows) else Same(made)]


def side_by_side(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """FeatureVectorizer: columns beside columns."""
    tables = [_table(one) for one in given]
    if not any(isinstance(one, Rows) for one in tables):
        return [Same((shape_of(tables[0])[0], unknown()))]
    first = tables[0]
    for one in tables:
        if not isinstance(one, Rows) or not isinstance(first, Rows) or one.inner != first.inner:
            raise Ends("what is no row's is put beside rows")
    assert isinstance(first, Rows)
    return [first.shaped(0, (first.shape[0], unknown()))]


def cleaned(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """StringNormalizer: stop words would leave rows out."""
    if isinstance(given[0], Rows) and node.has("stopwords"):
        raise Ends("it leaves out rows that are stop words", counts=True)
    return each(node, given)


def counted_words(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """TfIdfVectorizer of a table of words."""
    data = _table(given[0])
    made = (shape_of(data)[0], unknown())
    return [data.shaped(0, made) if isinstance(data, Rows) else Same(made)]


def distances(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """CDist of com.microsoft: from each row to each of a table that is the same for all."""
    data, other = given[0], given[1]
    if isinstance(data, Rows) and isinstance(other, Same) and data.plain:
        the_same(other, "table")
        _table(data)
        return [rows_on(0, (data.shape[0], shape_of(other)[0]))]
    if isinstance(other, Rows) and isinstance(data, Same) and other.plain:
        the_same(data, "table")
        _table(other)
        return [rows_on(1, (shape_of(data)[0], other.shape[0]))]
    if isinstance(data, Rows) or isinstance(other, Rows):
        raise Ends("each row is measured against each row")
    return [Same((shape_of(data)[0], shape_of(other)[0]))]


_ML = "ai.onnx.ml"
_ENSEMBLES = (
    "LinearClassifier", "LinearRegressor", "SVMClassifier", "SVMRegressor", "TreeEnsemble", "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
)  # fmt: skip

RULES = {
    **{(_ML, op): ensemble for op in _ENSEMBLES},
    **{(_ML, op): columns for op in ("Imputer", "Normalizer", "Scaler")},
    **{(_ML, op): each for op in ("Binarizer", "CategoryMapper", "LabelEncoder")},
    (_ML, "OneHotEncoder"): one_hot,
    (_ML, "FeatureVectorizer"): side_by_side,
    ("", "StringNormalizer"): cleaned,
    ("", "TfIdfVectorizer"): counted_words,
    ("com.microsoft", "CDist"): distances,
}
