"""Rows that show a finding, found among those that came since it began; of other rows none is shown.

Rows of a finding about columns together are ordered by the test's own witness. For columns by themselves those come
first that carry the fault that was found, then those whose values lie where more rows lie now than in the reference:
the score is the sum over the columns of the logarithm of how many times as many, with the doubt taken off where few
rows say so (`detectors.parts.rises`). This runs once a finding, and when somebody opens its page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from detectors import parts
from detectors.compare import Comparison
from detectors.grid import Grid
from detectors.types import Block, FloatArray, IntArray
from monitor.decode import Decoder
from monitor.evidence import TELLING, most_telling
from monitor.exemplars import explained
from monitor.fitted import Fitted
from monitor.report import Finding

if TYPE_CHECKING:
    from monitor.streams import ModelStreams, Stream

_CARRIED: Final = {
    "e_missing": (parts.MISSING,),
    "e_type_fault": (parts.MISSING,),
    "e_nonfinite": (parts.NONFINITE,),
    "e_new_category": (parts.NEW,),
    "e_out_of_range": (parts.BELOW, parts.ABOVE),
}
"""Detector of a fault -> where the values that have it are counted; those of a wrong type become missing ones."""


class Named(NamedTuple):
    """A column that a finding names, by its position in the grid, and what found it."""

    unit: int
    detector: str


def named_by(document: Mapping[str, Any], names: Sequence[str]) -> list[Named]:
    """The columns by themselves that a finding's document names; ``names`` are those of the grid."""
    at = {name: unit for unit, name in enumerate(names)}
    alone = (one for one in document["units"] if one["unit"] in at and not one.get("view"))
    return [Named(at[one["unit"]], one["detector"]) for one in alone]


def faulty(named: Sequence[Named]) -> list[Named]:
    """Those that name a fault."""
    return [one for one in named if one.detector in _CARRIED]


def telling(
    streams: ModelStreams, stream: Stream, finding: Finding, seen: Comparison
) -> tuple[pa.Table, dict[str, pa.Table]]:
    """Sampled rows since a finding began, and the tables of those that show it most: "window", maybe others beside it.

    ``seen`` are the rows since then beside the reference.
    """
    since = stream.panes.place_of(finding.since_pane, finding.since_time)
    rows = stream.sample.looked_through(since)
    view = max(culprit.index for culprit in finding.units) - len(stream.engine.names)
    if view >= 0:
        found = _together(streams, stream, view, rows)
    else:
        named = [Named(unit, culprit.detector) for culprit in finding.units for unit in culprit.members]
        shown = of_columns(streams.fitted, rows, named, seen)
        found = {"window": shown} if shown.num_rows else {}
    return stream.sample.table(since), found


def of_columns(fitted: Fitted, rows: pa.Table, named: Sequence[Named], seen: Comparison) -> pa.Table:
    """Those of some rows that show it, most of all first, at most `TELLING`; their score becomes the last column."""
    batches = rows.combine_chunks().to_batches()
    if not batches or not named:
        return pa.table({})
    block = decoder_of(fitted).decode(batches[0]).block
    score, carried = scores(block, named, seen)
    order = np.lexsort((-score, -carried))
    chosen = order[(score[order] > 0) | (carried[order] > 0)][:TELLING]
    return rows.take(pa.array(chosen)).append_column("witness", pa.array(score[chosen]))


def scores(block: Block, named: Sequence[Named], seen: Comparison) -> tuple[FloatArray, IntArray]:
    """How much each row shows the finding ``(n,)``, and how many of its faults it carries ``(n,)``."""
    score = np.zeros(block.rows)
    for unit in dict.fromkeys(unit for unit, _ in named):
        rise = parts.rises(seen.reference.summary, seen.summary, unit)
        score += rise[parts.places(seen.reference.grid, block, unit)]
    return score, faults(seen.reference.grid, block, named)


def faults(grid: Grid, block: Block, named: Sequence[Named]) -> IntArray:
    """How many of the faults that a finding names each row carries ``(n,)``; a shift is none."""
    carried = np.zeros(block.rows, np.int64)
    for unit, detector in named:
        if detector in _CARRIED:
            carried += np.isin(parts.places(grid, block, unit), _CARRIED[detector])
    return carried


def decoder_of(fitted: Fitted) -> Decoder:
    """One of its own: that of the streams belongs to the engine's thread."""
    return Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies)


def _together(streams: ModelStreams, stream: Stream, view: int, rows: pa.Table) -> dict[str, pa.Table]:
    """The most telling rows of the stream and of the reference, for a finding about columns together."""
    batches = rows.combine_chunks().to_batches()
    engine, fitted = stream.engine, streams.fitted
    witness = engine.joint.telling(view, engine.sample(stream.state.panes, view)) if batches else None
    if witness is None:
        return {}
    encoder, decoder = engine.reference.views[view].encoder, decoder_of(fitted)
    sides = {"window": batches[0], "reference": fitted.sample}
    values = {side: witness(encoder.encode(decoder.decode(some).block)) for side, some in sides.items()}
    shown = {side: most_telling(sides[side], values[side], largest=side == "window") for side in sides}
    return shown | explained(fitted, decoder, shown, view)
