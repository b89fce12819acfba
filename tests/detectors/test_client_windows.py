from __future__ import annotations

import numpy as np
import pytest

from detectors.queries import client_shift, extraction, profile
from detectors.queries.clients import Clients
from detectors.queries.flooding import Volume
from detectors.queries.suspicion import Suspicion
from detectors.types import FloatArray, SingleArray
from tests.detectors.senders import ATTACKER, CENTRES, CLASSES, WIDTH, World, about, asked, no_hits, ordinary

LEAST = float(np.log(1e4))


@pytest.fixture(scope="module")
def world() -> World:
    return World(1)


def one_class(n: int, rng: np.random.Generator) -> SingleArray:
    return ordinary(n, rng, np.eye(CLASSES)[3])


def noise(n: int, rng: np.random.Generator) -> SingleArray:
    return rng.uniform(-3, 3, (n, WIDTH)).astype(np.float32)


def foreign(n: int, rng: np.random.Generator) -> SingleArray:
    return ordinary(n, rng) + np.float32(1)


def counts_of(rng: np.random.Generator, clients: int, rows: int, concentration: float) -> FloatArray:
    shares = rng.dirichlet(np.full(10, concentration), clients)
    return np.array([rng.multinomial(rows, p) for p in shares], np.float64)


@pytest.mark.parametrize("source", [noise, foreign])
def test_foreign_queries_are_a_shift_of_the_client(world: World, source: object) -> None:
    found = world.watch(source, panes=30)  # type: ignore[arg-type]
    assert about([one for one in found if one.about == "client"], "client_shift") == [ATTACKER]


def test_queries_about_one_class_alone_look_like_extraction(world: World) -> None:
    found = world.watch(one_class, panes=30)
    assert about(found, "extraction") == [ATTACKER]
    facts = next(one.facts for one in found if one.heuristic == "extraction")
    assert facts["cells_visited"] < facts["cells_expected"]
    assert facts["effective_classes"] < 2


def test_expected_miss_extraction_by_natural_queries_in_the_fleets_proportions(world: World) -> None:
    assert world.watch(ordinary, panes=40) == []


def test_clients_that_differ_as_the_others_do_keep_the_level() -> None:
    rng, least = np.random.default_rng(2), []
    for concentration in (2.0, 10.0, 1e6):
        for _ in range(40):
            counts = counts_of(rng, 40, 200, concentration)
            log_p, _ = client_shift.unlike(counts, counts, np.zeros(10))
            least.append(log_p.min() + np.log(40))
    assert np.mean(np.array(least) <= np.log(0.05)) <= 0.1
    assert np.mean(np.array(least) <= np.log(0.001)) <= 0.02


def test_client_must_be_unlike_the_reference_too_and_have_peers() -> None:
    rng = np.random.default_rng(3)
    counts = counts_of(rng, 20, 200, 1e6)
    counts[0] = rng.multinomial(200, [0.91, *[0.01] * 9])
    alone, _ = client_shift.unlike(counts, counts, np.zeros(10))
    like_it, _ = client_shift.unlike(counts, counts, counts[0] * 20)
    assert alone[0] < LEAST * -1 < like_it[0]
    few, _ = client_shift.unlike(counts[:8], counts[:8], np.zeros(10))
    assert np.isnan(few).all()


def test_coverage_counts_cells_of_equally_many_rows() -> None:
    rng = np.random.default_rng(4)
    cells = np.array([rng.multinomial(n, np.full(256, 1 / 256)) for n in [100] * 20 + [3000]], np.float64)
    cells = np.concatenate([cells, rng.multinomial(200, [1.0, *[0.0] * 255])[None]])
    found = extraction.coverage(cells, cells)
    assert found.visited[20] == pytest.approx(256 * (1 - (1 - 1 / 256) ** 256), rel=0.05)
    assert found.log_p[20] > np.log(0.01)
    assert found.log_p[21] < np.log(1e-4)
    assert found.log_p_more[21] == pytest.approx(0.0, abs=1e-3)


def test_two_of_three_needs_two() -> None:
    log_p = np.array([[-50.0, -0.1, -0.1], [-50.0, -40.0, -0.1], [-50.0, np.nan, np.nan], [-50.0, -40.0, np.nan]])
    found = extraction.two_of_three(log_p)
    assert found[[0, 1, 3]] == pytest.approx([0.0, -40 + np.log(2), -40 + np.log(2)])
    assert np.isnan(found[2])


def climb(world: World, rise: float, away: float) -> list[Suspicion]:
    """A client whose confidence rises, or whose rows move away from the data, among others whose do not."""
    clients = Clients(world.fixed)
    near, client = world.fleet(2000)
    queries, odd = asked(near, client, np.arange(2000.0))
    mine = np.arange(0, 2000, 10)
    client[mine] = ATTACKER
    order = np.arange(len(mine)) / len(mine)
    queries.confidence[mine] = np.clip(0.5 + 0.5 * rise * order + 0.05 * world.rng.normal(size=len(mine)), 0, 1)
    odd[mine] = np.quantile(odd, 0.1) + away * order * np.ptp(odd) + 0.1 * world.rng.normal(size=len(mine))
    clients.add(queries, no_hits(2000), np.zeros((2000, 2), np.bool_), odd)
    return [one for one in clients.suspicions(LEAST) if one.heuristic == "confidence_ascent"]


def test_inversion_needs_rising_confidence_and_rising_oddness(world: World) -> None:
    found = climb(world, 1.0, 1.0)
    assert [one.who for one in found] == [ATTACKER]
    assert found[0].facts["rising_confidence"] > 0.8
    assert climb(world, 1.0, 0.0) == []


