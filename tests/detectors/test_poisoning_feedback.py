"""Feedback by source: who contradicts the trusted rows is found, a change that all share is told as the fleet's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.poisoning.feedback import Feedback, FeedbackFixed, fit
from detectors.rows.layout import Rows
from detectors.types import Block, CodeArray, SingleArray

LEVEL = float(np.log(1e4))


def drawn(n: int, rng: np.random.Generator) -> tuple[SingleArray, CodeArray]:
    """Three classes that overlap a little."""
    label = rng.integers(0, 3, n).astype(np.int32)
    centres = 2.2 * np.eye(3, 6)
    return (centres[label] + rng.standard_normal((n, 6))).astype(np.float32), label


def rows(label: CodeArray, client: NDArray[np.integer]) -> Rows:
    n = len(label)
    block = Block(np.zeros((n, 0)), np.zeros((n, 0), np.int32), np.zeros(0, np.int64))
    return Rows(block, digest=np.arange(n, dtype=np.uint64), client=client.astype(np.uint64), label=label)


@pytest.fixture(scope="module")
def fixed() -> FeedbackFixed:
    rng = np.random.default_rng(0)
    z, label = drawn(2_000, rng)
    p = np.exp(2.2 * z[:, :3].astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    return fit(z, label, 3, rng, probabilities=p, digest=np.arange(2_000, dtype=np.uint64))


def flipped(label: CodeArray, where: NDArray[np.bool_]) -> CodeArray:
    return np.where(where, (label + 1) % 3, label).astype(np.int32)


def test_honest_sources_raise_nothing(fixed: FeedbackFixed) -> None:
    rng = np.random.default_rng(1)
    feedback = Feedback(fixed, 50)
    z, label = drawn(6_000, rng)
    flags = feedback.add(rows(label, rng.integers(1, 20, 6_000)), z)
    assert feedback.suspicions(LEVEL) == []
    assert flags.mean() < 0.02


def test_a_source_that_turns_bad_late_is_found_and_nobody_else(fixed: FeedbackFixed) -> None:
    rng = np.random.default_rng(2)
    feedback = Feedback(fixed, 50)
    z, label = drawn(6_000, rng)
    client = rng.integers(1, 20, 6_000)
    bad = (client == 7) & (np.arange(6_000) > 3_000) & (rng.random(6_000) < 0.5)
    flags = feedback.add(rows(flipped(label, bad), client), z)
    found = [one for one in feedback.suspicions(LEVEL) if one.about == "client"]
    assert [one.who for one in found] == [7]
    assert found[0].facts["contradicted_share"] > 2 * found[0].facts["expected_share"]
    assert bad[found[0].members].mean() > 0.8
    assert bad[flags].mean() > 10 * bad.mean()


def test_labels_that_change_for_all_are_the_fleets_and_no_sources(fixed: FeedbackFixed) -> None:
    rng = np.random.default_rng(3)
    feedback = Feedback(fixed, 50)
    z, label = drawn(8_000, rng)
    changed = (np.arange(8_000) > 2_000) & (rng.random(8_000) < 0.3)
    feedback.add(rows(flipped(label, changed), rng.integers(1, 20, 8_000)), z)
    assert [one.about for one in feedback.suspicions(LEVEL) if one.heuristic == "label_disagreement"] == ["fleet"]


def test_many_names_of_one_poisoner_are_an_expected_miss_by_source_but_not_for_the_fleet(
    fixed: FeedbackFixed,
) -> None:
    rng = np.random.default_rng(4)
    feedback = Feedback(fixed, 50)
    z, label = drawn(5_000, rng)
    bad = rng.random(5_000) < 0.1
    client = np.where(bad, 1_000 + np.arange(5_000), rng.integers(1, 20, 5_000))
    feedback.add(rows(flipped(label, bad), client), z)
    assert [one.about for one in feedback.suspicions(LEVEL) if one.heuristic == "label_disagreement"] == ["fleet"]


def test_a_flood_of_names_does_not_push_out_a_suspect(fixed: FeedbackFixed) -> None:
    rng = np.random.default_rng(5)
    feedback = Feedback(fixed, 10)
    z, label = drawn(400, rng)
    feedback.add(rows(flipped(label, np.ones(400, bool)), np.full(400, 7)), z)
    before = feedback.suspicions(LEVEL)
    z, label = drawn(3_000, rng)
    feedback.add(rows(label, 100 + np.arange(3_000)), z)
    assert [one.who for one in before if one.about == "client"] == [7]
    assert 7 in {one.who for one in feedback.suspicions(LEVEL)}


def test_batches_do_not_matter_and_the_state_comes_back(fixed: FeedbackFixed) -> None:
    rng = np.random.default_rng(6)
    z, label = drawn(2_000, rng)
    client = rng.integers(0, 8, 2_000)
    label = flipped(label, (client == 3) & (rng.random(2_000) < 0.4))
    label[::7] = -1
    whole, parts = Feedback(fixed, 20), Feedback(fixed, 20)
    whole.add(rows(label, client), z)
    for some in np.array_split(np.arange(2_000), 37):
        kept = parts.state()
        parts = Feedback(fixed, 20)
        parts.restore(kept)
        parts.add(rows(label[some], client[some])._replace(digest=some.astype(np.uint64)), z[some])
    mine, other = whole.state(), parts.state()
    for name in (f"rows.{key}" for key in ("size", "hits", "into", "first", "last", "rows", "members", "totals")):
        assert sorted(mine[name].reshape(-1).tolist()) == sorted(other[name].reshape(-1).tolist()), name
    found = [
        [(one.about, one.who, round(one.log_e, 6)) for one in each.suspicions(1.0) if one.about != "class"]
        for each in (whole, parts)
    ]
    assert found[0] == found[1]
    assert ("client", 3) in [one[:2] for one in found[0]]


def test_the_models_probabilities_speak_for_themselves(fixed: FeedbackFixed) -> None:
    rng = np.random.default_rng(7)
    feedback = Feedback(fixed, 50)
    z, label = drawn(4_000, rng)
    p = np.exp(2.2 * z[:, :3].astype(np.float64))
    client = rng.integers(1, 10, 4_000)
    given = flipped(label, (client == 4) & (rng.random(4_000) < 0.5))
    feedback.add(rows(given, client)._replace(probabilities=(p / p.sum(axis=1, keepdims=True)).astype(np.float32)), z)
    found = {(one.heuristic, one.who) for one in feedback.suspicions(LEVEL) if one.about == "client"}
    assert found == {("label_disagreement", 4), ("label_noise", 4)}


def test_a_flood_of_one_input_is_found_among_many_others(fixed: FeedbackFixed) -> None:
    rng = np.random.default_rng(8)
    feedback = Feedback(fixed, 50)
    z, label = drawn(3_000, rng)
    given = rows(label, np.full(3_000, 2))
    digest = 10_000 + np.arange(3_000, dtype=np.uint64)
    digest[500:2_500:25] = 7
    for part in np.array_split(np.arange(3_000), 12):
        some = Rows(
            given.block, digest[part], given.client[part] if given.client is not None else None, label=label[part]
        )
        feedback.add(some, z[part])
    found = [one for one in feedback.suspicions(LEVEL) if one.heuristic == "label_floods"]
    assert [(one.who, one.hits, one.rows, one.clients, one.facts["same_source"]) for one in found] == [
        (7, 80, 80, ((2, 80),), 1.0)
    ]


def test_an_input_that_all_label_is_no_single_sources_and_without_names_nobodys(fixed: FeedbackFixed) -> None:
    rng = np.random.default_rng(13)
    z, label = drawn(1_000, rng)
    for client, share in ((np.arange(1_000) % 50 + 1, 0.02), (np.zeros(1_000, np.int64), np.nan)):
        feedback = Feedback(fixed, 50)
        given = rows(label, client)._replace(digest=np.full(1_000, 7_777, np.uint64))
        feedback.add(given, z)
        one = next(one for one in feedback.suspicions(LEVEL) if one.heuristic == "label_floods")
        np.testing.assert_allclose(one.facts["same_source"], share, atol=0.005)
        assert bool(one.clients) == np.isfinite(share)


def test_a_flood_of_what_another_labelled_first_is_an_expected_miss_as_one_sources(fixed: FeedbackFixed) -> None:
    feedback = Feedback(fixed, 50)
    z, label = drawn(500, np.random.default_rng(14))
    client = np.where(np.arange(500) == 0, 1, 2)
    feedback.add(rows(label, client)._replace(digest=np.full(500, 7_777, np.uint64)), z)
    one = next(one for one in feedback.suspicions(LEVEL) if one.heuristic == "label_floods")
    assert one.facts["same_source"] == 0


def test_copies_that_differ_a_little_are_an_expected_miss_of_floods(fixed: FeedbackFixed) -> None:
    feedback = Feedback(fixed, 50)
    z, label = drawn(1_000, np.random.default_rng(9))
    z[:] = z[0] + np.float32(1e-4) * np.arange(1_000)[:, None]
    feedback.add(rows(np.full(1_000, label[0], np.int32), np.full(1_000, 2)), z)
    assert [one for one in feedback.suspicions(LEVEL) if one.heuristic == "label_floods"] == []


def test_a_group_with_right_looks_that_lies_apart_is_found_by_looks_and_honest_rows_are_not(
    fixed: FeedbackFixed,
) -> None:
    rng = np.random.default_rng(10)
    feedback, honest = Feedback(fixed, 50), Feedback(fixed, 50)
    z, label = drawn(4_096, rng)
    honest.add(rows(label, np.full(4_096, 2)), z)
    apart = (label == 1) & (rng.random(4_096) < 0.15)
    z[apart, 5] += np.float32(6)
    feedback.add(rows(label, np.full(4_096, 2)), z)
    names = {one.heuristic for one in feedback.suspicions(LEVEL)}
    assert "spectral_signature" in names
    assert honest.suspicions(LEVEL) == []
    found = next(one for one in feedback.suspicions(LEVEL) if one.heuristic == "spectral_signature")
    assert found.who == 1
    assert apart[found.members].all()


def test_inputs_that_move_for_all_classes_are_no_poison_of_one(fixed: FeedbackFixed) -> None:
    rng = np.random.default_rng(11)
    feedback = Feedback(fixed, 50)
    z, label = drawn(3_072, rng)
    z[:, 5] *= np.float32(2.5)
    feedback.add(rows(label, np.full(3_072, 2)), z)
    assert {one.heuristic for one in feedback.suspicions(LEVEL)} <= {"label_disagreement"}


def test_keys_are_counted_for_the_budget(fixed: FeedbackFixed) -> None:
    feedback = Feedback(fixed, 3)
    before = feedback.born
    z, label = drawn(60, np.random.default_rng(12))
    feedback.add(rows(label, np.arange(60) % 2 + 1), z)
    assert feedback.born == before + 2


def test_nothing_hostile_breaks_it(fixed: FeedbackFixed) -> None:
    feedback = Feedback(fixed, 3)
    empty = np.zeros((0, 6), np.float32)
    assert feedback.add(rows(np.zeros(0, np.int32), np.zeros(0, np.int64)), empty).shape == (0,)
    bad = np.array([[np.nan] * 6, [np.inf] * 6, [1e38] * 6, [0.0] * 6], np.float32)
    flags = feedback.add(rows(np.array([0, 1, 2, 99], np.int32), np.array([1, 2, 3, 4])), bad)
    assert not flags.any()
    assert feedback.suspicions(0.0) == []
    with pytest.raises(ValueError, match="does not fit"):
        Feedback(fixed, 4).restore(feedback.state())
