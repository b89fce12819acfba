"""A changed mix is no drift: two tenants, their shares changed, and then a shift within one of them.

As a script it prints the table: ``python -m tests.statistical.mix [STREAMS]``.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import parts, simulate
from detectors.compare import Baseline, Comparison
from detectors.decide import pages
from detectors.registry import SEQUENTIAL, WINDOWED, Tolerances
from detectors.simulate import Layout
from detectors.types import Block, EDetector, FloatArray, Reference, Summary, Window
from detectors.univariate.mix import mix_change

THRESHOLD = 10_000.0
"""A: panes per false alarm."""
PANE, PANES = 200, 60
REFERENCE, WINDOW = 10_000, 2_000
COLUMNS = 4
TENANT = COLUMNS
"""The unit that makes the strata: the only categorical column."""
LAYOUT = Layout((0, 0), free=(TENANT,))
PAIR = ("anderson_darling", "g_test")
"""Their Bonferroni pair is the default test of a column (methods.md 2)."""


@dataclass
class Agent:
    """The sequential layer with its rule for pages, and the window tests, as the engine runs them."""

    reference: Reference
    smallest: float = 0.02
    sequential: dict[str, EDetector] = field(init=False)
    fixed: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        tolerances = Tolerances(shift=self.smallest)
        self.sequential = {name: make(tolerances) for name, make in SEQUENTIAL.items()}
        self.windowed = {name: WINDOWED[name](tolerances) for name in PAIR}
        every = {**self.sequential, **self.windowed}
        self.fixed = {name: it.fit(self.reference) for name, it in every.items()}
        self.state = {name: it.start(self.fixed[name]) for name, it in self.sequential.items()}

    @cached_property
    def baseline(self) -> Baseline:
        return Baseline(self.reference)

    @cached_property
    def weight(self) -> FloatArray:
        units = np.arange(len(self.reference.grid.names))
        asked = [it.questions(self.fixed[name]) for name, it in self.sequential.items()]
        return pages.weights(np.array([np.isin(units, one.unit[one.p0 < 1]) for one in asked]))

    def feed(self, summary: Summary) -> NDArray[np.bool_] | None:
        """Judge a pane; the culprits ``(u,)`` where it pages. The state goes on as it was."""
        window = Window(0.0, 1.0, Comparison(self.baseline, summary), summary)
        log_e = []
        for name, it in self.sequential.items():
            self.state[name], evidence = it.score(self.fixed[name], self.state[name], window)
            log_e.append(evidence.log_e)
        start = pages.start(len(log_e[0]), len(log_e))
        _, alarm = pages.decide(start, np.array(log_e), self.weight, float(np.log(THRESHOLD)))
        return None if alarm is None else np.logical_or.reduce(alarm.culprits)

    def log_p(self, summary: Summary) -> FloatArray:
        """Of each unit: the window test's p-value."""
        comparison = Comparison(self.baseline.at(summary.mix), summary)
        window = Window(0.0, 1.0, comparison, summary)
        both = [it.score(self.fixed[name], it.start(self.fixed[name]), window)[1] for name, it in self.windowed.items()]
        log_p: FloatArray = np.fmin.reduce([one.log_p for one in both]) + np.log(2)
        return log_p


def unstratified(reference: Reference) -> Reference:
    """The same reference, its strata left out of account."""
    return dataclasses.replace(reference, strata=None)


def draw(rng: np.random.Generator, rows: int, share: float, shift: float = 0.0) -> Block:
    """Rows of two tenants, the second with ``share`` of them; a unit of spread lies between their means.

    ``shift`` is added to the first column of the second tenant.
    """
    tenant = (rng.random(rows) < share).astype(np.int32)
    values = rng.standard_normal((rows, COLUMNS)) + np.linspace(1.0, -1.0, COLUMNS) * tenant[:, None]
    values[:, 0] += shift * tenant
    return dataclasses.replace(simulate.block_of(values, tenant[:, None]), strata=tenant)


def measured(rng: np.random.Generator) -> Reference:
    """Half and half."""
    return simulate.reference_of(draw(rng, REFERENCE, 0.5), labels=[["a", "b"]], layout=LAYOUT, dependent=False)


def tenant_of(reference: Reference, code: int) -> Reference:
    """A tenant's own reference, for its own stream."""
    if reference.strata is None:
        raise ValueError("`reference` has no strata")
    return dataclasses.replace(reference, summary=reference.strata.parts[code], strata=None)


Case = tuple[str, float, float]
CASES: tuple[Case, ...] = (
    ("same mix", 0.5, 0.0),
    ("mix 50/50 to 80/20", 0.8, 0.0),
    ("0.2 sigma in one tenant", 0.5, 0.2),
    ("both", 0.8, 0.2),
)


