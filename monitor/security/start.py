"""A guard from a model's configuration and its reference, and what it cannot do for want of which column."""

from __future__ import annotations

from collections.abc import Callable

from detectors.queries.ring import refusal
from monitor import log
from monitor.config import Model
from monitor.coverage import switched_off
from monitor.fitted import Fitted
from monitor.security.guard import Guard
from monitor.security.measured import measured
from monitor.security.pseudonyms import Pseudonyms
from monitor.security.reader import Reader


def guard_of(model: Model, fitted: Fitted, key: bytes, config_id: str, timer: Callable[[], float]) -> Guard | None:
    """The model's guard, None where it is switched off; one line in the log for each column that it misses."""
    if not model.guarded:
        return None
    reader = Reader(fitted, Pseudonyms(key))
    off = switched_off(model, fitted)
    for absence in off:
        log.get("guard").info(absence.sentence, model=model.name)
    fixed = measured(fitted, reader, model.security)
    if why := refusal(fixed.held.near):
        log.get("guard").warning(f"near-duplicates are not looked for: {why}", model=model.name)
    silent = frozenset(name for absence in off for name in absence.heuristics)
    return Guard(model, fixed, reader, names=(config_id, fitted.reference.grid.id), silent=silent, timer=timer)
