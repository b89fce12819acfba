"""Mixing keeps rows, answers, names and times together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.attacks import traces
from tests.attacks.campaign import campaign
from tests.attacks.lookalikes import IMAGES, TABLES, fresh
from tests.attacks.tasks import Task, glyphs, spambase
from tests.attacks.traces import Trace
from tests.statistical import data


def benign(rows: int = 1000, seed: int = 0) -> Trace:
    task, rng = glyphs(), np.random.default_rng(seed)
    return traces.traffic(fresh(task)(rows, rng), task.answer, rng)


def attack(most: int = 100) -> Trace:
    return campaign(glyphs(), "HopSkipJump", np.random.default_rng(1), most=most).trace


def test_mixed_traces_are_in_order_and_whole() -> None:
    both = traces.mix(benign(300), attack())
    assert both.rows == 400
    assert (np.diff(both.time) >= 0).all()
    assert both.is_attack.sum() == 100
    np.testing.assert_allclose(both.probabilities, glyphs().answer(both.inputs), atol=1e-6)
    assert set(both.kind[both.is_attack]) == {"HopSkipJump"}


def test_ordinary_clients_are_many_and_some_busy() -> None:
    rows = np.unique(benign().client, return_counts=True)[1]
    assert len(rows) > 30
    assert rows.max() > 5 * np.median(rows)
    assert (benign().client > 0).all()


def test_a_diluted_attacker_sends_mostly_ordinary_rows_under_the_same_name() -> None:
    mixed = traces.dilute(attack(), benign(), 0.2, np.random.default_rng(2))
    assert mixed.rows == 500
    assert mixed.is_attack.mean() == pytest.approx(0.2)
    assert len(np.unique(mixed.client)) == 1
    with pytest.raises(ValueError, match="1900 ordinary rows are needed, there are 1000"):
        traces.dilute(attack(), benign(), 0.05, np.random.default_rng(2))


def test_sybil_names_spread_the_attack_and_nothing_else() -> None:
    whole = traces.mix(benign(300), attack())
    spread = traces.sybil(whole, 10, np.random.default_rng(3))
    assert len(np.unique(spread.client[spread.is_attack])) == 10
    np.testing.assert_array_equal(spread.client[~spread.is_attack], whole.client[~whole.is_attack])


def test_dither_moves_attacking_rows_by_its_sigma_and_answers_anew() -> None:
    task, whole = glyphs(), traces.mix(benign(300), attack())
    noisy = traces.dither(whole, 0.1, task.answer, np.random.default_rng(4), task.free)
    inner = (whole.inputs > 0.4) & (whole.inputs < 0.6) & whole.is_attack[:, None]
    assert (noisy.inputs - whole.inputs)[inner].std() == pytest.approx(0.1, rel=0.05)
    np.testing.assert_array_equal(noisy.inputs[~noisy.is_attack], whole.inputs[~whole.is_attack])
    np.testing.assert_array_equal(noisy.probabilities, task.answer(noisy.inputs))


def test_equal_rows_have_equal_digests_and_others_others() -> None:
    rows = benign().inputs
    found = traces.digests(np.concatenate([rows, rows[:100]]))
    assert len(np.unique(found)) == len(rows)
    np.testing.assert_array_equal(found[:100], found[-100:])


def test_queries_say_what_the_answers_were() -> None:
    sent = benign(50)
    made = traces.queries(sent, sent.inputs[:, :8])
    top = np.sort(sent.probabilities, axis=1)
    np.testing.assert_allclose(made.margin, top[:, -1] - top[:, -2], atol=1e-6)
    np.testing.assert_array_equal(made.predicted, sent.probabilities.argmax(axis=1))
    np.testing.assert_array_equal(made.confidence, top[:, -1])


def need(name: str) -> Task:
    try:
        return {"glyphs": glyphs, "spambase": spambase}[name]()
    except data.AbsentError as absent:
        pytest.skip(str(absent))


@pytest.mark.parametrize(
    ("name", "kind"),
    [*(("glyphs", kind) for kind in IMAGES), *(("spambase", kind) for kind in TABLES)],
)
def test_look_alikes_go_on_for_ever_and_are_no_attack(name: str, kind: str) -> None:
    task, rng = need(name), np.random.default_rng(5)
    make = (IMAGES if task.image[0] else TABLES)[kind]
    parts = list(itertools.islice(make(task, fresh(task), rng, 500), 4))
    whole = Trace._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
    assert 1500 <= whole.rows <= 3000
    assert not whole.is_attack.any()
    assert set(whole.kind) == {kind}
    assert (np.diff(whole.time) >= 0).all()
    assert whole.inputs.min() >= 0
    assert whole.inputs.max() <= 1
    np.testing.assert_allclose(whole.probabilities, task.answer(whole.inputs), atol=1e-5)


def look(kind: str, rows: int = 1000) -> Trace:
    task = glyphs()
    return next(IMAGES[kind](task, fresh(task), np.random.default_rng(6), rows))


def test_retries_are_byte_for_byte_the_same() -> None:
    sent = look("retries")
    again = np.diff(traces.digests(sent.inputs).astype(np.int64)) == 0
    assert 0.4 < again.mean() < 0.6
    assert (np.diff(sent.client.astype(np.int64))[again] == 0).all()


def test_an_ambiguous_object_is_answered_now_so_now_so_with_low_margins() -> None:
    sent = look("ambiguous video")
    made = traces.queries(sent, sent.inputs[:, :8])
    assert (np.diff(made.predicted) != 0).sum() > 50
    assert np.median(made.margin) < 0.3
    calm = traces.queries(look("video"), sent.inputs[:, :8])
    assert np.median(calm.margin) > 0.5


def test_frames_of_a_video_are_nearer_to_the_last_one_than_other_rows_are() -> None:
    rows = look("video").inputs
    frames = np.linalg.norm(rows[3:] - rows[:-3], axis=1)
    others = np.linalg.norm(rows[1:] - rows[:-1], axis=1)
    assert np.median(frames) < 0.3 * np.median(others)
