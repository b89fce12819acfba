"""What is attacked: data, a trained model, and how a row of it stands in the log.

Every task lives in the box [0, 1]^d, so that sizes of steps mean the same everywhere. `glyphs` is made by a law and has
rows without end; the others are real data and need the folder of `tests.statistical.data`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.types import Block, CodeArray, FloatArray, IntArray, SingleArray
from tests.attacks.models import Network, train
from tests.statistical import data


@dataclass(frozen=True)
class Columns:
    """How a table's row stands in the log: ``raw = expm1(low + x * span)``, then codes; honest values are on a grid.

    ``step`` is the distance of the grid's points: honest rows hold multiples of it.
    """

    names: tuple[str, ...]
    low: FloatArray
    span: FloatArray
    step: float
    categories: tuple[int, ...] = ()


@dataclass(frozen=True)
class Task:
    """A model with its rows. The first ``free`` coordinates can be moved by a sender; the others are one-hot codes.

    ``train`` made the model, ``reference`` is trusted and unseen by it, ``test`` is live traffic: ``(n, d)`` float32 in
    [0, 1] with ``..._labels (n,)``. ``image`` is height and width, (0, 0) for a table.
    """

    name: str
    network: Network
    train: SingleArray
    train_labels: IntArray
    reference: SingleArray
    reference_labels: IntArray
    test: SingleArray
    test_labels: IntArray
    free: int
    image: tuple[int, int] = (0, 0)
    columns: Columns | None = None

    @property
    def classes(self) -> int:
        """Number of classes, C."""
        return len(self.network.biases[-1])

    def answer(self, x: SingleArray) -> SingleArray:
        """The model's probabilities."""
        return self.network.probabilities(x)

    def natural(self, x: FloatArray | SingleArray) -> SingleArray:
        """The nearest rows, of those that begin with the ``free`` coordinates, that a careful sender can send.

        Images of 8 bits, and table's values on their grid.
        """
        free, rest = np.clip(x[:, : self.free].astype(np.float64), 0.0, 1.0), x[:, self.free :]
        if self.columns is None:
            return (np.rint(free * 255) / 255).astype(np.float32)
        raw = np.expm1(self.columns.low + free * self.columns.span)
        raw = np.log1p(np.rint(raw / self.columns.step) * self.columns.step)
        moved = np.clip((raw - self.columns.low) / self.columns.span, 0.0, 1.0)
        return np.column_stack([moved, rest]).astype(np.float32)

    def block(self, x: SingleArray) -> Block:
        """The rows as the monitor decodes them: an image in ``vectors``, a table in ``numeric`` and ``codes``."""
        n = len(x)
        if self.columns is None:
            empty = np.zeros((n, 0), order="F")
            vector = np.asarray(x, np.float32)
            return Block(empty, empty.astype(np.int32), np.zeros(0, np.int64), vectors=(vector,))
        raw = np.expm1(self.columns.low + x[:, : self.free].astype(np.float64) * self.columns.span)
        near = np.rint(raw / self.columns.step) * self.columns.step
        numeric = np.asfortranarray(np.where(np.abs(raw - near) < 1e-5 * (1 + np.abs(near)), near, raw))
        codes = _codes(self.columns, x[:, self.free :])
        return Block(numeric, codes, np.zeros(numeric.shape[1] + codes.shape[1], np.int64))


def _codes(columns: Columns, hot: SingleArray) -> CodeArray:
    codes = np.zeros((len(hot), len(columns.categories)), np.int32, order="F")
    for j, (start, size) in enumerate(zip(np.cumsum((0, *columns.categories)), columns.categories, strict=False)):
        codes[:, j] = hot[:, start : start + size].argmax(axis=1)
    return codes


@cache
def glyphs(seed: int = 0) -> Task:
    """Images of five soft spots that stand, by class, in other places: 20 x 20, rounded to 1/255, rows without end."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0.2, 0.8, (10, 5, 2))
    labels = rng.integers(0, 10, 12_000)
    images = draw(places, labels, rng)
    parts = np.split(np.arange(12_000), (3000, 9000))
    return _task("glyphs", (images, labels), parts, ((64,), 15), free=400, image=(20, 20))


GRAIN = 0.01
"""Noise of the glyphs' camera."""


def draw(places: FloatArray, labels: IntArray, rng: np.random.Generator, grain: float = GRAIN) -> SingleArray:
    """One image for each label, ``(n, 400)``: turned, shifted, scaled, each spot a little out of place, with noise."""
    side = 20
    n = len(labels)
    turn, size = rng.normal(0, 0.15, n), rng.normal(1, 0.08, n)
    around = (places[labels] - 0.5) * size[:, None, None]
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    x = around[..., 0] * cos - around[..., 1] * sin + rng.normal(0.5, 0.03, (n, 1)) + rng.normal(0, 0.02, (n, 5))
    y = around[..., 0] * sin + around[..., 1] * cos + rng.normal(0.5, 0.03, (n, 1)) + rng.normal(0, 0.02, (n, 5))
    width = np.exp(rng.normal(np.log(0.07), 0.15, (n, 5)))[..., None]
    light = rng.uniform(0.6, 1.0, (n, 5, 1))
    axis = (np.arange(side) + 0.5) / side
    across = light * np.exp(-0.5 * ((axis - x[..., None]) / width) ** 2)
    down = np.exp(-0.5 * ((axis - y[..., None]) / width) ** 2)
    images = np.einsum("nki,nkj->nij", down, across).reshape(n, -1) + rng.normal(0, grain, (n, side * side))
    return np.asarray(np.rint(np.clip(images, 0, 1) * 255) / 255, np.float32)


