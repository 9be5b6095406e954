"""ONNX models for Beam's own RunInference: every input, every output, examples of any kind."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.api.arguments import sample_given, schema_given
from beamsplit.pipelines.api.element_schema import signature_of_model
from beamsplit.pipelines.api.handler_batching import batching_of, check_batching
from beamsplit.pipelines.api.loaded_model import LoadedModel
from beamsplit.pipelines.api.model_options import NAMES, ModelOptions, read_options
from beamsplit.pipelines.api.paths import path_given
from beamsplit.transforms.fetch.model_schemes import is_elsewhere

if TYPE_CHECKING:
    from typing_extensions import Unpack

NAMESPACE = "BeamML_Onnx"
"""That of Beam's own ONNX handler, so that what watches its metrics goes on."""


_result: Callable[[Iterable[Any]], PredictionResult] = partial(tuple.__new__, PredictionResult)
"""Of (example, inference, model): three times as quick as Beam's own `__new__`, a third of what a row costs."""


class HandlerOptions(ModelOptions, total=False):
    """Arguments of `OnnxModelHandler`: those of `ModelOptions`, and Beam's own on batching and sharing."""

    min_batch_size: int
    max_batch_size: int
    max_batch_duration_secs: int
    max_batch_weight: int
    element_size_fn: Callable[[Any], int]
    batch_length_fn: Callable[[Any], int]
    batch_bucket_boundaries: list[int]
    large_model: bool
    model_copies: int
    env_vars: dict[str, str]


OF_BEAM = tuple(name for name in HandlerOptions.__annotations__ if name not in NAMES)
LACKING = ("model_updates", "model_check", "model_check_tolerance")
"""Options that RunInference has in words of its own: `watch_model_pattern`."""


class OnnxModelHandler(ModelHandler[Any, PredictionResult, LoadedModel]):
    """An ONNX model for `apache_beam.ml.inference.base.RunInference`.

    >>> import apache_beam as beam
    >>> import numpy as np
    >>> from apache_beam.ml.inference.base import RunInference
    >>> import beamsplit as bs
    >>> with beam.Pipeline() as pipeline:
    ...     rows = pipeline | beam.Create([np.array([30, 180, 75], "float32")])
    ...     scored = rows | RunInference(bs.OnnxModelHandler("examples/mlp.onnx"))
    ...     _ = scored | beam.Map(lambda result: print(result.inference.shape, result.model_id))
    (4,) examples/mlp.onnx

    An example is a row, or many of them:

    | example | inference |
    |---|---|
    | an array (or number, or text) for the only input | the output of that row |
    | a dict, `beam.Row` or NamedTuple: a column a name | the same |
    | an array with an axis of rows before it | the outputs of all of them, rows first |
    | a pyarrow RecordBatch or Table | a RecordBatch or Table of `keep` columns and outputs |

    Of a model with several outputs, or with `keep`, an inference is a dict by name. Rows of a batch may have unlike
    shapes. A row that cannot be scored fails its batch (`with_exception_handling` gives it with the reason), or with
    `errors="return"` has a `RowError` as its inference while the rows beside it are scored.

    Args:
        model: the ONNX file, local, gs:// or s3://; `watch_model_pattern` and `model_metadata_pcoll` replace it.
        errors: `"raise"` or `"return"`, see above.
        schema: of rows as dicts or tables; default: as they come.
        sample: a few rows as they will come, to bring them together with the model before the first batch.
        options: as of `Scorer`, and Beam's own: `min_batch_size`, `max_batch_size`, `max_batch_duration_secs`,
            `max_batch_weight`, `element_size_fn`, `batch_length_fn`, `batch_bucket_boundaries`, `large_model`,
            `model_copies`, `env_vars`. `inference_args` of RunInference are inputs that are no columns, as `set`.

    Raises:
        UsageError: an argument is wrong, in the words of the command.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        errors: str = "raise",
        schema: pa.Schema | str | None = None,
        sample: Any = None,
        **options: Unpack[HandlerOptions],
    ) -> None:
        given: dict[str, Any] = dict(options)
        of_beam = {name: given.pop(name) for name in OF_BEAM if name in given}
        check_batching(of_beam)
        super().__init__(**of_beam)
        self._model = path_given("model", model)
        kinds = schema_given(schema)
        self._how: dict[str, Any] = {"errors": errors, "schema": kinds, "sample": sample_given(sample, kinds)}
        self._options = given
        read_options("OnnxModelHandler", self._model, given, LACKING)
        if errors not in ("raise", "return"):
            raise UsageError(f"errors is {errors!r}; it is 'raise' or 'return'")

    def load_model(self) -> LoadedModel:
        """The model, loaded and ready for batches."""
        return LoadedModel(self._model, self._how, self._options)

    def run_inference(
        self, batch: Sequence[Any], model: LoadedModel, inference_args: dict[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        """A PredictionResult an example.

        Args:
            batch: examples, all of one kind; or many rows as they stand, of a handler `with_no_batching`.
            model: from `load_model`.
            inference_args: inputs that are no columns, by name.

        Raises:
            RowsFailed: a row cannot be scored, and `errors` is `"raise"`.
            UsageError: the examples do not fit the model.
        """
        if isinstance(batch, (pa.RecordBatch, pa.Table)):
            return [_result((batch, model.predict([batch], inference_args)[0], self._model))]
        made = model.predict(batch, inference_args)
        return list(map(_result, zip(batch, made, repeat(self._model, len(batch)), strict=True)))

    def get_num_bytes(self, batch: Sequence[Any]) -> int:
        """Bytes of the examples: of arrays and tables what their values take."""
        if hasattr(batch, "nbytes"):
            return int(batch.nbytes)
        if all(hasattr(example, "nbytes") for example in batch):
            return sum(int(example.nbytes) for example in batch)
        return len(pickle.dumps(batch))

    def get_metrics_namespace(self) -> str:
        """That of Beam's own ONNX handler."""
        return NAMESPACE

    def batch_elements_kwargs(self) -> dict[str, Any]:
        """What `beam.BatchElements` is given."""
        return batching_of(super().batch_elements_kwargs())

    def validate_inference_args(self, inference_args: dict[str, Any] | None) -> None:
        """Raise unless they are values by input; where the model is a file of this machine, by inputs that it has.

        Raises:
            UsageError: with what is wanted.
        """
        if inference_args is None:
            return
        read_options("inference_args", self._model, {"set": inference_args})
        if inference_args and not is_elsewhere(self._model) and os.path.isfile(self._model):
            inputs = [spec.name for spec in signature_of_model(self._model).inputs]
            unknown = [name for name in inference_args if name not in inputs]
            if unknown:
                raise UsageError(
                    f"inference_args name {', '.join(unknown)}; the model has the inputs {', '.join(inputs)}"
                )

    def update_model_path(self, model_path: str | None = None) -> None:
        """Take another model from the next `load_model` on; an empty path keeps the one there is."""
        self._model = model_path or self._model
