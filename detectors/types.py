"""The types that travel between the parts, and the letters of their shapes.

Shape letters, used everywhere: ``n`` rows, ``m`` reference rows, ``p`` numeric columns, ``q`` categorical columns,
``u = p + q`` units (numeric columns first, then categorical), ``b`` bins, ``v`` categories, ``k`` events of a
sequential detector. Time is seconds since the epoch (float64). Probabilities and e-values are natural logarithms
and their names say so: ``log_p``, ``log_e``.

All types are frozen and their arrays are read-only by convention: state goes in, state comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from detectors.compare import Comparison
    from detectors.grid import Grid
    from detectors.multivariate.encode import Encoder
    from detectors.strata import Strata

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
CodeArray = NDArray[np.int32]
SingleArray = NDArray[np.float32]

MISSING_CODE = -1
"""Code of a missing categorical value in ``Block.codes``."""
NEW_CODE = -2
"""Code of a categorical value that the reference never showed."""


class Reason(IntEnum):
    """Why an `Evidence` row has nothing to say (``OK`` where it has)."""

    OK = 0
    FEW_ROWS = 1
    ALL_MISSING = 2
    NO_REFERENCE = 3
    CONSTANT_REFERENCE = 4
    UNORDERED = 5
    NOT_APPLICABLE = 6
    FAILED = 7


@dataclass(frozen=True, slots=True)
class Block:
    """One decoded batch, column-major: the only data form that enters `detectors`.

    ``numeric`` is ``(n, p)`` float64 in Fortran order, NaN where missing. ``codes`` is ``(n, q)`` int32 in Fortran
    order with `MISSING_CODE` and `NEW_CODE`. ``faults`` is ``(u,)``: values per column that had the wrong type and
    were turned into missing ones. ``time`` is ``(n,)`` seconds since the epoch, NaN where absent. ``vectors`` are the
    declared embeddings in the order of ``Grid.vectors``, ``(n, d)`` float32 each, a row of NaN where missing.
    ``strata (n,)`` is the stratum of each row (see `detectors.strata`), None where the model has none.
    """

    numeric: FloatArray
    codes: CodeArray
    faults: IntArray
    time: FloatArray | None = None
    vectors: tuple[SingleArray, ...] = ()
    strata: CodeArray | None = None

    @property
    def rows(self) -> int:
        """Number of rows, n."""
        return int(self.numeric.shape[0])


@dataclass(frozen=True, slots=True)
class Summary:
    """A fixed-size, mergeable account of rows: counts on the bins of one `Grid`, fault counters and moments.

    ``numeric (p, b)`` counts: bin 0 is below the reference range, bin b-1 above it. ``codes (q, v)`` counts of the
    grid's categories, the last slot of each column being "other". ``missing (u,)``, ``nonfinite (u,)``,
    ``new (u,)`` and ``faults (u,)`` are counters; ``sums (p, 2)`` are the sums of z and z^2, where z is the value in
    reference scale units, clipped to +-8 and rounded to 1/1024, so that the float64 sums are exact (up to 1e8 rows)
    and merging is associative to the last bit. ``mix (c,)`` are the rows in each stratum (empty without strata).
    """

    grid_id: str
    rows: int
    numeric: IntArray
    codes: IntArray
    missing: IntArray
    nonfinite: IntArray
    new: IntArray
    faults: IntArray
    sums: FloatArray
    mix: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))


class Sample(NamedTuple):
    """Encoded rows of one view, ``rows (r, d)``, kept in runs of rows that were neighbours in the stream.

    ``run (r,)`` numbers the runs, ascending; a run is complete when it has the view's ``run`` rows. ``strata (r,)`` is
    all 0 without strata.
    """

    rows: SingleArray
    run: IntArray
    strata: CodeArray


@dataclass(frozen=True, slots=True)
class View:
    """What a joint test looks at: all columns, the model's scores, or one embedding, as rows of numbers.

    ``sample`` are reference rows, in complete runs of ``run`` rows (longer where rows depend on their neighbours).
    ``units`` are the monitored columns that the view spans (positions in ``Grid.names``), none for an embedding.
    ``tau`` is the autocorrelation time of the view's rows. ``measured`` is what detectors measured on this very sample,
    by name, where that has been kept.
    """

    name: str
    encoder: Encoder
    sample: Sample
    run: int
    units: tuple[int, ...]
    tau: float
    measured: Mapping[str, Fixed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reference:
    """What the reference said: the ruler, its own summary on that ruler, and how dependent its rows were.

    ``tau (u,)`` is the integrated autocorrelation time, in rows, of each column's values and ``tau_missing (u,)`` that
    of its being missing (1 = independent rows). ``strata`` holds the summaries by stratum, ``views`` the joint views.
    ``ruler`` is the summary that decides what the sequential detectors ask, where ``summary`` is a later one that only
    answers (a reference that moves); None: ``summary`` itself.
    """

    grid: Grid
    summary: Summary
    tau: FloatArray
    tau_missing: FloatArray
    strata: Strata | None = None
    views: tuple[View, ...] = ()
    ruler: Summary | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """What a detector sees: the merged panes (``summary``) compared with the reference, and the newest pane alone.

    ``samples`` are the window's rows by view and ``fresh_samples`` those of the newest pane; empty without views.
    """

    start: float
    end: float
    comparison: Comparison
    fresh: Summary
    samples: tuple[Sample, ...] = ()
    fresh_samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one detector says about each unit; no threshold and no alert name.

    All arrays are ``(u,)``. ``effect`` is in the terms that ``effect_name`` names, with the interval
    ``[effect_low, effect_high]`` (95 % unless the detector says otherwise). NaN with a `Reason` where there is
    nothing to say. ``log_p`` or ``log_e`` is NaN throughout when the detector does not give that kind of evidence.
    """

    detector: str
    effect_name: str
    statistic: FloatArray
    effect: FloatArray
    effect_low: FloatArray
    effect_high: FloatArray
    log_p: FloatArray
    log_e: FloatArray
    n: FloatArray
    reason: NDArray[np.int8]
    extra: Mapping[str, FloatArray] = field(default_factory=dict)


