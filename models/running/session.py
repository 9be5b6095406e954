"""ONNX Runtime sessions: one a process and model, shared by its threads."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnxruntime as ort

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import ModelFile, external_folder, load_source, model_bytes, unknown_ranks
from beamsplit.models.graph.signature import Dim, Signature, TensorSpec
from beamsplit.models.ort_reason import one_line
from beamsplit.models.per_process import PerProcess
from beamsplit.models.running.blocks import blocks_of
from beamsplit.models.running.ort_values import ODD_TYPES, to_numpy, to_ort_value
from beamsplit.models.running.providers import (
    CPU,
    CUDA,
    available_providers,
    gpu_count,
    load_gpu_libraries,
    resolve_providers,
    short_name,
)
from beamsplit.models.running.run_limit import limited

__all__ = [
    "ModelRunError",
    "RunTimeoutError",
    "Session",
    "SessionOptions",
    "available_providers",
    "get_session",
    "gpu_count",
    "loaded_models",
    "resolve_providers",
    "signature_of",
]

Array = np.ndarray[Any, Any]

_DTYPES = {"float": "float32", "double": "float64"}
_TAKES_DEVICE_ID = frozenset(
    {CUDA, "TensorrtExecutionProvider", "ROCMExecutionProvider", "MIGraphXExecutionProvider", "DmlExecutionProvider"}
)


class ModelRunError(RuntimeError):
    """A run of the model failed; the message is ONNX Runtime's reason in one line."""


class RunTimeoutError(ModelRunError):
    """A run did not return within `SessionOptions.run_timeout` and was stopped."""


@dataclass(frozen=True)
class SessionOptions:
    """How a session runs."""

    providers: tuple[str, ...] = (CPU,)
    """Full names in order of preference, as `resolve_providers` gives them; the CPU is always there as the last."""

    threads: int = 0
    """Threads that one run may use on the CPU; 0 is one for each core."""

    device: int | None = None
    """Number of the GPU from 0; None is the first."""

    mapped: bool = False
    """Weights that lie in a file beside the model stay there, mapped into memory, and nothing is packed or fused: it
    loads at once and takes hardly any memory of its own, but runs are slower. See `models.running.mapped`."""

    run_timeout: float | None = None
    """Seconds after which a run is stopped; None for never."""


class Session:
    """A loaded model. `run` may be called from many threads at once."""

    def __init__(
        self,
        model: ModelFile,
        options: SessionOptions,
        *,
        source: bytes | None = None,
        configure: Callable[[ort.SessionOptions], None] | None = None,
    ) -> None:
        """Load the model; use `get_session`, which does it once.

        Args:
            model: the file.
            options: how it runs.
            source: a serialised model to load in place of the file, whose folder holds its external data.
            configure: sets more of ONNX Runtime's options, e.g. its profiler.

        Raises:
            UsageError: ONNX Runtime cannot load the model or start the provider.
        """
        started = time.perf_counter()
        self.model = model
        """What was loaded."""
        self.options = options
        """How it runs."""
        self.raw = _make_session(model, options, source, configure)
        """ONNX Runtime's own session, e.g. for `graph.needed_rewrites`."""
        self.load_seconds = time.perf_counter() - started
        """Seconds that loading took."""
        self._blocks = blocks_of(model.rewrites)
        self._output_names = [output.name for output in self.raw.get_outputs()]
        inputs = {i.name: i.type for i in self.raw.get_inputs()}
        odd = {f"tensor({dtype})": dtype for dtype in ODD_TYPES}
        self._odd = {name: odd[kind] for name, kind in inputs.items() if kind in odd}
        outputs = [output.type for output in self.raw.get_outputs()]
        self._decodes = not odd.keys().isdisjoint(outputs)
        # Strings have no place on a device, and some types are none of numpy's: such models are run the plain way.
        plain = not (self._odd or self._decodes) and "tensor(string)" not in [*inputs.values(), *outputs]
        self._bound = CUDA in self.raw.get_providers() and plain
        self._device = options.device or 0

    @cached_property
    def signature(self) -> Signature:
        """Inputs and outputs of the model.

        Raises:
            UsageError: one of them is no tensor.
        """
        unsure = any(a.shape == [] for a in [*self.raw.get_inputs(), *self.raw.get_outputs()])
        signature = signature_of(self.raw, unknown_ranks(self.model) if unsure else frozenset())
        return signature if self._blocks is None else self._blocks.signature(signature)

    @cached_property
    def model_bytes(self) -> int:
        """Size in bytes of the model file with its external data."""
        return model_bytes(self.model.path)

    def run(self, feeds: dict[str, Array]) -> list[Array]:
        """All outputs, in the order of the signature, for one array an input.

        Types that numpy lacks are given and come in another, as `models.running.ort_values` says (bfloat16: float32).

        Raises:
            RunTimeoutError: it did not return in time.
            ModelRunError: ONNX Runtime refused the arrays or failed in the model.
        """
        if self._blocks is not None:
            return self._blocks.run(self._run, feeds)
        return self._run(feeds)

    def _run(self, feeds: dict[str, Array]) -> list[Array]:
        seconds = self.options.run_timeout
        if seconds is None:
            return self._run_with(feeds, None)
        with limited(seconds) as running:
            try:
                return self._run_with(feeds, running.options)
            except ModelRunError as error:
                if not running.told:
                    raise
                raise RunTimeoutError(f"it did not return within {seconds:g} s (--run_timeout)") from error

    def _run_with(self, feeds: dict[str, Array], how: ort.RunOptions | None) -> list[Array]:
        try:
            if self._bound:
                return self._run_on_device(feeds, how)
            if self._odd or self._decodes:
                values = {name: to_ort_value(value, self._odd.get(name)) for name, value in feeds.items()}
                made = self.raw.run_with_ort_values(self._output_names, values, how)
                return [to_numpy(value) for value in made]
            outputs: list[Array] = self.raw.run(self._output_names, feeds, how)
            return outputs
        except Exception as error:  # ONNX Runtime's errors have no common base.
            raise ModelRunError(one_line(error)) from error

    def _run_on_device(self, feeds: dict[str, Array], how: ort.RunOptions | None) -> list[Array]:
        binding = self.raw.io_binding()
        for name, value in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for name in self._output_names:
            binding.bind_output(name, "cuda", self._device)
        self.raw.run_with_iobinding(binding, how)
        outputs: list[Array] = binding.copy_outputs_to_cpu()
        return outputs


