"""The joint layer of one stream: tests that see what no single column shows, on each view of the rows.

Pure, like the engine that calls it. The witness e-detector takes in every pane and pages inside the engine's budget;
the window tests run once a window and open tickets. A view whose detector fails keeps its state, is named in
``failures``, and the others go on. Permutations are seeded by the reference and the pane, so that a pane judged again
gives the same numbers.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.multivariate import attribution
from detectors.multivariate.bins import bins_of
from detectors.multivariate.conditional import ConditionalShift
from detectors.multivariate.joint import COMPONENTS, JointDefault
from detectors.multivariate.protocol import JointEDetector, JointTest, Outcome, Step
from detectors.multivariate.samples import together
from detectors.registry import JOINT, WITNESS, Tolerances
from detectors.types import Evidence, FloatArray, Reason, Reference, Sample, SingleArray, View
from monitor.report import Culprit

MORE_DRAWS = 3000
"""Permutations of the second look that a small p-value gets: the first look's could not show it to be notable."""
_SMALL = 0.02
_NAN = float("nan")


class Told(NamedTuple):
    """Evidence of the views, one entry of each array a view, by detector; failures and seconds by detector."""

    evidence: dict[str, Evidence]
    failures: dict[str, str]
    seconds: dict[str, float]


@dataclass(frozen=True)
class JointLayer:
    """The fixed part: every view of the reference, measured by the witness and by the window tests asked for."""

    reference: Reference
    tolerances: Tolerances
    names: tuple[str, ...]
    timer: Callable[[], float]
    stride: int = 1

    @property
    def views(self) -> tuple[View, ...]:
        """The views, in the order of the evidence."""
        return self.reference.views

    @cached_property
    def witness(self) -> JointEDetector:
        """The joint detector that pages."""
        return WITNESS(self.tolerances)

    @cached_property
    def tests(self) -> dict[str, JointTest]:
        """The window tests."""
        return {name: JOINT[name](self.tolerances) for name in self.names}

    @cached_property
    def fixed(self) -> tuple[Any, ...]:
        """What the witness measured on each view."""
        return tuple(self._measured(self.witness, i) for i in range(len(self.views)))

    @cached_property
    def fixed_tests(self) -> dict[str, tuple[Any, ...]]:
        """What each test measured on each view."""
        return {name: tuple(self._measured(it, i) for i in range(len(self.views))) for name, it in self.tests.items()}

    def _measured(self, it: JointTest | JointEDetector, view: int) -> Any:
        """What a detector measures on a view; kept with the artefact, or made now."""
        kept = self.views[view].measured.get(it.name)
        return it.fit(self.views[view], self._rng(view, 0)) if kept is None else kept

    def _rng(self, view: int, pane: int) -> np.random.Generator:
        return rng_of(self.reference, view, pane)

    def start(self) -> tuple[Any, ...]:
        """No evidence yet."""
        return tuple(self.witness.start(fixed) for fixed in self.fixed)

    def look(
        self, states: tuple[Any, ...], panes: Sequence[tuple[Sample, ...]], number: int
    ) -> tuple[tuple[Any, ...], Told]:
        """Show the witness the rows of the last ``stride`` panes together; between times it says nothing."""
        if not self.views or number % self.stride:
            return states, Told({}, {}, {})
        return self.score(states, [together([pane[i] for pane in panes]) for i in range(len(self.views))])

    def score(self, states: tuple[Any, ...], fresh: Sequence[Sample]) -> tuple[tuple[Any, ...], Told]:
        """Take in rows."""
        name, moved, steps, failures = self.witness.name, list(states), [], {}
        began = self.timer()
        for i, (view, fixed, sample) in enumerate(zip(self.views, self.fixed, fresh, strict=True)):
            try:
                moved[i], step = self.witness.score(fixed, states[i], sample)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the other views and detectors go on
                failures[name] = f"view {view.name}: {type(fault).__name__}: {fault}"
                step = Step(_NAN, _NAN, _NAN, _NAN, 0)
            steps.append(step)
        return tuple(moved), Told({name: _of_steps(name, steps, self.stride)}, failures, {name: self.timer() - began})

    def test(self, samples: Sequence[Sample], pane: int, news: NDArray[np.bool_]) -> Told:
        """Judge a full window with every test; ``news`` marks the views ``(v,)`` about which nothing is known yet."""
        told = Told({}, {}, {})
        for name, it in self.tests.items() if self.views else ():
            outcomes = []
            began = self.timer()
            for i, (view, sample) in enumerate(zip(self.views, samples, strict=True)):
                try:
                    outcome = self._judge(
                        it, self.fixed_tests[name][i], view, sample, self._rng(i, pane), news=bool(news[i])
                    )
                except Exception as fault:  # noqa: BLE001 - whatever it is, the other views and tests go on
                    told.failures[name] = f"view {view.name}: {type(fault).__name__}: {fault}"
                    outcome = Outcome(_NAN, _NAN, 0, Reason.FAILED)
                outcomes.append(outcome)
            told.evidence[name] = _of_outcomes(name, outcomes)
            told.seconds[name] = self.timer() - began
        return told

    def culprit(
        self, view: int, samples: Iterable[Sample], log_e: float, unit: int, pane: int, failures: dict[str, str]
    ) -> Culprit:
        """A view that differs: by how much, and in which columns together, in the first sample with rows enough.

        Where that cannot be told it is named in ``failures``, and the culprit is the view as a whole.
        """
        try:
            return self._named(view, samples, log_e, unit, pane)
        except Exception as fault:  # noqa: BLE001 - an alarm is raised whether or not it can be explained
            name = self.views[view].name
            failures[self._default.name] = f"view {name}, naming columns: {type(fault).__name__}: {fault}"
            return self._unsized(name, name, unit, log_e)

    def _named(self, view: int, samples: Iterable[Sample], log_e: float, unit: int, pane: int) -> Culprit:
        it, name = self.views[view], self.views[view].name
        fixed, conditional = self._attributing[view]
        cut = ((sample, bins_of(it, sample)) for sample in samples)
        enough = next(((sample, bins) for sample, bins in cut if not bins.few), None)
        if enough is None:
            return self._unsized(name, name, unit, log_e)
        sample, bins = enough
        rng = self._rng(view, pane)
        outcome = self._default.score(fixed, it, sample, rng)
        effect, low, high = (outcome.extra[key] for key in ("effect", "effect_low", "effect_high"))
        members: tuple[int, ...] = ()
        if it.units:
            component = COMPONENTS[int(outcome.extra["strongest"])]
            columns = attribution.columns(fixed, conditional, it, sample, bins, component, rng)
            members = attribution.named(columns, attribution.pairs(fixed, it, sample, bins), component)
        names = self.reference.grid.names
        shown = "*".join(names[member] for member in members) or name
        groups = (group for group in attribution.groups(fixed, it) if len(group) > 1 and set(group) & set(members))
        together = tuple(tuple(names[one] for one in group) for group in groups)
        whole = self._unsized(shown, name, unit, log_e)
        return dataclasses.replace(
            whole, effect=effect, effect_low=low, effect_high=high, members=members, together=together
        )

    def _unsized(self, name: str, view: str, unit: int, log_e: float) -> Culprit:
        """A view of which there is no more to say: too few rows since the onset, for one."""
        detector = self.witness.name if np.isfinite(log_e) else self._default.name
        return Culprit(name, unit, detector, log_e, "ks_distance", _NAN, _NAN, _NAN, _NAN, _NAN, view=view)

    def telling(self, view: int, sample: Sample) -> Callable[[SingleArray], FloatArray] | None:
        """How much rows of the view look like the sample's rather than the reference's: the witness function.

        None where the sample has too few rows.
        """
        it = self.views[view]
        fixed, _ = self._attributing[view]
        bins = bins_of(it, sample)
        if bins.few:
            return None
        return attribution.witness(fixed, it, sample, bins)

    @cached_property
    def _default(self) -> JointDefault:
        return JointDefault()

    @cached_property
    def _attributing(self) -> tuple[tuple[Any, Any], ...]:
        """What naming the columns takes; measured with the first finding unless the default test runs anyway."""
        name = self._default.name
        fixed = self.fixed_tests.get(name) or tuple(self._measured(self._default, i) for i in range(len(self.views)))
        score = ConditionalShift()
        more = (score.fit(view, self._rng(i, 0)) for i, view in enumerate(self.views))
        return tuple(zip(fixed, more, strict=True))

    def _judge(
        self, it: JointTest, fixed: Any, view: View, sample: Sample, rng: np.random.Generator, *, news: bool
    ) -> Outcome:
        """Look, and look again with more permutations where the first look has something small to tell."""
        outcome = it.score(fixed, view, sample, rng)
        if not news or not outcome.log_p < np.log(_SMALL):
            return outcome
        patient: Any = it
        if "draws" in {one.name for one in dataclasses.fields(patient)}:
            patient = dataclasses.replace(patient, draws=MORE_DRAWS)
        again: Outcome = patient.score(fixed, view, sample, rng)
        return again

    def alarmed(
        self, states: tuple[Any, ...], culprits: NDArray[np.bool_], spent: NDArray[np.bool_]
    ) -> tuple[Any, ...]:
        """Hold the direction of the culprits ``(v,)``; evidence that was spent, or cannot name anything, is dropped."""
        moved = list(states)
        for i, fixed in enumerate(self.fixed):
            if culprits[i]:
                moved[i] = self.witness.alarmed(fixed, states[i])
            elif spent[i]:
                moved[i] = self.witness.recovered(fixed, states[i])
        return tuple(moved)

    def recovered(self, states: tuple[Any, ...], marked: NDArray[np.bool_]) -> tuple[Any, ...]:
        """Begin anew where a view is back ``(v,)``."""
        every = zip(self.fixed, states, marked, strict=True)
        return tuple(self.witness.recovered(fixed, one) if back else one for fixed, one, back in every)


