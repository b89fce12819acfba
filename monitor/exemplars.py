"""What a finding's rows are like: the nearest trusted rows, and the trusted rows that speak for and against an answer.

Two tables beside the most telling rows, for a person to compare: "neighbours", by distance in the finding's own view
and in each embedding's, and "influence", where embeddings, probabilities and labels are logged (`detectors.influence`;
as if the model's last layer had been trained on the reference's sample). Bounded: `ROWS` rows are explained, each by
`NEIGHBOURS` rows a space and `EXEMPLARS` on either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors import influence
from detectors.multivariate.encode import Encoder, VectorEncoder
from detectors.rows.layout import Rows
from detectors.types import Block, FloatArray, IntArray, SingleArray, View
from monitor.decode import Decoded, Decoder
from monitor.fitted import Fitted
from monitor.security.layout import layout_of
from monitor.security.pseudonyms import Pseudonyms
from monitor.security.reader import Reader

ROWS = 20
"""Rows of a finding that are explained, at most."""
NEIGHBOURS = 3
EXEMPLARS = 3
MOST_CLASSES = 1_000
"""With more classes than this there is no attribution."""
_TRUSTED, _SUFFIX = "reference_row", " (reference)"
_UNUSED_KEY = bytes(16)
"""The pseudonyms made here are thrown away."""


class Nearest(NamedTuple):
    """For ``n`` rows the nearest of others and how far these are, ``(n, k)`` each, the nearest first."""

    rows: IntArray
    distances: FloatArray


def explained(
    fitted: Fitted, decoder: Decoder, telling: Mapping[str, pa.Table], view: int | None = None
) -> dict[str, pa.Table]:
    """The tables "neighbours" and "influence" for the rows of ``telling["window"]`` (`ModelStreams.telling`).

    ``view`` is the finding's own, a position in ``fitted.reference.views``; None or negative for a finding about single
    columns. A table that cannot be made (no views, no labels) is left out. In both, ``row`` is the position in
    ``telling["window"]`` and ``reference_row`` that in ``fitted.sample``; its columns follow.
    """
    if "window" not in telling or not telling["window"].num_rows or not fitted.sample.num_rows:
        return {}
    rows = telling["window"].slice(0, ROWS).combine_chunks().to_batches()[0]
    window, trusted = decoder.decode(rows), decoder.decode(fitted.sample)
    found = {
        "neighbours": neighbours(_spaces(fitted, view), window.block, trusted.block, fitted.sample),
        "influence": _influence(fitted, window, trusted),
    }
    return {name: table for name, table in found.items() if table is not None and table.num_rows}


def neighbours(views: list[View], block: Block, trusted: Block, sample: pa.RecordBatch) -> pa.Table:
    """The nearest rows of ``trusted``, which is ``sample`` decoded, in each view's encoded space.

    Columns: row, rank (from 1), space, distance (in the encoder's units), reference_row, and the reference row's own.
    """
    parts = []
    for view in views:
        mine, theirs = (np.flatnonzero(_there(view.encoder, some)) for some in (block, trusted))
        near = nearest(view.encoder.encode(block)[mine], view.encoder.encode(trusted)[theirs], NEIGHBOURS)
        n, k = near.rows.shape
        facts = {
            "row": np.repeat(mine, k),
            "rank": np.tile(np.arange(1, k + 1), n),
            "space": pa.array([view.name] * (n * k), pa.string()),
            "distance": near.distances.reshape(-1),
        }
        parts.append(_beside(facts, theirs[near.rows.reshape(-1)], sample))
    return pa.concat_tables(parts) if parts else pa.table({})


def nearest(rows: SingleArray, others: SingleArray, number: int) -> Nearest:
    """The ``number`` nearest of ``others (m, d)`` to each of a few ``rows (n, d)``, by Euclidean distance; finite rows.

    Of equal distances the first counts.
    """
    a, b = rows.astype(np.float64), others.astype(np.float64)
    squares = np.square(b).sum(axis=1) - 2 * a @ b.T
    order = np.argsort(squares, axis=1, kind="stable")[:, :number]
    distances = np.linalg.norm(a[:, None] - b[order], axis=2)
    again = np.argsort(distances, axis=1, kind="stable")  # exact, where the squares cancelled
    return Nearest(np.take_along_axis(order, again, axis=1), np.take_along_axis(distances, again, axis=1))


def _spaces(fitted: Fitted, view: int | None) -> list[View]:
    """The finding's own view, or that of the columns, and the embeddings'."""
    views = fitted.reference.views
    own = views[:1] if view is None or view < 0 else views[view : view + 1]
    embeddings = fitted.plan.roles.embeddings
    return list(own) + [one for one in views if one.name in embeddings and one not in own]


def _there(encoder: Encoder, block: Block) -> NDArray[np.bool_]:
    """Rows that have a place of their own in the space: a missing embedding lies in the centre."""
    if not isinstance(encoder, VectorEncoder):
        return np.ones(block.rows, np.bool_)
    there: NDArray[np.bool_] = np.all(np.isfinite(block.vectors[int(encoder.vector)]), axis=1)
    return there


def _influence(fitted: Fitted, window: Decoded, trusted: Decoded) -> pa.Table | None:
    """Trusted rows that raise and that lower the margin of each answer; None where the log does not carry enough.

    Columns: row, rank, side, influence, reference_row, and the reference row's own.
    """
    layout = layout_of(fitted.plan, fitted.reference.grid)
    encoder = _embedding(fitted, int(layout.embedding))
    reader = Reader(fitted, Pseudonyms(_UNUSED_KEY))
    asked, known = reader.rows(window), reader.rows(trusted)
    if encoder is None or known.label is None or known.probabilities is None or asked.predicted is None:
        return None
    if known.probabilities.shape[1] > MOST_CLASSES or asked.probabilities is None:
        return None
    try:
        measured = influence.fit(_embedded(encoder, known), known.probabilities, known.label)
    except ValueError:  # no reference row has all three
        return None
    scores = influence.attribution(measured, _embedded(encoder, asked), asked.probabilities, asked.predicted)
    return pa.concat_tables(list(_sides(scores, fitted.sample)))


def _sides(scores: FloatArray, sample: pa.RecordBatch) -> Iterator[pa.Table]:
    """The exemplars of either side as tables."""
    both = influence.exemplars(scores, EXEMPLARS)
    for side, chosen in (("supports", both.supporting), ("opposes", both.opposing)):
        row, place = np.nonzero(chosen >= 0)
        trusted = chosen[row, place]
        facts = {
            "row": row,
            "rank": place + 1,
            "side": pa.array([side] * len(row), pa.string()),
            "influence": scores[row, trusted],
        }
        yield _beside(facts, trusted, sample)


def _embedding(fitted: Fitted, vector: int) -> VectorEncoder | None:
    """The encoder of the embedding at that position of the block's vectors."""
    encoders = (view.encoder for view in fitted.reference.views)
    mine = (one for one in encoders if isinstance(one, VectorEncoder) and int(one.vector) == vector)
    return next(mine, None)


def _embedded(encoder: VectorEncoder, rows: Rows) -> SingleArray:
    """Encoded embeddings, NaN where missing."""
    return np.where(_there(encoder, rows.block)[:, None], encoder.encode(rows.block), np.float32(np.nan))


def _beside(facts: Mapping[str, pa.Array | NDArray[np.generic]], rows: IntArray, sample: pa.RecordBatch) -> pa.Table:
    """Facts about some rows of the sample, and the rows; a column that has a fact's name says whose it is."""
    shown = {**facts, _TRUSTED: rows}
    columns = sample.take(pa.array(rows, pa.int64())).columns
    names = [name + _SUFFIX if name in shown else name for name in sample.schema.names]
    return pa.Table.from_arrays([*(pa.array(one) for one in shown.values()), *columns], names=[*shown, *names])
