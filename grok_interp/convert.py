"""Models read from the files of other projects, without running anything that they hold.

Each network is folded exactly into ``logits = act(W_in[0, a] + W_in[1, b] + b_in) @ W_out``
(:class:`~grok_interp.hooked_mlp.HookedMLP`), but for the last, which becomes a ``TransformerBridge``:

================  ================  ================================================================
format            source            network
================  ================  ================================================================
feature_learning  arXiv 2602.16849  ``mlp.W_out relu(mlp.W_in (e_a + e_b))``, one embedding for both
text_matrices     arXiv 2301.02679  ``([e_a, e_b] fc1)^2 fc2``, as fc1.csv and fc2.csv in a folder
pizza             arXiv 2306.17844  ``unembed relu(l1 [embed_a, embed_b] + bias)``, "model D"
linear_pair       arXiv 2310.13061  ``fc2 (fc1 [e_a, e_b])^2``, two ``nn.Linear``, biases if any
two_embeddings    arXiv 2302.03025  ``relu([W_x[a], W_y[b]] W) W_U``
transformer       arXiv 2301.05217  one layer on (a, b, =), transposed against TransformerLens
================  ================  ================================================================

Formats are told apart by the names of their tensors, and each size is checked wherever it occurs. A
file is in one orientation throughout, so one matrix that is not square tells which; where the sizes
fit both the published orientation and its transpose, the file is refused until the format is named.

Caveat: no file says what its activation is, nor its factor on the logits; they are the paper's unless
``act_fn`` says otherwise. A wrong activation need not show: a ReLU network read as a quadratic one can
score higher than it did. Nothing but tensors is read: ``torch.load`` only with ``weights_only=True``,
safetensors, and text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from grok_interp import files, transformer
from grok_interp.config import FormatName, check_choice
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.weights import ACTIVATIONS

TORCH_SUFFIXES = (".pt", ".pth")
TEXT_FILES = ("fc1", "fc2")
"""Names, without ``.csv``, of the matrices of a folder of text."""
ADVICE = "copy or download it again; nothing in it was run"

Shapes = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Format:
    """What the files of one project look like.

    Attributes:
        shapes: Sizes of each tensor by name, such as ``"d_mlp 2*p"``; equal names are equal sizes.
        build: The model, from tensors that have these shapes.
        optional: Sizes of tensors that may be missing.
    """

    shapes: Shapes
    build: Callable[[dict[str, Tensor]], Any]
    optional: Shapes = field(default_factory=dict)

    def __str__(self) -> str:
        shown = [f"{name} [{sizes.replace(' ', ', ')}]" for name, sizes in self._all().items()]
        needed = len(self.shapes)
        return ", ".join(shown[:needed] + [f"perhaps {each}" for each in shown[needed:]])

    def _all(self) -> dict[str, str]:
        return {**self.shapes, **self.optional}

    def named_by(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether the names are those of this format."""
        return self.shapes.keys() <= tensors.keys() <= self._all().keys()

    def mismatch(self, tensors: Mapping[str, Tensor], *, transposed: bool = False) -> str | None:
        """Say why shapes do not fit together.

        Args:
            tensors: The tensors by name.
            transposed: Whether to read every matrix the other way round.

        Returns:
            The tensor that does not fit, its shape and the expected one, in words; None if all fit.
        """
        known: dict[str, int] = {}
        for name, spec in self._all().items():
            if name not in tensors:
                continue
            shape, terms = tensors[name].shape, spec.split()
            if transposed and len(terms) == 2:
                terms = terms[::-1]
            fits = len(terms) == len(shape) and all(
                _equal(term, size, known) for term, size in zip(terms, shape, strict=True)
            )
            if not fits:
                given = ", ".join(f"{letter}={size}" for letter, size in known.items())
                return (
                    f"{name} has shape {list(shape)}, expected [{', '.join(terms)}]"
                    + f", where {given} so far" * bool(given)
                )
        return None


def _equal(term: str, size: int, known: dict[str, int]) -> bool:
    """Whether a size is the product that ``term`` says; one letter that is not known is found."""
    factors = term.split("*")
    new = [factor for factor in factors if not factor.isdecimal() and factor not in known]
    rest = math.prod(known.get(f) or int(f) for f in factors if f not in new)
    if not new:
        return rest == size
    known[new[0]], remainder = divmod(size, rest)
    return remainder == 0 and size > 0


