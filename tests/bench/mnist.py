"""Shifted MNIST images: ``mnist [REPETITIONS]``, row 12 of methods.md section 7, from the 10,000 test images beside us.

Gaussian noise (deviation 100, 10 and 1 of 255, cut to the range) on a share of the images, and class 0 knocked out by a
share; the published figure is the mean over shares .1, .5 and 1 and five runs, 60,000 training images being theirs.
Ours: 2,000 images find the axes, 4,000 are the reference, windows come from the other 4,000; no window of 10,000 can be
had. Tests look at what an embedding view makes of the pixels (64 axes); those called `pixels` look at all 784.
Ten rows are too few bins for a test, which counts as no rejection.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detectors.multivariate.encode import vector_encoder
from detectors.multivariate.energy import EnergyDistance
from detectors.multivariate.joint import JointDefault
from detectors.multivariate.nystroem import SpectralNystroem
from detectors.multivariate.protocol import JointTest
from detectors.simulate import block_of
from detectors.types import Block, SingleArray
from tests.bench.common import table
from tests.bench.power import LEVEL
from tests.detectors.views import sample_of, view_of
from tests.statistical import data

SIZES = (10, 20, 50, 100, 200, 500, 1000)
SHARES = (0.1, 0.5, 1.0)
NOISE = {"large noise": 100.0, "medium noise": 10.0, "small noise": 1.0}
PUBLISHED = {
    "large noise": (0.53, 0.53, 0.67, 0.73, 0.87, 1.0, 1.0),
    "medium noise": (0.20, 0.27, 0.47, 0.47, 0.80, 0.67, 0.73),
    "small noise": (0.0, 0.07, 0.27, 0.13, 0.20, 0.40, 0.53),
    "knock-out": (0.13, 0.07, 0.27, 0.27, 0.33, 0.40, 0.73),
    "none": (),
}
"""MMDAgg with Laplace kernels, mean over shares (methods.md section 7, row 12)."""

Images = NDArray[np.uint8]


def run(repetitions: str = "10") -> None:
    """Print one table a shift."""
    path = data.ROOT / "mnist_shift" / "mnist_t10k.npz"
    if not path.is_file():
        print(f"skipped: {path} is absent; set DRIFTWARDEN_DATA to the folder that has mnist_shift/")
        return
    with np.load(path) as stored:
        images, labels = stored["images"].reshape(-1, 784), stored["labels"]
    each = [_once(images, labels, np.random.default_rng((12, one))) for one in range(int(repetitions))]
    hits = np.sum(each, axis=0)
    for i, shift in enumerate(PUBLISHED):
        rows = [(name, *(f"{value / int(repetitions):.2f}" for value in hits[i, t])) for t, name in enumerate(_names())]
        published = PUBLISHED[shift] or ("-",) * len(SIZES)
        error = math.sqrt(0.25 / (int(repetitions) * len(SHARES)))
        table(
            f"Power at 5 %: {shift}, mean over shares, {repetitions} repetitions (standard error at most {error:.2f})",
            ("test", *(f"n={n}" for n in SIZES)),
            [("MMDAgg Laplace, published", *published), *rows],
        )


def _tests() -> dict[str, tuple[JointTest, bool]]:
    """Tests and whether they look at the axes or at the pixels."""
    return {
        "joint_min_p": (JointDefault(), True),
        "spectral_mmd": (SpectralNystroem(), True),
        "energy_distance": (EnergyDistance(), True),
        "spectral_mmd, pixels": (SpectralNystroem(), False),
        "energy_distance, pixels": (EnergyDistance(), False),
    }


def _names() -> list[str]:
    return list(_tests())


def _once(images: Images, labels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float64]:
    """Rejections ``(shifts, tests, sizes)``, averaged over shares, of one random split."""
    order = rng.permutation(len(images))
    axes, reference, rest = order[:2000], order[2000:6000], order[6000:]
    encoder = vector_encoder(0, _single(images[axes]), rng)
    if encoder is None:
        raise RuntimeError("the images do not vary")

    def seen(rows: SingleArray, encoded: bool) -> SingleArray:  # noqa: FBT001
        return encoder.encode(Block(*_empty(len(rows)), vectors=(rows,))) if encoded else rows

    tests = _tests()
    views = {flag: view_of(seen(_single(images[reference]), flag), run=1) for flag in (True, False)}
    fixed = {name: test.fit(views[flag], rng) for name, (test, flag) in tests.items()}
    hits = np.zeros((len(PUBLISHED), len(tests), len(SIZES)))
    for i, shift in enumerate(PUBLISHED):
        for share in SHARES:
            shifted = _shifted(images[rest], labels[rest], shift, share, rng)
            for j, n in enumerate(SIZES):
                window = shifted[rng.permutation(len(shifted))[:n]]
                for t, (name, (test, flag)) in enumerate(tests.items()):
                    outcome = test.score(fixed[name], views[flag], sample_of(seen(window, flag), run=1), rng)
                    hits[i, t, j] += (outcome.log_p <= LEVEL) / len(SHARES)
    return hits


def _single(images: Images) -> SingleArray:
    rows: SingleArray = (images / 255).astype(np.float32)
    return rows


def _empty(n: int) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int64]]:
    block = block_of(np.zeros((n, 0)))
    return block.numeric, block.codes, block.faults


def _shifted(
    images: Images, labels: NDArray[np.uint8], shift: str, share: float, rng: np.random.Generator
) -> SingleArray:
    rows = _single(images)
    if shift == "knock-out":
        rows = rows[(labels != 0) | (rng.random(len(rows)) >= share)]
    if shift in NOISE:
        some = rng.random(len(rows)) < share
        noise = NOISE[shift] / 255 * rng.standard_normal((int(some.sum()), rows.shape[1]))
        rows[some] = np.clip(rows[some] + noise, 0, 1)
    return rows
