"""A daily cycle is no drift: eight weeks against a reference by hour of the week, and then a shift on top of them.

As a script it prints the table: ``python -m tests.statistical.season [STREAMS]``.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detectors import parts, simulate
from detectors.simulate import Layout
from detectors.types import Block, FloatArray, IntArray, Reference, Summary
from tests.statistical.mix import THRESHOLD, Agent, percent, unstratified

ROWS, PANES_AN_HOUR, HOURS = 200, 6, 168
WEEK = HOURS * PANES_AN_HOUR
"""Panes of ten minutes in a week."""
REFERENCE_WEEKS, WEEKS = 4, 8
SHIFT = 0.2
WINDOW_PANES = 60
LAYOUT = Layout(tuple(hour % 24 for hour in range(HOURS)))
"""168 strata that shrink to their hour of the day."""


@dataclass(frozen=True)
class Told:
    """What a stream raised: the pane of the first page (0: none), and the window tests that reject at 5 %.

    ``before`` and ``after`` the onset, ``(windows, units)`` ones and zeros each.
    """

    pane: int
    before: FloatArray
    after: FloatArray


def draw(rng: np.random.Generator, first_pane: int, panes: int, shift: float = 0.0) -> Block:
    """Panes of ten minutes from ``first_pane`` of a week on: three numeric columns and a category that follow the hour.

    The first column's mean swings by one standard deviation a day, by half of that at weekends, two hours later; the
    second swings the other way round and its spread with it; the third does not. ``shift`` goes to the first one.
    """
    hour = (np.arange(first_pane, first_pane + panes) // PANES_AN_HOUR % HOURS).repeat(ROWS)
    weekend = hour >= 120
    swing = np.where(weekend, 0.5, 1.0) * np.sin(2 * np.pi * (hour - 2 * weekend) / 24)
    noise = rng.standard_normal((len(hour), 3))
    values = np.column_stack([swing + noise[:, 0] + shift, np.exp(0.3 * swing) * noise[:, 1] - swing, noise[:, 2]])
    codes = (rng.random(len(hour)) < 0.5 + 0.3 * swing).astype(np.int32)[:, None]
    return dataclasses.replace(simulate.block_of(values, codes), strata=hour.astype(np.int32))


def measured(rng: np.random.Generator, weeks: int = REFERENCE_WEEKS) -> Reference:
    """Whole weeks, in order; tau is measured too, around the strata's own shares."""
    block = draw(rng, 0, weeks * WEEK)
    return simulate.reference_of(block, labels=[["a", "b"]], layout=LAYOUT)


def stream(
    reference: Reference, rng: np.random.Generator, panes: int, shift: float = 0.0, onset: int = 0
) -> Iterator[Summary]:
    """Summaries of panes, shifted from pane ``onset`` on."""
    for pane in range(panes):
        yield parts.summarise(reference.grid, draw(rng, pane, 1, shift if pane >= onset else 0.0))


def watch(agent: Agent, panes: Iterator[Summary], onset: int) -> Told:
    """Judge a stream to its first page, and the windows as they fill."""
    units = len(agent.reference.grid.names)
    merged = parts.zero(agent.reference.grid)
    page, rejected = 0, []
    for number, pane in enumerate(panes, 1):
        merged = parts.merge(merged, pane)
        if number % WINDOW_PANES == 0:
            rejected.append(np.where(agent.log_p(merged) <= np.log(0.05), 1.0, 0.0))
            merged = parts.zero(agent.reference.grid)
        if agent.feed(pane) is not None:
            page = number
            break
    table = np.array(rejected).reshape(-1, units)
    early = onset // WINDOW_PANES
    return Told(page, table[:early], table[early + 1 :])


@dataclass(frozen=True)
class Case:
    """A row of the table: ``shift`` begins at pane ``onset``; ``smallest`` is the user's smallest shift."""

    name: str
    shift: float
    strata: bool
    smallest: float = 0.02
    panes: int = WEEKS * WEEK
    onset: int = 0


CASES = (
    Case("cycle only, by hour of week", 0.0, strata=True),
    Case("cycle only, one reference", 0.0, strata=False),
    *(
        Case(f"+ {shift} sigma, by hour of week, smallest shift {smallest}", shift, True, smallest, 3 * WEEK, WEEK)
        for shift, smallest in ((SHIFT, 0.02), (SHIFT, 0.05), (0.3, 0.05))
    ),
)


def judge(case: Case, streams: int, seed: int = 1) -> list[Told]:
    """Streams that begin on Monday at 0 h, each with a reference of its own."""
    rng = np.random.default_rng(seed)
    told = []
    for _ in range(streams):
        reference = measured(rng)
        agent = Agent(reference if case.strata else unstratified(reference), case.smallest)
        told.append(watch(agent, stream(reference, rng, case.panes, case.shift, case.onset), case.onset or case.panes))
    return told


def tau_of(reference: Reference) -> IntArray:
    """Autocorrelation times rounded to whole rows."""
    return np.rint(reference.tau).astype(np.int64)


def main() -> None:
    """Print the table."""
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    say = sys.stdout.write
    reference = measured(np.random.default_rng(7))
    plain = simulate.reference_of(draw(np.random.default_rng(7), 0, REFERENCE_WEEKS * WEEK), labels=[["a", "b"]])
    say(f"tau by column, rows: {tau_of(reference)} around the hours' shares, {tau_of(plain)} around the whole's\n\n")
    say(f"Panes of ten minutes and {ROWS} rows, a reference of {REFERENCE_WEEKS} weeks, A = {THRESHOLD:.0f} panes; ")
    say(f"{streams} streams of {WEEKS} weeks, or of 3 with a shift after the first\n")
    say("case | paged before the onset [%] | paged after it [%] | delay [panes] | ")
    say("window tests at 5 %: all columns before it | the shifted one after it [%]\n")
    for case in CASES:
        told = judge(case, streams)
        early = np.array([float(0 < one.pane <= (case.onset or case.panes)) for one in told])
        late = np.array([float(one.pane > (case.onset or case.panes)) for one in told])
        delays = [one.pane - case.onset for one in told if one.pane > case.onset]
        shown = f"{np.mean(delays):.1f} +- {np.std(delays) / np.sqrt(len(delays)):.1f}" if delays else "-"
        before, after = (np.concatenate([getattr(one, name) for one in told]) for name in ("before", "after"))
        tests = f"{level(before)} of {len(before)} windows | {level(after[:, :1])} of {len(after)}"
        say(f"{case.name} | {percent(early)} | {percent(late) if case.onset else '-'} | {shown} | {tests}\n")
        sys.stdout.flush()


def level(rejected: FloatArray) -> str:
    """Share of the tests that reject, in per cent."""
    return f"{100 * rejected.mean():.1f}" if rejected.size else "-"


if __name__ == "__main__":
    main()
