"""Why a figure changed: other rows come, classes are more or less frequent, or labels follow from inputs otherwise.

Question: of the change of a mean over rows (accuracy, mean absolute error) from the reference to now, which part is
mix (covariate shift), which prior (label shift), which rate (concept shift)?
Statistic: the law of now is taken to be the old one times a(x) b(y) and a remainder that neither explains. ``a`` comes
from density ratios (`pape.ratio`), ``b`` by raking: with it, rows like those of now have the classes' shares of now. Of
``b`` only that power in [0, 1] counts as prior under which the cells' shares are the likeliest: where rows of each
class look as they did, all of it; where inputs stayed as they were, none: then labels follow otherwise. Mix and prior
share what they do together evenly, whichever came first (Shapley). Rate is the rest, on the rows of now: it takes
labels.
Error: bootstrap of the counts (Poisson for reference rows; multinomial for those of now, divided by tau; normal for the
classes' shares), and that of the realised figure. The ratio's own error is not in it.
Sees / blind to: without labels the rate is not known, and prior only where the law of the scores says that nothing
else has changed. With labels, classes that changed their frequency while inputs moved for other reasons are divided as
far as scores tell them apart.
Cost: 20 ms for 16,384 rows. Source: Cai, Namkoong and Yadlowsky 2023 (mix and rate by density ratios); Deming and
Stephan 1940 (raking); Shapley 1953; methods.md section 5.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from detectors.performance.answer import WIDE
from detectors.performance.types import METRICS, Figure
from detectors.types import FloatArray, IntArray

PARTS: Final = ("mix", "prior", "rate")
VERDICTS: Final = ("harmful", "virtual", "unknown")
NEEDS_LABELS: Final = "only labels can tell"
NO_CLASSES: Final = "there are no classes whose shares could change"
NOT_TOLD: Final = "scores do not say that shares of the classes have changed: without labels, it counts as mix"
FEW: Final = "too few rows on either side"
LEAST_ROWS: Final = 200
DRAWS: Final = 64
_STEPS: Final = 200
_CLOSE: Final = 1e-7
_POWERS: Final = np.linspace(0.0, 1.0, 21)
_TINY: Final = 1e-9


class Old(NamedTuple):
    """Labelled reference rows ``(m,)``: their cell, class (0 where there are none), worth, and density ratio to now.

    ``worth`` is what a row adds to the figure: whether it was answered rightly, or the size of its error.
    """

    cell: IntArray
    label: IntArray
    worth: FloatArray
    weight: FloatArray


class Shares(NamedTuple):
    """Shares of the classes now ``share (k,)``, and their standard errors."""

    share: FloatArray
    error: FloatArray


class Change(NamedTuple):
    """The ``total`` change of the figure ``metric`` and its ``parts``, which add up to it; without a value: why.

    Without labels the total is what mix and prior explain. ``power`` of the classes' change counted as prior, and
    ``outside`` is the share of rows now in cells that the reference does not have.
    """

    metric: str
    total: Figure
    parts: dict[str, Figure]
    power: float
    outside: float
    labelled: bool


class _Told(NamedTuple):
    """Reference counts ``(J, k)``: rows and their worth, and both weighted."""

    rows: FloatArray
    worth: FloatArray
    weighted: FloatArray
    weighted_worth: FloatArray


def decompose(
    metric: str,
    old: Old,
    now: IntArray,
    rng: np.random.Generator,
    *,
    shape: tuple[int, int],
    shares: Shares | None = None,
    realised: Figure | None = None,
    reference: Figure | None = None,
    tau: float = 1.0,
) -> Change:
    """Divide the change of a figure; ``now (n,)`` are the cells of rows of now, a sample of them is enough.

    ``shape`` says how many cells and classes there are (1: none).
    ``shares`` by labels, or by the scores where nothing else has changed; ``realised`` and ``reference`` are the figure
    by labels and the whole reference's.
    """
    (cells, classes), labelled = shape, realised is not None and math.isfinite(realised.value)
    if min(len(old.cell), len(now)) < LEAST_ROWS:
        return _nothing(metric, len(now))
    seen = np.bincount(now, minlength=cells).astype(np.float64)
    told = _told(old, np.ones(len(old.cell)), cells, classes)
    wanted = shares if classes > 1 else None
    steps, power = _steps(told, seen, None if wanted is None else wanted.share)
    errors = np.std([_drawn(old, seen, wanted, (cells, classes), tau, rng) for _ in range(DRAWS)], axis=0, ddof=1)
    parts = {
        "mix": _figure("mix", steps[0], errors[0], len(now)),
        "prior": _figure("prior", steps[1], errors[1], len(now)) if wanted else _none("prior", len(now), classes),
        "rate": Figure("rate", *(math.nan,) * 4, 0, NEEDS_LABELS),
    }
    total = _figure("total", steps[2], errors[2], len(now))
    if labelled and realised is not None:
        total, parts["rate"] = _realised(total, old, realised, reference)
    return Change(metric, total, parts, power, _outside(told, seen), labelled)


def verdict(change: Change, loss: float, *, doubted: bool = False) -> str:
    """One of `VERDICTS`: worse by more than ``loss`` (at 95 %), certainly not, or nobody can say.

    ``doubted``: something speaks against figures without labels. "virtual": inputs may have moved, the figure has not.
    """
    spec, total = METRICS[change.metric], change.total
    if not math.isfinite(total.value) or (doubted and not change.labelled):
        return "unknown"
    least, most = (-total.high, -total.low) if spec.better == "higher" else (total.low, total.high)
    return "harmful" if least > loss else "virtual" if most < loss else "unknown"


def _realised(total: Figure, old: Old, realised: Figure, reference: Figure | None) -> tuple[Figure, Figure]:
    """The total by labels, and what of it mix and prior leave."""
    m = len(old.worth)
    own = Figure("", float(old.worth.mean()), 0.0, 0.0, float(old.worth.std()) / math.sqrt(m), m)
    before = own if reference is None or not math.isfinite(reference.value) else reference
    error = math.hypot(realised.error, before.error)
    change = realised.value - before.value
    both = _figure("total", change, error, realised.n)
    return both, _figure("rate", change - total.value, math.hypot(error, total.error), realised.n)


def _steps(told: _Told, seen: FloatArray, share: FloatArray | None) -> tuple[FloatArray, float]:
    """Mix, prior and both together ``(3,)``; the power of the classes' change that counts as prior."""
    chance = _chances(told)
    law = seen / seen.sum()
    up, power = np.ones(chance.shape[1]), 0.0
    if share is not None:
        up = _raked(chance, law, share)
        up, power = _supported(told, seen, up)
    norm = chance @ up
    worth, weighted = _means(told)
    nothing = _mean(told.rows, worth)
    both = _mean(chance * up * (law / norm)[:, None], weighted)
    mix = _mean(chance * (law / norm)[:, None], weighted)
    prior = _mean(told.rows * up, worth)
    parts = (mix - nothing + both - prior) / 2, (prior - nothing + both - mix) / 2
    return np.array([*parts, both - nothing]), power


