"""What results of probes mean: who is told, once a look, and to which version an answer belongs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from detectors import golden
from detectors.rows.layout import Rows
from detectors.simulate import block_of
from monitor.probes.prober import Candidate
from monitor.probes.results import GOLDEN, LEAST_RANDOM, RANDOM, SENDERS, USUAL, Result, Tallies, golden_answers
from tests.detectors.test_outputs import LAYOUT
from tests.monitor.endpoint import Endpoint, probabilities, running
from tests.monitor.probing import prober_for


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running(Endpoint()) as server:
        yield server


def made(change: float, number: int, client: int = 0, why: str = RANDOM) -> Result:
    return Result(number, client, why, 0.0, 0.1, "", np.zeros(2), (), 16, 1 - change, change, change, float("nan"))


def test_a_client_whose_rows_are_less_stable_than_random_ones_is_told() -> None:
    rng = np.random.default_rng(6)
    usual = [made(float(abs(x)) * 0.1, i) for i, x in enumerate(rng.standard_normal(200))]
    attacker = [made(0.5, 1_000 + i, client=7, why="boundary_walk") for i in range(12)]
    benign = [made(float(abs(x)) * 0.1, 2_000 + i, client=8, why="row_scores") for i, x in enumerate(rng.random(12))]
    told = {one.who: one for one in Tallies().add(usual + attacker + benign)}
    assert told[7].log_p < np.log(1e-6)
    assert told[7].rows == 10  # the first ten: the next look is at twenty
    assert told[8].log_p == 0.0
    assert told[7].members.tolist() == list(range(1_000, 1_010))
    assert Tallies().add(usual[:30] + attacker) == []


def test_benign_clients_are_accused_at_most_at_the_level() -> None:
    rng = np.random.default_rng(7)
    accused = 0
    for _ in range(300):
        usual = [made(float(x), i) for i, x in enumerate(rng.random(60))]
        tallies = Tallies()
        tallies.add(usual)
        mine = [made(float(x), i, client=3, why="row_scores") for i, x in enumerate(rng.random(80))]
        low = min(told.log_p for one in mine for told in tallies.add([one]))
        accused += low <= np.log(0.05)
    assert accused / 300 <= 0.05


def test_each_look_is_taken_once_however_long_it_goes_on_and_however_it_is_batched() -> None:
    rng = np.random.default_rng(9)
    stream = [made(float(x), i) for i, x in enumerate(rng.random(LEAST_RANDOM))]
    stream += [
        made(float(x), 100 + i, client=3 if i % 2 else 0, why="row_scores" if i % 2 else RANDOM)
        for i, x in enumerate(rng.random(12_000))
    ]
    one, alone = Tallies(), []
    for each in stream:
        alone += one.add([each])
    assert [told.rows for told in alone] == [5 * 2**k for k in range(11)]
    whole, parts = Tallies(), []
    for start in range(0, len(stream), 997):
        parts += whole.add(stream[start : start + 997])
        whole.restore(json.loads(json.dumps(whole.state())))
    last = {told.rows: (told.log_p, told.facts) for told in alone}
    assert all(last[told.rows] == (told.log_p, told.facts) for told in parts)
    assert parts[-1].rows == alone[-1].rows == 5_120


def test_few_senders_and_few_random_rows_are_remembered() -> None:
    tallies = Tallies()
    tallies.add([made(0.1, i) for i in range(2 * USUAL)])
    tallies.add([made(0.5, i, client=7, why="low_margin") for i in range(4)])
    tallies.add([made(0.1, i, client=100 + i, why="low_margin") for i in range(2 * SENDERS)])
    state = tallies.state()
    assert (len(state["usual"]), len(state["senders"])) == (USUAL, SENDERS)
    assert tallies.add([made(0.5, 5, client=7, why="low_margin")]) == []  # forgotten: begins anew


def test_answers_to_golden_rows_go_to_the_golden_set(endpoint: Endpoint) -> None:
    rng = np.random.default_rng(8)
    rows = rng.normal(0, 0.5, (30, 3))
    digest = np.arange(100, 130).astype(np.uint64)
    p = probabilities(rows).astype(np.float32)
    block = block_of(rows)
    known = golden.fit(LAYOUT, Rows(block, digest, probabilities=p), rng)
    prober = prober_for(endpoint)
    names = ("age", "income", "debt")
    for version, sign in ((1, 1.0), (2, -1.0)):
        judge = golden.Golden(known)
        for i, row in enumerate(sign * rows):
            prober.offer([Candidate(dict(zip(names, row.tolist(), strict=True)), i, why=GOLDEN)], 100)
            prober.step()
        found = [(one, version) for one in prober.results()]
        answered = golden_answers(found, {i: int(d) for i, d in enumerate(digest)})
        assert answered is not None
        judge.add(LAYOUT, answered)
        said = judge.comparison(version)
        assert said is not None
        assert (said.asked, said.changed) == (30, 0 if sign > 0 else 30)
    assert golden_answers([(made(0.1, 1), 1)], {1: 1}) is None
    only = [made(0.1, i, why=GOLDEN)._replace(probabilities=np.ones(1), names=("b",)) for i in range(30)]
    other = [made(0.1, i, why=GOLDEN) for i in range(5)]  # with another number of probabilities
    named = [(one, 3) for one in (*only, *other)]
    answered = golden_answers(named, {i: int(d) for i, d in enumerate(digest)}, {"a": 0, "b": 1})
    assert answered is not None
    judge.add(LAYOUT, answered)
    said = judge.comparison(3)
    assert said is not None
    assert (said.asked, said.changed) == (30, int((p[:, 1] < 0.5).sum()))