@dataclass(frozen=True, eq=False)
class Source:
    """What a file of another project holds.

    Attributes:
        path: The file, or the folder of text.
        format: Name of its format.
        tensors: Its tensors by name, as they are stored, finite and with shapes that fit together.
        act_fn: The network's activation; None for that of the format's paper.

    Raises:
        ValueError: If an activation is given for a transformer, whose paper has a ReLU.
    """

    path: Path
    format: str
    tensors: dict[str, Tensor]
    act_fn: str | None = None

    def __post_init__(self) -> None:
        if self.act_fn is not None and self.format == "transformer":
            raise ValueError(
                f"act_fn={self.act_fn!r} cannot be chosen for {self.path}, a transformer, whose paper has "
                "a ReLU: leave it out"
            )

    def model(self) -> Any:
        """Make the network.

        Returns:
            A :class:`~grok_interp.hooked_mlp.HookedMLP`, or a ``TransformerBridge`` for ``"transformer"``.

        Raises:
            ValueError: Naming the file, if the sizes are below what a model needs.
            RuntimeError: If a transformer needs a newer transformer-lens.
        """
        try:
            model = FORMATS[self.format].build(self.tensors)
            if self.act_fn is None:
                return model
            return HookedMLP.from_weights(
                model.W_in,
                model.W_out,
                model.b_in,
                model.b_out,
                act_fn=self.act_fn,
                tied_operands=model.cfg.tied_operands,
            )
        except ValueError as error:
            raise ValueError(f"{self.path}, read as {self.format}: {error}") from error


def load(
    path: str | Path, format: FormatName | str | None = None, act_fn: str | None = None
) -> Any:
    """Read a network from another project's file; arguments and errors as for :func:`read`.

    Returns:
        A :class:`~grok_interp.hooked_mlp.HookedMLP`, whose ``cfg`` holds p, d_mlp, activation and biases;
        or a ``TransformerBridge``.

    Raises:
        RuntimeError: If a transformer needs a newer transformer-lens.
    """
    return read(path, format, act_fn).model()


def read(
    path: str | Path, format: FormatName | str | None = None, act_fn: str | None = None
) -> Source:
    """Recognise the format of a file and read its tensors.

    Args:
        path: A ``.pt``, ``.pth`` or ``.safetensors`` file, or a folder with fc1.csv and fc2.csv.
            Tensors may be under the key ``"model"``.
        format: Its format, where the shapes allow two readings; None recognises it.
        act_fn: The network's activation, which no file says; None takes that of the format's paper.

    Returns:
        What the file holds; :meth:`Source.model` makes the network of it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file would run code, is damaged, is of no known format, holds NaN or
            infinity, has shapes that do not fit together, or fits two orientations while
            ``format`` is None; or if ``act_fn`` is unknown, or is given for a transformer.
    """
    path = Path(path)
    if format is not None:
        check_choice("format", format, FormatName)
    if act_fn is not None:
        check_choice("act_fn", act_fn, tuple(ACTIVATIONS))
    tensors = _read_tensors(path)
    name = format or _recognised(path, tensors)
    _check(path, name, tensors, chosen=format is not None)
    return Source(path, name, tensors, act_fn)


def _recognised(path: Path, tensors: Mapping[str, Tensor]) -> str:
    for name, known in FORMATS.items():
        if known.named_by(tensors):
            return name
    raise ValueError(
        f"{path} is of no known format: it holds {_listed(tensors)}. Known are\n"
        + "\n".join(f"  {name}: {known}" for name, known in FORMATS.items())
        + "\nPass other weights to HookedMLP.from_weights(W_in, W_out, b_in, b_out), or the module itself to "
        "hooked_mlp.from_module"
    )


