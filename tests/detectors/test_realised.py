"""Realised figures: the values of scikit-learn 1.9.1, and intervals that hold the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.performance import ranks
from detectors.performance.layout import layout
from detectors.performance.realised import figures
from detectors.performance.tallies import tally
from detectors.performance.types import METRICS, Figure, Outcomes
from detectors.types import FloatArray
from tests.detectors.outcomes import binary, multiclass, ranking, regression, take

I = np.arange(40)  # noqa: E741 - the formulas below are those of the script that made the values
SCORE = ((I * 37) % 101) / 101
TRUTH = ((I * I + 3 * I) % 7 < 3).astype(np.int64)
BINARY = Outcomes("binary", (SCORE > 0.5).astype(np.int64), SCORE, None, TRUTH)
"""The values: ``metrics.f1_score(truth, said)`` and so on, `average="macro"` and `multi_class="ovr"` for three classes,
``mean_pinball_loss(alpha=0.9)``, `brier_score_loss` of two classes and its definition for three."""
OF_TWO = {
    "accuracy": 0.475,
    "precision": 0.2631578947368421,
    "recall": 0.4166666666666667,
    "f1": 0.3225806451612903,
    "auroc": 0.35714285714285715,
    "average_precision": 0.24939877144491746,
    "log_loss": 2.017852523435613,
    "brier": 0.3927016959121654,
}
OF_TWO_WEIGHTED = {
    "accuracy": 0.5,
    "precision": 0.2916666666666667,
    "recall": 0.4666666666666667,
    "f1": 0.358974358974359,
    "auroc": 0.3738095238095238,
    "log_loss": 1.5490057046311418,
    "brier": 0.39123517302225275,
}
OF_THREE = {
    "accuracy": 0.575,
    "precision": 0.5750000000000001,
    "recall": 0.5787545787545788,
    "f1": 0.5693912303107705,
    "f1_micro": 0.575,
    "auroc": 0.7403167819834486,
    "log_loss": 0.9381426483529907,
    "brier": 0.5585261730946071,
}
OF_NUMBERS = {
    "mae": 0.7333333333333333,
    "rmse": 0.8563488385776752,
    "mape": 0.21063141023548257,
    "r2": 0.9836980433020724,
    "quantile_loss": 0.38,
    "bias": -0.03333333333333335,
}


def made(outcomes: Outcomes, **options: float) -> dict[str, Figure]:
    ruler = layout(outcomes, **options)  # type: ignore[arg-type]
    return figures(ruler, tally(ruler, outcomes))


def agree(found: dict[str, Figure], expected: dict[str, float]) -> None:
    for name, value in expected.items():
        one = found[name]
        assert one.value == pytest.approx(value, rel=1e-12), name
        assert METRICS[name].bounded[0] <= one.low <= one.value <= one.high <= METRICS[name].bounded[1]
        assert one.error > 0
        assert one.n == 40 or name == "mape"


def test_two_classes() -> None:
    agree(made(BINARY), OF_TWO)


def test_two_classes_with_weights() -> None:
    agree(made(BINARY._replace(weight=(1.0 + I % 4).astype(np.float64))), OF_TWO_WEIGHTED)


def test_three_classes() -> None:
    truth = (I * 5) % 3
    raw = np.stack([((I * (7 + c)) % 13) + 1.0 + 3 * (truth == c) * (I % 3) for c in range(3)], 1)
    p = raw / raw.sum(axis=1, keepdims=True)
    found = made(Outcomes("multiclass", p.argmax(axis=1), None, p, truth))
    agree(found, OF_THREE)
    assert found["average_precision"].value == pytest.approx(0.6395621073881926, abs=0.01)  # another rule for ties


def test_numbers() -> None:
    truth = (((I * 29) % 23) - 5.0).astype(np.float64)
    said = (truth + ((I * 11) % 9 - 4) / 3).astype(np.float64)
    found = made(Outcomes("regression", said, None, None, truth), level=0.9)
    agree(found, OF_NUMBERS)
    assert found["coverage"].reason == "no labelled row has an interval or a set"


@pytest.mark.parametrize(
    ("ties", "first", "value"),
    [
        (11, 0, 0.7875020903176907),
        (11, 3, 0.5514460958457027),
        (3, 0, 0.7995838316021768),
        (3, 3, 0.5351012544546051),
    ],
)
def test_rankings(ties: int, first: int, value: float) -> None:
    """``ndcg_score`` of four queries of ten rows, of which many have the same score where ``ties`` are 3."""
    score = ((I * 13) % ties) / 10
    found = made(Outcomes("ranking", score, score, None, ((I * 7) % 4).astype(np.float64), group=I // 10), first=first)
    assert found["ndcg"].value == pytest.approx(value, rel=1e-12)
    assert found["ndcg"].n == 4


def test_a_query_waits_until_all_of_its_labels_are_there() -> None:
    outcomes = ranking(100, 0)
    late = outcomes._replace(truth=np.where(np.arange(100) == 5, np.nan, outcomes.truth))
    ruler = layout(outcomes)
    assert figures(ruler, tally(ruler, late)) == figures(ruler, tally(ruler, take(outcomes, slice(10, 100))))


def test_sums_of_a_regression_are_exact() -> None:
    """One huge error is taken back, and nothing of it is left."""
    outcomes = regression(1_000, 0)
    found = made(outcomes)
    error = np.asarray(outcomes.prediction) - outcomes.truth
    assert found["mae"].value == math.fsum(np.abs(error)) / 1_000
    assert found["bias"].value == math.fsum(error) / 1_000
    assert found["rmse"].value == math.sqrt(math.fsum(error**2) / 1_000)


def test_the_error_of_r2_is_that_of_each_rows_influence() -> None:
    """Counted around another centre than the rows' own."""
    outcomes = regression(400, 0)
    ruler = layout(outcomes)._replace(centre=np.array(-3.0), scale=np.array(2.0))
    found = figures(ruler, tally(ruler, outcomes))
    truth = np.asarray(outcomes.truth, np.float64)
    square, apart = np.square(outcomes.prediction - truth), np.square(truth - truth.mean())
    s, v = square.mean(), apart.mean()
    influence = -(square - s) / v + s * (apart - v) / v**2
    assert found["r2"].value == pytest.approx(1 - s / v, rel=1e-9)
    assert found["r2"].error == pytest.approx(influence.std(ddof=1) / 20, rel=1e-6)
    assert found["rmse"].error == pytest.approx(square.std(ddof=1) / 20 / (2 * math.sqrt(s)), rel=1e-9)


