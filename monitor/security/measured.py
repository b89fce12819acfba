"""What the guard knows of the reference: everything that rows, senders and labels are held against.

Measured on the reference's sample when a model begins. A reference without rows enough leaves parts silent, each by
its own rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors import golden, versions
from detectors.poisoning import feedback
from detectors.queries import clients, fingerprints, prada, ring, senders
from detectors.queries.suspicion import Queries
from detectors.rows import confidence, integrity, outputs, scores, spaces
from detectors.rows.layout import Layout, Rows
from detectors.types import Block, FloatArray, SingleArray
from monitor.decode import Decoder
from monitor.fitted import Fitted
from monitor.prepared import flat, rebuilt, under
from monitor.sections import Security
from monitor.security.layout import layout_of
from monitor.security.pseudonyms import Pseudonyms
from monitor.security.reader import Reader

ODD_RATE = 0.005
"""Share of reference rows that a heuristic for single rows may call odd."""
DISAGREEING_RATE = 0.02
"""The same where neighbours' labels are counted: of ten neighbours all disagree about one good row in fifty."""
UNSURE = 0.1
"""Share of reference rows whose answer is so unsure that their neighbours disagree by nature, and are not asked."""
_RATES = dict.fromkeys(scores.HEURISTICS, ODD_RATE)
_RATES["neighbour_disagreement"] = DISAGREEING_RATE
LOW_MARGIN = 0.01
"""Share of reference rows whose margin counts as low."""
_OF_REPEATS = ("near_duplicates", "output_integrity")
"""Kinds that near-duplicates are asked about, too: rows that repeat each other are one piece of evidence to others."""
_NO_KEY = bytes(32)
_PIECE = 32
"""Neighbouring rows that stay together when the sample is parted."""


class Single(NamedTuple):
    """What single rows are held against; ``margin ()`` is the reference's low margin, ``unsure ()`` an unsure one.

    NaN: unknown.
    """

    layout: Layout
    scores: scores.RowsFixed
    integrity: integrity.IntegrityFixed
    outputs: outputs.OutputsFixed
    margin: FloatArray
    unsure: FloatArray


class Held(NamedTuple):
    """What single rows, near-duplicates, senders and versions are held against.

    ``cells`` are the centres of the parts of the inputs' space within which versions are compared.
    """

    single: Single
    near: ring.NearFixed
    clients: senders.ClientsFixed
    cells: SingleArray
    prada: prada.PradaFixed


class Measured(NamedTuple):
    """All that was measured.

    ``feedback`` is None where the reference has too few labels, ``fingerprints`` where nobody asked for them.
    ``columns`` are how many numbers, and columns at all, make an input: (0, 0) of images. ``tau`` is how many rows'
    answers count as one.
    """

    held: Held
    feedback: feedback.FeedbackFixed | None
    golden: golden.GoldenFixed
    fingerprints: fingerprints.FingerprintsFixed | None
    columns: tuple[int, int]
    tau: float


class Flags(NamedTuple):
    """Of n rows: whether each ``kinds`` flags them, ``flags (n, k)``, and was asked at all; T2 of the scores."""

    kinds: tuple[str, ...]
    flags: NDArray[np.bool_]
    asked: NDArray[np.bool_]
    odd: FloatArray


def measure(fitted: Fitted, settings: Security, seed: int = 0) -> dict[str, Any]:
    """Measure the reference's sample, for the number of queries that will be remembered, as arrays to be kept.

    Nothing of it depends on anybody's key.
    """
    layout, reader = layout_of(fitted.plan, fitted.reference.grid), Reader(fitted, Pseudonyms(_NO_KEY))
    grid, summary = fitted.reference.grid, fitted.reference.summary
    rows = _sample(fitted, reader)
    rng = np.random.default_rng(seed)
    scored = scores.fit(layout, grid, summary, rows.block, rows.label, rng)
    queries = queries_of(scored.spaces, rows)
    margin = queries.margin[np.isfinite(queries.margin)]
    single = Single(
        layout,
        scored,
        integrity.fit(layout, grid, summary, rows.block),
        outputs.fit(layout, rows, rows.latency),
        *(np.array(np.quantile(margin, share) if len(margin) else np.nan) for share in (LOW_MARGIN, UNSURE)),
    )
    near = ring.calibrate(queries, max(settings.queries, 2), rng)
    known = _senders(single, near, rows, len(reader.classes), rng, training=False)
    held = Held(single, near, known, versions.centres(queries.near, rng), prada.calibrate(queries, rng))
    trusted = _labels(scored, rows, len(reader.classes), rng)
    return flat({"held": held, **({} if trusted is None else {"feedback": trusted})})


