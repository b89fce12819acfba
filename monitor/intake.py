"""The one door for rows: a queue bounded in bytes between the sources and the engine, with the books kept.

With a spool a delivery is accepted when its bytes are on disk, and enters the queue at that moment, in the order of the
sequences. Sources block on `accept` or await `accept_async`; neither touches a lock that is held while detectors work.
The queue is charged from acceptance until the engine is `done` with a delivery; a full queue refuses or sheds its
oldest rows, as the source's policy says.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from typing import Any, Final, Literal

from monitor.envelope import Delivery
from monitor.errors import QueueFull, Refused, StoreError, UnknownModel
from monitor.ledger import Ledger, Snapshot
from monitor.offer import Offer
from monitor.segment import Raw
from monitor.spool import Spool, SpoolFailed

RETRY_SECONDS: Final = 1.0
"""What a sender is told to wait when the queue is full."""
Policy = Literal["reject", "drop_oldest"]


class Draining(QueueFull):
    """The agent is stopping: nothing new is accepted, what was accepted is finished."""

    reason = "draining"
    status = 503


Landed = Callable[[QueueFull | None], None]
"""Told once that an offer is safe, or why it is not; possibly by the spool's thread, which it must not hold up."""


class Intake:
    """Bounded queue and its books."""

    def __init__(
        self, *, models: Collection[str], capacity_bytes: int, ledger: Ledger, spool: Spool | None = None
    ) -> None:
        """Open the door for ``models``; without a ``spool`` rows live in memory only."""
        self.capacity_bytes = capacity_bytes
        self.ledger = ledger
        self.spool = spool
        self._models = frozenset(models)
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._queue: deque[Offer] = deque()
        self._recent: deque[Offer] = deque()
        self._charges: dict[int, int] = {}
        self._charged = 0
        self._queued_rows = 0
        self._sequence = 0
        self._closed = False

    @property
    def queued_rows(self) -> int:
        """Rows accepted and not yet taken."""
        with self._lock:
            return self._queued_rows

    @property
    def queued_bytes(self) -> int:
        """Bytes that the queue is charged: on their way to disk, waiting, and in the engine's hands."""
        with self._lock:
            return self._charged

    @property
    def queued_batches(self) -> int:
        """Deliveries accepted and not yet taken."""
        with self._lock:
            return len(self._queue)

    def admit(self, models: Iterable[str]) -> None:
        """Open the door for another set of models; rows that wait for one that went are the engine's to discard."""
        self._models = frozenset(models)

    @property
    def closed(self) -> bool:
        """Whether new deliveries are refused."""
        return self._closed

    @property
    def drained(self) -> bool:
        """Whether it is closed, and everything that was accepted is done."""
        with self._lock:
            return self._closed and not self._charged and not self._queue

    def accept(self, offer: Offer, policy: Policy = "reject", *, patience: float = 0.0) -> None:
        """Take an offer in and return when it is safe; raises `UnknownModel`, `QueueFull` or a kind of it.

        ``patience`` is how many seconds to wait for room before `QueueFull`.
        """
        if patience > 0:
            self._wait_for_room(offer.size, patience)
        future: Future[None] = Future()
        self.submit(offer, policy, lambda failure: _settle(future, failure))
        future.result()

    async def accept_async(self, offer: Offer, policy: Policy = "reject") -> None:
        """`accept` for an event loop: awaits the disk without blocking it."""
        if self.spool is None:
            self.submit(offer, policy, _raise)
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def landed(failure: QueueFull | None) -> None:
            try:
                loop.call_soon_threadsafe(_settle, future, failure)
            except RuntimeError:  # the loop is closed; its sender is gone, the rows are safe
                return

        self.submit(offer, policy, landed)
        await future

    def submit(self, offer: Offer, policy: Policy, landed: Landed) -> None:
        """Take an offer in without waiting for the disk; ``landed`` is told once, unless this raises a refusal."""
        self.check(offer.model)
        with self._lock:
            if self._closed:
                raise Draining("the agent is stopping; send again when it is back", RETRY_SECONDS)
            offer.charge = offer.size
            admitted = self._make_room(offer, policy)
            if not admitted:
                self._shed(offer)
            elif self.spool is None:
                self._sequence += 1
                offer.sequence = self._sequence
                self._enter(offer)
            else:
                self._charged += offer.charge
        if admitted and self.spool is not None:
            self._spool(self.spool, offer, policy, landed)
        else:
            landed(None)

    def take(self, timeout: float) -> Delivery | None:
        """The next delivery, or None after ``timeout`` seconds, or at once when the intake is closed and empty."""
        deadline = time.monotonic() + timeout
        while True:
            with self._lock:
                while not self._queue:
                    left = deadline - time.monotonic()
                    if left <= 0 or (self._closed and not self._charged):
                        return None
                    self._filled.wait(left)
                offer = self._queue.popleft()
                self._queued_rows -= offer.rows
                payload, offer.payload = offer.payload, None
            if payload is None:
                payload = self._read(offer)
            if payload is not None:
                return offer.delivery(payload)

    def done(self, delivery: Delivery) -> None:
        """The engine has processed the delivery: its bytes leave the queue, and the next checkpoint covers it."""
        with self._lock:
            self._release(self._charges.pop(delivery.sequence, 0))
            while self._recent and self._recent[0].sequence <= delivery.sequence:
                self._recent.popleft()

    def settled(self, sequence: int) -> None:
        """A checkpoint on disk covers everything up to ``sequence``: it will never be asked for again."""
        if self.spool is not None:
            self.spool.settled(sequence)

    def ledger_state(self, sequence: int) -> dict[str, Any]:
        """The books for a checkpoint at ``sequence``: what came later is left out, for `recover` counts it again.

        ``sequence`` is that of the last delivery that is `done`; both are the engine thread's business.
        """
        with self._lock:
            return self.ledger.state(offer.receipt() for offer in self._recent if offer.sequence > sequence)

    def recover(self, after: int) -> int:
        """At the start: queue what the spool holds beyond the checkpoint, in order, and return its number of rows.

        Payloads stay on disk until they are taken, so a long backlog takes no memory.
        """
        records = list(self.spool.recover(after)) if self.spool is not None else []
        offers = [Offer.recovered(record) for record in records]
        with self._lock:
            self._sequence = max(self._sequence, after)
            for offer in offers:
                if offer.model in self._models:
                    self._enter(offer)
                else:
                    self.ledger.received(offer.source, offer.model, offer.rows, offer.size)
                    self.ledger.discarded(offer.source, offer.model, "unknown_model", offer.rows)
        return sum(offer.rows for offer in offers)

    def books(self) -> tuple[Snapshot, int]:
        """The ledger and the rows in the queue at the same moment, so that the sums agree."""
        with self._lock:
            return self.ledger.snapshot(), self._queued_rows

    def check(self, model: str) -> None:
        """Raise `UnknownModel` unless the model is configured: cheap enough to ask before a body is read."""
        if model not in self._models:
            known = ", ".join(sorted(self._models))
            raise UnknownModel(f'no model is called "{model[:64]}"; configured under models: {known}')

    def refuse(self, source: str, model: str, error: Refused, rows: int = 0) -> None:
        """Count a delivery that was turned away; a model that is not configured gets no series of its own."""
        self.ledger.refused(source, model if model in self._models else "", error.reason, rows)

    def close(self) -> None:
        """Refuse what is new; what is on its way still lands, and `take` empties the queue."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()
            self._room.notify_all()

    def _spool(self, spool: Spool, offer: Offer, policy: Policy, landed: Landed) -> None:
        """Send an offer that is charged already to the disk, and to the queue from there."""

        def arrived(sequence: int, failure: SpoolFailed | None) -> None:
            with self._lock:
                self._release(offer.charge)
                if failure is None:
                    offer.sequence = sequence
                    self._enter(offer)
            landed(failure)

        try:
            payload = None if offer.position is not None else offer.payload
            spool.append(offer.header(), payload, offer.size, arrived)
        except SpoolFailed:
            with self._lock:
                self._release(offer.charge)
                if policy == "drop_oldest":
                    self._shed(offer)
            if policy == "reject":
                raise
            landed(None)

    def _make_room(self, offer: Offer, policy: Policy) -> bool:
        """Make room as the policy says; False when rows must be shed and the newcomer's are the only ones to shed."""
        while self._charged + offer.charge > self.capacity_bytes and self._charged:
            if policy == "reject":
                message = f"{self._charged} of queue.bytes ({self.capacity_bytes}) are taken; send again later"
                raise QueueFull(message, RETRY_SECONDS)
            if not self._queue:
                return False
            oldest = self._queue.popleft()
            self._queued_rows -= oldest.rows
            self._charged -= self._charges.pop(oldest.sequence, 0)
            oldest.payload, oldest.dropped = None, True
            self.ledger.discarded(oldest.source, oldest.model, "queue_full", oldest.rows)
        return True

    def _shed(self, offer: Offer) -> None:
        """Received and dropped at once."""
        self.ledger.received(offer.source, offer.model, offer.rows, offer.size)
        self.ledger.discarded(offer.source, offer.model, "queue_full", offer.rows)

    def _enter(self, offer: Offer) -> None:
        """Into the queue and the books, with the lock held."""
        self.ledger.received(offer.source, offer.model, offer.rows, offer.size)
        self._charges[offer.sequence] = offer.charge
        self._charged += offer.charge
        self._queued_rows += offer.rows
        self._queue.append(offer)
        self._recent.append(offer)
        self._filled.notify()

    def _release(self, charge: int) -> None:
        """Give room back, with the lock held."""
        self._charged -= charge
        self._room.notify_all()
        if self._closed:
            self._filled.notify_all()

    def _read(self, offer: Offer) -> Raw | None:
        """A payload from disk; rows that cannot be read again are discarded."""
        if self.spool is not None and offer.place is not None:
            try:
                return self.spool.read(offer.place)
            except StoreError:
                self.spool.corrupt_records += 1
        self.ledger.discarded(offer.source, offer.model, "decode_error", offer.rows)
        return None

    def _wait_for_room(self, size: int, patience: float) -> None:
        """Back-pressure for sources that may be slowed: wait until the queue could take ``size`` bytes."""
        with self._lock:
            self._room.wait_for(
                lambda: self._closed or not self._charged or self._charged + size <= self.capacity_bytes, patience
            )


def _settle(future: Any, failure: QueueFull | None) -> None:
    """Give a waiting sender its answer; one that went away has none to get."""
    if future.done():
        return
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)


def _raise(failure: QueueFull | None) -> None:
    """The answer where nothing has to be waited for."""
    if failure is not None:
        raise failure