def _check(path: Path, name: str, tensors: Mapping[str, Tensor], *, chosen: bool) -> None:
    """Refuse tensors that are not of the format, or may be read in two ways."""
    known = FORMATS[name]
    if not known.named_by(tensors):
        raise ValueError(
            f"{path} is not of format {name}: it holds {_listed(tensors)}, expected {known}"
        )
    _check_values(path, tensors)
    as_published = known.mismatch(tensors)
    transposed = known.mismatch(tensors, transposed=True)
    if as_published is not None:
        raise ValueError(
            f"{path} is not of format {name}: {as_published}"
            + ("; every matrix fits transposed: transpose them" if transposed is None else "")
        )
    if transposed is None and not chosen:
        raise ValueError(
            f"{path} may be read in two ways: as {name} ({known}) or as {name} with every matrix "
            f"transposed, and its shapes, {_listed(tensors)}, fit both. Pass format={name!r} (--format "
            f"{name}) if it is as published; otherwise transpose the matrices"
        )


def _check_values(path: Path, tensors: Mapping[str, Tensor]) -> None:
    dtype = next(iter(tensors.values())).dtype
    for name, tensor in tensors.items():
        dense = tensor.layout is torch.strided and not tensor.is_meta
        if not dense or not tensor.is_floating_point() or tensor.dtype != dtype:
            raise ValueError(
                f"{path}: {name} is {tensor.dtype}, expected dense tensors of one floating-point type "
                f"({dtype} comes first)"
            )
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: {name} holds NaN or infinity: use an earlier checkpoint")


def _listed(tensors: Mapping[str, Tensor]) -> str:
    return (
        ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items()) or "nothing"
    )


# Files ------------------------------------------------------------------------------------------


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: pass a file or folder of weights")
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".safetensors":
        return files.read_any_tensors(path, ADVICE)
    if path.suffix in TORCH_SUFFIXES:
        return files.read_torch_tensors(path, ADVICE)
    raise ValueError(
        f"{path} has the suffix {path.suffix!r}, expected {', '.join(TORCH_SUFFIXES)}, .safetensors, or a "
        "folder with fc1.csv and fc2.csv"
    )


def _read_folder(folder: Path) -> dict[str, Tensor]:
    paths = {name: folder / f"{name}.csv" for name in TEXT_FILES}
    if (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} has a config.json, so it looks like grok_interp's own: read a model with "
            "HookedMLP.from_pretrained and a run with Trajectory.load"
        )
    missing = [file.name for file in paths.values() if not file.is_file()]
    if missing:
        raise ValueError(
            f"{folder} has no {' and no '.join(missing)}, which a folder of text matrices holds: pass "
            "that folder, or the file of weights itself"
        )
    return {name: files.read_matrix(file, ADVICE) for name, file in paths.items()}


# Formats ----------------------------------------------------------------------------------------


def _folded(embeddings: Sequence[Tensor], W: Tensor) -> Tensor:
    """Each operand's embedding times its half of ``W [2*d_embed, d_mlp]``.

    Returns:
        ``[2, p, d_mlp]``, multiplied in double precision, so that folding costs no more than one rounding.
    """
    halves = W.double().chunk(2)
    pairs = zip(embeddings, halves, strict=True)
    return torch.stack([embedding.double() @ half for embedding, half in pairs]).to(W.dtype)


def _feature_learning(tensors: dict[str, Tensor]) -> HookedMLP:
    W_in, W_out = tensors["mlp.W_in"].T, tensors["mlp.W_out"].T
    return HookedMLP.from_weights(W_in, W_out, act_fn="relu", tied_operands=True)


def _text_matrices(tensors: dict[str, Tensor]) -> HookedMLP:
    W_in, W_out = tensors["fc1"], tensors["fc2"]
    return HookedMLP.from_weights(W_in.reshape(2, -1, len(W_out)), W_out, act_fn="quadratic")


def _linear_pair(tensors: dict[str, Tensor]) -> HookedMLP:
    W_in, W_out = tensors["fc1.weight"].T, tensors["fc2.weight"].T
    biases = (tensors.get("fc1.bias"), tensors.get("fc2.bias"))
    W_in = W_in.reshape(2, -1, len(W_out))
    return HookedMLP.from_weights(W_in, W_out, *biases, act_fn="quadratic")


def _pizza(tensors: dict[str, Tensor]) -> HookedMLP:
    embed = tensors["embed.weight"]
    W_in = _folded([embed, embed], tensors["l1.weight"].T)
    W_out = tensors["unembed.weight"].T
    return HookedMLP.from_weights(W_in, W_out, tensors["l1.bias"], act_fn="relu")


