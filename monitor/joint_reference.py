"""The joint views of a reference: encoders, and a sample of its rows in runs of neighbours, encoded.

Which runs are kept of a reference that is larger than the sample is decided by a hash of their number. An embedding's
axes, and the ranks of row scores, are found on runs that are never in the sample: rows vary more along axes that were
fitted to them than later ones do, and a test would call that drift.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.grid import Grid
from detectors.multivariate.dependence import autocorrelation_time
from detectors.multivariate.encode import Encoder, columns_encoder, vector_encoder
from detectors.multivariate.samples import Chooser, mixed, picked, run_rows, window_sample
from detectors.rows import scores
from detectors.rows.answers import place
from detectors.rows.encoder import VIEW, ScoreEncoder
from detectors.rows.layout import Layout
from detectors.types import Block, FloatArray, IntArray, Sample, Summary, View
from monitor.decode import Decoder
from monitor.passes import Batches, decoded, taken
from monitor.schema import Plan

MOST_ROWS = 20_000
"""Rows of a view's sample."""
MOST_VALUES = 1 << 23
"""Encoded values of all views (32 MB), and values of the vectors on which axes are found."""
AXES_ROWS = 8_192
"""Rows on which the axes of embeddings and the ranks of row scores are found, at most."""
LEAST_RUNS = 40
"""With fewer complete runs in the sample there are no joint views."""
MOST_TAU = 64.0
"""A column whose rows depend on each other for longer (a daily cycle, a trend) is looked at alone: seen together with
others it would make every joint test as slow as itself. References by hour of the week cure it."""
_SOME_MISSING = 0.01
"""From this share of missing values on, their dependence counts as well."""
_RESERVED = 4
"""Every so many runs, by hash, one is for the axes of embeddings and the ranks of row scores alone."""
_LEAST_SCORES = 2
"""Scores of a view at least: a single one is better looked at as a number of its own."""
_NO_SCORES = (
    f"Row scores are not looked at over windows: it takes {scores.LEAST_ROWS * _RESERVED:,} reference rows or so, and "
    "two scores that vary among them."
)
COLUMNS, SCORES = "columns", "scores"


class Measured(NamedTuple):
    """What the fit knows when it comes to the views; ``rows`` are a sample of the reference, decoded.

    ``scored`` says whether there is to be a view of row scores; None: if there is a ``layout`` in which the log carries
    an embedding, probabilities, logits or an image.
    """

    plan: Plan
    grid: Grid
    summary: Summary
    rows: Block
    tau: FloatArray
    tau_missing: FloatArray
    layout: Layout | None = None
    scored: bool | None = None

    @property
    def scores_wanted(self) -> bool:
        """Whether a view of row scores is to be tried."""
        if self.layout is None or self.scored is not None:
            return self.layout is not None and bool(self.scored)
        carried = (self.layout.image, self.layout.embedding, self.layout.probabilities, self.layout.logits)
        return any(place(position) >= 0 for position in carried)

    @property
    def dependence(self) -> FloatArray:
        """Autocorrelation time of each column ``(u,)``, of its being missing too where that is not rare."""
        often = self.summary.missing > _SOME_MISSING * max(self.summary.rows, 1)
        return np.where(often, np.maximum(self.tau, self.tau_missing), self.tau)


