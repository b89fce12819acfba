"""The attacks do what their papers say, against models trained here: no detector is judged by a broken attack."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.types import SingleArray
from tests.attacks import decision, extraction, score, whitebox
from tests.attacks.campaign import attacks, campaign
from tests.attacks.models import Network, accuracy, one_hot, train
from tests.attacks.oracle import Goal, Oracle, SpentError, aim, disturbed, run
from tests.attacks.tasks import Task, adult, glyphs, letters, mnist, more_glyphs, spambase
from tests.statistical import data

RUNS = 5
SCORED = ("NES", "Square", "SimBA", "ZOO")
DECIDED = ("Boundary", "HopSkipJump", "SignOPT")


def need(name: str) -> Task:
    try:
        return {"glyphs": glyphs, "mnist": mnist, "spambase": spambase, "adult": adult}[name]()
    except data.AbsentError as absent:
        pytest.skip(str(absent))


def answer(task: Task, row: SingleArray) -> int:
    return int(task.answer(row[None].astype(np.float32))[0].argmax())


@pytest.mark.parametrize(("name", "least"), [("glyphs", 0.97), ("mnist", 0.92), ("spambase", 0.92), ("adult", 0.83)])
def test_the_models_have_learnt_their_task(name: str, least: float) -> None:
    task = need(name)
    assert accuracy(task.network, task.test, task.test_labels) >= least
    assert task.test.min() >= 0
    assert task.test.max() <= 1


def test_softmax_regression_learns_digits() -> None:
    task = need("mnist")
    plain = train(task.train, task.train_labels, 10, np.random.default_rng(0))
    assert len(plain.weights) == 1
    assert accuracy(plain, task.test, task.test_labels) > 0.85


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    task, rng = glyphs(), np.random.default_rng(0)
    x, label = task.test[:20], task.test_labels[:20]
    move = 0.01 * rng.standard_normal(x.shape).astype(np.float32)

    def loss(rows: SingleArray) -> SingleArray:
        return np.asarray(-np.log(task.answer(rows))[np.arange(20), label], np.float32)

    slope = (task.network.gradient(x, label) * move).sum(axis=1)
    np.testing.assert_allclose((loss(x + move) - loss(x - move)) / 2, slope, atol=0.02 * np.abs(slope).max())


@pytest.mark.parametrize("name", ["glyphs", "mnist"])
def test_white_box_attacks_take_the_answers_and_stay_in_their_ball(name: str) -> None:
    task, rng = need(name), np.random.default_rng(0)
    x, label = task.test[:300], task.test_labels[:300]
    fast, iterated = whitebox.fgsm(task.network, x, label, 0.15), whitebox.pgd(task.network, x, label, 0.15, rng)
    least = whitebox.deepfool(task.network, x, label)
    assert np.abs(fast - x).max() <= 0.1501
    assert np.abs(iterated - x).max() <= 0.1501
    assert accuracy(task.network, iterated, label) < accuracy(task.network, fast, label) < 0.5
    assert accuracy(task.network, least, label) < 0.02
    assert np.median(np.linalg.norm(least - x, axis=1)) < 0.8 * np.median(np.linalg.norm(iterated - x, axis=1))


@pytest.mark.parametrize("kind", DECIDED)
@pytest.mark.parametrize("name", ["glyphs", "mnist", "spambase"])
def test_decision_attacks_come_closer_to_the_source(name: str, kind: str) -> None:
    task = need(name)
    ratios = []
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        goal, tail = aim(task, rng)
        found = run(attacks(task)[kind], Oracle(task, 1000, tail), goal, rng)
        assert found is not None
        assert answer(task, np.concatenate([found, tail])) != goal.label
        ratios.append(np.linalg.norm(found - goal.source) / np.linalg.norm(goal.start - goal.source))
    assert np.median(ratios) < 0.5


@pytest.mark.parametrize("kind", SCORED)
@pytest.mark.parametrize("name", ["glyphs", "mnist", "spambase"])
def test_score_attacks_change_the_answer_within_their_ball(name: str, kind: str) -> None:
    task = need(name)
    changed = 0
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        goal, tail = aim(task, rng)
        found = run(attacks(task)[kind], Oracle(task, 2000, tail), goal, rng)
        changed += found is not None and answer(task, np.concatenate([found, tail])) != goal.label
        if found is not None and kind in ("NES", "Square"):
            assert np.abs(found - goal.source).max() <= 0.3 + 1e-9
    assert changed >= RUNS - 1


def test_attacks_on_census_rows_move_only_its_numbers() -> None:
    task = need("adult")
    for kind in attacks(task):
        done = campaign(task, kind, np.random.default_rng(4), most=300, each=300)
        first = done.trace.inputs[0, task.free :]
        assert done.trace.rows == 300
        if done.attacks == 1:
            np.testing.assert_array_equal(done.trace.inputs[:, task.free :], np.tile(first, (300, 1)))


def test_an_oracle_answers_no_more_than_it_may_and_records_what_was_sent() -> None:
    task, rng = glyphs(), np.random.default_rng(0)
    oracle = Oracle(task, 5, disturb=disturbed(0.1, rng, task))
    row = np.full((3, 400), 0.5)
    oracle.ask(row)
    with pytest.raises(SpentError):
        oracle.ask(row)
    assert oracle.asked == 5
    assert oracle.inputs.shape == (5, 400)
    np.testing.assert_array_equal(oracle.probabilities, task.answer(oracle.inputs))
    np.testing.assert_allclose(oracle.inputs * 255, np.rint(oracle.inputs * 255), atol=1e-4)
    assert 0.05 < np.abs(oracle.inputs - 0.5).mean() < 0.11


def test_an_attack_is_the_same_again_from_the_same_seed() -> None:
    one, other = (campaign(glyphs(), "HopSkipJump", np.random.default_rng(3), most=200) for _ in range(2))
    np.testing.assert_array_equal(one.trace.inputs, other.trace.inputs)
    assert one.trace.client[0] == other.trace.client[0]


def test_a_decision_attack_that_starts_with_the_right_answer_gives_up() -> None:
    task, rng = glyphs(), np.random.default_rng(0)
    goal, _ = aim(task, rng)
    for attack in (decision.boundary, decision.hop_skip_jump, decision.sign_opt):
        assert run(attack, Oracle(task, 50), goal._replace(start=goal.source), rng) is None


def test_inversion_climbs_to_certainty() -> None:
    task, rng = glyphs(), np.random.default_rng(0)
    oracle = Oracle(task, 3000)
    found = run(score.inversion(), oracle, Goal(np.zeros(400), 3, np.zeros(400)), rng)
    assert found is not None
    assert task.answer(found[None].astype(np.float32))[0, 3] > 0.99
    assert oracle.probabilities[0, 3] < 0.9


def agreement(task: Task, copy: Network) -> float:
    return float(np.mean(copy.logits(task.test).argmax(axis=1) == task.answer(task.test).argmax(axis=1)))


def copies(task: Task, thief: extraction.Thief, most: int) -> list[Network]:
    return list(thief(Oracle(task, most), np.random.default_rng(0)))


def test_extraction_makes_a_copy_that_agrees_with_the_model() -> None:
    task, rng = glyphs(), np.random.default_rng(0)
    seeds = more_glyphs(100, rng)
    jacobian = copies(task, extraction.jacobian(seeds), 2000)
    foreign = copies(task, extraction.sending(more_glyphs(1000, rng, seed=9)), 1000)
    uncertain = copies(task, extraction.uncertain(more_glyphs(600, rng)), 600)
    assert agreement(task, jacobian[-1]) > agreement(task, jacobian[0]) > 0.6
    assert agreement(task, foreign[-1]) > 0.5
    assert agreement(task, uncertain[-1]) > 0.9


def test_knock_off_nets_copy_the_digits_by_letters() -> None:
    task = need("mnist")
    copy = copies(task, extraction.sending(letters()[:2000]), 2000)[-1]
    assert agreement(task, copy) > 0.5


def test_membership_probes_are_training_rows_among_others() -> None:
    task, rng = glyphs(), np.random.default_rng(0)
    sent = extraction.membership(task.train[:50], task.test[:50], rng)
    known = {row.tobytes() for row in task.train}
    assert sum(row.tobytes() in known for row in sent) == 50
    moved = extraction.membership(task.train[:50], task.test[:50], rng, sigma=0.01)
    assert not any(row.tobytes() in known for row in moved)


def test_a_reprogrammed_model_is_sent_foreign_images_in_one_frame() -> None:
    rng = np.random.default_rng(0)
    small = rng.random((30, 64), np.float32)
    rows = extraction.reprogrammed(small, (20, 20), rng).reshape(30, 20, 20)
    np.testing.assert_array_equal(rows[:, 6:14, 6:14].reshape(30, -1), small)
    np.testing.assert_array_equal(rows[:, :6], np.tile(rows[:1, :6], (30, 1, 1)))


@pytest.mark.parametrize("name", ["glyphs", "spambase", "adult"])
def test_honest_rows_are_natural_and_moved_ones_are_made_so(name: str) -> None:
    task = need(name)
    honest = task.block(task.test[:200])
    np.testing.assert_allclose(task.natural(task.test[:200]), task.test[:200], atol=1e-5)
    moved = task.test[:200].copy()
    moved[:, : task.free] += np.random.default_rng(0).normal(0, 0.02, (200, task.free)).astype(np.float32)
    natural = task.block(task.natural(moved))
    if task.columns is None:
        np.testing.assert_allclose(natural.vectors[0] * 255, np.rint(natural.vectors[0] * 255), atol=1e-4)
        return
    step = task.columns.step
    for block in (honest, natural):
        np.testing.assert_allclose(block.numeric / step, np.rint(block.numeric / step), atol=1e-6)
    np.testing.assert_array_equal(natural.codes, honest.codes)


def test_one_hot_puts_one_at_the_class() -> None:
    np.testing.assert_array_equal(one_hot(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