Fixed = Any
"""What a detector measured on the reference: a NamedTuple of arrays, made anew from the artefact at every start."""
State = Any
"""What moves with the panes: a NamedTuple of float64 arrays (empty for windowed detectors). Checkpoints hold it."""


class Detector(Protocol):
    """A named set of pure functions, made by a constructor that holds the hyper-parameters.

    ``fit`` runs once on a reference, off the hot path; ``score`` runs once per closed pane and must neither keep nor
    change what it is given. A windowed detector returns its (empty) state unchanged.
    """

    @property
    def name(self) -> str:
        """Key in the catalogue, metric label and configuration key."""
        ...

    @property
    def failure_modes(self) -> tuple[str, ...]:
        """The failure modes that this detector can speak to."""
        ...

    def fit(self, reference: Reference) -> Fixed:
        """Measure the null on the reference."""
        ...

    def start(self, fixed: Fixed) -> State:
        """Begin with no evidence."""
        ...

    def score(self, fixed: Fixed, state: State, window: Window) -> tuple[State, Evidence]:
        """Judge one window."""
        ...


class Questions(NamedTuple):
    """What a sequential detector asks of every row, ``(k,)`` each.

    ``unit`` is whose question it is, ``share`` the reference's share of yes, ``p0`` the largest share that the null
    allows (1 and more: never violated), ``tau`` the autocorrelation time of the answers.
    """

    unit: IntArray
    share: FloatArray
    p0: FloatArray
    tau: FloatArray


class EDetector(Detector, Protocol):
    """A sequential detector: its evidence is a log e-value per unit that may be looked at after every pane."""

    def forget(self, fixed: Fixed, state: State, units: NDArray[np.bool_]) -> State:
        """Drop the evidence of the marked units ``(u,)``: they start anew."""
        ...

    def questions(self, fixed: Fixed, mix: IntArray | None = None) -> Questions:
        """Say what is asked of rows with that many in each stratum; without ``mix``, of the reference's own."""
        ...

    def answers(self, fixed: Fixed, summary: Summary) -> tuple[FloatArray, FloatArray]:
        """Count the rows that say yes and the rows that were asked, ``(k,)`` each."""
        ...
