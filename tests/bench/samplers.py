"""The data of the published power tables: two samples from a seed."""

from __future__ import annotations

from itertools import product

import numpy as np

from detectors.types import FloatArray

Pair = tuple[FloatArray, FloatArray]


def mixture(rng: np.random.Generator, n: int, scale: float, m: int | None = None, mu: float = 20.0) -> Pair:
    """Four Gaussians at (+-mu, +-mu); the fourth of the second sample has deviation ``scale`` (MMD-FUSE)."""
    centres = mu * np.array([(1, 1), (-1, 1), (1, -1), (-1, -1)])

    def draw(rows: int, last: float) -> FloatArray:
        mode = rng.integers(0, 4, rows)
        noise = rng.standard_normal((rows, 2))
        noise[mode == 3] *= last
        return centres[mode] + noise

    return draw(n, 1.0), draw(n if m is None else m, scale)


def _bump(x: FloatArray) -> FloatArray:
    """The function G of MMDAgg 5.4: a bump on (-1, -1/2), its negative on (-1/2, 0)."""

    def smooth(t: FloatArray) -> FloatArray:
        inside = np.abs(t) < 1
        return np.where(inside, np.exp(-1 / np.where(inside, 1 - t**2, 1)), 0.0)

    return smooth(4 * x + 3) - smooth(4 * x + 1)


def _perturbation(x: FloatArray, p: int, signs: FloatArray) -> FloatArray:
    """Sum over the cells of signs times products of bumps: ``x (n, d)`` to ``(n,)``."""
    bumps = np.stack([_bump(x * p - j) for j in range(1, p + 1)], axis=2)
    total = np.zeros(len(x))
    for sign, cell in zip(signs, product(range(p), repeat=x.shape[1]), strict=True):
        total += sign * np.prod(bumps[:, np.arange(x.shape[1]), list(cell)], axis=1)
    return total


def perturbed_uniform(rng: np.random.Generator, n: int, d: int, p: int, amplitude: float, m: int | None = None) -> Pair:
    """Perturbed uniform on the unit cube and uniform; ``amplitude`` is the factor of the sum of bumps (MMDAgg 5.4)."""
    signs = rng.choice([-1.0, 1.0], p**d)
    kept, found = [], 0
    while found < n:
        x = rng.random((4 * n, d))
        top = 1 + amplitude * np.exp(-d)
        inside = x[rng.random(len(x)) * top <= 1 + amplitude * _perturbation(x, p, signs)]
        kept.append(inside)
        found += len(inside)
    return np.concatenate(kept)[:n], rng.random((n if m is None else m, d))


def fuse_uniform(rng: np.random.Generator, n: int, d: int, scale: float, p: int = 2) -> Pair:
    """The same as MMD-FUSE and MMDAggInc have it: at scale 1 the density reaches zero."""
    return perturbed_uniform(rng, n, d, p, scale * np.exp(d))


def agg_uniform(rng: np.random.Generator, n: int, d: int, p: int) -> Pair:
    """The same as MMDAgg has it: amplitude c_d / p with c_1 = 2.7 and c_2 = 7.3."""
    return perturbed_uniform(rng, n, d, p, {1: 2.7, 2: 7.3}[d] / p) if p else (rng.random((n, d)), rng.random((n, d)))


def blobs(rng: np.random.Generator, n: int, *, same: bool = False) -> Pair:
    """Nine blobs on a grid; the second sample's are correlated, each differently (Liu et al. 2020, Blob-D).

    ``same``: two samples of Blob-S of the AutoML test, the null.
    """
    if same:
        x, y = (rng.standard_normal((n, 2)) + rng.integers(0, 3, (n, 2)) for _ in range(2))
        return x, y
    x = np.sqrt(0.03) * rng.standard_normal((n, 2)) + rng.integers(0, 3, (n, 2))
    cell = rng.integers(0, 3, (n, 2))
    number = 3 * cell[:, 0] + cell[:, 1]
    off = np.array([-0.02 - 0.002 * i for i in range(4)] + [0.0] + [0.02 + 0.002 * i for i in range(4)])
    covariance = 0.03 * np.eye(2) + off[:, None, None] * (1 - np.eye(2))
    factor = np.linalg.cholesky(covariance)  # rows are multiplied from the left, as in the published code
    return x, np.einsum("ni,nij->nj", rng.standard_normal((n, 2)), factor[number]) + cell
