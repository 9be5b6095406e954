"""`type: beamsplit.Score` and RunInference's handler `BeamsplitOnnx` in Beam YAML; `providers.yaml` names this file."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.yaml.yaml_ml import ModelHandlerProvider

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.api.handler import OnnxModelHandler
from beamsplit.pipelines.api.model_options import NAMES
from beamsplit.pipelines.api.score_transform import Score
from beamsplit.pipelines.api.scorer import RowsFailed
from beamsplit.transforms.elements.scoring import names_of, value_of
from beamsplit.transforms.failures.row_error import RowError

HANDLER = "BeamsplitOnnx"


def fail(error: RowError) -> RowError:
    """Fail the pipeline for a row that failed.

    Raises:
        RowsFailed: always.
    """
    raise RowsFailed([error], 1)


class YamlScore(beam.PTransform[Any, Any]):
    """`Score` as Beam YAML has it: errors are an output where `error_handling` names one, else they fail."""

    def __init__(self, score: Score, errors: str | None) -> None:
        super().__init__()
        self._score, self._errors = score, errors

    def expand(self, rows: PCollection[Any]) -> Any:
        """Wire: the predictions, or a dict of them and of the errors."""
        scored = rows | "Score" >> self._score
        if self._errors is None:
            scored.errors | "Fail" >> beam.Map(fail).with_output_types(RowError)
            return scored.predictions
        return {"good": scored.predictions, self._errors: scored.errors}


def score(
    model: str, error_handling: Mapping[str, str] | None = None, schema: str | None = None, **options: Any
) -> beam.PTransform[Any, Any]:
    """Score rows with an ONNX model.

    Args:
        model: the ONNX file.
        error_handling: `output` names the output with rows that fail; without it they fail the pipeline.
        schema: of the rows where their types do not tell it.
        options: as of `beamsplit.Score`.

    Raises:
        UsageError: an argument is wrong.
    """
    handling = dict(error_handling or {})
    output = handling.pop("output", None)
    if handling or (error_handling is not None and output is None):
        raise UsageError(f"error_handling is {error_handling!r}; write error_handling: {{output: errors}}")
    given = {name: value for name, value in options.items() if value is not None}
    return YamlScore(Score(model, schema=schema, **given), output)


def _signature() -> inspect.Signature:
    """What Beam YAML looks at: the name of each argument."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    named = [inspect.Parameter("model", keyword, annotation=str)]
    named += [inspect.Parameter(name, keyword, default=None) for name in ("error_handling", "schema", *NAMES)]
    return inspect.Signature(named)


score.__signature__ = _signature()  # type: ignore[attr-defined]
score.__annotations__ = {"model": str}


def as_dict(row: Any) -> dict[str, Any]:
    """A row's values by name."""
    return {name: value_of(row, name) for name in names_of(row)}


@ModelHandlerProvider.register_handler_type(HANDLER)
class OnnxHandlerProvider(ModelHandlerProvider):
    """The handler for `type: RunInference`: rows are examples as they are, `config` as of `OnnxModelHandler`."""

    def __init__(self, model: str, preprocess: Any = None, postprocess: Any = None, **options: Any) -> None:
        super().__init__(OnnxModelHandler(model, **options), preprocess, postprocess)

    @staticmethod
    def default_preprocess_fn() -> Callable[[Any], dict[str, Any]]:
        """Rows as dicts."""
        return as_dict

    def inference_output_type(self) -> Any:
        """A row of the example and its inference."""
        fields: list[tuple[str, Any]] = [("example", Any), ("inference", Any), ("model_id", typing.Optional[str])]  # noqa: UP045
        return RowTypeConstraint.from_fields(fields)

    @staticmethod
    def validate(model_handler_spec: Any) -> None:
        """What is wrong shows when the handler is made."""