def signature_of(session: ort.InferenceSession, unknown: frozenset[str] = frozenset()) -> Signature:
    """The inputs and outputs of a session; `unknown` names those without even a rank.

    ONNX Runtime gives the shape `[]` both for a scalar and for an unknown rank: `graph.unknown_ranks` tells.

    Raises:
        UsageError: an input or output is a sequence, a map or optional.
    """
    return Signature(
        tuple(_spec("input", argument, unknown) for argument in session.get_inputs()),
        tuple(_spec("output", argument, unknown) for argument in session.get_outputs()),
    )


def _spec(role: str, argument: Any, unknown: frozenset[str]) -> TensorSpec:
    match = re.fullmatch(r"tensor\((\w+)\)", argument.type)
    if match is None:
        fix = f"export the model without that {role}, or with a tensor in its place"
        if argument.type.startswith("seq(map("):
            fix = "export it with options={'zipmap': False} (skl2onnx)"
        raise UsageError(f"{role} {argument.name} is {argument.type}, but beamsplit handles tensors only: {fix}")
    name = match[1]
    shape: tuple[Dim, ...] | None = tuple(d if isinstance(d, int) or _names(d) else None for d in argument.shape)
    if not shape and argument.name in unknown:
        shape = None
    return TensorSpec(argument.name, _DTYPES.get(name, name), shape)


def _names(dim: object) -> bool:
    """Whether a symbol names a dimension: exporters give `?` or nothing to those that they know nothing of."""
    return isinstance(dim, str) and dim.strip().lower() not in ("", "?", "*", "-1", "none", "null", "unknown")


_sessions = PerProcess[tuple[ModelFile, SessionOptions, int, int], Session](lambda key: Session(*key[:2]))
"""By model, options, and the time and size of the file."""


def get_session(model: ModelFile, options: SessionOptions) -> Session:
    """This process's session of the model with these options; loaded by the first call, also if two come at once.

    A file that has changed since is loaded anew.

    Raises:
        UsageError: ONNX Runtime cannot load the model or start the provider.
    """
    try:
        stat = os.stat(model.path)
    except OSError as error:
        raise UsageError(f"--model {model.path} cannot be read ({error.strerror}): give an ONNX file") from None
    return _sessions.get((model, options, stat.st_mtime_ns, stat.st_size))


def drop_session(session: object) -> None:
    """Let go of a session that nobody in this process needs any more; who still has it can go on using it."""
    _sessions.drop(session)


def forget_sessions() -> None:
    """Let go of every session of this process, as `drop_session` does of one."""
    _sessions.clear()


def loaded_models() -> list[str]:
    """Paths of the models that this process holds a session of."""
    return [model.path for model, *_ in _sessions.keys]


_SLOWER_ON_CPU = ("SkipLayerNormFusion",)
"""Add and LayerNormalization as one kernel take 1.1 to 3 times as long as the two, whose kernels are vectorised."""


def _make_session(
    model: ModelFile,
    options: SessionOptions,
    source: str | bytes | None = None,
    configure: Callable[[ort.SessionOptions], None] | None = None,
) -> ort.InferenceSession:
    # Everything that goes wrong comes back as an exception too; the log would print it a second time.
    ort.set_default_logger_severity(4)
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = options.threads or os.cpu_count() or 1
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if options.mapped:
        # What is packed, fused or folded is a copy.
        settings.add_session_config_entry("session.disable_prepacking", "1")
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = load_source(model) if source is None else source
    if isinstance(source, bytes):
        folder = external_folder(model.path)
        settings.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    if CUDA in options.providers:
        load_gpu_libraries()
    providers: list[tuple[str, dict[str, str]]] = []
    for name in dict.fromkeys([*options.providers, CPU]):
        given = {}
        if name in _TAKES_DEVICE_ID and options.device is not None:
            given["device_id"] = str(options.device)
        if name == CUDA:
            # The default times every algorithm of every convolution anew for each size of block.
            given["cudnn_conv_algo_search"] = "HEURISTIC"
        providers.append((name, given))
    if configure is not None:
        configure(settings)
    try:
        session = ort.InferenceSession(
            source, settings, providers=providers, enable_fallback=0,
            disabled_optimizers=_SLOWER_ON_CPU if set(options.providers) <= {CPU} else None,
        )  # fmt: skip
    except Exception as error:  # ONNX Runtime's errors have no common base.
        reason = one_line(error)
        fix = ": it is damaged or cut short, copy or export it again" if "Protobuf parsing failed" in reason else ""
        raise UsageError(f"--model {model.path}: ONNX Runtime cannot load it: {reason.rstrip('.')}{fix}") from error
    missing = [name for name in options.providers if name not in session.get_providers()]
    if missing:
        name = short_name(missing[0])
        raise UsageError(
            f"--providers {name}: it is installed but did not start (a library or the device is missing): "
            "install what https://onnxruntime.ai/docs/execution-providers names, or use --providers cpu"
        )
    return session