def test_wandering_is_no_ascent() -> None:
    """A sensor's walk to and fro: correlated with the order by chance, and no more likely to be told for it."""
    rng, found = np.random.default_rng(5), []
    rows = np.full(500, 200)
    for _ in range(500):
        walk = np.cumsum(rng.normal(size=(200, 2)), axis=0)
        order = np.arange(200.0)[:, None]
        steps = np.diff(walk, axis=0, prepend=walk[:1])
        sums = (walk, walk**2, walk * order, np.ones_like(walk), walk, steps**2)
        found.append(np.stack([one.sum(axis=0) for one in sums], axis=1))
    r, log_p = extraction.ascent(np.stack(found), rows)
    assert (r >= 0.5).all(axis=1).mean() > 0.08
    assert log_p.min() > -8


def test_expected_miss_inversion_whose_confidence_does_not_climb(world: World) -> None:
    assert climb(world, 0.0, 1.0) == []


def test_foreign_inputs_much_alike_with_jumping_answers_are_reprogramming_like(world: World) -> None:
    clients, n = Clients(world.fixed), 400
    near, client = world.fleet(2000)
    program = (CENTRES[2] + CENTRES[5]).astype(np.float32) * 2
    near[:n] = program + 0.2 * world.rng.normal(size=(n, WIDTH)).astype(np.float32)
    client[:n] = ATTACKER
    queries, odd = asked(near, client, np.arange(2000.0))
    queries.predicted[:n] = world.rng.choice([2, 5], n)
    alike = np.arange(2000) < n
    hits = no_hits(2000)._replace(hit=alike, flip=alike & (world.rng.random(2000) < 0.5))
    clients.add(queries, hits, world.flags(queries, odd), odd)
    found = [one for one in clients.suspicions(LEAST) if one.who == ATTACKER]
    assert found
    assert found[0].facts["near_share"] == 1
    assert found[0].facts["reprogramming_like"] == 1


def member_rows(world: World, share: float, noise_level: float = 0.0) -> list[Suspicion]:
    def probe(n: int, rng: np.random.Generator) -> SingleArray:
        rows = ordinary(n, rng)
        mine = rng.random(n) < share
        rows[mine] = world.trained[rng.integers(0, len(world.trained), int(mine.sum()))]
        return np.asarray(rows + noise_level * rng.normal(size=rows.shape), np.float32)

    return [one for one in world.watch(probe, panes=25) if one.heuristic == "membership_probing"]


def test_membership_probing_is_found_by_digest_and_by_nearness() -> None:
    world = World(5, trained=True)
    rate = world.fixed.flagged[-1] / world.fixed.asked[-1]
    assert rate <= 0.01
    assert {one.who for one in member_rows(world, 0.5) if one.about == "client"} == {ATTACKER}
    assert {one.who for one in member_rows(world, 0.5, 0.01) if one.about == "client"} == {ATTACKER}


def test_expected_miss_membership_probing_through_noise_beyond_the_radius() -> None:
    assert member_rows(World(5, trained=True), 0.5, 1.0) == []


def pace(world: World, *, even: bool, source: object = ordinary, names: int = 1) -> list[Suspicion]:
    """A client that asks ten times as much as before from some pane on."""
    clients, found = Clients(world.fixed), []
    for pane in range(20):
        number = 400 if pane >= 15 else 20
        near, client = world.fleet(400)
        mine = source(number, world.rng)  # type: ignore[operator]
        begin = 10.0 * pane
        own = begin + np.arange(number) * 10 / number if even else begin + np.sort(world.rng.random(number)) * 10
        time = np.concatenate([begin + np.sort(world.rng.random(400)) * 10, own])
        sender = ATTACKER + world.rng.integers(0, names, number).astype(np.uint64)
        order = np.argsort(time, kind="stable")
        world.feed(clients, np.concatenate([near, mine])[order], np.concatenate([client, sender])[order], time[order])
        found += [one for one in clients.suspicions(LEAST) if one.heuristic == "flooding"]
    return found


def test_load_test_is_flooding_of_that_kind_and_nothing_else(world: World) -> None:
    found = pace(world, even=True)
    assert {one.who for one in found} == {ATTACKER}
    assert found[0].facts["load_test"] == 1
    assert found[0].facts["variation"] < 0.5


def test_flood_of_suspicious_rows_is_no_load_test(world: World) -> None:
    found = pace(world, even=True, source=noise)
    assert found
    assert found[0].facts["load_test"] == 0


def test_expected_miss_flood_under_many_names(world: World) -> None:
    assert pace(world, even=False, names=200) == []


def test_steady_senders_of_any_size_never_flood() -> None:
    rng, volume = np.random.default_rng(6), Volume(50)
    weight = rng.pareto(1.0, 50) + 1
    for pane in range(60):
        key = np.sort(rng.choice(50, 1000, p=weight / weight.sum()))
        slots, whose = np.unique(key, return_inverse=True)
        volume.add(slots, whose, pane * 10 + rng.random(1000) * 10, np.zeros(1000, np.bool_))
        assert not (volume.look(np.arange(50)).log_p < np.log(1e-4)).any()


def test_profile_without_values_has_no_bins() -> None:
    near = np.full((5, 3), np.nan, np.float32)
    queries, odd = asked(np.zeros((5, WIDTH), np.float32), np.ones(5, np.uint64), np.arange(5.0))
    fixed = profile.fit(queries._replace(near=near), np.full(5, np.nan), 3, np.random.default_rng(0))
    bins = profile.bins_of(fixed, queries._replace(near=near), odd)
    assert (bins[:, 2:] == -1).all()
    assert (bins[:, 0] >= 0).all()
