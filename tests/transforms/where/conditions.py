"""Random conditions, and values that they are about."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

INTS = [None, -7, -1, 0, 1, 2, 3, 8, 40]
FLOATS = [None, -2.5, -0.5, 0.0, 0.5, 1.0, 2.5, 1e9]
TEXTS = [None, "", "a", "ab", "b", "B", "zé", "it's"]

literals = {
    "i": st.sampled_from(["-7", "0", "1", "2.5", "3", "8.0", "1e20", "-0.5"]),
    "f": st.sampled_from(["-2.5", "0", "0.5", "1", "1e9", "7.25"]),
    "s": st.sampled_from(["''", "'a'", "'ab'", "'b'", "'zé'", "'it''s'", "'zz'"]),
}


@st.composite
def conditions(draw: Any, depth: int = 3) -> str:
    kind = draw(st.sampled_from(["and", "or", "not", "leaf", "leaf"])) if depth else "leaf"
    if kind in ("and", "or"):
        return f"({draw(conditions(depth - 1))} {kind} {draw(conditions(depth - 1))})"
    if kind == "not":
        return f"not ({draw(conditions(depth - 1))})"
    column = draw(st.sampled_from("ifs"))
    value = literals[column]
    how = draw(st.sampled_from(["compare", "flipped", "in", "between", "null", "like" if column == "s" else "compare"]))
    negated = draw(st.sampled_from(["", "not "]))
    if how == "compare":
        return f"{column} {draw(st.sampled_from(['=', '<>', '!=', '<', '<=', '>', '>=']))} {draw(value)}"
    if how == "flipped":
        return f"{draw(value)} {draw(st.sampled_from(['=', '<', '<=', '>', '>=']))} {column}"
    if how == "in":
        return f"{column} {negated}in ({', '.join(draw(st.lists(value, min_size=1, max_size=3)))})"
    if how == "between":
        return f"{column} {negated}between {draw(value)} and {draw(value)}"
    if how == "like":
        return f"s {negated}like {draw(st.sampled_from(['%', 'a%', '_', '%b', '']).map(repr))}"
    return f"{column} is {negated}null"
