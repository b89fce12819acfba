"""Labels that follow each other: all at once is the same as one by one."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.outcomes.corrections import CORRECTED, FIRST, REPEATED, STALE, Held, follow, groups


def one_by_one(
    keys: np.ndarray, time: np.ndarray, truth: np.ndarray, held: dict[int, tuple[float, float]]
) -> tuple[list[int], dict[int, tuple[float, float]]]:
    kinds = []
    for key, when, what in zip(keys.tolist(), time.tolist(), truth.tolist(), strict=True):
        if key not in held:
            kinds.append(FIRST)
            held[key] = (when, what)
            continue
        known, said = held[key]
        kinds.append(REPEATED if what == said else CORRECTED if when >= known else STALE)
        if when >= known:
            held[key] = (when, what)
    return kinds, held


@pytest.mark.parametrize("seed", range(30))
def test_all_at_once_is_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, ids = int(rng.integers(1, 120)), int(rng.integers(1, 30))
    which = rng.integers(0, ids, n)
    time, truth = rng.integers(0, 12, n).astype(float), rng.integers(0, 3, n).astype(float)
    keys = np.stack([which % 2, which], axis=1).astype(np.uint64)
    group = groups(keys)
    unique = keys[group.order[group.first], 1].astype(int)
    before = {int(one): (float(rng.integers(0, 12)), float(rng.integers(0, 3))) for one in unique if rng.random() < 0.5}
    held = Held(
        np.array([one in before for one in unique]),
        np.array([before.get(int(one), (np.nan, np.nan))[0] for one in unique]),
        np.array([before.get(int(one), (np.nan, np.nan))[1] for one in unique]),
    )
    kinds, after = follow(group, time, truth, held)
    wanted, final = one_by_one(which, time, truth, dict(before))
    assert kinds.tolist() == wanted
    assert after.known.all()
    got = zip(after.time.tolist(), after.truth.tolist(), strict=True)
    assert dict(zip(unique.tolist(), got, strict=True)) == final


def test_a_hundred_thousand_labels_of_one_id_are_no_trouble() -> None:
    n = 100_000
    group = groups(np.zeros((n, 2), np.uint64))
    kinds, after = follow(
        group,
        np.arange(n, dtype=float),
        np.arange(n, dtype=float) % 2,
        Held(np.zeros(1, bool), np.zeros(1), np.zeros(1)),
    )
    assert (after.time.tolist(), after.truth.tolist()) == ([n - 1.0], [1.0])
    assert np.bincount(kinds).tolist() == [1, 0, n - 1]


def test_nothing_has_no_groups() -> None:
    group = groups(np.zeros((0, 2), np.uint64))
    kinds, after = follow(group, np.zeros(0), np.zeros(0), Held(np.zeros(0, bool), np.zeros(0), np.zeros(0)))
    assert (len(kinds), len(after.known)) == (0, 0)


def test_ids_that_share_half_their_bits_are_apart() -> None:
    group = groups(np.array([[1, 2], [2, 1], [1, 1], [1, 2]], np.uint64))
    assert len(group.first) == 3
    assert group.of.tolist() == [0, 1, 1, 2]
