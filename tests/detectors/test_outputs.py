"""Output integrity: sound answers pass, each kind of damage is named, results do not depend on batches."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import simulate
from detectors.rows import outputs
from detectors.rows.layout import Layout, Rows
from detectors.rows.outputs import KINDS, Outputs
from detectors.types import SingleArray

MINUS = np.array(-1, np.int64)
NONE = np.zeros(0, np.int64)
LAYOUT = Layout(NONE, NONE, MINUS, MINUS, MINUS, MINUS, MINUS, NONE)


def softmax(logits: NDArray[np.floating]) -> SingleArray:
    wide = np.exp(logits - logits.max(axis=1, keepdims=True))
    p: SingleArray = (wide / wide.sum(axis=1, keepdims=True)).astype(np.float32)
    return p


def answered(n: int, seed: int, classes: int = 4, inputs: int = 1 << 40) -> Rows:
    """Answers that depend on the input alone; few ``inputs`` come again and again."""
    rng = np.random.default_rng(seed)
    digest = rng.integers(1, inputs, n).astype(np.uint64)
    logits = np.array([np.random.default_rng(int(one)).standard_normal(classes) for one in digest]).reshape(n, classes)
    return Rows(
        block=simulate.block_of(np.zeros((n, 0))),
        digest=digest,
        predicted=logits.argmax(axis=1).astype(np.int32),
        probabilities=softmax(logits),
        logits=logits.astype(np.float32),
        version=np.zeros(n, np.int32),
    )


def probabilities(rows: Rows) -> SingleArray:
    assert rows.probabilities is not None
    return rows.probabilities


def part(rows: Rows, some: slice) -> Rows:
    taken = {name: value[some] for name, value in rows._asdict().items() if isinstance(value, np.ndarray)}
    return rows._replace(block=simulate.block_of(np.zeros((len(taken["digest"]), 0))), **taken)


FIXED = outputs.fit(LAYOUT, answered(2_000, 0, inputs=1_500))


def test_sound_answers_pass_and_repeats_agree() -> None:
    judge = Outputs(FIXED, LAYOUT)
    found = judge.add(answered(3_000, 1, inputs=2_000))
    assert not found.kinds.any()
    assert np.isfinite(found.difference).sum() > 1_000
    assert found.log_e.max() <= 0
    assert (outputs.null_rates(FIXED)[:5] < 0.005).all()
    assert not FIXED.checked & outputs.SLOW


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ("missing", outputs.MISSING),
        ("sum", outputs.SIMPLEX),
        ("negative", outputs.SIMPLEX),
        ("class", outputs.LIKELIEST),
        ("logits", outputs.SOFTMAX),
    ],
)
def test_each_damage_is_named(damage: str, kind: int) -> None:
    rows = answered(20, 2)
    assert rows.probabilities is not None
    assert rows.logits is not None
    assert rows.predicted is not None
    if damage == "missing":
        rows.probabilities[3] = np.nan
    elif damage == "sum":
        rows.probabilities[3] *= 1.01
    elif damage == "negative":
        rows.probabilities[3, :2] = [-0.1, rows.probabilities[3, :2].sum() + 0.1]
    elif damage == "class":
        rows.predicted[3] = rows.probabilities[3].argmin()
    else:
        rows.logits[3, 0] += 1
    kinds = Outputs(FIXED, LAYOUT).add(rows).kinds
    assert kinds[3] & kind
    assert not np.delete(kinds, 3).any()


def test_another_answer_to_the_same_input_is_told_unless_the_version_is_another() -> None:
    judge = Outputs(FIXED, LAYOUT)
    rows = answered(40, 3)
    judge.add(rows)
    other = rows._replace(probabilities=np.roll(probabilities(rows), 1, axis=1), predicted=None, logits=None)
    assert (judge.add(other).kinds & outputs.OTHER).all()
    assert not judge.add(other._replace(version=np.ones(40, np.int32))).kinds.any()


def test_a_dead_model_is_told_within_a_few_inputs_and_one_replayed_input_is_not() -> None:
    rows = answered(60, 4)
    same = np.repeat(probabilities(rows)[:1], 60, axis=0)
    dead = rows._replace(probabilities=same, predicted=None, logits=None)
    found = Outputs(FIXED, LAYOUT).add(dead)
    assert found.run[-1] == 60
    assert found.log_e[8] > np.log(1e6)
    replayed = dead._replace(digest=np.tile(rows.digest[:2], 30))
    assert Outputs(FIXED, LAYOUT).add(replayed).log_e.max() < np.log(1e6)


def test_runs_of_a_frequent_class_have_an_expectation_below_one() -> None:
    rng = np.random.default_rng(5)
    n, streams = 300, 400
    law = np.array([0.8, 0.1, 0.1])

    def classes(seed: int, rows: int) -> Rows:
        rng = np.random.default_rng(seed)
        return Rows(
            simulate.block_of(np.zeros((rows, 0))),
            rng.integers(1, 1 << 60, rows).astype(np.uint64),
            predicted=rng.choice(3, rows, p=law).astype(np.int32),
        )

    fixed = outputs.fit(LAYOUT, classes(0, 5_000))
    assert 0.8 < float(fixed.repeat) < 0.83
    evidence = [Outputs(fixed, LAYOUT, 512).add(classes(int(s), n)).log_e for s in rng.integers(1, 1 << 30, streams)]
    assert np.mean([np.exp(each[-1]) for each in evidence]) < 1
    assert np.mean([each.max() > np.log(20) for each in evidence]) < 0.05


def test_late_answers_are_told_if_a_thousand_reference_rows_say_what_is_late() -> None:
    reference = answered(2_000, 0, inputs=1_500)
    usual = np.random.default_rng(6).gamma(4, 0.01, 2_000)
    fixed = outputs.fit(LAYOUT, reference, usual)
    seen = Outputs(fixed, LAYOUT).add(answered(4, 7), np.array([0.03, 5.0, np.nan, 0.05]))
    assert seen.kinds.tolist() == [0, outputs.SLOW, 0, 0]
    few = outputs.fit(LAYOUT, part(reference, slice(0, 500)), usual[:500])
    assert not Outputs(few, LAYOUT).add(answered(1, 7), np.array([5.0])).kinds.any()


def test_a_thresholded_model_is_not_held_to_its_likeliest_class_and_a_noisy_one_not_to_the_last_bit() -> None:
    rows = answered(3_000, 8, inputs=1_000)
    assert rows.probabilities is not None
    assert rows.logits is not None
    noise = np.random.default_rng(9).normal(0, 1e-4, rows.logits.shape)
    noisy = rows._replace(logits=None, probabilities=softmax(rows.logits + noise), predicted=np.zeros(3_000, np.int32))
    fixed = outputs.fit(LAYOUT, noisy)
    assert outputs.SAME < float(fixed.same) < 1e-3
    seen = Outputs(fixed, LAYOUT).add(part(noisy, slice(1_500, 3_000)))
    assert not (seen.kinds & (outputs.LIKELIEST | outputs.OTHER)).any()


def test_results_do_not_depend_on_batches_nor_on_a_restart() -> None:
    rows = answered(900, 10, inputs=300)
    assert rows.probabilities is not None
    rows.probabilities[::50] = rows.probabilities[0]
    rows.probabilities[7::90] = np.nan
    whole = Outputs(FIXED, LAYOUT, 64).add(rows)
    judge, pieces = Outputs(FIXED, LAYOUT, 64), []
    for start in range(0, 900, 37):
        pieces.append(judge.add(part(rows, slice(start, start + 37))))
        again = Outputs(FIXED, LAYOUT, 64)
        again.restore(judge.state())
        judge = again
    for name in ("kinds", "difference", "log_e", "run"):
        np.testing.assert_array_equal(getattr(whole, name), np.concatenate([getattr(piece, name) for piece in pieces]))


def test_memory_is_bounded_and_answers_of_a_thousand_classes_are_summed_up() -> None:
    judge = Outputs(outputs.fit(LAYOUT, answered(200, 0, 1_000)), LAYOUT, 128)
    rows = answered(500, 11, 1_000)
    judge.add(rows)
    assert judge.state()["answer"].shape == (128, outputs.WIDTH)
    assert rows.probabilities is not None
    swapped = rows.probabilities[-3:].copy()
    swapped[:, [4, 5]] = swapped[:, [5, 4]] + np.array([[0.01, -0.01]], np.float32)
    later = part(rows, slice(497, 500))._replace(probabilities=swapped, predicted=None, logits=None)
    assert (judge.add(later).kinds & outputs.OTHER).all()


@pytest.mark.parametrize("missing", ["probabilities", "predicted", "everything"])
def test_a_log_that_carries_less_is_judged_on_less(missing: str) -> None:
    rows = answered(300, 12)
    gone = dict.fromkeys(("probabilities", "logits", "predicted", "version") if missing == "everything" else [missing])
    less = rows._replace(**gone)  # type: ignore[arg-type]
    judge = Outputs(outputs.fit(LAYOUT, less), LAYOUT)
    assert not judge.add(less).kinds.any()
    assert judge.add(part(less, slice(0, 0))).kinds.shape == (0,)


def test_expected_miss_a_tampered_answer_to_an_input_that_never_comes_again_is_not_seen() -> None:
    rows = answered(300, 13)
    assert rows.probabilities is not None
    p = rows.probabilities[:, ::-1].copy()
    tampered = rows._replace(probabilities=p, predicted=p.argmax(axis=1).astype(np.int32), logits=None)
    found = Outputs(FIXED, LAYOUT).add(tampered)
    assert not found.kinds.any()
    assert found.log_e.max() <= 0


def test_hostile_numbers_are_answers_that_are_missing_or_wrong() -> None:
    rows = answered(4, 14)
    p = np.array([[np.inf, 0, 0, 0], [3e38, 3e38, 3e38, 3e38], [-3e38, 0, 0, 0], [np.nan] * 4], np.float32)
    kinds = Outputs(FIXED, LAYOUT).add(rows._replace(probabilities=p, logits=None, predicted=None)).kinds
    assert [bool(kind) for kind in kinds] == [True] * 4
    assert len(KINDS) == 6