def window_levels(share: float, shift: float, repetitions: int, seed: int) -> dict[str, FloatArray]:
    """Rejections at 5 %, ``(repetitions, units)`` each, of the window test with and without strata and in b's own rows;
    ``mix`` is the G-test's, ``(repetitions, 1)``."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[FloatArray]] = {"unstratified": [], "stratified": [], "own stream": [], "mix": []}
    for _ in range(repetitions):
        reference, block = measured(rng), draw(rng, WINDOW, share, shift)
        summary = parts.summarise(reference.grid, block)
        own = parts.summarise(reference.grid, simulate.take(block, block.codes[:, 0] == 1))
        for name, agent, what in (
            ("unstratified", Agent(unstratified(reference)), summary),
            ("stratified", Agent(reference), summary),
            ("own stream", Agent(tenant_of(reference, 1)), own),
        ):
            found[name].append(np.where(agent.log_p(what) <= np.log(0.05), 1.0, 0.0))
        log_p = mix_change(summary.mix, reference.summary.mix).log_p
        found["mix"].append(np.array([float(log_p <= np.log(0.05))]))
    return {name: np.array(rows) for name, rows in found.items()}


@dataclass(frozen=True)
class Told:
    """A stream's first page: its pane (0: none) and the units that it names; and the first that names a column."""

    pane: int
    units: tuple[int, ...]
    column: int


def first_page(reference: Reference, panes: Sequence[Summary]) -> Told:
    """Judge panes until a page names a column other than the tenant's."""
    agent = Agent(reference)
    pane = 0
    units: tuple[int, ...] = ()
    for number, summary in enumerate(panes, 1):
        culprits = agent.feed(summary)
        if culprits is None:
            continue
        named = tuple(int(unit) for unit in np.flatnonzero(culprits))
        pane, units = (pane, units) if pane else (number, named)
        if named != (TENANT,):
            return Told(pane, units, number)
    return Told(pane, units, 0)


def streams(share: float, shift: float, repetitions: int, seed: int) -> dict[str, list[Told]]:
    """First pages of ``repetitions`` streams, with and without strata, and of the second tenant's own stream."""
    rng = np.random.default_rng((seed, 1))
    told: dict[str, list[Told]] = {"unstratified": [], "stratified": [], "own stream": []}
    for _ in range(repetitions):
        reference = measured(rng)
        blocks = [draw(rng, PANE, share, shift) for _ in range(PANES)]
        panes = [parts.summarise(reference.grid, block) for block in blocks]
        mine = [parts.summarise(reference.grid, simulate.take(one, one.codes[:, 0] == 1)) for one in blocks]
        told["unstratified"].append(first_page(unstratified(reference), panes))
        told["stratified"].append(first_page(reference, panes))
        told["own stream"].append(first_page(tenant_of(reference, 1), mine))
    return told


def share_of(told: Sequence[Told], wanted: Callable[[Told], bool]) -> str:
    """A percentage with its standard error."""
    return percent(np.array([float(wanted(one)) for one in told]))


def percent(hits: FloatArray) -> str:
    """A mean of zeros and ones in per cent, with its standard error; rows are the repetitions."""
    each = hits.reshape(len(hits), -1).mean(axis=1)
    error = each.std() / np.sqrt(len(each))
    return f"{100 * each.mean():5.1f} +- {100 * error:.1f}"


def main() -> None:
    """Print the table."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    say = sys.stdout.write
    say(f"Window test (AD and G) at 5 % [%]: {REFERENCE} reference rows, {WINDOW} window rows, {repetitions} windows\n")
    say("case | unstratified, columns | stratified, columns | first column | own stream, it | G-test of the mix\n")
    for name, share, shift in CASES:
        found = window_levels(share, shift, repetitions, seed=1)
        plain, strata = found["unstratified"][:, :COLUMNS], found["stratified"][:, :COLUMNS]
        still = strata[:, 1:] if shift else strata
        cells = [percent(plain), percent(still), percent(strata[:, 0]), percent(found["own stream"][:, 0])]
        say(f"{name} | {' | '.join(cells)} | {percent(found['mix'])}\n")
        sys.stdout.flush()
    few = max(repetitions // 4, 10)
    say(f"\nPages within {PANES} panes of {PANE} rows at 1 per {THRESHOLD:.0f} panes [%]: {few} streams\n")
    say("case | any, unstratified | a column, unstratified | any, stratified | tenant first | a column, stratified")
    say(" | first column, own stream | its mean delay [panes]\n")
    for name, share, shift in CASES:
        told = streams(share, shift, few, seed=1)
        plain_, strata_, own = told["unstratified"], told["stratified"], told["own stream"]
        delays = [one.column for one in own if one.column]
        cells = [
            share_of(plain_, lambda it: it.pane > 0),
            share_of(plain_, lambda it: it.column > 0),
            share_of(strata_, lambda it: it.pane > 0),
            share_of(strata_, lambda it: it.units == (TENANT,)),
            share_of(strata_, lambda it: it.column > 0),
            share_of(own, lambda it: it.column > 0 and it.units == (0,)),
            f"{np.mean(delays):.1f}" if delays else "-",
        ]
        say(f"{name} | {' | '.join(cells)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
