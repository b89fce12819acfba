"""Every metric of the agent in one table, and what a snapshot of them is.

A snapshot is a plain dict: metric name -> list of (label values, value), the values in the order of the table's labels.
The engine fills one per evaluation, `exposition.Exposition` writes it, a scrape only copies the bytes. Counters end in
``_total``; there is no label that Prometheus or its users attach to targets (``job``, ``stage``, ``service``, ...).
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Literal

from prometheus_client.process_collector import ProcessCollector

from monitor.ledger import ACK_SECONDS
from monitor.outcomes.series import SERIES, SETS

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """Frozen content of a histogram: events per bucket (not cumulative, the last one is +Inf) and their sum."""

    counts: tuple[int, ...]
    total: float


Value = float | Distribution
Snapshot = dict[str, list[tuple[Labels, Value]]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table; ``buckets`` are the upper bounds of a histogram, without +Inf."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels
    help: str
    buckets: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """The name without ``_total``: what OpenMetrics calls the metric family."""
        return self.name.removesuffix("_total")

    @property
    def unit(self) -> str:
        """The base unit, which by convention ends the name."""
        return next((unit for unit in ("seconds", "bytes") if self.family.endswith("_" + unit)), "")


def _counter(name: str, labels: Labels, text: str) -> Metric:
    return Metric(name, "counter", labels, text)


def _gauge(name: str, labels: Labels, text: str) -> Metric:
    return Metric(name, "gauge", labels, text)


def _histogram(name: str, labels: Labels, text: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name, "histogram", labels, text, buckets)


SEVERITIES = ("page", "ticket", "info")
TRIAGES = ("shift", "attack", "data_fault", "unknown")
PLACES = ("queue",)
FATES = ("looked_at", "passed_over")
PROBES = ("answered", "unfit", "left_out", "failed")
VERDICTS = ("attack", "data_fault", "shift", "unknown", "benign")
SCHEMA_KINDS = ("missing_column", "extra_column", "retyped_column")

_SLOW = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_MODEL = ("model",)
_STREAM = ("model", "stream")
_DOOR = ("source", "model")

METRICS: tuple[Metric, ...] = (
    # What runs.
    _gauge("driftwarden_build_info", ("version", "python_version"), "Always 1; the labels say which build runs."),
    _gauge(
        "driftwarden_config_info", ("fingerprint",), "Always 1; the label changes with the effective configuration."
    ),
    _gauge("driftwarden_ready", (), "1 when rows are accepted and judged, 0 while starting or draining."),
    _counter("driftwarden_config_reloads_total", (), "Attempts to reload the configuration."),
    _counter("driftwarden_config_reload_failures_total", (), "Reloads refused because the file had faults."),
    _gauge(
        "driftwarden_config_last_reload_successful",
        (),
        "1 when the last load or reload was good, that of web.config.yml too, 0 when an old configuration was kept.",
    ),
    _gauge(
        "driftwarden_config_last_reload_success_timestamp_seconds", (), "When the running configuration was loaded."
    ),
    # Rows: received = processed + discarded + buffered.
    _counter("driftwarden_ingest_received_rows_total", _DOOR, "Rows accepted and acknowledged."),
    _counter("driftwarden_ingest_received_batches_total", _DOOR, "Deliveries accepted and acknowledged."),
    _counter("driftwarden_ingest_received_bytes_total", _DOOR, "Bytes accepted and acknowledged."),
    _counter("driftwarden_processed_rows_total", _DOOR, "Accepted rows that entered a pane."),
    _counter("driftwarden_discarded_rows_total", (*_DOOR, "reason"), "Accepted rows that were not judged, by reason."),
    _gauge("driftwarden_buffered_rows", ("place",), "Accepted rows that wait for the engine."),
    _counter(
        "driftwarden_ingest_refused_requests_total",
        ("source", "reason"),
        "Deliveries refused at the door, by reason; the sender was told.",
    ),
    _counter(
        "driftwarden_ingest_refused_rows_total",
        ("source", "reason"),
        "Rows in refused deliveries, as far as they could be counted.",
    ),
    _histogram(
        "driftwarden_ingest_ack_duration_seconds",
        ("source",),
        "Time from the arrival of a delivery to its acknowledgement.",
        ACK_SECONDS,
    ),
    _gauge("driftwarden_queue_bytes", (), "Bytes of accepted deliveries in memory."),
    _gauge("driftwarden_queue_capacity_bytes", (), "Bytes that the queue may hold."),
    _gauge("driftwarden_queue_batches", (), "Accepted deliveries that wait for the engine."),
    _gauge("driftwarden_spool_bytes", (), "Bytes of accepted deliveries on disk."),
    _gauge("driftwarden_spool_capacity_bytes", (), "Bytes that the spool may hold on disk; 0 without durable mode."),
    _counter("driftwarden_spool_corrupt_records_total", (), "Damaged spool records passed over at start."),
    # Streams and their panes.
    _gauge("driftwarden_streams", _MODEL, "Streams that are judged: one per version and segment."),
    _gauge(
        "driftwarden_segments_suppressed",
        _MODEL,
        "Segment values beyond max_segments or without reference rows, judged only in the whole.",
    ),
    _counter("driftwarden_panes_closed_total", _STREAM, "Panes closed and judged."),
    _gauge("driftwarden_window_rows", _STREAM, "Rows in the current window."),
    _counter("driftwarden_late_rows_total", _STREAM, "Rows that came after their pane was closed."),
    _gauge("driftwarden_watermark_timestamp_seconds", _STREAM, "Event time up to which panes are closed."),
    _gauge("driftwarden_last_evaluation_timestamp_seconds", _STREAM, "When the last pane was judged."),
    _gauge(
        "driftwarden_evaluation_interval_seconds",
        _STREAM,
        "Expected time between evaluations; 0 for panes counted in rows.",
    ),
    _histogram("driftwarden_evaluation_duration_seconds", _MODEL, "Time to judge one pane with all detectors.", _SLOW),
    _counter(
        "driftwarden_schema_violations_total", (*_MODEL, "kind"), "Batches whose columns differ from the reference."
    ),
    _counter("driftwarden_type_faults_total", _MODEL, "Values of a wrong type, taken as missing."),
    # Detectors.
    _counter("driftwarden_detector_runs_total", (*_MODEL, "detector"), "Evaluations attempted by a detector."),
    _counter(
        "driftwarden_detector_failures_total",
        (*_MODEL, "detector"),
        "Evaluations in which a detector failed and kept its old state.",
    ),
    _histogram("driftwarden_detector_duration_seconds", ("detector",), "Time of one detector for one pane.", _SLOW),
    # Evidence.
    _gauge(
        "driftwarden_evidence_log_e",
        _STREAM,
        "Natural logarithm of the mean e-value of the stream; an alarm at the threshold.",
    ),
    _gauge(
        "driftwarden_alarm_threshold_log_e", _STREAM, "Natural logarithm of the e-value at which the stream alarms."
    ),
    _gauge("driftwarden_alarm_active", _STREAM, "1 while an alarm of the stream is open."),
    _gauge(
        "driftwarden_feature_log_e",
        (*_STREAM, "feature", "detector"),
        "Natural logarithm of the e-value of one column; top columns only.",
    ),
    _gauge(
        "driftwarden_feature_effect",
        (*_STREAM, "feature", "measure"),
        "Size of the shift of one column in the named measure; top columns only.",
    ),
    _gauge(
        "driftwarden_feature_smallest_detectable_shift",
        (*_STREAM, "feature"),
        "Shift in probability mass that the current window can still detect; top columns only.",
    ),
    _gauge(
        "driftwarden_joint_log_e",
        (*_STREAM, "view"),
        "Natural logarithm of the e-value of one joint view: all columns, the scores or an embedding.",
    ),
    _gauge(
        "driftwarden_joint_log_p",
        (*_STREAM, "view", "detector"),
        "Natural logarithm of the p-value of a joint test in the last full window.",
    ),
    _gauge(
        "driftwarden_joint_effect",
        (*_STREAM, "view"),
        "Probability mass that moved jointly in the last full window, at least.",
    ),
    _gauge(
        "driftwarden_mix_log_p",
        _STREAM,
        "Natural logarithm of the p-value of the G-test on the window's mix of segments; only where there are strata.",
    ),
    _gauge("driftwarden_series_suppressed", _MODEL, "Series of columns not exported because of top_features."),
    # Findings and the promise they are held to.
    _counter("driftwarden_findings_total", (*_MODEL, "severity", "triage"), "Findings opened."),
    _counter("driftwarden_findings_recovered_total", _MODEL, "Findings closed because the stream is back."),
    _gauge(
        "driftwarden_findings_open",
        (*_MODEL, "severity", "triage"),
        "Incidents open now that nobody has acknowledged or muted; findings that joined one are not counted.",
    ),
    _gauge(
        "driftwarden_findings_attended",
        (*_MODEL, "state"),
        "Incidents open now that somebody has acknowledged, or that are muted.",
    ),
    _gauge(
        "driftwarden_finding_opened_timestamp_seconds",
        (*_MODEL, "severity", "triage", "failure_mode", "finding"),
        "When an open incident began that calls for somebody; the newest 20 of a model.",
    ),
    _counter("driftwarden_interventions_total", (*_MODEL, "kind"), "What people did about findings, since the start."),
    _gauge("driftwarden_mutes_active", _MODEL, "Mutes that hold."),
    _gauge("driftwarden_alarm_budget_panes", _MODEL, "Panes per allowed false alarm."),
    _gauge("driftwarden_smallest_shift", _MODEL, "Shift in probability mass below which no alarm is wanted."),
    _gauge("driftwarden_reference_rows", _MODEL, "Rows of the reference."),
    _gauge("driftwarden_reference_columns", (*_MODEL, "kind"), "Monitored columns of the reference by kind."),
    _gauge("driftwarden_reference_created_timestamp_seconds", _MODEL, "When the reference was measured."),
    _counter(
        "driftwarden_selfcheck_false_alarms_total",
        _MODEL,
        "Pages raised on undrifted rows, resampled from the reference and judged beside the traffic.",
    ),
    _counter("driftwarden_selfcheck_panes_total", _MODEL, "Undrifted panes that the agent judged to check itself."),
    _counter(
        "driftwarden_selfcheck_injected_shifts_total",
        _MODEL,
        "Shifts of twice the smallest one that matters, injected into resampled rows.",
    ),
    _counter("driftwarden_selfcheck_found_shifts_total", _MODEL, "Injected shifts that would have paged in time."),
    _gauge("driftwarden_selfcheck_delay_panes", _MODEL, "Median panes from an injected shift to its page."),
    _counter("driftwarden_rebaselines_total", _MODEL, "References replaced by an explicit, recorded re-baseline."),
    # What people do to a model: rows one by one, queries and their senders, labels.
    _counter(
        "driftwarden_security_rows_total",
        (*_MODEL, "fate"),
        "Rows looked at one by one, and rows passed over because there were more than security.rows_per_second.",
    ),
    _gauge(
        "driftwarden_heuristic_active",
        (*_MODEL, "heuristic"),
        "1 where the log carries what the heuristic needs, 0 where it is switched off for want of it.",
    ),
    _counter("driftwarden_row_flags_total", (*_MODEL, "heuristic"), "Rows that a heuristic found odd."),
    _counter("driftwarden_exact_repeats_total", _MODEL, "Queries that came before, digest for digest."),
    _gauge("driftwarden_clients_tracked", _MODEL, "Senders that counters are kept for."),
    _counter("driftwarden_clients_evicted_total", _MODEL, "Senders forgotten to make room for others."),
    _gauge("driftwarden_query_clusters", _MODEL, "Clusters of near-duplicate queries among those remembered."),
    _counter(
        "driftwarden_suspicions_total",
        (*_MODEL, "heuristic", "verdict"),
        "Suspicions beyond their threshold by what arbitration made of them; benign ones open no finding.",
    ),
    _gauge(
        "driftwarden_suspect_log_e",
        (*_MODEL, "suspect", "heuristic"),
        "Natural logarithm of the evidence against the most suspect senders, under their pseudonyms.",
    ),
    _counter("driftwarden_security_seconds_total", _MODEL, "Seconds spent on rows one by one, senders and labels."),
    _counter("driftwarden_probe_rows_total", _MODEL, "Rows sent to the model itself by active probes, copies too."),
    _counter(
        "driftwarden_probes_total",
        (*_MODEL, "fate"),
        "Rows put forward to active probes; those left out found no room, or nobody knows whose version answered.",
    ),
    _gauge("driftwarden_probe_breaker_open", _MODEL, "1 while active probes leave the endpoint alone."),
    # Labels and performance.
    *(Metric(*row) for row in SERIES),
    # Pages and receivers.
    _gauge("driftwarden_web_info", ("url",), "Always 1; the label is the address at which people open the pages."),
    _counter("driftwarden_notifications_total", ("receiver",), "Notifications attempted, by receiver."),
    _counter("driftwarden_notification_failures_total", ("receiver",), "Attempts that a receiver did not take."),
    _counter(
        "driftwarden_notifications_dropped_total",
        ("receiver",),
        "Notifications given up: refused for good, or too old.",
    ),
    _gauge("driftwarden_notifications_waiting", ("receiver",), "Events that a receiver has not been told of yet."),
    # Clockwork and state.
    _counter("driftwarden_checkpoints_total", (), "Attempts to write a checkpoint."),
    _counter("driftwarden_checkpoint_failures_total", (), "Checkpoints that could not be written."),
    _histogram("driftwarden_checkpoint_duration_seconds", (), "Time to write one checkpoint.", _SLOW),
    _gauge(
        "driftwarden_checkpoint_last_success_timestamp_seconds",
        (),
        "When the last checkpoint was written; 0 before the first.",
    ),
    _gauge("driftwarden_checkpoint_size_bytes", (), "Bytes of the states in the last checkpoint."),
    _counter("driftwarden_scheduler_runs_total", ("task",), "Runs of a clockwork task that came to an end."),
    _counter("driftwarden_scheduler_failures_total", ("task",), "Runs of a clockwork task that raised."),
    _counter("driftwarden_scheduler_missed_runs_total", ("task",), "Runs not started because their time had passed."),
    _counter(
        "driftwarden_scheduler_skipped_runs_total",
        ("task",),
        "Runs not started because the one before was still going.",
    ),
    _gauge("driftwarden_snapshot_timestamp_seconds", (), "When the numbers of this scrape were taken."),
    _counter(
        "driftwarden_snapshot_failures_total",
        (),
        "Snapshots that could not be written; the scrape then shows the one before.",
    ),
    # The process, by prometheus_client's collector.
    _counter("driftwarden_process_cpu_seconds_total", (), "User and system CPU time spent."),
    _gauge("driftwarden_process_resident_memory_bytes", (), "Resident memory."),
    _gauge("driftwarden_process_virtual_memory_bytes", (), "Virtual memory."),
    _gauge("driftwarden_process_open_fds", (), "Open file descriptors."),
    _gauge("driftwarden_process_max_fds", (), "Allowed file descriptors."),
    _gauge("driftwarden_process_start_time_seconds", (), "When the process started."),
)


class Histogram:
    """A histogram that threads may fill while another one freezes it."""

    def __init__(self, buckets: Sequence[float]) -> None:
        """Upper bounds, ascending, without +Inf."""
        self._bounds = tuple(buckets)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0
        self._lock = Lock()

    def observe(self, value: float) -> None:
        """Count one event."""
        slot = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[slot] += 1
            self._total += value

    def freeze(self) -> Distribution:
        """The content as it is now."""
        with self._lock:
            return Distribution(tuple(self._counts), self._total)


def table() -> Mapping[str, Metric]:
    """The table by name."""
    return {metric.name: metric for metric in METRICS}


def histogram(name: str) -> Histogram:
    """An empty histogram with the bounds of the table."""
    return Histogram(table()[name].buckets)


def zeros(known: Mapping[str, Collection[str]]) -> Snapshot:
    """A zero for every counter and histogram whose label values are known beforehand.

    ``known`` maps a label, or "metric.label" where one metric has a set of its own, to its values. A counter that is
    born at 1 is invisible to ``increase()``; therefore every series that can be foreseen is exported from the start.

    >>> zeros({})["driftwarden_checkpoints_total"]
    [((), 0.0)]
    """
    sets: dict[str, Collection[str]] = {"severity": SEVERITIES, "triage": TRIAGES, "place": PLACES}
    sets |= {"driftwarden_probes_total.fate": PROBES, **SETS}
    sets |= {"driftwarden_schema_violations_total.kind": SCHEMA_KINDS, "fate": FATES, "verdict": VERDICTS, **known}
    made: Snapshot = {}
    for metric in METRICS:
        values = [sets.get(f"{metric.name}.{label}", sets.get(label)) for label in metric.labels]
        if metric.kind == "gauge" or any(value is None for value in values):
            continue
        empty = Distribution((0,) * (len(metric.buckets) + 1), 0.0) if metric.kind == "histogram" else 0.0
        made[metric.name] = [(labels, empty) for labels in itertools.product(*(value or () for value in values))]
    return made


def complete(snapshot: Snapshot, base: Snapshot) -> Snapshot:
    """``snapshot`` plus every series of ``base`` that it lacks."""
    made = dict(snapshot)
    for name, series in base.items():
        given = made.get(name, [])
        present = {labels for labels, _ in given}
        made[name] = [*given, *((labels, value) for labels, value in series if labels not in present)]
    return made


def process_collector() -> ProcessCollector:
    """prometheus_client's collector under this agent's prefix and outside of its global registry."""
    return ProcessCollector(namespace="driftwarden", registry=None)


def process_series(collector: ProcessCollector) -> Snapshot:
    """Memory, CPU, descriptors and start time of this process; nothing where there is no /proc."""
    samples = (sample for family in collector.collect() for sample in family.samples)
    return {sample.name: [((), float(sample.value))] for sample in samples}