def measured(fitted: Fitted, reader: Reader, settings: Security, seed: int = 0) -> Measured:
    """What was kept with the reference, or measured now where it is of other settings; with the ``reader``'s key."""
    kept = fitted.security
    try:
        held, heard = _rebuilt(kept)
        fits = int(held.near.radius.capacity) == max(settings.queries, 2)
    except ValueError:  # nothing was kept, or by another version
        fits = False
    if not fits:
        held, heard = _rebuilt(measure(fitted, settings, seed))
    rows = _sample(fitted, reader)
    rng = np.random.default_rng(seed)
    if settings.training:
        known = _senders(held.single, held.near, rows, len(reader.classes), rng, training=True)
        held = held._replace(clients=known)
    probes = golden.fit(held.single.layout, rows, rng)
    marked = _marked(held.single.scores.spaces, rows, reader, settings)
    layout, reference = held.single.layout, fitted.reference
    answers = [int(unit) for unit in (layout.prediction, layout.score) if unit >= 0]
    tau = float(reference.tau[answers].max(initial=1.0))
    columns = _columns(layout, len(reference.grid.numeric_names))
    found = Measured(held, None, probes, marked, columns, tau)
    if heard is None:
        return found
    digest, times = np.unique(rows.digest, return_counts=True)
    return found._replace(feedback=heard._replace(digest=digest, times=times.astype(np.int64)))


def _rebuilt(kept: Mapping[str, Any]) -> tuple[Held, feedback.FeedbackFixed | None]:
    """What was kept; ValueError if that is something else."""
    trusted = under("feedback", kept)
    return rebuilt(Held, under("held", kept)), rebuilt(feedback.FeedbackFixed, trusted) if trusted else None


def _marked(
    known: spaces.Spaces, rows: Rows, reader: Reader, settings: Security
) -> fingerprints.FingerprintsFixed | None:
    """Fingerprints with the reader's secret, where they are asked for."""
    if not settings.fingerprints:
        return None
    secret, pixels = reader.secret("fingerprints"), len(known.layout.image) > 0
    return fingerprints.calibrate(
        spaces.inputs(known, rows.block), rows.digest, settings.queries, secret, pixels=pixels
    )


def _columns(layout: Layout, p: int) -> tuple[int, int]:
    """How many numbers, and columns at all, `columns_of` gives."""
    return (0, 0) if len(layout.image) else (int((layout.features < p).sum()), len(layout.features))


def columns_of(layout: Layout, block: Block) -> FloatArray:
    """What the model got, column by column as logged ``(n, f)``, numbers first; no columns where it got an image."""
    p, wanted = block.numeric.shape[1], layout.features
    if len(layout.image):
        return np.zeros((block.rows, 0))
    codes = block.codes[:, wanted[wanted >= p] - p].astype(np.float64)
    return np.concatenate([block.numeric[:, wanted[wanted < p]], codes], axis=1)


def _sample(fitted: Fitted, reader: Reader) -> Rows:
    return reader.rows(Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies).decode(fitted.sample))


def place_of(known: spaces.Spaces, block: Block) -> SingleArray:
    """Where labels are compared with their neighbours' ``(n, d)``: the embedding, else the model's inputs."""
    z = spaces.embedding(known, block)
    return z if z.shape[1] else spaces.inputs(known, block)


def _labels(
    scored: scores.RowsFixed, rows: Rows, classes: int, rng: np.random.Generator
) -> feedback.FeedbackFixed | None:
    if rows.label is None:
        return None
    try:
        place = place_of(scored.spaces, rows.block)
        return feedback.fit(place, rows.label, classes, rng, probabilities=rows.probabilities)
    except ValueError:  # too few labelled rows to trust
        return None


