"""How labels come in: their delay, what became of them and of predictions, and the index that joins the two."""

from __future__ import annotations

from grafana import panels, series
from grafana.panels import Query
from grafana.series import model

JOINS = "It stays empty where the configuration names no column with ids, or none with labels."
"""Why a panel may be empty."""


def build() -> list[panels.Panel]:
    """Its row of the dashboard of performance."""
    delays = model("label_delay_seconds_bucket")
    complete = series.largest(model("label_complete_timestamp_seconds"))
    buckets = f"sum by (le) (increase({delays}[$__rate_interval]))"
    return [
        panels.heat("Label delay", "Labels by the time from their prediction. " + JOINS, Query(buckets, "{{le}}")),
        panels.lines(
            "How long labels take",
            "Half, and nine tenths, of the labels that came had come after so long. Behind: how old predictions must "
            "be for as good as all their labels to be there.",
            [
                Query(series.quantile(0.5, delays), "half"),
                Query(series.quantile(0.9, delays), "nine tenths"),
                Query(f"clamp_min(time() - {complete}, 0)", "complete ones are behind"),
            ],
            "s",
        ),
        panels.lines(
            "Labels by fate",
            "Labels a second: joined, corrections, repeats, and those that could not be joined.",
            [Query(series.rate(model("outcome_labels_total"), "fate"), "{{fate}}")],
            width=8,
            axis="labels/s",
        ),
        panels.lines(
            "Predictions by fate",
            "Predictions a second: kept to be joined, or not, and why.",
            [Query(series.rate(model("outcome_predictions_total"), "fate"), "{{fate}}")],
            width=8,
            axis="rows/s",
        ),
        panels.lines(
            "Predictions that left",
            "Predictions a second that left the index for their age or for room, with their label or without.",
            [Query(series.rate(model("outcome_left_total"), "fate"), "{{fate}}")],
            width=8,
            axis="rows/s",
        ),
        panels.lines(
            "What waits",
            "Predictions in the index with and without label, and labels that came before their predictions.",
            [Query(series.largest(model("outcome_rows"), "state"), "{{state}}")],
            width=8,
        ),
        panels.lines(
            "Rows behind the figures",
            "Predictions that realised figures are about, those of them that have a label, and those that are counted: "
            "answers of no known class are not.",
            [Query(series.largest(model("performance_realised_rows"), "rows"), "{{rows}}")],
            width=8,
        ),
        panels.lines(
            "Size of the index",
            "Bytes of the index of labels on disk, and of memory reserved for it.",
            [
                Query(series.largest(model("outcome_index_disk_bytes")), "disk"),
                Query(series.largest(model("outcome_index_memory_bytes")), "memory"),
            ],
            "bytes",
            width=8,
        ),
    ]
