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
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from grok_interp._compat import ActivationCache, HookedRootModule, HookPoint
from grok_interp.config import HookedMLPConfig as HookedMLPConfig
from grok_interp.config import check_choice, from_dict
from grok_interp.pretrained import Pretrained
from grok_interp.weights import (
    W_IN_HOOK,
    W_OUT_HOOK,
    Activation,
    MLPWeights,
    activation,
    check_labels,
    check_tokens,
    check_weights,
    draw_uniform,
)

WEIGHT_HOOKS = (W_IN_HOOK, W_OUT_HOOK)
RETURN_TYPES = ("logits", "loss", "both")

HookFunction = Callable[..., Tensor | None]


@runtime_checkable
class Intervention(Protocol):
    """Anything that says which hooks it consists of.

    ``fwd_hooks()`` gives pairs of a hook name and a function of ``(tensor, hook=...)`` that returns
    a new tensor of the same shape and dtype, or None to leave it alone. It must not write into the
    tensor, of which caches hold aliases.
    """

    def fwd_hooks(self) -> list[tuple[str, Any]]:
        """Hook names and functions."""
        ...


@runtime_checkable
class Idealization(Intervention, Protocol):
    """Ideal weights, as :func:`grok_interp.idealize.build` makes them."""

    def select(
        self, neurons: Any, strength: float, matrices: str | Sequence[str] | None
    ) -> Intervention:
        """The intervention on some neurons and matrices, at a strength."""
        ...


class MLP(nn.Module):
    """Owner of the parameters; :class:`HookedMLP` is the interface."""

    def __init__(self, cfg: HookedMLPConfig, act_fn: Activation) -> None:
        super().__init__()
        dtype = getattr(torch, cfg.dtype)

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape, dtype=dtype, device=cfg.device))

        self.act_fn = act_fn
        self.W_in = parameter(1 if cfg.tied_operands else 2, cfg.p, cfg.d_mlp)
        self.W_out = parameter(cfg.d_mlp, cfg.p)
        self.b_in = parameter(cfg.d_mlp) if cfg.bias_in else None
        self.b_out = parameter(cfg.p) if cfg.bias_out else None
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
                tensor.copy_(draw_uniform(tensor.shape, fan_in[name], generator))


class Block(nn.Module):
    """The one layer, under the name that TransformerLens gives to layers."""

    def __init__(self, mlp: MLP) -> None:
        super().__init__()
        self.mlp = mlp
        self.hook_mlp_out = HookPoint()


