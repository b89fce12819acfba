"""All receivers at once: a dead one delays neither another nor the agent, and stopping sends nothing twice."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.errors import StoreError
from monitor.notify.dispatcher import Dispatcher
from monitor.notify.section import Notify
from tests.monitor.endpoint import Document, Handler, running
from tests.monitor.notify_bench import URL, Receiver, World, context, drip


def hook(name: str, url: str, **changes: Any) -> Notify:
    raw = {"webhook": {"name": name, "url": url, "timeout": "1s", **changes}}
    return Notify.model_validate(raw, context=context())


@contextlib.contextmanager
def dispatching(world: World, *sections: Notify) -> Iterator[Dispatcher]:
    made = Dispatcher(world.store, sections, URL, SystemClock())
    made.start()
    try:
        yield made
    finally:
        made.stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_dead_slow_and_lying_receivers_delay_nobody(world: World, receiver: Receiver) -> None:
    with running(Receiver()) as slow, running(Receiver()) as shut:
        slow.behave = drip
        shut.server_close()
        sections = (hook("dead", shut.url), hook("slow", slow.url), hook("well", receiver.url))
        with dispatching(world, *sections) as made:
            for pane in range(10):
                world.open(pane=pane)
            until(lambda: len(receiver.bodies) == 10)
            until(lambda: made.counts()["dead"].failures > 0 and made.counts()["slow"].failures > 0)
            counts = made.counts()
    assert (counts["well"].sent, counts["well"].failures, counts["well"].waiting) == (10, 0, 0)
    assert counts["dead"].waiting == counts["slow"].waiting == 10


def test_the_store_is_free_while_a_receiver_takes_its_time(world: World, receiver: Receiver) -> None:
    let_go = threading.Event()

    def hold(handler: Handler, _: Document) -> None:
        let_go.wait(10)
        handler.send(b"", 204)

    receiver.behave = hold
    with dispatching(world, hook("slow", receiver.url, timeout="20s")):
        world.open()
        until(lambda: len(receiver.bodies) == 1)
        world.open(pane=9)  # a commit, as the engine makes it, goes through
        assert world.store.last_event() == 2
        let_go.set()


def test_stopping_waits_for_what_is_under_way_and_a_restart_does_not_send_it_again(
    world: World, receiver: Receiver
) -> None:
    def slowly(handler: Handler, _: Document) -> None:
        time.sleep(0.5)
        handler.send(b"", 204)

    receiver.behave = slowly
    with dispatching(world, hook("one", receiver.url, timeout="5s")):
        one, two = world.open(pane=1), world.open(pane=2)
        until(lambda: len(receiver.bodies) == 1)
    assert len(receiver.bodies) == 1
    world.restart()
    with dispatching(world, hook("one", receiver.url, timeout="5s")):
        until(lambda: len(receiver.bodies) == 2)
    assert [body["subject"] for body in receiver.bodies] == [one.id, two.id]


def test_what_happens_between_making_and_starting_is_not_missed(world: World, receiver: Receiver) -> None:
    made = Dispatcher(world.store, (hook("one", receiver.url),), URL, SystemClock())
    world.open()
    made.start()
    until(lambda: len(receiver.bodies) == 1)
    made.stop()


def test_trouble_of_our_own_passes(world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.notify.dispatcher._AFTER_TROUBLE", 0.05)
    errors: list[Exception] = [StoreError("the disk is gone"), RuntimeError("a mistake")]
    whole = world.store.last_event

    def sometimes() -> int:
        if errors:
            raise errors.pop()
        return whole()

    with dispatching(world, hook("one", receiver.url)):
        monkeypatch.setattr(world.store, "last_event", sometimes)
        world.open()
        until(lambda: len(receiver.bodies) == 1)
    assert errors == []


def test_without_receivers_there_is_nothing_to_do(world: World) -> None:
    with dispatching(world) as made:
        assert made.counts() == {}
        assert made._threads == []
