"""The two-layer MLP of modular arithmetic as a TransformerLens ``HookedRootModule``.

For tokens (a, b)::

    pre    = W_in[0, a] + W_in[1, b] + b_in
    post   = act(pre)
    logits = output_scale * post @ W_out + b_out

Every intermediate passes a hook point under the name that TransformerLens tools expect, and so do
the weights, so that replacing weights in the middle of a forward pass is an ordinary scoped hook::

    hook_embed                [batch, 2, d_mlp]   rows of W_in, one for each operand
    blocks.0.mlp.hook_pre     [batch, d_mlp]
    blocks.0.mlp.hook_post    [batch, d_mlp]
    blocks.0.hook_mlp_out     [batch, p]          the logits
    blocks.0.mlp.hook_W_in    [2, p, d_mlp]       left out of default caches
    blocks.0.mlp.hook_W_out   [d_mlp, p]          left out of default caches

``hook_embed`` is materialised only when something is attached to it; the result is the same bits
either way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from grok_interp._compat import HookPoint
from grok_interp.config import HookedMLPConfig as HookedMLPConfig
from grok_interp.config import check_choice, from_dict
from grok_interp.pretrained import Pretrained
from grok_interp.scopes import Scoped, is_hooked, through
from grok_interp.weights import (
    Activation,
    MLPWeights,
    activation,
    check_labels,
    check_tokens,
    check_weights,
    draw,
    parameter_shapes,
)

RETURN_TYPES = ("logits", "loss", "both")


class MLP(nn.Module):
    """Owner of the parameters; :class:`HookedMLP` is the interface."""

    def __init__(self, cfg: HookedMLPConfig, act_fn: Activation) -> None:
        super().__init__()
        dtype = getattr(torch, cfg.dtype)

        shapes = parameter_shapes(cfg)

        def parameter(name: str) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shapes[name], dtype=dtype, device=cfg.device))

        self.act_fn = act_fn
        self.init, self.init_scale = cfg.init, cfg.init_scale
        self.W_in = parameter("W_in")
        self.W_out = parameter("W_out")
        self.b_in = parameter("b_in") if cfg.bias_in else None
        self.b_out = parameter("b_out") if cfg.bias_out else None
        self.hook_W_in = HookPoint()
        self.hook_W_out = HookPoint()
        self.hook_pre = HookPoint()
        self.hook_post = HookPoint()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters afresh; see :meth:`HookedMLP.reset_parameters`."""
        p, d_mlp = self.W_in.shape[-2:]
        fan_in = {"W_in": 2 * p, "b_in": 2 * p, "W_out": d_mlp, "b_out": d_mlp}
        with torch.no_grad():
            for name, tensor in self.named_parameters(recurse=False):
                drawn = draw(self.init, tensor.shape, fan_in[name], generator)
                tensor.copy_(self.init_scale * drawn)


class Block(nn.Module):
    """The one layer, under the name that TransformerLens gives to layers."""

    def __init__(self, mlp: MLP) -> None:
        super().__init__()
        self.mlp = mlp
        self.hook_mlp_out = HookPoint()


