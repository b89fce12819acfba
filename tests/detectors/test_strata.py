"""The reference at the pane's own mix: shares, what they are worth, and e-values that stay e-values."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from detectors import parts, simulate
from detectors.compare import Baseline, Comparison
from detectors.registry import SEQUENTIAL, WINDOWED, Tolerances
from detectors.sequential import recovery, recursion
from detectors.sequential.dependence import autocorrelation_time
from detectors.sequential.e_ks import EKS, reference_error
from detectors.sequential.rates import Rate, upper_bound, wilson
from detectors.simulate import Layout
from detectors.strata import PSEUDO_ROWS, Mixture, Strata, mixture
from detectors.types import Block, FloatArray, IntArray, Questions, Reference, Summary, Window

PARENT = np.array([0, 0, 1, 1])
TENANT = 2


def draw(rows: int, seed: int, apart: float = 1.0) -> Block:
    """Two numeric columns and the tenant, of which there are four; ``apart`` lies between the tenants' means."""
    rng = np.random.default_rng(seed)
    tenant = (np.arange(rows) % 4).astype(np.int32)
    values = rng.standard_normal((rows, 2)) + apart * tenant[:, None]
    return dataclasses.replace(simulate.block_of(values, tenant[:, None]), strata=tenant)


def measured(apart: float = 1.0, free: tuple[int, ...] = (TENANT,)) -> Reference:
    layout = Layout(tuple(PARENT), free)
    return simulate.reference_of(draw(8_000, 0, apart), labels=[list("abcd")], layout=layout, dependent=False)


def strata_of(rows: list[int], parent: IntArray = PARENT) -> Strata:
    """Strata of which only the rows count."""
    empty = parts.zero(measured().grid)
    return Strata(tuple(dataclasses.replace(empty, rows=n) for n in rows), parent, np.zeros(1, bool))


def asked_of(yes: list[float], rows: list[int], parent: IntArray = PARENT) -> Mixture:
    """One question to all rows of one column."""
    table = np.array(yes, np.float64)[:, None]
    return mixture(strata_of(rows, parent), table, np.array(rows, np.float64)[:, None], np.zeros(1, np.int64), table)


def window_of(reference: Reference, summary: Summary) -> Window:
    baseline = Baseline(reference)
    return Window(0.0, 1.0, Comparison(baseline.at(summary.mix), summary), summary)


def plain(reference: Reference) -> Reference:
    return dataclasses.replace(reference, strata=None)


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_stratified_is_unstratified_when_the_mixes_are_equal(apart: float) -> None:
    reference = measured(apart)
    pane = parts.summarise(reference.grid, draw(400, 1, apart))
    for name, make in {**SEQUENTIAL, **WINDOWED}.items():
        detector = make(Tolerances())
        both = []
        for one in (reference, plain(reference)):
            fixed = detector.fit(one)
            _, evidence = detector.score(fixed, detector.start(fixed), window_of(one, pane))
            both.append(evidence)
        tolerance = 1e-8 if name == "e_ks" or name in WINDOWED else 2e-3  # Wilson's bound for Clopper and Pearson's
        for field in ("statistic", "effect", "log_p", "log_e", "n"):
            ours, theirs = (getattr(one, field) for one in both)
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=f"{name} {field}")


