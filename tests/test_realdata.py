"""Real data against what their packages say of them, and the networks against their equations.

The readers of MNIST, IMDb and QM9 are held to folders of the published schema; nothing here may reach
the network.
"""

import importlib.util
import itertools
import math
import re
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import datasets
import huggingface_hub.constants
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolDescriptors
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from grok_interp import realdata
from grok_interp.problems import Data, Problem, Side
from grok_interp.realdata import graphs, sequences, sources

OFFLINE = [realdata.images, realdata.language, realdata.molecules]
PUBLISHED = [(realdata.images, "mnist"), (realdata.language, "imdb"), (realdata.molecules, "qm9")]
MOLECULES = ["CCO", "C1CCCCC1", "c1ccccc1O", "NC(=O)C", "CC(C)(C)Br", "C#N", "O", "CCCCCl"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Fails the test that looks up a host or connects to one."""
    tried: list[object] = []

    def refuse(*args: object, **kwargs: object) -> None:
        tried.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    yield
    assert not tried


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes splits as parquet files, as they are published."""

    def write(features: dict[str, object] | None = None, **splits: dict[str, list]) -> Path:
        for name, columns in splits.items():
            kinds = datasets.Features(features) if features else None
            file = tmp_path / "set" / "data" / f"{name}-00000-of-00001.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            datasets.Dataset.from_dict(columns, kinds).to_parquet(file)
        return tmp_path / "set"

    return write


def rows(side: Side) -> list[bytes]:
    """Each example's inputs as bytes, so that examples can be compared."""
    flat = [tensor.flatten(1).numpy() for tensor in side.inputs]
    return [b"".join(array[row].tobytes() for array in flat) for row in range(len(side))]


def fitted(problem: Problem, data: Data, steps: int) -> Tensor:
    """The mean loss of the held-out examples after full-batch Adam."""
    network = problem.network(0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        problem.losses(network(*data.train.inputs), data.train.targets).mean().backward()
        optimizer.step()
    with torch.no_grad():
        return problem.losses(network(*data.test.inputs), data.test.targets).mean()


# Draws --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", OFFLINE)
def test_the_sides_share_nothing_and_smaller_ones_begin_larger_ones(
    make: Callable[..., Problem],
) -> None:
    problem = make()
    small, large, other = problem.data(3, 40), problem.data(3, 700), problem.data(4, 40)
    assert [len(small.train), len(large.train)] == [40, 700]
    assert rows(small.train) == rows(large.train)[:40]
    assert rows(small.test) == rows(large.test)
    assert rows(small.train) != rows(other.train)
    assert rows(small.test) != rows(other.test)
    if make is not realdata.molecules:  # graphs repeat where only the kinds of bonds differ
        assert not set(rows(large.train)) & set(rows(large.test))
        assert len(set(rows(large.train))) == 700


@pytest.mark.parametrize("make", OFFLINE)
def test_all_follows_from_seeds_and_global_generators_stay(make: Callable[..., Problem]) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    problem, again = make(), make()
    first, second, third = problem.network(1), again.network(1), problem.network(2)
    a, b = problem.data(1, 30), again.data(1, 30)
    drawn = torch.rand(()), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    assert drawn == (torch.rand(()), np.random.rand())  # noqa: NPY002
    assert rows(a.train) == rows(b.train)
    torch.testing.assert_close(a.train.targets, b.train.targets, rtol=0, atol=0)
    for one, two, three in zip(*(n.parameters() for n in (first, second, third)), strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, three)


@pytest.mark.parametrize("make", OFFLINE)
@pytest.mark.parametrize("size", [0, 100_000])
def test_a_size_that_is_not_there_is_refused(make: Callable[..., Problem], size: int) -> None:
    expected = rf"size={size}: source='\w+' has \d+ examples .* choose 1 to \d+"
    with pytest.raises(ValueError, match=expected):
        make(size=size)
    with pytest.raises(ValueError, match=expected):
        make().data(0, size)


@pytest.mark.parametrize(("own_test", "held_out"), [(0, 1000), (0, 30), (40, 1000), (40, 30)])
def test_draws_divide_a_source(own_test: int, held_out: int) -> None:
    pool = sources.Pool("source", 110, own_test, held_out)
    own = set(range(110 - own_test, 110))
    expected = min(held_out, own_test) if own_test else min(held_out, 55)
    tested = []
    for seed in range(20):
        train, test = (set(rows.tolist()) for rows in pool.draw(seed, pool.most))
        assert len(test) == expected
        assert (train, test & own) == (set(range(110)) - (own or test), test if own else set())
        some, same = pool.draw(seed, 7)
        assert torch.equal(some, pool.draw(seed, 9)[0][:7])
        assert set(same.tolist()) == test
        tested.append(test)
    # Whichever may be held out is, in some draw.
    assert set.union(*tested) == (own or set(range(110)))


# Images -------------------------------------------------------------------------------------------


def test_digits_are_all_there() -> None:
    data = realdata.images().data(0, 1000)
    assert len(data.test) == 797
    everything = set(rows(data.train)) | set(rows(data.test))
    pixels, labels = sources.digits()
    assert len(everything) == len(pixels) == 1797
    assert everything == set(rows(Side((pixels / 16,), labels)))
    # Counts of the digits 0 to 9 in the test set of the UCI repository's data 80.
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert torch.cat([data.train.targets, data.test.targets]).bincount().tolist() == counts
    assert data.train.inputs[0].shape == (1000, 64)
    assert data.train.inputs[0].aminmax() == (0, 1)
    assert "largest class 10.2%" in realdata.images().about


def test_digits_are_learned_and_permuted_labels_are_not() -> None:
    problem = realdata.images()
    data = problem.data(0, problem.size)
    # A network that gives each class .1 has .9 * .01 + .1 * .81 = .09.
    assert fitted(problem, data, 120) < 0.03
    permuted = data.train.targets[
        torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    ]
    assert fitted(problem, Data(Side(data.train.inputs, permuted), data.test), 120) > 0.08


def test_mixing_is_with_the_mean_training_image_of_the_class() -> None:
    plain = realdata.images().data(0, 300)
    mixed = realdata.images(mixing=0.25).data(0, 300)
    for side, before in ((mixed.train, plain.train), (mixed.test, plain.test)):
        assert torch.equal(side.targets, before.targets)
        for index in range(0, len(side), 37):
            same_class = plain.train.targets == before.targets[index]
            template = plain.train.inputs[0][same_class].mean(0)
            expected = 0.25 * before.inputs[0][index] + 0.75 * template
            torch.testing.assert_close(side.inputs[0][index], expected)


def test_templates_alone_give_held_out_labels_away() -> None:
    problem = realdata.images(mixing=0.0)
    data = problem.data(0, 300)
    template = {
        int(label): row for label, row in zip(data.train.targets, rows(data.train), strict=True)
    }
    assert len(set(template.values())) == 10
    assert rows(data.test) == [template[int(label)] for label in data.test.targets]
    assert "leak" in problem.about


def test_a_class_without_a_template_is_refused() -> None:
    with pytest.raises(ValueError, match=r"classes \[.+\] have no image among the 5 .* larger"):
        realdata.images(mixing=0.5).data(0, 5)


@pytest.mark.parametrize("mixing", [-0.1, 1.5, math.nan])
def test_mixing_is_a_share(mixing: float) -> None:
    with pytest.raises(ValueError, match=rf"mixing={mixing} must be in \[0, 1\]"):
        realdata.images(mixing=mixing)


# Language -----------------------------------------------------------------------------------------


def lexicon() -> dict[str, float]:
    """The lexicon as vaderSentiment itself reads it."""
    text = resources.files("vaderSentiment").joinpath("vader_lexicon.txt").read_text("utf-8")
    pairs = (line.split("\t")[:2] for line in text.rstrip("\n").split("\n") if line)
    return {word: float(mean) for word, mean in pairs}


def test_words_are_labelled_as_they_are_rated() -> None:
    data, ratings = realdata.language().data(0, 6220), lexicon()
    alphabet = "\0" + realdata.ALPHABET
    labels = {}
    for side in (data.train, data.test):
        for ids, label in zip(side.inputs[0].tolist(), side.targets.tolist(), strict=True):
            labels["".join(alphabet[each] for each in ids).rstrip("\0")] = label
    assert len(labels) == 7220
    assert all(label == (ratings[word] > 0) for word, label in labels.items())
    assert [labels[word] for word in ("happy", "abandon", "can't stand", "fed up")] == [1, 0, 0, 0]
    left_out = ratings.keys() - labels.keys()
    assert {":)", "gr8", "<3", "O.o"} <= left_out
    assert not any(re.fullmatch(r"[a-z]+", word) for word in left_out)


def test_the_account_of_the_lexicon_adds_up() -> None:
    about = realdata.language().about
    numbers = re.search(r"(\d+) lines: (\d+) repeat.*, (\d+) tokens.*, (\d+) words", about)
    assert numbers is not None
    lines, repeated, left_out, kept = map(int, numbers.groups())
    ratings = lexicon()
    words = [word for word in ratings if set(word) <= set(realdata.ALPHABET)]
    assert lines == 7520 == repeated + left_out + kept
    assert (repeated, kept) == (lines - len(ratings), len(words))
    negative = sum(ratings[word] < 0 for word in words) / kept
    assert f"{negative:.1%} are negative" in about


def test_the_lstm_does_not_see_padding() -> None:
    network = realdata.language().network(0)
    texts = torch.randint(1, 29, (6, 11), generator=torch.Generator().manual_seed(0))
    lengths = [11, 1, 4, 7, 2, 10]
    padded = torch.stack(
        [
            F.pad(text[:length], (0, 30 - length))
            for text, length in zip(texts, lengths, strict=True)
        ]
    )
    alone = [network(text[None, :length]) for text, length in zip(texts, lengths, strict=True)]
    torch.testing.assert_close(network(padded), torch.cat(alone))
    assert not torch.allclose(network(padded[:, :9]), torch.cat(alone), atol=1e-4)


def test_the_lstm_reads_from_the_first_to_the_last_symbol() -> None:
    network = realdata.language().network(0)
    text = torch.randint(1, 29, (1, 8), generator=torch.Generator().manual_seed(1))
    for place in range(8):
        changed = text.clone()
        changed[0, place] = text[0, place] % 28 + 1
        assert not torch.equal(network(changed), network(text))
    # The published network in its own words: two layers, and the second's last hidden state.
    _, (hidden, _) = network.lstm(network.embed(text))
    torch.testing.assert_close(network(text), network.out(hidden[1]))
    sizes = {name: tuple(weight.shape) for name, weight in network.named_parameters()}
    assert sizes["embed.weight"] == (30, 64)
    assert sizes["lstm.weight_hh_l1"] == (4 * 128, 128)
    assert "lstm.weight_hh_l2" not in sizes


def test_padding_stays_zero_and_an_empty_text_has_an_answer() -> None:
    network = realdata.language().network(0)
    ids = torch.tensor([[3, 4, 0], [0, 0, 0]])
    logits = network(ids)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[1:], network(torch.tensor([[0]])))
    logits.sum().backward()
    assert not network.embed.weight[0].any()
    assert not network.embed.weight.grad[0].any()
    assert network.embed.weight.grad[3].any()


def test_words_and_their_ids() -> None:
    text = "It's <br /><br />the BEST film, isn't it? 10/10"
    assert sequences.words(text) == ["it's", "the", "best", "film", "isn't", "it"]
    known = sequences.vocabulary([["b", "a", "c"], ["c", "a"], ["d"]], 3)
    assert known == {"a": 1, "c": 2, "b": 3}
    found = sequences.ids([["d", "c", "x", "b"], ["a"] * 5, []], known, 3)
    assert found.tolist() == [[2, 3, 0], [1, 1, 1], [0, 0, 0]]


# Molecules ----------------------------------------------------------------------------------------


def test_ethanol_by_hand() -> None:
    found = graphs.from_smiles(["CCO"], 32)
    columns = dict(zip(graphs.FEATURES, found.atoms[0].T.tolist(), strict=True))
    assert columns.pop(6) == [1, 1, 0]
    assert columns.pop(8) == [0, 0, 1]
    assert columns.pop("bonds") == [1, 2, 1]
    assert columns.pop("hydrogens") == [3, 2, 1]
    assert not any(any(values) for values in columns.values())
    a, b = 1 / 2, 1 / math.sqrt(6)
    expected = torch.tensor([[a, b, 0], [b, 1 / 3, b], [0, b, a]])
    torch.testing.assert_close(found.adjacency[0], expected)


def test_features_of_charges_rings_and_rare_elements() -> None:
    found = graphs.from_smiles(["c1cc[nH+]cc1", "[Na+].[O-]C"], 32)
    total = {
        name: found.atoms[..., column].sum(1).tolist()
        for column, name in enumerate(graphs.FEATURES)
    }
    assert total["aromatic"] == [6, 0]
    assert total["charge"] == [1, 0]
    assert total["hydrogens"] == [6, 3]
    assert total["other"] == [0, 1]
    assert total[6] == [5, 1]
    assert total["bonds"] == [12, 2]


def test_adjacency_is_symmetric_with_the_eigenvector_of_degrees() -> None:
    smiles, _ = sources.nci()
    found = graphs.from_smiles(smiles[:200], 32)
    assert torch.equal(found.adjacency, found.adjacency.mT)
    # D^-1/2 (A + I) D^-1/2 maps D^1/2 1 to itself, and D is the number of bonds plus one.
    real = found.atoms.any(-1)
    root = (found.atoms[..., graphs.FEATURES.index("bonds")] + 1).sqrt() * real
    torch.testing.assert_close(torch.einsum("mab,mb->ma", found.adjacency, root), root)
    assert torch.linalg.eigvalsh(found.adjacency).abs().max() < 1 + 1e-5
    assert torch.equal(found.adjacency.diagonal(dim1=1, dim2=2) > 0, real)


def test_what_is_left_out_is_counted(capfd: pytest.CaptureFixture[str]) -> None:
    smiles = ["CCO", "C1CC", "OCC", "C[C@H](F)Cl", "C[C@@H](F)Cl", "CCCCC", "C", "[13CH4]", ""]
    found = graphs.from_smiles(smiles, 4)
    assert found.kept.tolist() == [0, 3, 6]
    assert found.dropped == {"unreadable": 2, "of more than 4 atoms": 1, "repeated": 3}
    assert found.atoms.shape[:2] == (3, 4)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError, match=r"none of 1 molecules is left .* at most 4 atoms"):
        graphs.from_smiles(["CCCCC"], 4)


