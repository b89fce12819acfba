"""Rows of the performance dashboard about parts of the traffic, and about what answers say of themselves."""

from __future__ import annotations

from grafana import panels, series, tables
from grafana.panels import Query
from grafana.series import Selector, figure, figures, model
from grafana.tables import Column, in_unit

_FINE = in_unit("short", 4)
_WHERE = "Where no segment is named, of all rows. "
_CALIBRATED = "It stays empty where no probabilities of classes are logged."
_COVERED = (
    "It stays empty where the configuration names no ends of intervals (columns.lower, upper) and no columns.set."
)


def of_parts() -> list[panels.Panel]:
    """Versions and segments by labels."""
    return [
        tables.table(
            "Versions by labels",
            "The chosen metric of each version: the newest day of predictions whose labels are as good as all there.",
            {"stream": "Version", "metric": "Metric"},
            _ends(figure, "performance_version", "stream", "metric"),
            width=12,
        ),
        tables.table(
            "Segments by labels",
            "The chosen metric of each segment, of the same predictions, and of the segment's rows of the reference.",
            {"segment": "Segment", "metric": "Metric"},
            [
                Column("Reference", _at(figures, "performance_segment_reference", "segment", "metric"), _FINE),
                *_ends(figures, "performance_segment", "segment", "metric"),
            ],
            width=12,
        ),
    ]


def of_doubt() -> list[panels.Panel]:
    """Calibration and coverage."""
    return [_calibration(), _changed(), _coverage(), _sides()]


def _calibration() -> panels.Panel:
    return tables.table(
        "Calibration",
        "By labels: mean size of the gaps between what is said and what comes (error), probability less truth (bias), "
        "confidence less right answers (overconfidence), each with its 95 % interval, and its change since the "
        f"reference. {_WHERE}{_CALIBRATED}",
        {"segment": "Segment", "measure": "Measure"},
        [
            *_ends(model, "calibration_gap", "segment", "measure"),
            *_ends(model, "calibration_change", "segment", "measure", names=("Change", "From", "To")),
        ],
        width=16,
    )


def _changed() -> panels.Panel:
    tests = (
        ("calibration_change_log_p", "calibration"),
        ("coverage_change_log_p", "coverage"),
        ("coverage_nominal_log_p", "coverage against labels.coverage:"),
    )
    return panels.lines(
        "Evidence of a change",
        "Minus the decimal logarithm of the p-value that nothing has changed since the reference: 3 is one in a "
        "thousand. No alarm depends on it.",
        [Query(series.strength(model(name), "segment"), f"{what} {{{{segment}}}}") for name, what in tests],
        width=8,
    )


def _coverage() -> panels.Panel:
    return tables.table(
        "Coverage",
        "Share of truths that lie in the interval, or in the set of classes, that came with the answer, with its 95 % "
        "interval; its change since the reference; mean width of intervals, or number of classes in sets. "
        f"{_WHERE}{_COVERED}",
        {"segment": "Segment"},
        [
            *_ends(model, "coverage_ratio", "segment"),
            Column("Change", _at(model, "coverage_change", "segment"), _FINE),
            Column("Size", _at(model, "coverage_size", "segment"), _FINE),
        ],
        width=16,
    )


def _sides() -> panels.Panel:
    missed = Query(_at(model, "coverage_missed_ratio", "segment", "side"), "{{side}} {{segment}}")
    text = f"Share of truths below and above their interval. {_WHERE}{_COVERED}"
    return panels.lines("Coverage: what is missed", text, [missed], "percentunit", width=8)


def _ends(
    select: Selector, metric: str, *by: str, names: tuple[str, str, str] = ("Realised", "At least", "At most")
) -> list[Column]:
    """A figure and the ends of its interval."""
    found = zip(names, ("", "_low", "_high"), strict=True)
    return [Column(heading, _at(select, metric + end, *by), _FINE) for heading, end in found]


def _at(select: Selector, metric: str, *by: str) -> str:
    return series.largest(select(metric), *by)