def test_business_value_is_the_mean_of_what_each_answer_was_worth() -> None:
    value = np.array([[0.0, -5.0], [-1.0, 3.0]])
    ruler = layout(BINARY)
    found = figures(ruler, tally(ruler, BINARY), value=value)["business_value"]
    each = value[np.asarray(BINARY.prediction).astype(np.int64), TRUTH]
    assert found.value == pytest.approx(each.mean(), rel=1e-12)
    assert found.error == pytest.approx(each.std(ddof=1) / math.sqrt(40), rel=1e-9)
    with pytest.raises(ValueError, match="`value`"):
        figures(ruler, tally(ruler, BINARY), value=np.zeros((3, 3)))


def test_reasons_instead_of_values() -> None:
    found = made(BINARY._replace(truth=np.zeros(40, np.int64), prediction=np.zeros(40, np.int64)))
    assert found["auroc"].reason == "labelled rows are all of one class"
    assert found["precision"].reason == "no labelled row was said to be of class 1"
    assert found["recall"].reason == "no labelled row is of class 1"
    assert found["accuracy"].value == 1.0
    assert found["accuracy"].low < 0.95  # 40 right answers of 40 prove no more
    found = made(BINARY._replace(score=None))
    assert found["auroc"].reason == found["average_precision"].reason != ""
    assert found["ece"].reason == "no labelled row has probabilities"


def test_perfect_ranks_of_few_rows_are_not_taken_for_certain() -> None:
    found = made(Outcomes("binary", np.array([0, 0, 0, 1, 1]), np.arange(5) / 5, None, np.array([0, 0, 0, 1, 1])))
    assert found["auroc"].value == 1.0
    assert found["auroc"].low < 0.5


