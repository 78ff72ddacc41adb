"""Coordinates in which a task is addition, found from its table of labels.

A task has *coordinates* if there are a modulus m, maps u and v of the operands' tokens to Z_m, and a
read-out F from Z_m to classes with ``label = F(u(a) + sign * v(b))``. Found from the table, they hold
exactly:

- a sum ``f(a) + g(b)``: m = p, with F the identity; ``a - b`` keeps b as it is, with sign -1;
- a product ``f(a) * g(b)``, p prime: m = p - 1 by the discrete logarithm to a primitive root;
  tokens that f or g sends to zero have no coordinate;
- a function of such a sum, ``(f(a) + g(b))**2`` and the like: F is that function. A product beside a
  constant, ``a*b + a + b = (a + 1) (b + 1) - 1``, is one however it is written.

This is the class that arXiv 2301.02679 and 2310.13061 call learnable, h(g1(a) + g2(b)). Not finding
coordinates says only that no such form was found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import sympy
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grok_interp.polynomials import Polynomial

NO_COORDINATE = -1
"""Marks a token without a coordinate."""
MIN_PRODUCT_MODULUS = 5
"""Least prime at which the p - 1 discrete logarithms have a frequency."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Maps in which a task is addition: ``label = readout[(a[i] + sign * b[j]) mod modulus]``.

    Attributes:
        modulus: m; frequencies are 1..m//2.
        a: Coordinate of each first operand, -1 for none.
        b: Coordinate of each second operand, -1 for none.
        readout: Class of each coordinate of the sum, -1 for sums that never occur.
        sign: +1, or -1 where the phase relation is phi_a - phi_b = phi_out.
    """

    modulus: int
    a: Int[Tensor, " p"]
    b: Int[Tensor, " p"]
    readout: Int[Tensor, " m"]
    sign: int = 1

    @cached_property
    def is_identity(self) -> bool:
        """Whether tokens and classes are their own coordinates."""
        own = torch.arange(len(self.a))
        return self.modulus == len(self.a) and all(
            torch.equal(values, own) for values in (self.a, self.b, self.readout)
        )

    @property
    def direction(self) -> str:
        """The direction of the grid of pairs along which the answer lies, ``"a+b"`` or ``"a-b"``."""
        return "a+b" if self.sign > 0 else "a-b"

    @cached_property
    def incidence(self) -> Float[Tensor, "3 p m"]:
        """What each token of a, of b, and each class sees of a wave on Z_m, 0, 1 or more points."""
        p = len(self.a)
        matrix = torch.zeros(3, p, self.modulus, dtype=torch.float64)
        for index, values in enumerate((self.a, self.b)):
            known = values != NO_COORDINATE
            matrix[index, known, values[known]] = 1
        known = self.readout != NO_COORDINATE
        matrix[2, self.readout[known], torch.arange(self.modulus)[known]] = 1
        return matrix

    @property
    def points(self) -> Float[Tensor, "3 p m"] | None:
        """:attr:`incidence`, or None where it is the identity and need not be multiplied by."""
        return None if self.is_identity else self.incidence

    @cached_property
    def covered(self) -> Bool[Tensor, "3 p 1"]:
        """Which tokens of a, of b, and which classes have a coordinate."""
        return self.incidence.sum(-1, keepdim=True) > 0

    @cached_property
    def lattice(self) -> Int[Tensor, " pairs"]:
        """Rows of ``task.tokens`` in the order of coordinates (0, 0), (0, 1), ..., ``m * m`` of them.

        Where functions on all pairs are read in a 2-D Fourier basis; pairs without coordinates are
        left out.

        Raises:
            ValueError: If some coordinate belongs to no token of an operand, or to several.
        """
        p, tokens = len(self.a), []
        for operand, values in (("a", self.a), ("b", self.b)):
            known = (values != NO_COORDINATE).nonzero().flatten()
            taken = values[known].sort()
            if not torch.equal(taken.values, torch.arange(self.modulus)):
                raise ValueError(
                    f"the tokens of {operand} do not take each of the {self.modulus} coordinates once, so "
                    "functions on all pairs have no 2-D Fourier basis here: use a task such as addition, "
                    "subtraction or multiplication"
                )
            tokens.append(known[taken.indices])
        return (tokens[0][:, None] * p + tokens[1]).reshape(-1)


def identity_coordinates(p: int) -> Coordinates:
    """Coordinates of addition mod p: every token is its own."""
    own = torch.arange(p)
    return Coordinates(p, own, own, own)


def find(polynomial: Polynomial, labels: Int[Tensor, "p p"]) -> Coordinates | None:
    """Look for coordinates in which the task of a polynomial is addition.

    Args:
        polynomial: The operation; its parts, outermost first, are where a sum is looked for.
        labels: Its value for each pair.

    Returns:
        Coordinates that hold exactly for all pairs that have them; None when no such form was found.
    """
    for table in polynomial.expressions():
        readout = _as_function_of(table, labels)
        if readout is None:
            continue
        for as_form in (_as_sum, _as_product):
            found = as_form(table, polynomial.p)
            if found is not None:
                return replace(found, readout=readout[found.readout])
    return None


def _as_function_of(table: Tensor, labels: Tensor) -> Int[Tensor, " p"] | None:
    """F with ``labels = F(table)``, or None; values that the table never takes map to -1."""
    readout = torch.full((len(labels),), NO_COORDINATE)
    readout[table.flatten()] = labels.flatten()
    return readout if torch.equal(readout[table], labels) else None


def _as_sum(table: Tensor, p: int) -> Coordinates | None:
    """Coordinates of ``f(a) + g(b)``, if both operands matter."""
    f, g = table[:, 0], (table[0] - table[0, 0]) % p
    if not torch.equal((f[:, None] + g) % p, table) or len(f.unique()) == 1 or len(g.unique()) == 1:
        return None
    own = torch.arange(p)
    if torch.equal(g, -own % p):
        return Coordinates(p, f, own, own, sign=-1)
    return Coordinates(p, f, g, own)


def _as_product(table: Tensor, p: int) -> Coordinates | None:
    """Coordinates of ``f(a) * g(b) + c`` for prime p, by discrete logarithm, if both operands matter."""
    if p < MIN_PRODUCT_MODULUS or not sympy.isprime(p):
        return None
    constant = _constant_beside_product(table, p)
    table = (table - constant) % p
    nonzero = table.nonzero()
    if len(nonzero) == 0:
        return None
    row, column = nonzero[0].tolist()
    f, g = table[:, column], table[row] * pow(int(table[row, column]), -1, p) % p
    if not torch.equal(f[:, None] * g % p, table):
        return None
    root = int(sympy.primitive_root(p))
    powers = torch.tensor([pow(root, exponent, p) for exponent in range(p - 1)])
    logarithm = torch.full((p,), NO_COORDINATE)
    logarithm[powers] = torch.arange(p - 1)
    a, b = logarithm[f], logarithm[g]
    if len(a[a >= 0].unique()) == 1 or len(b[b >= 0].unique()) == 1:
        return None
    return Coordinates(p - 1, a, b, (powers + constant) % p)


def _constant_beside_product(table: Tensor, p: int) -> int:
    """The one c for which ``table - c`` can be a product.

    ``(t - c)(t_00 - c) = (t_a0 - c)(t_0b - c)`` is linear in c.

    Returns:
        c in 0..p-1; 0 for a sum, of which c tells nothing.
    """
    corner, row, column = table[0, 0], table[0], table[:, 0]
    mixed = (table + corner - row - column[:, None]) % p
    if not bool(mixed.any()):
        return 0
    a, b = mixed.nonzero()[0].tolist()
    excess = int(table[a, b] * corner - column[a] * row[b])
    return excess * pow(int(mixed[a, b]), -1, p) % p
