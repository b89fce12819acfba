"""The Prometheus sink: one snapshot of everything worth a series, made once a second, never by a scrape.

Per-column series are kept to the ``top_features`` columns of each stream with the most evidence, and to those of the
model's answers; what is left out is
counted in ``driftwarden_series_suppressed``.
"""

from __future__ import annotations

import itertools
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from detectors.heuristics import HEURISTICS
from detectors.registry import SEQUENTIAL
from detectors.types import FloatArray
from monitor.figures import Figures
from monitor.logbook import Logbook, quietly
from monitor.metrics import PROBES, SEVERITIES, TRIAGES, Histogram, Snapshot, Value, histogram
from monitor.report import Report
from monitor.security.asking import Asking
from monitor.security.guard import Guard
from monitor.streams import Fed, ModelStreams, Stream
from monitor.told import Told

MEASURES: dict[str, str] = {
    "ks_distance": "relevant_drift",
    "total_variation": "total_variation",
    "psi": "psi",
    "jensen_shannon": "jensen_shannon",
    "wasserstein_distance": "wasserstein",
    "mean_difference": "mean_change",
    "standard_deviation_ratio": "scale_change",
}
"""Label ``measure`` -> the detector whose effect it shows."""
SHOWN_INCIDENTS = 20
"""Open incidents of a model with a series of their own, the newest."""


@dataclass(slots=True)
class ModelTally:
    """Counters of one model that outlive its streams."""

    runs: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    findings: dict[tuple[str, str], int] = field(default_factory=dict)
    figures: Figures | None = None
    recovered: int = 0
    rebaselined: int = 0
    violations: dict[str, int] = field(default_factory=dict)
    type_faults: int = 0
    panes: dict[str, int] = field(default_factory=dict)
    evaluated: dict[str, float] = field(default_factory=dict)
    evaluation: Histogram = field(default_factory=lambda: histogram("driftwarden_evaluation_duration_seconds"))

    def judged(self, report: Report, now: float) -> None:
        """Count one pane."""
        self.panes[report.stream] = self.panes.get(report.stream, 0) + 1
        self.evaluated[report.stream] = now
        for name in report.seconds:
            self.runs[name] = self.runs.get(name, 0) + 1
        for name in report.failures:
            self.failures[name] = self.failures.get(name, 0) + 1
        for finding in report.findings:
            key = (finding.severity, finding.triage)
            self.findings[key] = self.findings.get(key, 0) + 1
        self.recovered += sum(len(back.ids) for back in report.recovered)
        self.evaluation.observe(sum(report.seconds.values()))

    def heard(self, told: Told) -> None:
        """Count what the guard says."""
        for name in told.failures:
            self.failures[name] = self.failures.get(name, 0) + 1
        for finding, _ in told.findings:
            key = (finding.severity, finding.triage)
            self.findings[key] = self.findings.get(key, 0) + 1
        self.recovered += sum(len(back.ids) for back in told.recovered)

    def fed(self, fed: Fed) -> None:
        """Count what was odd about a batch."""
        self.type_faults += fed.faults
        odd = {
            "missing_column": bool(fed.missing_columns),
            "extra_column": bool(fed.extra_columns),
            "retyped_column": bool(fed.retyped),
        }
        for kind, present in odd.items():
            if present:
                self.violations[kind] = self.violations.get(kind, 0) + 1


def identity(version: str, fingerprint: str) -> Snapshot:
    """Series that say what runs."""
    return {
        "driftwarden_build_info": [((version, platform.python_version()), 1.0)],
        "driftwarden_config_info": [((fingerprint,), 1.0)],
    }


