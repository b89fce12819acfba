"""The change of a model's main figure from its reference, divided; and what each column's shift has to do with it.

What `decompose` and `effects` need is in what estimates keep: bins of labelled reference rows, how each was answered,
and bins of a sample of rows of now. The figure is accuracy, or the mean absolute error of a regression: means over
rows, which add up.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.performance import answer, dle, pape, trees
from detectors.performance.answer import Estimate
from detectors.performance.classifiers import ClassesFixed
from detectors.performance.decompose import Change, Old, Shares, decompose
from detectors.performance.effects import Effects, effects
from detectors.performance.estimate import Fixed
from detectors.performance.trees import BINS, Codes
from detectors.performance.types import Figure
from detectors.types import FloatArray, IntArray

_ROWS: Final = np.arange(1, BINS) / BINS


class _Known(NamedTuple):
    """Reference rows as they were answered: ``label (m,)``, ``worth (m,)``, cells of them and of rows now."""

    label: IntArray
    worth: FloatArray
    old: IntArray
    now: IntArray
    cells: int
    classes: int


def metric_of(fixed: Fixed) -> str:
    """The figure that is divided."""
    return "accuracy" if isinstance(fixed, ClassesFixed) else "mae"


def change(
    fixed: Fixed,
    now: Codes,
    rng: np.random.Generator,
    *,
    shares: Shares | None = None,
    realised: Figure | None = None,
    reference: Figure | None = None,
    tau: float = 1.0,
) -> Change:
    """Divide the change to rows of now, of which ``now (n, f)`` are the bins (`estimate.inputs`)."""
    how, codes = _codes(fixed)
    known = _known(fixed, codes, now)
    found = pape.ratio(how, codes, now) if codes.shape[1] > pape.ANSWERS else None
    weight = np.ones(len(codes)) if found is None else found.weight
    return decompose(
        metric_of(fixed),
        Old(known.old, known.label, known.worth, weight),
        known.now,
        rng,
        shape=(known.cells, known.classes),
        shares=shares,
        realised=realised,
        reference=reference,
        tau=tau,
    )


def shares_of(made: Estimate | None, labels: FloatArray | None = None, tau: float = 1.0) -> Shares | None:
    """The classes' shares now; None where nobody knows.

    By the scores, where the law of scores and inputs says that nothing else has changed: labels that follow from inputs
    otherwise change the shares as well. Else by the counts of ``labels (k,)``.
    """
    if made is not None and made.chosen == "mlls":
        return Shares(made.shares, made.share_errors)
    n = 0.0 if labels is None else float(labels.sum())
    if labels is None or not n > 0:
        return None
    share = labels / n
    return Shares(share, np.sqrt(share * (1 - share) * max(tau, 1.0) / n))


def effects_of(fixed: Fixed, now: Codes, unit: IntArray, columns: int, tau: float = 1.0) -> Effects:
    """What the shift of each of ``columns`` does to the figure; ``unit (d,)`` is the column of each encoded input."""
    how, codes = _codes(fixed)
    if int(fixed.reason) != answer.OK:
        return Effects(*np.full((4, columns), np.nan))
    column = np.append(unit, [-1] * pape.ANSWERS)[how.dims[how.begin[:-1]]]
    return effects(codes, _worth(fixed), now, column, columns, tau)


def _codes(fixed: Fixed) -> tuple[trees.Binner, Codes]:
    one = fixed.sample if isinstance(fixed, ClassesFixed) else fixed.forests
    return one.how, one.codes


def _worth(fixed: Fixed) -> FloatArray:
    """What each reference row adds to the figure ``(m,)``."""
    if not isinstance(fixed, ClassesFixed):
        return fixed.forests.sizes
    hit = fixed.sample.hit
    said = fixed.sample.cell >= fixed.scale.chance.shape[2]
    right: NDArray[np.bool_] = said[0] == (hit[0] > 0) if len(hit) == 1 else (said & (hit > 0)).any(axis=0)
    return right.astype(np.float64)


def _known(fixed: Fixed, codes: Codes, now: Codes) -> _Known:
    worth = _worth(fixed)
    if not isinstance(fixed, ClassesFixed):
        return _expected(fixed.forests, worth, now)
    hit, k = fixed.sample.hit, int(fixed.scale.classes)
    label, classes = hit[0].astype(np.int64), 2
    if len(hit) > 1:
        label, classes = hit.argmax(axis=0), k
    elif k > 2:  # too many classes: whether the answer is right is all that is known
        label, classes = np.zeros(len(worth), np.int64), 1
    old, new = (one[:, -2].astype(np.int64) * BINS + one[:, -1] for one in (codes, now))
    return _Known(label, worth, old, new, BINS * BINS, classes)


def _expected(fixed: dle.DleFixed, worth: FloatArray, now: Codes) -> _Known:
    """Cells of a regression: how large an error was to be expected."""
    old, new = trees.left_out(fixed.forests.mae, fixed.codes), trees.both(fixed.forests.mae, now)
    cuts = np.unique(np.quantile(old, _ROWS)) if len(old) else np.zeros(0)
    before, after = (np.searchsorted(cuts, one, side="right") for one in (old, new))
    return _Known(np.zeros(len(worth), np.int64), worth, before, after, BINS, 1)
