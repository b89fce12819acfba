"""Cost of notifications: an idle second of a receiver, a message, a commit of the engine beside dead receivers."""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import structlog

from monitor.clock import SystemClock
from monitor.notify.alerts import Herald
from monitor.notify.courier import Courier
from monitor.notify.dispatcher import Dispatcher
from monitor.notify.section import Notify
from monitor.report import Finding
from tests.bench.common import cpu, table
from tests.monitor.endpoint import running
from tests.monitor.findings_bench import culprit, finding
from tests.monitor.notify_bench import URL, Receiver, World, alertmanager, context, drip, webhook

MESSAGES = 200
OPEN = 10_000
COMMITS = 100


def run() -> None:
    """Print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as folder, running(Receiver()) as receiver:
        rows = [*_idle(Path(folder) / "idle", receiver), *_sent(Path(folder) / "sent", receiver)]
        rows += _commits(Path(folder))
    table("Notifications", ("what", "figure"), rows)


def _idle(folder: Path, receiver: Receiver) -> list[tuple[str, str]]:
    """A look at a log with nothing new, and the alerts of many open incidents."""
    world = World(folder)
    courier = Courier(world.store, webhook(receiver), URL, SystemClock())
    herald = Herald(world.store, alertmanager(receiver, timeout="10s"), URL, world.clock)
    idle = cpu(courier.step, 200)
    for at in range(OPEN):
        world.book.opened(_finding(world, at), b"")
    world.commit()
    world.clock.advance(60)
    began = time.process_time()
    herald.step()
    spent = time.process_time() - began
    world.store.close()
    return [
        ("idle receiver, CPU a second", f"{idle * 1e6:.0f} us"),
        (f"alerts of {OPEN:,} open incidents, CPU every 30 s", f"{spent * 1e3:.0f} ms"),
    ]


def _finding(world: World, at: int) -> Finding:
    return finding(pane=at, time=world.clock.now(), units=(culprit(f"c{at}", at),))


def _sent(folder: Path, receiver: Receiver) -> list[tuple[str, str]]:
    """Signed messages to a receiver on this machine, its own work included."""
    world = World(folder)
    courier = Courier(world.store, webhook(receiver, secret_env="KEYS", timeout="10s"), URL, SystemClock())
    for at in range(MESSAGES):
        world.book.opened(_finding(world, at), b"")
    world.commit()
    receiver.raw.clear()
    began = time.perf_counter()
    while courier.step() == 0:
        pass
    spent = time.perf_counter() - began
    world.store.close()
    return [(f"{len(receiver.raw)} signed messages over loopback", f"{len(receiver.raw) / spent:.0f} a second")]


def _commits(folder: Path) -> list[tuple[str, str]]:
    """Commits of the engine, alone and with a dead, a slow and a redirecting receiver beside it."""
    with running(Receiver()) as slow, running(Receiver()) as lost, running(Receiver()) as dead:
        dead.server_close()
        slow.behave = drip
        lost.behave = lambda handler, _: handler.send(b"", 302, Location="http://127.0.0.1:1/")
        hooks = [_hook(name, one.url) for name, one in (("slow", slow), ("lost", lost), ("dead", dead))]
        alone, beside = _commit(folder / "alone", []), _commit(folder / "beside", hooks)
    return [
        ("commit of a finding, no receiver, median and 99 %", _pair(alone)),
        ("the same beside a slow, a redirecting and a dead receiver", _pair(beside)),
    ]


def _hook(name: str, url: str) -> Notify:
    return Notify.model_validate({"webhook": {"name": name, "url": url, "timeout": "1s"}}, context=context())


def _commit(folder: Path, hooks: list[Notify]) -> list[float]:
    world = World(folder)
    dispatcher = Dispatcher(world.store, hooks, URL, SystemClock())
    dispatcher.start()
    spent = []
    for at in range(COMMITS):
        began = time.perf_counter()
        world.open(pane=at)
        spent.append(time.perf_counter() - began)
        time.sleep(0.02)
    dispatcher.stop()
    world.store.close()
    return spent


def _pair(seconds: list[float]) -> str:
    return f"{np.median(seconds) * 1e3:.1f} ms, {np.quantile(seconds, 0.99) * 1e3:.1f} ms"
