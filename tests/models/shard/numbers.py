"""Numbers for weights and rows, and how many shards and how large."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

SIZES = st.integers(1, 13)
SHARDS = st.integers(2, 4)


def numbers(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)
