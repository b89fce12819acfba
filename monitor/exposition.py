"""Writes a snapshot in the two formats that Prometheus asks for, and answers which one a scraper wants.

Both formats share their sample lines, so these are written once. The text before each value (``name{labels} ``) is
kept from one snapshot to the next: that is where a client library spends its time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate

from monitor.metrics import METRICS, Distribution, Labels, Metric, Snapshot, Value

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Prefixes = tuple[str, ...]
"""What stands before the values of one series: one text, or for a histogram one per bucket, then sum and count."""


class Exposition:
    """A writer of snapshots; its only state is a cache of prefixes, bounded by the last snapshot."""

    def __init__(self) -> None:
        """Begin with nothing cached."""
        self._cache: Mapping[tuple[str, Labels], Prefixes] = {}

    def render(self, snapshot: Snapshot) -> tuple[bytes, bytes]:
        """The snapshot as (text, OpenMetrics); `ValueError` names what the table does not know."""
        unknown = snapshot.keys() - {metric.name for metric in METRICS}
        if unknown:
            message = f"not in the table of metrics: {', '.join(sorted(unknown))}"
            raise ValueError(message)
        kept: dict[tuple[str, Labels], Prefixes] = {}
        text: list[str] = []
        openmetrics: list[str] = []
        for metric in METRICS:
            series = snapshot.get(metric.name)
            if not series:
                continue
            lines = self._lines(metric, series, kept)
            text += (_text_header(metric), lines)
            openmetrics += (_openmetrics_header(metric), lines)
        self._cache = kept
        return "".join(text).encode(), ("".join(openmetrics) + "# EOF\n").encode()

    def _lines(
        self, metric: Metric, series: list[tuple[Labels, Value]], kept: dict[tuple[str, Labels], Prefixes]
    ) -> str:
        """All sample lines of one metric; of a series given twice the last one counts."""
        lines: list[str] = []
        for labels, value in dict(series).items():
            key = (metric.name, labels)
            prefixes = self._cache.get(key) or _prefixes(metric, labels)
            kept[key] = prefixes
            if isinstance(value, Distribution):
                for prefix, number in zip(prefixes, _histogram_values(metric, value), strict=True):
                    lines.append(prefix + number)
            else:
                lines.append(prefixes[0] + number_text(value))
        return "".join(lines)


def number_text(value: float) -> str:
    """A sample value and its line's end, exact to the last bit; whole numbers without a point."""
    number = float(value)
    if math.isfinite(number):
        whole = int(number)
        return f"{whole}\n" if whole == number and abs(whole) < 1 << 53 else f"{number!r}\n"
    if math.isnan(number):
        return "NaN\n"
    return "+Inf\n" if number > 0 else "-Inf\n"


def escape(value: str) -> str:
    """A label value between its quotes, on one line and valid UTF-8.

    The formats know only three escapes; other control characters, which some parsers take for the end of the text, and
    lone surrogates are written as Python would show them.
    """
    if value.isprintable() and "\\" not in value and '"' not in value:
        return value
    text = value.encode("utf-8", "backslashreplace").decode("utf-8")
    text = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return "".join(rf"\\x{ord(letter):02x}" if letter < " " or letter == "\x7f" else letter for letter in text)


def _prefixes(metric: Metric, labels: Labels) -> Prefixes:
    """The text before each value of one series."""
    if len(labels) != len(metric.labels):
        message = f"{metric.name} has the labels {metric.labels}, given: {labels}"
        raise ValueError(message)
    pairs = [f'{name}="{escape(value)}"' for name, value in zip(metric.labels, labels, strict=True)]
    joined = "{" + ",".join(pairs) + "}" if pairs else ""
    if metric.kind != "histogram":
        return (f"{metric.name}{joined} ",)
    bounds = (*(repr(float(bound)) for bound in metric.buckets), "+Inf")
    start = f"{metric.name}_bucket{{" + "".join(f"{pair}," for pair in pairs)
    buckets = (f'{start}le="{bound}"}} ' for bound in bounds)
    return (*buckets, f"{metric.name}_sum{joined} ", f"{metric.name}_count{joined} ")


def _histogram_values(metric: Metric, value: Distribution) -> list[str]:
    """Cumulative buckets, sum, count."""
    if len(value.counts) != len(metric.buckets) + 1:
        message = f"{metric.name} has {len(metric.buckets) + 1} buckets, given: {len(value.counts)}"
        raise ValueError(message)
    cumulative = list(accumulate(value.counts))
    return [*(number_text(count) for count in cumulative), number_text(value.total), number_text(cumulative[-1])]


def _text_header(metric: Metric) -> str:
    """HELP and TYPE of the text format, which knows a counter by its full name."""
    return f"# HELP {metric.name} {_help(metric)}\n# TYPE {metric.name} {metric.kind}\n"


def _openmetrics_header(metric: Metric) -> str:
    """TYPE, UNIT and HELP of OpenMetrics, which knows a counter by its family."""
    unit = f"# UNIT {metric.family} {metric.unit}\n" if metric.unit else ""
    return f"# TYPE {metric.family} {metric.kind}\n{unit}# HELP {metric.family} {_help(metric)}\n"


def _help(metric: Metric) -> str:
    """The help text on one line."""
    return metric.help.replace("\\", r"\\").replace("\n", r"\n")


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header prefers OpenMetrics 1.0 (or 0.0.1) to the text format.

    >>> wants_openmetrics("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    True
    """
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0, "text/*": 0.0, "*/*": 0.0}
    for entry in accept.lower().split(","):
        media, *parameters = (part.strip() for part in entry.split(";"))
        values = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
        if media in best and values.get("version", "1.0.0").strip('"') in {"1.0.0", "0.0.1", "0.0.4"}:
            best[media] = max(best[media], _quality(values.get("q", "1")))
    openmetrics = best.pop("application/openmetrics-text")
    return openmetrics > 0 and openmetrics >= max(best["text/plain"], best["text/*"])


def _quality(text: str) -> float:
    """A weight between 0 and 1; what is not one counts as 0."""
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
