"""The outcome lane when a disk or a clock fails, or a reference changes: what waits is kept, the rest counted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from monitor.errors import StoreError
from tests.monitor.lane_bench import Bench, scored, silent

REFERENCE = scored(4_000, 0)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """A maker of agents; all are stopped at the end."""
    made: list[Bench] = []

    def begin(name: str = "one", reference: pa.Table = REFERENCE, **model: Any) -> Bench:
        made.append(Bench(tmp_path / name, reference, **model))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def test_a_fault_that_passes_at_a_start_costs_nothing(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make()
    bench.send(silent(scored(500, 1)))
    states = bench.lane.states()
    bench.lane.close()
    real = os.open

    def crowded(path: Any, *rest: Any, **named: Any) -> int:
        if str(path).endswith(".rows"):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "open", crowded)
    with pytest.raises(StoreError, match="start again once it can"):
        bench.lane.restore(states)
    monkeypatch.undo()
    bench.lane.restore(states)
    assert bench.lane.index.figures().rows == 500
