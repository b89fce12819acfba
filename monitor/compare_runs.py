"""Two configurations over one log: which alarms each would have raised, and when.

Each configuration streams the log once, through the same replay. Findings that page or open a ticket are matched when
they are of the same stream, name a common unit and overlap in time, from the onset that they state to their recovery
(or the end of the log). What is left was raised by one of the two alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from monitor.config import Config, Model, load
from monitor.errors import ConfigError, DriftwardenError
from monitor.loading import Progress
from monitor.replay import Line, Outcome, chosen_of, replay

ALARMS = ("page", "ticket")
SIDES = ("a", "b")


class Side(NamedTuple):
    """One of the two configurations, and what it is called in errors and tables."""

    name: str
    config: Config


@dataclass(frozen=True, slots=True)
class Episode:
    """An alarm with its span: seconds of event time, or rows of the log where rows have no times."""

    line: Line
    since: float
    raised: float
    until: float

    def overlaps(self, other: Episode) -> bool:
        """Same stream, a common unit, and some time in common."""
        same = self.line["stream"] == other.line["stream"] and self.units & other.units
        return bool(same) and self.since <= other.until and other.since <= self.until

    @property
    def units(self) -> set[str]:
        """Names of what it names."""
        return {unit["unit"] for unit in self.line["units"]}


@dataclass(frozen=True, slots=True)
class Pair:
    """What the two said of the same thing; None on the side that said nothing."""

    a: Episode | None
    b: Episode | None

    @property
    def later(self) -> float | None:
        """By how much b was later than a."""
        return None if self.a is None or self.b is None else self.b.raised - self.a.raised

    @property
    def first(self) -> float:
        """When the first of them was raised."""
        return min(one.raised for one in (self.a, self.b) if one is not None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Pairs in the order of time; ``timed`` says that times are seconds and not rows."""

    pairs: tuple[Pair, ...]
    outcomes: tuple[Outcome, Outcome]
    timed: bool

    def document(self) -> Line:
        """JSON form."""
        later = "b_later_seconds" if self.timed else "b_later_rows"
        return {
            "kind": "comparison",
            "both": [
                {"a": pair.a.line, "b": pair.b.line, later: _plain(pair.later)}
                for pair in self.pairs
                if pair.a is not None and pair.b is not None
            ],
            "only_a": [pair.a.line for pair in self.pairs if pair.a is not None and pair.b is None],
            "only_b": [pair.b.line for pair in self.pairs if pair.b is not None and pair.a is None],
            **{side: one.as_dict() for side, one in zip(SIDES, self.outcomes, strict=True)},
        }


def loaded(path: Path) -> Side:
    """Read a configuration; its faults begin with the file's name."""
    try:
        return Side(str(path), load(path))
    except ConfigError as error:
        raise ConfigError([_prefixed(str(path), fault) for fault in error.faults]) from error


def compare(
    sides: tuple[Side, Side],
    paths: Sequence[str],
    *,
    model: str | None = None,
    emit: Callable[[Line], None],
    progress: Progress | None = None,
) -> Comparison:
    """Replay the log through both; ``emit`` gets every line of `replay` with ``config`` a or b.

    Errors begin with the name of the configuration that they belong to.
    """
    models = [_named(side, lambda one: chosen_of(one, _model(one, model))) for side in sides]
    timed = _timed(sides, models)
    runs = [_run(key, side, one, paths, emit, progress) for key, side, one in zip(SIDES, sides, models, strict=True)]
    episodes = [_episodes(lines, one, timed=timed) for (lines, _), one in zip(runs, models, strict=True)]
    return Comparison(_matched(*episodes), (runs[0][1], runs[1][1]), timed)


def _run(
    key: str,
    side: Side,
    model: Model,
    paths: Sequence[str],
    emit: Callable[[Line], None],
    progress: Progress | None,
) -> tuple[list[Line], Outcome]:
    """One replay: its lines, each passed on with its configuration, and its totals."""
    lines: list[Line] = []

    def keep(line: Line) -> None:
        lines.append(line)
        emit({"config": key, **line})

    (outcome,) = _named(side, lambda it: replay(it, paths, model=model.name, emit=keep, progress=progress))
    return lines, outcome


def _model(config: Config, name: str | None) -> str | None:
    """The name, unless the only model of the configuration is called something else."""
    known = [one.name for one in config.models]
    return None if len(known) == 1 and name not in known else name


def _named(side: Side, work: Callable[[Config], Any]) -> Any:
    try:
        return work(side.config)
    except ConfigError as error:
        raise ConfigError([_prefixed(side.name, fault) for fault in error.faults]) from error
    except DriftwardenError as error:
        named = DriftwardenError(f"{side.name}: {error}")
        named.exit_code = error.exit_code
        raise named from error


def _prefixed(name: str, fault: str) -> str:
    return fault if fault.startswith(name) else f"{name}: {fault}"


def _timed(sides: tuple[Side, Side], models: Sequence[Model]) -> bool:
    """Whether both know times; otherwise both must count rows."""
    timed = [one.columns.time is not None for one in models]
    if all(timed):
        return True
    for side, one in zip(sides, models, strict=True):
        if one.pane.rows is None:
            fault = f"{side.name}: models.{one.name}.pane.every: the other configuration names no columns.time"
            raise ConfigError([f"{fault}; name it there, or count panes in rows here"])
    return False


def _episodes(lines: Sequence[Line], model: Model, *, timed: bool) -> list[Episode]:
    """Alarms with their spans."""
    learnt, size = model.reference.learn_rows or 0, model.pane.rows or 0

    def end(line: Line) -> float:
        return float(line["time"]) if timed else float(learnt + size * line["pane"])

    ends = {key: end(line) for line in lines if line["kind"] == "recovery" for key in line["findings"]}
    found = []
    for line in lines:
        if line["kind"] == "finding" and line["severity"] in ALARMS:
            since = float(line["since_time"]) if timed else float(learnt + size * (line["since_pane"] - 1))
            found.append(Episode(line, since, end(line), ends.get(line["id"], math.inf)))
    return found


def _matched(a: Sequence[Episode], b: Sequence[Episode]) -> tuple[Pair, ...]:
    """Each alarm of a with the earliest alarm of b that overlaps and is not taken yet."""
    free, pairs = list(b), []
    for one in a:
        other = next((other for other in free if one.overlaps(other)), None)
        if other is not None:
            free.remove(other)
        pairs.append(Pair(one, other))
    pairs += [Pair(None, other) for other in free]
    return tuple(sorted(pairs, key=lambda pair: pair.first))


def _plain(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
