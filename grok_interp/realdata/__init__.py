"""Images, language and molecules, as problems: the tasks of arXiv 2210.01117 beside modular addition.

=========  ==========================  ======================  ====================================
           the paper's data            without a network       network
=========  ==========================  ======================  ====================================
images     ``"mnist"``                 ``"digits"``            pixels-200-200-10, ReLU; squared
                                                               error against one-hot classes
language   ``"imdb"``                  ``"vader"``             two-layer LSTM, one logit
molecules  ``"qm9"``, polarisability   ``"nci"``, polar        graph convolution, then 16-32-1;
                                       surface area            squared error
=========  ==========================  ======================  ====================================

The data of the middle column ship inside scikit-learn, vaderSentiment and RDKit, and those of the paper
are read by ``datasets``: all four come with ``pip install 'grok-interp[data]'``. Nothing is downloaded
unless ``download=True``. The readers of the paper's data were run on folders of the same schema, never
against the hub; see :mod:`.sources`.

With one seed of the data every size is tested on the same examples, and a smaller training side is the
beginning of a larger one; see :class:`.Pool`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from grok_interp.config import TrainConfig, check_choice
from grok_interp.problems import HELD, Data, Problem, Side, perceptron, seeded
from grok_interp.realdata import graphs, sequences, sources

ImageSource = Literal["digits", "mnist"]
LanguageSource = Literal["vader", "imdb"]
MoleculeSource = Literal["nci", "qm9"]

CLASSES = 10
HIDDEN_WIDTHS = (200, 200)
TOP = {"digits": 16, "mnist": 255}
"""The value of a pixel that is full on."""
HELD_OUT_DIGITS = 797
"""Of 1797, which leaves 1000 to train on."""
IMAGE_SIZES = {"digits": 200, "mnist": 1000}
LANGUAGE_SIZE = 1000
MOLECULE_SIZE = 100
MOST_ATOMS = 32
VOCABULARY = 1000
REVIEW_LENGTH = 500
EVALUATIONS = 20
"""In a run of the default length."""
ALPHABET = "abcdefghijklmnopqrstuvwxyz' -"
"""Of what is kept of vaderSentiment's lexicon, words and phrases such as "can't stand"."""


# Images -------------------------------------------------------------------------------------------


def images(
    source: ImageSource | str = "digits",
    *,
    path: str | Path | None = None,
    download: bool = False,
    size: int | None = None,
    mixing: float = 1.0,
) -> Problem:
    """Handwritten digits and a perceptron.

    ``mixing`` m below 1 is the paper's experiment on the quality of a representation: on both sides the
    network sees ``m image + (1 - m) template``, the template being the mean training image of the
    image's class. Labels of held-out images leak into the inputs by design; it says how a landscape
    depends on the representation, and is no fair test. (In the authors' code a template is a plain grey,
    of a level for each class.)

    Args:
        source: ``"digits"``, which scikit-learn ships, or ``"mnist"``.
        path: Folder with MNIST that ``datasets`` reads: columns image and label, splits train and test.
        download: Whether to load ``ylecun/mnist`` from the hub.
        size: Images to train on; None for 200 digits or 1000 of MNIST.
        mixing: m, 0 to 1.

    Returns:
        A problem of ten classes; ``about`` says what the data are and how they are divided.

    Raises:
        ValueError: If an argument is out of range, or the data are not as described. Below mixing 1,
            drawing raises it where a class has no training image.
        ConnectionError: If a download fails.
        ImportError: If a package is missing.
    """
    check_choice("source", source, ImageSource)
    if not 0 <= mixing <= 1:
        raise ValueError(
            f"mixing={mixing!r} must be in [0, 1]: 1 for images, 0 for templates alone"
        )
    if source == "digits":
        _check_offline(source, "scikit-learn", path, download)
        pixels, labels = _digits()
        pool = sources.Pool(source, len(labels), held_out=HELD_OUT_DIGITS)
        about = f"scikit-learn's {len(labels)} digits"
    else:
        pixels, labels, own_test = sources.mnist(path, download)
        pool = sources.Pool(source, len(labels), own_test, held_out=own_test)
        about = f"MNIST from {path or sources.MNIST.hub}, {len(labels)} images"
    size = IMAGE_SIZES[source] if size is None else size
    pool.check(size)

    def data(seed: int, size: int) -> Data:
        sides = [
            Side((pixels[rows] / TOP[source],), labels[rows]) for rows in pool.draw(seed, size)
        ]
        train, test = sides if mixing == 1 else _mixed(sides, mixing)
        return Data(train, test)

    def network(seed: int) -> nn.Module:
        return perceptron((pixels.shape[1], *HIDDEN_WIDTHS, CLASSES), nn.ReLU, seed)

    largest = labels.bincount().max().item() / len(labels)
    about += f", {pixels.shape[1]} pixels of 0 to 1, the largest class {largest:.1%}; {pool}"
    if mixing < 1:
        about += (
            f"; {mixing} of each image and {1 - mixing:g} of its class's mean training image, on both sides, "
            "so that held-out labels leak into the inputs by design"
        )
    return Problem(
        name=source if mixing == 1 else f"{source}, mixing {mixing}",
        network=network,
        data=data,
        loss="mse_one_hot",
        size=size,
        train=_held(batch_size=100, steps=10_000 if source == "mnist" else 2000),
        about=about,
    )


