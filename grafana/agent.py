"""The agent itself: does it take what comes, judge it in time, keep it, and tell of it."""

from __future__ import annotations

from grafana import frame, panels, series, tables
from grafana.panels import Query
from grafana.sdk import models
from grafana.series import agent
from grafana.tables import Column, in_unit

_LOOK = frame.Look(
    frame.AGENT,
    "Driftwarden / Agent",
    "The agents themselves: rate, errors and duration of deliveries, queue and disk, memory and CPU, detectors, "
    "clockwork, and notifications.",
    "6h",
    "30s",
)


def build() -> models.Dashboard:
    """The whole dashboard."""
    rows = [
        ("Now", _now()),
        ("Deliveries: rate, errors, duration", _ingest()),
        ("What waits, and what it costs", _use()),
        ("Judging", _judging()),
        ("Clockwork and state", _clockwork()),
        ("Telling others", _telling()),
    ]
    return frame.dashboard(_LOOK, frame.of_agents(), [frame.restarts()], rows)


def _now() -> list[panels.Panel]:
    loaded = f"max by (instance) ({agent('config_last_reload_success_timestamp_seconds')}) * 1000"
    builds = [
        Column("Agents", f"count by (instance, version, python_version) ({agent('build_info')})"),
        Column("Configurations", f"count by (instance, fingerprint) ({agent('config_info')})"),
        Column("Loaded", loaded, in_unit("dateTimeFromNow")),
    ]
    labels = {"instance": "Instance", "version": "Version", "python_version": "Python", "fingerprint": "Configuration"}
    return [
        panels.number(
            "Ready",
            "Agents that accept and judge rows, by readiness as they tell it.",
            [Query(f"sum({agent('ready')}) or vector(0)", "ready")],
            look=panels.NONE_IS_BAD,
        ),
        panels.number(
            "Configuration",
            "1 when the last load was good, 0 when a reload was refused and the old configuration kept.",
            [Query(f"min({agent('config_last_reload_successful')})", "good")],
            look=panels.NONE_IS_BAD,
        ),
        panels.number(
            "Age of the numbers",
            "Age of the snapshot that scrapes read.",
            [Query(f"max(time() - {agent('snapshot_timestamp_seconds')})", "age")],
            "s",
            panels.Steps(panels.GREEN, ((60, panels.ORANGE), (300, panels.RED))),
        ),
        panels.number(
            "Up for",
            "Since the youngest of the processes started.",
            [Query(f"time() - max({agent('process_start_time_seconds')})", "up")],
            "s",
        ),
        tables.table("Builds", "What runs where.", labels, builds, width=8, height=4),
    ]


def _leading(counter: str, *by: str) -> str:
    """Rates of the ten label sets that count most in the time range."""
    return series.leading(10, series.rate(agent(counter), *by), series.total(agent(counter), *by), *by)


def _ingest() -> list[panels.Panel]:
    acks = agent("ingest_ack_duration_seconds_bucket")
    return [
        panels.lines(
            "Rows",
            "Rows a second: received is judged plus discarded plus what waits.",
            [
                Query(series.rate(agent("ingest_received_rows_total")), "received"),
                Query(series.rate(agent("processed_rows_total")), "judged"),
                Query(series.rate(agent("discarded_rows_total")), "discarded"),
                Query(series.rate(agent("ingest_refused_rows_total")), "refused"),
            ],
            axis="rows/s",
        ),
        panels.lines(
            "Deliveries",
            "Deliveries a second, by source.",
            [Query(series.rate(agent("ingest_received_batches_total"), "source"), "{{source}}")],
            "reqps",
        ),
        panels.lines(
            "Refused at the door",
            "Deliveries a second that were refused, by reason; their senders were told.",
            [Query(_leading("ingest_refused_requests_total", "source", "reason"), "{{source}}: {{reason}}")],
            "reqps",
            width=8,
        ),
        panels.lines(
            "Rows discarded",
            "Rows a second that were accepted and then not judged, by model and reason.",
            [
                Query(_leading("discarded_rows_total", "model", "reason"), "{{model}}: {{reason}}"),
            ],
            width=8,
            axis="rows/s",
        ),
        panels.lines(
            "Bytes",
            "Bytes a second accepted, by source.",
            [Query(series.rate(agent("ingest_received_bytes_total"), "source"), "{{source}}")],
            "Bps",
            width=8,
        ),
        panels.lines(
            "Time to acknowledge",
            "From the arrival of a delivery to its acknowledgement: what a sender waits.",
            [
                Query(series.quantile(q, acks, "source"), f"{{{{source}}}}: {name}")
                for q, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
            ],
            "s",
        ),
        panels.heat("Acknowledgements", "How many took how long.", Query(series.news(acks, "le"), "{{le}}")),
    ]


