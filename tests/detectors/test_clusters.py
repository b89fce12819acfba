from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.queries import boundary, cluster, clusters, trend
from detectors.queries.ring import NearFixed, Ring, calibrate
from detectors.queries.suspicion import Queries, Suspicion

WIDTH = 12
SCALE = 2.0 ** -np.arange(WIDTH)
"""Honest rows hardly vary along the last axes."""
SLOPE = np.array([1.0, *np.zeros(WIDTH - 3), 60.0, 60.0])
"""The model looks at the first axis, and far too much at the last ones."""
BAR = -math.log(1e-5)
CERTAIN = math.log(1e-4)
AIMS = ("flips_log_p", "low_margin_log_p", "confidence_log_p")


def honest(n: int, rng: np.random.Generator) -> NDArray[Any]:
    return rng.standard_normal((n, WIDTH)) * SCALE


def asked(near: NDArray[Any], rng: np.random.Generator, client: Any = 0, every: float = 1.0) -> Queries:
    """What the model answers: two classes, by a logistic function."""
    n = len(near)
    first = 1 / (1 + np.exp(-3 * (near @ SLOPE)))
    return Queries(
        np.asarray(near, np.float32),
        rng.integers(1, 2**63, n, dtype=np.uint64),
        np.broadcast_to(np.asarray(client, np.uint64), (n,)).copy(),
        (first > 0.5).astype(np.int32),
        np.abs(2 * first - 1).astype(np.float32),
        np.maximum(first, 1 - first).astype(np.float32),
        np.cumsum(rng.exponential(every, n)),
    )


@cache
def known() -> NearFixed:
    rng = np.random.default_rng(0)
    return calibrate(asked(honest(4000, rng), rng), 4000, rng)


def mixed(attack: Queries, rng: np.random.Generator, share: float) -> Queries:
    """The attack among honest rows."""
    n = round(len(attack.digest) / share)
    rest = asked(honest(n, rng), rng, rng.integers(1, 500, n))
    place = np.sort(rng.choice(n, len(attack.digest), replace=False))
    for name, values in attack._asdict().items():
        getattr(rest, name)[place] = values
    return rest


def told(ring: Ring, about: str = "cluster") -> list[Suspicion]:
    return [one for one in ring.suspicions(BAR) if one.about == about]


def aims(ring: Ring) -> list[str]:
    return [name for one in told(ring) for name in AIMS if one.facts[name] <= CERTAIN]


def bisection(rng: np.random.Generator, rounds: int = 12) -> NDArray[Any]:
    """A search by the answers alone: bisect to the boundary, try its sides, go on."""
    source = honest(1, rng)[0]
    source[0] = 0.5
    rows = []
    here = source - np.array([1.2, *np.zeros(WIDTH - 1)])
    for _ in range(rounds):
        low, high = 0.0, 1.0
        for _ in range(10):
            middle = (low + high) / 2
            rows.append(source + middle * (here - source))
            low, high = (middle, high) if (rows[-1] @ SLOPE > 0) == (source @ SLOPE > 0) else (low, middle)
        here = source + high * (here - source)
        rows += list(here + rng.standard_normal((15, WIDTH)) * 0.0003)
        here = here + rng.standard_normal(WIDTH) * 0.002
    return np.array(rows)


def ambiguous(n: int, rng: np.random.Generator) -> NDArray[Any]:
    """A camera on an object that is half this, half that."""
    rows = np.repeat(honest(1, rng), n, axis=0)
    rows[:, 0] -= rows[0] @ SLOPE
    grain: NDArray[Any] = rng.standard_normal((n, WIDTH)) * 0.0008
    return np.asarray(rows + grain)


