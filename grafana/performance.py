"""One model: whether it still decides well, by labels and before they come, and how far that is to be believed."""

from __future__ import annotations

from grafana import frame, joining, panels, parts, series, tables
from grafana.panels import Property, Query
from grafana.sdk import models
from grafana.series import figure, figures, model, stream
from grafana.tables import Column, as_words, in_unit

_LOOK = frame.Look(
    frame.PERFORMANCE,
    "Driftwarden / Performance",
    "One model: performance by labels and as estimated before they come, what speaks against the estimate, and how the "
    "labels come in. It needs a reference with labels; ids join the labels that come late.",
    "7d",
    "1m",
)
_KEEPS = "It stays empty without labels in the reference."
_LINE = "alarm"
_STATES = panels.words(("no", "yes"), (panels.GREEN, panels.RED))


def build() -> models.Dashboard:
    """The whole dashboard."""
    rows = [
        ("Is the model still right?", _now()),
        ("Estimate and truth", _figures()),
        ("Why it changed", _changes()),
        ("Do errors rise?", _errors()),
        ("Can the estimate be believed?", _doubts()),
        ("Versions and segments", parts.of_parts()),
        ("Calibration and coverage", parts.of_doubt()),
        ("Where it fails", _groups()),
        ("Labels", joining.build()),
    ]
    return frame.dashboard(_LOOK, frame.of_metrics(), frame.marks(model), rows)


def _now() -> list[panels.Panel]:
    below = f"sum({series.largest(model('performance_below_expectation'), 'metric')})"
    doubts = f"sum({series.largest(stream('performance_doubt'), 'doubt')})"
    known = series.largest(model("performance_realised_timestamp_seconds"))
    return [
        panels.number(
            "Metrics below expectation",
            "Metrics that are worse than the reference's by more than labels.smallest_loss and their own error.",
            [Query(below, "metrics")],
            look=panels.ANY_IS_BAD,
        ),
        panels.number(
            "By labels",
            "The chosen metric of the newest day whose labels are as good as all there, its 95 % interval, and the "
            "reference's own figure.",
            [
                Query(series.largest(figures("performance_realised_low")), "at least"),
                Query(series.largest(figures("performance_realised")), "realised"),
                Query(series.largest(figures("performance_realised_high")), "at most"),
                Query(series.largest(figures("performance_reference")), "reference"),
            ],
            width=8,
        ).decimals(3),
        panels.number(
            "Labels tell until",
            "How long ago the newest predictions were made whose performance labels have confirmed. What came after "
            "is estimated.",
            [Query(f"clamp_min(time() - {known}, 0)", "ago")],
            "s",
        ),
        panels.number(
            "Doubts",
            "What speaks against the newest estimates; with any, only labels can tell.",
            [Query(doubts, "doubts")],
            look=panels.ANY_IS_WORK,
        ),
        panels.dial(
            "Labels that ever come",
            "Share of the predictions that get a label within the time for which they are kept.",
            Query(series.largest(model("label_ever_ratio")), "labelled"),
            "percentunit",
            panels.Steps(panels.RED, ((0.01, panels.ORANGE), (0.1, panels.GREEN))),
        ),
    ]


def _figures() -> list[panels.Panel]:
    return [_over_time(), _by_labels(), _estimates()]


def _over_time() -> panels.Panel:
    queries = [
        Query(series.largest(figure("performance_estimate"), "stream"), "{{stream}}: estimate"),
        Query(series.largest(figure("performance_estimate_low"), "stream"), "{{stream}}: estimate at least"),
        Query(series.largest(figure("performance_estimate_high"), "stream"), "{{stream}}: estimate at most"),
        Query(series.largest(figures("performance_realised_low")), "realised at least"),
        Query(series.largest(figures("performance_realised_high")), "realised at most"),
        Query(series.largest(figures("performance_realised")), "realised"),
        Query(series.largest(figures("performance_reference")), "reference"),
    ]
    text = (
        "The chosen metric: estimated of each version's newest window, and realised of the newest day whose labels "
        "have come; each with its 95 % interval. Lines are drawn when a figure became known. The realised one is of "
        "predictions made earlier: the model's page in the agent draws both at the time of the predictions."
    )
    made = panels.limit(panels.lines("Estimate and truth over time", text, queries, width=24, height=10), "reference")
    faint = [panels.fixed(panels.GREEN), Property(id_val="custom.lineWidth", value=0)]
    band = Property(id_val="custom.fillBelowTo", value="realised at least")
    made = made.override_by_name("realised at least", [*faint, Property(id_val="custom.fillOpacity", value=0)])
    made = made.override_by_name("realised at most", [*faint, band, Property(id_val="custom.fillOpacity", value=20)])
    thick = Property(id_val="custom.lineWidth", value=2)
    return made.override_by_name("realised", [panels.fixed(panels.GREEN), thick])


