"""Hooks that come and go: caching rules, interventions, and scopes that leave no trace.

:class:`Scoped` is what a ``HookedRootModule`` with weights on hook points needs besides:

- default caches leave the weights out, and what would slice them as if they had a batch axis raises;
- a scope adds hooks with no level and removes just its own, by identity, also after an exception:
  TransformerLens' ``hooks()`` takes every hook of its level with it, a user's included;
- a deepcopy inside a scope is the model without it.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from grok_interp._compat import ActivationCache, HookedRootModule, HookPoint
from grok_interp.weights import W_IN_HOOK, W_OUT_HOOK

WEIGHT_HOOKS = (W_IN_HOOK, W_OUT_HOOK)

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


class Scoped(HookedRootModule):
    """A hooked module whose interventions are scopes and whose caches leave weights out."""

    def __init__(self) -> None:
        super().__init__()
        self._scoped: list[tuple[HookPoint, Any]] = []

    def run_with_cache(
        self,
        *model_args: Any,
        return_cache_object: bool = True,
        remove_batch_dim: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, ActivationCache | dict[str, Tensor]]:
        """Run the model and return its output with an ``ActivationCache``.

        Args:
            *model_args: Arguments of ``forward``.
            return_cache_object: False gives a plain dict.
            remove_batch_dim: Drop the batch axis of a batch of one.
            **kwargs: As for ``HookedRootModule.run_with_cache``, and keywords of ``forward``.

        Returns:
            What ``forward`` returns, and tensors by hook name; with ``incl_bwd=True`` also gradients,
            under names that end in ``_grad``.

        Raises:
            ValueError: If ``pos_slice`` is given, which would slice the batch here, or if weights
                or a batch of more than one are asked for with ``remove_batch_dim``.
        """
        first = model_args[0] if model_args else None
        if remove_batch_dim and isinstance(first, Tensor) and first.ndim:
            _check_single(len(first))  # before 4.x asserts the same with less advice
        out, cache = super().run_with_cache(
            *model_args, remove_batch_dim=remove_batch_dim, **kwargs
        )
        if not return_cache_object:
            return out, cache
        return out, _MLPCache(cache, self, has_batch_dim=not remove_batch_dim)

    def get_caching_hooks(
        self,
        names_filter: Any = None,
        incl_bwd: bool = False,
        device: Any = None,
        remove_batch_dim: bool = False,
        cache: dict[str, Tensor] | None = None,
        pos_slice: Any = None,
    ) -> tuple[dict[str, Tensor], list[Any], list[Any]]:
        """As in ``HookedRootModule``, leaving the weights out by default."""
        checked = self._caching_filter(names_filter, remove_batch_dim, pos_slice)
        # The batch axis is dropped here, since 2.18 looks for an axis to slice after dropping it
        # and finds none in [d_mlp], and takes the first example of many without a word.
        stored, forward, backward = super().get_caching_hooks(
            checked, incl_bwd, device, cache=cache, pos_slice=pos_slice
        )
        if remove_batch_dim:
            forward = [(name, _of_the_example(save)) for name, save in forward]
            backward = [(name, _of_the_example(save)) for name, save in backward]
        return stored, forward, backward

    def add_caching_hooks(
        self,
        names_filter: Any = None,
        incl_bwd: bool = False,
        device: Any = None,
        remove_batch_dim: bool = False,
        cache: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As in ``HookedRootModule``, leaving the weights out by default."""
        stored, forward, backward = self.get_caching_hooks(
            names_filter, incl_bwd, device, remove_batch_dim, cache
        )
        for name, save in forward:
            self.hook_dict[name].add_hook(save)
        for name, save in backward:
            self.hook_dict[name].add_hook(save, dir="bwd")
        return stored

    def _caching_filter(
        self, names_filter: Any, remove_batch_dim: bool, pos_slice: Any
    ) -> Callable[[str], bool]:
        """The filter as a function, after refusing what would slice the wrong axis."""
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
        if remove_batch_dim:
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
    def intervened(self, *interventions: Intervention) -> Iterator[Scoped]:
        """Attach interventions for the length of a block.

        Scopes nest, in any order with ``hooks()``. On exit, also by an exception, exactly the hooks
        added here are removed, by identity: hooks that a user added before or inside the block stay
        as they are, which a ``hooks()`` block of the same level would not guarantee.

        Args:
            *interventions: Anything with ``fwd_hooks()``, applied in this order.

        Yields:
            The model.

        Raises:
            TypeError: If something has no ``fwd_hooks()``.
            ValueError: If a hook name is unknown, before anything is attached; or, when the model
                runs, if a function returns another shape or dtype.
        """
        for intervention in interventions:
            if isinstance(intervention, type):
                raise TypeError(
                    f"{intervention.__name__} is a class, not an intervention: make one, as in "
                    f"intervened({intervention.__name__}(...))"
                )
            if not isinstance(intervention, Intervention):
                raise TypeError(
                    f"{type(intervention).__name__!r} is no intervention: it needs a method fwd_hooks() that "
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
    ) -> Iterator[Scoped]:
        """Replace weights by ideal ones for the length of a block.

        Args:
            ideal: What :func:`grok_interp.idealize.build` returns.
            neurons: Indices or mask of the neurons to idealize; None for all.
            strength: 0 keeps the model's weights bit for bit, 1 uses the ideal ones, and values
                between interpolate.
            matrices: Which of ``"W_a"``, ``"W_b"``, ``"W_out"`` to idealize; None for all.

        Yields:
            The model.

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
        """Run the model once with idealized weights, as by :meth:`idealized`; returns what the model does."""
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

    def __deepcopy__(self, memo: dict[int, Any]) -> Scoped:
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


def through(point: HookPoint, weight: Tensor) -> Tensor:
    """A weight after its hooks, which get a copy: one that writes in place must not train the model."""
    if not is_hooked(point):
        return weight
    hooked: Tensor = point(weight.clone())
    return hooked


def is_hooked(point: HookPoint) -> bool:
    """Whether anything is attached; TransformerLens' own lists would miss plain torch hooks."""
    return bool(
        point._forward_hooks
        or point._backward_hooks
        or point._forward_pre_hooks
        or point._backward_pre_hooks
    )


def _of_the_example(save: HookFunction) -> HookFunction:
    """A function that caches, given the one example of a batch without its batch axis."""

    def save_example(tensor: Tensor, hook: Any) -> None:
        _check_single(len(tensor))
        save(tensor[0], hook=hook)

    return save_example


def _check_single(n: int) -> None:
    if n != 1:
        raise ValueError(
            f"remove_batch_dim=True with a batch of {n}, expected a batch of one: keep the batch axis, "
            "or pass one pair, as in tokens[:1]"
        )


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
