"""What the guard knows of the reference: everything that rows, senders and labels are held against.

Measured on the reference's sample when a model begins. A reference without rows enough leaves parts silent, each by
its own rule.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.queries import clients, ring, senders
from detectors.queries.suspicion import Queries
from detectors.rows import confidence, integrity, outputs, scores, spaces
from detectors.rows.layout import Layout, Rows
from detectors.types import FloatArray
from monitor.decode import Decoder
from monitor.fitted import Fitted
from monitor.sections import Security
from monitor.security.reader import Reader

ODD_RATE = 0.005
"""Share of reference rows that a heuristic for single rows may call odd."""
LOW_MARGIN = 0.01
"""Share of reference rows whose margin counts as low."""
_PIECE = 32
"""Neighbouring rows that stay together when the sample is parted."""


class Single(NamedTuple):
    """What single rows are held against; ``margin ()`` is the reference's low margin (NaN: unknown)."""

    layout: Layout
    scores: scores.RowsFixed
    integrity: integrity.IntegrityFixed
    outputs: outputs.OutputsFixed
    margin: FloatArray


class Measured(NamedTuple):
    """What single rows, near-duplicates and senders are held against."""

    single: Single
    near: ring.NearFixed
    clients: senders.ClientsFixed


class Flags(NamedTuple):
    """Of n rows: whether each ``kinds`` flags them, ``flags (n, k)``, and was asked at all; T2 of the scores."""

    kinds: tuple[str, ...]
    flags: NDArray[np.bool_]
    asked: NDArray[np.bool_]
    odd: FloatArray


def measure(fitted: Fitted, layout: Layout, reader: Reader, settings: Security, seed: int = 0) -> Measured:
    """Measure the reference's sample, for the number of queries that will be remembered."""
    grid, summary = fitted.reference.grid, fitted.reference.summary
    rows = reader.rows(Decoder(fitted.plan, grid, fitted.vocabularies).decode(fitted.sample))
    rng = np.random.default_rng(seed)
    scored = scores.fit(layout, grid, summary, rows.block, rows.label, rng)
    queries = queries_of(scored.spaces, rows)
    margin = queries.margin[np.isfinite(queries.margin)]
    single = Single(
        layout,
        scored,
        integrity.fit(layout, grid, summary, rows.block),
        outputs.fit(layout, rows, rows.latency),
        np.array(np.quantile(margin, LOW_MARGIN) if len(margin) else np.nan, np.float64),
    )
    near = ring.calibrate(queries, max(settings.queries, 2), rng)
    return Measured(single, near, _senders(single, rows, queries, len(reader.classes), settings, rng))


def flags_of(fixed: Single, rows: Rows, queries: Queries, hit: NDArray[np.bool_], answers: NDArray[np.bool_]) -> Flags:
    """Every kind of flag; ``hit (n,)`` are near-duplicates, ``answers (n,)`` answers that cannot be."""
    n = rows.block.rows
    scored = scores.score(fixed.scores, rows.block)
    names, odd = scores.flags(scored, ODD_RATE)
    every = np.ones(n, bool)
    with np.errstate(invalid="ignore"):
        low = np.asarray(queries.margin <= fixed.margin)
    found = {
        "near_duplicates": (hit, np.isfinite(queries.near).all(axis=1) & (queries.near.shape[1] > 0)),
        "low_margin": (low, np.isfinite(queries.margin)),
        "integrity": (np.asarray(integrity.check(fixed.integrity, rows.block).score > 0), every),
        "output_integrity": (answers, every),
        **{name: (odd[:, i], every) for i, name in enumerate(names)},
    }
    flags, asked = (np.stack([pair[i] for pair in found.values()], axis=1) for i in range(2))
    return Flags(tuple(found), flags, asked, scored.t2)


def _senders(
    fixed: Single,
    rows: Rows,
    queries: Queries,
    classes: int,
    settings: Security,
    rng: np.random.Generator,
) -> senders.ClientsFixed:
    """What senders are held against, on every other piece of the sample."""
    n = rows.block.rows
    wrong = outputs.Outputs(fixed.outputs, fixed.layout).add(rows, rows.latency).kinds != 0
    known = flags_of(fixed, rows, queries, np.zeros(n, bool), wrong)
    held = np.flatnonzero((np.arange(n) // _PIECE) % 2 == 1)
    training = np.flatnonzero((np.arange(n) // _PIECE) % 2 == 0) if settings.training else np.zeros(0, np.int64)
    found = clients.calibrate(
        known.kinds,
        known.flags[held],
        Queries._make(column[held] for column in queries),
        known.odd[held],
        classes,
        rng,
        asked=known.asked[held],
        training=clients.Known(queries.digest[training], queries.near[training]) if len(training) else None,
    )
    flagged = found.flagged.copy()
    for kind, rate in {"near_duplicates": ring.RATE, **dict.fromkeys(scores.HEURISTICS, ODD_RATE)}.items():
        if kind in known.kinds:  # these rates hold by construction: on rows that were fitted to, few are odd
            place = known.kinds.index(kind)
            flagged[place] = rate * found.asked[place]
    return found._replace(flagged=flagged)


def queries_of(known: spaces.Spaces, rows: Rows) -> Queries:
    """Rows as the analysis of queries wants them."""
    n = rows.block.rows
    p = rows.probabilities
    unknown = np.full(n, np.nan, np.float32)
    return Queries(
        near=spaces.similarity(known, rows.block),
        digest=rows.digest,
        client=np.zeros(n, np.uint64) if rows.client is None else rows.client,
        predicted=np.full(n, -1, np.int32) if rows.predicted is None else rows.predicted,
        margin=unknown if p is None else confidence.margins(p).astype(np.float32),
        confidence=unknown if p is None or not p.shape[1] else p.max(axis=1),
        time=np.full(n, np.nan) if rows.time is None else rows.time,
    )
