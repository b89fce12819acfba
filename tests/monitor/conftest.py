"""Fixtures that tests of notifications and of pages share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.web.desk import Desk
from tests.monitor.endpoint import running
from tests.monitor.notify_bench import Receiver, World
from tests.monitor.pages_bench import opened


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


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """What the pages show: findings of two models."""
    with opened(tmp_path) as made:
        yield made
