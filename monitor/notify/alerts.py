"""Open incidents as alerts of Alertmanager's API v2, named and labelled as the rules in deploy/prometheus do it.

An alert is a state: it is sent again and again while it lasts, and once more with its end. Incidents of one model,
triage and severity are one alert, as one series is for Prometheus.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from monitor import log
from monitor.clock import Clock
from monitor.notify import shown
from monitor.notify.courier import AT_ONCE, POLL_SECONDS
from monitor.notify.section import Alertmanager
from monitor.notify.sending import Backoff, Counts, Line, Result, authorization
from monitor.records import Brief
from monitor.store import Store
from monitor.web import wording

PATH: Final = "/api/v2/alerts"
OUTLIVES: Final = 1_800.0
"""Seconds for which an alert outlives an agent that is silent, as in the rules: a restart resolves nothing."""
NAMES: Final = {
    "shift": ("DriftwardenShift", "The model's traffic has shifted."),
    "attack": ("DriftwardenAttack", "Somebody probably attacks the model."),
    "data_fault": ("DriftwardenDataFault", "The model's data is faulty."),
    "unknown": ("DriftwardenUnexplained", "Something unusual happens to the model, and it is not known what."),
}
"""Triage -> name and summary of its alert."""
WATCHDOG: Final = "DriftwardenWatchdog"
MISSED: Final = 4
"""Turns that may be missed before the watchdog's alert ends."""
_TITLE: Final = 500


class Key(NamedTuple):
    """What tells one alert from another."""

    model: str
    severity: str
    triage: str


@dataclass(slots=True)
class Group:
    """The incidents of one alert: how many, the first, and the newest with its title."""

    since: float
    newest: float
    finding: str
    title: str
    count: int = 1


def grouped(open_: Iterable[Brief], section: Alertmanager) -> dict[Key, Group]:
    """Incidents that call for somebody, by alert; ``open_`` are all findings that are not over."""
    rows = list(open_)
    ids = {row.id for row in rows}
    found: dict[Key, Group] = {}
    for row in rows:
        if row.joins in ids or not row.unattended or not section.wants(row.severity, row.model):
            continue
        key = Key(row.model, row.severity, row.triage)
        known = found.setdefault(key, Group(row.opened, row.opened, row.id, _title(row), 0))
        known.count += 1
        known.since = min(known.since, row.opened)
        if row.opened > known.newest:
            known.newest, known.finding, known.title = row.opened, row.id, _title(row)
    return found


@dataclass(frozen=True, slots=True)
class Site:
    """What alerts of one receiver have in common."""

    url: str
    dashboards: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def alert(site: Site, key: Key, group: Group, now: float, *, over: bool) -> dict[str, Any]:
    """One alert, ending now or later."""
    name, summary = NAMES.get(key.triage, NAMES["unknown"])
    incidents = f"{group.count} open {'incident' if group.count == 1 else 'incidents'} that nobody has acknowledged"
    newest = shown.plain(group.title, _TITLE)
    annotations = {
        "summary": summary,
        "description": f"Model {key.model}: {incidents}, the newest of {wording.instant(group.newest)}: {newest}.",
        **_links(site, key, group, name),
    }
    made = {
        "labels": {**site.labels, "alertname": name, **key._asdict()},
        "annotations": annotations,
        "startsAt": shown.instant(min(group.since, now)),
        "endsAt": shown.instant(now if over else now + OUTLIVES),
    }
    return made | ({"generatorURL": annotations["incident_url"]} if site.url else {})


def watchdog(site: Site, now: float, interval: float) -> dict[str, Any]:
    """The alert that fires always; it ends when a few of its turns have not come."""
    annotations = {
        "summary": "The agent runs and Alertmanager takes alerts.",
        "description": "This alert fires always. When it does not come, nothing else will.",
    }
    if site.url:
        annotations["runbook_url"] = _runbook(site, WATCHDOG)
    return {
        "labels": {**site.labels, "alertname": WATCHDOG, "severity": "none"},
        "annotations": annotations,
        "endsAt": shown.instant(now + MISSED * interval),
    }