def test_the_grid_costs_less_than_it_admits_and_that_is_little() -> None:
    """A reference of one law, rows of another: ranks by cell beside ranks of the scores themselves."""
    reference, now = binary(5_000, 0), binary(20_000, 1)
    assert now.score is not None
    moved = now._replace(score=now.score**1.7)
    ruler = layout(reference)
    counted = tally(ruler, moved)
    order = np.argsort(now.score)
    place = np.empty(20_000)
    place[order] = np.arange(1, 20_001)
    up = now.truth == 1
    exact = (place[up].mean() - (up.sum() + 1) / 2) / (~up).sum()
    cells = counted.ranks[0, 0].astype(np.float64)
    found = ranks.auroc(cells).value
    assert abs(found - exact) < min(ranks.blur(cells), 2e-4)
    assert ranks.blur(cells) < 1e-3


def bootstrapped(cells: FloatArray, measure: ranks.Measure, draws: int = 400) -> float:
    rng, n = np.random.default_rng(0), int(cells.sum())
    some = rng.multinomial(n, cells.ravel() / n, draws).reshape(draws, *cells.shape).astype(np.float64)
    return float(np.std([measure(one).value for one in some]))


@pytest.mark.parametrize("measure", [ranks.auroc, ranks.average_precision])
def test_influence_has_mean_zero_and_the_spread_of_the_bootstrap(measure: ranks.Measure) -> None:
    outcomes = binary(3_000, 5)
    cells = tally(layout(outcomes), outcomes).ranks[0, 0] / 2.0**30
    found = measure(cells)
    assert abs(float((cells * found.influence).sum())) < 1e-3 * 3_000
    error = math.sqrt(float((cells * found.influence**2).sum())) / 3_000
    assert error == pytest.approx(bootstrapped(cells, measure), rel=0.12)


def test_macro_figures_have_the_spread_of_new_draws() -> None:
    ruler = layout(multiclass(1_000, 0))
    found = [figures(ruler, tally(ruler, multiclass(1_000, seed))) for seed in range(150)]
    for name in ("precision", "recall", "f1", "auroc", "average_precision", "log_loss", "brier"):
        spread = float(np.std([one[name].value for one in found]))
        stated = float(np.mean([one[name].error for one in found]))
        most = 2.0 if name in ("auroc", "average_precision") else 1.15  # those are bounds from above
        assert 0.85 * spread < stated < most * spread, name


@pytest.mark.parametrize("n", [60, 600])
def test_intervals_hold_the_figures_of_the_law(n: int) -> None:
    """300 draws of a law: at 95 % each misses 15 of them, and more than 34 once in a million."""
    value = np.array([[0.0, -5.0], [-1.0, 3.0]])
    ruler, missed = layout(binary(4_000, 999)), dict.fromkeys(OF_TWO, 0)
    truth = figures(ruler, tally(ruler, binary(1_000_000, 998)), value=value)
    for seed in range(300):
        found = figures(ruler, tally(ruler, binary(n, seed)), value=value)
        for name in missed:
            missed[name] += not found[name].low <= truth[name].value <= found[name].high
    assert {name: count for name, count in missed.items() if count > 34} == {}


def test_intervals_of_numbers_hold_the_figures_of_the_law() -> None:
    ruler = layout(regression(4_000, 999), level=0.9)
    truth = figures(ruler, tally(ruler, regression(1_000_000, 998)))
    missed = dict.fromkeys((*OF_NUMBERS, "coverage"), 0)
    for seed in range(300):
        found = figures(ruler, tally(ruler, regression(150, seed)))
        for name in missed:
            missed[name] += not found[name].low <= truth[name].value <= found[name].high
    assert {name: count for name, count in missed.items() if count > 34} == {}


def test_dependent_rows_tell_less() -> None:
    ruler, outcomes = layout(BINARY), binary(500, 0)
    alone, nine = (figures(ruler, tally(ruler, outcomes), tau=tau) for tau in (1.0, 9.0))
    for name in OF_TWO:
        assert nine[name].value == alone[name].value
        assert nine[name].error == pytest.approx(3 * alone[name].error, rel=0.02), name
        assert nine[name].low < alone[name].low < alone[name].high < nine[name].high