def _two_embeddings(tensors: dict[str, Tensor]) -> HookedMLP:
    W_in = _folded([tensors["W_x"], tensors["W_y"]], tensors["W"])
    return HookedMLP.from_weights(W_in, tensors["W_U"], act_fn="relu")


def _transformer(tensors: dict[str, Tensor]) -> Any:
    """The paper's matrices are ``nn.Linear`` weights, the embeddings and unembedding transposed."""
    mask = tensors.get("blocks.0.attn.mask")
    if mask is not None and not torch.equal(mask, torch.ones_like(mask).tril()):
        raise ValueError(
            f"blocks.0.attn.mask is {mask.tolist()}, expected ones on and below the diagonal: a "
            "network with another mask is not this one"
        )
    n_heads, d_head, d_model = tensors["blocks.0.attn.W_K"].shape
    bridge: Any = transformer.build(
        tensors["embed.W_E"].shape[1] - 1,
        d_model,
        n_heads,
        d_head,
        len(tensors["blocks.0.mlp.W_in"]),
    )
    bridge.to(tensors["embed.W_E"].dtype, print_details=False)
    given = {
        "embed.weight": tensors["embed.W_E"].T,
        "pos_embed.weight": tensors["pos_embed.W_pos"],
        "blocks.0.attn.o.weight": tensors["blocks.0.attn.W_O"],
        "blocks.0.mlp.in.weight": tensors["blocks.0.mlp.W_in"],
        "blocks.0.mlp.in.bias": tensors["blocks.0.mlp.b_in"],
        "blocks.0.mlp.out.weight": tensors["blocks.0.mlp.W_out"],
        "blocks.0.mlp.out.bias": tensors["blocks.0.mlp.b_out"],
        "unembed.weight": tensors["unembed.W_U"].T,
    }
    for letter in "QKV":
        heads = tensors[f"blocks.0.attn.W_{letter}"]
        given[f"blocks.0.attn.{letter.lower()}.weight"] = heads.flatten(0, 1)
    # What the file does not have, the attention biases, is 0 in a new model.
    bridge.load_state_dict(bridge.state_dict() | given, strict=True)
    return bridge


FORMATS = {
    "feature_learning": Format(
        {"mlp.W_in": "d_mlp p", "mlp.W_out": "p d_mlp"}, _feature_learning, {"mlp.basis": "p p"}
    ),
    "text_matrices": Format({"fc1": "2*p d_mlp", "fc2": "d_mlp p"}, _text_matrices),
    "pizza": Format(
        {
            "embed.weight": "p d_embed",
            "l1.weight": "d_mlp 2*d_embed",
            "l1.bias": "d_mlp",
            "unembed.weight": "p d_mlp",
        },
        _pizza,
    ),
    "linear_pair": Format(
        {"fc1.weight": "d_mlp 2*p", "fc2.weight": "p d_mlp"},
        _linear_pair,
        {"fc1.bias": "d_mlp", "fc2.bias": "p"},
    ),
    "two_embeddings": Format(
        {"W_x": "p d_embed", "W_y": "p d_embed", "W": "2*d_embed d_mlp", "W_U": "d_mlp p"},
        _two_embeddings,
    ),
    "transformer": Format(
        {
            "embed.W_E": "d_model vocabulary",
            "pos_embed.W_pos": "3 d_model",
            "blocks.0.attn.W_K": "n_heads d_head d_model",
            "blocks.0.attn.W_Q": "n_heads d_head d_model",
            "blocks.0.attn.W_V": "n_heads d_head d_model",
            "blocks.0.attn.W_O": "d_model n_heads*d_head",
            "blocks.0.mlp.W_in": "d_mlp d_model",
            "blocks.0.mlp.b_in": "d_mlp",
            "blocks.0.mlp.W_out": "d_model d_mlp",
            "blocks.0.mlp.b_out": "d_model",
            "unembed.W_U": "d_model vocabulary",
        },
        _transformer,
        {"blocks.0.attn.mask": "3 3"},
    ),
}
"""Formats by name, as in the table above."""
assert tuple(FORMATS) == get_args(FormatName)