def test_targets_belong_to_their_molecules() -> None:
    """Of a graph in the data, RDKit's own surface area is the target that stands beside it."""
    problem = realdata.molecules()
    data = problem.data(0, 3705)
    smiles, _ = sources.nci()
    found = graphs.from_smiles(smiles, 32)
    named = dict(
        zip(
            rows(Side((found.atoms, found.adjacency), found.kept)), found.kept.tolist(), strict=True
        )
    )
    once = {row for row, times in Counter(rows(data.train) + rows(data.test)).items() if times == 1}
    areas, targets = [], []
    for side in (data.train, data.test):
        for row, target in zip(rows(side), side.targets[:, 0].tolist(), strict=True):
            if row in once:
                molecule = Chem.MolFromSmiles(smiles[named[row]])
                areas.append(rdMolDescriptors.CalcTPSA(molecule))
                targets.append(target)
    assert len(areas) > 4500
    areas, targets = torch.tensor(areas), torch.tensor(targets)
    shift, slope = np.polynomial.polynomial.polyfit(areas, targets, 1)
    agree = (targets - (shift + slope * areas)).abs() < 1e-2
    assert agree.double().mean() > 0.998
    rolled = (targets.roll(1) - (shift + slope * areas)).abs() < 1e-2
    assert rolled.double().mean() < 0.1