def views_of(
    measured: Measured, whole: Block | None, batches: Batches, decoder: Decoder, rng: np.random.Generator
) -> tuple[tuple[View, ...], tuple[str, ...]]:
    """The views, and sentences on those that cannot be. ``whole``: the whole reference in order, if it is in memory."""
    derived = {one.name for one in measured.plan.derived}  # what they come from is in the views already
    logged = np.array([name not in derived for name in measured.grid.names], bool)
    slow, quick = (logged & side for side in (measured.dependence > MOST_TAU, measured.dependence <= MOST_TAU))
    run = run_rows(float(measured.dependence[quick].max(initial=1.0)))
    split = bool(measured.grid.vectors) or measured.scores_wanted

    def blocks() -> Iterator[Block]:
        width = len(measured.grid.names) + sum(length for _, length in measured.grid.vectors)
        if whole is not None:
            yield whole
        else:
            yield from (piece.block for piece in decoded(batches, decoder, width))

    notes = _left_out(measured, slow)
    encoders = _of_columns(measured, np.flatnonzero(quick))
    reserved = _reserved(measured.grid, blocks(), run) if split else None
    if reserved is not None:
        encoders |= _of_vectors(measured.grid, reserved, rng) | _of_scores(measured, quick, reserved, rng)
    if measured.scores_wanted and VIEW not in encoders:
        notes = (*notes, _NO_SCORES)
    if not encoders:
        return (), notes
    width = sum(len(encoder.unit) for encoder in encoders.values())
    rows = min(MOST_ROWS, MOST_VALUES // width)
    keeper = Chooser(tuple(encoders.values()), run, rows // run)
    kept = _kept(keeper, blocks(), reserved=False if split else None)
    samples = [window_sample([sample], run) for sample in kept]
    if len(samples[0].run) < LEAST_RUNS * run:
        return (), (*notes, _too_few(run, split=split))
    views = []
    for (name, encoder), sample in zip(encoders.items(), samples, strict=True):
        units = np.unique(encoder.unit[encoder.unit >= 0])
        tau = max(autocorrelation_time(sample, run, rng), float(measured.dependence[units].max(initial=1.0)))
        views.append(View(name, encoder, sample, run, tuple(units.tolist()), tau))
    return tuple(views), notes


def _left_out(measured: Measured, slow: NDArray[np.bool_]) -> tuple[str, ...]:
    if not slow.any():
        return ()
    names = ", ".join(measured.grid.names[unit] for unit in np.flatnonzero(slow)[:12])
    why = "their rows depend on each other for long; `season` gives references by the hour of the week"
    return (f"Looked at alone, not together with others: {names}; {why}.",)


def _too_few(run: int, *, split: bool) -> str:
    rows = LEAST_RUNS * run * (_RESERVED if split else 1) // (_RESERVED - 1 if split else 1)
    return (
        f"The reference has too few rows to look at columns together: it takes about {rows:,}, in runs of {run} for "
        "the rows' dependence on each other."
    )


def _of_columns(measured: Measured, units: IntArray) -> dict[str, Encoder]:
    """Encoders over the columns and over the model's answers, where two or more of them vary; of ``units`` only."""
    plan, grid, summary, rows = measured[:4]
    encoders: dict[str, Encoder] = {}
    every = columns_encoder(grid, summary, rows, units)
    if len(np.unique(every.unit)) >= 2:
        encoders[COLUMNS] = every
    answers = [grid.names.index(name) for name in (plan.roles.prediction, plan.roles.score) if name in grid.names]
    answers = [unit for unit in answers if unit in units]
    if len(answers) >= 2 and min(answers) < len(grid.numeric_names):
        scores = columns_encoder(grid, summary, rows, np.array(answers))
        if len(np.unique(scores.unit)) >= 2:
            encoders[SCORES] = scores
    return encoders


def _of_vectors(grid: Grid, reserved: Block, rng: np.random.Generator) -> dict[str, Encoder]:
    """Encoders of the embeddings, from the rows that are reserved for them."""
    found: dict[str, Encoder] = {}
    for i, (name, _) in enumerate(grid.vectors):
        encoder = vector_encoder(i, reserved.vectors[i], rng)
        if encoder is not None:
            found[f"{name} (embedding)" if name in (COLUMNS, SCORES, VIEW) else name] = encoder
    return found


def _of_scores(
    measured: Measured, quick: NDArray[np.bool_], reserved: Block, rng: np.random.Generator
) -> dict[str, Encoder]:
    """The encoder of row scores, from the same rows and the ``quick (u,)`` columns, where it gives two or more."""
    if measured.layout is None or not measured.scores_wanted:
        return {}
    layout = measured.layout._replace(features=measured.layout.features[quick[measured.layout.features]])
    fixed = scores.fit(layout, measured.grid, measured.summary, reserved, None, rng)
    return {VIEW: ScoreEncoder(fixed)} if len(fixed.which) >= _LEAST_SCORES else {}


def _reserved(grid: Grid, blocks: Iterable[Block], run: int) -> Block | None:
    """The rows that are reserved for axes and ranks, in order; None if there are none."""
    width = len(grid.names) + sum(length for _, length in grid.vectors)
    keeper = Chooser((), run, max(min(AXES_ROWS, MOST_VALUES // width) // run, 1))
    kept: list[Block] = []
    runs, number = np.zeros(0, np.int64), 0
    for block in blocks:
        numbers = np.arange(number, number + block.rows)
        number += block.rows
        mine = for_axes(numbers, run)
        if mine.any():
            both = np.concatenate([runs, numbers[mine] // run])
            chosen = np.flatnonzero(keeper.chosen(both))
            if not kept or chosen[-1] >= len(runs):
                kept = [picked([*kept, taken(block, mine)], chosen)]
                runs = both[chosen]
    return kept[0] if kept else None


def _kept(keeper: Chooser, blocks: Iterable[Block], *, reserved: bool | None) -> tuple[Sample, ...]:
    """Samples of what the keeper keeps of all rows (None), of the reserved runs only, or of all but those."""
    kept, number = keeper.empty(), 0
    for block in blocks:
        numbers = np.arange(number, number + block.rows)
        number += block.rows
        some = block
        if reserved is not None:
            mine = for_axes(numbers, keeper.run) == reserved
            some, numbers = taken(block, mine), numbers[mine]
        if len(numbers):
            kept = keeper.add(kept, [some], numbers, some)
    return kept.samples


def for_axes(numbers: IntArray, run: int) -> NDArray[np.bool_]:
    """Which rows are reserved for the axes of embeddings, by the low bits of a hash: the keeper looks at the high ones.

    ``numbers (n,)`` are places in the reference.
    """
    marked: NDArray[np.bool_] = mixed((numbers // run).view(np.uint64)) % np.uint64(_RESERVED) == 0
    return marked
