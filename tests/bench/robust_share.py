"""Share of drift energy in weak directions: ``robust_share [REPETITIONS]``; natural changes against attacks.

Simulated tables of known share (measured along the axes that the reference gave), then the images of mnist_shift seen
through an embedding view of their pixels: corruptions, white-box attacks, other mixes of classes, letters. Windows of
500 images are drawn from the 1,000 of each set; the reference is 3,500 other images, the axes come from 2,000 more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from detectors.multivariate import robust_share
from detectors.multivariate.encode import MOST_AXES, vector_encoder
from detectors.multivariate.robust_share import RobustShare
from detectors.simulate import block_of
from detectors.types import Block, FloatArray, SingleArray, View
from tests.bench.common import table
from tests.detectors.views import sample_of, view_of
from tests.statistical import data

CHARACTERS = (
    robust_share.NATURAL,
    robust_share.MIXED,
    robust_share.PERTURBATION,
    robust_share.NOT_ESTABLISHED,
)
WINDOW = 500
WIDTH = 40

Draw = Callable[[np.random.Generator], SingleArray]


def run(repetitions: str = "20") -> None:
    """Print the tables."""
    _tables(int(repetitions))
    _images(int(repetitions))


def _tables(repetitions: int) -> None:
    rng = np.random.default_rng(8)
    spread = np.linspace(3.0, 0.2, WIDTH)
    turn = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]

    def rows(n: int, shift: FloatArray) -> FloatArray:
        made: FloatArray = (rng.standard_normal((n, WIDTH)) * spread + shift) @ turn
        return made

    view = view_of(rows(8000, np.zeros(WIDTH)), run=8)
    fixed = robust_share.fit(view)
    found = []
    for name, shift in _shifts(spread):
        seen = [robust_share.robust_share(fixed, view, sample_of(rows(1000, shift), run=8)) for _ in range(repetitions)]
        moved = np.square(shift @ turn @ fixed.axes)
        true = moved[int(fixed.strong) :].sum() / moved.sum() if moved.any() else np.nan
        told = [one for one in seen if one.character != robust_share.NOT_ESTABLISHED]
        covered = np.mean([one.low <= true <= one.high for one in told]) if told and moved.any() else np.nan
        found.append((name, f"{moved.sum():.3f}", f"{true:.2f}", *_summary(seen), f"{covered:.2f}"))
    headings = ("shift", "true energy", "true share", "energy", "share", *CHARACTERS, "interval covers")
    table(f"Simulated table, {WIDTH} columns, windows of 1,000 rows, {repetitions} repetitions", headings, found)


def _shifts(spread: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    """Nothing; all columns alike; each by its deviation; the five strongest ones."""
    yield "none", np.zeros(WIDTH)
    for size in (0.05, 0.1, 0.2):
        yield f"alike in every direction, {size}", np.full(WIDTH, 3 * size / np.sqrt(WIDTH))
        yield f"like the data, {size}", size * spread
        yield f"five strongest, {size}", np.where(np.arange(WIDTH) < 5, 2 * size * spread, 0.0)


def _images(repetitions: int) -> None:
    folder = data.ROOT / "mnist_shift"
    if not folder.is_dir():
        print(f"skipped: {folder} is absent; set DRIFTWARDEN_DATA to the folder that has mnist_shift/")
        return
    for axes in (MOST_AXES, 256):
        rng = np.random.default_rng(12)
        view, seen, sets = _pixels(axes, rng)
        fixed = robust_share.fit(view)
        found = []
        for name, images in sets:
            windows = (sample_of(seen(images[rng.permutation(len(images))[:WINDOW]]), 1) for _ in range(repetitions))
            found.append((name, *_summary([robust_share.robust_share(fixed, view, one) for one in windows])))
        law = robust_share.robust_share(fixed, view, view.sample)
        axes_told = f"MNIST, {law.axes} axes, {law.strong} strong"
        title = f"{axes_told}: a data-like shift has {law.expected:.2f}, at most {law.most:.2f}"
        table(f"{title}; {repetitions} windows of {WINDOW}", ("set", "energy", "share", *CHARACTERS), found)


def _pixels(
    axes: int, rng: np.random.Generator
) -> tuple[View, Callable[[SingleArray], SingleArray], list[tuple[str, SingleArray]]]:
    """A view of digits, how it sees images, and sets of changed ones."""
    folder = data.ROOT / "mnist_shift"
    stored, corrupted, attacked, mixes, letters = (
        np.load(folder / f"{name}.npz")
        for name in ("mnist_t10k", "corrupted", "adversarial", "label_shift_indices", "notmnist_first5000")
    )
    digits, part = _single(stored["images"]), stored["split"]
    mine = rng.permutation(np.flatnonzero(part < 2))
    encoder = vector_encoder(0, digits[mine[:2000]], rng, axes)
    if encoder is None:
        raise RuntimeError("the images do not vary")

    def seen(rows: SingleArray) -> SingleArray:
        empty = block_of(np.zeros((len(rows), 0)))
        return encoder.encode(Block(empty.numeric, empty.codes, empty.faults, vectors=(rows,)))

    sets = [("other digits, nothing changed", digits[part == 2])]
    sets += [(name, digits[np.intersect1d(mixes[name], np.flatnonzero(part == 2))]) for name in mixes.files]
    sets += [(str(name), _single(rows)) for name, rows in zip(corrupted["names"], corrupted["images"], strict=True)]
    sets += [("letters", _single(letters["images"]))]
    sets += [(str(name), _single(rows)) for name, rows in zip(attacked["names"], attacked["images"], strict=True)]
    return view_of(seen(digits[mine[2000:]]), run=1), seen, sets


def _single(images: NDArray[np.uint8]) -> SingleArray:
    rows: SingleArray = (images.reshape(len(images), -1) / 255).astype(np.float32)
    return rows


def _summary(seen: list[RobustShare]) -> tuple[str, ...]:
    """Mean energy, mean share where established, and how often each character was told."""
    count = Counter(one.character for one in seen)
    shares = [one.share for one in seen if one.character != robust_share.NOT_ESTABLISHED]
    mean = f"{np.mean(shares):.2f}" if shares else "-"
    return (
        f"{np.mean([one.energy for one in seen]):.3f}",
        mean,
        *(f"{count[one] / len(seen):.2f}" for one in CHARACTERS),
    )