def test_published_areas_are_those_of_rdkit() -> None:
    smiles, areas = sources.nci()
    assert len(smiles) == len(areas) == 4999
    folder = Path(Chem.RDConfig.RDDataDir) / "NCI"
    assert smiles == [
        line.split("\t")[0] for line in (folder / "first_5K.smi").read_text().splitlines()
    ]
    own = [rdMolDescriptors.CalcTPSA(Chem.MolFromSmiles(text)) for text in smiles[:300]]
    torch.testing.assert_close(areas[:300], torch.tensor(own).double(), rtol=0, atol=0.02)


def test_targets_are_standardised_by_the_training_side() -> None:
    data = realdata.molecules().data(0, 500)
    deviation, mean = torch.std_mean(data.train.targets, correction=0)
    torch.testing.assert_close(torch.stack([deviation, mean]), torch.tensor([1.0, 0.0]))
    held_out_deviation, held_out_mean = torch.std_mean(data.test.targets, correction=0)
    assert 1e-3 < abs(held_out_mean) < 0.2
    assert 1e-3 < abs(held_out_deviation - 1) < 0.2
    with pytest.raises(ValueError, match=r"the 1 targets to train on are all .* larger size"):
        realdata.molecules().data(0, 1)


def test_the_account_of_the_molecules_adds_up() -> None:
    numbers = re.search(
        r"(\d+) of (\d+) are kept, without (\d+) unreadable, (\d+) of more than 32 atoms, (\d+) repeated",
        realdata.molecules().about,
    )
    assert numbers is not None
    kept, read, *dropped = map(int, numbers.groups())
    assert (read, kept) == (4999, 4999 - sum(dropped))
    with rdBase.BlockLogs():
        every = [Chem.MolFromSmiles(text) for text in sources.nci()[0]]
    small = [each for each in every if each is not None and each.GetNumHeavyAtoms() <= 32]
    names = {Chem.MolToSmiles(each, isomericSmiles=False) for each in small}
    assert dropped == [every.count(None), read - every.count(None) - len(small), len(small) - kept]
    assert kept == len(names)