def of_model(streams: ModelStreams, tally: ModelTally) -> Snapshot:
    """All series of one model."""
    name = streams.model.name
    made = _Maker((name,))
    made.put("driftwarden_streams", len(streams.streams))
    made.put("driftwarden_segments_suppressed", len(streams.suppressed))
    made.put("driftwarden_alarm_budget_panes", streams.run_length)
    made.put("driftwarden_smallest_shift", streams.model.alarms.smallest_shift)
    made.put("driftwarden_reference_rows", streams.fitted.rows)
    made.put("driftwarden_reference_created_timestamp_seconds", streams.fitted.created)
    _selfcheck(made, tally.figures)
    made.put("driftwarden_findings_recovered_total", tally.recovered)
    made.put("driftwarden_rebaselines_total", tally.rebaselined)
    made.put("driftwarden_type_faults_total", tally.type_faults)
    made.put("driftwarden_evaluation_duration_seconds", tally.evaluation.freeze())
    grid = streams.fitted.reference.grid
    for kind, number in (("numeric", len(grid.numeric_names)), ("categorical", len(grid.code_names))):
        made.put("driftwarden_reference_columns", number, kind)
    for detector in streams.detectors:
        made.put("driftwarden_detector_runs_total", tally.runs.get(detector, 0), detector)
        made.put("driftwarden_detector_failures_total", tally.failures.get(detector, 0), detector)
    for name in sorted(set(tally.failures) - set(streams.detectors)):  # heuristics, and the fault tree
        made.put("driftwarden_detector_failures_total", tally.failures[name], name)
    for (severity, triage), number in tally.findings.items():
        made.put("driftwarden_findings_total", number, severity, triage)
    if streams.guard is not None:
        _guard(made, streams.guard, streams.model.security.shown_clients)
    for kind, number in tally.violations.items():
        made.put("driftwarden_schema_violations_total", number, kind)
    suppressed = sum(_stream(made, streams, one, tally) for one in streams.streams.values())
    made.put("driftwarden_series_suppressed", suppressed)
    return made.snapshot


def of_findings(model: str, findings: Logbook, now: float) -> Snapshot:
    """What is open and calls for somebody, what somebody has in hand, and what people did."""
    made = _Maker((model,))
    heads = [row for row in findings.heads if row.model == model]
    calling = [row for row in heads if row.unattended]
    numbers = Counter((row.severity, row.triage) for row in calling)
    for severity, triage in itertools.product(SEVERITIES, TRIAGES):
        made.put("driftwarden_findings_open", numbers[severity, triage], severity, triage)
    for state, number in quietly(heads).items():
        made.put("driftwarden_findings_attended", number, state)
    for row in sorted(calling, key=lambda row: row.opened)[-SHOWN_INCIDENTS:]:
        labels = (row.severity, row.triage, row.failure_mode, row.id)
        made.put("driftwarden_finding_opened_timestamp_seconds", row.opened, *labels)
    made.put("driftwarden_mutes_active", findings.interventions.muting(model, now))
    for (name, kind), number in findings.interventions.counts.items():
        if name == model:
            made.put("driftwarden_interventions_total", number, kind)
    return made.snapshot


