"""The estimate that is shown: which estimator, how sure, what speaks against it; and rows that are hostile."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.performance import answer, pape, trees
from detectors.performance import estimate as estimates
from detectors.performance.answer import Estimate
from detectors.performance.past import past
from detectors.performance.types import METRICS, Outcomes
from detectors.types import FloatArray, SingleArray
from monitor.prepared import flat, rebuilt
from tests.detectors import scored

RNG = np.random.default_rng


def judged(fixed: estimates.Fixed, window: Outcomes, rows: SingleArray | None = None) -> Estimate:
    now = None if rows is None else estimates.inputs(fixed, window, rows)
    return estimates.estimate(fixed, estimates.count(fixed, window, rows), now)


def accuracy(rows: Outcomes) -> float:
    return float((rows.prediction == rows.truth).mean())


@pytest.fixture(scope="module")
def known() -> estimates.Fixed:
    outcomes, rows = scored.two(10_000, RNG(0))
    return estimates.fit(outcomes, RNG(0), rows)


def test_without_a_shift_the_intervals_hold_the_realised_accuracy_as_often_as_they_say(known: estimates.Fixed) -> None:
    """100 windows: fewer than 88 within 95 % intervals once in 500 times."""
    rng, within, chosen = RNG(1), 0, []
    for _ in range(100):
        window, _ = scored.two(500, rng)
        made = judged(known, window)
        figure = made.figures["accuracy"]
        within += figure.low <= accuracy(window) <= figure.high
        chosen.append(made.chosen)
        assert figure.n == 500
    assert within >= 88
    assert chosen.count("cbpe") >= 94


def test_class_shares_that_change_are_answered_by_mlls(known: estimates.Fixed) -> None:
    rng = RNG(2)
    pool, rows = scored.two(30_000, rng)
    weight = np.where(pool.truth == 1, 4.0, 1.0)
    which = rng.choice(30_000, 3_000, p=weight / weight.sum())
    window = scored.take(pool, which)
    made = judged(known, window, rows[which])
    assert (made.chosen, made.reliability.verdict, made.reliability.doubts) == ("mlls", "label", ())
    off = {name: abs(beside["accuracy"].value - accuracy(window)) for name, beside in made.beside.items()}
    assert off["mlls"] < 0.02 < off["cbpe"]
    assert abs(made.shares[1] - window.truth.mean()) < 4 * made.share_errors[1]


def test_inputs_that_move_within_a_score_are_answered_by_pape() -> None:
    """Scores know nothing of the third input, on which labels depend too."""
    rng = RNG(3)

    def drawn(n: int, share: float) -> tuple[Outcomes, SingleArray]:
        outcomes, rows = scored.two(n, rng)
        odd = rng.random(n) < share
        rows[:, 2] = np.where(odd, 1, -1)
        truth = np.where(odd & (rng.random(n) < 0.5), 1, outcomes.truth)
        return outcomes._replace(truth=truth), rows

    reference, rows = drawn(12_000, 0.1)
    fixed = estimates.fit(reference, rng, rows)
    window, now = drawn(4_000, 0.6)
    made = judged(fixed, window, now)
    assert (made.chosen, made.reliability.verdict) == ("pape", "covariate")
    off = {name: abs(beside["accuracy"].value - accuracy(window)) for name, beside in made.beside.items()}
    assert off["pape"] < 0.02
    assert off["pape"] < off["cbpe"] / 2
    assert "disagreement" in made.reliability.doubts  # scores alone are off, and it says so
    assert judged(fixed, window).chosen == "cbpe"


def test_rows_where_the_reference_has_none_are_named_and_bounded(known: estimates.Fixed) -> None:
    window, rows = scored.two(2_000, RNG(4), mean=6.0)
    made = judged(known, window, rows)
    assert made.reliability.outside > 0.9
    assert "outside_support" in made.reliability.doubts
    low, high = made.reliability.bounds
    assert high - low == pytest.approx(made.reliability.outside)
    assert made.reliability.labels_wanted


def test_scores_that_tell_little_of_the_classes_are_not_trusted_with_their_shares() -> None:
    rng = RNG(5)

    def weak(n: int, mean: float) -> Outcomes:
        score = np.clip(0.5 + mean + 0.05 * rng.standard_normal(n), 0, 1)
        return Outcomes("binary", (score >= 0.5).astype(np.int64), score, None, (rng.random(n) < score) * 1)

    fixed = estimates.fit(weak(8_000, 0.03), rng)
    window = weak(1_500, 0.02)
    made = judged(fixed, window)
    assert made.chosen == "cbpe"
    assert made.reliability.verdict in {"label", "covariate"}
    assert made.figures["accuracy"].low <= accuracy(window) <= made.figures["accuracy"].high


def test_concept_shift_leaves_no_trace_until_labels_come(known: estimates.Fixed) -> None:
    rng, said, real, floor, error = RNG(6), [], [], [], []
    for _ in range(6):
        window, rows = scored.two(1_000, rng)
        made = judged(known, window, rows)
        assert made.reliability.verdict == "none"
        turned = window._replace(truth=np.where(rng.random(1_000) < 0.25, 1 - window.truth, window.truth))
        said.append(made.figures["accuracy"].value)
        real.append(accuracy(turned))
        floor.append(made.floors["accuracy"])
        error.append(made.figures["accuracy"].error)
    found = past(*(np.array(one) for one in (said, real, error, floor)))
    assert found.log_p < math.log(1e-20)
    assert found.bias > 0.08
    assert found.within == 0
    later = estimates.estimate(known, estimates.count(known, window), excess={"accuracy": found.excess})
    assert later.reliability.doubts == ("past_errors",)
    assert later.figures["accuracy"].low < real[-1] < later.figures["accuracy"].high


def test_dependent_rows_widen_the_interval_and_reject_less(known: estimates.Fixed) -> None:
    window, _ = scored.two(1_000, RNG(7), mean=0.25)
    counted = estimates.count(known, window)
    alone, tied = (estimates.estimate(known, counted, tau=tau) for tau in (1.0, 25.0))
    assert tied.floors["accuracy"] == pytest.approx(5 * alone.floors["accuracy"], rel=0.05)  # another estimator, too
    assert alone.reliability.verdict != "none"
    assert tied.reliability.verdict == "none"


def test_estimates_do_not_depend_on_how_rows_come(known: estimates.Fixed) -> None:
    window, _ = scored.two(5_000, RNG(8))
    whole = estimates.estimate(known, estimates.count(known, window))
    merged = estimates.empty(known)
    for part in np.array_split(RNG(9).permutation(5_000), 13):
        merged = estimates.merge(merged, estimates.count(known, scored.take(window, part)))
    assert estimates.estimate(known, merged).figures == whole.figures


def test_many_classes_are_estimated_as_labels_say_later() -> None:
    rng = RNG(10)
    fixed = estimates.fit(scored.many(10_000, 5, rng), rng)
    window = scored.many(4_000, 5, rng)
    assert window.probabilities is not None
    made = judged(fixed, window)
    one_hot = np.eye(5)[window.truth]
    real = {
        "accuracy": accuracy(window),
        "brier": float(np.square(window.probabilities - one_hot).sum(axis=1).mean()),
        "log_loss": float(-np.log((window.probabilities * one_hot).sum(axis=1)).mean()),
        "recall": float(np.mean([(window.prediction == c)[window.truth == c].mean() for c in range(5)])),
    }
    for name, value in real.items():
        assert made.figures[name].low < value < made.figures[name].high, name
    assert made.figures["accuracy"].value == pytest.approx(real["accuracy"], abs=0.025)


def test_a_change_of_many_class_shares_is_answered_by_mlls() -> None:
    rng = RNG(11)
    fixed = estimates.fit(scored.many(10_000, 4, rng), rng)
    window = scored.many(4_000, 4, rng, np.array([0.7, 0.1, 0.1, 0.1]))
    made = judged(fixed, window)
    assert made.chosen == "mlls"
    np.testing.assert_allclose(made.shares, [0.7, 0.1, 0.1, 0.1], atol=0.03)
    assert made.figures["accuracy"].low < accuracy(window) < made.figures["accuracy"].high


def test_a_regressions_error_follows_its_inputs() -> None:
    rng = RNG(12)
    reference, rows = scored.numbers(12_000, rng)
    fixed = estimates.fit(reference, rng, rows)
    for mean in (0.0, 1.5):
        window, now = scored.numbers(4_000, rng, mean=mean)
        made = judged(fixed, window, now)
        off = window.prediction - window.truth
        real = {"mae": np.abs(off).mean(), "rmse": np.sqrt(np.square(off).mean()), "bias": off.mean()}
        for name, value in real.items():
            assert made.figures[name].value == pytest.approx(value, abs=0.08 + 0.06 * abs(value)), (name, mean)
        assert "no_confidence" in made.reliability.doubts  # inputs are all it has
    parts = [
        estimates.count(fixed, scored.take(window, p), now[p]) for p in np.array_split(RNG(1).permutation(4_000), 5)
    ]
    merged = estimates.empty(fixed)
    for part in parts:
        merged = estimates.merge(part, merged)
    for one, other in zip(merged, estimates.count(fixed, window, now), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["two", "many", "numbers"])
def test_what_is_measured_is_stored_as_plain_arrays(kind: str) -> None:
    rng = RNG(14)
    outcomes, rows = scored.numbers(900, rng) if kind == "numbers" else scored.two(900, rng)
    outcomes = scored.many(900, 3, rng) if kind == "many" else outcomes
    fixed = estimates.fit(outcomes, rng, rows)
    arrays = flat(fixed._asdict())
    assert all(one.dtype.kind in "fiub" for one in arrays.values())
    again = rebuilt(type(fixed), arrays)
    for one, other in zip(
        judged(fixed, outcomes, rows).figures.values(), judged(again, outcomes, rows).figures.values(), strict=True
    ):
        assert one == other


def test_counts_of_another_kind_are_refused(known: estimates.Fixed) -> None:
    rng = RNG(13)
    other = estimates.fit(scored.numbers(500, rng)[0], rng)
    with pytest.raises(ValueError, match="counted"):
        estimates.estimate(known, estimates.empty(other))
    five, four = estimates.fit(scored.many(500, 5, rng), rng), scored.many(10, 4, rng)
    with pytest.raises(ValueError, match="classes"):
        estimates.count(five, four)


HUGE = np.array([1e308, -1e308, np.inf, -np.inf, np.nan, 0.0, 1.0, 2.0, -0.5, 1e-320] * 40)
REFERENCES: dict[str, Outcomes] = {
    "usual": scored.two(1_500, RNG(0))[0],
    "no rows": scored.two(0, RNG(0))[0],
    "five rows": scored.two(5, RNG(0))[0],
    "one class": scored.two(1_500, RNG(0))[0]._replace(truth=np.ones(1_500, np.int64)),
    "no labels": scored.two(1_500, RNG(0))[0]._replace(truth=np.full(1_500, np.nan)),
    "no scores": scored.two(1_500, RNG(0))[0]._replace(score=None),
    "constant": scored.two(1_500, RNG(0))[0]._replace(score=np.full(1_500, 0.7)),
    "margins": scored.two(1_500, RNG(0))[0]._replace(score=1.7e308 * RNG(1).uniform(-1, 1, 1_500)),
    "ranking": scored.two(1_500, RNG(0))[0]._replace(kind="ranking"),
}
WINDOWS: dict[str, Outcomes] = {
    "usual": scored.two(400, RNG(1))[0],
    "no rows": scored.two(0, RNG(1))[0],
    "one row": scored.two(1, RNG(1))[0],
    "constant": scored.two(400, RNG(1))[0]._replace(score=np.full(400, 0.7)),
    "no scores": scored.two(400, RNG(1))[0]._replace(score=None),
    "huge": scored.two(400, RNG(1))[0]._replace(score=HUGE, weight=HUGE),
    "odd classes": scored.two(400, RNG(1))[0]._replace(prediction=np.resize([np.nan, 1.5, -3, 7, 0, 1, 1e300], 400)),
}


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("inputs", [True, False])
def test_hostile_rows_give_figures_within_bounds_or_a_reason(reference: str, window: str, inputs: bool) -> None:  # noqa: FBT001
    old, now = REFERENCES[reference], WINDOWS[window]
    rows = [RNG(3).standard_normal((len(one.prediction), 3)).astype(np.float32) for one in (old, now)]
    fixed = estimates.fit(old, RNG(0), rows[0] if inputs else None)
    _sound(judged(fixed, now, rows[1] if inputs else None))


@pytest.mark.parametrize("reference", ["usual", "no rows", "no labels", "constant", "huge"])
@pytest.mark.parametrize("window", ["usual", "no rows", "huge"])
def test_hostile_numbers_give_figures_or_a_reason(reference: str, window: str) -> None:
    made: list[tuple[Outcomes, SingleArray]] = []
    for kind in (reference, window):
        outcomes, rows = scored.numbers(0 if kind == "no rows" else 400, RNG(4))
        changed: dict[str, FloatArray] = {
            "no labels": outcomes._replace(truth=np.full(400, np.nan)),
            "constant": outcomes._replace(prediction=np.zeros(400), truth=np.zeros(400)),
            "huge": outcomes._replace(prediction=HUGE),
        }.get(kind, outcomes)  # type: ignore[assignment]
        made.append((changed, rows))  # type: ignore[arg-type]
    fixed = estimates.fit(made[0][0], RNG(0), made[0][1])
    _sound(judged(fixed, *made[1]))


def test_too_few_rows_make_no_ratio() -> None:
    assert pape.ratio(*_binned(50), np.zeros((500, 1), np.uint8)) is None


def _binned(m: int) -> tuple[trees.Binner, trees.Codes]:
    rows = np.zeros((m, 1), np.float32)
    how = trees.binner(rows, np.array([-1]))
    return how, trees.codes(how, rows)


def _sound(made: Estimate) -> None:
    assert made.figures
    for name, figure in made.figures.items():
        low, high = METRICS[name].bounded
        if figure.reason:
            assert math.isnan(figure.value)
        else:
            assert low <= figure.low <= figure.value <= figure.high <= high
            assert figure.error >= 0
            assert math.isfinite(figure.error)
    assert set(made.reliability.doubts) <= answer.DOUBTS.keys()
