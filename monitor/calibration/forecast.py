"""What the mean of the counts alone foretells: e-detectors fed with expected answers instead of drawn ones.

Question: after how many panes does a column reach the threshold if every pane has exactly the shifted shares?
Method: the recursion of the detector itself (log evidence grows by the bet's log-likelihood ratio under the shifted
law), without its noise. Tells which sizes need no simulation, and stands beside the measured delay as a cross-check.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors import parts
from detectors.sequential import recursion
from detectors.types import Block, FloatArray
from monitor.engine import Engine


class Forecast(NamedTuple):
    """Per column ``(u,)``: the probability mass that moved, and panes until the alarm (inf: not within the horizon)."""

    mass: FloatArray
    panes: FloatArray


def forecast(engine: Engine, shifted: Block, rows: int, threshold: float, horizon: int) -> Forecast:
    """``shifted`` are rows of the shifted law, ``rows`` those of a pane, ``threshold`` is A in panes."""
    summary = parts.summarise(engine.reference.grid, shifted)
    u = len(engine.names)
    mass, ways = np.zeros(u), []
    for row, (name, it) in enumerate(engine.sequential.items()):
        asked, (yes, of) = it.questions(engine.fixed[name]), it.answers(engine.fixed[name], summary)
        share = np.divide(yes, of, out=asked.share.copy(), where=of > 0)
        np.maximum.at(mass, asked.unit, np.where(asked.p0 < 1, share - asked.share, 0.0))
        each = rows * of / max(summary.rows, 1)
        number = np.bincount(asked.unit, minlength=u) * len(recursion.STEPS)
        with np.errstate(divide="ignore"):
            weight = np.log(engine.weight[row, :u]) - np.log(np.maximum(number, 1))
        ways.append((asked.unit, recursion.bets(asked.p0, asked.tau), share * each, each, weight))
    panes, states = np.full(u, np.inf), [recursion.start(way[1]) for way in ways]
    for pane in range(1, horizon + 1):
        total = np.full(u, -np.inf)
        for i, (unit, bets, yes, each, weight) in enumerate(ways):
            states[i] = recursion.step(bets, states[i], yes, each)
            with np.errstate(divide="ignore"):
                total = np.logaddexp(total, np.log(np.bincount(unit, states[i].r.sum(axis=1), u)) + weight)
        panes[np.isinf(panes) & (total >= np.log(threshold))] = pane
        if np.isfinite(panes).all():
            break
    return Forecast(mass, panes)
