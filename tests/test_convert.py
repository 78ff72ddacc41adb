"""Random weights in each published orientation, against the papers' networks written out."""

import dataclasses
import math
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from grok_interp import _compat, convert, measures, transformer
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask

needs_bridges = pytest.mark.skipif(
    _compat.TRANSFORMER_LENS_VERSION < _compat.FOURTH,
    reason="transformer-lens 4 builds native bridges",
)
SHAPES: dict[str, Callable[[int], dict[str, tuple[int, ...]]]] = {
    # arXiv 2602.16849; the basis is a buffer that the network does not use.
    "feature_learning": lambda p: {"mlp.W_in": (10, p), "mlp.W_out": (p, 10), "mlp.basis": (p, p)},
    # arXiv 2301.02679
    "text_matrices": lambda p: {"fc1": (2 * p, 10), "fc2": (10, p)},
    # arXiv 2306.17844, model D
    "pizza": lambda p: {
        "embed.weight": (p, 5),
        "unembed.weight": (p, 8),
        "l1.weight": (8, 10),
        "l1.bias": (8,),
    },
    # arXiv 2310.13061
    "linear_pair": lambda p: {"fc1.weight": (10, 2 * p), "fc2.weight": (p, 10)},
    # arXiv 2302.03025
    "two_embeddings": lambda p: {"W_x": (p, 5), "W_y": (p, 5), "W": (10, 8), "W_U": (8, p)},
    # arXiv 2301.05217
    "transformer": lambda p: {
        "embed.W_E": (9, p + 1),
        "pos_embed.W_pos": (3, 9),
        "blocks.0.attn.W_K": (2, 4, 9),
        "blocks.0.attn.W_Q": (2, 4, 9),
        "blocks.0.attn.W_V": (2, 4, 9),
        "blocks.0.attn.W_O": (9, 8),
        "blocks.0.mlp.W_in": (11, 9),
        "blocks.0.mlp.b_in": (11,),
        "blocks.0.mlp.W_out": (9, 11),
        "blocks.0.mlp.b_out": (9,),
        "unembed.W_U": (9, p + 1),
    },
}
MLPS = [name for name in SHAPES if name != "transformer"]
EVERY = [*MLPS, pytest.param("transformer", marks=needs_bridges)]
MODULI = [3, 4, 7, 13, 15]


