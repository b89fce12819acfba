"""Open tickets that would have been pages, weighed again with each window: what has grown since pages after all.

A shift is small when it is found; one that cost too little to page (`monitor.severity`) may go on to grow while its
column counts no more. The budget has paid for its alarm, so that it pages later adds no false one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from monitor import log

if TYPE_CHECKING:
    from monitor.logbook import Logbook
    from monitor.outcomes.side import Side
    from monitor.watched import Watched


def told_more(findings: Logbook, watched: Watched, side: Side, now: float) -> None:
    """Say why the performance changed, and raise what is not surely harmless any more, or cannot be told to be."""
    try:
        _told(findings, watched, side, now)
    except Exception as fault:  # noqa: BLE001 - the finding has been told
        log.get("findings").error("findings cannot be added to", model=watched.model.name, error=repr(fault))


def _told(findings: Logbook, watched: Watched, side: Side, now: float) -> None:
    findings.explain(watched.model.name, side.explained)
    for row, said in findings.lowered(watched.model.name):
        one = None if watched.streams is None else watched.streams.streams.get(row.stream)
        window = -1 if one is None else one.panes.number // watched.model.window.panes
        before, findings.weighed[row.id] = findings.weighed.get(row.id, window), window
        if window != before and _harmful(watched, row.stream, said):
            findings.louder(row, now)


def _harmful(watched: Watched, stream: str, said: Mapping[str, Any]) -> bool:
    columns = [one["column"] for one in said["columns"] if one["by"] == "measured"]
    streams = watched.streams
    if not columns or streams is None:
        return False  # declared: however far they move
    try:
        engine, rule = streams.engine, streams.engine.writer.severity
        harm = None if rule is None or rule.measure is None else rule.measure(streams.streams[stream].state.panes)
        if harm is None:
            return True
        most = harm.most[[engine.names.index(name) for name in columns]]
        return not bool(harm.whole < said["smallest_loss"] and np.less(most, said["smallest_loss"]).all())
    except Exception as fault:  # noqa: BLE001 - whatever it is, the finding calls as loudly as usual
        log.get("findings").error("a ticket cannot be weighed", model=watched.model.name, error=repr(fault))
        return True
