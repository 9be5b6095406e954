"""Steps one after the other: from SPEC strings, and the schema that comes out at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.spec import FUNCTION, SpecStep, build, did_you_mean, parse_spec
from beamsplit.transforms.step import Step
from beamsplit.transforms.user_function import UserFunction


def parse_step(text: str, flag: str, builtins: Sequence[type[SpecStep]], **given: Any) -> Step:
    """The step that a SPEC describes: a built-in one by its name, else the user's `module:function`.

    Args:
        text: the SPEC.
        flag: the command line option it was given to, for errors.
        builtins: the steps known by name.
        given: fields of a built-in step that no SPEC sets; those a step does not have are left out.

    Raises:
        UsageError: no such step, a wrong option, or code that does not import.
    """
    if not text.strip():
        raise UsageError(f"{flag} is given the empty text ''; for example: {flag} {builtins[0].EXAMPLE}")
    by_name = {cls.NAME: cls for cls in builtins}
    try:
        name = parse_spec(text).name
    except ValueError as error:
        raise UsageError(f"{flag} {text}: {error}; for example: {flag} {builtins[0].EXAMPLE}") from error
    if name in by_name:
        cls = by_name[name]
        fields = cls.__dataclass_fields__  # type: ignore[attr-defined]
        return build(cls, text, flag, **{key: value for key, value in given.items() if key in fields})  # type: ignore[return-value]
    known = f"the steps are {', '.join(by_name)}, and module:function for your own"
    if not FUNCTION.match(text):
        raise UsageError(f"{flag} {text}: there is no step {name!r}{did_you_mean(name, by_name)}; {known}")
    try:
        return UserFunction(text)
    except UsageError as error:
        raise UsageError(f"{flag} {error}{did_you_mean(name, by_name)}; {known}") from error


def chain_schema(steps: Iterable[Step], schema: pa.Schema) -> pa.Schema:
    """The schema after all steps.

    Raises:
        UsageError: a step cannot take what the steps before it make.
    """
    for step in steps:
        schema = step.output_schema(schema)
    return schema