def flags_of(fixed: Single, rows: Rows, queries: Queries, hit: NDArray[np.bool_], answers: NDArray[np.bool_]) -> Flags:
    """Every kind of flag; ``hit (n,)`` are near-duplicates, ``answers (n,)`` answers that cannot be.

    A camera on one odd scene sends no second odd row: what is wrong with near-duplicates is told by their clusters.
    """
    n = rows.block.rows
    scored = scores.score(fixed.scores, rows.block)
    odd = {rate: scores.flags(scored, rate) for rate in (ODD_RATE, DISAGREEING_RATE)}
    names, _ = odd[ODD_RATE]
    every = np.ones(n, bool)
    with np.errstate(invalid="ignore"):
        low = np.asarray(queries.margin <= fixed.margin)
    found = {
        "near_duplicates": (hit, np.isfinite(queries.near).all(axis=1) & (queries.near.shape[1] > 0)),
        "low_margin": (low, np.isfinite(queries.margin)),
        "integrity": (np.asarray(integrity.check(fixed.integrity, rows.block).score > 0), every),
        "output_integrity": (answers, every if answered(fixed.layout, rows) else ~every),
        **{name: (odd[_RATES[name]][1][:, i], every) for i, name in enumerate(names)},
    }
    # Of rows far from all trusted ones, or between classes, the neighbours say nothing.
    if (kind := "neighbour_disagreement") in found:
        with np.errstate(invalid="ignore"):
            known = np.isfinite(scored.scores[:, scored.names.index(kind)]) & ~(queries.margin <= fixed.unsure)
        found[kind] = (found[kind][0] & known, known)
    flags, asked = (np.stack([pair[i] for pair in found.values()], axis=1) for i in range(2))
    anew = np.isin(tuple(found), _OF_REPEATS) | ~hit[:, None]
    return Flags(tuple(found), flags, asked & anew, scored.t2)


def answered(layout: Layout, rows: Rows) -> bool:
    """Whether the rows come with the columns of answers that the reference has: without them no answer is wrong."""
    logged = ((layout.probabilities, rows.probabilities), (layout.logits, rows.logits))
    return all(values is not None for place, values in logged if int(place) >= 0)


def _senders(
    fixed: Single,
    near: ring.NearFixed,
    rows: Rows,
    classes: int,
    rng: np.random.Generator,
    *,
    training: bool,
) -> senders.ClientsFixed:
    """What senders are held against, on every other piece of the sample."""
    n = rows.block.rows
    queries = queries_of(fixed.scores.spaces, rows)
    wrong = outputs.Outputs(fixed.outputs, fixed.layout).add(rows, rows.latency).kinds != 0
    known = flags_of(fixed, rows, queries, np.zeros(n, bool), wrong)
    held = np.flatnonzero((np.arange(n) // _PIECE) % 2 == 1)
    others = np.flatnonzero((np.arange(n) // _PIECE) % 2 == 0)
    found = clients.calibrate(
        known.kinds,
        known.flags[held],
        Queries._make(column[held] for column in queries),
        known.odd[held],
        classes,
        rng,
        asked=known.asked[held],
        training=clients.Known(queries.digest[others], queries.near[others]) if training else None,
    )
    flagged = found.flagged.copy()
    rates = {"near_duplicates": max(ring.RATE, float(near.radius.rate)), **_RATES}
    for kind, rate in rates.items():
        if kind in known.kinds:  # these rates hold by construction: on rows that were fitted to, few are odd
            place = known.kinds.index(kind)
            flagged[place] = rate * found.asked[place]
    if "integrity" in known.kinds and fixed.integrity.rows > 0:  # counted on rows that no check was learnt from
        place = known.kinds.index("integrity")
        asked = found.asked.copy()
        asked[place] = fixed.integrity.rows
        flagged[place] = min(float(fixed.integrity.flagged.sum()), float(fixed.integrity.rows))
        found = found._replace(asked=asked)
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
