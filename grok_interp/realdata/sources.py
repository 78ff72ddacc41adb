"""Real data as they are published: in the files of an installed package, or read by ``datasets``.

=======  ====================================  ==========================================================
source   where it is                           what it is
=======  ====================================  ==========================================================
digits   inside scikit-learn                   1797 handwritten digits, 8 by 8 pixels of 0 to 16
vader    inside vaderSentiment                 words and emoticons, rated by ten people (Hutto and
                                               Gilbert, ICWSM 2014)
nci      inside RDKit                          molecules of the National Cancer Institute, with their
                                               topological polar surface area (Ertl et al., J. Med.
                                               Chem. 43, 2000)
mnist    ``datasets``, ylecun/mnist            handwritten digits, 28 by 28 pixels of 0 to 255
imdb     ``datasets``, stanfordnlp/imdb        film reviews, for or against
qm9      ``datasets``, raphavlas/qm9_v2        molecules of up to 9 heavy atoms, with their polarisability
=======  ====================================  ==========================================================

How examples are divided is :class:`Pool`. The first three sources need no network. The others read a
folder, or download when asked to. Caveat: those readers were run on folders of the same schema, and
never against the hub.

The polar surface area is computed, a sum over nitrogens and oxygens by their surroundings: a rule to be
found, not a measurement.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

MNIST_SIDE = 28
DIGITS = range(10)
SENTIMENTS = range(2)
HELD_OUT = 1000
"""Held out of a source, unless it has fewer than twice as many or a smaller test split of its own."""
TPSA_FILE = Path("NCI", "first_5k.tpsa.csv")
"""SMILES and surface area on each line, in RDKit's folder of data; first_5K.smi has the same SMILES."""


@dataclass(frozen=True)
class Published:
    """A data set that ``datasets`` reads.

    Attributes:
        name: What it is called here.
        call: The function that it is for.
        hub: Its name on the hub.
        columns: Columns that are used.
        splits: Splits that it must have; empty if all it has are taken together.
        offline: The source of the same kind that needs no network.
    """

    name: str
    call: str
    hub: str
    columns: tuple[str, ...]
    splits: tuple[str, ...]
    offline: str

    def __str__(self) -> str:
        return f"{self.call}(source={self.name!r})"

    @property
    def alternative(self) -> str:
        """What does without a network."""
        return f"source={self.offline!r}, which needs no network"


MNIST = Published(
    "mnist", "images", "ylecun/mnist", ("image", "label"), ("train", "test"), "digits"
)
IMDB = Published(
    "imdb", "language", "stanfordnlp/imdb", ("text", "label"), ("train", "test"), "vader"
)
QM9 = Published("qm9", "molecules", "raphavlas/qm9_v2", ("smiles", "alpha"), (), "nci")


def needed(module: str, package: str, what: str) -> ModuleType:
    """Import a module of the extra ``data``.

    Args:
        module: Its full name.
        package: What provides it, for the error.
        what: What needs it, for the error.

    Returns:
        The module.

    Raises:
        ImportError: Saying what needs which package, and how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{what} needs {package}: pip install 'grok-interp[data]' ({error})"
        ) from error


@dataclass(frozen=True)
class Pool:
    """How the examples of a source are divided.

    A seed draws the held-out examples first and then an order of the others, of which the first
    ``size`` are trained on.

    Attributes:
        source: Name of the source.
        examples: How many there are.
        own_test: How many of them, the last, are a test split that the source came with; 0 for none.
        held_out: How many to test on, at most.
    """

    source: str
    examples: int
    own_test: int = 0
    held_out: int = HELD_OUT

    @property
    def tested(self) -> int:
        """How many are tested on."""
        return min(self.held_out, self.own_test or self.examples // 2)

    @property
    def most(self) -> int:
        """How many can be trained on."""
        return self.examples - (self.own_test or self.tested)

    def check(self, size: int) -> None:
        """Raise ``ValueError`` unless so many can be trained on."""
        if not isinstance(size, int) or not 1 <= size <= self.most:
            raise ValueError(
                f"size={size!r}: source={self.source!r} has {self.most} examples to train on beside those "
                f"held out; choose 1 to {self.most}"
            )

    def draw(
        self, seed: int, size: int
    ) -> tuple[Int[Tensor, " trained"], Int[Tensor, " held_out"]]:
        """Draw the examples of a seed.

        Args:
            seed: The seed.
            size: How many to train on, from 1 to :attr:`most`.

        Returns:
            Indices of the examples to train on, and of those held out.

        Raises:
            ValueError: If there are not so many.
        """
        self.check(size)
        generator = torch.Generator().manual_seed(seed)
        if self.own_test:
            first = self.examples - self.own_test
            test = first + torch.randperm(self.own_test, generator=generator)[: self.tested]
            return torch.randperm(first, generator=generator)[:size], test
        test, others = torch.randperm(self.examples, generator=generator).tensor_split(
            [self.tested]
        )
        return others[:size], test

    def __str__(self) -> str:
        origin = f"its own {self.own_test}" if self.own_test else f"{self.examples}"
        return f"{self.tested} of {origin} are held out, {self.most} are there to train on"


# In packages --------------------------------------------------------------------------------------


def digits() -> tuple[UInt8[Tensor, "images pixels"], Int[Tensor, " images"]]:
    """Pixels, 0 to 16, and labels of scikit-learn's digits; ``ImportError`` if that is missing."""
    package = needed("sklearn.datasets", "scikit-learn", "images(source='digits')")
    pixels, labels = package.load_digits(return_X_y=True)
    return torch.from_numpy(pixels).to(torch.uint8), torch.from_numpy(labels).long()