def more_glyphs(number: int, rng: np.random.Generator, seed: int = 0, grain: float = GRAIN) -> SingleArray:
    """Further rows of the law of `glyphs`."""
    places = np.random.default_rng(seed).uniform(0.2, 0.8, (10, 5, 2))
    return draw(places, rng.integers(0, 10, number), rng, grain)


@cache
def mnist(*, hidden: tuple[int, ...] = (64,)) -> Task:
    """The 10,000 test digits: 5,000 trained on, 2,500 reference, 2,500 live (their ``split``)."""
    path = data.ROOT / "mnist_shift" / "mnist_t10k.npz"
    if not path.is_file():
        raise data.AbsentError(f"{path} is absent; set DRIFTWARDEN_DATA to the folder that has mnist_shift/")
    with np.load(path) as stored:
        images = (stored["images"].reshape(-1, 784) / np.float32(255)).astype(np.float32)
        labels, split = stored["labels"].astype(np.int64), stored["split"]
    parts = [np.flatnonzero(split == part) for part in (0, 1, 2)]
    return _task("mnist", (images, labels), parts, (hidden, 12), free=784, image=(28, 28))


@cache
def letters() -> SingleArray:
    """5,000 images of letters, foreign to the digits' model: ``(5000, 784)``."""
    path = data.ROOT / "mnist_shift" / "notmnist_first5000.npz"
    if not path.is_file():
        raise data.AbsentError(f"{path} is absent; set DRIFTWARDEN_DATA to the folder that has mnist_shift/")
    with np.load(path) as stored:
        return np.asarray(stored["images"].reshape(-1, 784) / np.float32(255), np.float32)


@cache
def spambase() -> Task:
    """4,601 mails in 57 numbers, logarithms scaled to [0, 1]."""
    table = data.table("poisoning", "spambase_stream.parquet")
    names = tuple(name for name in table.column_names if name.startswith(("word_", "char_", "capital_")))
    raw = np.column_stack([table.column(name).to_numpy() for name in names]).astype(np.float64)
    truth = data.table("poisoning", "spambase_truth.parquet")
    kept = truth.column("kind").to_numpy() == 0
    label = table.column("label_given").to_numpy()[kept].astype(np.int64)
    x, columns = _scaled(raw[kept], names, 0.001)
    return _table("spambase", x, label, (1800, 3000), columns, hidden=(32,))


@cache
def adult() -> Task:
    """48,842 census rows: 6 numbers that a sender can move and 8 categories; is the income above 50,000?"""
    table = data.table("adult", "adult.parquet")
    numbers = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
    words = [name for name in table.column_names if name not in numbers and name != "class"]
    raw = np.column_stack([table.column(name).to_numpy() for name in numbers]).astype(np.float64)
    x, columns = _scaled(raw, numbers, 1.0)
    codes = [_dense(table.column(name)) for name in words]
    sizes = tuple(int(code.max()) + 1 for code in codes)
    hot = [np.eye(size, dtype=np.float32)[code] for code, size in zip(codes, sizes, strict=True)]
    label = _dense(table.column("class"))
    whole = Columns((*numbers, *words), columns.low, columns.span, columns.step, sizes)
    return _table("adult", np.column_stack([x, *hot]).astype(np.float32), label, (8000, 18000), whole, hidden=(32,))


def _scaled(raw: FloatArray, names: tuple[str, ...], step: float) -> tuple[SingleArray, Columns]:
    value = np.log1p(raw)
    low, span = value.min(axis=0), np.ptp(value, axis=0)
    span = np.where(span > 0, span, 1.0)
    return ((value - low) / span).astype(np.float32), Columns(names, low, span, step)


def _dense(column: pa.ChunkedArray) -> IntArray:
    plain = column.cast(pa.string()).combine_chunks()
    return np.asarray(pc.fill_null(pc.dictionary_encode(plain, "encode").indices, 0).to_numpy(), np.int64)


def _table(
    name: str, x: SingleArray, label: IntArray, cuts: tuple[int, int], columns: Columns, hidden: tuple[int, ...]
) -> Task:
    parts = np.split(np.random.default_rng(2).permutation(len(x)), cuts)
    return _task(name, (x, label), parts, (hidden, 20), free=len(columns.low), columns=columns)


def _task(
    name: str,
    rows: tuple[SingleArray, IntArray],
    parts: list[IntArray],
    learning: tuple[tuple[int, ...], int],
    *,
    free: int,
    image: tuple[int, int] = (0, 0),
    columns: Columns | None = None,
) -> Task:
    """Train on the first part; ``learning`` are the hidden layers and the epochs."""
    x, label = rows
    first, second, third = parts
    rng, (hidden, epochs) = np.random.default_rng(1), learning
    network = train(x[first], label[first], int(label.max()) + 1, rng, hidden=hidden, epochs=epochs)
    return Task(
        name, network, x[first], label[first], x[second], label[second], x[third], label[third], free, image, columns
    )
