"""Random schemas of JSON that are plain, or nearly."""

from __future__ import annotations

from hypothesis import strategies as st

LIMITS = st.dictionaries(
    st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]), st.sampled_from([-2, 0, 0.1, 3])
)
SINGLE = st.one_of(
    LIMITS.flatmap(lambda limits: st.sampled_from(["number", "integer"]).map(lambda kind: limits | {"type": kind})),
    st.sampled_from([{"type": "boolean"}, {"type": "string"}, {"type": "string", "enum": ["a", ""]}]),
)
LISTS = LIMITS.map(lambda limits: {"type": "array", "items": limits | {"type": "number"}, "minItems": 1, "maxItems": 3})
ANY_PROPERTY = (SINGLE | LISTS).flatmap(
    lambda one: st.sampled_from(
        [one, one | {"type": [one["type"], "null"]}]
        + [{word: [{"type": "null"}, inner]} for word in ("oneOf", "anyOf")
           for inner in (one, one | {"type": ["null", one["type"]]})]
    )
)  # fmt: skip
ANY_SCHEMA = st.fixed_dictionaries(
    {
        "properties": st.dictionaries(st.sampled_from("xin"), ANY_PROPERTY, min_size=1),
        "required": st.lists(st.sampled_from("xin"), unique=True),
        "additionalProperties": st.booleans(),
    }
).map(lambda tree: {"type": "object", **tree})
