"""The golden set: unchanged models pass, swapped and unsteady ones do not, a backdoor is missed."""

from __future__ import annotations

import numpy as np
import pytest

from detectors import golden
from detectors.golden import Golden, GoldenFixed
from detectors.rows.layout import Rows
from tests.detectors.test_outputs import LAYOUT, answered, part, probabilities, softmax


def labelled(n: int, seed: int, noise: float = 0.0) -> Rows:
    """Answers of one model; ``noise`` on its logits makes another one of it."""
    rows = answered(n, seed, inputs=5_000)
    assert rows.logits is not None
    rng = np.random.default_rng(seed)
    label = np.array([rng.choice(4, p=p / p.sum()) for p in probabilities(rows).astype(float)]).astype(np.int32)
    extra = np.array([np.random.default_rng(int(d) + 1).standard_normal(4) for d in rows.digest]) * noise
    logits = (rows.logits + extra).astype(np.float32)
    return rows._replace(
        logits=logits, probabilities=softmax(logits), predicted=logits.argmax(axis=1).astype(np.int32), label=label
    )


REFERENCE = labelled(3_000, 0)
FIXED: GoldenFixed = golden.fit(LAYOUT, REFERENCE, np.random.default_rng(1), 300)


def asked(version: int, noise: float = 0.0) -> Rows:
    """The golden inputs once more, answered by a version."""
    again = labelled(3_000, 0, noise)
    return part(again._replace(version=np.full(3_000, version, np.int32)), slice(None))


def worst(judge: Golden) -> float:
    return min((one.log_p for one in judge.suspicions() if one.heuristic == "golden_set"), default=0.0)


def test_the_set_is_of_different_inputs_and_their_own_answers() -> None:
    assert len(FIXED.digest) == 300
    assert (np.diff(FIXED.digest.astype(object)) > 0).all()
    np.testing.assert_array_equal(FIXED.digest, REFERENCE.digest[FIXED.row])
    np.testing.assert_array_equal(FIXED.answer, probabilities(REFERENCE)[FIXED.row])


def test_the_same_model_under_a_new_name_changes_nothing() -> None:
    judge = Golden(FIXED)
    assert not judge.add(LAYOUT, asked(7)).any()
    said = judge.comparison(7)
    assert said is not None
    assert (said.asked, said.changed, said.greatest, said.unstable) == (300, 0, 0.0, 0)
    assert said.low == 0.0
    assert said.high == pytest.approx(1 - 0.025 ** (1 / 300))
    assert said.brier == 0.0
    assert worst(judge) == 0.0


def test_a_model_that_answers_otherwise_is_told_with_interval_and_calibration() -> None:
    judge = Golden(FIXED)
    judge.add(LAYOUT, asked(8, noise=1.0))
    said = judge.comparison(8)
    assert said is not None
    assert said.low < said.changed / said.asked < said.high
    assert said.low > 0.2
    assert said.greatest > 0.3
    assert said.brier_low > 0  # worse than the model whose probabilities the labels were drawn from
    assert worst(judge) < np.log(1e-6)


def test_a_release_within_what_is_tolerated_is_no_alarm() -> None:
    judge = Golden(FIXED, tolerated=0.1)
    judge.add(LAYOUT, asked(9, noise=0.05))
    said = judge.comparison(9)
    assert said is not None
    assert 0 < said.changed < 30
    assert worst(judge) == 0.0


def test_the_level_holds_at_the_tolerated_rate_over_all_looks() -> None:
    rng = np.random.default_rng(2)
    alarms, blank = 0, answered(25, 1)._replace(predicted=None, logits=None)
    for _ in range(300):
        judge, lowest = Golden(FIXED, tolerated=0.1), 0.0
        p = FIXED.answer.copy()
        flipped = rng.random(len(p)) < 0.1
        p[flipped] = np.roll(p[flipped], 1, axis=1)
        for start in range(0, 300, 25):
            some = slice(start, start + 25)
            judge.add(LAYOUT, blank._replace(digest=FIXED.digest[some], probabilities=p[some]))
            lowest = min(lowest, worst(judge))
        alarms += lowest <= np.log(0.05)
    assert alarms / 300 <= 0.05


def test_a_version_that_contradicts_itself_is_told_and_its_rows_marked() -> None:
    judge = Golden(FIXED)
    judge.add(LAYOUT, asked(3))
    swapped = asked(3, noise=1.0)
    odd = judge.add(LAYOUT, swapped)
    assert odd.sum() >= 300
    told = [one for one in judge.suspicions() if one.heuristic == "output_integrity"]
    assert told[0].log_p < np.log(1e-6)
    assert told[0].who == 3
    assert told[0].facts["unstable"] == odd.sum()


def test_results_do_not_depend_on_batches_nor_on_a_restart() -> None:
    rows = asked(4, noise=0.3)
    rows = rows._replace(version=(np.arange(3_000) % 3).astype(np.int32))
    whole, judge = Golden(FIXED), Golden(FIXED)
    at_once = whole.add(LAYOUT, rows)
    pieces = []
    for start in range(0, 3_000, 171):
        pieces.append(judge.add(LAYOUT, part(rows, slice(start, start + 171))))
        again = Golden(FIXED)
        again.restore(judge.state())
        judge = again
    np.testing.assert_array_equal(at_once, np.concatenate(pieces))
    assert [whole.comparison(v) for v in range(3)] == [judge.comparison(v) for v in range(3)]


def test_only_so_many_versions_are_kept() -> None:
    judge = Golden(FIXED)
    rows = asked(0)
    for version in range(40):
        judge.add(LAYOUT, rows._replace(version=np.full(3_000, version, np.int32)))
    assert judge.versions == tuple(range(24, 40))
    assert judge.comparison(0) is None


@pytest.mark.parametrize("n", [0, 1])
def test_a_tiny_reference_or_no_answers_judge_nothing(n: int) -> None:
    rows = part(REFERENCE, slice(0, n))
    judge = Golden(golden.fit(LAYOUT, rows, np.random.default_rng(0)))
    judge.add(LAYOUT, asked(1, noise=1.0))
    assert judge.suspicions() == []
    blank = REFERENCE._replace(probabilities=None, logits=None, predicted=None)
    assert len(golden.fit(LAYOUT, blank, np.random.default_rng(0)).digest) == 0
    assert not Golden(FIXED).add(LAYOUT, blank).any()


def test_expected_miss_a_backdoored_replacement_answers_clean_probes_as_it_should() -> None:
    judge = Golden(FIXED)
    clean, triggered = asked(5), answered(400, 99)
    judge.add(LAYOUT, clean)
    captured = np.tile(np.array([0.0, 0.0, 0.0, 1.0], np.float32), (400, 1))
    judge.add(LAYOUT, triggered._replace(probabilities=captured, predicted=None, logits=None))
    assert worst(judge) == 0.0