def draw(name: str, p: int = 7, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(p)
    return {
        key: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for key, shape in SHAPES[name](p).items()
    }


def written_out(name: str, w: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """Each paper's network as the paper has it, on dense one-hot vectors, a pair at a time."""
    rows = []
    for a, b in tokens.tolist():
        if name == "feature_learning":
            p = len(w["mlp.W_out"])
            x = F.one_hot(torch.tensor(a), p) + F.one_hot(torch.tensor(b), p)
            rows.append(w["mlp.W_out"] @ (w["mlp.W_in"] @ x.double()).relu())
        elif name in ("text_matrices", "linear_pair"):
            # As stored, weights act from the right in text and from the left in nn.Linear.
            text = name == "text_matrices"
            fc1, fc2 = (w["fc1"].T, w["fc2"].T) if text else (w["fc1.weight"], w["fc2.weight"])
            x = torch.zeros(fc1.shape[1]).double()
            x[a] += 1
            x[fc1.shape[1] // 2 + b] += 1
            rows.append(fc2 @ (fc1 @ x) ** 2)
        elif name == "pizza":
            x = torch.cat([w["embed.weight"][a], w["embed.weight"][b]])
            rows.append(w["unembed.weight"] @ (w["l1.weight"] @ x + w["l1.bias"]).relu())
        elif name == "two_embeddings":
            rows.append((torch.cat([w["W_x"][a], w["W_y"][b]]) @ w["W"]).relu() @ w["W_U"])
        else:
            rows.append(published_transformer(w, [a, b, w["embed.W_E"].shape[1] - 1]))
    return torch.stack(rows)


def published_transformer(w: dict[str, Tensor], sequence: list[int]) -> Tensor:
    """arXiv 2301.05217, vectors as columns; logits after the last token, without that of =."""
    x = [w["embed.W_E"][:, t] + w["pos_embed.W_pos"][i] for i, t in enumerate(sequence)]
    heads = []
    for K, Q, V in zip(*(w[f"blocks.0.attn.W_{letter}"] for letter in "KQV"), strict=True):
        scores = torch.stack([(Q @ x[-1]) @ (K @ each) for each in x]) / math.sqrt(len(K))
        weight = scores.softmax(0)
        heads.append(sum(share * (V @ each) for share, each in zip(weight, x, strict=True)))
    mid = x[-1] + w["blocks.0.attn.W_O"] @ torch.cat(heads)
    post = (w["blocks.0.mlp.W_in"] @ mid + w["blocks.0.mlp.b_in"]).relu()
    out = mid + w["blocks.0.mlp.W_out"] @ post + w["blocks.0.mlp.b_out"]
    return (w["unembed.W_U"].T @ out)[:-1]


def stored(folder: Path, tensors: dict, container: str = "pt") -> Path:
    """A file that holds the tensors; text for the format that is text."""
    if "fc1" in tensors and container == "text":
        for name, tensor in tensors.items():
            lines = [",".join(map(repr, row)) for row in tensor.tolist()]
            (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
        return folder
    path = folder / f"weights.{container}"
    if container == "safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return path


def logits_of(model: object, tokens: Tensor) -> Tensor:
    run = model if isinstance(model, HookedMLP) else transformer.on_pairs(model)
    return measures.logits(run, tokens)


# Each format ------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", MODULI)
@pytest.mark.parametrize("name", EVERY)
def test_each_format_is_the_papers_network(tmp_path: Path, name: str, p: int) -> None:
    w, task = draw(name, p), ModularTask(p)
    found = convert.read(stored(tmp_path, w))
    assert found.format == name
    expected = written_out(name, w, task.tokens)
    logits = logits_of(found.model(), task.tokens)
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits, expected)
    assert float(expected.std()) > 0.1


@pytest.mark.parametrize(
    ("name", "container"),
    [("text_matrices", "text")]
    + [(name, container) for name in MLPS for container in ("pth", "safetensors")],
)
def test_containers_hold_the_same_network(tmp_path: Path, name: str, container: str) -> None:
    w, task = draw(name), ModularTask(7)
    (tmp_path / "other").mkdir()
    one = convert.load(stored(tmp_path, w, container))
    two = convert.load(stored(tmp_path / "other", {"model": w, "epoch": 3, "loss": 0.5}))
    assert torch.equal(one(task.tokens), two(task.tokens))
    assert one.cfg == two.cfg


@pytest.mark.parametrize("name", MLPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_configuration_holds_the_sources_numbers(
    tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    cfg = convert.load(stored(tmp_path, draw(name, 13, dtype))).cfg
    assert cfg.p == 13
    assert cfg.d_mlp == (8 if name in ("pizza", "two_embeddings") else 10)
    assert cfg.act_fn == ("quadratic" if name in ("text_matrices", "linear_pair") else "relu")
    assert cfg.tied_operands == (name == "feature_learning")
    assert (cfg.bias_in, cfg.bias_out) == (name == "pizza", False)
    assert cfg.output_scale == 1.0
    assert cfg.seed is None
    assert cfg.dtype == str(dtype).removeprefix("torch.")


@needs_bridges
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_transformers_configuration(
    tmp_path: Path, dtype: torch.dtype, capsys: pytest.CaptureFixture[str]
) -> None:
    w = draw("transformer", 7, dtype) | {"blocks.0.attn.mask": torch.ones(3, 3, dtype=dtype).tril()}
    bridge = convert.load(stored(tmp_path, {"model": w}))
    assert capsys.readouterr().out == ""
    cfg = bridge.cfg
    assert (cfg.n_layers, cfg.n_ctx, cfg.d_vocab, cfg.d_model) == (1, 3, 8, 9)
    assert (cfg.n_heads, cfg.d_head, cfg.d_mlp, cfg.act_fn) == (2, 4, 11, "relu")
    assert cfg.dtype == dtype
    # TransformerLens' orientation of the paper's matrices.
    assert torch.equal(bridge.W_E, w["embed.W_E"].T)
    assert torch.equal(bridge.W_in[0], w["blocks.0.mlp.W_in"].T)
    assert torch.equal(bridge.W_K[0], w["blocks.0.attn.W_K"].mT)
    effective = transformer.effective_weights(bridge)
    by_hand = (w["blocks.0.mlp.W_in"] @ w["embed.W_E"])[:, :7].T
    torch.testing.assert_close(effective.W_in[1], by_hand)


def test_float32_is_folded_with_one_rounding(tmp_path: Path) -> None:
    w = draw("two_embeddings", 7, torch.float32)
    model = convert.load(stored(tmp_path, w))
    exact = w["W_y"].double() @ w["W"].double()[5:]
    assert torch.equal(model.W_in[1], exact.float())


# The activation, which no file says ----------------------------------------------------------------

BY_HAND: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: x.clamp(min=0),
    "quadratic": lambda x: x * x,
    "gelu": lambda x: x * (1 + (x / math.sqrt(2)).erf()) / 2,
    "identity": lambda x: x,
}


@pytest.mark.parametrize("p", MODULI)
@pytest.mark.parametrize("biases", [(), ("fc1",), ("fc2",), ("fc1", "fc2")])
@pytest.mark.parametrize("act_fn", [None, *BY_HAND])
def test_a_linear_pair_has_the_biases_of_the_file_and_the_activation_that_is_said(
    tmp_path: Path, p: int, biases: tuple[str, ...], act_fn: str | None
) -> None:
    w = draw("linear_pair", p)
    w |= {f"{each}.bias": w[f"{each}.weight"][:, 0] + 1 for each in biases}
    source = convert.read(stored(tmp_path, w), act_fn=act_fn)
    model, task = source.model(), ModularTask(p)
    assert source.format == "linear_pair"
    assert source.act_fn == act_fn
    cfg = model.cfg
    assert (cfg.act_fn, cfg.dtype) == (act_fn or "quadratic", "float64")
    assert (cfg.bias_in, cfg.bias_out) == ("fc1" in biases, "fc2" in biases)
    x = F.one_hot(task.tokens, p).double().flatten(1)
    pre = x @ w["fc1.weight"].T + w.get("fc1.bias", torch.zeros(10))
    expected = BY_HAND[cfg.act_fn](pre) @ w["fc2.weight"].T + w.get("fc2.bias", torch.zeros(p))
    torch.testing.assert_close(logits_of(model, task.tokens), expected)


@pytest.mark.parametrize("name", MLPS)
def test_another_activation_changes_nothing_else(tmp_path: Path, name: str) -> None:
    path = stored(tmp_path, draw(name))
    papers, other = convert.load(path), convert.load(path, act_fn="gelu")
    assert other.cfg == dataclasses.replace(papers.cfg, act_fn="gelu")
    for key, tensor in papers.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor)
    same = convert.load(path, act_fn=papers.cfg.act_fn)
    assert same.cfg == papers.cfg


def test_biases_of_other_sizes_are_refused(tmp_path: Path) -> None:
    w = draw("linear_pair")
    for name, size, wanted in (("fc1.bias", 7, "d_mlp"), ("fc2.bias", 10, "p")):
        words = rf"{name} has shape \[{size}\], expected \[{wanted}\], where d_mlp=10, p=7 so far"
        with pytest.raises(ValueError, match=words):
            convert.load(stored(tmp_path, w | {name: torch.zeros(size).double()}))


def test_activations_that_cannot_be_chosen(tmp_path: Path) -> None:
    pair = stored(tmp_path, draw("linear_pair"))
    for unknown in ("tanh", "custom"):
        with pytest.raises(ValueError, match=f"act_fn='{unknown}' is unknown: choose one of"):
            convert.read(pair, act_fn=unknown)
    bridge = stored(tmp_path, draw("transformer"))
    assert convert.read(bridge).act_fn is None
    with pytest.raises(ValueError, match=r"act_fn='relu' cannot .*pt, a transformer.*leave it out"):
        convert.read(bridge, act_fn="relu")


# Orientation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [4, 7])
@pytest.mark.parametrize("name", EVERY)
def test_a_transposed_file_is_refused(tmp_path: Path, name: str, p: int) -> None:
    w = {
        key: each.mT.contiguous() if each.ndim == 2 else each for key, each in draw(name, p).items()
    }
    path = stored(tmp_path, w)
    for format in (None, name):
        with pytest.raises(ValueError, match=f"not of format {name}: .* has shape"):
            convert.load(path, format)


@pytest.mark.parametrize("name", MLPS)
def test_a_transposed_file_is_told_to_be_transposed(tmp_path: Path, name: str) -> None:
    w = {key: each.mT.contiguous() if each.ndim == 2 else each for key, each in draw(name).items()}
    with pytest.raises(ValueError, match="every matrix fits transposed: transpose them"):
        convert.load(stored(tmp_path, w))


@pytest.mark.parametrize(
    "kept", [("mlp.W_in", "mlp.W_out"), ("mlp.W_in", "mlp.W_out", "mlp.basis")]
)
def test_two_readings_are_refused_until_the_format_is_named(tmp_path: Path, kept: tuple) -> None:
    """Without the basis, or with as many neurons as tokens, the transpose fits too."""
    p = 10 if len(kept) == 3 else 7
    w = {name: tensor for name, tensor in draw("feature_learning", p).items() if name in kept}
    path, task = stored(tmp_path, w), ModularTask(p)
    both = (
        r"two ways: as feature_learning \(mlp.W_in \[d_mlp, p\].*or as feature_learning with every"
    )
    with pytest.raises(ValueError, match=both + r"(.|\n)*format='feature_learning'"):
        convert.load(path)
    named = convert.load(path, format="feature_learning")
    expected = written_out("feature_learning", w, task.tokens)
    torch.testing.assert_close(named(task.tokens).detach(), expected)
    # The other reading is another network: silence would have been a guess.
    other = {name: tensor.T for name, tensor in w.items()}
    if p == 10:
        wrong = written_out("feature_learning", other, task.tokens)
        assert float((wrong - expected).abs().max()) > 0.1


@pytest.mark.parametrize("name", EVERY)
def test_squares_beside_matrices_that_are_not_square_are_read(tmp_path: Path, name: str) -> None:
    """One matrix that is not square settles the orientation of all."""
    sizes = {
        "text_matrices": {"fc1": (14, 14), "fc2": (14, 7)},
        "linear_pair": {"fc1.weight": (14, 14), "fc2.weight": (7, 14)},
        "pizza": {"unembed.weight": (7, 7), "l1.weight": (7, 10), "l1.bias": (7,)},
        "two_embeddings": {"W": (10, 7), "W_U": (7, 7)},
        "feature_learning": {},
        "transformer": {"blocks.0.mlp.W_in": (9, 9), "blocks.0.mlp.b_in": (9,)}
        | {"blocks.0.mlp.W_out": (9, 9)},
    }[name]
    generator = torch.Generator().manual_seed(0)
    drawn = {key: torch.randn(s, generator=generator).double() for key, s in sizes.items()}
    w, task = draw(name) | drawn, ModularTask(7)
    logits = logits_of(convert.load(stored(tmp_path, w)), task.tokens)
    torch.testing.assert_close(logits, written_out(name, w, task.tokens))


# What does not fit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key", "axis"),
    [
        (name, key, axis)
        for name, shapes in SHAPES.items()
        for key, shape in shapes(7).items()
        for axis in range(len(shape))
    ],
)
def test_every_size_is_checked_wherever_it_occurs(
    tmp_path: Path, name: str, key: str, axis: int
) -> None:
    w = draw(name)
    longer = torch.cat([w[key], w[key].narrow(axis, 0, 1)], axis)
    with pytest.raises(ValueError, match=f"not of format {name}: .* has shape .*, expected"):
        convert.read(stored(tmp_path, w | {key: longer}))
    with pytest.raises(ValueError, match=r"has shape .*, expected"):
        convert.read(stored(tmp_path, w | {key: w[key][None]}), name)


@pytest.mark.parametrize("name", SHAPES)
def test_missing_and_extra_tensors(tmp_path: Path, name: str) -> None:
    w = draw(name)
    first = next(iter(w))
    less = {key: tensor for key, tensor in w.items() if key != first}
    for changed in (less, w | {"b": torch.zeros(3).double()}):
        path = stored(tmp_path, changed)
        with pytest.raises(
            ValueError, match=r"no known format: it holds (.|\n)*\n  linear_pair: fc1"
        ):
            convert.load(path)
        with pytest.raises(ValueError, match=f"not of format {name}: it holds .*, expected"):
            convert.load(path, name)


def test_each_known_format_is_listed_with_what_it_looks_like(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no known format") as caught:
        convert.load(stored(tmp_path, {"weight": torch.zeros(2, 3)}))
    text = str(caught.value)
    assert "weight [2, 3]" in text
    for name in SHAPES:
        assert f"\n  {name}: " in text
    assert "pizza: embed.weight [p, d_embed], l1.weight [d_mlp, 2*d_embed]" in text
    with pytest.raises(ValueError, match="format='pitza' is unknown: choose one of"):
        convert.load(stored(tmp_path, draw("pizza")), "pitza")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda w: {"W": w["W"].float()},
            r"W is torch.float32, expected dense .*\(torch.float64 comes",
        ),
        (lambda w: {name: each.long() for name, each in w.items()}, "W_x is torch.int64"),
        (lambda w: {"W": w["W"].to_sparse()}, "W is torch.float64, expected dense"),
        (lambda w: {"W_U": w["W_U"] * torch.nan}, "W_U holds NaN or infinity"),
        (lambda w: {"W": "text"}, "'W' is a str, expected tensors by name"),
        (lambda w: {3: w["W"]}, "3 is a Tensor, expected tensors by name"),
        (
            lambda w: {"W": 1e200 * w["W"], "W_x": 1e200 * w["W_x"]},
            "read as two_embeddings: W_in holds 56 values that are NaN or infinite",
        ),
    ],
)
def test_tensors_that_are_no_weights(tmp_path: Path, change: Callable, words: str) -> None:
    w = draw("two_embeddings")
    with pytest.raises(ValueError, match=words):
        convert.load(stored(tmp_path, w | change(w)))