def _drawn(
    old: Old, seen: FloatArray, shares: Shares | None, shape: tuple[int, int], tau: float, rng: np.random.Generator
) -> FloatArray:
    """The same of rows drawn anew."""
    told = _told(old, rng.poisson(1.0, len(old.cell)).astype(np.float64), *shape)
    n = max(int(seen.sum() / max(tau, 1.0)), 1)
    share = None
    if shares is not None:
        some = np.maximum(shares.share + np.nan_to_num(shares.error) * rng.standard_normal(shape[1]), _TINY)
        share = some / some.sum()
    return _steps(told, rng.multinomial(n, seen / seen.sum()).astype(np.float64), share)[0]


def _told(old: Old, times: FloatArray, cells: int, classes: int) -> _Told:
    at = old.cell * classes + old.label
    mass = times * old.weight
    mass = mass * (times.sum() / max(float(mass.sum()), _TINY))
    summed = (times, times * old.worth, mass, mass * old.worth)
    counted = (np.bincount(at, one, minlength=cells * classes).astype(np.float64) for one in summed)
    return _Told(*(one.reshape(cells, classes) for one in counted))


def _chances(told: _Told) -> FloatArray:
    """Chances of the classes by cell ``(J, k)`` for rows like those of now; where none are, as on the reference."""
    prior = told.rows.sum(axis=0) / told.rows.sum()
    base = (told.rows + prior) / (told.rows.sum(axis=1, keepdims=True) + 1)
    chance: FloatArray = (told.weighted + base) / (told.weighted.sum(axis=1, keepdims=True) + 1)
    return np.maximum(chance, _TINY)


def _means(told: _Told) -> tuple[FloatArray, FloatArray]:
    """Mean worth by cell and class ``(J, k)``, plain and weighted; without rows that of the class, or of all."""
    mean = told.worth.sum() / told.rows.sum()
    whole = (told.worth.sum(axis=0) + _CLOSE * mean) / (told.rows.sum(axis=0) + _CLOSE)
    plain = (told.worth + _CLOSE * whole) / (told.rows + _CLOSE)
    return plain, (told.weighted_worth + _CLOSE * plain) / (told.weighted + _CLOSE)


def _mean(mass: FloatArray, worth: FloatArray) -> float:
    return float((mass * worth).sum() / mass.sum())


def _raked(chance: FloatArray, law: FloatArray, share: FloatArray) -> FloatArray:
    """How much more frequent each class is than its ``chance (J, k)`` says ``(k,)``, for rows in these cells."""
    up = np.ones(len(share))
    for _ in range(_STEPS):
        before = up
        said = (chance * up * (law / (chance @ up))[:, None]).sum(axis=0)
        up = up * np.maximum(share, _TINY) / np.maximum(said, _TINY)
        up = up / up[np.argmax(share)]
        if np.abs(np.log(up / before)).max() < _CLOSE:
            break
    return up


def _supported(told: _Told, seen: FloatArray, up: FloatArray) -> tuple[FloatArray, float]:
    """``up`` to that power which the cells of now support most."""
    size = np.maximum(told.rows.sum(axis=0), 1.0)
    look = (told.rows + 0.5 / len(told.rows)) / (size + 0.5)
    mixture = size * up ** _POWERS[:, None]
    law = (mixture / mixture.sum(axis=1, keepdims=True)) @ look.T
    best = int(np.argmax(np.log(law) @ seen))
    power = float(_POWERS[best])
    return up**power, power


def _outside(told: _Told, seen: FloatArray) -> float:
    return float(seen[told.rows.sum(axis=1) == 0].sum() / seen.sum())


def _figure(name: str, value: float, error: float, rows: int) -> Figure:
    return Figure(name, float(value), float(value - WIDE * error), float(value + WIDE * error), float(error), rows)


def _none(name: str, rows: int, classes: int) -> Figure:
    return Figure(name, *(math.nan,) * 4, rows, NOT_TOLD if classes > 1 else NO_CLASSES)


def _nothing(metric: str, rows: int) -> Change:
    empty = {name: Figure(name, *(math.nan,) * 4, rows, FEW) for name in ("total", *PARTS)}
    return Change(metric, empty.pop("total"), empty, math.nan, math.nan, labelled=False)
