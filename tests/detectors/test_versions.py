"""Versions: releases that answer alike pass whatever their inputs do, others and replaced files are told."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.types import CodeArray, SingleArray
from detectors.versions import CELLS, KEPT, LEAST, Batch, Versions, cells_of, centres

CENTRES = centres(np.random.default_rng(0).standard_normal((4_000, 3)).astype(np.float32), np.random.default_rng(1))


def inputs(n: int, seed: int, shift: float = 0.0) -> SingleArray:
    return (np.random.default_rng(seed).standard_normal((n, 3)) + shift).astype(np.float32)


def answers(near: SingleArray, version: int, bias: float = 0.0, *, labels: bool = False, seed: int = 0) -> Batch:
    """A model with three classes; ``bias`` makes another one of it."""
    logits = near @ np.array([[1.5, 0, -1], [0, 1.5, 0], [0.5, -1, 1]], np.float32)
    logits[:, 2] += bias
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    rng, n = np.random.default_rng(seed), len(near)
    label = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1) if labels else np.full(n, -1)
    return Batch(
        np.full(n, version, np.int32),
        cells_of(CENTRES, near),
        p.argmax(axis=1).astype(np.int32),
        p.max(axis=1).astype(np.float64),
        label.astype(np.int32),
    )


def worst(judge: Versions) -> float:
    return min((one.log_p for one in judge.suspicions()), default=0.0)


def test_the_same_model_under_a_new_name_is_no_change() -> None:
    judge = Versions()
    judge.add(answers(inputs(4_000, 1), 1))
    judge.add(answers(inputs(4_000, 2), 2))
    told = judge.suspicions()
    assert [(one.who, one.heuristic, one.facts["before"]) for one in told] == [(2, "version_change", 1.0)]
    assert told[0].log_p > np.log(0.05)
    assert abs(told[0].facts["classes_difference"]) < 0.05


def test_another_model_is_told_with_the_size_of_its_change() -> None:
    judge = Versions()
    judge.add(answers(inputs(4_000, 1), 1))
    judge.add(answers(inputs(4_000, 2), 2, bias=0.8))
    told = judge.suspicions()[0]
    assert told.log_p < np.log(1e-6)
    assert told.facts["classes_low"] < told.facts["classes_difference"] < told.facts["classes_high"]
    assert told.facts["classes_low"] > 0.05
    assert told.facts["classes_of"] == 2
    assert judge.suspicions() == []  # not judged again before there are twice as many rows


def test_inputs_that_shift_with_the_release_are_not_taken_for_a_change_of_the_model() -> None:
    before, after = answers(inputs(8_000, 1), 1), answers(inputs(4_000, 2, shift=0.5), 2)
    raw = np.bincount(after.predicted, minlength=3) / 4_000 - np.bincount(before.predicted, minlength=3) / 8_000
    judge = Versions()
    judge.add(before)
    judge.add(after)
    told = judge.suspicions()[0]
    assert np.abs(raw).max() > 0.1
    assert abs(told.facts["classes_difference"]) < 0.5 * np.abs(raw).max()
    assert told.log_p > np.log(0.01)


def test_expected_miss_a_release_that_comes_with_a_shift_of_its_size_is_not_told() -> None:
    alone, together = Versions(), Versions()
    for judge, shift in ((alone, 0.0), (together, 1.0)):
        judge.add(answers(inputs(8_000, 1), 1))
        judge.add(answers(inputs(4_000, 2, shift), 2, bias=0.6))
    told = together.suspicions()[0]
    assert worst(alone) < np.log(1e-6)
    assert told.facts["inputs_moved"] > 0.3
    assert told.log_p > np.log(0.05)


def test_a_change_of_calibration_is_told_where_labels_are_known() -> None:
    near, later = inputs(6_000, 1), inputs(6_000, 2)
    judge = Versions()
    judge.add(answers(near, 1, labels=True))
    honest = answers(later, 2, labels=True, seed=1)
    judge.add(honest)
    assert judge.changes(2, 1)["calibration"].log_p > np.log(0.05)
    wrong = np.random.default_rng(3).random(6_000) < 0.25
    judge.add(honest._replace(version=np.full(6_000, 3, np.int32), label=np.where(wrong, -1, honest.label)))
    told = np.where(wrong, (honest.label + 1) % 3, honest.label).astype(np.int32)
    judge.add(honest._replace(version=np.full(6_000, 4, np.int32), label=told))
    assert judge.changes(4, 1)["calibration"].log_p < np.log(1e-6)


def test_the_level_holds_over_all_looks_of_a_canary() -> None:
    alarms = 0
    for seed in range(100):
        judge = Versions(tolerated=0.0)
        low = 0.0
        for part in range(16):
            near = inputs(200, 1_000 * seed + part)
            batch = answers(near, 0)
            version = (np.arange(200) % 2 + 1).astype(np.int32)
            judge.add(batch._replace(version=version))
            low = min(low, worst(judge))
        alarms += low <= np.log(0.05)
    assert alarms <= 8  # a tolerance of nothing; 5 expected at most, 8 with chance .06


def test_a_replaced_file_is_told_once_and_a_release_is_not() -> None:
    def batch(version: int, model: list[int]) -> Batch:
        made = answers(inputs(len(model), 5), version)
        return made._replace(model=np.array(model, np.uint64))

    judge = Versions()
    assert judge.add(batch(1, [7] * 5)) == []
    assert judge.add(batch(2, [8] * 5)) == []
    assert judge.add(batch(1, [0, 7, 7])) == []
    told = judge.add(batch(1, [7, 9, 9]))
    assert [(one.who, one.hits, one.members.tolist()) for one in told] == [(1, 1, [14])]
    assert judge.add(batch(1, [9])) == []


def test_a_restart_changes_nothing_and_versions_are_bounded() -> None:
    judge, other = Versions(), Versions()
    for version in range(30):
        batch = answers(inputs(150, version), version)
        judge.add(batch)
        other.add(batch)
        again = Versions()
        again.restore(other.state())
        other = again
    assert {name: array.tolist() for name, array in judge.state().items()} == {
        name: array.tolist() for name, array in other.state().items()
    }
    assert judge.state()["classes"].shape[0] == KEPT
    assert judge.changes(0, 29) == {}
    with pytest.raises(ValueError, match="counts"):
        Versions(cells=3).restore(judge.state())


def test_old_rows_fade_so_that_a_version_is_compared_as_it_was_lately() -> None:
    judge = Versions()
    for part in range(3):
        judge.add(answers(inputs(60_000, part), 1))
    assert judge.state()["classes"][0].sum() <= 65_536


@pytest.mark.parametrize("n", [0, 1, LEAST - 1])
def test_few_rows_missing_answers_and_strange_cells_judge_nothing(n: int) -> None:
    judge = Versions()
    for version in (1, 2):
        nothing: CodeArray = np.full(n, -1, np.int32)
        cell = np.full(n, 10**9, np.int64)
        judge.add(Batch(np.full(n, version, np.int32), cell, nothing, np.full(n, np.nan), nothing))
    assert judge.suspicions() == []


def test_cells_cover_the_space_and_rows_without_a_place_have_none() -> None:
    near = inputs(500, 8)
    near[3] = np.nan
    near[4] = 3e38
    cell = cells_of(CENTRES, near)
    assert cell[3] == -1
    assert len(CENTRES) == CELLS
    assert len(set(cell.tolist())) > CELLS // 2
    assert cells_of(CENTRES[:0], near).tolist() == [-1] * 500


def test_expected_miss_changes_within_a_cell_that_cancel_are_not_seen() -> None:
    """A model whose answers are shuffled within each cell keeps all shares: only a golden set tells it."""
    rng = np.random.default_rng(9)
    before, after = answers(inputs(4_000, 1), 1), answers(inputs(4_000, 2), 2)
    shuffled = after.predicted.copy()
    for cell in range(CELLS):
        mine = np.flatnonzero(after.cell == cell)
        shuffled[mine] = shuffled[rng.permutation(mine)]
    judge = Versions()
    judge.add(before)
    judge.add(after._replace(predicted=shuffled))
    assert (shuffled != after.predicted).mean() > 0.1
    assert worst(judge) > np.log(0.05)
