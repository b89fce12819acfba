"""Brings events to one webhook, in order: its place in the log survives restarts and moves when one has arrived.

Without other state: what is told of an incident follows from the log and the findings themselves. An incident opens
with its head and is over when the last of its findings is, whichever that is.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Final

from monitor import log
from monitor.clock import Clock
from monitor.errors import StoreError
from monitor.logbook import told
from monitor.notify.formats import message
from monitor.notify.section import Webhook
from monitor.notify.sending import Backoff, Counts, Line, Result, authorization
from monitor.notify.signing import signed
from monitor.records import Event
from monitor.store import Store

POLL_SECONDS: Final = 1.0
"""How often the log is looked at."""
AT_ONCE: Final = 100
"""Events read at a time."""
REMEMBERED: Final = 1_000
"""Ends of incidents that are not told again."""
_UNREADABLE: Final = (KeyError, TypeError, ValueError)
"""What an event of another form leads to: it must not stop those behind it."""
_ENDS: Final = ("finding.recovered", "finding.ended")


class Courier:
    """The work for one webhook, a step at a time; ``counts`` may be read from other threads."""

    def __init__(
        self, store: Store, section: Webhook, url: str, clock: Clock, *, backoff: Backoff | None = None
    ) -> None:
        """Go on from the receiver's place in the log; a new one begins at the end."""
        self.name, self.counts, self.timeout = section.name, Counts(), section.timeout
        self._store, self._section, self._url, self._clock = store, section, url, clock
        self._line = Line(section, clock)
        self._headers = {} if section.format == "pagerduty" else authorization(section)
        self._backoff = backoff or Backoff()
        self._log = log.get("notify")
        self._next: deque[Event] = deque()
        self._front: Event | None = None
        self._ended: deque[tuple[str, float]] = deque(maxlen=REMEMBERED)
        self._seen: deque[tuple[int, float]] = deque()
        self._not_before = 0.0
        place = store.cursor(section.name)
        self._at = store.last_event() if place is None else place
        if place is None:
            store.move_cursor(section.name, self._at)
        self._saved = self._at

    def step(self) -> float:
        """Bring the next event, if one is due; the seconds until there may be more to do."""
        self._look()
        if self._front is None:
            self._skip()
        if self._front is not None and self._clock.monotonic() >= self._not_before:
            self._bring(self._front)
        self._save()
        if self._front is not None:
            return min(max(self._not_before - self._clock.monotonic(), 0.0), POLL_SECONDS)
        return 0.0 if self.counts.waiting else POLL_SECONDS

    def _look(self) -> None:
        """Read on, and remember when the newest event was first seen."""
        last = self._store.last_event()
        if last > (self._seen[-1][0] if self._seen else self._at):
            self._seen.append((last, self._clock.monotonic()))
        if not self._next and last > self._at:
            self._next.extend(self._store.events(self._at, AT_ONCE))
        self.counts.waiting = max(last - self._at, 0)

    def _skip(self) -> None:
        """Pass over what the receiver is not told of, up to an event that it is."""
        while self._next and self._front is None:
            event = self._next[0]
            try:
                self._front = self._chosen(event)
            except _UNREADABLE as error:
                self._drop(event, f"it cannot be read: {type(error).__name__}")
                continue
            if self._front is None:
                self._done(event)

    def _chosen(self, event: Event) -> Event | None:
        """The event as the receiver is told of it, None if it is not."""
        section, finding = self._section, event.document.get("finding")
        if not finding:
            known = section.models is None or event.model in section.models
            return event if section.interventions and known else None
        if section.all:
            return event if section.wants(finding["severity"], event.model) else None
        if event.kind in _ENDS:
            return self._end(event)
        heard = not finding["joins"] and not finding["muted"]
        return event if heard and section.wants(finding["severity"], event.model) else None

    def _end(self, event: Event) -> Event | None:
        """The end of an incident, told of its head and once: only the last of its findings ends it.

        What was told before it was muted must be closed where a machine keeps it open; people asked not to hear of it.
        """
        finding = event.document["finding"]
        incident = finding["joins"] or finding["id"]
        members = self._store.briefs(incident=incident)
        head = self._store.finding(incident)
        if head is None or any(not one.over for one in members):
            return None
        ended = (incident, max(one.closed or 0.0 for one in members))
        if finding["closed"] != ended[1] or ended in self._ended:  # several may end at the same time
            return None
        if not self._section.wants(head.severity, head.model) or (head.muted and self._section.format == "slack"):
            return None
        self._ended.append(ended)
        return dataclasses.replace(event, document={"finding": told(head)})

    def _bring(self, event: Event) -> None:
        if self._age(event) > self._section.give_up:
            self._drop(event, "nobody took it in time")
            return
        try:
            made = message(self._section.format, event, self._url, self._section.token or "")
        except _UNREADABLE as error:
            self._drop(event, f"it cannot be told: {type(error).__name__}")
            return
        now = self._clock.now()
        marks = signed(self._section.keys, event.id, now, made.body)
        self.counts.sent += 1
        attempt = self._line.post(made.body, {"Content-Type": made.content_type, **self._headers, **marks})
        if attempt.result is Result.DELIVERED:
            self._backoff.failures = 0
            self._done(event)
            return
        self.counts.failures += 1
        if attempt.result is Result.REFUSED:
            self._drop(event, attempt.why)
            return
        pause = self._backoff.pause(attempt.pause)
        self._not_before = self._clock.monotonic() + pause
        self._log.warning("notification failed", receiver=self.name, why=attempt.why, again_in_seconds=round(pause, 1))

    def _age(self, event: Event) -> float:
        """Seconds since it was first seen here: its own time is that of the rows, which may be long ago."""
        while self._seen and self._seen[0][0] < event.seq:
            self._seen.popleft()
        now = self._clock.monotonic()
        return now - (self._seen[0][1] if self._seen else now)

    def _drop(self, event: Event, why: str) -> None:
        self.counts.dropped += 1
        self._log.error("notification given up", receiver=self.name, kind=event.kind, event_id=event.id, why=why)
        self._done(event)

    def _done(self, event: Event) -> None:
        self._next.popleft()
        self._front, self._at = None, event.seq
        self.counts.waiting = max(self.counts.waiting - 1, 0)

    def _save(self) -> None:
        """Write the place down; while the disk refuses, go on from memory."""
        if self._at == self._saved:
            return
        try:
            self._store.move_cursor(self.name, self._at)
        except StoreError as error:
            self._log.error("place in the log cannot be written", receiver=self.name, error=str(error))
            return
        self._saved = self._at
