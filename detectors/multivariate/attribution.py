"""What to look at when a joint test has rejected: columns, pairs, groups of columns, rows.

Columns: a unit's values are shuffled over the rows of both samples together, so that they are alike in both and belong
to nothing else there; the share of the statistic that is lost is the unit's. Beside it stands the Fisher score of the
unit's conditional law. Pairs: changed correlations, by the closed form. Groups: columns whose correlation in the
reference is beyond `TOGETHER` move together and are told as one. Rows: those of either side where the witness function
is most extreme; when a mode is gone, the reference's rows show which.

Cost: one evaluation of the strongest component a unit, on at most `MOST_ROWS` rows a side; only after an alarm.
Source: methods.md section 4; Jitkrittum et al. 2016 (witness); Kulinski, Bagchi and Inouye 2020 (conditional score).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from detectors.multivariate import correlation, energy, nystroem, pca
from detectors.multivariate.bins import Bins
from detectors.multivariate.conditional import ConditionalFixed, ConditionalShift, excess
from detectors.multivariate.joint import COMPONENTS, JointFixed, direction, line
from detectors.multivariate.permutation import labels
from detectors.types import FloatArray, IntArray, Sample, SingleArray, View

TOGETHER = 0.7
MOST_ROWS = {"spectral_mmd": 4096, "correlation_change": 4096, "energy_distance": 768, "pca_reconstruction": 4096}
SHUFFLES = 8
"""Exchanges of whole rows between the samples that tell the statistic's size when nothing has moved."""
DRAWS = 99
CLOSE = 0.5
"""A unit whose share is at least this part of the largest one's is named with it."""
MOST_NAMED = 3

Value = Callable[[SingleArray, SingleArray], float]


class Column(NamedTuple):
    """One unit: the share of the statistic that goes with it, and its conditional (Fisher) score beyond the null's."""

    unit: int
    drop: float
    conditional: float


class Units(NamedTuple):
    """Two units whose correlation changed, with the closed form's p-value over all pairs."""

    first: int
    second: int
    reference: float
    window: float
    log_p: float


def columns(
    fixed: JointFixed,
    conditional: ConditionalFixed,
    view: View,
    sample: Sample,
    bins: Bins,
    component: str,
    rng: np.random.Generator,
) -> list[Column]:
    """Every unit of the view (none for an embedding), the largest share first; ``component`` is the strongest one."""
    if component not in COMPONENTS:
        raise ValueError(f"`component` is {component!r}, not one of {', '.join(COMPONENTS)}")
    if not (view.encoder.unit >= 0).any():
        return []
    units, scores = _conditional(conditional, view, sample, bins, rng)
    window, reference = _thinned(sample, view, bins, MOST_ROWS[component])
    if component == "correlation_change":
        whole, nothing, left = _without_pairs(fixed.correlation, view, units, window, reference)
    else:
        value = _value(fixed, view, sample, bins, component)
        whole, nothing, left = _shuffled(value, view, units, window, reference, rng)
    moved = whole - nothing if whole > nothing else max(whole, 1e-300)
    found = [
        Column(int(unit), (whole - rest) / moved, float(score))
        for unit, rest, score in zip(units, left, scores, strict=True)
    ]
    return sorted(found, key=lambda one: -one.drop)


def _shuffled(
    value: Value, view: View, units: IntArray, window: SingleArray, reference: SingleArray, rng: np.random.Generator
) -> tuple[float, float, list[float]]:
    """The statistic, what it is when nothing has moved, and what is left of it when each unit is shuffled."""
    both = np.concatenate([window, reference])
    orders = [rng.permutation(len(both)) for _ in range(SHUFFLES)]
    nothing = float(np.mean([value(*np.split(both[order], [len(window)])) for order in orders]))
    left = []
    for unit in units:
        mine = view.encoder.unit == unit
        mixed = both.copy()
        mixed[:, mine] = both[orders[0]][:, mine]
        left.append(value(*np.split(mixed, [len(window)])))
    return value(window, reference), nothing, left


