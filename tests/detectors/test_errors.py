"""The e-detector of the error stream: laws, what it sees, what it leaves alone, and its run length."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.performance.errors import Asks, Errors, ErrorsFixed, question, tau_of
from detectors.performance.types import Kind, Outcomes
from detectors.types import FloatArray, Reason
from tests.detectors.outcomes import MADE, binary, multiclass, ranking, regression, take

STREAMS: tuple[tuple[Kind, Asks], ...] = (
    ("binary", "errors"),
    ("binary", "calibration"),
    ("multiclass", "errors"),
    ("multiclass", "calibration"),
    ("regression", "errors"),
)


def watch(detector: Errors, fixed: ErrorsFixed, panes: list[Outcomes]) -> FloatArray:
    """Log e ``(panes, units)``."""
    state, told = detector.start(fixed), []
    for pane in panes:
        state, evidence = detector.score(fixed, state, detector.answers(fixed, pane))
        told.append(evidence.log_e)
    return np.array(told)


@pytest.mark.parametrize(("kind", "asks"), STREAMS)
def test_answers_add_up_in_any_order_and_are_taken_back(kind: Kind, asks: Asks) -> None:
    outcomes, detector = MADE[kind](900, 0), Errors(asks=asks)
    segment = np.arange(900) % 4 - 1
    fixed = detector.fit(outcomes, segment, 3)
    whole = detector.answers(fixed, outcomes, segment)
    order = np.random.default_rng(0).permutation(900)
    one, two = (detector.answers(fixed, take(outcomes, some), segment[some]) for some in (order[:400], order[400:]))
    assert all((a == b).all() for a, b in zip(two.plus(one), whole, strict=True))
    assert all((a == b).all() for a, b in zip(whole.plus(one, -1), two, strict=True))
    assert ((whole.yes >= 0) & (whole.yes <= whole.asked)).all()
    assert np.allclose(fixed.questions.share, whole.yes / np.maximum(whole.asked, 1))


@pytest.mark.parametrize(("kind", "asks"), STREAMS)
def test_segments_are_judged_as_if_they_were_alone(kind: Kind, asks: Asks) -> None:
    """But for the cuts, which are those of all rows: so every row is in the segment here."""
    outcomes, detector, all_ = MADE[kind](900, 0), Errors(asks=asks), np.zeros(900, np.int64)
    fixed = detector.fit(outcomes, all_, 1)
    state = detector.start(fixed)
    _, evidence = detector.score(fixed, state, detector.answers(fixed, take(outcomes, slice(0, 90)), all_[:90]))
    assert evidence.log_e[0] == evidence.log_e[1]
    assert evidence.n.tolist() == [90.0, 90.0] if asks == "errors" else True


def test_the_counts_are_what_a_loop_gives() -> None:
    outcomes, detector = multiclass(500, 0), Errors()
    fixed = detector.fit(outcomes)
    found = detector.answers(fixed, outcomes)
    wrong = outcomes.prediction != outcomes.truth
    assert found.asked[0] == 500
    assert found.yes[0] == wrong.sum()
    for c in range(4):
        assert found.asked[1 + c] == (outcomes.prediction == c).sum()
        assert found.yes[1 + c] == (wrong & (outcomes.prediction == c)).sum()
    assert found.asked[5:].sum() == 500
    assert found.yes[5:].sum() == wrong.sum()
    words = [question(fixed.plan, i) for i in range(len(found.yes))]
    assert words[:2] == ["answers are wrong", "answers of class 0 are wrong"]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize("asks", ["errors", "calibration"])
def test_a_model_whose_labels_have_come_to_mean_something_else_is_found(asks: Asks) -> None:
    detector = Errors(asks=asks)
    fixed = detector.fit(binary(5_000, 0))
    panes = [binary(100, seed) for seed in range(10)] + [binary(100, seed, sharp=-0.5) for seed in range(10, 20)]
    told = watch(detector, fixed, panes)[:, 0]
    assert told[:10].max() < np.log(100)
    assert told[-1] > np.log(1e6)


def test_a_regression_that_underestimates_is_found_and_named() -> None:
    detector = Errors()
    fixed = detector.fit(regression(2_000, 0))
    state = detector.start(fixed)
    for seed in range(1, 6):
        now = regression(50, seed)
        now = now._replace(truth=np.asarray(now.truth, np.float64) + 0.4)
        state, evidence = detector.score(fixed, state, detector.answers(fixed, now))
    assert evidence.log_e[0] > np.log(1e6)
    words = question(fixed.plan, int(evidence.extra["question"][0]))
    assert words.startswith(("underestimated by more than", "errors are larger than"))


def test_another_mix_of_scores_is_no_error_within_them() -> None:
    """Rows near the border come in its place: more errors, but none that their scores do not say."""
    outcomes, detector = binary(60_000, 1), Errors()
    assert outcomes.score is not None
    fixed = detector.fit(take(outcomes, slice(0, 20_000)))
    _, yes, asked = fixed.questions.unit, *detector.answers(fixed, take(outcomes, slice(20_000, 60_000)))
    hard = np.flatnonzero((outcomes.score > 0.2) & (outcomes.score < 0.6))
    hard = hard[hard >= 20_000]
    more = detector.answers(fixed, take(outcomes, hard))
    assert more.yes[0] / more.asked[0] > yes[0] / asked[0] + 0.1
    within = more.asked[3:] > 200
    assert (more.yes[3:] / np.maximum(more.asked[3:], 1) < fixed.questions.p0[3:] + 0.05)[within].all()


def test_labels_not_there_yet_are_not_asked() -> None:
    outcomes, detector = binary(200, 0), Errors()
    fixed = detector.fit(binary(2_000, 1))
    late = outcomes._replace(truth=np.full(200, -1))
    state = detector.start(fixed)
    after, evidence = detector.score(fixed, state, detector.answers(fixed, late))
    assert all((a == b).all() for a, b in zip(after, state, strict=True))
    assert evidence.n[0] == 0
    assert np.isnan(evidence.statistic[0])


def test_without_scores_the_answers_alone_are_judged() -> None:
    detector = Errors()
    fixed = detector.fit(binary(3_000, 0)._replace(score=None))
    wrong = binary(300, 1)._replace(score=None)
    wrong = wrong._replace(truth=1 - np.asarray(wrong.prediction, np.int64))
    assert watch(detector, fixed, [wrong])[0, 0] > np.log(1e6)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_reference_of_next_to_nothing_lets_nobody_alarm(rows: int) -> None:
    for kind, asks in STREAMS:
        detector = Errors(asks=asks)
        fixed = detector.fit(MADE[kind](rows, 0), np.zeros(rows, np.int64), 1)
        state = detector.start(fixed)
        _, evidence = detector.score(fixed, state, detector.answers(fixed, MADE[kind](50, 1)))
        assert (evidence.log_e[0] < np.log(1e3)) | (evidence.reason[0] == Reason.NO_REFERENCE)


def test_forgetting_a_segment_leaves_the_others() -> None:
    detector, segment = Errors(), np.arange(2_000) % 2
    fixed = detector.fit(binary(2_000, 0), segment, 2)
    wrong = binary(200, 1)
    pane = detector.answers(fixed, wrong._replace(truth=1 - np.asarray(wrong.prediction, np.int64)), segment[:200])
    state, _ = detector.score(fixed, detector.start(fixed), pane)
    state = detector.forget(fixed, state, np.array([False, True, False]))
    _, evidence = detector.score(fixed, state, detector.answers(fixed, take(wrong, slice(0, 0))))
    assert evidence.log_e[1] == -np.inf
    assert evidence.log_e[[0, 2]].min() > np.log(1e6)


def test_dependent_errors_count_for_less() -> None:
    rng = np.random.default_rng(0)
    bursts = np.repeat(rng.random(500) < 0.1, 20)
    truth = np.where(bursts, 1, 0)
    outcomes = Outcomes("binary", np.zeros(10_000, np.int64), None, None, truth)
    fixed = Errors().fit(outcomes)
    assert 8 < tau_of(fixed) < 25
    shuffled = outcomes._replace(truth=rng.permutation(truth))
    assert tau_of(Errors().fit(shuffled)) < 1.3


def test_streams_that_there_are_not_are_refused() -> None:
    for outcomes, asks in ((ranking(50, 0), "errors"), (regression(50, 0), "calibration")):
        with pytest.raises(ValueError, match="`outcomes`"):
            Errors(asks=asks).fit(outcomes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "asks"), STREAMS)
def test_the_run_length_is_kept(kind: Kind, asks: Asks) -> None:
    """At a threshold of 200 panes, 40 streams of 100 panes alarm 20 times at most on average; 40 would be 1e-4."""
    detector, count = Errors(tolerance=0.0, asks=asks), 0
    for seed in range(40):
        outcomes = MADE[kind](3_000, seed)
        fixed = detector.fit(take(outcomes, slice(0, 1_000)))
        panes = [take(outcomes, slice(begin, begin + 20)) for begin in range(1_000, 3_000, 20)]
        count += int((watch(detector, fixed, panes)[:, 0] >= np.log(200)).any())
    assert count <= 20