class HookedMLP(HookedRootModule, Pretrained):
    """A two-layer MLP on pairs of tokens, with hooks on activations and on weights.

    Args:
        config: A :class:`HookedMLPConfig`; or None, and its fields as keywords.
        **fields: Fields of :class:`HookedMLPConfig` when ``config`` is None.

    Attributes:
        cfg: The configuration; its ``device`` and ``dtype`` follow ``.to()``.

    Raises:
        ValueError: If a field is out of range or unknown.
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
        self._scoped: list[tuple[HookPoint, Any]] = []
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

        Raises:
            ValueError: If shapes or dtypes do not fit together, or an entry is not finite.
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
        """Draw every parameter uniformly from ``+-1/sqrt(fan_in)``.

        The fan-in of W_in and b_in is ``2 p``, that of W_out and b_out ``d_mlp``: what ``nn.Linear``
        does on concatenated one-hots.

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
        W_in = _through(mlp.hook_W_in, self._both_operands())
        return self._weights(W_in, _through(mlp.hook_W_out, self.W_out))

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
            return_type: ``"logits"`` (``[batch, p]``), ``"loss"`` (mean cross-entropy in nats), or
                ``"both"``, as a tuple.

        Raises:
            TypeError: If tokens are not an int64 tensor.
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
        W_in = _through(mlp.hook_W_in, self._both_operands())
        first = F.embedding(tokens[:, 0], W_in[0])
        second = F.embedding(tokens[:, 1], W_in[1])
        if _is_hooked(self.hook_embed):
            first, second = self.hook_embed(torch.stack([first, second], 1)).unbind(1)
        pre = first + second
        if mlp.b_in is not None:
            pre = pre + mlp.b_in
        post = mlp.hook_post(mlp.act_fn(mlp.hook_pre(pre)))
        logits = post @ _through(mlp.hook_W_out, mlp.W_out)
        if self.cfg.output_scale != 1.0:
            logits = self.cfg.output_scale * logits
        if mlp.b_out is not None:
            logits = logits + mlp.b_out
        out: Tensor = block.hook_mlp_out(logits)  # type: ignore[operator]
        return out

    def to_tokens(self, pairs: Any) -> Int[Tensor, "batch 2"]:
        """Tokens from one pair ``(a, b)``, a sequence of pairs, an array or a tensor.

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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HookedMLP:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.cfg = replace(self.cfg, device=str(self.W_in.device), dtype=_dtype_name(self.W_in))
        return self

    # Hooks ------------------------------------------------------------------------------------

    def run_with_cache(
        self,
        *model_args: Any,
        return_cache_object: bool = True,
        remove_batch_dim: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, ActivationCache | dict[str, Tensor]]:
        """Run the model and return its output with an ``ActivationCache``.

        Args:
            *model_args: Arguments of :meth:`forward`.
            return_cache_object: False gives a plain dict.
            remove_batch_dim: Drop the batch axis of a batch of one.
            **kwargs: As for ``HookedRootModule.run_with_cache``, and keywords of :meth:`forward`.

        Raises:
            ValueError: If ``pos_slice`` is given, which would slice the batch here, or if weights
                are asked for with ``remove_batch_dim``.
        """
        out, cache = super().run_with_cache(
            *model_args, remove_batch_dim=remove_batch_dim, **kwargs
        )
        if not return_cache_object:
            return out, cache
        return out, _MLPCache(cache, self, has_batch_dim=not remove_batch_dim)

    def get_caching_hooks(
        self, names_filter: Any = None, *args: Any, **kwargs: Any
    ) -> tuple[dict[str, Tensor], list[Any], list[Any]]:
        """As in ``HookedRootModule``, leaving the weights out by default."""
        checked = self._caching_filter(names_filter, _named_arguments(args, kwargs))
        result: tuple[dict[str, Tensor], list[Any], list[Any]] = super().get_caching_hooks(
            checked, *args, **kwargs
        )
        return result

    def add_caching_hooks(
        self, names_filter: Any = None, *args: Any, **kwargs: Any
    ) -> dict[str, Tensor]:
        """As in ``HookedRootModule``, leaving the weights out by default."""
        checked = self._caching_filter(names_filter, _named_arguments(args, kwargs))
        result: dict[str, Tensor] = super().add_caching_hooks(checked, *args, **kwargs)
        return result

    def _caching_filter(self, names_filter: Any, slices: dict[str, Any]) -> Callable[[str], bool]:
        """The filter as a function, after refusing what would slice the wrong axis."""
        pos_slice = slices.get("pos_slice")
        # run_with_cache hands on a Slice that slices nothing when the user gave none.
        if pos_slice is not None and getattr(pos_slice, "mode", None) != "identity":
            raise ValueError(
                f"pos_slice={pos_slice!r} acts on dim -2, which is the batch here: slice "
                "the tokens, or the cache with apply_slice_to_batch_dim"
            )
        if names_filter is None:
            return lambda name: name not in WEIGHT_HOOKS
        if callable(names_filter):
            wanted: Callable[[str], bool] = names_filter
        else:
            names = [names_filter] if isinstance(names_filter, str) else names_filter
            if not isinstance(names, list):
                raise ValueError(
                    f"names_filter is a {type(names).__name__}, expected None, a hook name, a list "
                    "of names, or a function of a name"
                )
            self._check_hook_names(names)
            wanted = names.__contains__
        if slices.get("remove_batch_dim"):
            weights = [name for name in WEIGHT_HOOKS if wanted(name)]
            if weights:
                raise ValueError(
                    f"remove_batch_dim=True with {', '.join(weights)}, which has no batch axis: leave "
                    "the weights out of names_filter, or keep the batch axis"
                )
        return wanted

    def _check_hook_names(self, names: Iterable[object]) -> None:
        for name in names:
            if name not in self.hook_dict:
                raise ValueError(
                    f"hook name {name!r} is unknown: this model has {', '.join(self.hook_dict)}"
                )

    @contextmanager
    def intervened(self, *interventions: Intervention) -> Iterator[HookedMLP]:
        """Attach interventions for the length of a block.

        Scopes nest, in any order with ``hooks()``. On exit, also by an exception, exactly the hooks
        added here are removed, by identity: hooks that a user added before or inside the block stay
        as they are, which a ``hooks()`` block of the same level would not guarantee.

        Args:
            *interventions: Anything with ``fwd_hooks()``, applied in this order.

        Raises:
            TypeError: If something has no ``fwd_hooks()``.
            ValueError: If a hook name is unknown, before anything is attached; or, when the model
                runs, if a function returns another shape or dtype.
        """
        for intervention in interventions:
            if not isinstance(intervention, Intervention):
                raise TypeError(
                    f"a {type(intervention).__name__} is no intervention: it needs a method fwd_hooks() that "
                    "returns pairs of a hook name and a function of (tensor, hook)"
                )
        wanted = [pair for intervention in interventions for pair in intervention.fwd_hooks()]
        self._check_hook_names(name for name, _ in wanted)
        added: list[tuple[HookPoint, Any]] = []
        try:
            for name, function in wanted:
                point = self.hook_dict[name]
                point.add_hook(_shape_checked(function))
                added.append((point, point.fwd_hooks[-1]))
                self._scoped.append(added[-1])
            yield self
        finally:
            for point, handle in added:
                handle.hook.remove()
                point.fwd_hooks[:] = [other for other in point.fwd_hooks if other is not handle]
                self._scoped[:] = [pair for pair in self._scoped if pair[1] is not handle]

    @contextmanager
    def idealized(
        self,
        ideal: Idealization,
        neurons: Any = None,
        strength: float = 1.0,
        matrices: str | Sequence[str] | None = None,
    ) -> Iterator[HookedMLP]:
        """Replace weights by ideal ones for the length of a block.

        Args:
            ideal: What :func:`grok_interp.idealize.build` returns.
            neurons: Indices or mask of the neurons to idealize; None for all.
            strength: 0 keeps the model's weights bit for bit, 1 uses the ideal ones, and values
                between interpolate.
            matrices: Which of ``"W_a"``, ``"W_b"``, ``"W_out"`` to idealize; None for all.

        Raises:
            ValueError: If the ideal weights are of another shape, or a neuron is out of range.
        """
        with self.intervened(ideal.select(neurons, strength, matrices)):
            yield self

    def run_with_idealized(
        self,
        *model_args: Any,
        ideal: Idealization,
        neurons: Any = None,
        strength: float = 1.0,
        matrices: str | Sequence[str] | None = None,
        **model_kwargs: Any,
    ) -> Any:
        """Run the model once with idealized weights; arguments as for :meth:`idealized`."""
        with self.idealized(ideal, neurons, strength, matrices):
            return self(*model_args, **model_kwargs)

    def run_with_cache_with_idealized(
        self,
        *model_args: Any,
        ideal: Idealization,
        neurons: Any = None,
        strength: float = 1.0,
        matrices: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ActivationCache | dict[str, Tensor]]:
        """:meth:`run_with_cache` with idealized weights; arguments as for :meth:`idealized`."""
        with self.idealized(ideal, neurons, strength, matrices):
            return self.run_with_cache(*model_args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> HookedMLP:
        """A copy with the user's hooks and without those of a scope that is now open."""
        clone = self.__class__.__new__(self.__class__)
        memo[id(self)] = clone
        for key, value in self.__dict__.items():
            clone.__dict__[key] = copy.deepcopy(value, memo)
        for point, handle in clone._scoped:
            handle.hook.remove()
            point.fwd_hooks[:] = [other for other in point.fwd_hooks if other is not handle]
        clone._scoped = []
        return clone


