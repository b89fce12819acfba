"""Undrifted rows without end, resampled from the sample of rows that the artefact keeps.

Runs of neighbouring rows are drawn (circular block bootstrap), so that rows keep their dependence. Each stream has a
law of its own: as many runs as the reference has, drawn once; the stream is drawn from these. The law then differs from
the reference as production does from a reference of that many rows: the reference's own error is part of the study.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from detectors import parts
from detectors.types import Block, IntArray, Reference, Summary
from monitor.decode import Decoder
from monitor.fitted import Fitted
from monitor.windows import rows_of

SHORTEST_RUN = 32
"""Rows of a run where rows do not depend on each other."""
TAU_PER_RUN = 10
"""Autocorrelation times that a run spans: the seams then break a tenth of the dependence at most."""
LEAST_RUNS = 8
"""Runs that the sample must hold; rows that depend longer than that lose some of their dependence."""
_MOST_STARTS = 200_000


class Law(NamedTuple):
    """One stream's law: where its runs may start, ``(k,)``, and how long they are."""

    starts: IntArray
    run: int


@dataclasses.dataclass(frozen=True)
class Rows:
    """The decoded sample, how long its runs are, and how many rows it stands for."""

    block: Block
    run: int
    stands_for: int

    def law(self, rng: np.random.Generator) -> Law:
        """Draw a law at the distance from the reference that its number of rows allows."""
        number = int(np.clip(round(self.stands_for / self.run), 1, _MOST_STARTS))
        return Law(rng.integers(0, self.block.rows, number), self.run)

    def index(self, law: Law, rows: int, rng: np.random.Generator) -> IntArray:
        """Positions ``(rows,)`` of so many consecutive rows of a stream."""
        starts = law.starts[rng.integers(0, len(law.starts), -(-rows // law.run))]
        spread = (starts[:, None] + np.arange(law.run)) % self.block.rows
        index: IntArray = spread.ravel()[:rows]
        return index

    def take(self, index: IntArray) -> Block:
        """Those rows."""
        return rows_of(self.block, index)


def longest_tau(reference: Reference) -> float:
    """Greatest autocorrelation time of a column, in rows."""
    return float(max(np.max(reference.tau, initial=1.0), np.max(reference.tau_missing, initial=1.0)))


def rows_from(fitted: Fitted) -> Rows:
    """Decode the sample as production would."""
    decoder = Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies)
    block = dataclasses.replace(decoder.decode(fitted.sample).block, time=None)
    longest = max((view.run for view in fitted.reference.views), default=0)
    wanted = max(SHORTEST_RUN, int(np.ceil(TAU_PER_RUN * longest_tau(fitted.reference))), 2 * longest)
    return Rows(block, max(min(wanted, block.rows // LEAST_RUNS), 1), fitted.rows)


def as_sampled(reference: Reference, rows: Rows) -> Reference:
    """The reference as it would be if all its rows were distributed like the sample: counts scaled up.

    Only where the sample is a part of the reference: a stream of sampled rows must not differ from it by the sample's
    own error, which production does not have.
    """
    factor = rows.stands_for / rows.block.rows
    if factor <= 1:
        return reference
    grid, block, strata = reference.grid, rows.block, reference.strata
    if strata is not None and block.strata is not None:
        mine = [np.flatnonzero(block.strata == code) for code in range(len(strata.parts))]
        pieces = [_scaled(parts.summarise(grid, rows_of(block, one)), factor) for one in mine]
        kept = tuple(new if new.rows else old for new, old in zip(pieces, strata.parts, strict=True))
        strata = dataclasses.replace(strata, parts=kept)
    summary = _scaled(parts.summarise(grid, block), factor)
    return dataclasses.replace(reference, summary=summary, strata=strata)


def _scaled(summary: Summary, factor: float) -> Summary:
    counts = ("numeric", "codes", "missing", "nonfinite", "new", "faults", "mix")
    more = {name: np.rint(getattr(summary, name) * factor).astype(np.int64) for name in counts}
    return dataclasses.replace(summary, rows=round(summary.rows * factor), sums=summary.sums * factor, **more)