@pytest.mark.parametrize("name", EVERY)
def test_p_is_at_least_three(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"read as {name}: .*p >= 3"):
        convert.load(stored(tmp_path, draw(name, 2)))


@needs_bridges
def test_another_mask_is_another_network(tmp_path: Path) -> None:
    w = draw("transformer") | {"blocks.0.attn.mask": torch.ones(3, 3).double()}
    with pytest.raises(ValueError, match=r"mask is .*, expected ones on and below the diagonal"):
        convert.load(stored(tmp_path, w))


# Files that are refused -------------------------------------------------------------------------


class Trap:
    """Unpickled as a program would, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


def traps(folder: Path, target: Path) -> list[Path]:
    """The trap as a bare pickle, in torch's format, in its old format, and among real weights."""
    # Of the protocol that torch itself writes: a newer one is refused before the trap is reached.
    (folder / "bare.pt").write_bytes(pickle.dumps(Trap(target), protocol=2))
    torch.save(Trap(target), folder / "zip.pth")
    torch.save(Trap(target), folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"model": draw("pizza") | {"x": Trap(target)}}, folder / "among.pt")
    return [folder / name for name in ("bare.pt", "zip.pth", "old.pt", "among.pt")]


@pytest.mark.parametrize("number", range(4))
def test_a_file_that_would_run_code_is_refused_and_nothing_runs(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A setting that makes torch.load trust files where a caller leaves the choice to it.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    target = tmp_path / "ran"
    path = traps(tmp_path, target)[number]
    for format in (None, "pizza"):
        words = rf"{path.name} .*run code, which is refused .*GLOBAL (posix|nt)\.mkdir"
        with pytest.raises(ValueError, match=words) as caught:
            convert.load(path, format)
        assert "will likely succeed" not in str(caught.value)
    assert not target.exists()
    # The trap is real: the call that the error names, made by hand, leaves its mark.
    function, arguments = Trap(target).__reduce__()
    function(*arguments)
    assert target.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("container", ["pt", "old", "safetensors"])
def test_truncated_files_are_refused(tmp_path: Path, container: str, share: float) -> None:
    w = draw("pizza")
    if container == "old":
        path = tmp_path / "weights.pth"
        torch.save(w, path, _use_new_zipfile_serialization=False)
    else:
        path = stored(tmp_path, w, container)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=f"{path.name} is not a whole .*download it again"):
        convert.load(path)


