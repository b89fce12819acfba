"""Everything that a report says, from the store alone; the agent's own figures are asked of it, if it answers."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from itertools import chain
from typing import Any, Final

from monitor.archive import Archive
from monitor.config import Config, Model, fingerprint
from monitor.period.right import right
from monitor.records import Brief, FindingRow, Intervention, Judged
from monitor.web import plots, wording

MOST_INCIDENTS: Final = 500
"""Incidents that are told one by one; all are counted."""
MOST_JOINED: Final = 2_000
"""Findings that joined an incident and are looked at for what they name."""
MOST_UNITS: Final = 50
MOST_PANES: Final = 20_000
MOST_STREAMS: Final = 12
STRONGEST: Final = 10
"""Units of a stream whose largest evidence is told."""


@dataclass(frozen=True, slots=True)
class Span:
    """From ``since`` to before ``until``, seconds since the epoch, told at ``made``."""

    since: float
    until: float
    made: float

    def holds(self, time: float | None) -> bool:
        """Whether a moment lies in it."""
        return time is not None and self.since <= time < self.until

    def touches(self, brief: Brief) -> bool:
        """Whether a finding was open at some time in it."""
        return brief.opened < self.until and (brief.closed is None or brief.closed >= self.since)


def gather(
    config: Config, archive: Archive, span: Span, models: Sequence[Model], figures: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """The report as JSON; ``figures`` are the self-checks' numbers by model, as `monitor.period.figures` reads them."""
    return {
        "kind": "report",
        "since": span.since,
        "until": span.until,
        "made": span.made,
        "version": installed("driftwarden"),
        "config": fingerprint(config),
        "models": [_model(config, archive, span, model, figures.get(model.name)) for model in models],
    }


def _model(
    config: Config, archive: Archive, span: Span, model: Model, figures: Mapping[str, float] | None
) -> dict[str, Any]:
    from monitor.coverage import coverage, measured

    briefs = [one for one in archive.briefs(model=model.name, until=span.until) if span.touches(one)]
    heads = [one for one in briefs if not one.joins]
    rows = [row for row in map(archive.finding, (one.id for one in heads[:MOST_INCIDENTS])) if row is not None]
    acts = archive.interventions(model=model.name, until=span.until)
    judged = _judged(archive, span, model.name)
    streams = [_stream(name, panes, rows) for name, panes in judged.items()]
    whole = [panes for name, panes in judged.items() if "/" not in name]  # segments hold rows of versions again
    joined = [one.id for one in briefs if one.joins and span.holds(one.opened)][:MOST_JOINED]
    more = (row for row in map(archive.finding, joined) if row is not None)
    return {
        "model": model.name,
        "rows": sum(one.rows for panes in whole for one in panes),
        "panes": sum(map(len, whole)),
        "streams": sorted(streams, key=lambda one: -one["highest"])[:MOST_STREAMS],
        "streams_in_all": len(streams),
        "right": right(archive, model.name, span.since, span.until),
        "changed": changed(chain(rows, more), span),
        "alarmed": alarmed(heads, briefs, rows, acts, span),
        "done": [one.as_dict() | {"active": one.active(span.until)} for one in acts if _acted(one, span)],
        "calibration": calibration(model, heads, _apart(whole), span, figures),
        "coverage": coverage(model, measured(model, config.store.path)).document(),
    }


def _judged(archive: Archive, span: Span, model: str) -> dict[str, list[Judged]]:
    """The panes of the period, by stream."""
    start = f"{model}/"
    names = [name for name in archive.histories() if name.startswith(start)]
    found = {
        name.removeprefix(start): archive.history(name, since=span.since, until=span.until, limit=MOST_PANES)
        for name in names
    }
    return {name: panes for name, panes in found.items() if panes}


def _apart(streams: Sequence[Sequence[Judged]]) -> int:
    """How many panes lie behind each other: those of two versions at the same time count once, as in the promise."""
    count, last = 0, -math.inf
    for one in sorted((one for panes in streams for one in panes), key=lambda one: one.end):
        if one.start >= last:
            count, last = count + 1, one.end
    return count


def changed(rows: Iterable[FindingRow], span: Span) -> list[dict[str, Any]]:
    """What the period's findings name, each unit once, by its strongest evidence; what only went on is left out."""
    units: dict[str, dict[str, Any]] = {}
    for row in rows:
        if not span.holds(row.opened):
            continue
        document = json.loads(row.document)
        for unit in document["units"]:
            one = units.setdefault(
                unit["unit"],
                {"unit": unit["unit"], "incidents": [], "since": document["since_time"], "log_e": -math.inf},
            )
            if (incident := row.joins or row.id) not in one["incidents"]:
                one["incidents"].append(incident)
            one["since"] = min((t for t in (one["since"], document["since_time"]) if t is not None), default=None)
            strength = -math.inf if unit["log_e"] is None else unit["log_e"]
            if strength >= one["log_e"]:
                one |= {"log_e": strength, "triage": row.triage, "size": wording.effect(unit), "effect": unit["effect"]}
                one |= {"effect_name": unit["effect_name"], "detector": unit["detector"]}
    ranked = sorted(units.values(), key=lambda one: (-one["log_e"], one["unit"]))[:MOST_UNITS]
    return [one | {"log_e": one["log_e"] if math.isfinite(one["log_e"]) else None} for one in ranked]


