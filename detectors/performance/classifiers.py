"""A classifier's estimators side by side, and the choice among them.

The choice goes by the law of scores and inputs (`labelshift.verdict`): no shift: CBPE; the shares of the classes have
changed and nothing else: MLLS; else PAPE, where inputs are at hand and enough old rows stand for the new ones, and CBPE
where not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from detectors.performance import answer, atc, calibrate, cbpe, doc, labelshift, pape, trees
from detectors.performance.answer import Estimate, Reliability
from detectors.performance.cbpe import Guess
from detectors.performance.types import Outcomes
from detectors.types import FloatArray, IntArray, SingleArray

LEAST_ROWS: Final = 100
"""Labelled reference rows."""
LEAST_CLASS: Final = 10
"""Reference rows of each of at least two classes."""
OUTSIDE: Final = 0.05
UNSCORED: Final = 0.05
APART: Final = 0.01
"""Accuracies that differ by less agree, whatever their errors."""
_SIGMAS: Final = 3.0


class ClassesFixed(NamedTuple):
    """A classifier's reference: scale, counts of labelled rows, what expectations miss, ATC's threshold, PAPE's sample.

    ``reason ()`` is one of `REASONS`.
    """

    scale: calibrate.Scale
    known: calibrate.Known
    off: FloatArray
    threshold: atc.Threshold
    sample: pape.Sample
    reason: IntArray


class _Found(NamedTuple):
    """What was found out about a window: guesses by estimator, the shift of the classes, the weights for its inputs."""

    guesses: dict[str, dict[str, Guess]]
    shift: labelshift.Shift | None
    ratio: pape.Ratio | None
    log_p_none: float
    log_p_label: float

    @property
    def verdict(self) -> str:
        """Which law the window follows."""
        return labelshift.verdict(self.log_p_none, self.log_p_label)

    @property
    def told(self) -> bool:
        """Whether scores tell the shares of the classes well enough to go by them."""
        return self.shift is not None and self.shift.worth >= labelshift.LEAST_WORTH


def fit(outcomes: Outcomes, rows: SingleArray, unit: IntArray, rng: np.random.Generator) -> ClassesFixed:
    """Measure a reference: labelled rows with their encoded inputs ``(n, d)``, which may be none."""
    scale, known = calibrate.fit(outcomes)
    sample = pape.sample(scale, outcomes, rows, unit, rng)
    threshold, off = atc.fit(scale, known), cbpe.anchor(scale, known)
    return ClassesFixed(scale, known, off, threshold, sample, np.array(_reason(outcomes, known)))


def estimate(
    fixed: ClassesFixed, counted: calibrate.Tally, now: trees.Codes | None, tau: float, excess: Mapping[str, float]
) -> Estimate:
    """Estimate a window from its counts and a sample of its inputs."""
    rows, k, names = int(counted.seen[0]), int(fixed.scale.classes), cbpe.names(fixed.scale)
    reason = int(fixed.reason) or (0 if rows else answer.NO_WINDOW)
    if reason:
        return answer.nothing(names, reason, rows, _reliability(counted, None, "", excess), k)
    found = _found(fixed, counted, now, tau)
    chosen = _chosen(found)
    said, shift = found.guesses[chosen], found.shift
    unknown = np.full(k, np.nan)
    return Estimate(
        chosen,
        answer.figures(said, rows, excess=excess),
        {name: one.floor for name, one in said.items()},
        {name: answer.figures(one, rows) for name, one in found.guesses.items()},
        reference(fixed),
        unknown if shift is None else shift.share,
        unknown if shift is None else np.sqrt(np.maximum(np.diag(shift.covariance), 0.0)),
        _reliability(counted, found, chosen, excess),
    )


def reference(fixed: ClassesFixed) -> dict[str, float]:
    """The reference's own figures."""
    mine, names = calibrate.cells(fixed.scale, fixed.known.tally), cbpe.names(fixed.scale)
    return {name: cbpe.total(fixed.scale, name, mine) + float(off) for name, off in zip(names, fixed.off, strict=True)}


def _reason(outcomes: Outcomes, known: calibrate.Known) -> int:
    if outcomes.kind == "ranking":
        return answer.RANKING
    if outcomes.score is None and outcomes.probabilities is None:
        return answer.NO_SCORES
    rows, hits = int(known.tally.rows[0].sum()), known.hits.sum(axis=(1, 2))
    if rows < LEAST_ROWS:
        return answer.FEW_ROWS
    classes = np.array([rows - hits[0], hits[0]]) if len(hits) == 1 else hits
    return answer.ONE_CLASS if (classes >= LEAST_CLASS).sum() < 2 else answer.OK


