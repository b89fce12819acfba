"""Fixtures that tests of notifications share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitor.endpoint import running
from tests.monitor.notify_bench import Receiver, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A state folder and what happens in it."""
    made = World(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody to be told, on a port of this machine."""
    with running(Receiver()) as server:
        yield server
