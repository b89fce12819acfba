"""What a person should know of a study: where the promise cannot be kept or tested, each with its fix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from detectors.compare import LEAST_ROWS
from detectors.sequential.e_ks import REFERENCE_LEVEL
from monitor.calibration.result import Column, Delay, Result
from monitor.calibration.rows import LEAST_RUNS, TAU_PER_RUN, Rows
from monitor.calibration.words import interval, length
from monitor.config import Model

_NAMED = 5
_FEW_STREAMS = 10
_VALUES = ("mean", "mix", "scale")


def notes(model: Model, rows: Rows, tau: float) -> Iterator[str]:
    """What resampling from a finite reference means, and what the study leaves out."""
    number = rows.block.rows
    yield (
        f"Streams are resampled from {number:,} rows that the artefact keeps of {rows.stands_for:,}, in runs of "
        f"{rows.run} neighbouring rows; each stream follows a law of its own that differs from the reference by the "
        f"error of {rows.stands_for:,} rows. What the reference never showed (rare values, slow cycles, "
        "another season) is in no stream: production can only be as quiet as this or less."
    )
    if rows.stands_for > number and tau > 2:
        yield (
            f"The sample holds one row in {rows.stands_for / number:.1f}: its neighbours depend on each other "
            "less than those of production, so the false-alarm figures are on the bright side."
        )
    yield (
        "A column is judged as if it had shifted alone, by its own evidence; the joint detector may be earlier. "
        "Tickets of the window layer are not simulated."
    )
    if model.moving.panes:
        yield "The reference is taken as fixed; with `moving` a lasting shift becomes the reference in time."
    if model.season.by != "none":
        yield "Panes mix rows of all hours; rows are compared with their own hour's reference as in production."


def warnings(result: Result, model: Model, rows: Rows, asked_streams: int) -> Iterator[str]:
    """In order of weight."""
    yield from _broken(result)
    yield from _blind(result)
    yield from _small_reference(result)
    yield from _panes(result, model)
    tau = max((one.tau for one in result.columns), default=1.0)
    if TAU_PER_RUN * tau > rows.run * 1.01:
        yield (
            f"Rows depend on each other over up to {tau:.0f} rows, and the {rows.block.rows:,} rows kept hold fewer "
            f"than {LEAST_RUNS} runs of {TAU_PER_RUN} times that: false-alarm figures are rough. Fit on more rows."
        )
    if result.streams < min(asked_streams, _FEW_STREAMS):
        yield (
            f"Time allowed for {result.streams} of {asked_streams} streams: figures are rough. Give --streams "
            f"{asked_streams} to simulate them all."
        )
    budget = result.budget
    if model.pane.rows is not None and budget.period_seconds is not None and result.traffic.rate is None:
        yield (
            f'"{budget}" speaks of time and panes are counted in rows: a pane is taken for 60 s. Give --rate, or state '
            "the budget in panes."
        )


def _broken(result: Result) -> Iterator[str]:
    """More false pages than promised, beyond chance."""
    promised = result.budget.alarms
    if result.per_period.low > promised:
        yield (
            f"The promise is not kept: {interval(result.per_period)} false pages in the budget's period where "
            f"{promised:g} is promised. Usually rows depend on each other for longer than a pane, or follow a daily "
            "cycle: set `season`, take longer panes, or leave such columns out."
        )


def _blind(result: Result) -> Iterator[str]:
    """Columns in which not even the largest change of values is found in time."""
    groups: dict[str, list[str]] = {}
    for column in result.columns:
        kinds = [kind for kind in _VALUES if result.of(column.name, kind)]
        if not math.isfinite(column.tolerated):
            groups.setdefault(_SILENT, []).append(column.name)
        elif kinds and not any(result.smallest(column.name, kind) for kind in kinds):
            largest = [max(result.of(column.name, kind), key=lambda one: one.mass) for kind in kinds]
            groups.setdefault(_why(result, column, largest), []).append(column.name)
    for why, names in groups.items():
        yield f"{_listed(names)}: {why}"


_SILENT = (
    "no question is asked of the values (constant in the reference, or it has too few rows for the tolerance): only "
    "faults are watched. If the column should vary, fit on rows in which it does."
)


def _why(result: Result, column: Column, largest: Sequence[Delay]) -> str:
    mass = max(one.mass for one in largest)
    if mass <= column.tolerated:
        cure = "a larger reference" if column.error > result.smallest_shift else "a smaller alarms.smallest_shift"
        return (
            "effectively blind: the largest injected change of values moves less probability mass than is tolerated. "
            f"It needs {cure}."
        )
    return (
        f"effectively blind: needs more than {result.horizon:g} panes to find the largest injected change. Give panes "
        "more rows, or look further with --panes."
    )


def _small_reference(result: Result) -> Iterator[str]:
    """The reference's own error against the smallest shift."""
    worse = [one for one in result.columns if math.isfinite(one.tolerated) and one.error > result.smallest_shift]
    if not worse:
        return
    worst = max(worse, key=lambda one: one.error)
    text = f"The reference is too small for smallest_shift {result.smallest_shift:g}"
    if not result.smallest_shift:
        yield (
            f"{text}: its own error is up to {worst.error:.3f} ({worst.name}), so shifts below that are tolerated. "
            "State the smallest shift that matters."
        )
        return
    needed = math.log(2 / REFERENCE_LEVEL) * worst.tau / (2 * result.smallest_shift**2)
    yield (
        f"{text} in {_listed([one.name for one in worse])}: its own error is up to {worst.error:.3f} ({worst.name}: "
        f"{worst.rows:,.0f} rows, of which {worst.tau:.0f} count as one), so shifts below {worst.tolerated:.3f} are "
        f"tolerated. Fit on at least {_rounded(needed):,} rows, or raise alarms.smallest_shift to "
        f"{math.ceil(100 * worst.error) / 100:g}."
    )


def _panes(result: Result, model: Model) -> Iterator[str]:
    """Panes too small for the windows, or shorter than what their rows depend on."""
    rows = result.traffic.pane_rows
    window, tau = rows * model.window.panes, max((one.tau for one in result.columns), default=1.0)
    wanted = max(LEAST_ROWS, _rounded(tau))
    longer = f"{{rows: {wanted}}}"
    if model.pane.every is not None and result.traffic.rate:
        longer = f"{{every: {length(wanted / result.traffic.rate)}}}"
    if rows < tau:
        yield (
            f"A pane of {rows} rows is less than one independent observation (rows depend over {tau:.0f}): evidence of "
            f"neighbouring panes is not independent and the budget may be passed. Take panes of {longer} at least."
        )
    elif rows < 10:
        yield (
            f"A pane has {rows} rows: every row costs a judgement and little is gained. Take panes of {longer} or more."
        )
    if window < LEAST_ROWS * max(tau, 1.0):
        yield (
            f"A window of {model.window.panes} panes has {window} rows ({window / tau:.0f} independent ones): its "
            f"tests need {LEAST_ROWS}. Raise window.panes to {math.ceil(LEAST_ROWS * tau / rows)}."
        )


def _rounded(rows: float) -> int:
    """Up, to two digits."""
    unit: int = 10 ** max(math.floor(math.log10(max(rows, 1))) - 1, 0)
    return math.ceil(rows / unit) * unit


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more columns" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