def climbing(n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Steps against the model's slope where honest rows do not vary, with probes about each."""
    here = honest(1, rng)
    here[:, 0] += 1.5 - here[0] @ SLOPE
    way = np.linspace(0, 0.03, n)[:, None] * np.sign(SLOPE) * (np.abs(SLOPE) > 10)
    grain: NDArray[Any] = rng.standard_normal((n, WIDTH)) * 0.0005
    return np.asarray(here - way + grain)


def scene(n: int, rng: np.random.Generator) -> NDArray[Any]:
    """One honest row turns slowly into another, and the answer with it."""
    one, other = honest(2, rng)
    one[0], other[0] = 1.5 - one[-2:].sum() * 60, -1.5 - other[-2:].sum() * 60
    way = np.linspace(0, 1, n)[:, None]
    grain: NDArray[Any] = rng.standard_normal((n, WIDTH)) * 0.0005
    return np.asarray(one + way * (other - one) + grain)


def test_honest_rows_raise_no_suspicion() -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        ring = Ring(known(), 4000)
        for _ in range(8):
            ring.add(asked(honest(1000, rng), rng, rng.integers(1, 50, 1000)))
            assert ring.suspicions(BAR) == []


@pytest.mark.parametrize("names", [1, 100])
def test_ten_queries_are_enough_under_any_number_of_names(names: int) -> None:
    rng = np.random.default_rng(1)
    ring = Ring(known(), 4000)
    ring.add(asked(honest(2000, rng), rng, rng.integers(1, 500, 2000)))
    search = bisection(rng)[150:160]
    ring.add(mixed(asked(search, rng, rng.integers(1000, 1000 + names, len(search))), rng, 0.2))
    found = told(ring)
    assert len(found) == 1
    assert found[0].heuristic == "near_duplicates"
    assert (found[0].facts["clients"] >= 7) == (names == 100)
    assert ring.clusters.born < 10


def test_a_search_along_the_boundary_is_told_with_its_signs() -> None:
    rng = np.random.default_rng(2)
    ring = Ring(known(), 4000)
    ring.add(mixed(asked(bisection(rng), rng, 7), rng, 0.3))
    assert "low_margin_log_p" in aims(ring)
    walk = [one for one in told(ring) if one.heuristic == "boundary_walk"]
    assert walk
    assert walk[0].log_p <= CERTAIN
    assert walk[0].facts["many_scales"] == 1
    assert walk[0].clients[0][0] == 7


def test_a_camera_on_an_ambiguous_object_is_repetitive_and_no_more() -> None:
    rng = np.random.default_rng(3)
    ring = Ring(known(), 4000)
    ring.add(asked(ambiguous(3000, rng), rng, 7))
    found = told(ring)
    assert found
    assert found[0].facts["flips"] > 100
    assert aims(ring) == []
    assert found[0].facts["low_margin_log_p"] == pytest.approx(
        boundary.doubt(known().clusters.boundary, ring.clusters._known[found[0].who].typical_margin())
    )


def test_confidence_that_falls_where_honest_rows_do_not_vary_is_told() -> None:
    rng = np.random.default_rng(4)
    ring = Ring(known(), 4000)
    ring.add(asked(climbing(400, rng), rng, 7))
    assert "confidence_log_p" in aims(ring)
    assert told(ring)[0].facts["confidence_trend"] < -0.8


def test_a_scene_that_turns_into_another_has_a_trend_and_is_no_attack() -> None:
    rng = np.random.default_rng(5)
    ring = Ring(known(), 4000)
    ring.add(asked(scene(600, rng), rng, 7))
    found = told(ring)
    assert found
    assert abs(found[0].facts["confidence_trend"]) > 0.8
    assert aims(ring) == []


def test_frames_at_a_steady_interval_are_said_to_be() -> None:
    rng = np.random.default_rng(6)
    ring = Ring(known(), 4000)
    ring.add(asked(scene(300, rng), rng, 7)._replace(time=np.arange(300.0) * 0.04))
    assert told(ring)[0].facts["frames_regular"] == 1
    assert told(ring)[0].facts["steps_smooth"] == 1


def test_expected_miss_a_search_that_hides_its_steps_in_noise_is_like_an_ambiguous_camera() -> None:
    rng = np.random.default_rng(7)
    ring = Ring(known(), 4000)
    rows = bisection(rng, 30)
    rows = rows[np.abs(rows @ SLOPE) < 0.05]
    ring.add(asked(rows + rng.standard_normal(rows.shape) * 0.004, rng, 7))
    assert told(ring)
    assert aims(ring) == []


def test_expected_miss_a_search_that_stays_below_three_times_the_hit_rate() -> None:
    rng = np.random.default_rng(8)
    ring = Ring(known(), 4000)
    ring.add(mixed(asked(ambiguous(40, rng), rng, 7), rng, 0.004))
    assert told(ring) == []


def test_many_small_clusters_do_not_push_out_a_large_one() -> None:
    rng = np.random.default_rng(9)
    ring = Ring(known(), 4000)
    ring.add(asked(ambiguous(300, rng), rng, 7))
    number = told(ring)[0].who
    pairs = np.repeat(honest(1500, rng), 2, axis=0)
    ring.add(asked(pairs + rng.standard_normal(pairs.shape) * 1e-4, rng, 8))
    assert len(ring.clusters) <= ring.clusters.most
    assert ring.clusters.born > ring.clusters.most
    assert number in {one.who for one in told(ring)}


def test_the_fleet_is_told_where_hits_are_spread_over_many_clusters() -> None:
    rng = np.random.default_rng(10)
    ring = Ring(known(), 4000)
    pairs = np.repeat(honest(400, rng), 2, axis=0)
    ring.add(asked(pairs + rng.standard_normal(pairs.shape) * 1e-4, rng, 8))
    assert told(ring) == []
    assert [one.heuristic for one in told(ring, "fleet")] == ["near_duplicates"]


def test_without_answers_only_nearness_is_told() -> None:
    rng = np.random.default_rng(11)
    whole = asked(bisection(rng), rng)
    nothing = np.full(len(whole.digest), np.nan, np.float32)
    ring = Ring(known(), 4000)
    ring.add(whole._replace(predicted=np.full(len(nothing), -1, np.int32), margin=nothing, confidence=nothing))
    found = told(ring)
    assert found
    assert all(one.heuristic == "near_duplicates" for one in found)
    assert all(one.facts[name] == 0 for one in found for name in AIMS)


def test_a_bet_is_no_more_than_promised_on_the_null() -> None:
    rng = np.random.default_rng(12)
    bet, crossed = boundary.Bet(0.03), 0
    for _ in range(400):
        state = bet.start()
        highest = 0.0
        for yes in (rng.random(300) < 0.03).tolist():
            bet.step(state, yes=yes)
            highest = max(highest, bet.log_e(state))
        crossed += highest >= math.log(20)
    assert crossed / 400 <= 0.05


def test_a_gap_is_as_many_noes() -> None:
    bet = boundary.Bet(0.01)
    one, other = bet.start(), bet.start()
    for gap in (3, 0, 17):
        bet.step(one, yes=True, after=gap)
        state = [value + 1 / ((other[-1] + 1) * (other[-1] + 2)) for value in other[:-1]]
        other = [value * no**gap * yes for value, no, yes in zip(state, bet.no, bet.yes, strict=True)] + [other[-1] + 1]
    assert one == pytest.approx(other)


def test_scales_tell_nothing_where_the_reference_has_as_many() -> None:
    rng = np.random.default_rng(16)
    plain = known().clusters.boundary
    steps = rng.normal(0, 1, 50)
    sums = 50, float(steps.sum()), float((steps**2).sum())
    assert boundary.many_scales(plain, *sums)
    assert not boundary.many_scales(plain, 10, *sums[1:])
    assert not boundary.many_scales(plain._replace(spread=np.asarray(0.9)), *sums)


def test_space_saving_keeps_the_busiest() -> None:
    counts: dict[int, int] = {}
    rng = np.random.default_rng(13)
    for key in np.where(rng.random(3000) < 0.3, 5, rng.integers(10, 1000, 3000)).tolist():
        cluster._count(counts, key, 16)
    assert len(counts) == 16
    assert max(counts, key=lambda key: counts[key]) == 5
    assert counts[5] >= 800


def test_no_trend_is_asked_where_all_directions_are_alike() -> None:
    rng = np.random.default_rng(14)
    rows = rng.standard_normal((3000, 6)).astype(np.float32)
    fixed = trend.calibrate(rows, np.full(3000, 0.9, np.float32), np.full(3000, 0.8, np.float32), rng)
    assert len(fixed.tail) == 0
    move = np.eye(6)[0]
    assert trend.look(fixed, np.linspace(5, -5, 64), move, turn=1, many_scales=False).log_p == 0
    assert trend.look(fixed, np.linspace(5, -5, 64), move, turn=1, many_scales=True).log_p < CERTAIN


def test_p0_is_three_times_the_hit_rate_unless_the_reference_repeats_itself() -> None:
    rng = np.random.default_rng(15)
    some = asked(honest(500, rng), rng)
    near = np.roll(np.arange(500), 1)
    assert float(clusters.calibrate(some, near, np.ones(500), (0.002, 0.002, 0.01), rng).p0) == pytest.approx(0.006)
    assert float(clusters.calibrate(some, near, np.ones(500), (0.002, 0.1, 0.01), rng).p0) == pytest.approx(0.01)
    assert float(clusters.calibrate(some, near, np.ones(500), (0.002, 0.1, 0.9), rng).p0) == pytest.approx(0.3)