class _MLPCache(ActivationCache):
    """An ``ActivationCache`` that refuses to slice weights as if they had a batch axis."""

    def apply_slice_to_batch_dim(self, batch_slice: Any) -> ActivationCache:
        weights = [name for name in WEIGHT_HOOKS if name in self.cache_dict]
        if weights:
            raise ValueError(
                f"the cache holds {', '.join(weights)}, which has no batch axis to slice: cache the "
                "weights by themselves"
            )
        return super().apply_slice_to_batch_dim(batch_slice)


def _through(point: HookPoint, weight: Tensor) -> Tensor:
    """A weight after its hooks, which get a copy: one that writes in place must not train the model."""
    if not _is_hooked(point):
        return weight
    hooked: Tensor = point(weight.clone())
    return hooked


def _is_hooked(point: HookPoint) -> bool:
    """Whether anything is attached; TransformerLens' own lists would miss plain torch hooks."""
    return bool(
        point._forward_hooks
        or point._backward_hooks
        or point._forward_pre_hooks
        or point._backward_pre_hooks
    )


def _dtype_name(tensor: Tensor) -> Any:
    return str(tensor.dtype).removeprefix("torch.")


def _named_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the caching methods after the filter, by name; both order them alike."""
    names = ("incl_bwd", "device", "remove_batch_dim", "cache", "pos_slice")
    return dict(zip(names, args, strict=False)) | kwargs


def _shape_checked(function: HookFunction) -> HookFunction:
    """The hook function, held to returning what it was given in shape and dtype."""

    @functools.wraps(function)
    def checked(tensor: Tensor, hook: Any) -> Tensor | None:
        result = function(tensor, hook=hook)
        if result is not None and (result.shape != tensor.shape or result.dtype != tensor.dtype):
            raise ValueError(
                f"the function at {hook.name} returned {result.dtype} {list(result.shape)}, expected "
                f"{tensor.dtype} {list(tensor.shape)} as it was given"
            )
        return result

    return checked


def from_module(module: nn.Module, p: int) -> HookedMLP:
    """A HookedMLP with a copy of the weights of a user's Linear-activation-Linear on one-hot pairs.

    The input is taken to be the concatenated one-hots of a and b: ``module[0].weight`` is
    ``[d_mlp, 2 * p]`` with a first. Then the logits are equal to the module's on one-hots.

    Args:
        module: ``nn.Sequential(nn.Linear(2 * p, d_mlp), activation, nn.Linear(d_mlp, p))``, biases
            optional, leading ``nn.Flatten`` allowed.
        p: Modulus.

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