def _by_labels() -> panels.Panel:
    columns = [
        Column(heading, series.largest(model(f"performance_{name}"), "metric"), in_unit("short", 4))
        for heading, name in (
            ("Reference", "reference"),
            ("Realised", "realised"),
            ("At least", "realised_low"),
            ("At most", "realised_high"),
        )
    ]
    below = series.largest(model("performance_below_expectation"), "metric")
    return tables.table(
        "All metrics by labels",
        "Figures of the newest day whose labels are as good as all there. " + _KEEPS,
        {"metric": "Metric"},
        [*columns, Column("Below expectation", below, as_words(_STATES))],
        sort="Below expectation",
        width=12,
        height=10,
    )


def _estimates() -> panels.Panel:
    columns = [
        Column(heading, series.largest(stream(f"performance_{name}"), "metric", "stream"), in_unit("short", 4))
        for heading, name in (
            ("Estimate", "estimate"),
            ("At least", "estimate_low"),
            ("At most", "estimate_high"),
        )
    ]
    return tables.table(
        "All metrics as estimated",
        "Of the newest window of each version, without its labels. The interval is to hold what labels will say in 95 "
        "of 100 windows, unless something speaks against it. " + _KEEPS,
        {"metric": "Metric", "stream": "Stream"},
        columns,
        width=12,
        height=10,
    )


def _changes() -> list[panels.Panel]:
    columns = [
        Column(heading, series.largest(model(f"performance_{name}"), "part", "by"), in_unit("short", 4))
        for heading, name in (
            ("Change", "part"),
            ("At least", "part_low"),
            ("At most", "part_high"),
        )
    ]
    return [
        tables.table(
            "Parts of the change",
            "Change of the accuracy, or of a regression's mean absolute error, from the reference. Mix: other inputs "
            "come. Prior: classes are more or less frequent. Rate: labels follow from inputs otherwise, which only "
            "labels tell. " + _KEEPS,
            {"part": "Part", "by": "Known by"},
            columns,
            width=12,
            height=8,
        ),
        panels.timeline(
            "Harmful or virtual drift",
            "Virtual: the performance is as good as before, whatever has moved. What an estimate says supposes that "
            "labels follow from inputs as they did.",
            Query(series.largest(model("performance_drift"), "by", "verdict"), "by {{by}}: {{verdict}}"),
            panels.words(("no", "yes"), (panels.GREEN, panels.ORANGE)),
            width=12,
        ),
    ]


def _errors() -> list[panels.Panel]:
    evidence = series.largest(f"clamp_min({stream('error_evidence_log_e')}, 0)", "stream")
    return [
        panels.limit(
            panels.lines(
                "Evidence of more errors",
                "Natural logarithm of the evidence that answers are wrong more often than in the reference, by more "
                "than labels.smallest_loss: of all answers, and by version where there are several. At the red line a "
                "page opens. It follows predictions in their order, once as good as all of their labels are there.",
                [Query(evidence, "{{stream}}"), Query(series.largest(model("error_threshold_log_e")), _LINE)],
            ),
            _LINE,
        ),
        panels.limit(
            panels.lines(
                "Errors by labels",
                "Share of the newest judged answers that are wrong; of a regression, that err by more than half of the "
                "reference's do.",
                [
                    Query(series.largest(stream("error_ratio"), "stream"), "{{stream}}"),
                    Query(series.largest(model("error_reference_ratio")), "reference"),
                ],
                "percentunit",
            ),
            "reference",
        ),
        panels.timeline(
            "Errors have risen",
            "While a rise of errors is open.",
            Query(series.largest(stream("error_alarm_active"), "stream"), "{{stream}}"),
            _STATES,
            width=12,
        ),
        panels.counts(
            "Judged by labels",
            "Panes of predictions judged, those that wait for labels, and labels that came when theirs was judged.",
            [
                Query(series.news(model("error_panes_total")), "judged"),
                Query(series.largest(model("error_waiting_panes")), "waiting"),
                Query(series.news(model("error_late_labels_total")), "labels too late"),
            ],
        ),
    ]


