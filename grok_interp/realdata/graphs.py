"""Molecules as graphs, and a graph convolution that gives one number for each.

One convolution (Kipf and Welling, arXiv 1609.02907), a sum over atoms, and a perceptron ::

    A_hat = D^-1/2 (A + I) D^-1/2        D = diagonal of the row sums of A + I
    y = W_3 relu(W_2 sum_atoms relu(A_hat X W_1 + b_1) + b_2) + b_3

with A the bonds, X a row for each atom, and widths 16-32-1 as in arXiv 2210.01117. Its authors' code
has two convolutions whose weights depend on the kind of bond; here bonds are alike, and aromatic atoms
and numbers of hydrogens tell of them.

Hydrogens are counted in X and are no atoms of the graph. Molecules are padded with atoms that have no
bond, not even to themselves; the diagonal of A_hat is zero there, which keeps them out of the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from grok_interp.realdata.sources import needed

ELEMENTS = (6, 7, 8, 9, 15, 16, 17, 35, 53)
"""C, N, O, F, P, S, Cl, Br and I, those that at least one in a thousand atoms of RDKit's NCI molecules is."""
FEATURES = (*ELEMENTS, "other", "bonds", "hydrogens", "charge", "aromatic")
"""Columns of X, an element or another one, then four numbers."""
D_GRAPH = 16
D_PERCEPTRON = 32


class GraphConvolution(nn.Module):
    """The network of the module's equation. It runs under ``torch.func.vmap`` over its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Linear(len(FEATURES), D_GRAPH)
        self.hidden = nn.Linear(D_GRAPH, D_PERCEPTRON)
        self.out = nn.Linear(D_PERCEPTRON, 1)

    def forward(
        self,
        atoms: Float[Tensor, "molecules atoms features"],
        adjacency: Float[Tensor, "molecules atoms atoms"],
    ) -> Float[Tensor, "molecules 1"]:
        """One number a molecule, from X and A_hat."""
        # The product that no parameter enters first: under vmap it is taken once for all networks.
        each = F.relu(self.convolution(adjacency @ atoms))
        real = adjacency.diagonal(dim1=-2, dim2=-1) > 0
        molecule = (each * real.unsqueeze(-1)).sum(-2)
        value: Tensor = self.out(F.relu(self.hidden(molecule)))
        return value


@dataclass(frozen=True, eq=False)
class Graphs:
    """Molecules that were kept.

    Attributes:
        atoms: X of each, with columns :data:`FEATURES`.
        adjacency: A_hat of each.
        kept: Their places among the molecules that were read.
        dropped: How many were left out, by reason.
    """

    atoms: Float[Tensor, "molecules atoms features"]
    adjacency: Float[Tensor, "molecules atoms atoms"]
    kept: Int[Tensor, " molecules"]
    dropped: dict[str, int]


def from_smiles(smiles: Sequence[str], most_atoms: int) -> Graphs:
    """Read molecules, and leave out what cannot be read, is too large, or was there before.

    Molecules that differ in isotopes or as mirror images do count as one, the first: the network cannot
    tell them apart, and on two sides of a split they would leak.

    Args:
        smiles: Molecules.
        most_atoms: Largest number of atoms, hydrogens not counted.

    Returns:
        Atoms and bonds of the molecules that are kept, padded to the largest of them.

    Raises:
        ValueError: If no molecule is left.
        ImportError: If RDKit is missing.
    """
    chem = needed("rdkit.Chem", "rdkit", "molecules()")
    seen: set[str] = set()
    kept, graphs = [], []
    dropped = {"unreadable": 0, f"of more than {most_atoms} atoms": 0, "repeated": 0}
    unreadable, large, repeated = dropped
    # RDKit writes to stderr what is wrong with a molecule; that they are dropped is said in our way.
    with needed("rdkit.rdBase", "rdkit", "molecules()").BlockLogs():
        for place, text in enumerate(smiles):
            molecule = chem.MolFromSmiles(text)
            if molecule is None or molecule.GetNumAtoms() == 0:
                dropped[unreadable] += 1
            elif molecule.GetNumAtoms() > most_atoms:
                dropped[large] += 1
            elif (name := chem.MolToSmiles(molecule, isomericSmiles=False)) in seen:
                dropped[repeated] += 1
            else:
                seen.add(name)
                kept.append(place)
                graphs.append((_features(molecule), chem.GetAdjacencyMatrix(molecule)))
    if not kept:
        raise ValueError(
            f"none of {len(smiles)} molecules is left ({dropped}): pass SMILES of at most {most_atoms} atoms"
        )
    widest = max(len(features) for features, _ in graphs)
    atoms = torch.zeros(len(kept), widest, len(FEATURES))
    bonds = torch.zeros(len(kept), widest, widest)
    for index, (features, matrix) in enumerate(graphs):
        n_atoms = len(features)
        atoms[index, :n_atoms] = torch.from_numpy(features)
        bonds[index, :n_atoms, :n_atoms] = torch.from_numpy(matrix + np.eye(n_atoms))
    return Graphs(atoms, normalised(bonds), torch.tensor(kept), dropped)


def normalised(
    bonds: Float[Tensor, "molecules atoms atoms"],
) -> Float[Tensor, "molecules atoms atoms"]:
    """``D^-1/2 (A + I) D^-1/2`` from A + I; rows without a bond stay zero."""
    root = bonds.sum(-1).rsqrt().nan_to_num(posinf=0.0)
    return root.unsqueeze(-1) * bonds * root.unsqueeze(-2)


def _features(molecule: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows = np.zeros((molecule.GetNumAtoms(), len(FEATURES)), dtype=np.float32)
    for row, atom in zip(rows, molecule.GetAtoms(), strict=True):
        number = atom.GetAtomicNum()
        row[FEATURES.index(number if number in ELEMENTS else "other")] = 1
        row[len(ELEMENTS) + 1 :] = (
            atom.GetDegree(),
            atom.GetTotalNumHs(),
            atom.GetFormalCharge(),
            atom.GetIsAromatic(),
        )
    return rows