def _use() -> list[panels.Panel]:
    queue, spool = (
        f"sum({agent(f'{name}_bytes')}) / (sum({agent(f'{name}_capacity_bytes')}) > 0)" for name in ("queue", "spool")
    )
    cpu = series.rate(agent("process_cpu_seconds_total"), "instance")
    return [
        panels.lines(
            "Queue and spool",
            "How full they are; a full one makes senders wait or loses rows, by the source's policy.",
            [Query(queue, "queue"), Query(f"{spool} or vector(0)", "spool")],
            "percentunit",
            width=8,
        ),
        panels.lines(
            "Rows and deliveries that wait",
            "Accepted and not yet judged.",
            [
                Query(f"sum by (place) ({agent('buffered_rows')})", "rows in {{place}}"),
                Query(f"sum({agent('queue_batches')})", "deliveries"),
            ],
            width=8,
        ),
        panels.lines("CPU", "Cores used, by instance.", [Query(cpu, "{{instance}}")], width=8, axis="cores"),
        panels.lines(
            "Memory",
            "Resident memory, by instance.",
            [Query(f"max by (instance) ({agent('process_resident_memory_bytes')})", "{{instance}}")],
            "bytes",
            width=8,
        ),
        panels.lines(
            "Bytes of queue, spool and checkpoint",
            "On disk and in memory.",
            [
                Query(f"sum({agent('queue_bytes')})", "queue"),
                Query(f"sum({agent('spool_bytes')})", "spool"),
                Query(f"sum({agent('checkpoint_size_bytes')})", "checkpoint"),
            ],
            "bytes",
            width=8,
        ),
        panels.lines(
            "File descriptors",
            "Open ones, by instance, against what is allowed.",
            [
                Query(f"max by (instance) ({agent('process_open_fds')})", "{{instance}}: open"),
                Query(f"min({agent('process_max_fds')})", "allowed"),
            ],
            width=8,
        ),
    ]


def _judging() -> list[panels.Panel]:
    panes = agent("evaluation_duration_seconds_bucket")
    detectors = agent("detector_duration_seconds_bucket")
    seconds, failed = agent("detector_duration_seconds_sum"), agent("detector_failures_total")
    weight = series.total(seconds, "detector")
    slowest = series.leading(10, series.quantile(0.99, detectors, "detector"), weight, "detector")
    spent = series.leading(10, series.rate(seconds, "detector"), weight, "detector")
    by = ("model", "detector")
    failures = series.leading(10, series.news(failed, *by), series.total(failed, *by), *by)
    return [
        panels.lines(
            "Time to judge a pane",
            "With all detectors, by model.",
            [
                Query(series.quantile(q, panes, "model"), f"{{{{model}}}}: {name}")
                for q, name in ((0.5, "median"), (0.99, "99 %"))
            ],
            "s",
        ),
        panels.heat("Panes", "How many took how long to judge.", Query(series.news(panes, "le"), "{{le}}")),
        panels.lines(
            "Slowest panes of detectors",
            "How long one pane in a hundred takes, of the ten detectors that take most time.",
            [Query(slowest, "{{detector}}")],
            "s",
            width=8,
        ),
        panels.lines(
            "Where the time goes",
            "Seconds a second that detectors take; the ten that take most.",
            [Query(spent, "{{detector}}")],
            "s",
            width=8,
        ),
        panels.counts(
            "Detectors that failed",
            "Evaluations in which a detector failed and kept its old state; the others went on.",
            [Query(failures, "{{model}}: {{detector}}")],
            width=8,
        ),
    ]


def _clockwork() -> list[panels.Panel]:
    runs, missed, skipped, failed = (
        series.news(agent(f"scheduler_{name}_total"), "task")
        for name in ("runs", "missed_runs", "skipped_runs", "failures")
    )
    took = agent("checkpoint_duration_seconds_bucket")
    last = f"time() - max by (instance) ({agent('checkpoint_last_success_timestamp_seconds')} > 0)"
    return [
        panels.lines("Runs", "Runs of each task of the clockwork.", [Query(runs, "{{task}}")], width=8),
        panels.counts(
            "Runs that did not go well",
            "Missed: its time had passed. Skipped: the one before was still going. Failed: it raised.",
            [
                Query(missed, "{{task}}: missed"),
                Query(skipped, "{{task}}: skipped"),
                Query(failed, "{{task}}: failed"),
            ],
            width=8,
        ),
        panels.counts(
            "Reloads and snapshots",
            "Reloads of the configuration, those refused, and snapshots of the metrics that could not be written.",
            [
                Query(series.news(agent("config_reloads_total")), "reloads"),
                Query(series.news(agent("config_reload_failures_total")), "reloads refused"),
                Query(series.news(agent("snapshot_failures_total")), "snapshots failed"),
            ],
            width=8,
        ),
        panels.lines(
            "Time to write a checkpoint",
            "What a crash costs is judged again from the last checkpoint.",
            [Query(series.quantile(0.5, took), "median"), Query(series.quantile(0.99, took), "99 %")],
            "s",
            width=8,
        ),
        panels.lines(
            "Since last checkpoint",
            "Time since the last good one, by instance.",
            [Query(last, "{{instance}}")],
            "s",
            width=8,
        ),
        panels.counts(
            "Checkpoints and spool",
            "Checkpoints that could not be written, and damaged records of the spool passed over at start.",
            [
                Query(series.news(agent("checkpoints_total")), "checkpoints tried"),
                Query(series.news(agent("checkpoint_failures_total")), "checkpoints failed"),
                Query(series.news(agent("spool_corrupt_records_total")), "damaged records"),
            ],
            width=8,
        ),
    ]


def _telling() -> list[panels.Panel]:
    tried, failed = agent("notifications_total"), agent("notification_failures_total")
    taken = f"{series.news(tried, 'receiver')} - {series.news(failed, 'receiver')}"
    waiting = f"sum by (receiver) ({agent('notifications_waiting')})"
    return [
        panels.counts(
            "Notifications",
            "Taken by the receiver, failed and to be tried again, or given up. Empty without receivers under notify.",
            [
                Query(taken, "{{receiver}}: taken"),
                Query(series.news(failed, "receiver"), "{{receiver}}: failed"),
                Query(series.news(agent("notifications_dropped_total"), "receiver"), "{{receiver}}: given up"),
            ],
        ),
        panels.lines(
            "Notifications that wait", "Events that a receiver has not had yet.", [Query(waiting, "{{receiver}}")]
        ),
    ]