def test_areas_are_learned_and_those_of_other_molecules_are_not() -> None:
    problem = realdata.molecules()
    data = problem.data(0, 300)
    assert fitted(problem, data, 200) < 0.5
    rolled = Data(Side(data.train.inputs, data.train.targets.roll(1, 0)), data.test)
    assert fitted(problem, rolled, 200) > 0.9


def test_the_graph_network_is_its_equation() -> None:
    network = realdata.molecules().network(0)
    found = graphs.from_smiles(MOLECULES, 32)
    w = {name: weight.detach() for name, weight in network.named_parameters()}
    given = network(found.atoms, found.adjacency)
    for index, text in enumerate(MOLECULES):
        molecule = Chem.MolFromSmiles(text)
        n_atoms = molecule.GetNumAtoms()
        near = {atom: {atom} for atom in range(n_atoms)}
        for bond in molecule.GetBonds():
            for a, b in itertools.permutations((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())):
                near[a].add(b)
        total = torch.zeros(16)
        for a in range(n_atoms):
            gathered = sum(
                found.atoms[index, b] / math.sqrt(len(near[a]) * len(near[b])) for b in near[a]
            )
            total += (w["convolution.weight"] @ gathered + w["convolution.bias"]).relu()
        hidden = (w["hidden.weight"] @ total + w["hidden.bias"]).relu()
        torch.testing.assert_close(given[index], w["out.weight"] @ hidden + w["out.bias"])


