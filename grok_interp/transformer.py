"""One-layer transformers on modular addition, as TransformerLens bridges.

For the tokens (a, b, =), with the position of = last (arXiv 2301.05217, section 3)::

    x_i    = W_E[token_i] + W_pos[i]
    mid    = x_2 + sum_h sum_i softmax_i(q_h(x_2) . k_h(x_i) / sqrt(d_head)) x_i W_V^h W_O^h
    post   = act(mid @ W_in + b_in)
    logits = (mid + post @ W_out + b_out) @ W_U

without layer norm and without attention biases; the vocabulary is 0..p-1 and = is p. The model is a
``TransformerBridge``, so its hooks, caches and patching are TransformerLens' own;
:func:`on_pairs` makes of it the map from pairs to logits that :mod:`grok_interp.measures` takes.
Needs transformer-lens 4 or newer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from grok_interp import _compat
from grok_interp.config import check_choice, check_modulus
from grok_interp.weights import MLPWeights, check_tokens

N_CTX = 3
"""Number of positions, of a, b and =."""
ACTIVATIONS = ("relu", "gelu")
"""Activations that TransformerLens' native models and :class:`.MLPWeights` both have."""


def build(
    p: int,
    d_model: int = 128,
    n_heads: int = 4,
    d_head: int = 32,
    d_mlp: int = 512,
    act_fn: str = "relu",
    seed: int = 0,
) -> nn.Module:
    """A ``TransformerBridge`` with new weights; the default sizes are those of arXiv 2301.05217.

    TransformerLens draws the weights (normal, ``.8/sqrt(d_model)``, those into the residual stream
    ``.8/sqrt(2 d_model)``; biases 0), which is not the paper's own draw. Attention biases, which
    the paper's network lacks, are 0 and do not require gradients.

    Args:
        p: Modulus; the vocabulary and the unembedding have ``p + 1`` entries.
        d_model: Width of the residual stream.
        n_heads: Attention heads.
        d_head: Width of a head.
        d_mlp: Neurons.
        act_fn: ``"relu"`` or ``"gelu"``.
        seed: Seed of the weights; the global generators are not touched.

    Returns:
        A model from int64 ``[batch, 3]``, the tokens (a, b, =), to logits ``[batch, 3, p + 1]``.

    Raises:
        ValueError: If ``p < 3`` or the activation is unknown.
        RuntimeError: If the installed transformer-lens is older than 4.
        TypeError: If ``p`` is not an int.
    """
    check_modulus(p)
    check_choice("act_fn", act_fn, ACTIVATIONS)
    bridge: nn.Module = _compat.bridge_class().boot_native(
        {
            "n_layers": 1,
            "d_model": d_model,
            "n_heads": n_heads,
            "d_head": d_head,
            "d_mlp": d_mlp,
            "d_vocab": p + 1,
            "d_vocab_out": p + 1,
            "n_ctx": N_CTX,
            "act_fn": act_fn,
            "normalization_type": None,
            "attention_dir": "causal",
            "seed": seed,
        }
    )
    for name, parameter in bridge.named_parameters():
        if ".attn." in name and name.endswith(".bias"):
            parameter.requires_grad_(False)
    return bridge


def with_equals(tokens: Int[Tensor, "batch 2"], p: int) -> Int[Tensor, "batch 3"]:
    """Pairs with the token of = appended, which is p.

    Args:
        tokens: Pairs, values 0..p-1.
        p: Modulus.

    Returns:
        int64 ``[batch, 3]``, columns a, b and =.

    Raises:
        TypeError: If tokens are not an int64 tensor.
        ValueError: If their shape is not ``[batch, 2]`` or a value is not in 0..p-1.
    """
    tokens = check_tokens(tokens, p)
    return torch.cat([tokens, tokens.new_full((len(tokens), 1), p)], 1)


def on_pairs(bridge: nn.Module) -> Callable[[Tensor], Tensor]:
    """The transformer as a map from pairs to the logits at the position of =.

    Hooks on the bridge take effect whenever the map is called. The logit of =, which is no answer,
    is left out.

    Args:
        bridge: A one-layer transformer, as of :func:`build`.

    Returns:
        A function from int64 pairs ``[batch, 2]`` to logits ``[batch, p]``.

    Raises:
        ValueError: If the bridge is not a one-layer transformer on three tokens.
    """
    p = _modulus(bridge)

    def logits(tokens: Tensor) -> Float[Tensor, "batch p"]:
        device = next(bridge.parameters()).device
        out: Tensor = bridge(with_equals(tokens, p).to(device))
        return out[:, -1, :p]

    return logits


def effective_weights(bridge: nn.Module) -> MLPWeights:
    """The direct path as a two-layer MLP: ``W_E[:p] @ W_in`` for both operands, ``W_out @ W_U[:, :p]``.

    These are the embedding and the unembedding as the neurons' own weights see them, ready for
    ``neurons.extract``. Parameters are read, whatever hooks are attached, and no gradient flows
    back to them.

    Left out are attention, the position embedding, both MLP biases, and the direct path from the
    residual stream to the logits. So this misleads as a *model*: at the position of = no operand is
    embedded, and a and b reach the neurons only through the heads,
    ``sum_h A_h[i] W_E[token_i] W_V^h W_O^h W_in``, with a pattern A that depends on the tokens.
    That map can give a neuron another frequency, amplitude and phase than the direct path has; at a
    fixed pattern it only cannot add frequencies that the embedding lacks. The two operands share one
    wave here by construction, so the phase residual says little. The read-out, the neuron-logit map
    of arXiv 2301.05217 (section 4), is what the neurons do add to the logits. Averaging A over all
    pairs and taking the heads' path is closer to the input weights where attention is nearly
    constant; it is an approximation of another kind, so it is not mixed in here.

    Args:
        bridge: A one-layer transformer, as of :func:`build`.

    Returns:
        Weights of one network without biases; W_in is ``[2, p, d_mlp]``, both operands the same.

    Raises:
        ValueError: If the bridge is not a one-layer transformer on three tokens.
    """
    p = _modulus(bridge)
    source: Any = bridge
    W_in = source.W_E.detach()[:p] @ source.W_in.detach()[0]
    W_out = source.W_out.detach()[0] @ source.W_U.detach()[:, :p]
    return MLPWeights(W_in.expand(2, -1, -1), W_out, act_fn=source.cfg.act_fn)


def _modulus(bridge: nn.Module) -> int:
    """The modulus of a bridge, which must be of the form above for the formulas to hold."""
    cfg: Any = getattr(bridge, "cfg", None)
    expected = {"n_layers": 1, "n_ctx": N_CTX, "normalization_type": None, "attn_only": False}
    expected |= {"gated_mlp": False}
    for name, value in expected.items():
        found = getattr(cfg, name, "missing")
        if found != value:
            raise ValueError(
                f"the {type(bridge).__name__} has {name}={found!r}, expected {value!r}: pass a "
                "TransformerBridge with one layer on (a, b, =) and no layer norm, as "
                "transformer.build makes"
            )
    check_choice("act_fn", cfg.act_fn, ACTIVATIONS)
    p = int(cfg.d_vocab) - 1
    if cfg.d_vocab_out not in (p, p + 1):
        raise ValueError(
            f"the bridge has d_vocab={cfg.d_vocab} and d_vocab_out={cfg.d_vocab_out}, expected a "
            f"vocabulary of p numbers and =, so {p} or {p + 1} logits"
        )
    return p
