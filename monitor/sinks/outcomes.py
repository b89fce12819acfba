"""Series of the outcome side of one model."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from monitor.metrics import Distribution, Snapshot, Value
from monitor.outcomes.series import DELAYS, DOUBTS, ROWS, STATES, VERDICTS
from monitor.sinks.failing import of_failing

if TYPE_CHECKING:
    from detectors.performance.curves import Gap
    from detectors.performance.past import Past
    from detectors.performance.types import Figure
    from monitor.outcomes.errors import ErrorStream
    from monitor.outcomes.estimates import Told
    from monitor.outcomes.index import Index
    from monitor.outcomes.joined import Figures
    from monitor.outcomes.lane import Lane
    from monitor.outcomes.parts import Calibrated, Covered, Parts
    from monitor.outcomes.side import Side

Put = Callable[..., None]
"""Adds a value of a metric with its labels, if it is finite."""


def of_side(side: Side, length: float) -> list[Snapshot]:
    """All series of a model; ``length`` is panes for each false alarm that is allowed."""
    lane, name = side.lane, side.model.name
    made = [of_performance(side, length)]
    made += [] if lane is None else [of_labels(lane)]
    made += [] if lane is None or lane.parts is None else [of_parts(name, lane.parts)]
    made += [] if side.failing is None else [of_failing(side.failing)]
    return made if side.errors is None else [*made, of_errors(name, side.errors)]


def of_errors(model: str, errors: ErrorStream) -> Snapshot:
    """Evidence that answers have become worse, of all and of each version where there are several."""
    made: Snapshot = {
        "driftwarden_error_panes_total": [((model,), errors.counts["panes"])],
        "driftwarden_error_late_labels_total": [((model,), errors.counts["late"])],
        "driftwarden_error_waiting_panes": [((model,), len(errors.ripening.waiting.number))],
        "driftwarden_error_reference_ratio": [((model,), float(errors.fixed.questions.share[0]))],
    }
    for name, one in errors.standing().items():
        told = {"evidence_log_e": one.log_e, "ratio": one.ratio, "alarm_active": float(one.open)}
        for metric, value in told.items():
            if np.isfinite(value):
                made.setdefault(f"driftwarden_error_{metric}", []).append(((model, name), value))
    if np.isfinite(errors.threshold):
        made["driftwarden_error_threshold_log_e"] = [((model,), errors.threshold)]
    return made


def of_labels(lane: Lane) -> Snapshot:
    """What is joined, and how long labels take."""
    name, index = lane.model.name, lane.index
    made: Snapshot = {"driftwarden_outcome_failures_total": [((name,), lane.failures)]}
    return made if index is None else made | _of_index(name, index)


def of_performance(side: Side, length: float) -> Snapshot:
    """What is estimated of each version, what labels have confirmed, and whether it is below expectation."""
    name, lane, estimates = side.model.name, side.lane, side.estimates
    made: Snapshot = {}
    put = _putting(made, name)
    reference: dict[str, float] = {}
    if estimates is not None or side.failures:
        made["driftwarden_performance_estimate_failures_total"] = [((name,), side.failures)]
    if estimates is not None:
        for stream, one in estimates.told.items():
            _estimated(put, stream, one)
            reference |= one.estimate.reference
    confirmed = None if lane is None else lane.confirmed
    if lane is not None and lane.realised is not None:
        reference |= {metric: one.value for metric, one in lane.realised.reference.items()}
    if confirmed is not None:
        put("performance_realised_timestamp_seconds", confirmed.end)
        counted = max((one.n for one in confirmed.figures.values()), default=0)
        for what, rows in zip(ROWS, (confirmed.predicted, confirmed.labelled, counted), strict=True):
            put("performance_realised_rows", rows, what)
        _figures(put, "performance_realised", confirmed.figures)
    _changed(put, side)
    for metric, value in reference.items():
        put("performance_reference", value, metric)
    for metric, worse in side.behind(confirmed, length).items():
        put("performance_below_expectation", float(worse), metric)
    _past(put, side.timeline.past)
    return made


def of_parts(model: str, parts: Parts) -> Snapshot:
    """What labels have confirmed of each version and segment, and how calibrated and covered each segment is."""
    made: Snapshot = {}
    put = _putting(made, model)
    for stream, part in parts.versions.items():
        _figures(put, "performance_version", part.figures, stream)
    for segment, part in parts.segments.items():
        _figures(put, "performance_segment", part.figures, segment)
        for name, figure in part.reference.items():
            put("performance_segment_reference", figure.value, segment, name)
    for segment, part in {"": parts.whole, **parts.segments}.items():
        if part.calibrated is not None:
            _calibrated(put, segment, part.calibrated)
        if part.covered is not None:
            _covered(put, segment, part.covered)
    return made


def _calibrated(put: Put, segment: str, told: Calibrated) -> None:
    for kind, gaps in (("gap", told.now), ("change", told.change)):
        for measure, one in gaps.items():
            _ends(put, f"calibration_{kind}", one, segment, measure)
    put("calibration_change_log_p", told.log_p, segment)


def _covered(put: Put, segment: str, told: Covered) -> None:
    now = told.now
    _ends(put, "coverage_ratio", now.figure, segment)
    for side, share in (("below", now.below), ("above", now.above)):
        put("coverage_missed_ratio", share, segment, side)
    put("coverage_size", now.size, segment)
    put("coverage_nominal_log_p", now.log_p, segment)
    put("coverage_change", told.change, segment)
    put("coverage_change_log_p", told.log_p, segment)


def _past(put: Put, known: Mapping[str, Past]) -> None:
    for metric, past in known.items():
        put("performance_past_stretches", past.n, metric)
        put("performance_past_bias", past.bias, metric)
        put("performance_past_error", past.mae, metric)
        put("performance_past_excess", past.excess, metric)
        put("performance_past_within_ratio", past.within, metric)


def _estimated(put: Put, stream: str, told: Told) -> None:
    put("performance_estimated_timestamp_seconds", told.end, stream)
    for doubt in DOUBTS:
        put("performance_doubt", float(doubt in told.estimate.reliability.doubts), stream, doubt)
    _figures(put, "performance_estimate", told.estimate.figures, stream)


def _changed(put: Put, side: Side) -> None:
    """What changed in the busiest version's newest window, and by labels."""
    told = {} if side.estimates is None else side.estimates.told
    rows = {stream: max((one.n for one in made.estimate.figures.values()), default=0) for stream, made in told.items()}
    for one in side.explained(max(rows, key=lambda stream: rows[stream], default="")):
        for name, figure in (*one.change.parts.items(), ("total", one.change.total)):
            _ends(put, "performance_part", figure, one.by, name)
        for verdict in VERDICTS:
            put("performance_drift", float(verdict == one.verdict), one.by, verdict)


def _figures(put: Put, kind: str, figures: Mapping[str, Figure], *labels: str) -> None:
    for name, figure in figures.items():
        _ends(put, kind, figure, *labels, name)


def _ends(put: Put, kind: str, told: Figure | Gap, *labels: str) -> None:
    for suffix, value in (("", told.value), ("_low", told.low), ("_high", told.high)):
        put(f"{kind}{suffix}", value, *labels)


def _putting(made: Snapshot, model: str) -> Put:
    def put(metric: str, value: float, *labels: str) -> None:
        if np.isfinite(value):
            made.setdefault(f"driftwarden_{metric}", []).append(((model, *labels), value))

    return put


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