def test_the_graph_network_sees_neither_order_nor_padding() -> None:
    network = realdata.molecules().network(0)
    found = graphs.from_smiles(MOLECULES, 32)
    expected = network(found.atoms, found.adjacency)
    order = torch.randperm(found.atoms.shape[1], generator=torch.Generator().manual_seed(0))
    permuted = network(found.atoms[:, order], found.adjacency[:, order][:, :, order])
    torch.testing.assert_close(permuted, expected)
    padded = network(F.pad(found.atoms, (0, 0, 0, 5)), F.pad(found.adjacency, (0, 5, 0, 5)))
    torch.testing.assert_close(padded, expected)
    # Atoms permuted without their bonds are another molecule.
    assert not torch.allclose(network(found.atoms[:, order], found.adjacency), expected, atol=1e-3)


@pytest.mark.parametrize("make", [realdata.images, realdata.molecules])
def test_stacked_networks_are_the_single_ones(make: Callable[..., Problem]) -> None:
    problem = make()
    inputs = problem.data(0, 20).train.inputs
    networks = [problem.network(seed) for seed in range(3)]
    parameters, buffers = stack_module_state(networks)
    one: nn.Module = problem.network(0)
    stacked = vmap(lambda *state: functional_call(one, state, inputs))(parameters, buffers)
    torch.testing.assert_close(stacked, torch.stack([each(*inputs) for each in networks]))
    losses = problem.losses(stacked, problem.data(0, 20).train.targets)
    assert losses.shape == (3, 20)


# Through datasets ---------------------------------------------------------------------------------


def mnist_like(n: int, seed: int) -> tuple[dict[str, list], np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)
    columns = {"image": [Image.fromarray(each) for each in pixels], "label": [*range(10)] * n}
    return {name: values[:n] for name, values in columns.items()}, pixels