@cache
def _digits() -> tuple[Tensor, Tensor]:
    return sources.digits()


def _mixed(sides: list[Side], mixing: float) -> list[Side]:
    train, _ = sides
    member = F.one_hot(train.targets, CLASSES).to(train.inputs[0].dtype)
    count = member.sum(0)
    if not bool((count > 0).all()):
        absent = (count == 0).nonzero().flatten().tolist()
        raise ValueError(
            f"mixing={mixing}: classes {absent} have no image among the {len(train)} to train on, so no "
            "template; choose a larger size"
        )
    templates: Float[Tensor, "classes pixels"] = member.T @ train.inputs[0] / count[:, None]
    return [
        Side((mixing * side.inputs[0] + (1 - mixing) * templates[side.targets],), side.targets)
        for side in sides
    ]


# Language -----------------------------------------------------------------------------------------


def language(
    source: LanguageSource | str = "vader",
    *,
    path: str | Path | None = None,
    download: bool = False,
    size: int | None = None,
) -> Problem:
    """Whether a text is positive, and an LSTM.

    Of vaderSentiment's lexicon the words and phrases are read letter by letter; the label is whether
    their mean rating is above 0. What holds anything but letters, spaces, hyphens and apostrophes is left
    out, so most emoticons are, but not those made of letters, such as xd.

    Of IMDb the first 500 words of a review that are among the 1000 most frequent of the training side.
    Since that depends on the side, so do the ids of words, and the sides of two sizes share reviews
    rather than ids. The held-out reviews are 1000 drawn from the test split: on all 25,000 an evaluation
    takes minutes.

    Args:
        source: ``"vader"``, which vaderSentiment ships, or ``"imdb"``.
        path: Folder with IMDb that ``datasets`` reads: columns text and label (0 or 1), splits train
            and test.
        download: Whether to load ``stanfordnlp/imdb`` from the hub.
        size: Texts to train on; None for 1000, or as many as there are.

    Returns:
        A problem of one logit; ``about`` says what the data are and how they are divided.

    Raises:
        ValueError: If an argument is out of range, or the data are not as described.
        ConnectionError: If a download fails.
        ImportError: If a package is missing.
    """
    check_choice("source", source, LanguageSource)
    if source == "vader":
        _check_offline(source, "vaderSentiment", path, download)
        return _vader(size)
    return _imdb(path, download, size)


def _vader(size: int | None) -> Problem:
    tokens, labels, about = _lexicon()
    pool = sources.Pool("vader", len(labels))

    def data(seed: int, size: int) -> Data:
        train, test = (Side((tokens[rows],), labels[rows]) for rows in pool.draw(seed, size))
        return Data(train, test)

    return _binary(pool, data, len(ALPHABET), size, f"{about}; {pool}", steps=500)


@cache
def _lexicon() -> tuple[Tensor, Tensor, str]:
    ratings, lines = sources.lexicon()
    kept = [token for token in ratings if set(token) <= set(ALPHABET)]
    known = {letter: place for place, letter in enumerate(ALPHABET, 1)}
    tokens = sequences.ids(kept, known, max(map(len, kept)))
    labels = torch.tensor([int(ratings[token] > 0) for token in kept])
    about = (
        f"vaderSentiment's lexicon of {lines} lines: {lines - len(ratings)} repeat a token (the last "
        f"counts), {len(ratings) - len(kept)} tokens are emoticons or have digits or signs and are left out, "
        f"{len(kept)} words and phrases are kept, read by letters; {_majority(labels)}. Inflected forms "
        "(abuse, abused) fall on both sides, so held-out words are not all new"
    )
    return tokens, labels, about


def _imdb(path: str | Path | None, download: bool, size: int | None) -> Problem:
    texts, labels, own_test = sources.imdb(path, download)
    pool = sources.Pool("imdb", len(texts), own_test)

    def data(seed: int, size: int) -> Data:
        rows = pool.draw(seed, size)
        sides = [[sequences.words(texts[row]) for row in side.tolist()] for side in rows]
        known = sequences.vocabulary(sides[0], VOCABULARY)
        train, test = (
            Side((sequences.ids(side, known, REVIEW_LENGTH),), labels[index])
            for side, index in zip(sides, rows, strict=True)
        )
        return Data(train, test)

    about = (
        f"IMDb from {path or sources.IMDB.hub}, {len(texts)} reviews, the first {REVIEW_LENGTH} words of the "
        f"{VOCABULARY} most frequent on the training side; {_majority(labels)}; {pool}"
    )
    return _binary(pool, data, VOCABULARY, size, about, steps=200)


