"""What the tests of notifications share: a store with its logbook, and a receiver that behaves as it is told."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monitor.clock import ManualClock
from monitor.interventions import Wanted
from monitor.logbook import Logbook
from monitor.notify.courier import Courier
from monitor.notify.section import Alertmanager, Webhook
from monitor.records import Checkpoint, Event, InterventionKind, News
from monitor.report import Finding, Recovered
from monitor.store import Store
from tests.monitor.endpoint import Document, Endpoint, Handler
from tests.monitor.findings_bench import finding

NOW = 1_790_000_000.0
URL = "https://drift.example.org"
ENVIRON = {"TOKEN": "hush", "KEYS": "whsec_" + "QUJD" * 8}


class Mailbox(Handler):
    """Keeps what comes, byte by byte, and answers 204 unless told otherwise."""

    server: Receiver

    def do_POST(self) -> None:  # noqa: N802 - the base class looks it up by the method's name
        raw = self.rfile.read(int(self.headers["content-length"]))
        self.server.paths.append(self.path)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.raw.append(raw)
        self.server.bodies.append(json.loads(raw))
        behave = self.server.script.pop(0) if self.server.script else self.server.behave
        if behave is not None:
            behave(self, self.server.bodies[-1])
        else:
            self.send(b"", 204)


class Receiver(Endpoint):
    """Answers as ``script`` says, one entry a call, then as ``behave`` does."""

    def __init__(self) -> None:
        super().__init__(Mailbox)
        self.raw: list[bytes] = []
        self.script: list[Any] = []

    def kinds(self) -> list[str]:
        return [body["type"].removeprefix("driftwarden.") for body in self.bodies]


def answer(status: int, **headers: str) -> Any:
    return lambda handler, _: handler.send(b"{}", status, **headers)


def close_half_way(handler: Handler, _: Document) -> None:
    """Half a status line, and gone."""
    handler.wfile.write(b"HTTP/1.1 2")
    handler.wfile.flush()
    handler.close_connection = True


def break_off_after_yes(handler: Handler, _: Document) -> None:
    """A yes whose body never comes whole."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    handler.wfile.flush()
    handler.close_connection = True


def drip(handler: Handler, _: Document) -> None:
    """A header a byte at a time: no single read waits long."""
    trickle(handler, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 400, 1)


def go_on_for_ever(handler: Handler, _: Document) -> None:
    """Interim answers without end."""
    trickle(handler, b"HTTP/1.1 100 Continue\r\n\r\n" * 400, 25)


def trickle(handler: Handler, text: bytes, size: int) -> None:
    handler.close_connection = True
    try:
        for at in range(0, len(text), size):
            handler.wfile.write(text[at : at + size])
            handler.wfile.flush()
            time.sleep(0.02)
    except OSError:
        return


class World:
    """A state folder, what happens in it, and the clock of those who tell of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(NOW)
        self.store = Store(folder, self.clock)
        self.book = Logbook()
        self.sequence = 0

    def commit(self) -> None:
        """What a checkpoint does."""
        self.sequence += 1
        book = self.book
        people = tuple(book.interventions.pending.values())
        news = News(tuple(book.pending.values()), interventions=people, events=tuple(book.events))
        self.store.commit(Checkpoint(self.sequence, {}, {}, {}, self.clock.now()), news)
        book.pending, book.events, book.lines = {}, [], []
        book.interventions.pending = {}

    def open(self, **changes: Any) -> Finding:
        found = finding(**{"time": self.clock.now(), "since_time": self.clock.now() - 60, **changes})
        self.book.opened(found, b"")
        self.commit()
        return found

    def recover(self, *found: Finding) -> None:
        now = self.clock.now()
        for one in found:
            self.book.recovered(Recovered((one.id,), ("a",), 9, now), one.model, one.stream)
        self.commit()

    def do(self, kind: InterventionKind, target: Mapping[str, Any], until: float | None = None) -> Any:
        now = self.clock.now()
        done = self.book.interventions.do(Wanted(kind, "m", "seen <!channel>", "ana", target, until), now)
        self.book.done(done, now)
        self.commit()
        return done

    def restart(self) -> None:
        """The process ends and another begins."""
        self.store.close()
        self.store = Store(self.folder, self.clock)

    def courier(self, receiver: Endpoint | str, **changes: Any) -> Courier:
        return Courier(self.store, webhook(receiver, **changes), URL, self.clock)


def webhook(receiver: Endpoint | str, **changes: Any) -> Webhook:
    url = receiver if isinstance(receiver, str) else f"{receiver.url}/hook"
    place = {"url_env": "URL"} if changes.get("format") == "slack" else {"url": url}
    raw = {"name": "one", **place, "timeout": "500ms", **changes}
    return Webhook.model_validate(raw, context=context(URL=url))


def alertmanager(receiver: Endpoint | str, **changes: Any) -> Alertmanager:
    url = receiver if isinstance(receiver, str) else receiver.url
    return Alertmanager.model_validate({"name": "am", "url": url, "timeout": "500ms", **changes}, context=context())


def context(**environ: str) -> dict[str, Any]:
    return {"secrets": True, "base": Path(), "environ": ENVIRON | environ}


def run(courier: Courier, steps: int = 20) -> None:
    """Steps until nothing is due."""
    for _ in range(steps):
        if courier.step() > 0:
            return


def events(world: World) -> list[Event]:
    return world.store.events(0)


def renamed(event: Event, **changes: Any) -> Event:
    """The event with another finding in it."""
    document = {**event.document, "finding": {**event.document["finding"], **changes}}
    return dataclasses.replace(event, document=document)
