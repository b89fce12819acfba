"""Findings of the drift detectors go through the fault tree, with what is known beside them: senders, directions.

A finding keeps its name and its id; what the tree concludes stands in its evidence, and its triage follows where the
tree knows better: somebody's doing, or a fault of the data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from detectors.decide import causes, fault_tree
from detectors.decide.concentration import Verdict
from detectors.decide.fault_tree import ATTACK, DATA_FAULT, SHIFT
from detectors.multivariate import robust_share
from detectors.types import Sample, View
from monitor.engine import Engine, Pane
from monitor.findings import largest
from monitor.naming import FAULT_TREE
from monitor.report import Finding, Report, number
from monitor.security.guard import Guard

DIRECTIONS = "directions"
"""Key of a finding's evidence: where in a view's own variation the mean has moved."""
_OVERRIDES = (ATTACK, DATA_FAULT)
_BESIDE = ("integrity",)
"""Damage that values of single columns show by themselves: where it is that of other columns, a shift stays a shift."""


class Arbiter:
    """Judges the findings of one model; a view is measured with its first finding, and again when it has moved."""

    def __init__(self, guard: Guard | None) -> None:
        """``guard`` knows the senders; None where nobody looks at them."""
        self._guard = guard
        self._axes: dict[int, tuple[View, robust_share.RobustFixed]] = {}

    def report(self, report: Report, engine: Engine, panes: tuple[Pane, ...]) -> Report:
        """A pane's report with the verdicts on its findings; ``panes`` are those of the window.

        A finding that cannot be judged is told without a verdict rather than not at all.
        """
        if not report.findings:
            return report
        views, columns = engine.reference.views, len(engine.names)
        judged, failures = [], dict(report.failures)
        for one in report.findings:
            try:
                judged.append(self.judge(one, views, columns, lambda view: engine.sample(panes, view)))
            except Exception as fault:  # noqa: BLE001 - whatever it is, the finding stands
                judged.append(one)
                failures[FAULT_TREE] = f"{type(fault).__name__}: {fault}"
        return dataclasses.replace(report, findings=tuple(judged), failures=failures)

    def judge(
        self, finding: Finding, views: tuple[View, ...], columns: int, sample: Callable[[int], Sample]
    ) -> Finding:
        """The finding with its verdict; ``sample`` gives the window's rows of a view, of whom ``columns`` units differ.

        ``views`` come after ``columns`` columns in the order of units.
        """
        evidence: dict[str, Any] = {}
        facts = self._drift(finding) | self._rows(largest(finding.units))
        view = max((culprit.index for culprit in finding.units), default=-1) - columns
        if 0 <= view < len(views):
            share = self._share(view, views[view], sample(view))
            known = {robust_share.PERTURBATION: True, robust_share.NATURAL: False}
            facts["weak_directions"] = known.get(share.character)
            numbers = {name: number(one) if isinstance(one, float) else one for name, one in share._asdict().items()}
            evidence[DIRECTIONS] = {**numbers, "sentence": share.sentence}
        verdict = fault_tree.evaluate(causes.TREE, facts)
        evidence[FAULT_TREE] = verdict.as_dict()
        triage = _triage(finding, verdict, facts)
        return dataclasses.replace(finding, triage=triage, evidence={**finding.evidence, **evidence})

    def _share(self, place: int, view: View, sample: Sample) -> robust_share.RobustShare:
        if place not in self._axes or self._axes[place][0] is not view:
            self._axes[place] = view, robust_share.fit(view)
        return robust_share.robust_share(self._axes[place][1], view, sample)

    @staticmethod
    def _drift(finding: Finding) -> dict[str, bool | float | None]:
        """What the finding itself establishes, within the budget or not at all."""
        promised = finding.severity != "info"
        data = finding.subject == "data"
        return {
            "shift_established": promised and data and finding.triage == "shift",
            "fault_established": promised and data and finding.triage == "data_fault",
            "mix_changed": promised and finding.subject == "mix",
        }

    def _rows(self, moved: float) -> dict[str, bool | float | None]:
        """Whether rows are odd one by one, and whose; few senders explain no shift of more than their own share.

        ``moved`` is the probability mass that the finding says has moved.
        """
        if self._guard is None:
            return {}
        found: dict[str, bool | float | None] = {}
        for kind in (kind for kind in self._guard.kinds if kind in causes.LOCATED):
            suspects, verdict = self._guard.concentrated(kind)
            if verdict is Verdict.FEW_CLIENTS:
                continue
            few = verdict is Verdict.CONCENTRATED and 2 * self._guard.share_of(suspects) >= moved
            found[kind] = few or verdict is Verdict.FLEET
            found["concentrated"] = bool(found.get("concentrated")) or few
            found["fleet_wide"] = bool(found.get("fleet_wide")) or verdict is Verdict.FLEET
        return found | {"version_change": self._guard.version_suspected}


def _triage(finding: Finding, verdict: fault_tree.Verdict, facts: Mapping[str, bool | float | None]) -> str:
    """The finding's triage, or the tree's where it knows better.

    That rows everywhere have broken values makes no fault of a shift of other values: the broken ones are a finding of
    their own.
    """
    if verdict.triage == DATA_FAULT and finding.triage == SHIFT:
        damage = [name for name in causes.DAMAGE if facts.get(name)]
        return SHIFT if verdict.cause == "corruption" and set(damage) <= set(_BESIDE) else DATA_FAULT
    return verdict.triage if verdict.triage in _OVERRIDES or finding.triage == "unknown" else finding.triage