class _Maker:
    """Collects series whose first labels are fixed."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self.snapshot: Snapshot = {}

    def put(self, metric: str, value: Value, *labels: str) -> None:
        self.snapshot.setdefault(metric, []).append(((*self._labels, *labels), value))


def _selfcheck(made: _Maker, figures: Figures | None) -> None:
    """What the agent measured of itself."""
    if figures is None:
        return
    made.put("driftwarden_selfcheck_false_alarms_total", figures.false_alarms)
    made.put("driftwarden_selfcheck_panes_total", figures.null_panes)
    made.put("driftwarden_selfcheck_injected_shifts_total", figures.injected)
    made.put("driftwarden_selfcheck_found_shifts_total", figures.detected)
    if np.isfinite(figures.delay_panes):
        made.put("driftwarden_selfcheck_delay_panes", figures.delay_panes)


def _guard(made: _Maker, guard: Guard, shown: int) -> None:
    """Series about rows one by one, queries and their senders; senders only under their pseudonyms, and few."""
    made.put("driftwarden_security_rows_total", guard.tally.looked_at, "looked_at")
    made.put("driftwarden_security_rows_total", guard.tally.passed_over, "passed_over")
    made.put("driftwarden_security_seconds_total", guard.tally.seconds)
    for kind, number in guard.tally.flags.items():
        made.put("driftwarden_row_flags_total", number, kind)
    for heuristic in HEURISTICS:
        made.put("driftwarden_heuristic_active", float(heuristic in guard.watching), heuristic)
    ring = guard.parts.ring
    made.put("driftwarden_exact_repeats_total", 0 if ring is None else ring.repeats)
    made.put("driftwarden_query_clusters", 0 if ring is None else len(ring.clusters))
    made.put("driftwarden_clients_tracked", guard.parts.clients.remembered)
    made.put("driftwarden_clients_evicted_total", guard.parts.clients.evicted)
    for (heuristic, verdict), number in guard.cases.verdicts.items():
        made.put("driftwarden_suspicions_total", number, heuristic, verdict)
    for suspect, heuristic, log_e in guard.suspects(shown):
        made.put("driftwarden_suspect_log_e", log_e, suspect, heuristic)
    if guard.asking is not None:
        _probes(made, guard.asking)


def _probes(made: _Maker, asking: Asking) -> None:
    """Series about what the model itself was asked."""
    counts = asking.counts()
    made.put("driftwarden_probe_rows_total", counts.rows_sent)
    made.put("driftwarden_probe_breaker_open", float(counts.open))
    fates = (counts.probed, counts.unfit, counts.left_out + asking.left_out, sum(counts.failures.values()))
    for fate, number in zip(PROBES, fates, strict=True):
        made.put("driftwarden_probes_total", number, fate)


def _stream(made: _Maker, streams: ModelStreams, one: Stream, tally: ModelTally) -> int:
    """Series of one stream; how many series of columns were left out."""
    interval = streams.model.pane.every or 0.0
    made.put("driftwarden_panes_closed_total", tally.panes.get(one.name, 0), one.name)
    made.put("driftwarden_late_rows_total", one.late, one.name)
    made.put("driftwarden_evaluation_interval_seconds", interval, one.name)
    watermark = one.panes.watermark
    made.put("driftwarden_watermark_timestamp_seconds", watermark if np.isfinite(watermark) else 0.0, one.name)
    made.put("driftwarden_last_evaluation_timestamp_seconds", tally.evaluated.get(one.name, 0.0), one.name)
    merged = one.state.merged
    made.put("driftwarden_window_rows", merged.rows if merged is not None else 0, one.name)
    made.put("driftwarden_alarm_active", float(bool(one.state.owners)), one.name)
    threshold = float(np.log(streams.threshold))
    made.put("driftwarden_alarm_threshold_log_e", threshold, one.name)
    _joint(made, one)
    report = one.last
    made.put("driftwarden_evidence_log_e", report.mean_log_e if report is not None else -np.inf, one.name)
    if report is not None and report.mix is not None:
        made.put("driftwarden_mix_log_p", report.mix.log_p, one.name)
    return _columns(made, streams, one.name, report) if report is not None else 0


def _joint(made: _Maker, one: Stream) -> None:
    """Series of the joint views: the newest evidence of each detector."""
    for detector, evidence in one.joint.items():
        for view, log_e, log_p, effect in zip(
            one.engine.reference.views, evidence.log_e, evidence.log_p, evidence.effect, strict=True
        ):
            if not np.isnan(log_e):
                made.put("driftwarden_joint_log_e", float(log_e), one.name, view.name)
            if not np.isnan(log_p):
                made.put("driftwarden_joint_log_p", float(log_p), one.name, view.name, detector)
            if not np.isnan(log_p) and np.isfinite(effect):
                made.put("driftwarden_joint_effect", float(effect), one.name, view.name)


def _columns(made: _Maker, streams: ModelStreams, stream: str, report: Report) -> int:
    names = streams.engine.names
    log_e = np.where(np.isnan(report.log_e), -np.inf, report.log_e)
    strongest = np.argsort(-log_e.max(axis=0), kind="stable")[: streams.model.top_features]
    shown = tuple(dict.fromkeys((*strongest.tolist(), *streams.fitted.answers)))
    for row, detector in enumerate(SEQUENTIAL):
        for unit in shown:
            if log_e[row, unit] > -np.inf:
                made.put("driftwarden_feature_log_e", float(log_e[row, unit]), stream, names[unit], detector)
    for measure, detector in MEASURES.items():
        effect = _effect(report, detector)
        for unit in shown:
            if effect is not None and np.isfinite(effect[unit]):
                made.put("driftwarden_feature_effect", float(effect[unit]), stream, names[unit], measure)
    relevant = report.evidence.get("relevant_drift")
    for unit in shown if relevant is not None else ():
        value = relevant.extra["smallest_detectable"][unit] if relevant is not None else np.nan
        if np.isfinite(value):
            made.put("driftwarden_feature_smallest_detectable_shift", float(value), stream, names[unit])
    return (len(names) - len(shown)) * (len(SEQUENTIAL) + len(MEASURES) + 1)


def _effect(report: Report, detector: str) -> FloatArray | None:
    evidence = report.evidence.get(detector)
    return None if evidence is None else evidence.effect


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot with the series of all."""
    made: Snapshot = {}
    for snapshot in snapshots:
        for name, series in snapshot.items():
            made.setdefault(name, []).extend(series)
    return made


def durations(histograms: Mapping[str, Histogram]) -> list[tuple[tuple[str, ...], Value]]:
    """Histogram series with one label."""
    return [((name,), one.freeze()) for name, one in histograms.items()]