def lexicon() -> tuple[dict[str, float], int]:
    """Mean ratings of vaderSentiment's lexicon.

    Of a token on several lines the last counts, as in vaderSentiment itself.

    Returns:
        Mean rating, -4 to 4, of every token, and how many lines the lexicon has.

    Raises:
        ImportError: If vaderSentiment is missing.
    """
    package = needed("vaderSentiment", "vaderSentiment", "language(source='vader')")
    text = resources.files(package).joinpath("vader_lexicon.txt").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line]
    return {token: float(mean) for token, mean, *_ in rows}, len(rows)


def nci() -> tuple[list[str], Float[Tensor, " molecules"]]:
    """Topological polar surface areas of RDKit's NCI molecules.

    Returns:
        SMILES, and areas in square angstroms.

    Raises:
        FileNotFoundError: If RDKit was installed without its folder of data.
        ImportError: If RDKit is missing.
    """
    config = needed("rdkit.RDConfig", "rdkit", "molecules(source='nci')")
    file = Path(config.RDDataDir) / TPSA_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist, so this RDKit came without its data: install the wheel, "
            "pip install 'grok-interp[data]'"
        )
    lines = file.read_text(encoding="utf-8").splitlines()
    rows = [line.rsplit(",", 1) for line in lines if not line.startswith("#")]
    areas = torch.tensor([float(area) for _, area in rows], dtype=torch.float64)
    return [smiles for smiles, _ in rows], areas


# Through datasets ---------------------------------------------------------------------------------


def mnist(
    path: str | Path | None, download: bool
) -> tuple[UInt8[Tensor, "images pixels"], Int[Tensor, " images"], int]:
    """Images and labels of MNIST; arguments and errors as for :func:`read`.

    Returns:
        Pixels, 0 to 255, and labels, the test split last; and how many images that has.

    Raises:
        ValueError: If an image is not 28 by 28 pixels, or a label is none of 0 to 9.
    """
    splits, where = read(MNIST, path, download)
    needed("PIL.Image", "Pillow", str(MNIST))
    decoded = needed("datasets", "datasets", str(MNIST)).Image()
    pixels, labels = [], []
    for split in splits.values():
        for image in split.cast_column("image", decoded)["image"]:
            array = np.asarray(image.convert("L"))
            if array.shape != (MNIST_SIDE, MNIST_SIDE):
                raise ValueError(
                    f"{where} has an image of {list(array.shape)} pixels, expected "
                    f"{[MNIST_SIDE, MNIST_SIDE]}: pass a folder with the images of MNIST"
                )
            pixels.append(array.reshape(-1))
        labels += _classes(split["label"][:], DIGITS, where)
    return torch.from_numpy(np.stack(pixels)), torch.tensor(labels), len(splits["test"])


def imdb(path: str | Path | None, download: bool) -> tuple[list[str], Int[Tensor, " reviews"], int]:
    """Film reviews of IMDb; arguments and errors as for :func:`read`.

    Returns:
        Texts and labels, 1 for praise and 0 for blame, the test split last; and how many reviews that has.

    Raises:
        ValueError: If a review is no text, or a label is neither 0 nor 1.
    """
    splits, where = read(IMDB, path, download)
    texts: list[str] = []
    labels: list[int] = []
    for split in splits.values():
        texts += _strings(split["text"][:], "text", where)
        labels += _classes(split["label"][:], SENTIMENTS, where)
    return texts, torch.tensor(labels), len(splits["test"])