def _binary(
    pool: sources.Pool,
    data: Callable[[int, int], Data],
    symbols: int,
    size: int | None,
    about: str,
    steps: int,
) -> Problem:
    size = min(LANGUAGE_SIZE, pool.most) if size is None else size
    pool.check(size)
    return Problem(
        name=pool.source,
        network=lambda seed: seeded(seed, lambda: sequences.LSTM(symbols)),
        data=data,
        loss="binary",
        size=size,
        train=_held(batch_size=100, steps=steps),
        about=about,
    )


# Molecules ----------------------------------------------------------------------------------------


def molecules(
    source: MoleculeSource | str = "nci",
    *,
    path: str | Path | None = None,
    download: bool = False,
    size: int | None = None,
) -> Problem:
    """A number for each molecule, and a graph convolution.

    Targets are standardised with mean and standard deviation of the training side, so a mean squared
    error of 1 is that of the training mean. Molecules that RDKit cannot read, those of more than 32
    atoms besides hydrogen, and those that were there before are left out and counted in ``about``.
    Reading takes some three seconds for 10,000 molecules.

    Args:
        source: ``"nci"``, which RDKit ships, with the topological polar surface area; or ``"qm9"``, with
            the isotropic polarisability.
        path: Folder with QM9 that ``datasets`` reads: columns smiles and alpha. Its splits are joined.
        download: Whether to load ``raphavlas/qm9_v2`` from the hub.
        size: Molecules to train on; None for 100, or as many as there are.

    Returns:
        A problem of one value; ``about`` says what the data are and how they are divided.

    Raises:
        ValueError: If an argument is out of range, or the data are not as described. Drawing raises it
            where all targets to train on are equal.
        ConnectionError: If a download fails.
        ImportError: If a package is missing.
    """
    check_choice("source", source, MoleculeSource)
    if source == "nci":
        _check_offline(source, "RDKit", path, download)
        molecule, values, about = _nci()
    else:
        molecule, values, about = _kept(*sources.qm9(path, download))
        about = f"polarisability of QM9 from {path or sources.QM9.hub}: {about}"
    pool = sources.Pool(source, len(values))
    size = min(MOLECULE_SIZE, pool.most) if size is None else size
    pool.check(size)

    def data(seed: int, size: int) -> Data:
        train, test = pool.draw(seed, size)
        deviation, mean = torch.std_mean(values[train], correction=0)
        if not deviation > 0:
            raise ValueError(
                f"the {size} targets to train on are all {mean.item():g}, so they cannot be standardised: "
                "choose a larger size"
            )
        targets = ((values - mean) / deviation).float().unsqueeze(-1)
        side = Side((molecule.atoms, molecule.adjacency), targets)
        return Data(side.rows(train), side.rows(test))

    return Problem(
        name=source,
        network=lambda seed: seeded(seed, graphs.GraphConvolution),
        data=data,
        loss="mse",
        size=size,
        train=_held(batch_size=32, steps=2000),
        about=f"{about}; standardised by the training side; {pool}",
    )


@cache
def _nci() -> tuple[graphs.Graphs, Tensor, str]:
    molecule, values, about = _kept(*sources.nci())
    return molecule, values, f"polar surface area of RDKit's NCI molecules: {about}"


def _kept(smiles: list[str], values: Tensor) -> tuple[graphs.Graphs, Tensor, str]:
    molecule = graphs.from_smiles(smiles, MOST_ATOMS)
    dropped = ", ".join(f"{count} {why}" for why, count in molecule.dropped.items())
    about = f"{len(molecule.kept)} of {len(smiles)} are kept, without {dropped}"
    return molecule, values[molecule.kept], about


# All ----------------------------------------------------------------------------------------------


def _check_offline(source: str, package: str, path: object, download: bool) -> None:
    if path is not None or download:
        raise ValueError(
            f"source={source!r} ships in {package}, but got path={path!r} and download={download}: leave "
            "both out"
        )


def _majority(labels: Tensor) -> str:
    positive = labels.double().mean().item()
    share, sign = max((positive, "positive"), (1 - positive, "negative"))
    return f"{share:.1%} are {sign}"


def _held(batch_size: int, steps: int) -> TrainConfig:
    """The paper's Adam on the sphere (without decay its AdamW is the same)."""
    return TrainConfig(
        steps=steps,
        lr=1e-3,
        betas=(0.9, 0.999),
        batch_size=batch_size,
        eval_every=steps // EVALUATIONS,
        **HELD,
    )
