"""The default joint test and its attribution: who is named when a pair breaks, a column shifts, a mode is gone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.multivariate import attribution, joint
from detectors.multivariate.bins import Bins, bins_of
from detectors.multivariate.conditional import ConditionalFixed, ConditionalShift
from detectors.multivariate.joint import COMPONENTS, JointDefault, JointFixed, combined, ks_distance
from detectors.multivariate.protocol import Outcome
from detectors.types import Sample, View
from tests.detectors.views import sample_of, view_of

Rows = NDArray[np.float64]
TEST = JointDefault(draws=199)
CENTRES = 2 * np.random.default_rng(99).standard_normal((5, 8))


class Case:
    """A reference, a window, the outcome and the name of the strongest component."""

    def __init__(self, reference: Rows, window: Rows) -> None:
        rng = np.random.default_rng(0)
        self.view: View = view_of(reference)
        self.sample: Sample = sample_of(window)
        self.bins: Bins = bins_of(self.view, self.sample)
        self.fixed: JointFixed = TEST.fit(self.view, rng)
        self.conditional: ConditionalFixed = ConditionalShift().fit(self.view, rng)
        self.outcome: Outcome = TEST.score(self.fixed, self.view, self.sample, rng)
        self.component = COMPONENTS[int(self.outcome.extra["strongest"])]

    def columns(self, component: str | None = None) -> list[attribution.Column]:
        chosen = component or self.component
        rng = np.random.default_rng(1)
        return attribution.columns(self.fixed, self.conditional, self.view, self.sample, self.bins, chosen, rng)

    def pairs(self) -> list[attribution.Units]:
        return attribution.pairs(self.fixed, self.view, self.sample, self.bins)

    def named(self) -> set[int]:
        return set(attribution.named(self.columns(), self.pairs(), self.component))


def rows(seed: int, n: int, rho: float = 0.8) -> Rows:
    made = np.random.default_rng(seed).standard_normal((n, 12))
    made[:, 5] = rho * made[:, 3] + math.sqrt(1 - rho**2) * made[:, 5]
    return made


def modes(seed: int, n: int, number: int) -> tuple[Rows, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    mode = rng.integers(0, number, n)
    return CENTRES[mode] + rng.standard_normal((n, 8)), mode


@pytest.fixture(scope="module")
def broken() -> Case:
    return Case(rows(1, 8000), rows(2, 1000, rho=0.2))


@pytest.fixture(scope="module")
def shifted() -> Case:
    moved = rows(3, 1000)
    moved[:, 8] += 0.5
    return Case(rows(1, 8000), moved)


@pytest.fixture(scope="module")
def quiet() -> Case:
    return Case(rows(1, 8000), rows(4, 1000))


def test_a_broken_correlation_names_its_two_columns(broken: Case) -> None:
    assert broken.outcome.log_p == pytest.approx(math.log(1 / 200))
    assert broken.named() == {3, 5}
    first = broken.pairs()[0]
    assert (first.first, first.second) == (3, 5)
    assert first.reference == pytest.approx(0.8, abs=0.05)
    assert first.window == pytest.approx(0.2, abs=0.1)
    assert first.log_p < math.log(1e-6)


@pytest.mark.parametrize("component", ["spectral_mmd", "correlation_change"])
def test_a_broken_correlation_takes_the_statistic_along_with_either_column(broken: Case, component: str) -> None:
    found = broken.columns(component)
    assert {one.unit for one in found[:2]} == {3, 5}
    assert found[1].drop > 0.5
    assert found[2].drop < 0.4


def test_a_shifted_column_is_named_alone(shifted: Case) -> None:
    assert shifted.named() == {8}
    for component in ("spectral_mmd", "energy_distance"):
        found = shifted.columns(component)
        assert found[0].unit == 8
        assert found[0].drop == pytest.approx(1, abs=0.3)
        assert found[1].drop < 0.3


def test_scale_is_told_by_the_distance_from_the_centre() -> None:
    wide = rows(2, 1000)
    wide[:, [1, 2]] *= 1.7
    case = Case(rows(1, 8000), wide)
    assert {one.unit for one in case.columns("pca_reconstruction")[:2]} == {1, 2}


def test_a_lost_mode_is_shown_by_the_references_rows() -> None:
    reference, mode = modes(1, 8000, 5)
    window, _ = modes(2, 1000, 4)
    case = Case(reference, window)
    assert case.outcome.log_p == pytest.approx(math.log(1 / 200))
    witness = attribution.witness(case.fixed, case.view, case.sample, case.bins)
    tested = case.bins.reference_rows.reshape(-1)
    telling = tested[np.argsort(witness(case.view.sample.rows[tested]))[:20]]
    assert (mode[telling] == 4).all()
    assert witness(case.sample.rows).max() > witness(case.view.sample.rows[telling]).max()
    assert case.outcome.extra["effect"] == pytest.approx(0.2, abs=0.05)  # the mass of the lost mode


def test_columns_that_move_together_are_one_group(quiet: Case) -> None:
    assert attribution.groups(quiet.fixed, quiet.view) == [
        (0,), (1,), (2,), (3, 5), (4,), (6,), (7,), (8,), (9,), (10,), (11,)
    ]  # fmt: skip


def test_an_embedding_has_rows_to_show_and_no_columns() -> None:
    case = Case(rows(1, 4000), rows(2, 600, rho=0.1))
    object.__setattr__(case.view.encoder, "unit", np.full(12, -1))
    assert case.columns() == []
    assert case.pairs() == []
    assert attribution.named([], [], "correlation_change") == ()
    assert attribution.groups(case.fixed, case.view) == []
    witness = attribution.witness(case.fixed, case.view, case.sample, case.bins)
    assert np.isfinite(witness(case.sample.rows)).all()


def test_an_unknown_component_is_refused(quiet: Case) -> None:
    with pytest.raises(ValueError, match="`component` is 'energy', not one of"):
        quiet.columns("energy")


def test_the_effect_is_the_mass_that_moved(broken: Case, shifted: Case, quiet: Case) -> None:
    column = 2 * 0.5 * (1 + math.erf(0.25 / math.sqrt(2))) - 1  # KS distance of the shifted column
    assert shifted.outcome.extra["effect"] == pytest.approx(column, abs=0.06)
    assert 0 < shifted.outcome.extra["effect_low"] < column < shifted.outcome.extra["effect_high"]
    assert broken.outcome.extra["effect_low"] > 0.1
    assert quiet.outcome.extra["effect_low"] == 0


def test_nothing_moved_and_nothing_is_found(quiet: Case) -> None:
    assert quiet.outcome.log_p > math.log(0.05)


def test_each_component_reports_its_own_p(broken: Case) -> None:
    assert {f"log_p_{name}" for name in COMPONENTS} <= set(broken.outcome.extra)
    assert broken.outcome.extra["log_p_correlation_change"] == pytest.approx(math.log(1 / 200))


def test_ties_of_the_smallest_p_do_not_bound_the_combined_one() -> None:
    lines = np.random.default_rng(0).standard_normal((4, 100))
    lines[0, 0] = 50
    p, each = combined(lines)
    assert p == 0.01
    assert each[0] == 0.01


def test_the_combination_is_exact() -> None:
    rng = np.random.default_rng(0)
    found = [combined(rng.standard_exponential((4, 40)))[0] for _ in range(2000)]
    np.testing.assert_allclose(np.quantile(found, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.04)
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.015)


def test_weighted_ks_is_that_of_repeated_values() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, 50).astype(float), rng.integers(2, 9, 80).astype(float)
    times = rng.integers(1, 4, 50)
    found = ks_distance(x, y, times / times.sum(), np.full(80, 1 / 80))
    repeated = np.repeat(x, times)
    wanted = max(abs((repeated <= t).mean() - (y <= t).mean()) for t in range(10))
    assert found == pytest.approx(wanted)


def test_the_band_covers_the_null_and_the_interval_the_truth() -> None:
    view = view_of(rows(1, 8000))
    fixed = TEST.fit(view, np.random.default_rng(0))
    low = []
    for seed in range(20):
        sample = sample_of(rows(50 + seed, 400))
        low.append(joint.witness_shift(fixed, view, sample, bins_of(view, sample)).low)
    assert max(low) == 0
