"""Rows worth a label, the most informative first, each with the reasons why."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import softmax

from detectors import labelling, weights
from detectors.rows.layout import Rows
from detectors.types import FloatArray, SingleArray
from monitor.decode import Decoded
from monitor.errors import NothingThere
from monitor.exports import table
from monitor.exports.ground import Ground
from monitor.exports.pool import Piece, Pool
from monitor.exports.senders import outside

CANDIDATES = 20_000
"""Kept rows without a label among which is chosen."""
NEWS = 0.1
"""A row is called unsure, or new, if at most this share of the reference is so as well."""
_SEED = 0


def write(ground: Ground, out: BinaryIO) -> dict[str, Any]:
    """The rows; ids and times alone for those who may not see values."""
    rng = np.random.default_rng(_SEED)
    pool, labelled = candidates(ground, rng)
    pieces = pool.pieces()
    if not pieces:
        raise NothingThere("no kept rows of this span are without a label; ask for another span, or keep more rows")
    places, doubt = np.concatenate([one.places for one in pieces]), np.concatenate([one.doubt for one in pieces])
    known = ground.places.of(ground.trusted.block)
    now, then = _novelty(known, places, rng)
    worth = labelling.worth((doubt, doubts(ground.reader.rows(ground.trusted))), (now, then))
    taken = labelling.taken(worth.total, places, ground.asked.rows, labelling.near(known, rng))
    shown = table.joined(one.shown for one in pieces)
    facts = {
        "rows": len(taken.rows),
        "candidates": len(places),
        "unlabelled_rows": pool.offered,
        "labelled_rows": labelled,
        "doubt_is_known": bool(np.isfinite(doubt).any()),
        "novelty_is_known": bool(np.isfinite(now).any()),
    }
    table.write(
        table.beside(_columns(worth, doubt, now, taken), shown.take(pa.array(taken.rows))), ground.about | facts, out
    )
    return facts


def candidates(ground: Ground, rng: np.random.Generator) -> tuple[Pool, int]:
    """Kept rows of the span without a label, and how many have one; nothing of what is in quarantine."""
    pool, labelled, number = Pool(CANDIDATES, rng), 0, 0
    for some in outside(ground):
        rows = ground.reader.rows(some)
        wanted = unlabelled(ground, some)
        shown = table.beside({"row": number + np.arange(some.block.rows)}, ground.shown(some.batch))
        pool.add(Piece(ground.places.of(some.block), doubts(rows), shown).some(wanted))
        labelled += int((~wanted).sum())
        number += some.block.rows
    return pool, labelled


def doubts(rows: Rows) -> FloatArray:
    """How unsure the model says it is of its answer ``(n,)``: 1 less its greatest probability; NaN where not logged."""
    found = rows.probabilities
    if found is None and rows.logits is not None:
        found = softmax(rows.logits, axis=1)
    if found is None:
        return np.full(rows.block.rows, np.nan)
    doubt: FloatArray = 1.0 - found.max(axis=1, initial=-np.inf).astype(np.float64)
    return doubt


def unlabelled(ground: Ground, some: Decoded) -> NDArray[np.bool_]:
    """Which rows have no label in the log."""
    role, batch = ground.fitted.plan.roles.label, some.batch
    at = batch.schema.get_field_index(role) if role else -1
    if at < 0:
        return np.ones(batch.num_rows, bool)
    missing: NDArray[np.bool_] = batch.column(at).is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    return missing


def _novelty(known: SingleArray, places: SingleArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """How much more often each row, and each of the reference, comes now, as logarithms; NaN from too few rows."""
    try:
        ratio = weights.fit(known, places, rng)
    except ValueError:
        return np.full(len(places), np.nan), np.full(len(known), np.nan)
    return weights.log_ratio(ratio, places), weights.log_ratio(ratio, known)


def _columns(worth: labelling.Worth, doubt: FloatArray, now: FloatArray, taken: labelling.Taken) -> dict[str, Any]:
    chosen = taken.rows
    told = zip(worth.unsure[chosen], worth.novel[chosen], now[chosen], strict=True)
    return {
        "rank": np.arange(1, len(chosen) + 1),
        "worth": worth.total[chosen],
        "doubt": doubt[chosen],
        "times_as_often": np.exp(now[chosen]),
        "nearness": taken.nearness,
        "reasons": pa.array([reasons(*one) for one in told], pa.list_(pa.string())),
    }


def reasons(unsure: float, novel: float, now: float) -> list[str]:
    """Why a row is worth a label, for the person who labels it."""
    told = []
    if unsure <= NEWS:
        told.append(f"the model is as unsure of at most {unsure:.1%} of the reference")
    if novel <= NEWS and now > 0:
        told.append(f"rows like it come {np.exp(now):.1f} times as often as in the reference")
    return told or ["it covers a part of the traffic that no row above does"]