def qm9(path: str | Path | None, download: bool) -> tuple[list[str], Float[Tensor, " molecules"]]:
    """Molecules of QM9, of all its splits together; arguments and errors as for :func:`read`.

    Returns:
        SMILES, and isotropic polarisabilities in cubic bohr.

    Raises:
        ValueError: If a SMILES is no text, or a polarisability is missing or not finite.
    """
    splits, where = read(QM9, path, download)
    smiles: list[str] = []
    values: list[Any] = []
    for split in splits.values():
        smiles += _strings(split["smiles"][:], "smiles", where)
        values += split["alpha"][:]
    alpha = torch.from_numpy(np.array(values, dtype=np.float64))
    unknown = int((~alpha.isfinite()).sum())
    if unknown:
        raise ValueError(
            f"{where} has {unknown} rows whose alpha is missing or not finite: leave those rows out"
        )
    return smiles, alpha


def read(
    published: Published, path: str | Path | None, download: bool
) -> tuple[dict[str, Any], str]:
    """Read a data set from a folder, or from the hub.

    Args:
        published: The data set.
        path: Folder that ``datasets.load_dataset`` reads, such as one with ``data/train.parquet``.
        download: Whether to load it from the hub, or from the copy that ``datasets`` keeps of it.

    Returns:
        Its splits by name, and where they were read from.

    Raises:
        ValueError: If neither or both are given, the folder cannot be read, or the data lack a split or a
            column.
        FileNotFoundError: If there is no such folder.
        ConnectionError: If the download failed. The hub's client tries for some 20 seconds first.
        ImportError: If ``datasets`` is missing.
    """
    if path is not None and download:
        raise ValueError(f"{published} got path={str(path)!r} and download=True: choose one")
    if path is None and not download:
        raise ValueError(
            f"{published} downloads nothing unasked: pass download=True for {published.hub} from the hub, "
            f"path= for a folder with it, or {published.alternative}"
        )
    datasets = needed("datasets", "datasets", str(published))
    where = published.hub if path is None else str(path)
    loaded = (
        _downloaded(datasets, published)
        if path is None
        else _read_folder(datasets, published, Path(path))
    )
    names = published.splits or tuple(loaded)
    _check_names("splits", where, names, tuple(loaded))
    for name in names:
        _check_names(f"columns in {name}", where, published.columns, loaded[name].column_names)
    return {name: loaded[name] for name in names}, where


def _downloaded(datasets: ModuleType, published: Published) -> Mapping[str, Any]:
    try:
        loaded: Mapping[str, Any] = datasets.load_dataset(published.hub)
    except Exception as error:
        # The clients of the hub raise what their HTTP library raises, which differs between versions.
        raise ConnectionError(
            f"the download of {published.hub} failed ({type(error).__name__}: {error}): try again with a "
            f"network, pass path= for a folder with it, or {published.alternative}"
        ) from error
    return loaded


def _read_folder(datasets: ModuleType, published: Published, folder: Path) -> Mapping[str, Any]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is no folder: pass one with {published.name}, or {published.alternative}"
        )
    script = folder / f"{folder.resolve().name}.py"
    if script.exists():
        raise ValueError(
            f"{script} is a script that datasets before 4.0 would run: pass a folder of data files alone"
        )
    try:
        loaded: Mapping[str, Any] = datasets.load_dataset(str(folder))
    except Exception as error:
        raise ValueError(
            f"datasets cannot read {folder} ({type(error).__name__}: {error}): expected files such as "
            f"data/train.parquet with columns {', '.join(published.columns)}"
        ) from error
    return loaded


def _check_names(what: str, where: str, expected: Sequence[str], found: Sequence[str]) -> None:
    missing = [name for name in expected if name not in found]
    if missing:
        raise ValueError(
            f"{where} lacks the {what} {', '.join(missing)}; it has {', '.join(found)}: rename them, or "
            "pass another folder"
        )


def _strings(values: Sequence[Any], column: str, where: str) -> list[str]:
    wrong = [value for value in values if not isinstance(value, str)]
    if wrong:
        raise ValueError(
            f"{where} has {len(wrong)} rows whose {column} is no text, such as {wrong[0]!r}: leave those "
            "rows out"
        )
    return list(values)


def _classes(values: Sequence[Any], expected: range, where: str) -> list[int]:
    wrong = [value for value in values if value not in expected]
    if wrong:
        raise ValueError(
            f"{where} has {len(wrong)} labels such as {wrong[0]!r}, expected {expected.start} to "
            f"{expected.stop - 1}: leave those rows out"
        )
    return list(values)