def _doubts() -> list[panels.Panel]:
    made = series.largest(stream("performance_estimated_timestamp_seconds"), "stream")
    return [
        panels.timeline(
            "What speaks against the estimate",
            "While something does, the estimate raises no alarm and only labels can tell. No doubt is no proof: if "
            "outcomes have come to follow from inputs in another way, no estimate without labels shows it.",
            Query(series.largest(stream("performance_doubt"), "doubt"), "{{doubt}}"),
            panels.words(("nothing", "in doubt"), (panels.GREEN, panels.ORANGE)),
            width=12,
        ),
        panels.timeline(
            "Below expectation",
            "While a metric is worse than the reference's by more than labels.smallest_loss and its own error.",
            Query(series.largest(model("performance_below_expectation"), "metric"), "{{metric}}"),
            _STATES,
            width=12,
        ),
        panels.lines(
            "Age of the estimates",
            "Time since the end of the window that was estimated last, by version.",
            [Query(f"time() - {made}", "{{stream}}")],
            "s",
        ),
        panels.counts(
            "Failures",
            "Windows whose estimate failed, batches whose predictions or labels could not be joined, and searches "
            "that failed. The log says why.",
            [
                Query(series.news(model("performance_estimate_failures_total")), "estimates"),
                Query(series.news(model("outcome_failures_total")), "batches not joined"),
                Query(series.news(model("slice_failures_total")), "searches"),
            ],
        ),
        _past(),
    ]


def _groups() -> list[panels.Panel]:
    found = {
        heading: series.largest(model(f"slice_{name}"), "slice", "columns")
        for heading, name in (
            ("Loss", "loss"),
            ("At least", "loss_low"),
            ("At most", "loss_high"),
            ("In the reference", "reference_loss"),
            ("Share of rows", "rows_ratio"),
            ("Confirmed", "confirmed"),
            ("Worse", "worse"),
        )
    }
    units = {"Share of rows": in_unit("percentunit", 1), "Worse": as_words(_STATES)}
    units["Confirmed"] = as_words(panels.words(("not yet", "yes"), (panels.BLUE, panels.ORANGE)))
    columns = [Column(heading, expr, units.get(heading, in_unit("short", 3))) for heading, expr in found.items()]
    return [
        tables.table(
            "Groups of rows on which the model fails more",
            "Share of wrong answers, or mean absolute error, by labels of rows that have not found the group. The "
            "model's page in the agent says which values make a group. " + joining.JOINS,
            {"slice": "Group", "columns": "Columns"},
            columns,
            sort="Loss",
        ),
        panels.lines(
            "Loss in these groups",
            "The same over time, one line for each group.",
            [Query(found["Loss"], "{{slice}}: {{columns}}")],
            width=8,
        ),
        panels.lines(
            "Rows in the sample that is searched",
            "Predictions with and without label in the sample. " + joining.JOINS,
            [Query(series.largest(model("slice_sample_rows"), "state"), "{{state}}")],
            width=8,
        ),
        panels.number(
            "Searched until",
            "How long ago the newest predictions were made that have been searched.",
            [Query(f"clamp_min(time() - {series.largest(model('slice_searched_timestamp_seconds'))}, 0)", "ago")],
            "s",
        ),
        panels.number(
            "Memory of the sample",
            "Bytes of the rows that are kept for searches.",
            [Query(series.largest(model("slice_sample_bytes")), "memory")],
            "bytes",
        ),
        panels.lines(
            "Traffic where the model fails on a class",
            "Share of the newest day's predictions on the far side of the direction of an embedding along which the "
            "model fails on a class; a tenth in the reference. It stays empty without columns.embeddings.",
            [Query(series.largest(model("direction_hard_ratio"), "class"), "{{class}}")],
            "percentunit",
        ),
        panels.lines(
            "How sure that is",
            "Lower end of the 95 % interval: above a tenth there is more such traffic than there was.",
            [
                Query(series.largest(model("direction_hard_ratio_low"), "class"), "{{class}}: at least"),
                Query(series.largest(model("direction_hard_ratio_high"), "class"), "{{class}}: at most"),
            ],
            "percentunit",
        ),
    ]


def _past() -> panels.Panel:
    columns = [
        Column(heading, series.largest(model(f"performance_past_{name}"), "metric"), in_unit(unit, decimals))
        for heading, name, unit, decimals in (
            ("Stretches", "stretches", "short", 0),
            ("Too high by", "bias", "short", 4),
            ("Off by", "error", "short", 4),
            ("Unexplained", "excess", "short", 4),
            ("Within", "within_ratio", "percentunit", 0),
        )
    ]
    return tables.table(
        "What estimates were worth",
        "Estimates beside what labels said later, of stretches of time. Too high by: mean of estimate less truth. Off "
        "by: mean of its size. Unexplained: what their errors do not account for; estimates to come take it on once it "
        "is sure. Within: truths inside of the 95 % interval. Empty until labels of an estimated stretch have come.",
        {"metric": "Metric"},
        columns,
        sort="Unexplained",
        height=7,
    )
