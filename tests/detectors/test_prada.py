from __future__ import annotations

import numpy as np
import pytest

from detectors.queries.prada import MOST_CLIENTS, Prada, PradaFixed, calibrate, shapiro_wilk
from detectors.queries.suspicion import Queries
from detectors.types import SingleArray
from tests.detectors.senders import ATTACKER, WIDTH, asked, no_hits, ordinary

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def fixed() -> PradaFixed:
    queries, _ = asked(ordinary(3000, RNG), np.ones(3000, np.uint64), np.arange(3000.0))
    return calibrate(queries, RNG)


def sent(near: SingleArray, client: int = ATTACKER) -> Queries:
    return asked(near, np.full(len(near), client, np.uint64), np.arange(float(len(near))))[0]


def made_of_each_other(n: int, rng: np.random.Generator, step: float = 0.1) -> SingleArray:
    """Papernot's growth: each round moves every row so far by one step along signs."""
    rows = ordinary(25, rng)
    while len(rows) < n:
        rows = np.concatenate([rows, rows + step * rng.choice([-1, 1], rows.shape).astype(np.float32)])
    return rows[:n]


@pytest.mark.parametrize(
    ("x", "w"),
    [
        ([148, 154, 158, 160, 161, 162, 166, 170, 182, 195, 236], 0.7888147),  # Royston 1995, table of R's help
        (list(range(1, 11)), 0.9701646),
    ],
)
def test_shapiro_wilk_agrees_with_known_values(x: list[float], w: float) -> None:
    assert shapiro_wilk(np.array(x, np.float64)) == pytest.approx(w, abs=1e-5)
    assert shapiro_wilk(np.full(20, 3.0)) == 1.0


def test_synthetic_queries_made_of_each_other_are_found(fixed: PradaFixed) -> None:
    prada = Prada(fixed, WIDTH)
    prada.add(sent(made_of_each_other(400, RNG)), no_hits(400))
    prada.add(sent(ordinary(400, RNG), 5), no_hits(400))
    found = prada.suspicions()
    assert [one.who for one in found] == [ATTACKER]
    assert found[0].facts["shapiro_wilk"] < fixed.least[0]
    assert prada.suspicions() == []


def test_expected_miss_natural_and_random_queries(fixed: PradaFixed) -> None:
    prada = Prada(fixed, WIDTH)
    prada.add(sent(ordinary(380, RNG), 5), no_hits(380))
    prada.add(sent(RNG.uniform(-3, 3, (380, WIDTH)).astype(np.float32), 6), no_hits(380))
    assert prada.suspicions() == []


def test_exact_repeats_and_rows_without_a_place_are_left_out(fixed: PradaFixed) -> None:
    near = np.repeat(ordinary(1, RNG), 300, axis=0)
    prada = Prada(fixed, WIDTH)
    prada.add(sent(near), no_hits(300)._replace(exact=np.arange(300) > 0))
    prada.add(sent(np.full((300, WIDTH), np.nan, np.float32), 6), no_hits(300))
    assert prada.suspicions() == []


def test_only_so_many_clients_are_followed(fixed: PradaFixed) -> None:
    prada = Prada(fixed, WIDTH)
    near = ordinary(500, RNG)
    queries, _ = asked(near, np.arange(1, 501, dtype=np.uint64), np.arange(500.0))
    prada.add(queries, no_hits(500))
    assert len(prada.state()["clients"]) == MOST_CLIENTS


def test_state_goes_on_exactly_and_cuts_do_not_matter(fixed: PradaFixed) -> None:
    rows = made_of_each_other(700, RNG)
    whole, cut = Prada(fixed, WIDTH), Prada(fixed, WIDTH)
    whole.add(sent(rows), no_hits(700))
    cut.add(sent(rows[:150]), no_hits(150))
    resumed = Prada(fixed, WIDTH)
    resumed.restore(cut.state())
    resumed.add(sent(rows[150:]), no_hits(550))
    for name, array in whole.state().items():
        assert np.array_equal(array, resumed.state()[name]), name


def test_reference_too_small_says_nothing() -> None:
    little = calibrate(sent(ordinary(50, RNG)), RNG)
    prada = Prada(little, WIDTH)
    prada.add(sent(made_of_each_other(400, RNG)), no_hits(400))
    assert prada.suspicions() == []
