"""What each operator makes of the rows: a function a (domain, operator), which raises `Ends` where they may meet.

A rule is given how the node's inputs lie and gives how its outputs do. An operator without one ends the proof.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from beamsplit.models.independence.lies import Given
from beamsplit.models.independence.reading import Node
from beamsplit.models.independence.rules import (
    attention,
    elementwise,
    images,
    indexing,
    linear,
    norms,
    quantised,
    shape,
    sizes,
    tables,
)

Rule = Callable[[Node, Sequence[Given | None]], list[Given]]

RULES: dict[tuple[str, str], Rule] = {
    **elementwise.RULES,
    **shape.RULES,
    **sizes.RULES,
    **indexing.RULES,
    **linear.RULES,
    **images.RULES,
    **norms.RULES,
    **quantised.RULES,
    **tables.RULES,
    **attention.RULES,
}

QUANTISES = {
    ("", "DynamicQuantizeLinear"),
    ("com.microsoft", "DynamicQuantizeMatMul"),
    ("com.microsoft", "DynamicQuantizeLSTM"),
}
"""Set a scale from all values of a run: what follows is a step of that scale away from what each row alone gives."""

RANDOM = {
    ("", op)
    for op in ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
}
"""Draw numbers, others each run."""
