"""ONNX Runtime's execution providers: which are here, and which to use."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import glob
import io
import os
import re
import sys
from typing import Any

import onnxruntime as ort

from beamsplit.models.errors import UsageError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
NEEDS_GPU = frozenset({CUDA, "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"})
"""Providers that are listed as available wherever onnxruntime-gpu is installed, with or without an NVIDIA GPU."""

# An Identity of one float, opset 17: the smallest model that a session can be made of.
_SMALLEST_MODEL = (
    b'\x08\x08:.\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x04testZ\t\n\x01x\x12\x04\n\x02\x08\x01b\t\n\x01y\x12\x04\n\x02\x08\x01'
    b"B\x04\n\x00\x10\x11"
)


def available_providers() -> tuple[str, ...]:
    """The full names of the providers that can run here, ONNX Runtime's order of preference."""
    with_gpu = gpu_count() > 0
    return tuple(name for name in ort.get_available_providers() if with_gpu or name not in NEEDS_GPU)


def short_name(provider: str) -> str:
    """E.g. `"cuda"` for `"CUDAExecutionProvider"`."""
    return provider.removesuffix("ExecutionProvider").lower()


def resolve_providers(spec: str) -> tuple[str, ...]:
    """Full names for `"auto"` or names such as `"cuda,cpu"` (short or full, any case), in the order given.

    `"auto"` is CUDA and CPU where a session really starts on a GPU, else CPU.

    Raises:
        UsageError: a provider is not known or cannot run here.
    """
    names = [name.strip() for name in spec.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--providers {spec!r} names no provider: use auto or any of {_present()}")
    if [name.lower() for name in names] == ["auto"]:
        return (CUDA, CPU) if CUDA in available_providers() and _starts_on_gpu() else (CPU,)
    present = {short_name(name): name for name in available_providers()}
    installed = {short_name(name) for name in ort.get_available_providers()}
    found = []
    for name in names:
        short = _ALIASES.get(short := re.sub(r"executionprovider$", "", name.lower()), short)
        if short not in present:
            why = "no NVIDIA GPU is here" if short in installed else f"ONNX Runtime {ort.__version__} here lacks it"
            raise UsageError(f"--providers {name}: {why}; present are {_present()}: use one of them or auto")
        found.append(present[short])
    return tuple(dict.fromkeys(found))


_ALIASES = {"trt": "tensorrt", "directml": "dml", "gpu": "cuda"}


def _present() -> str:
    return ", ".join(short_name(name) for name in available_providers())


@functools.cache
def gpu_count() -> int:
    """Number of NVIDIA GPUs this process may use, 0 where there is no driver.

    Asks the management library and not CUDA itself, which would not survive a fork afterwards.
    """
    total = _nvml_count()
    if total is None:
        # A container may have the devices but not the management library.
        total = len(glob.glob("/dev/nvidia[0-9]*"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return total
    return min(total, _visible_count(visible))


def _visible_count(visible: str) -> int:
    """How many devices the value of CUDA_VISIBLE_DEVICES names; those after a -1 do not count, as in CUDA."""
    count = 0
    for name in visible.split(","):
        if not name.strip() or name.strip().startswith("-"):
            break
        count += 1
    return count


def _nvml_count() -> int | None:
    library = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
    try:
        nvml: Any = ctypes.CDLL(library)
    except OSError:
        return None
    if nvml.nvmlInit_v2() != 0:
        return None
    count = ctypes.c_uint(0)
    failed = nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    nvml.nvmlShutdown()
    return None if failed else count.value


@functools.cache
def _starts_on_gpu() -> bool:
    """Whether the CUDA provider finds its libraries and a device: ONNX Runtime tells only when a session starts."""
    load_gpu_libraries()
    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(_SMALLEST_MODEL, options, providers=[CUDA], enable_fallback=0)
    except Exception:  # ONNX Runtime's errors have no common base; whatever it was, the GPU cannot be used.
        return False
    return CUDA in session.get_providers()


def load_gpu_libraries() -> None:
    """Load the CUDA and cuDNN libraries that pip packages carry, where there are any."""
    if hasattr(ort, "preload_dlls"):
        # It prints what it did not find, which is no error where CUDA is installed system-wide.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(OSError):
            ort.preload_dlls()
