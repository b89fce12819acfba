"""Figures that labels have confirmed of each part: of every version, of every segment, and how calibrated they are.

A segment is held against its own rows of the reference, the whole against all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from detectors.performance import counts, coverage, curves, realised
from detectors.performance.counts import Tally
from detectors.performance.coverage import Coverage
from detectors.performance.curves import Gap
from detectors.performance.layout import Layout
from detectors.performance.types import Figure
from detectors.types import FloatArray
from monitor.errors import ConfigError
from monitor.outcomes.answers import Answers
from monitor.outcomes.divided import coarse
from monitor.outcomes.measured import Expected
from monitor.sections import Labels

MEASURES: Final = ("error", "bias", "overconfidence")
"""Measures of calibration: mean size of the gaps of the curve (ECE), probability less truth, confidence less right."""


class How(NamedTuple):
    """How figures are made: rows' autocorrelation time ``tau``, ``value (k, k)`` of an answer by truth where given.

    ``nominal`` is the share of truths that intervals and sets were made to hold.
    """

    tau: float
    value: FloatArray | None = None
    nominal: float = 0.95


class Calibrated(NamedTuple):
    """Measures of calibration with intervals: now, the change since the reference, ``log_p`` that there is none."""

    now: Mapping[str, Gap]
    change: Mapping[str, Gap]
    log_p: float
    verdict: str


class Covered(NamedTuple):
    """Coverage of intervals or sets, its change since the reference, and ``log_p`` that there is none."""

    now: Coverage
    change: float
    log_p: float


class Part(NamedTuple):
    """Figures of some rows and of the reference's rows that they are held against.

    ``calibrated`` of classifiers, ``covered`` where answers have intervals or sets.
    """

    figures: Mapping[str, Figure]
    reference: Mapping[str, Figure]
    calibrated: Calibrated | None
    covered: Covered | None


class Parts(NamedTuple):
    """All rows, and each version and segment by its name."""

    whole: Part
    versions: Mapping[str, Part]
    segments: Mapping[str, Part]


def parts_of(
    expected: Expected, names: tuple[str, ...], whole: Tally, parts: Mapping[str, Mapping[str, Tally]], how: How
) -> Parts:
    """Figures of counts by name, ``parts`` being those of versions and segments; ``names`` are the reference's."""
    own = {name: _row(expected.segments, place) for place, name in enumerate(names)}
    other = _row(expected.segments, len(names))
    rough = expected._replace(layout=coarse(expected.layout))
    return Parts(
        _part(expected, expected.reference, whole, how),
        {name: _part(rough, expected.reference, one, how) for name, one in parts.get("version", {}).items()},
        {name: _part(rough, own.get(name, other), one, how) for name, one in parts.get("segment", {}).items()},
    )


def _row(tally: Tally, place: int) -> Tally | None:
    """Counts of one group, None where there are none."""
    return Tally(*(part[place : place + 1] for part in tally)) if place < len(tally.seen) else None


def _part(expected: Expected, before: Tally | None, now: Tally, how: How) -> Part:
    reference = {} if before is None else figures_of(expected.layout, before, how)
    calibrated = _calibrated(expected.layout, before, now, how.tau)
    figures = figures_of(expected.layout, now, how)
    return Part(figures, reference, calibrated, _covered(expected.layout, reference, now, how))


def figures_of(made: Layout, tally: Tally, how: How) -> dict[str, Figure]:
    """All figures of counts of one group."""
    return realised.figures(made, tally, tau=how.tau, value=how.value)


def _calibrated(made: Layout, before: Tally | None, now: Tally, tau: float) -> Calibrated | None:
    if made.name not in ("binary", "multiclass"):
        return None
    found = curves.calibration(made, now, tau=tau)
    moved = curves.drift(made, counts.empty(made) if before is None else before, now, tau=tau)
    told, change = ((one.ece, one.bias, one.over) for one in (found, moved))
    return Calibrated(
        dict(zip(MEASURES, told, strict=True)), dict(zip(MEASURES, change, strict=True)), moved.log_p, moved.verdict
    )


def _covered(made: Layout, reference: Mapping[str, Figure], now: Tally, how: How) -> Covered | None:
    if made.name == "ranking":
        return None
    if made.name == "regression":
        found = coverage.of_intervals(made, now, tau=how.tau, nominal=how.nominal)
    else:
        found = coverage.of_sets(now, tau=how.tau, nominal=how.nominal)
    if not found.figure.n:
        return None
    before = reference.get(found.figure.name)
    change, log_p = (math.nan, math.nan) if before is None else coverage.change(before, found.figure)
    return Covered(found, change, log_p)


def worth(labels: Labels, answers: Answers) -> FloatArray | None:
    """What answers are worth by truth; `ConfigError` if the model has not as many classes."""
    if labels.values is None:
        return None
    value = np.array(labels.values, np.float64)
    if answers.k and len(value) == answers.k:
        return value
    has = f"{answers.k} classes: {', '.join(answers.codes)}" if answers.k else "no classes"
    raise ConfigError([f"labels.values: {len(value)} rows of values, but the model has {has}"])
