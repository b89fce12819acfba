"""Wrong labels, lying groups and floods are found against trusted rows; rows that are merely harder are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.poisoning import clusters, doubt, floods, labels, noise, rates, spectral
from detectors.types import CodeArray, SingleArray

EVIDENT = float(np.log(1e4))


def drawn(n: int, rng: np.random.Generator, apart: float = 3.0) -> tuple[SingleArray, CodeArray]:
    """Four classes in eight dimensions."""
    label = rng.integers(0, 4, n).astype(np.int32)
    return (apart * np.eye(4, 8)[label] + rng.standard_normal((n, 8))).astype(np.float32), label


def auroc(score: NDArray[np.floating], bad: NDArray[np.bool_]) -> float:
    rank = np.argsort(np.argsort(score))
    low = int((~bad).sum())
    return float((rank[bad].sum() - bad.sum() * (bad.sum() - 1) / 2) / (bad.sum() * low))


@pytest.fixture(scope="module")
def fixed() -> labels.LabelsFixed:
    rng = np.random.default_rng(0)
    return labels.fit(*drawn(2_500, rng), 4, rng)


def evidence(fixed: labels.LabelsFixed, z: SingleArray, label: CodeArray) -> tuple[float, NDArray[np.float64]]:
    counts = doubt.count(fixed.ruler, labels.judge(fixed, z, label).doubts, label, np.ones(len(z), bool))
    return doubt.evidence(fixed.ruler, counts), doubt.evidence_into(fixed.ruler, counts)


def test_leave_one_out_scores_are_those_of_a_fit_without_the_row() -> None:
    rng = np.random.default_rng(1)
    z, label = drawn(120, rng)
    whole = labels._ridge(z, label, 4, np.random.default_rng(5))
    waves, width, _, _, loo = whole
    shape = labels._features(z, waves, width).astype(np.float64)
    truth, offset = np.eye(4)[label], np.eye(4)[label].mean(axis=0)
    errors = []
    for ridge in labels._RIDGES:
        keep = np.arange(120) != 17
        gram = shape[keep].T @ shape[keep] + ridge * 120 * np.eye(shape.shape[1])
        weights = np.linalg.solve(gram, shape[keep].T @ (truth - offset)[keep])
        errors.append(np.abs(shape[17] @ weights + offset - loo[17]).max())
    assert min(errors) < 1e-6


def test_flips_are_ranked_first_and_are_evidence_and_honest_rows_are_none(fixed: labels.LabelsFixed) -> None:
    rng = np.random.default_rng(2)
    z, label = drawn(2_000, rng)
    bad = rng.random(2_000) < 0.05
    given = np.where(bad, (label + 1 + rng.integers(0, 3, 2_000)) % 4, label).astype(np.int32)
    judged = labels.judge(fixed, z, given)
    assert auroc(judged.doubts.score, bad) > 0.95
    assert evidence(fixed, z, given)[0] > EVIDENT
    assert evidence(fixed, z, label)[0] < 0
    assert evidence(fixed, z, label)[1].max() < np.log(100)


def test_harder_rows_with_honest_labels_are_no_evidence(fixed: labels.LabelsFixed) -> None:
    rng = np.random.default_rng(3)
    z, label = drawn(20_000, rng)
    hard = labels.judge(fixed, z, label).doubts.bin <= 2
    assert labels.judge(fixed, z[hard], label[hard]).doubts.wrong.mean() > 0.1
    assert evidence(fixed, z[hard], label[hard])[0] < EVIDENT


def test_flips_into_one_class_point_at_it_and_a_larger_share_of_a_class_does_not(fixed: labels.LabelsFixed) -> None:
    rng = np.random.default_rng(4)
    z, label = drawn(2_000, rng)
    given = np.where((label != 2) & (rng.random(2_000) < 0.04), 2, label).astype(np.int32)
    assert evidence(fixed, z, given)[1].argmax() == 2
    assert evidence(fixed, z, given)[1][2] > EVIDENT
    z, label = drawn(8_000, rng)
    more = (label == 2) | (rng.random(8_000) < 0.2)
    assert evidence(fixed, z[more], label[more])[1].max() < np.log(100)


def test_poison_with_right_labels_is_an_expected_miss_of_label_disagreement(fixed: labels.LabelsFixed) -> None:
    rng = np.random.default_rng(5)
    z, label = drawn(2_000, rng)
    patched = (label == 1) & (rng.random(2_000) < 0.2)
    z[patched, 7] += 1.5
    assert evidence(fixed, z, label)[0] < 0


def test_rows_unlike_any_trusted_row_are_not_judged_an_expected_miss_of_label_disagreement(
    fixed: labels.LabelsFixed,
) -> None:
    rng = np.random.default_rng(6)
    z, label = drawn(300, rng)
    judged = labels.judge(fixed, z + np.float32(40), label)
    assert judged.strange.all()
    assert not judged.doubts.known.any()


@pytest.mark.parametrize("name", ["n0", "nan", "huge", "no label"])
def test_hostile_rows_are_survived(fixed: labels.LabelsFixed, name: str) -> None:
    rows = {"n0": np.zeros((0, 8)), "nan": np.full((3, 8), np.nan), "huge": np.full((2, 8), 3e38)}
    z = rows.get(name, np.ones((2, 8)))
    judged = labels.judge(fixed, z.astype(np.float32), np.full(len(z), -1 if name == "no label" else 0, np.int32))
    assert not judged.doubts.known.any()
    assert not judged.doubts.wrong.any()


def test_too_few_trusted_rows_are_refused() -> None:
    rng = np.random.default_rng(7)
    with pytest.raises(ValueError, match="judge no labels"):
        labels.fit(*drawn(20, rng), 4, rng)


def test_evidence_of_rates_keeps_its_level_at_the_bound() -> None:
    rng = np.random.default_rng(8)
    bounds = np.array([0.02, 0.1, 0.4])
    rows = np.full((4_000, 3), 200)
    found = rates.log_e(rng.binomial(rows, bounds), rows, bounds)
    assert (found > np.log(20)).mean() <= 0.05
    assert np.exp(found).mean() < 1.5


def test_evidence_at_any_time_keeps_its_level_and_does_not_depend_on_batches() -> None:
    rng = np.random.default_rng(9)
    key, hit = np.arange(300).repeat(400), rng.random(120_000) < 0.05
    bounds = np.full(len(key), 0.05)
    top, starts = np.full(300, -np.inf), rates.no_starts(300)
    for t in range(400):
        some = np.arange(t, 120_000, 400)
        starts = rates.carry(starts, key[some], hit[some], bounds[some])
        top = np.maximum(top, starts.log_e)
    assert (top > np.log(20)).mean() <= 0.05
    at_once = rates.carry(rates.no_starts(300), key, hit, bounds)
    np.testing.assert_allclose(at_once.log_e, starts.log_e, rtol=1e-9, atol=1e-9)


def test_a_late_start_costs_little() -> None:
    rng = np.random.default_rng(10)
    hit = np.concatenate([rng.random(5_000) < 0.01, rng.random(200) < 0.4])
    starts = rates.carry(rates.no_starts(1), np.zeros(5_200, np.int64), hit, np.full(5_200, 0.03))
    assert starts.log_e[0] > EVIDENT


def test_discoveries_are_those_of_e_bh() -> None:
    found = rates.discoveries(np.log(np.array([500.0, 250.0, 100.0, 1.0, np.nan])), 0.01)
    assert found.tolist() == [True, True, False, False, False]
    assert not rates.discoveries(np.zeros(0), 0.01).size


def test_confident_learning_finds_flips_and_not_the_models_own_errors() -> None:
    rng = np.random.default_rng(11)
    z, label = drawn(4_000, rng)
    logits = 2.5 * z[:, :4].astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    fixed = noise.fit(p[:2_000], label[:2_000])
    bad = rng.random(2_000) < 0.05
    given = np.where(bad, (label[2_000:] + 1) % 4, label[2_000:]).astype(np.int32)
    doubts, off = noise.judge(fixed, p[2_000:], given)
    everything = np.ones(2_000, bool)
    assert auroc(doubts.score, bad) > 0.95
    assert off[bad].mean() > 0.6
    assert doubt.evidence(fixed.ruler, doubt.count(fixed.ruler, doubts, given, everything)) > EVIDENT
    honest = noise.judge(fixed, p[2_000:], label[2_000:])[0]
    assert doubt.evidence(fixed.ruler, doubt.count(fixed.ruler, honest, label[2_000:], everything)) < 0


def test_probabilities_that_learnt_the_poison_are_an_expected_miss_of_label_noise() -> None:
    rng = np.random.default_rng(12)
    label = rng.integers(0, 3, 2_000).astype(np.int32)
    p = np.full((2_000, 3), 0.01)
    p[np.arange(2_000), label] = 0.98
    given = np.where(rng.random(2_000) < 0.1, 0, label).astype(np.int32)
    learnt = np.full((2_000, 3), 0.01)
    learnt[np.arange(2_000), given] = 0.98
    fixed = noise.fit(p, label)
    doubts, off = noise.judge(fixed, learnt, given)
    assert not off.any()
    assert not doubts.wrong.any()


def test_a_group_that_lies_apart_shows_in_the_spectrum_and_a_fresh_sample_does_not() -> None:
    rng = np.random.default_rng(13)
    scale = rng.uniform(0.5, 3, 16)
    trusted, honest = (scale * rng.standard_normal((500, 16)) for _ in range(2))
    poisoned = honest.copy()
    poisoned[:40, 3] += 8 * scale[3]
    null = spectral.null_of(trusted.astype(np.float32), 500, rng)
    found = spectral.spectrum(null, poisoned.astype(np.float32))
    assert found.log_p < np.log(1e-4)
    assert auroc(found.tau, np.arange(500) < 40) > 0.99
    assert spectral.spectrum(null, honest.astype(np.float32)).log_p > np.log(0.05)
    few = spectral.null_of(trusted[:10].astype(np.float32), 500, rng)
    assert np.isnan(spectral.spectrum(few, honest.astype(np.float32)).log_p)


def test_poison_inside_the_class_is_an_expected_miss_of_the_spectrum() -> None:
    rng = np.random.default_rng(14)
    trusted, rows = (rng.standard_normal((500, 16)) for _ in range(2))
    rows[:40, 3] += 1.0
    found = spectral.spectrum(spectral.null_of(trusted.astype(np.float32), 500, rng), rows.astype(np.float32))
    assert found.log_p > np.log(0.01)


def test_the_class_that_falls_in_two_is_named_against_the_others_and_against_trusted_rows() -> None:
    rng = np.random.default_rng(15)
    label = (np.arange(3_000) % 10).astype(np.int32)
    z = rng.standard_normal((3_000, 12)).astype(np.float32)
    trusted = rng.standard_normal((3_000, 12)).astype(np.float32)
    odd = np.flatnonzero(label == 4)[:60]
    z[odd] += np.float32(4)
    nulls = [clusters.null_of(trusted[label == c], 300, rng) for c in range(10)]
    for found in (clusters.clusters(z, label, 10), clusters.clusters_against(nulls, z, label)):
        assert found.log_p.argmin() == 4
        assert found.log_p[4] < np.log(1e-3)
        assert np.flatnonzero(found.smaller & (label == 4)).tolist() == odd.tolist()
        assert np.delete(found.log_p, 4).min() > np.log(1e-3)


def test_two_like_halves_are_an_expected_miss_of_clusters() -> None:
    rng = np.random.default_rng(16)
    label = (np.arange(3_000) % 10).astype(np.int32)
    z = rng.standard_normal((3_000, 12)).astype(np.float32)
    z[np.flatnonzero(label == 4)[::2]] += np.float32(4)
    assert clusters.clusters(z, label, 10).log_p[4] == 0


def test_a_flood_of_one_input_and_conflicting_copies_are_found_and_usual_copies_are_not() -> None:
    rng = np.random.default_rng(17)
    trusted = rng.integers(0, 300, 3_000).astype(np.uint64)
    new = rng.integers(0, 300, 2_000).astype(np.uint64)
    honest = floods.floods(new, np.zeros(2_000, np.int32), trusted)
    assert honest.log_p.min() > np.log(0.01)
    assert not honest.conflict.any()
    new[:60] = 7_000
    found = floods.floods(new, np.arange(2_000) % 2, trusted)
    assert found.log_p[0] < np.log(1e-6)
    assert found.copies[0] == 60
    assert found.conflict[:60].all()
    assert floods.floods(new[:0], np.zeros(0, np.int32), trusted).log_p.size == 0


def test_copies_that_differ_a_little_are_an_expected_miss_of_floods() -> None:
    rng = np.random.default_rng(18)
    jittered = rng.permutation(10_000)[:2_000].astype(np.uint64)
    assert not floods.floods(jittered, np.zeros(2_000, np.int32), jittered[:0]).log_p.any()
