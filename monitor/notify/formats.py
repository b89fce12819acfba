"""Messages in the forms that receivers read: CloudEvents 1.0, Slack's webhooks, PagerDuty's Events API v2.

An incident is told by its id, so that a receiver can close what it has opened: `subject` of a CloudEvent, `dedup_key`
of PagerDuty. Names of columns and what people write are hostile: they cannot call anyone, link anywhere or hide text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from monitor.naming import OUTCOME, SENDER
from monitor.notify import shown
from monitor.notify.section import Format
from monitor.records import Event
from monitor.web import wording

CLIENT: Final = "Driftwarden"
NAMED: Final = 5
"""Columns named where people read."""
_SUMMARY, _TEXT, _FIELD = 1_024, 3_000, 300
_SPACE: Final = "\u200b"
"""Has no width: parts what would otherwise be read as a mention, a link or a mark."""
_SEVERITY: Final = {"page": "critical", "ticket": "warning", "info": "info"}
_ACTION: Final = {
    "finding.opened": "trigger",
    "finding.acknowledged": "acknowledge",
    "finding.recovered": "resolve",
    "finding.ended": "resolve",
}
_COLOUR: Final = {"page": "#c62828", "ticket": "#ef6c00", "info": "#546e7a"}
_UNITS: Final = {SENDER: "Who", OUTCOME: "What"}
"""What a finding's units are, where they are no columns."""
_OVER, _SEEN = "#2e7d32", "#1565c0"


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent of one event."""

    body: bytes
    content_type: str = "application/json"


def message(form: Format, event: Event, url: str, key: str = "") -> Message:
    """An event in one of the formats; ``url`` is the outside address of the pages, "" for none.

    ``key`` is PagerDuty's routing key.
    """
    if form == "slack":
        return _message(_slack(event, url))
    if form == "pagerduty":
        return _message(_pagerduty(event, url, key))
    return _message(_cloudevent(event, url), "application/cloudevents+json; charset=utf-8")


def _message(document: Mapping[str, Any], content_type: str = "application/json") -> Message:
    return Message(json.dumps(document, separators=(",", ":")).encode(), content_type)


def _cloudevent(event: Event, url: str) -> dict[str, Any]:
    finding, done = shown.finding(event, url), shown.intervention(event)
    subject = finding["incident"] if finding else done["id"]
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": url or f"/{CLIENT.lower()}",
        "type": f"{CLIENT.lower()}.{event.kind}",
        "subject": subject,
        "time": shown.instant(event.time),
        "sequence": f"{event.seq:020d}",
        "datacontenttype": "application/json",
        "data": ({"finding": finding} if finding else {}) | ({"intervention": done} if done else {}),
    }


def _pagerduty(event: Event, url: str, key: str) -> dict[str, Any]:
    finding = shown.finding(event, url)
    document: dict[str, Any] = {
        "routing_key": key,
        "event_action": _ACTION[event.kind],
        "dedup_key": f"{CLIENT.lower()}-{finding['incident']}",
    }
    if document["event_action"] != "trigger":
        return document
    document["client"] = CLIENT
    document["payload"] = {
        "summary": shown.plain(f"{finding['model']}: {finding['told']}", _SUMMARY),
        "source": url or CLIENT.lower(),
        "severity": _SEVERITY.get(finding["severity"], "warning"),
        "timestamp": shown.instant(event.time),
        "component": finding["model"],
        "group": finding["triage"],
        "class": finding["failure_mode"],
        "custom_details": _details(finding),
    }
    if url:
        document |= {"client_url": url, "links": [{"href": finding["url"], "text": "The incident"}]}
    return document


def _details(finding: Mapping[str, Any]) -> dict[str, Any]:
    """What an engineer reads first."""
    return {
        "columns": shown.columns(finding, NAMED),
        "triage": shown.words(finding["triage"]),
        "sentence": finding["sentence"],
        "since": finding["since"],
        "detector": finding["detector"],
        "log_e": finding["log_e"],
        "threshold": finding["threshold"],
        "first_steps": finding["first_steps"],
    }


def _slack(event: Event, url: str) -> dict[str, Any]:
    finding, done = shown.finding(event, url), shown.intervention(event)
    title = _headline(event, finding, done)
    attachment: dict[str, Any] = {
        "color": _colour(event, finding),
        "fallback": title,
        "mrkdwn_in": [],
        "ts": int(event.time),
        "footer": CLIENT,
    }
    if finding:
        attachment |= _told(event, finding)
    if done:
        attachment.setdefault("fields", []).append(_field("Because", done["because"]))
        if done.get("undone_because"):
            attachment["fields"].append(_field("Undone because", done["undone_because"]))
    if url:
        attachment["title"] = "Open the incident" if finding else "Open the interventions"
        attachment["title_link"] = finding.get("url") or f"{url.rstrip('/')}/interventions"
    return {"text": title, "attachments": [attachment], "link_names": False, "parse": "none", "unfurl_links": False}


def _headline(event: Event, finding: Mapping[str, Any], done: Mapping[str, Any]) -> str:
    """One line that stands alone on a locked screen."""
    if not finding:
        undone = event.kind == "intervention.undone"
        who = done["undone_by"] if undone else done["by"]
        return _neutral(f"{event.model}: {done['kind']} {'undone ' if undone else ''}by {who}", _FIELD)
    what = finding["title"]
    if event.kind == "finding.opened":
        return _neutral(f"{finding['severity'].upper()} {event.model}: {what}", _FIELD)
    became = "ended" if event.kind == "finding.ended" else event.kind.removeprefix("finding.")
    by = f" by {done['by']}" if done else ""
    lasted = shown.lasted(event.document["finding"])
    after = f" (after {lasted})" if lasted else ""
    return _neutral(f"{became.upper()} {event.model}: {what}{by}{after}", _FIELD)


def _told(event: Event, finding: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a finding: all of it when it opens, what became of it afterwards."""
    text = _neutral(finding["told"], _TEXT)
    if event.kind == "finding.ended":
        return {"text": text, "fields": [_field("Why", shown.words(finding["state"]))]}
    if event.kind != "finding.opened":
        return {"text": text, "fields": []}
    fields = [
        _field(_UNITS.get(finding["subject"], "Columns"), shown.columns(finding, NAMED)),
        _field("Looks like", wording.mode_title(finding["failure_mode"])),
        _field("Since", wording.instant(event.document["finding"]["since_time"])),
        _field("First", " ".join(finding["first_steps"][:2])),
    ]
    return {"text": text, "fields": fields}


def _field(title: str, value: object) -> dict[str, Any]:
    return {"title": title, "value": _neutral(value, _FIELD), "short": len(str(value)) <= 40}


def _colour(event: Event, finding: Mapping[str, Any]) -> str:
    if event.kind in ("finding.recovered", "finding.ended"):
        return _OVER
    if event.kind == "finding.opened":
        return _COLOUR.get(finding["severity"], _SEEN)
    return _SEEN


def _neutral(text: object, most: int) -> str:
    """Text that neither Slack nor those who read its messages as Markdown take for a mention, a link or a mark."""
    found = shown.plain(text, most)
    for sign, harmless in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("`", "'")):
        found = found.replace(sign, harmless)
    for sign in ("@", "](", "://"):
        found = found.replace(sign, _SPACE.join((sign[0], sign[1:])))
    return found
