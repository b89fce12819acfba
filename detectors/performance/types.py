"""What the parts of the outcome side hand to each other: rows with their outcomes, figures, and the list of metrics.

Classes are integers from 0, -1 where not known; numbers are NaN where not known. "No label yet" is never "correct".
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray

Kind = Literal["binary", "multiclass", "regression", "ranking"]
KINDS: Final[tuple[Kind, ...]] = ("binary", "multiclass", "regression", "ranking")
Better = Literal["higher", "lower", "nearer"]
"""Of two values the better one: the higher, the lower, or the one nearer to ``MetricSpec.target``."""


class Outcomes(NamedTuple):
    """Predictions and what came true, ``(n,)`` each; None where the log has no such thing.

    ``prediction`` is a class (int64) or a number (float64), and so is ``truth``: -1 or NaN where there is no label yet,
    of a ranking the relevance. ``score`` is the probability of class 1 or what ranks, ``probabilities (n, k)`` those of
    all classes. ``group`` is the query of a ranking, ``low`` and ``high`` bound an interval, ``sets (n, k)`` says which
    classes a conformal set holds, -1 in all of a row that has none.
    """

    kind: Kind
    prediction: FloatArray | IntArray
    score: FloatArray | None
    probabilities: FloatArray | None
    truth: FloatArray | IntArray
    weight: FloatArray | None = None
    group: IntArray | None = None
    low: FloatArray | None = None
    high: FloatArray | None = None
    sets: NDArray[np.bool_] | NDArray[np.int8] | None = None


class Figure(NamedTuple):
    """One metric's value, its 95 % interval and standard error, from ``n`` rows; NaN with the ``reason`` in words.

    ``worth`` is how many independent rows of equal weight it rests on: of a share those that it is a share of, of what
    ranks classes those of the rarer one; NaN where nobody knows.
    """

    name: str
    value: float
    low: float
    high: float
    error: float
    n: int
    reason: str = ""
    worth: float = float("nan")


class MetricSpec(NamedTuple):
    """A metric: for which ``kinds``, which value is ``better``, its bounds, and the fields of `Outcomes` it needs."""

    name: str
    kinds: tuple[Kind, ...]
    better: Better
    bounded: tuple[float, float]
    needs: tuple[str, ...]
    target: float = 0.0


_CLASSES: Final[tuple[Kind, ...]] = ("binary", "multiclass")
_INFINITE: Final = float("inf")
METRICS: Final[dict[str, MetricSpec]] = {
    "accuracy": MetricSpec("accuracy", _CLASSES, "higher", (0.0, 1.0), ("prediction", "truth")),
    "precision": MetricSpec("precision", _CLASSES, "higher", (0.0, 1.0), ("prediction", "truth")),
    "recall": MetricSpec("recall", _CLASSES, "higher", (0.0, 1.0), ("prediction", "truth")),
    "f1": MetricSpec("f1", _CLASSES, "higher", (0.0, 1.0), ("prediction", "truth")),
    "f1_micro": MetricSpec("f1_micro", ("multiclass",), "higher", (0.0, 1.0), ("prediction", "truth")),
    "auroc": MetricSpec("auroc", _CLASSES, "higher", (0.0, 1.0), ("score", "truth")),
    "average_precision": MetricSpec("average_precision", _CLASSES, "higher", (0.0, 1.0), ("score", "truth")),
    "log_loss": MetricSpec("log_loss", _CLASSES, "lower", (0.0, _INFINITE), ("score", "truth")),
    "brier": MetricSpec("brier", _CLASSES, "lower", (0.0, 2.0), ("score", "truth")),
    "ece": MetricSpec("ece", _CLASSES, "lower", (0.0, 1.0), ("score", "truth")),
    "mae": MetricSpec("mae", ("regression",), "lower", (0.0, _INFINITE), ("prediction", "truth")),
    "rmse": MetricSpec("rmse", ("regression",), "lower", (0.0, _INFINITE), ("prediction", "truth")),
    "mape": MetricSpec("mape", ("regression",), "lower", (0.0, _INFINITE), ("prediction", "truth")),
    "bias": MetricSpec("bias", ("regression",), "nearer", (-_INFINITE, _INFINITE), ("prediction", "truth")),
    "r2": MetricSpec("r2", ("regression",), "higher", (-_INFINITE, 1.0), ("prediction", "truth")),
    "quantile_loss": MetricSpec("quantile_loss", ("regression",), "lower", (0.0, _INFINITE), ("prediction", "truth")),
    "coverage": MetricSpec("coverage", ("regression",), "nearer", (0.0, 1.0), ("low", "high", "truth"), 0.95),
    "set_coverage": MetricSpec("set_coverage", _CLASSES, "nearer", (0.0, 1.0), ("sets", "truth"), 0.95),
    "ndcg": MetricSpec("ndcg", ("ranking",), "higher", (0.0, 1.0), ("score", "group", "truth")),
    "business_value": MetricSpec(
        "business_value", _CLASSES, "higher", (-_INFINITE, _INFINITE), ("prediction", "truth")
    ),
}
"""All metrics. For many classes precision, recall, F1, AUROC and average precision are means over the classes (macro),
and what needs a score needs ``probabilities``; the Brier score is the sum over the classes for many, and that of class
1 for two. The target of a coverage is whatever the intervals were made for; 95 % where nobody says."""