class HookedMLP(Scoped, Pretrained):
    """A two-layer MLP on pairs of tokens, with hooks on activations and on weights.

    ``logits = output_scale * act(W_in[0, a] + W_in[1, b] + b_in) @ W_out + b_out``; see the module for the
    hook points.

    Args:
        config: A :class:`.HookedMLPConfig`; or None, and its fields as keywords.
        **fields: Fields of :class:`.HookedMLPConfig` when ``config`` is None.

    Attributes:
        cfg: The configuration; its ``device`` and ``dtype`` follow ``.to()``.

    Raises:
        ValueError: If a field is out of range or unknown.
        TypeError: If ``p`` is not an int.
    """

    def __init__(
        self,
        config: HookedMLPConfig | dict[str, Any] | None = None,
        *,
        _empty: bool = False,
        **fields: Any,
    ) -> None:
        super().__init__()
        if config is not None and fields:
            raise ValueError(
                f"HookedMLP got a config and also {', '.join(sorted(fields))}: give one of them, "
                "for example dataclasses.replace(config, d_mlp=256)"
            )
        if isinstance(config, HookedMLPConfig):
            cfg = config
        else:
            cfg = from_dict(HookedMLPConfig, dict(config or fields), "HookedMLP")
        self.cfg = cfg
        self.hook_embed = HookPoint()
        self.blocks = nn.ModuleList([Block(MLP(cfg, activation(cfg.act_fn)))])
        if not _empty:
            if cfg.seed is None:
                raise ValueError(
                    "seed=None: a new model needs a seed to draw its weights with; pass an int, or make "
                    "a model of given weights with HookedMLP.from_weights"
                )
            self.mlp.reset_parameters(torch.Generator().manual_seed(cfg.seed))
        self.setup()  # type: ignore[no-untyped-call]

    # Construction -----------------------------------------------------------------------------

    @classmethod
    def from_weights(
        cls,
        W_in: Tensor,
        W_out: Tensor,
        b_in: Tensor | None = None,
        b_out: Tensor | None = None,
        *,
        act_fn: str | Activation = "relu",
        output_scale: float = 1.0,
        tied_operands: bool = False,
    ) -> HookedMLP:
        """A model with given weights, which are copied.

        Args:
            W_in: ``[2, p, d_mlp]``; ``[1, p, d_mlp]`` or ``[p, d_mlp]`` if ``tied_operands``.
            W_out: ``[d_mlp, p]``.
            b_in: ``[d_mlp]``, or None.
            b_out: ``[p]``, or None.
            act_fn: Name of the activation or a callable; a model with a callable cannot be saved.
            output_scale: Factor on ``post @ W_out``.
            tied_operands: Whether both operands share W_in.

        Returns:
            The model; its ``cfg`` has the type and device of ``W_in``, and seed None.

        Raises:
            ValueError: If shapes or dtypes do not fit together, or an entry is not finite.
            TypeError: If a weight is not a tensor.
        """
        if tied_operands and isinstance(W_in, Tensor):
            W_in = W_in.unsqueeze(0) if W_in.ndim == 2 else W_in
            if W_in.ndim != 3 or W_in.shape[0] != 1:
                raise ValueError(
                    f"W_in has shape {list(W_in.shape)}, expected [1, p, d_mlp] with tied_operands"
                )
        pair = W_in.expand(2, -1, -1) if tied_operands and isinstance(W_in, Tensor) else W_in
        weights = check_weights(MLPWeights(pair, W_out, b_in, b_out, act_fn, output_scale))
        if weights.batch_shape:
            raise ValueError(
                f"W_in has shape {list(W_in.shape)}, expected [2, p, d_mlp]: one model at a time"
            )
        cfg = HookedMLPConfig(
            p=weights.p,
            d_mlp=weights.d_mlp,
            act_fn="custom" if callable(act_fn) else act_fn,  # type: ignore[arg-type]
            bias_in=b_in is not None,
            bias_out=b_out is not None,
            tied_operands=tied_operands,
            output_scale=output_scale,
            seed=None,
            dtype=_dtype_name(W_in),
            device=str(W_in.device),
        )
        tensors = {"W_in": W_in, "W_out": W_out, "b_in": b_in, "b_out": b_out}
        return cls.from_tensors(cfg, tensors, act_fn)

    @classmethod
    def from_tensors(
        cls,
        cfg: HookedMLPConfig,
        tensors: Mapping[str, Tensor | None],
        act_fn: str | Activation | None = None,
    ) -> HookedMLP:
        """A model of a known configuration, its seed included, with copies of given parameters.

        Args:
            cfg: The configuration.
            tensors: ``W_in``, ``W_out``, and ``b_in``, ``b_out`` where the configuration has them.
            act_fn: The callable, if the configuration says ``act_fn="custom"``.

        Returns:
            The model, with ``cfg`` as its configuration.

        Raises:
            ValueError: If the configuration says ``act_fn="custom"`` and no callable is given.
        """
        custom = cfg.act_fn == "custom"
        model = cls(replace(cfg, act_fn="identity") if custom else cfg, _empty=True)
        if custom:
            if not callable(act_fn):
                raise ValueError("the config says act_fn='custom': pass the callable as act_fn")
            model.cfg, model.mlp.act_fn = cfg, act_fn
        with torch.no_grad():
            for name, parameter in model.mlp.named_parameters(recurse=False):
                tensor = tensors[name]
                assert tensor is not None
                parameter.copy_(tensor)
        return model

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw every parameter as the configuration's ``init`` and ``init_scale`` say.

        ``"uniform"`` draws from ``+-init_scale/sqrt(fan_in)``, with fan-in ``2 p`` for W_in and b_in
        and ``d_mlp`` for W_out and b_out, which is what ``nn.Linear`` does on concatenated one-hots;
        ``"normal"`` from a normal distribution with standard deviation ``init_scale``.

        Args:
            generator: Where to draw from. None draws from torch's default generator, as
                ``reset_parameters`` of every ``nn.Module`` does and as tools that re-initialise
                models expect. The seed in ``cfg`` becomes None, since it no longer gives these
                weights back.
        """
        self.cfg = replace(self.cfg, seed=None)
        self.mlp.reset_parameters(generator)

    # Parts ------------------------------------------------------------------------------------

    @property
    def mlp(self) -> MLP:
        """The layer that owns the parameters."""
        block = self.blocks[0]
        assert isinstance(block, Block)
        return block.mlp

    @property
    def W_in(self) -> Tensor:
        """Input weights ``[2, p, d_mlp]``, or ``[1, p, d_mlp]`` with tied operands."""
        return self.mlp.W_in

    @property
    def W_out(self) -> Tensor:
        """Output weights ``[d_mlp, p]``."""
        return self.mlp.W_out

    @property
    def b_in(self) -> Tensor | None:
        """Bias of the pre-activations ``[d_mlp]``, or None."""
        return self.mlp.b_in

    @property
    def b_out(self) -> Tensor | None:
        """Bias of the logits ``[p]``, or None."""
        return self.mlp.b_out

    def weights(self) -> MLPWeights:
        """The parameters as a value (not copied), with tied operands written out."""
        return self._weights(self._both_operands(), self.W_out)

    def effective_weights(self) -> MLPWeights:
        """What the hooks now attached to the weights make of the parameters."""
        mlp = self.mlp
        W_in = through(mlp.hook_W_in, self._both_operands())
        return self._weights(W_in, through(mlp.hook_W_out, self.W_out))

    def _weights(self, W_in: Tensor, W_out: Tensor) -> MLPWeights:
        act_fn = self.mlp.act_fn if self.cfg.act_fn == "custom" else self.cfg.act_fn
        return MLPWeights(W_in, W_out, self.b_in, self.b_out, act_fn, self.cfg.output_scale)

    def _both_operands(self) -> Tensor:
        return self.W_in.expand(2, -1, -1) if self.cfg.tied_operands else self.W_in

    # Forward ----------------------------------------------------------------------------------

    def forward(
        self, tokens: Tensor, labels: Tensor | None = None, return_type: str = "logits"
    ) -> Any:
        """Run the model on pairs.

        Args:
            tokens: int64 ``[batch, 2]``, values 0..p-1.
            labels: int64 ``[batch]``, needed for a loss.
            return_type: ``"logits"``, ``"loss"`` (mean cross-entropy in nats), or ``"both"``.

        Returns:
            Logits ``[batch, p]``; or the loss, a scalar; or (logits, loss).

        Raises:
            TypeError: If tokens or labels are not an int64 tensor.
            ValueError: If their shape or range is wrong, the return type is unknown, or labels are
                missing.
        """
        check_choice("return_type", return_type, RETURN_TYPES)
        logits = self._logits(check_tokens(tokens, self.cfg.p).to(self.W_in.device))
        if return_type == "logits":
            return logits
        if labels is None:
            raise ValueError(f"return_type={return_type!r} needs labels: pass labels=task.labels")
        labels = check_labels(labels, len(tokens), self.cfg.p).to(logits.device)
        loss = F.cross_entropy(logits, labels)
        return loss if return_type == "loss" else (logits, loss)

    def _logits(self, tokens: Int[Tensor, "batch 2"]) -> Float[Tensor, "batch p"]:
        mlp, block = self.mlp, self.blocks[0]
        W_in = through(mlp.hook_W_in, self._both_operands())
        if is_hooked(self.hook_embed):
            # One look-up in both operands' rows gives them side by side without another copy.
            rows = tokens + torch.tensor([0, W_in.shape[1]], device=tokens.device)
            first, second = self.hook_embed(F.embedding(rows, W_in.flatten(0, 1))).unbind(1)
            pre = first + second
        else:
            # In place: nobody has seen the first look-up, and memory is what this pass waits for.
            pre = F.embedding(tokens[:, 0], W_in[0]).add_(F.embedding(tokens[:, 1], W_in[1]))
        if mlp.b_in is not None:
            pre = pre + mlp.b_in
        post = mlp.hook_post(mlp.act_fn(mlp.hook_pre(pre)))
        logits = post @ through(mlp.hook_W_out, mlp.W_out)
        if self.cfg.output_scale != 1.0:
            logits = self.cfg.output_scale * logits
        if mlp.b_out is not None:
            logits = logits + mlp.b_out
        out: Tensor = block.hook_mlp_out(logits)  # type: ignore[operator]
        return out

    def extra_repr(self) -> str:
        """The configuration, for ``print(model)``."""
        return ", ".join(f"{name}={value!r}" for name, value in asdict(self.cfg).items())

    def to_tokens(self, pairs: Any) -> Int[Tensor, "batch 2"]:
        """Tokens from pairs of whole numbers.

        Args:
            pairs: One pair ``(a, b)``, or a sequence, an array or a tensor of them, values 0..p-1.

        Returns:
            int64 ``[batch, 2]`` on the model's device; a batch of one for one pair.

        Raises:
            TypeError: If the values are not whole numbers.
            ValueError: If the shape or range is wrong.
        """
        array = pairs if isinstance(pairs, Tensor) else torch.as_tensor(np.asarray(pairs))
        if array.is_floating_point() or array.is_complex() or array.dtype == torch.bool:
            raise TypeError(
                f"pairs have dtype {array.dtype}, expected whole numbers 0..{self.cfg.p - 1}"
            )
        array = array.to(self.cfg.device, torch.int64)
        return check_tokens(array[None] if array.ndim == 1 else array, self.cfg.p)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As in ``nn.Module``; with ``assign`` the configuration follows the tensors given."""
        result = super().load_state_dict(state_dict, strict, assign)
        self._follow_parameters()
        return result

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HookedMLP:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._follow_parameters()
        return self

    def _follow_parameters(self) -> None:
        self.cfg = replace(self.cfg, device=str(self.W_in.device), dtype=_dtype_name(self.W_in))


