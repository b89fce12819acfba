"""Spectral Nystroem MMD: exact level, power where single columns are blind, and a store that holds only arrays."""

from __future__ import annotations

import io

import numpy as np
import pytest

from detectors.multivariate import kernels, nystroem
from detectors.multivariate.bins import bins_of
from detectors.multivariate.nystroem import SpectralFixed, SpectralNystroem, two_sample
from detectors.multivariate.permutation import labels
from detectors.types import Reason, SingleArray
from tests.detectors.views import sample_of, view_of

SMALL = SpectralNystroem(landmarks=48, bandwidths=3, ridges=(1e-1, 1e-3), draws=99)


def normal(rng: np.random.Generator, rows: int, d: int = 4, rho: float = 0.0) -> SingleArray:
    x = rng.standard_normal((rows, d))
    if d > 1:
        x[:, 1] = rho * x[:, 0] + np.sqrt(1 - rho**2) * x[:, 1]
    return x.astype(np.float32)


def draw(rng: np.random.Generator, kind: str) -> SingleArray:
    if kind == "heavy":
        both = np.clip(rng.standard_t(1.5, (160, 3)), -8, 8)
    elif kind == "blobs":
        both = rng.standard_normal((160, 2)) / 10 + rng.integers(0, 3, (160, 2))
    else:
        both = rng.standard_normal((160, 3))
        both = np.sign(both) if kind == "ties" else both
    return both.astype(np.float32)


def levels(share: float, times: int) -> tuple[float, float]:
    """Where a share of rejections may lie: four standard errors around it."""
    error = 4 * np.sqrt(share * (1 - share) / times)
    return share - error, share + error


def test_fixed_is_made_of_arrays_of_a_few_megabytes() -> None:
    view = view_of(normal(np.random.default_rng(0), 20_000, 10))
    fixed = SpectralNystroem().fit(view, np.random.default_rng(1))
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **fixed._asdict())
    assert file.tell() < 4e6
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        again = SpectralFixed(**stored)
    window = sample_of(normal(np.random.default_rng(2), 500, 10))
    one, two = (SMALL.score(some, view, window, np.random.default_rng(3)) for some in (fixed, again))
    assert one == two


def test_same_seed_same_p_value() -> None:
    view = view_of(normal(np.random.default_rng(0), 2000))
    window = sample_of(normal(np.random.default_rng(2), 300))
    made = [SMALL.score(SMALL.fit(view, np.random.default_rng(1)), view, window, np.random.default_rng(3))] * 2
    assert made[0] == made[1]


def test_bin_means_do_not_depend_on_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = normal(rng, 600)
    features = nystroem.learn(rows, rng, 32, 2, (1e-2,))
    bins = np.arange(600).reshape(6, 100)
    whole = nystroem.bin_means(features, rows, bins)
    monkeypatch.setattr(kernels, "PANEL", 32 * 7)
    assert nystroem.bin_means(features, rows, bins) == pytest.approx(whole, abs=1e-4)


def test_whitened_statistic_without_ridge_is_a_hotelling_distance() -> None:
    """Weights 1 / l on the axes of the covariance: the squared Mahalanobis distance of the kernel values' means."""
    rng = np.random.default_rng(0)
    rows = normal(rng, 400, 2)
    features = nystroem.learn(rows, rng, 6, 1, (0.0,))
    bins = np.arange(400).reshape(40, 10)
    means = nystroem.bin_means(features, rows, bins)
    contrast = labels(np.zeros(20, np.int64), np.zeros(20, np.int64), 5, rng)
    lines = nystroem.statistics(features, means[:, :20], means[:, 20:], contrast)
    values = nystroem._values(rows, features.landmarks, features.bandwidths)[0].astype(np.float64)
    moved = values.reshape(40, 10, 6).mean(axis=1).T @ contrast
    expected = np.einsum("lb,lk,kb->b", moved, np.linalg.inv(np.cov(values.T, bias=True)), moved)
    assert np.exp(lines[1]) == pytest.approx(expected, rel=2e-3)


def test_level_of_the_production_form() -> None:
    rng = np.random.default_rng(7)
    rejected = 0
    for _ in range(8):
        view = view_of(normal(rng, 2000))
        fixed = SMALL.fit(view, rng)
        rejected += sum(
            SMALL.score(fixed, view, sample_of(normal(rng, 200)), rng).log_p < np.log(0.1) for _ in range(25)
        )
    low, high = levels(0.1, 200)
    assert low <= rejected / 200 <= high


