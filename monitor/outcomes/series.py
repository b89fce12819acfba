"""The metrics of the outcome side: rows of the table in `monitor.metrics`, and their closed sets of labels."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from monitor.outcomes.joined import LABELS, LEFT, PREDICTIONS


class Row(NamedTuple):
    """A metric, as in `monitor.metrics.Metric`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


DELAYS: Final = (60.0, 600.0, 3600.0, 21_600.0, *(days * 86_400.0 for days in (1, 2, 7, 14, 30, 60, 90, 180, 365)))
"""Bounds of the label delays that are exported, all of them among those that are counted."""
STATES: Final = ("labelled", "unlabelled", "early")
"""Of what is in the index: predictions with and without label, labels without prediction."""
DOUBTS: Final = (
    "outside_support",
    "few_alike",
    "no_inputs",
    "undecided",
    "no_confidence",
    "disagreement",
    "unscored",
    "past_errors",
)
"""Those of `detectors.performance.answer`, which costs half a second to import."""
ROWS: Final = ("predicted", "labelled", "counted")
VERDICTS: Final = ("harmful", "virtual", "unknown")
"""Those of `detectors.performance.decompose`, for the same reason."""
_MODEL: Final = ("model",)
_METRIC: Final = ("model", "stream", "metric")
_PART: Final = ("model", "by", "part")
_SEGMENT: Final = ("model", "segment")
_SEGMENT_METRIC: Final = ("model", "segment", "metric")
_MEASURE: Final = ("model", "segment", "measure")


def _ends(name: str, labels: tuple[str, ...], what: str) -> tuple[Row, ...]:
    """A figure, and the two ends of its interval."""
    low, high = "Lower end of its 95 % interval.", "Upper end of its 95 % interval."
    return tuple(
        Row(f"{name}{end}", "gauge", labels, text) for end, text in (("", what), ("_low", low), ("_high", high))
    )


_SLICE: Final = ("model", "slice", "columns")