MNIST_FEATURES = {
    "image": datasets.Image(),
    "label": datasets.ClassLabel(names=[str(digit) for digit in range(10)]),
}


def test_mnist_from_a_folder(folder: Callable[..., Path]) -> None:
    train, train_pixels = mnist_like(30, 0)
    test, test_pixels = mnist_like(20, 1)
    path = folder(MNIST_FEATURES, train=train, test=test)
    problem = realdata.images("mnist", path=path, size=12)
    for pixels, side in zip(
        (train_pixels, test_pixels),
        (problem.data(0, 30).train, problem.data(0, problem.size).test),
        strict=True,
    ):
        labels = {
            (each.reshape(-1) / 255).astype(np.float32).tobytes(): index % 10
            for index, each in enumerate(pixels)
        }
        assert {
            row: int(label) for row, label in zip(rows(side), side.targets, strict=True)
        } == labels
    assert [layer.in_features for layer in problem.network(0) if isinstance(layer, nn.Linear)] == [
        784,
        200,
        200,
    ]
    assert str(path) in problem.about
    with pytest.raises(ValueError, match="has 30 examples to train on"):
        realdata.images("mnist", path=path)


def test_imdb_from_a_folder(folder: Callable[..., Path]) -> None:
    train = {"text": [f"<br />Good {'fine ' * n}day" for n in range(12)], "label": [1, 0, 1] * 4}
    test = {"text": ["a bad day, good", "fine " * 600, "unseen"], "label": [0, 1, 0]}
    path = folder(train=train, test=test, unsupervised={"text": ["x"], "label": [-1]})
    problem = realdata.language("imdb", path=path)
    assert problem.size == 12
    data = problem.data(0, 12)
    # By frequency on the training side: "fine" 66 times, "day" and "good" 12 times each.
    fine, day, good = 1, 2, 3
    expected = {(good, *[fine] * n, day): train["label"][n] for n in range(12)}
    for side, wanted in (
        (data.train, expected),
        (data.test, {(day, good): 0, (fine,) * 500: 1, (): 0}),
    ):
        assert side.inputs[0].shape[1] == 500
        texts = [tuple(each for each in ids if each) for ids in side.inputs[0].tolist()]
        assert dict(zip(texts, side.targets.tolist(), strict=True)) == wanted
    logits = problem.network(0)(*data.test.inputs)
    assert problem.losses(logits, data.test.targets).isfinite().all()


def test_qm9_from_a_folder(folder: Callable[..., Path]) -> None:
    values = [float(3 + place) ** 2 for place in range(len(MOLECULES))]
    half = len(MOLECULES) // 2
    splits = {
        name: {"index": [0] * half, "smiles": MOLECULES[part], "alpha": values[part]}
        for name, part in (("train", slice(half)), ("validation", slice(half, None)))
    }
    problem = realdata.molecules("qm9", path=folder(**splits))
    assert problem.size == half
    data = problem.data(0, half)
    found = graphs.from_smiles(MOLECULES, 32)
    assert found.kept.tolist() == list(range(len(MOLECULES)))
    known = dict(zip(rows(Side((found.atoms, found.adjacency), found.kept)), values, strict=True))
    trained = torch.tensor([known[row] for row in rows(data.train)])
    for side in (data.train, data.test):
        alpha = torch.tensor([known.pop(row) for row in rows(side)])
        expected = (alpha - trained.mean()) / trained.std(correction=0)
        torch.testing.assert_close(side.targets, expected[:, None])
    assert not known


def test_a_missing_column_or_split_is_named(folder: Callable[..., Path]) -> None:
    path = folder(train={"smiles": ["C"], "polarizability": [1.0]})
    with pytest.raises(
        ValueError, match=r"lacks the columns in train alpha; it has smiles, polarizability"
    ):
        realdata.molecules("qm9", path=path)
    with pytest.raises(ValueError, match=r"lacks the splits test; it has train"):
        realdata.language("imdb", path=path)


