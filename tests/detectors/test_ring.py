from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.queries import nearest, radius
from detectors.queries.ring import RATE, NearFixed, Ring, between, calibrate, refusal
from detectors.queries.suspicion import Hits, Queries
from detectors.types import Reason


def queries(near: NDArray[Any], digest: NDArray[Any] | None = None, **columns: NDArray[Any]) -> Queries:
    n = len(near)
    whole = Queries(
        np.asarray(near, np.float32),
        np.arange(1, n + 1, dtype=np.uint64) if digest is None else np.asarray(digest, np.uint64),
        np.zeros(n, np.uint64),
        np.zeros(n, np.int32),
        np.full(n, 0.9, np.float32),
        np.full(n, 0.95, np.float32),
        np.arange(n, dtype=np.float64),
    )
    return whole._replace(**columns)


def uneven(n: int, rng: np.random.Generator, width: int = 8) -> NDArray[Any]:
    """Half of the rows lie in a place that is 20 times denser along each axis."""
    scale = np.where(rng.random(n) < 0.5, 0.05, 1.0)
    return rng.standard_normal((n, width)) * scale[:, None] + (scale[:, None] < 1) * 5.0


@cache
def fixed(capacity: int = 1000, n: int = 3000, seed: int = 0) -> NearFixed:
    rng = np.random.default_rng(seed)
    return calibrate(queries(uneven(n, rng)), capacity, rng)


