"""Importance weights on rows they were not made from: means, the true ratio, and when they say that they cannot."""

from __future__ import annotations

import numpy as np
import pytest

from detectors import weights
from detectors.types import FloatArray, SingleArray


def rows(n: int, seed: int, *, mean: float = 0.0, share: float = 0.05) -> SingleArray:
    """Eight columns, two correlated; ``mean`` moves the first, ``share`` of the rows are a subpopulation."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 8))
    z[:, 1] = 0.7 * z[:, 0] + 0.7 * z[:, 1]
    z[:, 0] += mean
    few = rng.random(n) < share
    z[few, 2] = 2.5 + 0.5 * rng.standard_normal(int(few.sum()))
    z[few, 3] += 1.5
    return z.astype(np.float32)


def made(**shift: float) -> weights.Ratio:
    return weights.fit(rows(8_000, 0), rows(4_000, 1, **shift), np.random.default_rng(0))


def weighed(ratio: weights.Ratio, some: SingleArray) -> FloatArray:
    return weights.clipped(ratio, weights.log_ratio(ratio, some))


@pytest.mark.parametrize("shift", [{"mean": 0.5}, {"share": 0.3}, {"mean": 0.4, "share": 0.2}])
def test_weighted_means_of_rows_never_seen_match_those_of_new_rows_never_seen(shift: dict[str, float]) -> None:
    ratio = made(**shift)
    fresh, now = rows(20_000, 2), rows(20_000, 3, **shift)
    weight = weighed(ratio, fresh)
    with_squares = [np.hstack([some, np.square(some)]) for some in (fresh, now)]
    found = weights.balance(with_squares[0], with_squares[1], weight)
    assert np.abs(found.before).max() > 0.35
    assert np.abs(found.after[:8]).max() < 0.1
    assert np.abs(found.after[8:]).max() < 0.2
    assert weight.mean() == pytest.approx(1.0, abs=0.05)
    assert 5_000 < weights.effective(weight) < 18_000


def test_the_ratio_is_the_true_one_where_that_is_known() -> None:
    """N(0, 1) tilted by exp(x / 2 - 1 / 8) is N(1/2, 1)."""
    rng = np.random.default_rng(0)
    old, new = rng.standard_normal((8_000, 3)), rng.standard_normal((8_000, 3)) + np.array([0.5, 0, 0])
    ratio = weights.fit(old.astype(np.float32), new.astype(np.float32), rng)
    fresh = rng.standard_normal((5_000, 3)).astype(np.float32)
    error = weights.log_ratio(ratio, fresh) - (fresh[:, 0] / 2 - 1 / 8)
    assert np.sqrt(np.mean(error**2)) < 0.12
    assert float(ratio.auc) == pytest.approx(0.638, abs=0.02)  # Phi(0.5 / sqrt(2))


def test_without_a_shift_all_rows_weigh_alike() -> None:
    ratio = made()
    weight = weighed(ratio, rows(5_000, 2))
    assert weights.effective(weight) > 4_900
    assert 0.48 < float(ratio.auc) < 0.52


def test_rows_of_which_the_reference_has_none_leave_few_that_count() -> None:
    ratio = made(mean=4.0)
    fresh = rows(10_000, 2)
    weight = weighed(ratio, fresh)
    assert weights.effective(weight) < 200
    assert weight.max() <= np.sqrt(8_000) / float(ratio.level) + 1e-9


def test_a_row_is_judged_by_a_model_without_its_equals() -> None:
    old, new = rows(500, 0), rows(500, 1)
    fold = weights.folds(np.concatenate([old, old[::-1]]))
    assert (fold[:500] == fold[:499:-1]).all()
    assert np.bincount(fold[:500], minlength=weights.FOLDS).min() > 80
    noise = weights.fit(old, new, np.random.default_rng(0))  # 200 and more features for 1,000 rows of noise
    assert np.abs(weights.log_ratio(noise, old)).max() < 0.5


def test_what_becomes_of_a_row_depends_on_it_alone() -> None:
    ratio, some = made(mean=0.5), rows(100, 5)
    whole = weights.log_ratio(ratio, some)
    assert np.allclose(whole[::-1], weights.log_ratio(ratio, some[::-1]), atol=1e-5)
    assert np.allclose(whole[40:], weights.log_ratio(ratio, some[40:]), atol=1e-5)


def test_pooled_weights_are_bounded_and_of_mean_one_over_both() -> None:
    ratio, share = made(mean=1.0), 0.25
    old, new = rows(9_000, 2), rows(3_000, 3, mean=1.0)
    both = weights.pooled(weighed(ratio, np.concatenate([old, new])), share)
    assert both.max() <= 1 / share
    assert both.mean() == pytest.approx(1.0, abs=0.05)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="200 rows on either side"):
        weights.fit(rows(199, 0), rows(500, 1), np.random.default_rng(0))
    with pytest.raises(ValueError, match="that vary"):
        weights.fit(rows(500, 0)[:, :0], rows(500, 1)[:, :0], np.random.default_rng(0))


def test_a_rare_category_by_itself_makes_no_row_heavy() -> None:
    """Encoded, a category that one row in thousands has stands eight units from the others."""
    sides = rows(6_000, 0), rows(6_000, 1, mean=0.8)
    old, new = (np.hstack([side, np.zeros((6_000, 1), np.float32)]) for side in sides)
    old[0, 8], new[:3, 8] = 8.0, 8.0
    ratio = weights.fit(old, new, np.random.default_rng(0))
    twin = old[:1].copy()
    twin[0, 8] = 0
    assert weighed(ratio, old[:1])[0] < 4 * weighed(ratio, twin)[0]
