from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from detectors.decide.concentration import Verdict, concentration
from detectors.queries.clients import Clients, calibrate
from detectors.queries.suspicion import Hits, Queries
from tests.detectors.senders import ATTACKER, CENTRES, CLASSES, KINDS, WIDTH, World, asked, no_hits, ordinary

LEAST = float(np.log(1e4))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def between(n: int, rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    ends = CENTRES[rng.integers(0, CLASSES, (2, n))]
    return np.asarray(ends.mean(axis=0) + 0.3 * rng.normal(size=(n, WIDTH)), np.float32)


def test_benign_fleet_of_unlike_clients_raises_nothing(world: World) -> None:
    assert world.watch(None, panes=40) == []


def test_client_that_asks_for_low_margins_is_found_by_its_flags_and_by_concentration(world: World) -> None:
    clients = Clients(world.fixed)
    for pane in range(12):
        world.pane(clients, between if pane >= 10 else None)
    found = [one for one in clients.suspicions(LEAST) if one.heuristic == "low_margin"]
    assert [one.who for one in found if one.about == "client"] == [ATTACKER]
    one = found[0]
    assert one.hits > 0.2 * one.rows
    assert one.facts["rate"] > 3 * one.facts["reference_rate"]
    assert set(one.members.tolist()) <= set(range(5000, 6000))
    names, flagged, rows = clients.counts("low_margin", 5000)
    told = concentration(flagged, rows)
    assert told.verdict is Verdict.CONCENTRATED
    assert names[told.suspects].tolist() == [ATTACKER]


def test_hundred_names_with_ten_rows_each_are_found_together(world: World) -> None:
    found = world.watch(between, panes=30, names=100)
    together = [one for one in found if one.about == "fleet" and one.heuristic == "low_margin"]
    assert together
    assert together[0].facts["names"] >= 10
    assert np.mean([who >= ATTACKER for who, _ in together[-1].clients]) > 0.9


def test_expected_miss_names_prepared_long_before_the_attack_are_no_cohort(world: World) -> None:
    clients = Clients(world.fixed)
    for _ in range(40):  # a hundred names behave well until they are known
        near, client = world.fleet(400)
        mine = ordinary(100, world.rng)
        names = ATTACKER + np.arange(100, dtype=np.uint64)
        world.feed(clients, np.concatenate([near, mine]), np.concatenate([client, names]), np.full(500, np.nan))
    for _ in range(4):
        mine = between(25, world.rng)
        world.feed(clients, mine, ATTACKER + world.rng.permutation(100)[:25].astype(np.uint64), np.full(25, np.nan))
    assert not any(one.about == "fleet" for one in clients.suspicions(LEAST))


def test_flags_and_windows_share_the_level_of_a_sender(world: World) -> None:
    clients = Clients(world.fixed)
    world.feed(clients, between(64, world.rng), np.full(64, 5, np.uint64), np.full(64, np.nan))
    evidence = float(clients.log_e()[1].max())
    assert not clients.suspicions(evidence - np.log(2) + 0.01)
    assert clients.suspicions(evidence - np.log(2) - 0.01)


def test_early_rows_are_a_fact_that_lowers_no_evidence(world: World) -> None:
    clients = Clients(world.fixed)
    for _ in range(8):
        world.feed(clients, between(256, world.rng), np.full(256, 5, np.uint64), np.full(256, np.nan))
    first = clients.log_e()[1].max()
    one = next(one for one in clients.suspicions(LEAST) if one.heuristic == "low_margin")
    assert one.facts["baseline_rows"] == 1024
    assert one.facts["baseline_rate"] == pytest.approx(one.facts["rate_since"], abs=0.1)
    world.feed(clients, between(256, world.rng), np.full(256, 5, np.uint64), np.full(256, np.nan))
    assert clients.log_e()[1].max() > first


def test_exact_repeats_are_no_evidence(world: World) -> None:
    near = np.repeat(between(1, world.rng), 200, axis=0)
    queries, odd = asked(near, np.full(200, 5, np.uint64), np.arange(200.0))
    hits = no_hits(200)._replace(exact=np.arange(200) > 0)
    clients = Clients(world.fixed)
    clients.add(queries, hits, np.ones((200, 2), np.bool_), odd)
    assert clients.log_e()[1].max() < np.log(100)
    assert clients.counts("low_margin", 0)[2].tolist() == [1]


def test_flood_of_names_forgets_neither_evidence_nor_grows(world: World) -> None:
    clients = Clients(world.fixed, most=256)
    world.feed(clients, between(64, world.rng), np.full(64, 5, np.uint64), np.arange(64.0))
    before = clients.log_e()[1][0]
    size = sum(array.nbytes for array in clients.state().values())
    for _ in range(40):
        names = world.rng.integers(10**6, 2**62, 256).astype(np.uint64)
        world.feed(clients, ordinary(256, world.rng), names, np.arange(256.0))
    names, evidence = clients.log_e()
    assert evidence[names == 5][0] == pytest.approx(before)
    assert clients.remembered == 256
    assert clients.evicted == 40 * 256 - 255
    assert sum(array.nbytes for array in clients.state().values()) < size + 256 * 4000 + 10_240 * 16


def test_state_goes_on_exactly(world: World) -> None:
    one = Clients(world.fixed)
    for _ in range(3):
        world.pane(one, between, names=3)
    other = Clients(world.fixed)
    other.restore({name: array.copy() for name, array in one.state().items()})
    near, client = world.fleet(500)
    told = []
    for clients in (one, other):
        world.feed(clients, near, client, world.now + np.arange(500.0))
        told.append([(s.heuristic, s.who, s.log_e, s.rows) for s in clients.suspicions(0.5)])
    assert told[0] == told[1]
    assert told[0]
    for name, array in one.state().items():
        assert np.array_equal(array, other.state()[name], equal_nan=array.dtype.kind == "f"), name
    with pytest.raises(ValueError, match="the state is of"):
        other.restore(one.state() | {"kinds": np.array(["other"])})


def test_batches_may_be_cut_anywhere(world: World) -> None:
    near, client = world.fleet(600)
    queries, odd = asked(near, client, np.arange(600.0))
    evidence = []
    for part in (600, 7):
        clients = Clients(world.fixed)
        for begin in range(0, 600, part):
            some = slice(begin, begin + part)
            one = Queries._make(column[some] for column in queries)
            clients.add(one, no_hits(len(one.client)), world.flags(one, odd[some]), odd[some])
        names, log_e = clients.log_e()
        evidence.append(log_e[np.argsort(names)])
    assert evidence[0] == pytest.approx(evidence[1], abs=1e-9)


def test_rows_without_names_values_or_number_are_survived(world: World) -> None:
    clients = Clients(world.fixed)
    nothing = ordinary(0, world.rng)
    world.feed(clients, nothing, np.zeros(0, np.uint64), np.zeros(0))
    world.feed(clients, ordinary(9, world.rng), np.zeros(9, np.uint64), np.full(9, np.nan))
    n = 300
    wild = np.where(world.rng.random((n, WIDTH)) < 0.5, np.nan, np.float32(3e38)).astype(np.float32)
    unknown = np.full(n, np.nan, np.float32)
    queries = Queries(
        wild, np.zeros(n, np.uint64), np.full(n, 2**64 - 1, np.uint64), np.full(n, -1, np.int32), unknown, unknown,
        np.where(np.arange(n) % 2, np.nan, 1e308),
    )  # fmt: skip
    none = no_hits(n)
    clients.add(
        queries,
        Hits._make(none),
        np.ones((n, 2), np.bool_),
        np.where(np.arange(n) % 3, 1e308, np.inf),
        np.zeros((n, 2), np.bool_),
    )
    assert clients.suspicions(LEAST) == []
    assert clients.log_e()[1] == pytest.approx(-np.log(2))


def test_what_is_measured_is_arrays_all_the_way_down(world: World) -> None:
    def leaves(value: object) -> Iterator[object]:
        if isinstance(value, tuple):
            for part in value:
                yield from leaves(part)
        else:
            yield value

    assert all(isinstance(one, np.ndarray) and one.dtype.kind != "O" for one in leaves(world.fixed))


def test_calibration_refuses_names_that_do_not_fit_the_flags(world: World) -> None:
    odd = np.zeros(len(world.held.client))
    with pytest.raises(ValueError, match="3 names for 2 kinds"):
        calibrate((*KINDS, "x"), world.flags(world.held, odd), world.held, odd, CLASSES, world.rng)