def _title(row: Brief) -> str:
    return wording.title(row.triage, row.subject, row.failure_mode, row.unit, row.detector, row.units)


def _links(site: Site, key: Key, group: Group, name: str) -> dict[str, str]:
    links = {}
    if site.url:
        links = {"incident_url": shown.address(site.url, group.finding), "runbook_url": _runbook(site, name)}
    if site.dashboards:
        page = "driftwarden-security" if key.triage == "attack" else "driftwarden-model"
        model = urllib.parse.quote(key.model, safe="")
        links["dashboard_url"] = f"{site.dashboards.rstrip('/')}/d/{page}?var-model={model}"
    return links


def _runbook(site: Site, name: str) -> str:
    return f"{site.url.rstrip('/')}/runbooks#{name.lower()}"


class Herald:
    """The work for one Alertmanager, a step at a time; ``counts`` may be read from other threads."""

    def __init__(
        self, store: Store, section: Alertmanager, url: str, clock: Clock, *, backoff: Backoff | None = None
    ) -> None:
        """Take up what the last run told: what has ended since is told with the first alerts."""
        self.name, self.counts, self.timeout = section.name, Counts(), section.timeout
        self._store, self._section, self._clock = store, section, clock
        self._site = Site(url, section.dashboards, section.labels)
        self._line = Line(section, clock, PATH)
        self._headers = {"Content-Type": "application/json", **authorization(section)}
        self._backoff = backoff or Backoff()
        self._log = log.get("notify")
        self._due = self._not_before = 0.0
        place = store.cursor(section.name)
        self._at = store.last_event() if place is None else place
        self._told = self._since(self._at)

    def step(self) -> float:
        """Tell what is open if it is time to, or something has happened; the seconds until the next look."""
        last, now = self._store.last_event(), self._clock.monotonic()
        self.counts.waiting = max(last - self._at, 0)
        if now >= self._not_before and (last > self._at or now >= self._due):
            self._tell(last)
        return POLL_SECONDS

    def _since(self, place: int) -> dict[Key, Group]:
        """The alerts of findings that something has happened to since."""
        found: dict[Key, Group] = {}
        while events := self._store.events(place, AT_ONCE):
            place = events[-1].seq
            for row in (one.document["finding"] for one in events if one.document.get("finding")):
                if self._section.wants(row["severity"], row["model"]):
                    key = Key(row["model"], row["severity"], row["triage"])
                    found[key] = Group(row["opened"], row["opened"], row["id"], shown.title(row))
        return found

    def _tell(self, last: int) -> None:
        open_, now = grouped(self._store.briefs(over=False), self._section), self._clock.now()
        over = {key: group for key, group in self._told.items() if key not in open_}
        alerts = [alert(self._site, key, group, now, over=False) for key, group in open_.items()]
        alerts += [alert(self._site, key, group, now, over=True) for key, group in over.items()]
        if self._section.watchdog:
            alerts.append(watchdog(self._site, now, self._section.interval))
        if alerts and not self._sent(alerts):
            self._told |= open_
            return
        self._told = open_
        self._due = self._clock.monotonic() + self._section.interval
        if last > self._at:
            self._store.move_cursor(self.name, last)
            self._at, self.counts.waiting = last, 0

    def _sent(self, alerts: list[dict[str, Any]]) -> bool:
        self.counts.sent += 1
        attempt = self._line.post(json.dumps(alerts).encode(), self._headers)
        if attempt.result is Result.DELIVERED:
            self._backoff.failures = 0
            return True
        self.counts.failures += 1
        pause = self._backoff.pause(attempt.pause)
        self._not_before = self._clock.monotonic() + pause
        self._log.warning("alerts not taken", receiver=self.name, why=attempt.why, again_in_seconds=round(pause, 1))
        return False
