"""Series of the outcome side of one model."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np

from monitor.metrics import Distribution, Snapshot, Value
from monitor.outcomes.estimates import Estimates
from monitor.outcomes.index import Index
from monitor.outcomes.joined import Figures
from monitor.outcomes.lane import Lane
from monitor.outcomes.series import DELAYS, DOUBTS, STATES


def of_labels(lane: Lane) -> Snapshot:
    """What is joined, and how long labels take."""
    name, index = lane.model.name, lane.index
    made: Snapshot = {"driftwarden_outcome_failures_total": [((name,), lane.failures)]}
    return made if index is None else made | _of_index(name, index)


def of_estimates(model: str, estimates: Estimates) -> Snapshot:
    """What is estimated of each version, and whether it is below expectation."""
    made: Snapshot = {"driftwarden_performance_estimate_failures_total": [((model,), estimates.failures)]}

    def put(metric: str, value: float, *labels: str) -> None:
        if np.isfinite(value):
            made.setdefault(f"driftwarden_performance_{metric}", []).append(((model, *labels), value))

    told = estimates.told
    for stream, one in told.items():
        put("estimated_timestamp_seconds", one.end, stream)
        for doubt in DOUBTS:
            put("doubt", float(doubt in one.estimate.reliability.doubts), stream, doubt)
        for name, figure in one.estimate.figures.items():
            for suffix, value in (("", figure.value), ("_low", figure.low), ("_high", figure.high)):
                put(f"estimate{suffix}", value, stream, name)
    for one in list(told.values())[-1:]:
        for name, value in one.estimate.reference.items():
            put("reference", value, name)
    for name, worse in estimates.behind.items():
        put("below_expectation", float(worse), name)
    return made


def _of_index(model: str, index: Index) -> Snapshot:
    figures, delays, cohorts = index.figures(), index.delays(), index.cohorts()
    states = (figures.labelled, figures.rows - figures.labelled, figures.waiting)
    plain: dict[str, Value] = {
        "driftwarden_outcome_index_disk_bytes": figures.disk_bytes,
        "driftwarden_outcome_index_memory_bytes": figures.memory_bytes,
        "driftwarden_label_delay_seconds": _delays(figures),
    }
    if np.isfinite(delays.ever):
        plain["driftwarden_label_ever_ratio"] = float(delays.ever)
    done = np.flatnonzero(cohorts.complete & (cohorts.predicted > 0))
    if len(done):
        plain["driftwarden_label_complete_timestamp_seconds"] = float(cohorts.start[done[-1]]) + index.width
    made: Snapshot = {name: [((model,), value)] for name, value in plain.items()}
    made["driftwarden_outcome_rows"] = _by(model, dict(zip(STATES, states, strict=True)))
    for kind, counts in (("predictions", figures.predictions), ("labels", figures.labels), ("left", figures.left)):
        made[f"driftwarden_outcome_{kind}_total"] = _by(model, counts)
    return made


def _by(model: str, counts: Mapping[str, int]) -> list[tuple[tuple[str, ...], Value]]:
    return [((model, label), number) for label, number in counts.items()]


def _delays(figures: Figures) -> Distribution:
    counts = [0] * (len(DELAYS) + 1)
    for edge, number in zip([*figures.edges.tolist(), np.inf], figures.delays.tolist(), strict=True):
        counts[bisect_left(DELAYS, edge)] += number
    return Distribution(tuple(counts), figures.delay_seconds)
