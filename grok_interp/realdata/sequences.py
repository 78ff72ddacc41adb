"""Texts as rows of ids, and an LSTM that reads them to their last symbol.

A text is a row of ids from 1 on, padded with 0 to a common length. The network embeds it, runs a
two-layer LSTM over it, and is linear in the hidden state at the last id that is not padding; so it does
not depend on the length that texts are padded to.

arXiv 2210.01117, appendix: embeddings of 64, hidden states of 128, the 1000 most frequent words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

PADDING = 0
D_EMBED = 64
D_HIDDEN = 128
N_LAYERS = 2

TAG = re.compile(r"<[^>]*>")
WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


class LSTM(nn.Module):
    """A two-layer LSTM with one logit.

    The row of the embedding for padding is zero and gets no gradient, so it stays zero however the
    weights are scaled.

    Args:
        symbols: Number of ids, padding not counted.
    """

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(1 + symbols, D_EMBED, padding_idx=PADDING)
        self.lstm = nn.LSTM(D_EMBED, D_HIDDEN, N_LAYERS, batch_first=True)
        self.out = nn.Linear(D_HIDDEN, 1)

    def forward(self, ids: Int[Tensor, "texts length"]) -> Float[Tensor, "texts 1"]:
        """One logit a text; a text without an id is read as one padding."""
        hidden, _ = self.lstm(self.embed(ids))
        last = ((ids != PADDING).sum(-1) - 1).clamp(min=0)
        logits: Tensor = self.out(hidden[torch.arange(len(ids), device=ids.device), last])
        return logits


def words(text: str) -> list[str]:
    """Words in lower case, with their apostrophes; tags such as ``<br />`` are left out."""
    return WORD.findall(TAG.sub(" ", text.lower()))


def vocabulary(texts: Iterable[Sequence[str]], symbols: int) -> dict[str, int]:
    """Ids of the most frequent symbols; of equally frequent ones the alphabet's first.

    Args:
        texts: Symbols of each text.
        symbols: Number of ids at most.

    Returns:
        Ids by symbol, from 1 on, the most frequent first.
    """
    counts = Counter(symbol for text in texts for symbol in text)
    ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    return {symbol: rank for rank, symbol in enumerate(ranked[:symbols], 1)}


def ids(
    texts: Sequence[Sequence[str]], known: dict[str, int], length: int
) -> Int[Tensor, "texts length"]:
    """Ids of the symbols that are known, the others left out, cut and padded to a length.

    Args:
        texts: Symbols of each text: words, or a string for its letters.
        known: Ids by symbol, from 1 on.
        length: Length of the rows.

    Returns:
        A row of ids for each text, 0 after its last one.
    """
    rows = torch.full((len(texts), length), PADDING)
    for row, text in zip(rows, texts, strict=True):
        found = torch.tensor([known[symbol] for symbol in text if symbol in known][:length])
        row[: len(found)] = found
    return rows
