"""Which rows are looked at when there are too many: whole senders, others each hour, no more than the limit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.rows.layout import DigestArray
from monitor.security.pace import Pace

HOUR = 3600.0


def senders(rows: int, number: int, seed: int = 0) -> DigestArray:
    rng = np.random.default_rng(seed)
    names = rng.integers(1, 2**63, number, dtype=np.uint64)
    return names[rng.integers(0, number, rows)]


def chosen(
    pace: Pace, rate: float, seconds: float, client: DigestArray | None, start: float = 0.0
) -> NDArray[np.bool_]:
    """What is looked at of batches of 100 rows that come at so many rows a second, the second half of the time."""
    batches = int(rate * seconds / 100)
    parts = [pace.choose(100, None if client is None else client[:100], start + i * 100 / rate) for i in range(batches)]
    return np.concatenate(parts[batches // 2 :])


def test_all_rows_are_looked_at_while_they_come_slower_than_the_limit() -> None:
    assert chosen(Pace(2000), 1000, 60, None).all()


def test_of_more_rows_as_many_are_looked_at_as_the_limit_says() -> None:
    rate = chosen(Pace(500), 5000, 60, None).mean() * 5000
    assert rate == pytest.approx(500, rel=0.1)


def test_a_pause_lets_the_next_rows_pass() -> None:
    pace = Pace(100)
    assert not chosen(pace, 5000, 60, None).all()
    assert pace.choose(100, None, 1000.0).all()


def test_a_sender_is_looked_at_with_all_its_rows_or_not_at_all() -> None:
    pace, client = Pace(500), senders(100, 40)
    seen = chosen(pace, 5000, 60, client).reshape(-1, 100)
    assert 0 < seen.mean() < 0.5
    last = seen[-1]
    assert (seen[len(seen) // 2 :] == last).all()
    for name in np.unique(client):
        assert len(set(last[client == name].tolist())) == 1


def test_each_hour_others_are_chosen() -> None:
    client = np.arange(1, 1001, dtype=np.uint64)
    first, second = Pace(100), Pace(100)
    for pace, start in ((first, 0.0), (second, HOUR)):
        for i in range(100):
            pace.choose(1000, client, start + i / 10)
    early, late = first.choose(1000, client, 10.0), second.choose(1000, client, HOUR + 10.0)
    assert 0 < early.sum() < 100
    assert 0 < late.sum() < 100
    assert (early & late).sum() < early.sum() / 2


def test_rows_without_a_sender_are_chosen_one_by_one() -> None:
    pace, client = Pace(500), np.zeros(100, np.uint64)
    seen = chosen(pace, 5000, 60, client).reshape(-1, 100).mean(axis=1)
    assert 0.05 < seen.mean() < 0.2
    assert (seen < 1).all()


def test_a_clock_that_runs_back_is_no_speed() -> None:
    pace = Pace(1000)
    assert pace.choose(100, None, 100.0).all()
    assert pace.choose(100, None, 50.0).all()


def test_no_rows_are_no_trouble() -> None:
    assert not len(Pace(1).choose(0, None, 0.0))
    assert not len(Pace(1).choose(0, np.zeros(0, np.uint64), 1.0))


def test_a_batch_of_more_rows_than_the_limit_is_sampled_at_once() -> None:
    """Ten seconds' worth of rows pass at once; a larger batch is thinned out even if it comes once a day."""
    assert Pace(100).choose(1000, None, 0.0).all()
    assert Pace(100).choose(5000, None, 0.0).mean() == pytest.approx(0.2, abs=0.03)