def alarmed(
    heads: Sequence[Brief],
    briefs: Sequence[Brief],
    rows: Sequence[FindingRow],
    acts: Sequence[Intervention],
    span: Span,
) -> dict[str, Any]:
    """The incidents that were open in the period: counts, times, and one by one."""
    began = [one for one in heads if span.holds(one.opened)]
    joined = Counter(one.joins for one in briefs if one.joins)
    first = _first_acts(acts)
    waited = [first[one.id] - one.opened for one in began if one.id in first]
    lasted = [one.closed - one.opened for one in began if one.closed is not None and one.state == "recovered"]
    return {
        "incidents": len(began),
        "carried_in": len(heads) - len(began),
        "findings": sum(span.holds(one.opened) for one in briefs),
        "severity": dict(Counter(one.severity for one in began)),
        "triage": dict(Counter(one.triage for one in began)),
        "failure_mode": dict(Counter(one.failure_mode for one in began)),
        "open_at_the_end": sum(one.closed is None or one.closed >= span.until for one in heads),
        "muted": sum(one.muted for one in began),
        "median_seconds_to_acknowledge": statistics.median(waited) if waited else None,
        "median_seconds_to_recover": statistics.median(lasted) if lasted else None,
        "list": [_incident(row, joined[row.id], first.get(row.id)) for row in rows],
        "left_out": max(len(heads) - len(rows), 0),
    }


def _incident(row: FindingRow, joined: int, acknowledged: float | None) -> dict[str, Any]:
    document = json.loads(row.document)
    named = ("id", "stream", "opened", "closed", "state", "severity", "triage", "failure_mode", "muted", "sentence")
    return {name: getattr(row, name) for name in named} | {
        "title": wording.title(row.triage, row.subject, row.failure_mode, row.unit, row.detector, row.units),
        "since": document["since_time"],
        "log_e": document["log_e"],
        "threshold": document["threshold"],
        "units": [unit["unit"] for unit in document["units"][:MOST_UNITS]],
        "joined": joined,
        "acknowledged": acknowledged,
    }


def _first_acts(acts: Iterable[Intervention]) -> dict[str, float]:
    """When each finding was first acted upon."""
    found: dict[str, float] = {}
    for one in acts:
        if one.finding:
            found[one.finding] = min(one.time, found.get(one.finding, math.inf))
    return found


def _acted(one: Intervention, span: Span) -> bool:
    return span.holds(one.time) or span.holds(one.undone)


def _stream(stream: str, panes: Sequence[Judged], rows: Sequence[FindingRow]) -> dict[str, Any]:
    """A stream's evidence over the period, with the height that it reached in the panes of alarms."""
    alarms = [row for row in rows if row.stream == stream and wording.sequential(row.detector)]
    documents = [json.loads(row.document) for row in alarms]
    heights = {one["pane"]: one["log_e"] for one in documents if one["log_e"] is not None}
    panes = [dataclasses.replace(one, log_e=heights.get(one.pane, one.log_e)) for one in panes]
    top: dict[str, float] = {}
    for one in panes:
        top |= {unit: max(log_e, top.get(unit, -math.inf)) for unit, log_e in one.units.items()}
    strongest = sorted(top.items(), key=lambda one: -one[1])[:STRONGEST]
    return {
        "stream": stream,
        "panes": len(panes),
        "rows": sum(one.rows for one in panes),
        "first": panes[0].start,
        "last": panes[-1].end,
        "highest": max(one.log_e or 0.0 for one in panes),
        "threshold": panes[-1].threshold,
        "panes_in_alarm": sum(any(_open(row, one) for row in alarms) for one in panes),
        "units": [{"unit": unit, "log_e": log_e} for unit, log_e in strongest],
        "evidence": [
            [one.end, one.log_e, one.threshold, max(one.units.values(), default=None)] for one in plots.thinned(panes)
        ],
    }


def _open(row: Brief, pane: Judged) -> bool:
    return row.opened <= pane.end and (row.closed is None or row.closed >= pane.end)


def calibration(
    model: Model,
    heads: Sequence[Brief],
    panes: int,
    span: Span,
    figures: Mapping[str, float] | None,
) -> dict[str, Any]:
    """The promise, what a period of so many panes allows by it, and what the agent measured on itself."""
    return {
        "promised": str(model.alarms.false_alarms),
        "smallest_shift": model.alarms.smallest_shift,
        "panes": panes,
        "false_pages_allowed": panes / model.run_length,
        "pages": sum(one.severity == "page" and span.holds(one.opened) for one in heads),
        "selfcheck": None if figures is None else dict(figures),
    }
