"""What an estimate says and what it is worth: types, closed lists of reasons and doubts, and how figures are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from detectors.performance.cbpe import Guess
from detectors.performance.types import METRICS, Figure
from detectors.types import FloatArray

CANNOT: Final = "If labels have come to follow from inputs in another way, no estimate without labels can show it."
REASONS: Final[tuple[str, ...]] = (
    "",
    "the reference has too few rows with label and score",
    "the reference shows one class only",
    "the model logs no scores of its classes",
    "rankings are not estimated without labels",
    "the window has no rows with a score",
)
"""Why there is no estimate, by number; 0: there is one."""
OK, FEW_ROWS, ONE_CLASS, NO_SCORES, RANKING, NO_WINDOW = range(len(REASONS))
DOUBTS: Final[dict[str, str]] = {
    "outside_support": "rows lie where the reference has next to none: what is said of them is guessed",
    "few_alike": "few reference rows are like the window's: their weighted figures rest on little",
    "no_inputs": "scores have shifted otherwise than by the classes' shares, and no inputs are at hand to weigh by",
    "undecided": "scores tell too little of the classes to say whether their shares have changed or the inputs have",
    "no_confidence": "a regression says not how sure it is: errors may grow and leave no trace but in the labels",
    "disagreement": "estimators that should agree do not",
    "unscored": "many rows carry no usable score and are not in the figures",
    "past_errors": "earlier estimates were off by more than their errors say",
}
"""What speaks against an estimate."""
WIDE: Final = 1.959964
"""Half a 95 % interval in standard errors."""


class Reliability(NamedTuple):
    """What an estimate is worth: the ``verdict`` on the scores with both log p, shares of rows, and ``doubts``.

    ``outside`` is the share of rows outside of the reference's support (of scores or inputs, the greater), ``unscored``
    of those that could not be used, ``effective`` how many reference rows stand for the window, ``auc`` how well inputs
    tell the two apart, ``disagreement`` the largest difference of accuracies that should agree. ``bounds`` are of the
    accuracy if all rows outside of the support are answered wrongly, or rightly. NaN: not known.
    """

    verdict: str
    log_p_none: float
    log_p_label: float
    outside: float
    unscored: float
    effective: float
    auc: float
    disagreement: float
    bounds: tuple[float, float]
    doubts: tuple[str, ...]

    @property
    def labels_wanted(self) -> bool:
        """Whether only labels can tell."""
        return bool(self.doubts)


class Estimate(NamedTuple):
    """The ``chosen`` estimator's ``figures`` with their ``floors``, those of all ``beside``, the reference's own.

    ``shares (k,)`` are the classes' by MLLS with their standard errors, empty for a regression.
    """

    chosen: str
    figures: dict[str, Figure]
    floors: dict[str, float]
    beside: dict[str, dict[str, Figure]]
    reference: dict[str, float]
    shares: FloatArray
    share_errors: FloatArray
    reliability: Reliability


def figures(
    guessed: Mapping[str, Guess], rows: int, reason: str = "", excess: Mapping[str, float] | None = None
) -> dict[str, Figure]:
    """Figures of guesses from so many ``rows``; the interval is that of the realised figure."""
    out = {}
    for name, one in guessed.items():
        error = math.hypot(one.error, (excess or {}).get(name, 0.0))
        half = WIDE * math.hypot(error, one.floor)
        low, high = METRICS[name].bounded
        known = not reason and math.isfinite(one.value)
        why = reason or ("" if known else "these rows do not define it")
        ends = (max(one.value - half, low), min(one.value + half, high), error) if known else (math.nan,) * 3
        out[name] = Figure(name, one.value if known else math.nan, *ends, rows, why)
    return out


def nothing(names: tuple[str, ...], reason: int, rows: int, reliability: Reliability, k: int) -> Estimate:
    """An estimate that says why it has nothing to say."""
    empty = {name: Guess(math.nan, math.nan, math.nan) for name in names}
    made = figures(empty, rows, REASONS[reason])
    missing = dict.fromkeys(names, math.nan)
    return Estimate("", made, missing, {}, missing, np.full(k, np.nan), np.full(k, np.nan), reliability)