def _found(fixed: ClassesFixed, counted: calibrate.Tally, now: trees.Codes | None, tau: float) -> _Found:
    """Run all estimators that can be run."""
    scale, known = fixed.scale, fixed.known
    mine, noise = calibrate.cells(scale, counted), cbpe.reference_noise(scale, known)
    out = {"cbpe": cbpe.guesses(scale, mine, noise, fixed.off, tau)}
    out["atc"] = {"accuracy": atc.accuracy(scale, fixed.threshold, counted, tau)}
    out["doc"] = {"accuracy": doc.accuracy(scale, known, fixed.threshold, counted, tau)}
    look, shift = labelshift.looks(scale, known), None
    if look is not None:
        shift = labelshift.mlls(look, labelshift.counts(scale, counted), tau)
        for name, share in (("mlls", shift.share), ("bbse", labelshift.bbse(look, scale, counted, known))):
            odds = labelshift.shifted(scale, known, look, share)
            moved, also = noise._replace(by_chance=odds.by_chance), cbpe.Also(odds.by_share, shift.covariance)
            out[name] = cbpe.guesses(scale, mine._replace(p=odds.chance), moved, fixed.off, tau, also)
    ratio = (
        None if now is None or now.shape[1] <= pape.ANSWERS else pape.ratio(fixed.sample.how, fixed.sample.codes, now)
    )
    if ratio is not None:
        made = pape.weighted(scale, fixed.sample, ratio.weight)
        out["pape"] = cbpe.guesses(scale, mine._replace(p=made.chance), made.noise, fixed.off, tau)
    return _Found(out, shift, ratio, *_judged(fixed, look, shift, ratio, tau))


def _judged(
    fixed: ClassesFixed,
    look: labelshift.Looks | None,
    shift: labelshift.Shift | None,
    ratio: pape.Ratio | None,
    tau: float,
) -> tuple[float, float]:
    """Log p that nothing has shifted, and that nothing but the shares of the classes has: by scores and by inputs."""
    if look is None or shift is None:
        return math.nan, math.nan
    scores = shift.log_p_none, shift.log_p_label
    if ratio is None:
        return scores
    label = fixed.sample.hit.argmax(axis=0) if len(fixed.sample.hit) > 1 else fixed.sample.hit[0]
    inputs = [pape.log_p_same(ratio, label, look.prior, law, tau) for law in (None, shift)]
    none, only = (min(min(pair) + math.log(2.0), 0.0) for pair in zip(scores, inputs, strict=True))
    return none, only


def _chosen(found: _Found) -> str:
    if found.verdict == "label" and found.told:
        return "mlls"
    return "pape" if found.verdict == "covariate" and _stands(found.ratio) else "cbpe"


def _stands(ratio: pape.Ratio | None) -> bool:
    """Whether enough old rows stand for the new ones."""
    return ratio is not None and ratio.effective >= pape.LEAST_EFFECTIVE


def _reliability(
    counted: calibrate.Tally, found: _Found | None, chosen: str, excess: Mapping[str, float]
) -> Reliability:
    scored, unscored, outside = (float(one) for one in counted.seen)
    missing = unscored / (scored + unscored) if scored + unscored else math.nan
    beyond = outside / scored if scored else math.nan
    if found is None:
        doubts = ("unscored",) if missing > UNSCORED else ()
        return Reliability("unknown", *(math.nan,) * 2, beyond, missing, *(math.nan,) * 3, (math.nan,) * 2, doubts)
    ratio = found.ratio
    reach = beyond if ratio is None else max(beyond, ratio.outside)
    apart, far = _disagreement(found, chosen)
    said = found.guesses[chosen]["accuracy"]
    raised = {
        "outside_support": reach > OUTSIDE,
        "few_alike": ratio is not None and not _stands(ratio),
        "no_inputs": found.verdict == "covariate" and ratio is None,
        "undecided": found.verdict == "label" and not found.told,
        "disagreement": far,
        "unscored": missing > UNSCORED,
        "past_errors": excess.get("accuracy", 0.0) > max(said.error, APART),
    }
    return Reliability(
        found.verdict,
        found.log_p_none,
        found.log_p_label,
        reach,
        missing,
        math.nan if ratio is None else ratio.effective,
        math.nan if ratio is None else ratio.auc,
        apart,
        ((1 - reach) * said.value, (1 - reach) * said.value + reach),
        tuple(name for name, doubt in raised.items() if doubt),
    )


def _disagreement(found: _Found, chosen: str) -> tuple[float, bool]:
    """Largest difference of accuracies that hold under the same verdict, and whether one is beyond their errors."""
    peers = {"label": ("bbse",), "covariate": ("cbpe", "doc")}.get(found.verdict, ("mlls", "pape", "doc"))
    said = found.guesses[chosen]["accuracy"]
    most, far = 0.0, False
    for name in peers:
        other = found.guesses.get(name, {}).get("accuracy")
        if name != chosen and other is not None and math.isfinite(other.value):
            apart = abs(other.value - said.value)
            most = max(most, apart)
            far = far or apart > max(APART, said.floor, _SIGMAS * math.hypot(said.error, other.error))
    return most, far