@pytest.mark.parametrize("kind", ["normal", "heavy", "blobs", "ties"])
def test_level_of_the_two_sample_form(kind: str) -> None:
    rng = np.random.default_rng(11)
    rejected = 0
    for _ in range(150):
        both = draw(rng, kind)
        rejected += two_sample(both[:80], both[80:], rng, SMALL, bins=20).log_p < np.log(0.1)
    low, high = levels(0.1, 150)
    assert low <= rejected / 150 <= high


def test_a_broken_correlation_is_found_that_no_column_shows() -> None:
    rng = np.random.default_rng(1)
    view = view_of(normal(rng, 10_000, rho=0.6))
    fixed = SMALL.fit(view, rng)
    found = SMALL.score(fixed, view, sample_of(normal(rng, 500, rho=0.0)), rng)
    assert found.log_p == pytest.approx(np.log(0.01))


def test_a_changed_mix_of_strata_is_not_drift() -> None:
    rng = np.random.default_rng(4)
    strata = np.repeat([0, 1], 3000)
    rows = normal(rng, 6000)
    rows[strata == 1] += 2
    view = view_of(rows, strata=strata)
    fixed = SMALL.fit(view, rng)
    rejected = 0
    for _ in range(60):
        mix = np.repeat([0, 1], [400, 100])
        window = normal(rng, 500)
        window[mix == 1] += 2
        rejected += SMALL.score(fixed, view, sample_of(window, strata=mix), rng).log_p < np.log(0.1)
    assert rejected <= 14
    plain = view_of(rows[rng.permutation(6000)])
    blind = SMALL.score(SMALL.fit(plain, rng), plain, sample_of(window), rng)
    assert blind.log_p == pytest.approx(np.log(0.01))


@pytest.mark.parametrize("d", [1, 768])
def test_any_dimension(d: int) -> None:
    rng = np.random.default_rng(3)
    view = view_of(normal(rng, 3000, d))
    fixed = SMALL.fit(view, rng)
    shifted = normal(rng, 500, d) + np.float32(0.5)
    assert SMALL.score(fixed, view, sample_of(shifted), rng).log_p == pytest.approx(np.log(0.01))
    assert SMALL.score(fixed, view, sample_of(normal(rng, 500, d)), rng).log_p > np.log(0.02)


def test_constant_columns_say_nothing_and_break_nothing() -> None:
    rng = np.random.default_rng(3)
    view = view_of(np.ones((1000, 3)))
    same = SMALL.score(SMALL.fit(view, rng), view, sample_of(np.ones((200, 3))), rng)
    assert same.reason is Reason.CONSTANT_REFERENCE
    assert two_sample(np.ones((90, 3)), np.ones((90, 3)), rng, SMALL).log_p == 0
    half = np.hstack([normal(rng, 1000, 2), np.ones((1000, 1))])
    view = view_of(half)
    assert np.isfinite(SMALL.score(SMALL.fit(view, rng), view, sample_of(half[:200]), rng).statistic)


@pytest.mark.parametrize("reference", [0, 10, 1000])
@pytest.mark.parametrize("window", [0, 5, 40])
def test_too_few_rows_say_so(reference: int, window: int) -> None:
    rng = np.random.default_rng(3)
    view = view_of(normal(rng, reference))
    found = SMALL.score(SMALL.fit(view, rng), view, sample_of(normal(rng, window)), rng)
    assert found.reason is Reason.FEW_ROWS
    assert np.isnan(found.log_p)


def test_the_witness_points_at_the_rows_that_are_new() -> None:
    rng = np.random.default_rng(5)
    view = view_of(normal(rng, 4000))
    fixed = SMALL.fit(view, rng)
    rows = normal(rng, 500)
    new = rng.random(500) < 0.1
    rows[new] = rows[new] / 5 + 3
    sample = sample_of(rows)
    bins = bins_of(view, sample)
    contrast = labels(bins.window_strata, bins.reference_strata, 99, rng)
    score = nystroem.witness(SMALL.direction(fixed, sample, bins, contrast), rows)
    assert new[np.argsort(score)[-int(new.sum()) :]].mean() > 0.9
