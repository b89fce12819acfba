"""The books: what came in, what became of it, what was turned away. Every row leaves with a reason from a closed list.

For each source and model ``received == processed + discarded + buffered`` holds at any moment. ``buffered`` is not
derived here: the intake counts the rows that wait, the engine the rows of its open panes, and the sum is checked.
Refused deliveries were never received: their sender was told and may act.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

REASONS: Final = (
    "late",
    "implausible_time",
    "malformed",
    "schema",
    "queue_full",
    "unknown_model",
    "limit",
    "decode_error",
)
"""Why a received row may be discarded."""
REFUSALS: Final = (
    "malformed",
    "unknown_model",
    "too_large",
    "unauthorised",
    "queue_full",
    "draining",
    "spool",
    "media_type",
    "timeout",
)
"""Why a delivery may be refused."""
ACK_SECONDS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper bounds of the acknowledgement histogram; the last bucket, above all of them, is implied."""

Key = tuple[str, str]
"""Source and model; the model is empty where a delivery named none that is configured."""
_COUNTERS: Final = ("received_rows", "received_batches", "received_bytes", "processed_rows")


@dataclass(frozen=True, slots=True)
class Account:
    """Counters of one source and model since the store was made."""

    received_rows: int
    received_batches: int
    received_bytes: int
    processed_rows: int
    discarded_rows: Mapping[str, int]
    refused_requests: Mapping[str, int]
    refused_rows: Mapping[str, int]

    @property
    def outstanding_rows(self) -> int:
        """Rows neither processed nor discarded; must equal the rows that are buffered somewhere."""
        return self.received_rows - self.processed_rows - sum(self.discarded_rows.values())


@dataclass(frozen=True, slots=True)
class Acknowledgements:
    """How long senders waited for their answer: counts per bucket of `ACK_SECONDS` plus one, and the sum."""

    counts: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All books at one moment."""

    accounts: Mapping[Key, Account]
    acknowledgements: Mapping[str, Acknowledgements]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one delivery wrote into the books, so that it can be left out of a checkpoint."""

    key: Key
    rows: int
    size: int
    discarded: bool


class Ledger:
    """Counters that any thread may add to."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        """Open an account for each key at zero, so that its series exist before the first row."""
        self._lock = threading.Lock()
        self._books: dict[Key, dict[str, int]] = {}
        self._acks: dict[str, list[float]] = {}
        for key in keys:
            self._book(key)
            self._ack(key[0])

    def received(self, source: str, model: str, rows: int, size: int) -> None:
        """One delivery was taken in."""
        with self._lock:
            book = self._book((source, model))
            book["received_rows"] += rows
            book["received_batches"] += 1
            book["received_bytes"] += size

    def processed(self, source: str, model: str, rows: int) -> None:
        """The rows went into a pane that closed."""
        with self._lock:
            self._book((source, model))["processed_rows"] += rows

    def discarded(self, source: str, model: str, reason: str, rows: int) -> None:
        """The rows were received and dropped, for one of `REASONS`."""
        if reason not in REASONS:
            raise ValueError(f"`reason` is {reason!r}; use one of {', '.join(REASONS)}")
        with self._lock:
            self._book((source, model))["discarded:" + reason] += rows

    def refused(self, source: str, model: str, reason: str, rows: int = 0) -> None:
        """One delivery was turned away, for one of `REFUSALS`; ``rows`` where they could be counted."""
        if reason not in REFUSALS:
            raise ValueError(f"`reason` is {reason!r}; use one of {', '.join(REFUSALS)}")
        with self._lock:
            book = self._book((source, model))
            book["refused:" + reason] += 1
            book["refused_rows:" + reason] += rows

    def acknowledged(self, source: str, seconds: float) -> None:
        """A sender got its answer after so long."""
        with self._lock:
            histogram = self._ack(source)
            histogram[bisect_left(ACK_SECONDS, seconds)] += 1
            histogram[-1] += seconds

    def snapshot(self) -> Snapshot:
        """All counters at one moment, immutable."""
        with self._lock:
            accounts = {key: _account(book) for key, book in self._books.items()}
            acks = {
                source: Acknowledgements(tuple(int(count) for count in histogram[:-1]), histogram[-1])
                for source, histogram in self._acks.items()
            }
        return Snapshot(MappingProxyType(accounts), MappingProxyType(acks))

    def state(self, without: Iterable[Receipt] = ()) -> dict[str, Any]:
        """The counters as JSON, less what the given receipts wrote."""
        with self._lock:
            books = {key: dict(book) for key, book in self._books.items()}
        for receipt in without:
            book = books[receipt.key]
            book["received_rows"] -= receipt.rows
            book["received_batches"] -= 1
            book["received_bytes"] -= receipt.size
            book["discarded:queue_full"] -= receipt.rows * receipt.discarded
        return {"accounts": [[*key, book] for key, book in sorted(books.items())]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; counters that this version does not know are left behind."""
        with self._lock:
            for source, model, saved in state.get("accounts", ()):
                book = self._book((source, model))
                book.update({name: int(saved[name]) for name in book if name in saved})

    def _book(self, key: Key) -> dict[str, int]:
        """The counters of one key, opened at zero when they are new."""
        book = self._books.get(key)
        if book is None:
            names = [*_COUNTERS, *("discarded:" + reason for reason in REASONS)]
            names += [kind + reason for kind in ("refused:", "refused_rows:") for reason in REFUSALS]
            book = self._books[key] = dict.fromkeys(names, 0)
        return book

    def _ack(self, source: str) -> list[float]:
        """The histogram of one source, and the sum of its seconds in the last place."""
        return self._acks.setdefault(source, [0.0] * (len(ACK_SECONDS) + 2))


def _account(book: Mapping[str, int]) -> Account:
    """The immutable form of one book."""
    return Account(
        received_rows=book["received_rows"],
        received_batches=book["received_batches"],
        received_bytes=book["received_bytes"],
        processed_rows=book["processed_rows"],
        discarded_rows=MappingProxyType({reason: book["discarded:" + reason] for reason in REASONS}),
        refused_requests=MappingProxyType({reason: book["refused:" + reason] for reason in REFUSALS}),
        refused_rows=MappingProxyType({reason: book["refused_rows:" + reason] for reason in REFUSALS}),
    )
