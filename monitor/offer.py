"""What a source offers to the intake, and what becomes of it on its way through the queue."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monitor.envelope import ARROW, BATCH, Delivery
from monitor.ledger import Receipt
from monitor.segment import Place, Record


def _now() -> float:
    return time.time()


@dataclass(slots=True)
class Offer:
    """Rows at the door. A ``position`` says that the source can read them again, so that they need no spool.

    ``arrived`` is when they came, in seconds since the epoch; it stays the same when they are judged again after a
    crash.

    The fields below it are the intake's: it numbers the offer, charges the queue for it, and takes the
    payload out as soon as it is not needed.
    """

    source: str
    model: str
    format: str
    payload: Any
    rows: int
    size: int
    version: str = ""
    position: Mapping[str, Any] | None = None
    arrived: float = field(default_factory=_now)
    sequence: int = field(default=0, init=False)
    charge: int = field(default=0, init=False)
    place: Place | None = field(default=None, init=False)
    dropped: bool = field(default=False, init=False)

    @classmethod
    def recovered(cls, record: Record) -> Offer:
        """From disk; it is charged nothing, for its payload is not in memory."""
        given = record.header
        offer = cls(
            given["source"],
            given["model"],
            given["format"],
            None,
            given["rows"],
            record.place.size,
            given["version"],
            arrived=given["arrived"],
        )
        offer.sequence, offer.place = record.sequence, record.place
        return offer

    def header(self) -> dict[str, Any]:
        """What the spool keeps beside the payload."""
        return {
            "source": self.source,
            "model": self.model,
            "version": self.version,
            "rows": self.rows,
            "format": ARROW if self.format == BATCH else self.format,
            "arrived": self.arrived,
        }

    def receipt(self) -> Receipt:
        """What it wrote into the books."""
        return Receipt((self.source, self.model), self.rows, self.size, self.dropped)

    def delivery(self, payload: Any) -> Delivery:
        """What the engine gets."""
        return Delivery(
            self.sequence,
            self.source,
            self.model,
            self.version,
            self.rows,
            self.size,
            self.format,
            payload,
            self.position,
            self.arrived,
        )