def rng_of(reference: Reference, view: int, pane: int) -> np.random.Generator:
    """The chance of one view and pane: the same for the same reference."""
    return np.random.default_rng([zlib.crc32(reference.grid.id.encode()), view, pane])


def _of_steps(name: str, steps: Sequence[Step], stride: int) -> Evidence:
    log_e, since, effect, back, n = (np.array(part, np.float64) for part in zip(*steps, strict=True))
    nothing = np.full(len(steps), np.nan)
    reason = np.where(np.isnan(log_e), Reason.FEW_ROWS, Reason.OK).astype(np.int8)
    return Evidence(
        name,
        "ks_distance",
        effect,
        effect,
        nothing,
        nothing,
        nothing,
        log_e,
        n,
        reason,
        {"since": since * stride, "back": back},
    )


def _of_outcomes(name: str, outcomes: Sequence[Outcome]) -> Evidence:
    def extra(key: str) -> FloatArray:
        return np.array([one.extra.get(key, np.nan) for one in outcomes])

    every = {key for one in outcomes for key in one.extra} - {"effect", "effect_low", "effect_high"}
    return Evidence(
        detector=name,
        effect_name="ks_distance",
        statistic=np.array([one.statistic for one in outcomes]),
        effect=extra("effect"),
        effect_low=extra("effect_low"),
        effect_high=extra("effect_high"),
        log_p=np.array([one.log_p for one in outcomes]),
        log_e=np.full(len(outcomes), np.nan),
        n=np.array([one.n for one in outcomes], np.float64),
        reason=np.array([one.reason for one in outcomes], np.int8),
        extra={key: extra(key) for key in sorted(every)},
    )