def test_sparse_stratum_shrinks_to_its_parent_and_the_parent_to_the_whole() -> None:
    # shares differ by no more than chance: the pseudo-count is at its most
    yes, rows = np.array([52.0, 3, 490, 96]), np.array([100, 10, 1_000, 200])
    found = asked_of(list(yes), list(rows))
    whole = yes.sum() / rows.sum()
    above = [(yes[s].sum() + PSEUDO_ROWS * whole) / (rows[s].sum() + PSEUDO_ROWS) for s in (slice(0, 2), slice(2, 4))]
    for stratum in range(4):
        hoped = (yes[stratum] + PSEUDO_ROWS * above[stratum // 2]) / (rows[stratum] + PSEUDO_ROWS)
        assert found.at(50 * np.eye(4, dtype=np.int64)[stratum]).share[0] == pytest.approx(hoped, rel=1e-12)


def test_strata_that_plainly_differ_are_left_as_they_are() -> None:
    found = asked_of([1_000, 2_000, 3_000, 3_900], [4_000] * 4)
    for stratum, share in enumerate((0.25, 0.5, 0.75, 0.975)):
        here = found.at(200 * np.eye(4, dtype=np.int64)[stratum])
        assert here.share[0] == pytest.approx(share, abs=2e-3)
        assert here.rows[0] == pytest.approx(4_000, rel=0.02)


def test_empty_stratum_is_its_parent_and_worth_little() -> None:
    found = asked_of([2_000, 0, 1_000, 1_000], [4_000, 0, 4_000, 4_000])
    nobody = found.at(np.array([0, 100, 0, 0]))
    assert nobody.share[0] == pytest.approx(found.at(np.array([100, 0, 0, 0])).share[0], abs=1e-3)
    assert nobody.rows[0] <= PSEUDO_ROWS
    assert found.at(np.array([990, 10, 0, 0])).rows[0] > 3_000


def test_reference_is_worth_no_more_rows_than_it_has_and_fewer_for_an_uneven_mix() -> None:
    found = asked_of([1_000, 2_000, 3_000, 3_900], [4_000] * 4)
    assert found.at(np.full(4, 50)).rows[0] == pytest.approx(16_000, rel=1e-9)
    weight = np.array([0.7, 0.1, 0.1, 0.1])
    assert found.at((200 * weight).astype(np.int64)).rows[0] == pytest.approx(1 / (weight**2 / 4_000).sum(), rel=0.02)


def test_expected_share_of_merged_panes_is_that_of_their_rows() -> None:
    reference = measured()
    panes = [parts.summarise(reference.grid, simulate.take(draw(400, 2), slice(0, n))) for n in (300, 101)]
    found = EKS().fit(reference).mixture
    assert found is not None
    merged = parts.merge(*panes)
    np.testing.assert_array_equal(merged.mix, panes[0].mix + panes[1].mix)
    shares = [found.at(pane.mix).share for pane in panes]
    np.testing.assert_allclose(found.at(merged.mix).share, (300 * shares[0] + 101 * shares[1]) / 401, rtol=1e-12)


def test_strata_count_by_the_rows_that_answer() -> None:
    # the second stratum is nearly always missing: at even rows the expected share is nearly that of the first
    strata = strata_of([4_000, 4_000], np.zeros(2, np.int64))
    asked = np.array([[4_000.0], [40.0]])
    yes = np.array([[1_000.0], [40.0]])
    share = mixture(strata, yes, asked, np.zeros(1, np.int64), yes).at(np.array([100, 100])).share[0]
    assert share == pytest.approx((1_000 + 40) / 4_040, abs=3e-3)


def test_free_units_are_compared_whatever_the_mix_but_within_the_hour() -> None:
    yes, rows = np.array([[900.0], [2_000], [0], [2_000]]), [4_000] * 4
    strata = dataclasses.replace(strata_of(rows), free=np.ones(1, bool))
    table = (yes, np.full((4, 1), 4_000.0), np.zeros(1, np.int64), yes)
    whole = mixture(strata, *table)
    for mix in np.eye(4, dtype=np.int64) * 100:
        assert whole.at(mix).share[0] == pytest.approx(4_900 / 16_000)
        assert whole.at(mix).rows[0] == 16_000
    hours = mixture(dataclasses.replace(strata, cell=np.array([0, 0, 1, 1])), *table)
    assert hours.at(np.array([100, 0, 0, 0])).share[0] == pytest.approx(2_900 / 8_000, abs=2e-3)
    assert hours.at(np.array([0, 0, 100, 0])).share[0] == pytest.approx(2_000 / 8_000, abs=2e-3)


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_unequal_rows_on_the_edge_of_the_null_keep_the_expectation_at_most_one(tau: float) -> None:
    chances = np.array([0.05, 0.9, 0.4, 0.6, 0.25, 0.75])  # rows of six strata, each at share + delta
    p0 = np.array([chances.mean()])
    up = recursion.bets(p0, np.array([tau]))
    back = recovery.bets(Questions(np.zeros(1, np.int64), p0 - 0.2, p0, np.array([tau])))
    for bet in (up, back):
        total = np.zeros(bet.yes.shape[1])
        for outcome in itertools.product((0, 1), repeat=len(chances)):
            said = np.array(outcome)
            chance = np.prod(np.where(said == 1, chances, 1 - chances))
            total += chance * np.exp(said.sum() * bet.yes[0] + (len(said) - said.sum()) * bet.no[0])
        assert (total <= 1 + 1e-12).all()
        assert (total > 0.5).all()


def test_pane_is_asked_about_its_own_mix() -> None:
    reference = measured(free=())
    detector = EKS(0.02)
    fixed = detector.fit(reference)
    assert fixed.mixture is not None
    np.testing.assert_array_equal(detector.questions(fixed).p0, detector.questions(fixed, None).p0)
    low, high = (detector.questions(fixed, mix) for mix in (np.array([200, 0, 0, 0]), np.array([0, 0, 0, 200])))
    numeric = low.unit[: len(low.unit) // 2] < TENANT
    assert (low.share[: len(numeric)][numeric] >= high.share[: len(numeric)][numeric]).all()
    radius = reference_error(fixed.mixture.at(np.array([200, 0, 0, 0])).rows)
    np.testing.assert_allclose(low.p0 - low.share, 0.02 + radius[low.unit], rtol=1e-12)


def test_evidence_rests_while_the_mix_leaves_no_bet() -> None:
    never, may = (recursion.bets(np.array([p0]), np.ones(1)) for p0 in (1.0, 0.3))
    state = recursion.step(may, recursion.start(may), np.array([90.0]), np.array([200.0]))
    after = recursion.step(never, state, np.array([200.0]), np.array([200.0]))
    np.testing.assert_array_equal(after.r, state.r)
    np.testing.assert_array_equal(after.cusum, state.cusum)


def test_unit_has_not_recovered_while_its_shifted_question_cannot_be_asked() -> None:
    open_, unit = np.ones(1, bool), np.zeros(2, np.int64)
    day = Questions(unit, np.array([0.3, 0.3]), np.array([0.4, 0.4]), np.ones(2))
    night = day._replace(p0=np.array([0.4, 1.1]))
    state = recovery.start(recovery.bets(day))
    still = np.array([60.0, 160.0]), np.array([200.0, 200.0])
    for _ in range(30):
        state, _ = recovery.follow(recovery.bets(day), day, state, still, open_)
    _, log_e = recovery.follow(recovery.bets(night), night, state, still, open_)
    assert log_e[0] < 0


def test_ruler_chooses_the_questions_and_the_summary_answers() -> None:
    reference = measured()
    later = parts.summarise(reference.grid, simulate.moved(draw(4_000, 5), 0, 2.0))
    moved = dataclasses.replace(plain(reference), summary=later, ruler=reference.summary)
    before, after = EKS().fit(plain(reference)), EKS().fit(moved)
    np.testing.assert_array_equal(before.asked.slot, after.asked.slot)
    assert EKS().start(before).r.shape == EKS().start(after).r.shape
    yes, asked = EKS().answers(after, later)
    np.testing.assert_allclose(after.questions.share, yes / asked)


def test_wilsons_bound_is_near_that_of_clopper_and_pearson_for_rare_faults() -> None:
    hits, rows = np.array([0.0, 1, 3, 10, 100]), np.full(5, 10_000.0)
    np.testing.assert_allclose(wilson(hits / rows, rows), upper_bound(hits, rows), rtol=0.045)
    assert (wilson(hits[:4] / 10_000, rows[:4]) >= upper_bound(hits[:4], rows[:4])).all()
    assert wilson(np.zeros(1), np.zeros(1))[0] == 1


def test_fault_rate_that_belongs_to_a_stratum_is_expected_of_it() -> None:
    block = draw(8_000, 6)
    values = block.numeric.copy(order="F")
    values[block.strata == 3, 0] = np.nan
    block = dataclasses.replace(block, numeric=values)
    reference = simulate.reference_of(block, labels=[list("abcd")], layout=Layout(tuple(PARENT)), dependent=False)
    pane = simulate.take(block, np.flatnonzero(block.strata == 3)[:200])
    summary = parts.summarise(reference.grid, pane)
    detector = Rate("missing")
    for one, expected in ((reference, 1.0), (plain(reference), 0.25)):
        fixed = detector.fit(one)
        state, evidence = detector.start(fixed), None
        for _ in range(5):
            state, evidence = detector.score(fixed, state, window_of(one, summary))
        assert evidence is not None
        assert evidence.effect[0] == pytest.approx(1 - expected, abs=0.02)
        assert (evidence.log_e[0] > 50) == (expected < 1)


def test_window_is_compared_with_whole_counts_of_its_own_mix() -> None:
    reference = measured()
    baseline = Baseline(reference)
    same = baseline.at(np.full(4, 100)).reference.summary
    np.testing.assert_allclose(same.numeric, reference.summary.numeric, atol=1)
    assert same.numeric.dtype == np.int64
    assert Baseline(plain(reference)).at(np.full(4, 100)).mixed is False
    assert baseline.at(np.zeros(4, np.int64)) is baseline
    one = baseline.at(np.array([0, 0, 0, 500])).reference
    z = one.summary.sums[:, 0] / one.summary.numeric.sum(axis=1)
    np.testing.assert_allclose(one.grid.centre[:2] + one.grid.scale[:2] * z, 3.0, atol=0.06)
    assert one.summary.numeric.sum(axis=1)[0] == pytest.approx(2_000, rel=0.03)
    np.testing.assert_array_equal(one.summary.codes, reference.summary.codes)  # the free unit


def test_daily_cycle_is_no_dependence_and_dependence_within_it_is() -> None:
    rng = np.random.default_rng(8)
    hour = (np.arange(64_000) // 200 % 16).astype(np.int32)
    cycle = np.sin(2 * np.pi * hour / 16)
    runs = np.repeat(rng.standard_normal(6_400), 10)
    values = np.column_stack([cycle + rng.standard_normal(64_000), cycle + runs, rng.standard_normal(64_000)])
    block = dataclasses.replace(simulate.block_of(values), strata=hour)
    whole = simulate.reference_of(block)
    apart = simulate.reference_of(block, layout=Layout((0,) * 16, free=(2,)))
    assert whole.tau[0] > 50
    assert apart.tau[0] < 1.3
    assert 6 < apart.tau[1] < 14
    assert apart.tau[2] == pytest.approx(whole.tau[2], rel=1e-3)  # the last, odd batches
    np.testing.assert_array_equal(apart.tau_missing, 1)


def test_time_within_one_stratum_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(9)
    values = np.repeat(rng.standard_normal((3_200, 2)), 5, axis=0)
    block = dataclasses.replace(simulate.block_of(values), strata=np.zeros(16_000, np.int32))
    apart = simulate.reference_of(block, layout=Layout((0,)))
    pieces = [parts.summarise(apart.grid, simulate.take(block, slice(i, i + 64))) for i in range(0, 16_000 - 63, 64)]
    without = autocorrelation_time(apart.grid, apart.summary, pieces)
    np.testing.assert_allclose(apart.tau, without[0], rtol=1e-3)  # the last, odd batches


def test_strata_without_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="`block` has no strata"):
        simulate.reference_of(dataclasses.replace(draw(100, 0), strata=None), layout=Layout((0,)))


def expectation(chances: FloatArray, bet: recursion.Bets) -> FloatArray:
    """Closed form of E[e] for rows with different chances."""
    each: FloatArray = np.prod(chances[:, None] * np.exp(bet.yes) + (1 - chances[:, None]) * np.exp(bet.no), axis=0)
    return each


def test_any_spread_of_the_rows_around_the_edge_only_lowers_the_expectation() -> None:
    rng = np.random.default_rng(10)
    for _ in range(200):
        chances = rng.beta(rng.uniform(0.2, 3), rng.uniform(0.2, 3), 50)
        bet = recursion.bets(np.array([chances.mean()]), np.ones(1))
        assert (expectation(chances, bet) <= 1 + 1e-9).all()
