"""From a model, its reference and its traffic to a finished study."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from detectors.registry import SEQUENTIAL
from monitor.calibration import advice
from monitor.calibration.judge import paging
from monitor.calibration.result import Column, Result
from monitor.calibration.rows import longest_tau, rows_from
from monitor.calibration.study import Plan, Study, Tell
from monitor.calibration.traffic import traffic_of
from monitor.config import Model
from monitor.engine import Engine
from monitor.fitted import Fitted
from monitor.streams import ModelStreams


def calibrate(
    model: Model,
    fitted: Fitted,
    *,
    rate: float | None = None,
    plan: Plan | None = None,
    timer: Callable[[], float] = time.process_time,
    tell: Tell | None = None,
) -> Result:
    """Study ``model`` at ``rate`` rows a second; `ConfigError` if a needed rate is neither given nor in the rows."""
    plan = plan or Plan()
    began = timer()
    traffic = traffic_of(model, fitted, rate)
    rows = rows_from(fitted)
    streams = ModelStreams(model, fitted, config_id="", timer=lambda: 0.0)
    engine = paging(streams.engine, rows)
    study = Study(engine, rows, traffic, plan)
    study.run(timer, tell)
    result = Result(
        model=model.name,
        grid_id=fitted.reference.grid.id,
        budget=model.alarms.false_alarms,
        smallest_shift=model.alarms.smallest_shift,
        traffic=traffic,
        horizon=study.horizon,
        seed=plan.seed,
        streams=study.rounds,
        seconds_cpu=timer() - began,
        columns=_columns(engine),
        false_alarms=study.false_alarms(),
        delays=tuple(study.delays()),
        notes=tuple(advice.notes(model, rows, longest_tau(fitted.reference))),
        warnings=(),
    )
    found = advice.warnings(result, model, rows, plan.streams)
    return dataclasses.replace(result, warnings=tuple(found))


def _columns(engine: Engine) -> tuple[Column, ...]:
    """What the distribution detector, the first of the sequential ones, tolerates in each column."""
    name = next(iter(SEQUENTIAL))
    asked = engine.sequential[name].questions(engine.fixed[name])
    found = []
    for u, column in enumerate(engine.names):
        mine = (asked.unit == u) & (asked.p0 < 1)
        tolerated = float(np.median((asked.p0 - asked.share)[mine])) if mine.any() else float("inf")
        tau, rows = float(engine.reference.tau[u]), float(engine.baseline.m[u])
        found.append(Column(column, tolerated, tolerated - engine.tolerances.shift, tau, rows))
    return tuple(found)
