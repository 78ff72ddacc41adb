"""Tables over all pairs of polynomials in a and b with integer coefficients, reduced mod p.

The text is parsed, never evaluated: only integers, a, b, ``+``, ``-``, ``*`` and ``**`` are known.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Int
from torch import Tensor

MAX_EXPONENT = 10_000
"""Largest exponent a polynomial may have; more is surely a slip of the pen."""

MAX_DEPTH = 200
"""Deepest nesting of a polynomial; a sum of n terms is n deep."""

_BINARY: dict[type[ast.operator], Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: torch.add,
    ast.Sub: torch.sub,
    ast.Mult: torch.mul,
}


def _not_a_polynomial(text: str, why: str) -> ValueError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return ValueError(
        f"operation={shown!r} is not a polynomial in a and b ({why}): use 'add', 'subtract', "
        "'multiply', or integers, a, b, +, -, * and ** with a whole exponent, such as 'a**2 + b**2'"
    )


class Polynomial:
    """Tables over all pairs of a polynomial's expressions, outermost first, each reduced mod p.

    Args:
        text: A polynomial in ``a`` and ``b`` with integer coefficients, such as ``"a**2 + b**2"``.
        p: Modulus.

    Attributes:
        tree: The parsed expression, as of Python's ``ast``; :meth:`table` of it gives the labels.

    Raises:
        ValueError: If the text cannot be parsed or is nested too deep.
    """

    def __init__(self, text: str, p: int) -> None:
        self.text, self.p = text, p
        try:
            self.tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise _not_a_polynomial(text, "it cannot be parsed") from error
        depth, level = 0, [self.tree]
        while level:
            depth += 1
            level = [
                c for node in level for c in ast.iter_child_nodes(node) if isinstance(c, ast.expr)
            ]
        if depth > MAX_DEPTH:
            raise _not_a_polynomial(text, f"it is nested {depth} deep, more than {MAX_DEPTH}")

    def table(self, node: ast.expr) -> Int[Tensor, "p p"]:
        """An expression of ``tree`` mod p at every (a, b); ``ValueError`` if it is no polynomial."""
        if isinstance(node, ast.Name) and node.id in ("a", "b"):
            values = torch.arange(self.p)
            column = values[:, None] if node.id == "a" else values[None, :]
            return column.expand(self.p, self.p)
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return torch.full((self.p, self.p), node.value % self.p)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            inner = self.table(node.operand)
            return (-inner if isinstance(node.op, ast.USub) else inner) % self.p
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            left, right = self.table(node.left), self.table(node.right)
            return _BINARY[type(node.op)](left, right) % self.p
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            return self._power(self.table(node.left), self._exponent(node.right))
        raise _not_a_polynomial(self.text, f"{ast.unparse(node)!r} is not allowed")

    def _exponent(self, node: ast.expr) -> int:
        value = node.value if isinstance(node, ast.Constant) else None
        if type(value) is int and 0 <= value <= MAX_EXPONENT:
            return value
        raise _not_a_polynomial(
            self.text, f"exponent {ast.unparse(node)!r} is not an integer in 0..{MAX_EXPONENT}"
        )

    def _power(self, base: Tensor, exponent: int) -> Tensor:
        result = torch.ones_like(base)
        while exponent:
            if exponent & 1:
                result = result * base % self.p
            base = base * base % self.p
            exponent >>= 1
        return result

    def expressions(self) -> Iterator[Int[Tensor, "p p"]]:
        """Tables of the whole and of each part of it, outermost first."""
        level = [self.tree]
        while level:
            for node in level:
                yield self.table(node)
            level = [
                child
                for node in level
                for child in ast.iter_child_nodes(node)
                if isinstance(child, ast.expr)
                and not (
                    isinstance(node, ast.BinOp)
                    and isinstance(node.op, ast.Pow)
                    and child is node.right
                )
            ]
