from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.decide import causes, fault_tree
from detectors.decide.fault_tree import ATTACK, UNKNOWN, Verdict
from detectors.queries import pairs
from detectors.queries.pairs import Pairs
from detectors.queries.ring import Ring
from detectors.queries.subjects import ALL
from detectors.queries.suspicion import Hits, Queries, Suspicion
from tests.detectors.test_clusters import BAR, SLOPE, WIDTH, asked, honest, known

READER = 7


class World:
    """A ring with what is said beside it."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.ring = Ring(known(), 4000)
        self.pairs = Pairs(known().clusters.boundary, WIDTH, WIDTH)
        self.send(honest(500, self.rng), self.rng.integers(100, 200, 500))

    def send(self, rows: NDArray[Any], client: Any = READER, version: Any = 0, **columns: NDArray[Any]) -> Hits:
        queries = asked(rows, self.rng, client)._replace(**columns)
        hits = self.ring.add(queries)
        versions = np.broadcast_to(np.asarray(version, np.int32), (len(rows),))
        self.pairs.add(np.asarray(rows, np.float64), queries, hits, versions, self.ring.rows - len(rows))
        return hits

    def told(self) -> list[Suspicion]:
        return [self.pairs.beside(one) for one in self.ring.suspicions(BAR)]

    def facts(self, about: str = "client", who: int = READER) -> dict[str, float]:
        nothing = Suspicion("near_duplicates", about, who, 50.0, np.nan, 1, 1, 0, 1, (), {}, np.zeros(0, np.int64))
        return dict(self.pairs.beside(nothing).facts)

    def verdict(self, who: int) -> Verdict:
        mine = [one for one in self.told() if (one.about, one.who) == ("cluster", who)]
        watching = ("near_duplicates", "boundary_walk", "confidence_ascent", "target_class", "noise_like_updates")
        facts = causes.gathered([(one.heuristic, causes.facts_of(one)) for one in mine], watching)
        return fault_tree.evaluate(causes.TREE, facts)

    def largest(self) -> int:
        return max((one for one in self.told() if one.about == "cluster"), key=lambda one: one.rows).who


def a_list(length: int, rng: np.random.Generator, column: int = 1, way: float = 1.0) -> NDArray[Any]:
    """Pages of one list: a row again, one number a little higher each time."""
    rows = np.repeat(honest(1, rng), length, axis=0)
    rows[:, column] += way * np.arange(length) * 0.001
    return rows


def search(n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Steps of many scales about a place where two answers are equally likely."""
    here = honest(1, rng)
    here[:, 0] -= here[0] @ SLOPE
    steps: NDArray[Any] = here + 10.0 ** rng.uniform(-6, -3, (n, 1)) * rng.standard_normal((n, WIDTH))
    return steps


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_steps_through_one_column_are_pages(way: float) -> None:
    world = World()
    for _ in range(3):
        world.send(a_list(40, world.rng, way=way))
    assert world.facts()["pagination"] == 1.0
    verdict = world.verdict(world.largest())
    assert (verdict.triage, verdict.cause) == (UNKNOWN, "pagination")


def test_every_page_counts_from_the_second_on() -> None:
    world = World()
    hits = world.send(a_list(30, world.rng))
    numbers = dict(world.pairs._subjects)["client", READER]
    assert hits.hit.sum() == 29
    assert numbers[:2] == [29, 29]


def test_a_search_along_the_way_of_a_reader_is_a_search() -> None:
    world = World()
    for _ in range(2):
        world.send(a_list(30, world.rng))
        world.send(search(150, world.rng))
    verdict = world.verdict(world.largest())
    assert (verdict.triage, verdict.cause) == (ATTACK, "search")