SERIES: Final[tuple[Row, ...]] = (
    Row(
        "driftwarden_outcome_predictions_total",
        "counter",
        (*_MODEL, "fate"),
        "Predictions with an id, by what became of them in the index that joins late labels.",
    ),
    Row(
        "driftwarden_outcome_labels_total",
        "counter",
        (*_MODEL, "fate"),
        "Labels by what became of them; those that wait for their prediction are not counted yet.",
    ),
    Row(
        "driftwarden_outcome_left_total",
        "counter",
        (*_MODEL, "fate"),
        "Predictions that left the index for their age or for room, by whether their label had come.",
    ),
    Row(
        "driftwarden_outcome_rows",
        "gauge",
        (*_MODEL, "state"),
        "Predictions in the index with and without label, and labels that came before their predictions.",
    ),
    Row("driftwarden_outcome_index_disk_bytes", "gauge", _MODEL, "Bytes of the index on disk."),
    Row("driftwarden_outcome_index_memory_bytes", "gauge", _MODEL, "Bytes of memory reserved for the index."),
    Row(
        "driftwarden_outcome_failures_total",
        "counter",
        _MODEL,
        "Batches whose predictions or labels could not be joined; they are judged all the same.",
    ),
    Row(
        "driftwarden_label_delay_seconds",
        "histogram",
        _MODEL,
        "Time from a prediction to its first label.",
        DELAYS,
    ),
    Row(
        "driftwarden_label_ever_ratio",
        "gauge",
        _MODEL,
        "Share of predictions that get a label within the time for which they are kept, estimated from delays so far.",
    ),
    Row(
        "driftwarden_label_complete_timestamp_seconds",
        "gauge",
        _MODEL,
        "End of the newest stretch of predictions of which as good as all labels have come.",
    ),
    Row(
        "driftwarden_error_evidence_log_e",
        "gauge",
        ("model", "stream"),
        "Natural logarithm of the evidence that answers are wrong more often than in the reference.",
    ),
    Row(
        "driftwarden_error_threshold_log_e",
        "gauge",
        _MODEL,
        "Natural logarithm of the evidence at which errors page, within the model's budget.",
    ),
    Row(
        "driftwarden_error_ratio",
        "gauge",
        ("model", "stream"),
        "Share of the newest judged panes' labelled answers that are wrong, or of a regression beyond the usual error.",
    ),
    Row("driftwarden_error_reference_ratio", "gauge", _MODEL, "The same share in the reference."),
    Row(
        "driftwarden_error_alarm_active",
        "gauge",
        ("model", "stream"),
        "1 while a rise of errors is open.",
    ),
    Row(
        "driftwarden_error_panes_total",
        "counter",
        _MODEL,
        "Panes of predictions that were judged by their labels.",
    ),
    Row(
        "driftwarden_error_waiting_panes",
        "gauge",
        _MODEL,
        "Panes of predictions that wait until as good as all of their labels are there.",
    ),
    Row(
        "driftwarden_error_late_labels_total",
        "counter",
        _MODEL,
        "Labels, corrections among them, of predictions whose pane had been judged before.",
    ),
    Row(
        "driftwarden_performance_estimate",
        "gauge",
        _METRIC,
        "Performance of the window as estimated without labels, by metric; no labels, no certainty: see the doubts.",
    ),
    Row(
        "driftwarden_performance_estimate_low",
        "gauge",
        _METRIC,
        "Lower end of the estimate's 95 % interval, which is to hold the figure that labels will give.",
    ),
    Row("driftwarden_performance_estimate_high", "gauge", _METRIC, "Upper end of the estimate's 95 % interval."),
    Row(
        "driftwarden_performance_realised",
        "gauge",
        ("model", "metric"),
        "Performance by labels of the newest day, or thousand labels, of predictions whose labels are as good as all "
        "there, or too old to get more.",
    ),
    Row("driftwarden_performance_realised_low", "gauge", ("model", "metric"), "Lower end of its 95 % interval."),
    Row("driftwarden_performance_realised_high", "gauge", ("model", "metric"), "Upper end of its 95 % interval."),
    Row(
        "driftwarden_performance_realised_timestamp_seconds",
        "gauge",
        _MODEL,
        "End of the stretch of predictions whose realised performance is told.",
    ),
    Row(
        "driftwarden_performance_realised_rows",
        "gauge",
        (*_MODEL, "rows"),
        "Predictions of that stretch, those that have a label, and those that are counted: others say no known class.",
    ),
    Row(
        "driftwarden_performance_reference",
        "gauge",
        ("model", "metric"),
        "The same figure on the labelled rows of the reference.",
    ),
    Row(
        "driftwarden_performance_doubt",
        "gauge",
        ("model", "stream", "doubt"),
        "1 where something speaks against the estimate, so that only labels can tell.",
    ),
    Row(
        "driftwarden_performance_estimated_timestamp_seconds",
        "gauge",
        ("model", "stream"),
        "End of the window that was estimated last.",
    ),
    Row(
        "driftwarden_performance_estimate_failures_total",
        "counter",
        _MODEL,
        "Windows whose estimate failed, and batches whose answers could not be counted for one.",
    ),
    Row(
        "driftwarden_performance_below_expectation",
        "gauge",
        ("model", "metric"),
        "1 while realised performance, or a version's estimate without a doubt, is worse than the reference's figure "
        "by more than labels.smallest_loss and its own error.",
    ),
    Row(
        "driftwarden_performance_part",
        "gauge",
        _PART,
        "Change of the accuracy, or of the mean absolute error, from the reference: in all, and what of it comes of "
        "other inputs (mix), other shares of the classes (prior), other labels for the same inputs (rate).",
    ),
    Row("driftwarden_performance_part_low", "gauge", _PART, "Lower end of its 95 % interval."),
    Row("driftwarden_performance_part_high", "gauge", _PART, "Upper end of its 95 % interval."),
    Row(
        "driftwarden_performance_drift",
        "gauge",
        ("model", "by", "verdict"),
        "1 for what the change is: harmful, virtual (as good as before, whatever has moved), or unknown.",
    ),
    *_ends(
        "driftwarden_performance_version",
        ("model", "stream", "metric"),
        "Performance by labels of one version, of the same predictions.",
    ),
    *_ends(
        "driftwarden_performance_segment",
        _SEGMENT_METRIC,
        "Performance by labels of one segment, of the same predictions; those that the reference shows most.",
    ),
    Row(
        "driftwarden_performance_segment_reference",
        "gauge",
        _SEGMENT_METRIC,
        "The same figure on the segment's labelled rows of the reference.",
    ),
    *_ends(
        "driftwarden_calibration_gap",
        _MEASURE,
        "Calibration by labels: mean size of the curve's gaps (error), mean of probability less truth (bias), of "
        "confidence less right answers (overconfidence); all rows where no segment is named.",
    ),
    *_ends("driftwarden_calibration_change", _MEASURE, "The same less that of the reference's rows."),
    Row(
        "driftwarden_calibration_change_log_p",
        "gauge",
        _SEGMENT,
        "Natural logarithm of the p-value of the test that calibration is what it was on the reference.",
    ),
    *_ends(
        "driftwarden_coverage_ratio",
        _SEGMENT,
        "Share of truths by labels that lie in the interval, or in the set of classes, that came with the answer; all "
        "rows where no segment is named.",
    ),
    Row(
        "driftwarden_coverage_missed_ratio",
        "gauge",
        ("model", "segment", "side"),
        "Share of truths below and above their interval.",
    ),
    Row("driftwarden_coverage_size", "gauge", _SEGMENT, "Mean width of intervals, or number of classes in sets."),
    Row(
        "driftwarden_coverage_nominal_log_p",
        "gauge",
        _SEGMENT,
        "Natural logarithm of the p-value of the test that coverage is labels.coverage.",
    ),
    Row("driftwarden_coverage_change", "gauge", _SEGMENT, "Coverage less that of the reference's rows."),
    Row(
        "driftwarden_coverage_change_log_p",
        "gauge",
        _SEGMENT,
        "Natural logarithm of the p-value of the test that coverage is what it was on the reference.",
    ),
    Row(
        "driftwarden_slice_loss",
        "gauge",
        _SLICE,
        "Share of wrong answers, or mean absolute error, in a group of rows on which the model fails more than "
        "elsewhere, or more than it did; by labels of rows that have not found the group.",
    ),
    Row("driftwarden_slice_loss_low", "gauge", _SLICE, "Lower end of its 95 % interval."),
    Row("driftwarden_slice_loss_high", "gauge", _SLICE, "Upper end of its 95 % interval."),
    Row("driftwarden_slice_reference_loss", "gauge", _SLICE, "The same on the labelled rows of the reference."),
    Row("driftwarden_slice_rows_ratio", "gauge", _SLICE, "Share of all labelled rows that are in the group."),
    Row(
        "driftwarden_slice_confirmed",
        "gauge",
        _SLICE,
        "1 for a group that has held on rows that came after it was found.",
    ),
    Row("driftwarden_slice_worse", "gauge", _SLICE, "1 while the loss in the group is above the reference's (95 %)."),
    Row(
        "driftwarden_direction_hard_ratio",
        "gauge",
        ("model", "class"),
        "Share of the newest day's predictions on the far side of the direction of an embedding along which the model "
        "fails on a class: a tenth in the reference.",
    ),
    Row("driftwarden_direction_hard_ratio_low", "gauge", ("model", "class"), "Lower end of its 95 % interval."),
    Row("driftwarden_direction_hard_ratio_high", "gauge", ("model", "class"), "Upper end of its 95 % interval."),
    Row(
        "driftwarden_slice_searched_timestamp_seconds",
        "gauge",
        _MODEL,
        "End of the predictions that were searched last for groups on which the model fails.",
    ),
    Row(
        "driftwarden_slice_sample_rows",
        "gauge",
        (*_MODEL, "state"),
        "Predictions with and without label in the sample that is searched.",
    ),
    Row("driftwarden_slice_sample_bytes", "gauge", _MODEL, "Memory of that sample."),
    Row(
        "driftwarden_slice_failures_total",
        "counter",
        _MODEL,
        "Searches that failed, and batches that could not be put into the sample.",
    ),
    Row(
        "driftwarden_performance_past_stretches",
        "gauge",
        ("model", "metric"),
        "Stretches of time that were estimated and whose labels have come since, the newest ones.",
    ),
    Row(
        "driftwarden_performance_past_bias",
        "gauge",
        ("model", "metric"),
        "Mean of what estimates were off by in these: estimate less realised.",
    ),
    Row("driftwarden_performance_past_error", "gauge", ("model", "metric"), "Mean size of what they were off by."),
    Row(
        "driftwarden_performance_past_excess",
        "gauge",
        ("model", "metric"),
        "What they were off by beyond what their errors explain, as a standard deviation; estimates to come take it on "
        "once it is sure.",
    ),
    Row(
        "driftwarden_performance_past_within_ratio",
        "gauge",
        ("model", "metric"),
        "Share of these whose realised figure lay within the estimate's 95 % interval.",
    ),
)
"""Series of what is joined, of what is estimated, and of groups on which a model fails."""
SETS: Final[dict[str, tuple[str, ...]]] = {
    "driftwarden_outcome_predictions_total.fate": PREDICTIONS,
    "driftwarden_outcome_labels_total.fate": LABELS,
    "driftwarden_outcome_left_total.fate": LEFT,
    "doubt": DOUBTS,
}
"""Values of labels that are known beforehand, as `monitor.metrics.zeros` wants them."""