def in_pieces(ring: Ring, whole: Queries, rng: np.random.Generator) -> Hits:
    cuts = [0, *np.sort(rng.integers(0, len(whole.digest), 9)).tolist(), len(whole.digest)]
    parts = [ring.add(between(whole, one, other)) for one, other in itertools.pairwise(cuts)]
    return Hits(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def same(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> bool:
    differ = [key for key in one if not np.array_equal(one[key], other[key], equal_nan=one[key].dtype.kind == "f")]
    return one.keys() == other.keys() and not differ


def stream(n: int, rng: np.random.Generator) -> Queries:
    """Ordinary rows, exact repeats, near-duplicates and rows without a place."""
    near = uneven(n, rng).astype(np.float32)
    digest = np.arange(1, n + 1, dtype=np.uint64)
    for i in np.flatnonzero(rng.random(n) < 0.3)[2:]:
        j = rng.integers(max(0, i - 400), i)
        near[i] = near[j]
        if rng.random() < 0.5:
            digest[i] = digest[j]
        else:
            near[i] += rng.normal(0, 1e-3, near.shape[1])
    near[rng.random(n) < 0.05] = np.nan
    return queries(near, digest, predicted=rng.integers(-1, 3, n).astype(np.int32))


@pytest.mark.parametrize("capacity", [50, 256, 500])
def test_it_finds_the_nearest_of_exactly_the_last_distinct_rows(capacity: int) -> None:
    known, whole = fixed(), stream(900, np.random.default_rng(1))
    hits = in_pieces(Ring(known, capacity), whole, np.random.default_rng(2))
    placed = known.place.put(whole.near).astype(np.float64)
    stored: list[int] = []
    for i, digest in enumerate(whole.digest):
        last = stored[-capacity:]
        assert hits.exact[i] == (digest in whole.digest[last])
        if hits.exact[i]:
            assert hits.neighbour[i] == -1
            assert not hits.hit[i]
            continue
        distance = np.sqrt(((placed[last] - placed[i]) ** 2).sum(axis=1))
        if np.isfinite(distance).any():
            assert hits.distance[i] ** 2 == pytest.approx(np.nanmin(distance) ** 2, abs=1e-3)
            assert hits.neighbour[i] in last
        else:
            assert math.isnan(hits.distance[i])
        stored.append(i)


@pytest.mark.parametrize("capacity", [20, 300, 1000])
def test_batching_changes_nothing(capacity: int) -> None:
    known, whole = fixed(), stream(1800, np.random.default_rng(3))
    one, other = Ring(known, capacity), Ring(known, capacity)
    at_once, piecewise = one.add(whole), in_pieces(other, whole, np.random.default_rng(4))
    assert same(at_once._asdict(), piecewise._asdict())
    assert same(one.state(), other.state())


def test_it_goes_on_from_its_state() -> None:
    known, whole = fixed(), stream(2400, np.random.default_rng(5))
    one, other = Ring(known, 500), Ring(known, 500)
    one.add(between(whole, 0, 1200))
    other.restore({name: array.copy() for name, array in one.state().items()})
    assert same(one.add(between(whole, 1200, 2400))._asdict(), other.add(between(whole, 1200, 2400))._asdict())
    assert same(one.state(), other.state())


def test_a_state_of_another_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="state of 400 places"):
        Ring(fixed(), 500).restore(Ring(fixed(), 400).state())


def test_a_ring_larger_than_calibrated_is_refused() -> None:
    with pytest.raises(ValueError, match="calibrated for 2 to 1000"):
        Ring(fixed(), 1001)


@pytest.mark.parametrize(("n", "capacity"), [(600, 300), (600, 3000), (3000, 3000)])
def test_benign_rows_are_hits_no_more_often_than_promised(n: int, capacity: int) -> None:
    shares = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        ring = Ring(calibrate(queries(uneven(n, rng)), capacity, rng), capacity)
        hits = ring.add(queries(uneven(capacity + 3000, rng)))
        shares.append(hits.hit[capacity:].mean())
    assert np.mean(shares) <= RATE


def test_near_duplicates_are_found_in_dense_and_in_sparse_places() -> None:
    rng = np.random.default_rng(6)
    ring = Ring(fixed(), 1000)
    for scale, centre in ((1.0, 0.0), (0.05, 5.0)):
        base = rng.standard_normal((100, 8)) * scale + centre
        first = int(ring.rows)
        ring.add(queries(base, np.arange(100) + 10_000 + first))
        again = ring.add(queries(base + rng.normal(0, 0.01 * scale, base.shape), np.arange(100) + 20_000 + first))
        assert again.hit.mean() > 0.9
        assert (again.neighbour == first + np.arange(100)).mean() > 0.9


def test_one_radius_for_all_places_would_be_that_of_the_densest() -> None:
    rng = np.random.default_rng(7)
    rows = uneven(3000, rng).astype(np.float32)
    _, plain = nearest.nearest_other(rows)
    known = fixed()
    sparse = known.place.unit(known.place.put(rng.standard_normal((50, 8)).astype(np.float32)))
    assert np.median(float(known.radius.radius) * sparse) > 3 * np.quantile(plain, RATE)


def test_frames_of_a_noisy_camera_are_no_hits_and_yet_show_one_thing() -> None:
    rng = np.random.default_rng(7)
    known = fixed()
    ring, reach = Ring(known, 1000), float(known.radius.radius)
    honest = queries(uneven(400, rng))
    assert ring.apart(honest, ring.add(honest)).mean() > 0.8
    scene = uneven(400, rng)[-1:]
    unit = float(known.place.unit(known.place.put(scene.astype(np.float32)))[0])
    noise = rng.standard_normal((30, scene.shape[1]))
    noise *= 1.2 * reach * unit / np.linalg.norm(noise, axis=1, keepdims=True)
    frames = queries(scene + noise, np.arange(10_000, 10_030, dtype=np.uint64))
    hits = ring.add(frames)
    assert hits.hit.mean() < 0.6
    assert ring.apart(frames, hits).sum() < 0.5 * (~hits.hit).sum()


def test_too_few_rows_give_no_hits_and_a_reason() -> None:
    known = fixed(20_000, 150)
    assert known.radius.reason == Reason.FEW_ROWS
    assert "150 distinct reference rows" in refusal(known)
    hits = Ring(known, 20_000).add(queries(np.zeros((50, 8)), np.arange(50) % 25))
    assert not hits.hit.any()
    assert hits.exact.sum() == 25


def test_a_reference_much_smaller_than_the_ring_has_it_remember_less() -> None:
    known = fixed(20_000, 300)
    assert refusal(known) == ""
    assert known.radius.within < 20_000
    ring = Ring(known, 20_000)
    assert ring.capacity == known.radius.within
    assert Ring(known, 500).capacity == 500


def test_a_table_of_few_different_rows_gives_no_hits_and_a_reason() -> None:
    rng = np.random.default_rng(8)
    known = calibrate(queries(rng.integers(0, 2, (3000, 6))), 5000, rng)
    assert known.radius.reason == Reason.CONSTANT_REFERENCE
    assert "ordinary in this data" in refusal(known)
    assert not Ring(known, 5000).add(queries(rng.integers(0, 2, (500, 6)))).hit.any()


def test_a_reference_that_repeats_itself_says_how_often_honest_rows_are_hits() -> None:
    rng = np.random.default_rng(9)
    rows = rng.standard_normal((4000, 10))
    again = np.flatnonzero(rng.random(4000) < 0.03)[1:]
    rows[again] = rows[again - 1] + rng.normal(0, 1e-3, (len(again), 10))
    known = calibrate(queries(rows), 4000, rng)
    assert refusal(known) == ""
    assert known.radius.radius in radius.REPEATS
    assert 0.03 < known.radius.rate < radius.MOST_RATE


def test_rows_within_quantisation_steps_are_no_hits() -> None:
    rng = np.random.default_rng(10)
    rows = np.round(rng.standard_normal((4000, 12)))
    known = calibrate(queries(rows), 2000, rng)
    hits = Ring(known, 2000).add(queries(np.round(rng.standard_normal((6000, 12)))))
    assert hits.hit.mean() <= max(float(known.radius.rate), RATE)


@pytest.mark.filterwarnings("error")
def test_hostile_numbers_pass() -> None:
    ring = Ring(fixed(), 300)
    for value in (np.nan, np.inf, -np.inf, 3e38, 1e-38, 0.0):
        near = np.full((3, 8), value, np.float32)
        hits = ring.add(queries(near, np.array([1, 2, 2**64 - 1], np.uint64)))
        assert not np.isinf(hits.distance).any()
    assert len(ring.add(queries(np.zeros((0, 8)))).hit) == 0


def test_exact_repeats_are_counted_and_take_no_room() -> None:
    ring = Ring(fixed(), 100)
    near = uneven(100, np.random.default_rng(11))
    for _ in range(5):
        ring.add(queries(near))
    assert ring.repeats == 400
    assert ring.rows == 500
    assert not ring.add(queries(near[:50] + 1e-4, np.arange(1000, 1050))).exact.any()


def test_flips_need_two_known_answers() -> None:
    near = np.random.default_rng(12).standard_normal((1, 8)) + np.arange(4)[:, None] * 0.01
    hits = Ring(fixed(), 100).add(queries(near, predicted=np.array([0, 1, -1, 1], np.int32)))
    assert hits.hit.tolist() == [False, True, True, True]
    assert hits.flip.tolist() == [False, True, False, False]
    assert hits.cluster.tolist() == [-1, 0, 0, 0]


def test_expected_miss_a_drip_slower_than_the_ring() -> None:
    rng = np.random.default_rng(13)
    ring, base = Ring(fixed(), 200), uneven(1, rng)
    found = 0
    for turn in range(8):
        ring.add(queries(uneven(200, rng), np.arange(200) + 1_000 * (turn + 1)))
        found += int(ring.add(queries(base + rng.normal(0, 1e-3, base.shape), np.array([7_000_000 + turn]))).hit[0])
    assert found == 0


def test_expected_miss_steps_wider_than_the_radius() -> None:
    rng = np.random.default_rng(14)
    base = rng.standard_normal((1, 8))
    wide = base + rng.standard_normal((60, 8))
    assert Ring(fixed(), 1000).add(queries(wide)).hit.mean() < 0.1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 5), (300, 0), (300, 1), (300, 30)])
@pytest.mark.parametrize("fill", [0.0, 1.0, np.nan, 3e37])
def test_any_reference_can_be_measured(shape: tuple[int, int], fill: float) -> None:
    rng = np.random.default_rng(15)
    near = rng.standard_normal(shape).astype(np.float32) * np.float32(fill)
    known = calibrate(queries(near), 2000, rng)
    ring = Ring(known, 2000)
    ring.add(queries(near[:50]))
    assert ring.suspicions(11.5) == []
    Ring(known, 2000).restore(ring.state())