def test_a_search_around_one_place_and_changes_to_and_fro_are_no_pages() -> None:
    world = World()
    star = np.repeat(honest(1, world.rng), 61, axis=0)
    star[np.arange(1, 61), np.arange(60) % WIDTH] += 0.002 * np.where(np.arange(60) // WIDTH % 2, 1, -1)
    world.send(star)
    assert world.facts()["pagination"] == 0.0
    other = np.repeat(honest(1, world.rng), 60, axis=0)
    other[:, 1] += world.rng.standard_normal(60) * 0.002
    world.send(other, READER + 1)
    assert world.facts(who=READER + 1)["pagination"] == 0.0


def test_expected_miss_pages_whose_time_moves_as_well() -> None:
    world = World()
    rows = a_list(60, world.rng)
    rows[:, 2] += np.arange(60) * 0.0005
    world.send(rows)
    assert world.facts()["pagination"] == 0.0


def test_categories_have_no_order_and_images_no_columns() -> None:
    world = World()
    world.pairs = Pairs(known().clusters.boundary, 1, WIDTH)
    world.send(a_list(60, world.rng))
    assert world.facts()["pagination"] == 0.0
    rows = a_list(60, world.rng)
    plain = Pairs(known().clusters.boundary, 0, 0)
    queries = asked(rows, world.rng, READER)
    plain.add(np.zeros((60, 0)), queries, world.ring.add(queries), None, world.ring.rows - 60)
    world.pairs = plain
    assert "pagination" not in world.facts()
    assert "ab_replay" not in world.facts()  # no version, no pairs of versions


def replayed(rows: NDArray[Any], rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Each row and its copy, the senders, and the versions."""
    copies = rows + 1e-5 * rng.standard_normal(rows.shape)
    both = np.stack([rows, copies], axis=1).reshape(-1, rows.shape[1])
    return both, np.tile([READER, READER + 1], len(rows)), np.tile([0, 1], len(rows))


def test_the_same_inputs_answered_by_another_version_are_a_replay() -> None:
    world = World()
    world.send(*replayed(honest(60, world.rng), world.rng))
    assert world.facts(who=READER + 1)["ab_replay"] == 1.0
    assert world.facts(*ALL)["ab_replay"] == 1.0
    assert world.facts(who=READER + 1)["same_version_flips_log_p"] == 0.0


def test_exact_repeats_to_another_version_are_a_replay_too() -> None:
    world = World()
    rows, client, version = replayed(honest(60, world.rng), world.rng)
    world.send(rows, client, version, digest=np.repeat(np.arange(1, 61, dtype=np.uint64), 2))
    assert world.facts(who=READER + 1)["ab_replay"] == 1.0


def test_flips_between_versions_are_explained_and_those_within_one_are_not() -> None:
    world = World()
    frames = honest(1, world.rng) + 0.0005 * world.rng.standard_normal((100, WIDTH))
    rows, client, version = replayed(frames, world.rng)
    world.send(rows, client, version, predicted=version.astype(np.int32))
    who = world.largest()
    facts = world.facts("cluster", who)
    assert (facts["ab_replay"], facts["same_version_flips_log_p"]) == (1.0, 0.0)
    sure = {"near_duplicates": True, "flips_log_p": -40.0, **facts}
    assert fault_tree.evaluate(causes.TREE, sure).cause == "ab_replay"


@pytest.mark.parametrize("how", ["alternating", "replayed"])
def test_a_search_is_not_excused_by_versions_replayed_or_chosen(how: str) -> None:
    world = World()
    rows = search(300, world.rng)
    if how == "alternating":
        world.send(rows, READER, np.arange(len(rows)) % 2)
    else:
        world.send(*replayed(rows, world.rng))
    who = world.largest()
    facts = world.facts("cluster", who)
    assert facts["same_version_flips_log_p"] < causes.CERTAIN
    verdict = world.verdict(who)
    assert (verdict.triage, verdict.cause) == (ATTACK, "search")


def test_versions_drawn_by_chance_are_no_replay() -> None:
    world = World()
    frames = honest(1, world.rng) + 0.0005 * world.rng.standard_normal((400, WIDTH))
    world.send(frames, READER, world.rng.integers(0, 2, 400))
    assert world.facts()["ab_replay"] == 0.0


def busy(world: World) -> tuple[NDArray[Any], Queries, Hits, NDArray[Any], int]:
    """Lists, replays and repeats of 600 rows, as the ring saw them."""
    rows, client, version = replayed(np.concatenate([a_list(60, world.rng), search(240, world.rng)]), world.rng)
    queries = asked(rows, world.rng, client)
    queries.digest[1::6] = queries.digest[::6]
    first = world.ring.rows
    return rows, queries, world.ring.add(queries), version.astype(np.int32), first


def test_cuts_and_restarts_change_nothing() -> None:
    world = World()
    rows, queries, hits, version, first = busy(world)
    again = Pairs(known().clusters.boundary, WIDTH, WIDTH)
    again.restore(world.pairs.state())
    world.pairs.add(rows, queries, hits, version, first)
    for start in range(0, len(rows), 37):
        some = slice(start, start + 37)
        cut, near = Queries._make(one[some] for one in queries), Hits._make(one[some] for one in hits)
        again.add(rows[some], cut, near, version[some], first + start)
        other = Pairs(known().clusters.boundary, WIDTH, WIDTH)
        other.restore(again.state())
        again = other
    whole = world.pairs.state()
    assert whole.keys() == again.state().keys()
    assert all(np.array_equal(array, again.state()[name], equal_nan=True) for name, array in whole.items()
               if array.dtype.kind == "f")  # fmt: skip
    assert all(np.array_equal(array, again.state()[name]) for name, array in whole.items() if array.dtype.kind != "f")
    with pytest.raises(ValueError, match="rows of"):
        again.restore(Pairs(known().clusters.boundary, 3, 3).state())


def test_subjects_are_bounded() -> None:
    world = World()
    n = 2 * pairs.MOST
    frames = honest(1, world.rng) + 0.0005 * world.rng.standard_normal((n, WIDTH))
    world.send(frames, np.arange(1, n + 1))
    assert len(world.pairs.state()["subjects/who"]) == pairs.MOST
    assert "ab_replay" in world.facts(*ALL)


def test_nothing_and_hostile_numbers_are_survived() -> None:
    world = World()
    world.send(np.zeros((0, WIDTH)))
    rows = np.repeat(honest(1, world.rng), 40, axis=0)
    queries = asked(rows, world.rng, READER)
    hits = world.ring.add(queries)._replace(hit=np.ones(40, np.bool_))
    wild = np.where(world.rng.random((40, WIDTH)) < 0.3, np.nan, 1e308)
    wild[::3] = np.inf
    for hostile in (wild, -wild):
        world.pairs.add(hostile, queries, hits, None, world.ring.rows - 40)
    world.pairs.add(wild, queries, hits._replace(neighbour=np.full(40, 10**12)), np.full(40, 10**6, np.int32), 0)
    assert world.facts().get("pagination", 0.0) == 0.0
