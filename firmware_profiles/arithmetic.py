"""Small arithmetic for profiles: ``100 * (total - free) / total``.

Only numbers, names, ``+ - * / **`` and parentheses; no calls, no attributes. Exponents are bounded, so that a
device's number cannot make the agent compute for ever.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

_OPERATORS: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_MAX_EXPONENT: Final = 24


class FormulaError(ValueError):
    """A formula that is not one, or that has no value for these numbers (a division by zero)."""


@lru_cache(maxsize=512)
def _tree(formula: str) -> ast.expr:
    if len(formula) > 200:
        raise FormulaError(f"expected a formula of at most 200 characters, found {len(formula)}")
    try:
        return ast.parse(formula, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FormulaError(f"expected a formula, found {formula!r}") from error


def names(formula: str) -> set[str]:
    """Return the names a formula uses. Raises FormulaError for one that is not valid."""
    tree = _tree(formula)
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    evaluate(formula, dict.fromkeys(found, 1.5), check_only=True)
    return found


def evaluate(formula: str, values: Mapping[str, float], *, check_only: bool = False) -> float:
    """Return the formula's value. Raises FormulaError where there is none; ``check_only`` forgives division by 0."""
    try:
        value = _evaluate(_tree(formula), values)
    except ZeroDivisionError as error:
        if check_only:
            return 0.0
        raise FormulaError(f"{formula}: division by zero") from error
    except OverflowError as error:
        raise FormulaError(f"{formula}: too large") from error
    if not math.isfinite(value):
        raise FormulaError(f"{formula}: too large")
    return value


def _evaluate(node: ast.expr, values: Mapping[str, float]) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.Name):
        if node.id not in values:
            raise FormulaError(f"no value for {node.id!r}")
        return values[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand, values)
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left, values), _evaluate(node.right, values)
        if isinstance(node.op, ast.Pow):
            if abs(right) > _MAX_EXPONENT or left < 0:
                raise FormulaError(f"exponent out of bounds: {left:g} ** {right:g}")
            return float(left**right)
        if type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](left, right)
    raise FormulaError(f"not allowed in a formula: {ast.dump(node)[:60]}")
