"""A guard from a model's configuration and its reference, and what it cannot do for want of which column."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detectors.queries import fingerprints
from detectors.queries.ring import refusal
from monitor import log
from monitor.clock import Clock
from monitor.config import Model
from monitor.coverage import switched_off
from monitor.errors import ConfigError
from monitor.fitted import Fitted
from monitor.security.asking import Asking
from monitor.security.guard import Guard
from monitor.security.measured import Measured, measured
from monitor.security.pseudonyms import Pseudonyms
from monitor.security.reader import Reader


def guard_of(
    model: Model, fitted: Fitted, key: bytes, config_id: str, timer: Callable[[], float], clock: Clock | None = None
) -> Guard | None:
    """The model's guard, None where it is switched off; one line in the log for each column that it misses.

    With a ``clock`` rows beyond ``rows_per_second`` are passed over, and the model itself is asked, if the
    configuration says so; a replay has none.
    """
    if not model.guarded:
        return None
    reader = Reader(fitted, Pseudonyms(key))
    off = switched_off(model, fitted)
    for absence in off:
        log.get("guard").info(absence.sentence, model=model.name)
    fixed = measured(fitted, reader, model.security)
    if why := refusal(fixed.held.near):
        log.get("guard").warning(f"near-duplicates are not looked for: {why}", model=model.name)
    if fixed.fingerprints is not None and (why := fingerprints.refusal(fixed.fingerprints)):
        log.get("guard").warning(f"fingerprints are not looked at: {why}", model=model.name)
    silent = frozenset(name for absence in off for name in absence.heuristics)
    asking = None if clock is None else _asking(model, fitted, fixed, reader, key, clock)
    names = (config_id, fitted.reference.grid.id)
    return Guard(model, fixed, reader, names=names, silent=silent, timer=timer, asking=asking, paced=clock is not None)


def _asking(model: Model, fitted: Fitted, fixed: Measured, reader: Reader, key: bytes, clock: Clock) -> Asking | None:
    section, roles = model.security.probes, fitted.plan.roles
    if section is None:
        return None
    known = fitted.sample.schema.names
    if missing := sorted({column for one in section.inputs for column in one.columns} - set(known)):
        told = f"the reference has no column {', '.join(missing)}; there are: {', '.join(known[:12])}"
        raise ConfigError([f"models.{model.name}.security.probes.inputs: {told}"])
    from monitor.probes.prober import Prober

    grid = fitted.reference.grid
    scales = dict(zip(grid.numeric_names, grid.scale.tolist(), strict=True))
    settings = section.settings(scales, roles.image or "", roles.image_shape, key)
    prober = Prober(settings, clock, np.random.default_rng())
    return Asking(prober, roles, fitted.sample, fixed.golden, reader.classes, np.random.default_rng())
