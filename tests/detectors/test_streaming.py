"""The classical streaming detectors: as published, column by column, however the stream is cut into pieces.

The golden positions were made by river 0.26.1 on the sequences of `values` and `errors`, one observation at a time:
``for t, x in enumerate(xs): d.update(x); d.drift_detected and alarms.append(t)``, counting ``warning_detected`` where
there was no alarm. ADWIN is river's ``AdaptiveWindowing`` itself (its class forgets the window at an alarm, the paper
does not), KSWIN has ``_drift_detected`` set back after an alarm for the same reason, and a window of twice its
``stat_size``, of which any draw is the whole older half.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from detectors.streaming import kswin
from detectors.streaming.adwin import LEVELS, Adwin, AdwinState
from detectors.streaming.catalog import CLASSICAL
from detectors.streaming.cusum import Cusum
from detectors.streaming.ddm import Ddm
from detectors.streaming.eddm import Eddm
from detectors.streaming.ewma import Ewma
from detectors.streaming.hddm_a import HddmA
from detectors.streaming.hddm_w import HddmW
from detectors.streaming.kswin import Kswin
from detectors.streaming.page_hinkley import PageHinkley
from detectors.streaming.protocol import Streaming
from detectors.types import FloatArray

GOLDEN: list[tuple[Streaming, int, list[int], int]] = [
    (Adwin(), 1, [639, 735, 863, 1151, 1215, 1247, 2015, 2047, 2111], 0),
    (Adwin(), 2, [671, 703, 831, 1247, 1279, 2015, 2047], 0),
    (Adwin(0.05, clock=5, max_buckets=3), 1, [624, 629, 1209, 1214, 1249, 2009, 2014, 2034], 0),
    (Adwin(0.05, clock=5, max_buckets=3), 2, [629, 634, 884, 1209, 1224, 1229, 1239, 1249, 2009, 2014, 2019], 0),
    (PageHinkley(), 1, [620, 1239, 1447, 1904, 2007], 0),
    (PageHinkley(), 2, [658, 1207, 2006], 0),
    (PageHinkley(threshold=20, alpha=0.99, mode="up"), 1, [449, 619, 846, 1508, 1651, 1682, 1727, 1781, 2002], 0),
    (PageHinkley(threshold=20, alpha=0.99, mode="up"), 2, [611, 1525, 1737, 1767, 2001], 0),
    (Kswin(window_size=60), 1, [626, 1225, 2015, 2045], 0),
    (Kswin(window_size=60), 2, [2010, 2040, 2309], 0),
    (Ddm(), 1, [279, 863, 2489], 146),
    (Ddm(), 2, [], 1112),
    (Eddm(), 1, [256, 839, 2561, 2625, 2832, 2886, 2955], 435),
    (Eddm(), 2, [140, 284, 443, 583, 751, 881, 978, 1068, 1197, 2511, 2587, 2935], 258),
    (HddmA(), 1, [976, 2440], 73),
    (HddmA(), 2, [1225, 2426], 72),
    (HddmA(two_sided_test=True), 1, [976, 1595, 2414], 82),
    (HddmA(two_sided_test=True), 2, [1225, 1585, 2437], 100),
    (HddmW(), 1, [860, 2440], 17),
    (HddmW(), 2, [995, 2425], 8),
    (HddmW(two_sided_test=True), 1, [860, 1565, 2440], 37),
    (HddmW(two_sided_test=True), 2, [995, 1535, 2425], 17),
]
EVERY = pytest.mark.parametrize("name", sorted(CLASSICAL))


def values(seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(0, 1, 600), rng.normal(0.8, 1, 600), rng.normal(-0.5, 2, 800), rng.normal(3, 0.5, 500)]
    return np.concatenate(parts)


def errors(seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    p = np.repeat([0.2, 0.35, 0.1, 0.5], [800, 700, 900, 600])
    return (rng.random(p.size) < p).astype(np.float64)


def stream(detector: Streaming, rows: int = 1_500, units: int = 5) -> FloatArray:
    """Columns with and without shifts: ``(rows, units)``, the last of which has none."""
    rng = np.random.default_rng(7)
    shift = np.repeat(rng.normal(0, 0.6, (5, units)), rows // 5, axis=0)
    shift[:, -1] = 0
    if detector.kind == "values":
        return rng.standard_normal((rows, units)) + shift
    return (rng.random((rows, units)) < np.clip(0.25 + 0.3 * shift, 0.02, 0.9)).astype(np.float64)


def alarms_of(detector: Streaming, x: FloatArray) -> tuple[list[int], float, Any]:
    """Rows of all alarms of one column ``(n,)``, its warnings and the last state."""
    found: list[int] = []
    warnings, state, begin = 0.0, detector.start(1), 0
    while begin < len(x):
        some = x[begin : begin + 64, None]
        step = detector.update(state, some)
        end = begin + (len(some) if np.isnan(step.first[0]) else int(step.first[0]) + 1)
        found += [end - 1] if step.alarms[0] else []
        step = detector.update(state, x[begin:end, None])
        state, warnings, begin = step.state, warnings + float(step.warnings[0]), end
    return found, warnings, state


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("detector", "seed", "expected", "warnings"), GOLDEN)
def test_alarms_are_those_of_river(detector: Streaming, seed: int, expected: list[int], warnings: int) -> None:
    x = (values if detector.kind == "values" else errors)(seed)
    assert alarms_of(detector, x)[:2] == (expected, warnings)


@EVERY
def test_pieces_give_the_same_bits_as_the_whole(name: str) -> None:
    detector = CLASSICAL[name]()
    x = stream(detector)
    whole = detector.update(detector.start(5), x)
    assert whole.alarms.sum() > 0
    state, alarms, warnings, first = detector.start(5), np.zeros(5), np.zeros(5), np.full(5, np.nan)
    begin = 0
    for rows in (0, 1, 31, 300, 1, 2, 500, 665):
        step = detector.update(state, x[begin : begin + rows])
        state, alarms, warnings = step.state, alarms + step.alarms, warnings + step.warnings
        first, begin = np.fmin(first, begin + step.first), begin + rows
    assert begin == len(x)
    assert same(state, whole.state)
    np.testing.assert_array_equal(alarms, whole.alarms)
    np.testing.assert_array_equal(warnings, whole.warnings)
    np.testing.assert_array_equal(first, whole.first)


@EVERY
def test_columns_do_not_touch_each_other(name: str) -> None:
    detector = CLASSICAL[name]()
    x = stream(detector)
    whole = detector.update(detector.start(5), x)
    for j in range(5):
        alone = detector.update(detector.start(1), x[:, j : j + 1])
        assert same(alone.state, tuple(field[j : j + 1] for field in whole.state))
        assert alone.alarms[0] == whole.alarms[j]
        np.testing.assert_array_equal(alone.first[0], whole.first[j])


@EVERY
def test_what_is_not_finite_is_no_observation(name: str) -> None:
    detector = CLASSICAL[name]()
    x = stream(detector, rows=1_000)
    rng = np.random.default_rng(1)
    holes = rng.random((1_400, 5)).argsort(axis=0).argsort(axis=0) >= 1_000  # 400 in each column
    holed = np.full((1_400, 5), np.nan)
    holed.T[~holes.T] = x.T.reshape(-1)
    holed[holes & (rng.random(holes.shape) < 0.5)] = np.inf
    plain, step = detector.update(detector.start(5), x), detector.update(detector.start(5), holed)
    assert same(step.state, plain.state)
    np.testing.assert_array_equal(step.alarms, plain.alarms)
    np.testing.assert_array_equal(step.warnings, plain.warnings)
    for j in np.flatnonzero(plain.alarms):
        assert np.flatnonzero(~holes[:, j])[int(plain.first[j])] == step.first[j]
    nothing = detector.update(step.state, np.full((3, 5), np.nan))
    assert same(nothing.state, step.state)
    assert not nothing.alarms.any()
    assert np.isnan(nothing.first).all()


@EVERY
def test_state_is_float64_by_column_and_survives_bytes(name: str) -> None:
    detector = CLASSICAL[name]()
    x = stream(detector)
    state = detector.update(detector.start(5), x[:777]).state
    assert all(field.dtype == np.float64 and len(field) == 5 for field in state)
    copied = type(state)(*(np.frombuffer(field.tobytes()).reshape(field.shape) for field in state))
    a, b = detector.update(state, x[777:]), detector.update(copied, x[777:])
    assert same(a.state, b.state)
    np.testing.assert_array_equal(a.alarms, b.alarms)


@EVERY
def test_update_changes_neither_state_nor_observations(name: str) -> None:
    detector = CLASSICAL[name]()
    x = stream(detector)
    state = detector.update(detector.start(5), x[:100]).state
    before = tuple(field.copy() for field in state)
    kept = x.copy()
    detector.update(state, x[100:])
    assert same(state, before)
    np.testing.assert_array_equal(x, kept)


@EVERY
def test_no_columns_and_no_rows_are_no_news(name: str) -> None:
    detector = CLASSICAL[name]()
    assert detector.update(detector.start(0), np.zeros((3, 0))).alarms.shape == (0,)
    assert same(detector.update(detector.start(2), np.zeros((0, 2))).state, detector.start(2))


@EVERY
def test_names_are_the_keys(name: str) -> None:
    assert CLASSICAL[name]().name == name


def test_cusum_is_the_tabular_one() -> None:
    detector, x = Cusum(k=0.3, h=3.0), values(3)
    up = down = 0.0
    expected = []
    for t, value in enumerate(x):
        up, down = max(0.0, up + value - 0.3), max(0.0, down - value - 0.3)
        if max(up, down) > 3.0:
            expected.append(t)
            up = down = 0.0
    assert alarms_of(detector, x)[0] == expected


def test_ewma_is_the_chart() -> None:
    detector, x = Ewma(weight=0.2, width=2.5), values(3)
    z, expected = 0.0, []
    for t, value in enumerate(x):
        z = 0.8 * z + 0.2 * value
        if abs(z) > 2.5 * math.sqrt(0.2 / 1.8):
            expected.append(t)
            z = 0.0
    assert alarms_of(detector, x)[0] == expected


@pytest.mark.parametrize(("detector", "published"), [(Cusum(h=4.0), 168), (Cusum(), 465), (Ewma(), 500)])
def test_run_length_is_the_published_one(detector: Streaming, published: float) -> None:
    # Lucas and Crosier 1982, Lucas and Saccucci 1990; 2,000,000 observations give a standard error below 2 %
    x = np.random.default_rng(5).standard_normal((10_000, 200))
    step = detector.update(detector.start(200), x)
    assert x.size / step.alarms.sum() == pytest.approx(published, rel=0.06)


@pytest.mark.parametrize(("size", "alpha"), [(30, 0.005), (30, 0.05), (10, 0.01), (50, 1e-4)])
def test_critical_distance_is_that_of_the_exact_test(size: int, alpha: float) -> None:
    k = kswin.critical(size, alpha)
    at = [stats.ks_2samp(np.arange(size), np.arange(size) + j - 0.5, method="exact") for j in (k, k - 1)]
    assert [round(one.statistic * size) for one in at] == [k, k - 1]
    assert at[0].pvalue <= alpha < at[1].pvalue


def test_distance_is_that_of_scipy_ties_included() -> None:
    rng = np.random.default_rng(2)
    windows = np.concatenate([rng.standard_normal((50, 100)), rng.integers(0, 4, (50, 100)).astype(np.float64)])
    windows[::2, 70:] += 1
    detector, seen = Kswin(), np.arange(100.0, 200.0)
    drawn = np.take_along_axis(windows, detector._positions(seen), axis=1)
    expected = [stats.ks_2samp(a, b[70:], method="asymp").statistic for a, b in zip(drawn, windows, strict=True)]
    np.testing.assert_allclose(detector._distance(windows, seen) / 30, expected)


def test_draw_is_without_replacement_and_even() -> None:
    drawn = Kswin()._positions(np.arange(4_000.0))
    assert all(len(set(row)) == 30 for row in drawn[:200].tolist())
    share = np.bincount(drawn.reshape(-1), minlength=70) / 4_000
    np.testing.assert_allclose(share, 30 / 70, atol=0.035)
    assert (Kswin(seed=1)._positions(np.arange(4.0)) != drawn[:4]).any()


def test_kswin_refuses_a_window_without_room_for_two_samples() -> None:
    with pytest.raises(ValueError, match="window_size"):
        Kswin(window_size=59)


def test_adwin_window_keeps_sums_and_squares_of_what_it_holds() -> None:
    x = np.concatenate([values(1), values(2)])[:4_960]
    state: AdwinState = alarms_of(Adwin(), x)[2]
    size = 2.0 ** np.arange(LEVELS)[:, None] * (np.arange(5) < state.buckets[0, :, None])
    width = int(size.sum())
    held = x[-width:]
    assert 0 < width < len(x)
    assert state.waited[0] == 0
    assert state.total.sum() == pytest.approx(held.sum())
    between = (state.total[0] - size * held.mean()) ** 2 / np.maximum(size, 1)
    assert (state.spread + between).sum() == pytest.approx(((held - held.mean()) ** 2).sum())


def test_adwin_variance_survives_a_far_away_mean() -> None:
    # all of scale and location cancels, so the same stream a million away alarms at the same rows
    x = values(1)
    assert alarms_of(Adwin(), x + 1e6)[0] == alarms_of(Adwin(), x)[0]


def test_adwin_takes_full_top_level_by_forgetting_the_oldest() -> None:
    detector = Adwin()
    full = detector.start(1)
    ones = 2.0 ** np.arange(LEVELS)[:, None] * np.ones((LEVELS, 5))
    state = full._replace(buckets=np.full((1, LEVELS), 5.0), total=ones[None])
    step = detector.update(state, np.ones((32, 1)))
    assert step.alarms[0] == 0
    size = step.state.buckets[0] @ 2.0 ** np.arange(LEVELS)
    assert size == step.state.total.sum() < ones.sum()
