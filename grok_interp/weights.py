"""The weights of two-layer MLPs as a value, and the equation of the forward pass.

For one-hot pairs (a, b)::

    pre    = W_in[0, a] + W_in[1, b] + b_in
    post   = act(pre)
    logits = output_scale * post @ W_out + b_out

:class:`MLPWeights` carries leading batch axes, so that one object holds a model, its 200
checkpoints, or 20 draws of a control. :class:`grok_interp.hooked_mlp.HookedMLP` is the same network
with hooks and gradients. Nothing here imports transformer_lens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from grok_interp.config import ActivationName, HookedMLPConfig, InitName, check_choice

W_IN_HOOK = "blocks.0.mlp.hook_W_in"
"""Name of the hook point that W_in passes, ``[2, p, d_mlp]``."""
W_OUT_HOOK = "blocks.0.mlp.hook_W_out"
"""Name of the hook point that W_out passes, ``[d_mlp, p]``."""
EMBED_HOOK = "hook_embed"
"""Name of the hook point of the rows of W_in, ``[batch, 2, d_mlp]``."""
PRE_HOOK = "blocks.0.mlp.hook_pre"
"""Name of the hook point of the pre-activations, ``[batch, d_mlp]``."""
POST_HOOK = "blocks.0.mlp.hook_post"
"""Name of the hook point of the activations, ``[batch, d_mlp]``."""
OUT_HOOK = "blocks.0.hook_mlp_out"
"""Name of the hook point of the logits, ``[batch, p]``."""

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "relu": F.relu,
    "quadratic": torch.square,
    "gelu": F.gelu,
    "identity": lambda x: x,
}


def activation(act_fn: str | Activation) -> Activation:
    """The function that a config's ``act_fn`` names; a callable is handed through.

    Returns:
        A function from pre-activations to activations of the same shape.

    Raises:
        ValueError: If the name is unknown, or is ``"custom"``, which names no function.
    """
    if callable(act_fn):
        return act_fn
    check_choice("act_fn", act_fn, ActivationName)
    if act_fn == "custom":
        raise ValueError(
            "act_fn='custom' only marks a model made from a callable: pass the callable to "
            "HookedMLP.from_weights(..., act_fn=...)"
        )
    return ACTIVATIONS[act_fn]


def check_tokens(tokens: object, p: int) -> Tensor:
    """Return ``tokens`` if they are int64 ``[batch, 2]`` with values in 0..p-1.

    Raises:
        TypeError: If they are not an int64 tensor.
        ValueError: If the shape is wrong or a value is out of range.
    """
    if not isinstance(tokens, Tensor):
        raise TypeError(
            f"tokens are a {type(tokens).__name__}, expected an int64 tensor [batch, 2]: "
            "model.to_tokens(pairs) makes one"
        )
    if tokens.dtype != torch.int64:
        raise TypeError(
            f"tokens have dtype {tokens.dtype}, expected torch.int64: use tokens.long() if they "
            "are whole numbers; one-hot vectors are not taken"
        )
    if tokens.ndim != 2 or tokens.shape[1] != 2:
        raise ValueError(
            f"tokens have shape {tuple(tokens.shape)}, expected [batch, 2] with columns a and b: "
            "model.to_tokens(pairs) makes one"
        )
    if tokens.numel():
        least, most = (int(value) for value in tokens.aminmax())
        if least < 0 or most >= p:
            raise ValueError(f"tokens lie in {least}..{most}, expected 0..{p - 1} for p={p}")
    return tokens


def check_labels(labels: object, n: int, p: int) -> Tensor:
    """Return ``labels`` if they are int64 ``[n]`` with values in 0..p-1.

    Raises:
        TypeError: If they are not an int64 tensor.
        ValueError: If there is not one a pair, or a value is out of range.
    """
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels are {kind}, expected an int64 tensor: use labels.long()")
    if labels.shape != (n,):
        raise ValueError(f"labels have shape {_describe(labels.shape)}, expected [{n}], one a pair")
    if n and not 0 <= int(labels.min()) <= int(labels.max()) < p:
        raise ValueError(
            f"labels lie in {int(labels.min())}..{int(labels.max())}, expected 0..{p - 1} for p={p}"
        )
    return labels


def _describe(shape: Sequence[int]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


@dataclass(frozen=True, eq=False)
class MLPWeights:
    """Weights of one network or of a batch of networks of one shape.

    Attributes:
        W_in (``[*batch, 2, p, d_mlp]``): Input weights by operand, token and neuron.
        W_out (``[*batch, d_mlp, p]``): Output weights by neuron and class.
        b_in (``[*batch, d_mlp]``): Bias of the pre-activations, or None.
        b_out (``[*batch, p]``): Bias of the logits, or None.
        act_fn: Name of the activation, or a callable.
        output_scale: Factor on ``post @ W_out``.
    """

    W_in: Float[Tensor, "*batch 2 p d_mlp"]
    W_out: Float[Tensor, "*batch d_mlp p"]
    b_in: Float[Tensor, "*batch d_mlp"] | None = None
    b_out: Float[Tensor, "*batch p"] | None = None
    act_fn: str | Activation = "relu"
    output_scale: float = 1.0

    @property
    def p(self) -> int:
        """The modulus, which is the number of tokens and of classes."""
        return self.W_in.shape[-2]

    @property
    def d_mlp(self) -> int:
        """Number of neurons."""
        return self.W_in.shape[-1]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the leading batch axes; empty for one network."""
        return tuple(self.W_in.shape[:-3])

    def __repr__(self) -> str:
        batch = f"batch={self.batch_shape}, " if self.batch_shape else ""
        biases = [name for name in ("b_in", "b_out") if getattr(self, name) is not None]
        return (
            f"MLPWeights({batch}p={self.p}, d_mlp={self.d_mlp}, act_fn={self.act_fn!r}, "
            f"output_scale={self.output_scale}, biases={biases})"
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> MLPWeights:
        """Apply ``function`` to every tensor."""
        return replace(
            self,
            W_in=function(self.W_in),
            W_out=function(self.W_out),
            b_in=None if self.b_in is None else function(self.b_in),
            b_out=None if self.b_out is None else function(self.b_out),
        )

    def detach(self) -> MLPWeights:
        """A copy of the weights, outside of any gradient graph, that training does not change."""
        return self.map(lambda tensor: tensor.detach().clone())

    def __getitem__(self, index: Any) -> MLPWeights:
        """Index the leading batch axes."""
        if not self.batch_shape:
            raise IndexError("these weights have no batch axis to index")
        return self.map(lambda tensor: tensor[index])

    def expand(self, *batch: int) -> MLPWeights:
        """The same weights under new leading batch axes, without copying."""
        return self.map(lambda tensor: tensor.expand(*batch, *tensor.shape))

    def columns(self) -> Float[Tensor, "*batch 3 p d_mlp"]:
        """W_a, W_b and the transpose of W_out, one column a neuron, in this order."""
        return torch.cat([self.W_in, self.W_out.mT.unsqueeze(-3)], -3)

    def pre(self, tokens: Tensor) -> Float[Tensor, "*batch pairs d_mlp"]:
        """Pre-activations ``W_in[0, a] + W_in[1, b] + b_in`` on int64 tokens ``[pairs, 2]``, checked."""
        tokens = check_tokens(tokens, self.p)
        pre = self.W_in[..., 0, :, :].index_select(-2, tokens[:, 0])
        pre = pre + self.W_in[..., 1, :, :].index_select(-2, tokens[:, 1])
        return pre if self.b_in is None else pre + self.b_in.unsqueeze(-2)

    def post(self, tokens: Tensor) -> Float[Tensor, "*batch pairs d_mlp"]:
        """Activations ``act(pre)`` on int64 tokens ``[pairs, 2]``."""
        return activation(self.act_fn)(self.pre(tokens))

    def logits(self, tokens: Tensor) -> Float[Tensor, "*batch pairs p"]:
        """Logits ``output_scale * post @ W_out + b_out`` on int64 tokens ``[pairs, 2]``."""
        logits = self.post(tokens) @ self.W_out
        if self.output_scale != 1.0:
            logits = self.output_scale * logits
        return logits if self.b_out is None else logits + self.b_out.unsqueeze(-2)


@runtime_checkable
class SupportsWeights(Protocol):
    """Anything with ``weights()``, such as a HookedMLP: told apart without importing it."""

    def weights(self) -> MLPWeights:
        """The weights as a value."""
        ...


def neuron_mask(neurons: Any, d_mlp: int) -> Bool[Tensor, " d_mlp"]:
    """Neurons given by indices or as a mask, as a mask; None means all.

    Args:
        neurons: Indices (a sequence, set or tensor), or a boolean mask ``[d_mlp]``; None for all.
        d_mlp: Number of neurons.

    Returns:
        True for the neurons that are meant.

    Raises:
        ValueError: If an index is out of range or not whole, or a mask has another length.
    """
    if neurons is None:
        return torch.ones(d_mlp, dtype=torch.bool)
    index = torch.as_tensor(sorted(neurons) if isinstance(neurons, Set) else neurons)
    if index.dtype == torch.bool:
        if tuple(index.shape) != (d_mlp,):
            raise ValueError(f"neurons is a mask of shape {list(index.shape)}, expected [{d_mlp}]")
        return index
    mask = torch.zeros(d_mlp, dtype=torch.bool)
    if index.numel() == 0:
        return mask
    if index.is_floating_point() or int(index.min()) < 0 or int(index.max()) >= d_mlp:
        raise ValueError(
            f"neurons={neurons!r} must be integers in 0..{d_mlp - 1}, or a boolean mask [{d_mlp}]"
        )
    mask[index.cpu()] = True
    return mask


def parameter_shapes(cfg: HookedMLPConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter that a model of this configuration has, by name."""
    shapes: dict[str, tuple[int, ...]] = {
        "W_in": (1 if cfg.tied_operands else 2, cfg.p, cfg.d_mlp),
        "W_out": (cfg.d_mlp, cfg.p),
    }
    if cfg.bias_in:
        shapes["b_in"] = (cfg.d_mlp,)
    if cfg.bias_out:
        shapes["b_out"] = (cfg.p,)
    return shapes


def draw(
    init: InitName | str, shape: Sequence[int], fan_in: int, generator: torch.Generator | None
) -> Float[Tensor, "..."]:
    """Entries uniform in ``+-1/sqrt(fan_in)``, or standard normal, drawn on the CPU in float32.

    So a seed means the same weights on every device and in every precision.

    Args:
        init: ``"uniform"`` or ``"normal"``.
        shape: Of the tensor.
        fan_in: Inputs that each unit adds up.
        generator: Where to draw from; None for torch's default generator.

    Returns:
        A float32 tensor of ``shape`` on the CPU.
    """
    drawn = torch.empty(tuple(shape), dtype=torch.float32, device="cpu")
    if init == "normal":
        return drawn.normal_(generator=generator)
    bound = 1 / math.sqrt(fan_in)
    return drawn.uniform_(-bound, bound, generator=generator)


def check_weights(weights: MLPWeights) -> MLPWeights:
    """Return ``weights`` if their shapes and types fit together and every entry is finite.

    Raises:
        TypeError: If one of them is not a tensor.
        ValueError: Naming the tensor that does not fit, its shape and the expected one, or the
            tensor that holds NaN or infinity.
    """
    for name in ("W_in", "W_out", "b_in", "b_out"):
        tensor = getattr(weights, name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name} is a {type(tensor).__name__}, expected a torch tensor: torch.as_tensor makes one"
            )
    W_in = weights.W_in
    if W_in.ndim < 3 or W_in.shape[-3] != 2:
        raise ValueError(
            f"W_in has shape {_describe(W_in.shape)}, expected [2, p, d_mlp]: for weights on "
            "concatenated one-hots, [2*p, d_mlp]: W_in.reshape(2, p, d_mlp); nn.Linear's "
            "[d_mlp, 2*p]: W.T.reshape(2, p, d_mlp)"
        )
    if W_in.shape[-2] < 3 or W_in.shape[-1] < 1:
        raise ValueError(
            f"W_in has shape {_describe(W_in.shape)}, which says p={W_in.shape[-2]} and "
            f"d_mlp={W_in.shape[-1]}: p >= 3 and d_mlp >= 1 are needed"
        )
    *batch, _, p, d_mlp = W_in.shape
    expected = {"W_out": [d_mlp, p], "b_in": [d_mlp], "b_out": [p]}
    for name, shape in expected.items():
        tensor = getattr(weights, name)
        if tensor is not None and list(tensor.shape) != [*batch, *shape]:
            raise ValueError(
                f"{name} has shape {_describe(tensor.shape)}, expected {_describe([*batch, *shape])} "
                f"to fit W_in {_describe(W_in.shape)}; transpose it if it is an nn.Linear weight"
            )
    for name in ("W_in", *expected):
        tensor = getattr(weights, name)
        if tensor is None:
            continue
        if not tensor.is_floating_point() or tensor.dtype != W_in.dtype:
            raise ValueError(
                f"{name} has dtype {tensor.dtype}, expected one floating-point dtype for all "
                f"weights (W_in has {W_in.dtype})"
            )
        # The extremes are NaN if an entry is, and found in one pass.
        if not all(bool(extreme.isfinite()) for extreme in tensor.aminmax()):
            count = int((~tensor.isfinite()).sum())
            raise ValueError(
                f"{name} holds {count} values that are NaN or infinite of {tensor.numel()}: "
                "the run diverged or the file is damaged; use an earlier checkpoint"
            )
    return weights