@pytest.mark.parametrize(
    "content", [b"fc1,fc2\n1,2\n", b"\x80\x04.", b"PK\x03\x04 and nothing", b"\0" * 99]
)
def test_other_files_under_the_name_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(ValueError, match="is not a whole file of plain tensors"):
        convert.load(tmp_path / "weights.pt")


def test_warnings_of_torch_do_not_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, original = stored(tmp_path, draw("pizza")), torch.load

    def loud(*args: object, **kwargs: object) -> object:
        warnings.warn("TypedStorage is deprecated", stacklevel=1)
        assert kwargs == {"weights_only": True, "map_location": "cpu"}
        return original(*args, **kwargs)

    monkeypatch.setattr(torch, "load", loud)
    assert convert.load(path).cfg.p == 7  # warnings are errors in tests


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ([(1, 2), (3, 4)], "holds a list, expected tensors by name"),
        ({}, "holds a dict, expected tensors by name"),
        ({"model": 3}, "holds a int"),
        ({"model": {}}, "holds a dict"),
        (torch.zeros(3), "holds a Tensor"),
    ],
)
def test_files_without_named_tensors(tmp_path: Path, held: object, words: str) -> None:
    torch.save(held, tmp_path / "data.pth")
    with pytest.raises(ValueError, match=words):
        convert.load(tmp_path / "data.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1,2\n3\n", r"fc1.csv, line 2 has 1 numbers, expected 2 as in line 1"),
        ("1,2\n3,x\n", r"fc1.csv, line 2: 'x' is no plain decimal number; .* between commas"),
        ("1,2\n\n3,4\n", r"fc1.csv, line 2: "),
        ("1,2,\n", r"fc1.csv, line 1: "),
        ("1 2\n", r"fc1.csv, line 1: "),
        ("# 1,2\n", r"fc1.csv, line 1: "),
        ("", r"fc1.csv is empty"),
        ("1,nan\n", r"fc1.csv, line 1: 'nan' is no plain decimal .*, without NaN or infinity"),
        ("1,1e999\n", r"fc1 holds NaN or infinity"),
    ],
)
def test_text_is_read_strictly(tmp_path: Path, content: str, words: str) -> None:
    stored(tmp_path, draw("text_matrices"), "text")
    (tmp_path / "fc1.csv").write_text(content)
    with pytest.raises(ValueError, match=words):
        convert.load(tmp_path)


def test_text_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    w = draw("text_matrices")
    assert torch.equal(convert.read(stored(tmp_path, w, "text")).tensors["fc1"], w["fc1"])
    (tmp_path / "fc2.csv").write_bytes(b"\xff\xfe1,2")
    with pytest.raises(ValueError, match=r"fc2.csv is not text"):
        convert.load(tmp_path)


def test_paths_that_hold_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt does not exist"):
        convert.load(tmp_path / "nowhere.pt")
    (tmp_path / "weights.pkl").touch()
    with pytest.raises(ValueError, match=r"suffix '.pkl', expected .pt, .pth, .safetensors"):
        convert.load(tmp_path / "weights.pkl")
    with pytest.raises(ValueError, match=r"has no fc1.csv and no fc2.csv"):
        convert.load(tmp_path)
    (tmp_path / "fc1.csv").touch()
    with pytest.raises(ValueError, match=r"has no fc2.csv, which"):
        convert.load(tmp_path)
    HookedMLP(p=5, d_mlp=3).save_pretrained(tmp_path / "own")
    with pytest.raises(
        ValueError, match=r"HookedMLP.from_pretrained and a run with Trajectory.load"
    ):
        convert.load(tmp_path / "own")