def _dtype_name(tensor: Tensor) -> Any:
    return str(tensor.dtype).removeprefix("torch.")


def from_module(module: nn.Module, p: int) -> HookedMLP:
    """A HookedMLP with a copy of the weights of a user's Linear-activation-Linear on one-hot pairs.

    The input is taken to be the concatenated one-hots of a and b: ``module[0].weight`` is
    ``[d_mlp, 2 * p]`` with a first. Then the logits are equal to the module's on one-hots.

    Args:
        module: ``nn.Sequential(nn.Linear(2 * p, d_mlp), activation, nn.Linear(d_mlp, p))``, biases
            optional, leading ``nn.Flatten`` allowed.
        p: Modulus.

    Returns:
        A model with the weights copied and seed None; an activation other than ReLU, exact GELU and the
        identity becomes a callable, with which a model cannot be saved.

    Raises:
        ValueError: If the module is not of that form or its sizes do not fit ``p``.
    """
    # Of another module the layers would not say what its forward does with them.
    children = list(module.children()) if isinstance(module, nn.Sequential) else [module]
    layers = [layer for layer in children if not isinstance(layer, nn.Flatten)]
    if [isinstance(layer, nn.Linear) for layer in layers] != [True, False, True]:
        found = ", ".join(type(layer).__name__ for layer in layers)
        raise ValueError(
            f"from_module got {found}, expected an nn.Sequential of Linear, activation, Linear: for "
            "other networks pass the weights to HookedMLP.from_weights"
        )
    first, act, second = layers
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    if first.in_features != 2 * p or second.out_features != p:
        raise ValueError(
            f"the module maps {first.in_features} inputs to {second.out_features} classes, expected "
            f"{2 * p} (two one-hots) to {p} for p={p}"
        )
    return HookedMLP.from_weights(
        first.weight.detach().T.reshape(2, p, first.out_features),
        second.weight.detach().T,
        None if first.bias is None else first.bias.detach(),
        None if second.bias is None else second.bias.detach(),
        act_fn=_named(act),
    )


def _named(act: nn.Module) -> str | Activation:
    """Name of a module's activation, so that the model can be saved; else the module itself."""
    if isinstance(act, nn.ReLU):
        return "relu"
    if isinstance(act, nn.Identity):
        return "identity"
    if isinstance(act, nn.GELU) and act.approximate == "none":
        return "gelu"
    act = copy.deepcopy(act)
    if hasattr(act, "inplace"):
        act.inplace = False  # type: ignore[assignment]  # it would overwrite what hook_pre has cached
    return act
