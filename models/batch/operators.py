"""How operators take the batch, where their inputs tell it by their places."""

from __future__ import annotations

BROADCASTING = frozenset(
    [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Where",
        "And",
        "Or",
        "Xor",
        "Equal",
        "Greater",
        "Less",
        "GreaterOrEqual",
        "LessOrEqual",
        "Max",
        "Min",
        "Sum",
        "Mean",
        "Mod",
        "PRelu",
        "BitShift",
        "BitwiseAnd",
        "BitwiseOr",
        "BitwiseXor",
        "MatMul",
        "Gemm",
    ]
)
"""Operators whose inputs are made as large as one another, axis by axis from the last."""

RECURRENT = {4: 0, 5: 1, 6: 1}
"""Inputs of LSTM, GRU and RNN that have the batch on an axis of their own: lengths and first states."""
