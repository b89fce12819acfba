"""Exact-kernel MMD: the same numbers as by brute force, exact p-values, and the two aggregated forms."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.multivariate import kernels, mmd
from detectors.multivariate.bins import bins_of, thinned
from detectors.multivariate.mmd import ExactMMD, MMDFixed, two_sample
from detectors.multivariate.permutation import labels
from detectors.types import FloatArray, Reason
from tests.detectors.views import sample_of, view_of

SMALL = ExactMMD(bandwidths=3, draws=99, window=100, reference=200)


def brute(x: FloatArray, y: FloatArray, bandwidth: float) -> float:
    """Unbiased MMD^2 of a Gaussian kernel as it is defined."""

    def kernel(a: FloatArray, b: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-np.square(a[:, None] - b[None]).sum(axis=2) / (2 * bandwidth**2)))

    n, m = len(x), len(y)
    inside, outside = kernel(x, x), kernel(y, y)
    np.fill_diagonal(inside, 0)
    np.fill_diagonal(outside, 0)
    return float(inside.sum() / (n * (n - 1)) + outside.sum() / (m * (m - 1)) - 2 * kernel(x, y).mean())


@pytest.mark.parametrize("panel", [7, 512])
def test_one_product_serves_all_permutations(panel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmd, "PANEL_ROWS", panel)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 3))
    signs = np.sign(labels(np.zeros(20, np.int64), np.zeros(30, np.int64), 9, rng))
    made = mmd.permuted(rows, signs, 1.3)
    for sign, value in zip(signs.T, made, strict=True):
        assert value == pytest.approx(brute(rows[sign > 0], rows[sign < 0], 1.3), abs=1e-12)


@pytest.mark.parametrize("size", [1, 5])
def test_bins_give_what_their_rows_give(size: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 3))
    zeros = np.zeros(60 // size, np.int64)
    contrast = labels(zeros[: 20 // size], zeros[20 // size :], 9, rng)
    gram = mmd.grams(MMDFixed(np.array([1.3]), np.zeros(0)), rows, size).sums[0]
    made = mmd.unbiased(gram, contrast, size, zeros)
    for column, value in zip(np.repeat(contrast, size, axis=0).T, made, strict=True):
        assert value == pytest.approx(brute(rows[column > 0], rows[column < 0], 1.3), abs=1e-12)


def test_grams_do_not_depend_on_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 3))
    fixed = mmd.bandwidths(rows, 2, rng)
    whole = mmd.grams(fixed, rows, 5)
    monkeypatch.setattr(kernels.panels, "__defaults__", (700,))
    assert len(list(kernels.panels(12, 300))) == 6
    again = mmd.grams(fixed, rows, 5)
    assert again.sums == pytest.approx(whole.sums, abs=1e-12)
    assert again.squares == pytest.approx(whole.squares)


def test_within_strata_of_equal_mix_the_mean_is_zero() -> None:
    """Unbiased in every stratum: over rows without drift the stratified statistic averages 0, at any shares."""
    rng = np.random.default_rng(2)
    strata = np.repeat([0, 1, 0, 1], [6, 3, 8, 12]).astype(np.int64)
    values = []
    for _ in range(400):
        rows = rng.standard_normal((29 * 2, 1)) + 3 * np.repeat(strata, 2)[:, None]
        contrast = labels(strata[:9], strata[9:], 1, rng)[:, :1]
        gram = mmd.grams(MMDFixed(np.array([1.0]), np.zeros(0)), rows, 2).sums[0]
        values.append(mmd.unbiased(gram, contrast, 2, strata)[0])
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


def test_fuse_is_the_published_formula() -> None:
    lines = np.random.default_rng(0).standard_normal((4, 6)) / 1e4
    squares = np.array([100.0, 400.0, 900.0, 50.0])
    expected = np.log(np.exp(90 * lines / np.sqrt(squares / 90)[:, None]).mean(axis=0))
    assert mmd.fuse(lines, squares, 10) == pytest.approx(expected)


def test_bandwidths_span_the_published_range() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 2))
    distances = np.sqrt(np.square(rows[:, None] - rows[None]).sum(axis=2))[np.triu_indices(300, 1)]
    fixed = mmd.bandwidths(rows, 10, rng)
    low, high = np.quantile(distances, [0.05, 0.95])
    published, ratios = fixed.gaussian[:10], fixed.gaussian[10:]
    assert published[[0, -1]] == pytest.approx([low / 2, 2 * high], rel=1e-2)
    assert np.diff(published) == pytest.approx(np.diff(published)[0])
    assert ratios[[0, -1]] == pytest.approx([low / 2, high], rel=1e-2)
    assert ratios[1:] / ratios[:-1] == pytest.approx(ratios[1] / ratios[0])
    assert kernels.median_heuristic(distances) == pytest.approx(np.median(distances))


@pytest.mark.parametrize("kind", ["normal", "heavy", "ties"])
def test_levels_are_exact(kind: str) -> None:
    rng = np.random.default_rng(3)
    p = []
    for _ in range(200):
        both = np.clip(rng.standard_t(1.5, (80, 2)), -8, 8) if kind == "heavy" else rng.standard_normal((80, 2))
        both = np.sign(both) if kind == "ties" else both
        found = two_sample(both[:40], both[40:], rng, draws=99, bins=20, number=3)
        p.append(np.exp([found.log_p, found.extra["log_p_fuse"], found.extra["log_p_max"]]))
    share = (np.array(p) <= 0.1 + 1e-9).mean(axis=0)
    assert share.max() <= 0.1 + 4 * np.sqrt(0.09 / 200)
    assert share[1:].min() >= 0.1 - 4 * np.sqrt(0.09 / 200)


def test_one_kernel_on_rows_has_its_level_and_finds_a_shift() -> None:
    rng = np.random.default_rng(3)
    rejected = sum(
        mmd.single(rng.standard_normal((40, 3)), rng.standard_normal((50, 3)), rng, draws=49).log_p < np.log(0.101)
        for _ in range(200)
    )
    assert abs(rejected / 200 - 0.1) < 4 * np.sqrt(0.09 / 200)
    found = mmd.single(rng.standard_normal((80, 3)), rng.standard_normal((80, 3)) + 1, rng, draws=49)
    assert found.log_p == pytest.approx(np.log(0.02))


@pytest.mark.parametrize("d", [1, 10, 768])
def test_windows_with_and_without_drift(d: int) -> None:
    rng = np.random.default_rng(6)
    view = view_of(rng.standard_normal((3000, d)))
    fixed = SMALL.fit(view, rng)
    drifted = SMALL.score(fixed, view, sample_of(rng.standard_normal((400, d)) + 0.8), rng)
    same = SMALL.score(fixed, view, sample_of(rng.standard_normal((400, d))), rng)
    assert drifted.log_p == pytest.approx(np.log(0.01))
    assert same.log_p > np.log(0.02)
    assert drifted.n <= 100


def test_a_changed_mix_of_strata_is_not_drift() -> None:
    rng = np.random.default_rng(4)
    strata = np.repeat([0, 1], 2000)
    view = view_of(rng.standard_normal((4000, 3)) + 3 * strata[:, None], strata=strata)
    fixed = SMALL.fit(view, rng)
    rejected = 0
    for _ in range(60):
        mix = np.repeat([0, 1], [300, 100])
        window = sample_of(rng.standard_normal((400, 3)) + 3 * mix[:, None], strata=mix)
        rejected += SMALL.score(fixed, view, window, rng).log_p < np.log(0.1)
    assert rejected <= 14


def test_thinned_bins_keep_whole_runs_and_strata() -> None:
    rng = np.random.default_rng(4)
    strata = np.repeat([0, 1], 5000)
    view, window = view_of(rng.standard_normal((10_000, 1)), strata=strata), rng.standard_normal((6000, 1))
    bins = thinned(bins_of(view, sample_of(window, strata=np.repeat([0, 1], 3000))), 10, 500, 1000, rng)
    assert bins.window_rows.size <= 500
    assert bins.reference_rows.size <= 1000
    assert bins.window_rows.shape[1] == bins.reference_rows.shape[1]
    assert bins.window_rows.shape[1] % 10 == 0
    assert (view.sample.strata[bins.reference_rows] == bins.reference_strata[:, None]).all()


def test_too_few_rows_say_so_and_constant_ones_do_not_alarm() -> None:
    rng = np.random.default_rng(4)
    view = view_of(rng.standard_normal((1000, 2)))
    assert SMALL.score(SMALL.fit(view, rng), view, sample_of(np.zeros((40, 2))), rng).reason is Reason.FEW_ROWS
    tiny = view_of(rng.standard_normal((10, 2)))
    assert SMALL.score(SMALL.fit(tiny, rng), tiny, sample_of(np.zeros((400, 2))), rng).reason is Reason.FEW_ROWS
    assert two_sample(np.ones((60, 2)), np.ones((60, 2)), rng, draws=49, bins=20).log_p == 0