@pytest.mark.parametrize(
    ("make", "source", "columns", "message"),
    [
        (realdata.language, "imdb", {"text": ["a", "b"], "label": [1, 2]}, "1 labels such as 2"),
        (realdata.language, "imdb", {"text": ["a", None], "label": [1, 0]}, "1 rows whose text"),
        (realdata.molecules, "qm9", {"smiles": ["C", "CC"], "alpha": [1.0, None]}, "2 rows whose"),
        (
            realdata.images,
            "mnist",
            {"image": [Image.new("L", (8, 8))], "label": [1]},
            r"an image of \[8, 8\] pixels, expected \[28, 28\]",
        ),
        (
            realdata.images,
            "mnist",
            {"image": [Image.new("L", (28, 28))], "label": [10]},
            "1 labels such as 10, expected 0 to 9",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    folder: Callable[..., Path],
    make: Callable[..., Problem],
    source: str,
    columns: dict[str, list],
    message: str,
) -> None:
    integers = {"image": datasets.Image(), "label": datasets.Value("int64")}
    features = integers if source == "mnist" else None
    path = folder(features, train=columns, test=columns)
    with pytest.raises(ValueError, match=message):
        make(source, path=path)


@pytest.mark.parametrize(("make", "source"), PUBLISHED)
def test_a_folder_that_cannot_be_read(
    make: Callable[..., Problem], source: str, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent is no folder.*needs no network"):
        make(source, path=tmp_path / "absent")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"datasets cannot read .*damaged .*expected files such"):
        make(source, path=damaged)
    (damaged / "damaged.py").write_text("raise SystemExit('this was run')\n")
    with pytest.raises(ValueError, match=r"damaged\.py is a script .* data files alone"):
        make(source, path=damaged)


@pytest.mark.parametrize(("make", "source"), PUBLISHED)
def test_nothing_is_downloaded_unasked(
    make: Callable[..., Problem], source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: pytest.fail("asked"))
    with pytest.raises(
        ValueError, match=r"nothing unasked: pass download=True .* path= .* source="
    ):
        make(source)
    with pytest.raises(ValueError, match=r"download=True: choose one"):
        make(source, path=tmp_path, download=True)


@pytest.mark.parametrize(("make", "source"), PUBLISHED)
def test_a_failed_download_names_what_works_offline(
    make: Callable[..., Problem], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    offline = {"mnist": "digits", "imdb": "vader", "qm9": "nci"}[source]
    with pytest.raises(
        ConnectionError, match=rf"of [\w/-]+ failed .*'{offline}', which needs no"
    ) as info:
        make(source, download=True)
    assert "offline" in str(info.value).lower()
    assert isinstance(make(offline), Problem)


def test_a_failure_of_any_kind_is_one_of_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError(f"{name} answered 503")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(ConnectionError, match=r"RuntimeError: ylecun/mnist answered 503"):
        realdata.images("mnist", download=True)


@pytest.mark.parametrize("make", OFFLINE)
def test_sources_are_named_in_errors(
    make: Callable[..., Problem], unchecked: None, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"source='cifar' is unknown: choose one of '\w+', '\w+'"):
        make("cifar")
    for options in ({"download": True}, {"path": tmp_path}):
        with pytest.raises(ValueError, match=r"source='\w+' ships in \w+.* leave both out"):
            make(**options)


# Packages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "source", "package", "hidden"),
    [
        (realdata.images, "digits", "scikit-learn", ["sklearn", "sklearn.datasets"]),
        (realdata.language, "vader", "vaderSentiment", ["vaderSentiment"]),
        (realdata.molecules, "nci", "rdkit", ["rdkit", "rdkit.RDConfig", "rdkit.Chem"]),
        *((make, source, "datasets", ["datasets"]) for make, source in PUBLISHED),
    ],
)
def test_a_missing_package_says_what_to_install(
    make: Callable[..., Problem],
    source: str,
    package: str,
    hidden: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for cached in (realdata._digits, realdata._lexicon, realdata._nci):
        cached.cache_clear()
    for module in hidden:
        monkeypatch.setitem(sys.modules, module, None)
    expected = (
        rf"{make.__name__}\(source='{source}'\) needs {package}: pip install 'grok-interp\[data\]'"
    )
    with pytest.raises(ImportError, match=expected):
        make(source, path=tmp_path if package == "datasets" else None)


@pytest.mark.parametrize("module", [realdata, graphs, sequences, sources])
def test_importing_needs_no_extra(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sklearn", "vaderSentiment", "rdkit", "datasets", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)
    spec = importlib.util.spec_from_file_location("imported_again", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "imported_again", again)
    spec.loader.exec_module(again)
    assert again.__doc__ == module.__doc__
