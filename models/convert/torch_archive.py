"""What loading a .pt2 of PyTorch would run, before it is loaded: it evaluates texts and calls names.

The archive is a ZIP with the graph as JSON. Pickles are loaded for weights only (PyTorch's own switch), but loading
also evaluates sizes (`expr_str`, by sympy), compiles guards, resolves what nodes call by its dotted name, and opens
compiled libraries. Each of these may hold only what `torch.export.save` writes there of a model.
"""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

_PARTS = re.compile(
    r"(data/(weights|constants|sample_inputs)|models|\.data|extra)/[^/]*|archive_(format|version)|byteorder|version"
)

_OLD_PARTS = re.compile(
    r"serialized_(exported_program\.json|state_dict\.(pt|json)|constants\.(pt|json)|example_inputs\.pt)|version"
)
"""Of torch before 2.8."""

_CALLS = re.compile(
    r"torch\.ops\.(aten|prim|prims|higher_order|quantized_decomposed|torchvision)\.\w+(\.\w+)?"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|eq|ne|ge|gt|le|lt|and_|or_|not_|xor|getitem|index|abs)"
    r"|(math|torch)\.(ceil|floor|trunc|sqrt|exp|log|round)|torch\.(_)?sym_\w+"
)
"""What nodes may call: operators without effects beyond their results."""

_FUNCTIONS = frozenset(
    {
        *(
            "Symbol",
            "Integer",
            "Rational",
            "Float",
            "Add",
            "Mul",
            "Pow",
            "Abs",
            "Max",
            "Min",
            "Mod",
            "And",
            "Or",
            "Not",
        ),
        *("Eq", "Ne", "Ge", "Gt", "Le", "Lt", "Equality", "Unequality", "GreaterThan", "LessThan", "StrictGreaterThan"),
        *("StrictLessThan", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv", "CeilToInt", "FloorToInt", "TruncToInt"),
        *("RoundToInt", "RoundDecimal", "ToFloat", "IntTrueDiv", "FloatTrueDiv", "PowByNatural", "FloatPow", "Where"),
        *("ModularIndexing", "Identity", "floor", "ceiling", "sqrt", "abs", "min", "max", "int", "bool", "float"),
    }
)
"""What sizes are computed with."""

_ATTRIBUTES = frozenset({"size", "shape", "dim", "ndim", "stride", "dtype", "device"})
_NODES = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Subscript, ast.Constant, ast.Name, ast.Call,
    ast.Attribute, ast.Tuple, ast.keyword, ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip


def odd(path: str) -> str | None:
    """What in an archive is more than a model, in words; None where nothing is.

    Raises:
        ValueError, OSError, zipfile.BadZipFile: it is no archive of torch.export.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = "" if any(name.startswith("serialized_") for name in names) else names[0].partition("/")[0] + "/"
        known = _PARTS if root else _OLD_PARTS
        for name in names:
            if not known.fullmatch(name.removeprefix(root)):
                return f"the file {name}"
        graphs = [name for name in names if name.endswith(".json")]
        if not any("models/" in name or "exported_program" in name for name in graphs):
            raise ValueError("it has no graph")
        for name in graphs:
            for found in _odd_of(json.loads(archive.read(name)), name):
                return found
    return None


def _odd_of(tree: Any, file: str) -> Iterator[str]:
    if isinstance(tree, list):
        for one in tree:
            yield from _odd_of(one, file)
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        texts = value if isinstance(value, list) else [value]
        if key == "target" and isinstance(value, str) and "inputs" in tree and not _CALLS.fullmatch(value):
            yield f"a call of {value[:80]}"
        if key in ("expr_str", "guards_code"):
            for text in texts:
                if isinstance(text, str) and not is_plain(text):
                    yield f"the expression {text[:80]!r}"
        yield from _odd_of(value, file)


def is_plain(text: str) -> bool:
    """Whether an expression only computes with numbers and sizes.

    >>> is_plain("Max(1, s0 + 2*s1)"), is_plain("L['x'].size()[0] >= 2"), is_plain("Symbol('s0', integer=True)")
    (True, True, True)
    >>> is_plain("sympify('1')"), is_plain("f.__class__")
    (False, False)
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    nodes = list(ast.walk(tree))
    names = {id(node.slice) for node in nodes if isinstance(node, ast.Subscript)}
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _NAMING:
            names |= {id(argument) for argument in node.args}
    return all(_is_plain_node(node, names) for node in nodes)


_NAMING = ("Symbol", "Integer", "Float", "Rational")
"""What takes texts, which are only names and numbers."""


def _is_plain_node(node: ast.AST, names: set[int]) -> bool:
    if not isinstance(node, _NODES):
        return False
    if isinstance(node, ast.Name):
        return "__" not in node.id
    if isinstance(node, ast.Attribute):
        return node.attr in _ATTRIBUTES
    if isinstance(node, ast.Constant):
        text = isinstance(node.value, str) and id(node) in names and re.fullmatch(r"[\w.+-]*", node.value)
        return isinstance(node.value, (bool, int, float)) or bool(text)
    if isinstance(node, ast.keyword):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name):
            return node.func.id in _FUNCTIONS
        return isinstance(node.func, ast.Attribute) and node.func.attr in _ATTRIBUTES
    return True