def _without_pairs(
    fixed: correlation.CorrelationFixed, view: View, units: IntArray, window: SingleArray, reference: SingleArray
) -> tuple[float, float, list[float]]:
    """The same for the largest change of a correlation: what is left without the pairs of each unit.

    Where nothing has moved it is the median of the largest of so many absolute normal values.
    """
    before, after = (
        correlation.correlations(scores, np.full(len(scores), 1 / len(scores), np.float32))
        for scores in (correlation.scores(fixed.scorer, rows) for rows in (reference, window))
    )
    z = correlation.change(before, after) / fixed.closed_spread / np.sqrt(1 / len(window) + 1 / len(reference))
    number = max(int(np.isfinite(fixed.closed_spread).sum()) // 2, 1)
    nothing = float(-special.ndtri(-np.expm1(np.log(0.5) / number) / 2))
    outside = [view.encoder.unit != unit for unit in units]
    left = [float(z[np.ix_(rest, rest)].max(initial=0.0)) for rest in outside]
    return float(z.max()), nothing, left


def pairs(fixed: JointFixed, view: View, sample: Sample, bins: Bins, number: int = 5) -> list[Units]:
    """Pairs of units whose correlation changed most, one line a pair of units; none where dimensions have no unit."""
    unit = view.encoder.unit
    found: dict[tuple[int, int], Units] = {}
    for one in correlation.pairs(fixed.correlation, sample, bins, 8 * number):
        first, second = sorted((int(unit[one.i]), int(unit[one.j])))
        if first >= 0:
            found.setdefault((first, second), Units(first, second, one.reference, one.window, one.log_p))
    return list(found.values())[:number]


def named(found: list[Column], broken: list[Units], component: str) -> tuple[int, ...]:
    """The units that a finding should name: the changed pair, or those with nearly the largest share."""
    if component == "correlation_change" and broken:
        return broken[0].first, broken[0].second
    least = CLOSE * found[0].drop if found else 0.0
    return tuple(one.unit for one in found[:MOST_NAMED] if one.drop >= least)


def groups(fixed: JointFixed, view: View) -> list[tuple[int, ...]]:
    """Units that move together in the reference: linked by correlations of normal scores beyond `TOGETHER`."""
    unit = view.encoder.unit
    known = np.unique(unit[unit >= 0])
    if not len(known):
        return []
    number = np.searchsorted(known, unit)
    linked = np.eye(len(known), dtype=np.bool_)
    i, j = np.nonzero((np.abs(fixed.correlation.r) > TOGETHER) & (unit[:, None] >= 0) & (unit >= 0))
    linked[number[i], number[j]] = True
    for _ in range(len(known).bit_length()):
        linked = linked @ linked
    label = linked.argmax(axis=1)
    return [tuple(int(u) for u in known[label == one]) for one in np.unique(label)]


def witness(fixed: JointFixed, view: View, sample: Sample, bins: Bins) -> Callable[[SingleArray], FloatArray]:
    """How much rows ``(n, d)`` look like the window's rather than the reference's, ``(n,)``: the witness function.

    It is that between all window bins and half A.
    """
    way = direction(fixed, view, sample, bins, slice(None))
    return lambda rows: nystroem.witness(way, rows)


def _conditional(
    conditional: ConditionalFixed, view: View, sample: Sample, bins: Bins, rng: np.random.Generator
) -> tuple[IntArray, FloatArray]:
    """Units of the view and the conditional score of each."""
    units = np.unique(view.encoder.unit[view.encoder.unit >= 0])
    contrast = labels(bins.window_strata, bins.reference_strata, DRAWS, rng)
    scores = excess(ConditionalShift().scores(conditional, view, sample, bins, contrast))
    first = [int(conditional.group[view.encoder.unit == unit][0]) for unit in units]
    return units, scores[first]


def _thinned(sample: Sample, view: View, bins: Bins, most: int) -> tuple[SingleArray, SingleArray]:
    """Rows of window and half B, evenly thinned to at most ``most`` a side."""
    window, reference = bins.window_rows.reshape(-1), bins.reference_rows.reshape(-1)
    return (
        sample.rows[window[:: -(-len(window) // most)]],
        view.sample.rows[reference[:: -(-len(reference) // most)]],
    )


def _value(fixed: JointFixed, view: View, sample: Sample, bins: Bins, component: str) -> Value:
    """The component's statistic as a function of two samples of rows."""
    if component == "energy_distance":
        return _energy
    if component == "pca_reconstruction":
        return lambda x, y: _pca(fixed.pca, x, y)
    j, ridge = line(fixed, view, sample, bins)
    return lambda x, y: _spectral(fixed.spectral.features, j, ridge, x, y)


def _energy(x: SingleArray, y: SingleArray) -> float:
    x, y = x[None], y[None]
    across, inside, outside = (energy.distances(*both)[0, 0] for both in ((x, y), (x, x), (y, y)))
    return float(2 * across - inside - outside)


def _pca(fixed: pca.PCAFixed, x: SingleArray, y: SingleArray) -> float:
    """Larger of both differences, each in standard errors."""
    a, b = pca.distances(fixed, x), pca.distances(fixed, y)
    error = np.sqrt(a.var(axis=1) / len(x) + b.var(axis=1) / len(y))
    return float((np.abs(a.mean(axis=1) - b.mean(axis=1)) / np.maximum(error, 1e-12)).max())


def _spectral(features: nystroem.Features, j: int, ridge: int, x: SingleArray, y: SingleArray) -> float:
    """Squared whitened length of the difference of mean features, at one bandwidth and ridge."""
    one = nystroem.Features(features.landmarks, features.bandwidths[[j]], features.basis[[j]], features.weights[[j]])
    inside, outside = (nystroem.bin_means(one, part, np.arange(len(part))[None])[0, 0] for part in (x, y))
    return float(features.weights[j, ridge] @ np.square((inside - outside).astype(np.float64)))
