"""Findings of drift detectors before the fault tree: they keep name and id, and are called an attack only for cause."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from detectors.decide.concentration import Verdict
from detectors.types import Sample, View
from monitor.arbiter import DIRECTIONS, Arbiter
from monitor.naming import FAULT_TREE
from monitor.report import Finding
from tests.detectors.views import sample_of, view_of
from tests.monitor.findings_bench import culprit, finding
from tests.monitor.streams_bench import findings, model, rows, streams

WIDTH, COLUMNS = 8, 4
SPREAD = np.linspace(3.0, 0.2, WIDTH)


class Senders:
    """Stands for a guard: where the odd rows of each kind come from, and how many rows their senders sent."""

    version_suspected = None

    def __init__(self, share: float = 1.0, **found: Verdict) -> None:
        self._found, self._share = found, share
        self.kinds = (*found, "near_duplicates")

    def concentrated(self, kind: str) -> tuple[set[int], Verdict]:
        return set(), self._found[kind]

    def share_of(self, _: set[int]) -> float:
        return self._share


def points(n: int, seed: int, axis: int = 0, shift: float = 0.0) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    found = np.random.default_rng(seed).standard_normal((n, WIDTH)) * SPREAD
    found[:, axis] += shift * SPREAD[axis]
    return found


@pytest.fixture(scope="module")
def view() -> View:
    return view_of(points(4_000, 0), run=8)


def nothing(_: int) -> Sample:
    raise AssertionError("no view is meant")


def judge(one: Finding, **senders: Verdict) -> Finding:
    return Arbiter(Senders(**senders)).judge(one, (), COLUMNS, nothing)  # type: ignore[arg-type]


def test_few_senders_explain_no_shift_of_more_than_their_share() -> None:
    odd = {"tail_energy": Verdict.CONCENTRATED, "neighbour_disagreement": Verdict.CONCENTRATED}
    one = finding()  # of .2
    judged = [
        Arbiter(Senders(share, **odd)).judge(one, (), COLUMNS, nothing)  # type: ignore[arg-type]
        for share in (0.01, 0.4)
    ]
    assert [each.triage for each in judged] == ["shift", "attack"]


def tree(one: Finding) -> dict[str, Any]:
    found: dict[str, Any] = one.evidence[FAULT_TREE]
    return found


def test_a_drift_finding_gets_its_tree_and_keeps_its_name_and_its_id() -> None:
    before = finding()
    after = judge(before)
    assert after.id == before.id
    assert (after.triage, tree(after)["triage"], tree(after)["cause"]) == ("shift", "shift", "shift")
    assert dataclasses.replace(after, evidence={}) == before
    assert json.dumps(after.as_dict())


ODD = "row_scores"


@pytest.mark.parametrize(
    ("before", "senders", "cause", "triage"),
    [
        (finding(), {}, "shift", "shift"),
        (finding(), {ODD: Verdict.QUIET}, "shift", "shift"),
        (finding(), {ODD: Verdict.FLEET}, "odd_everywhere", "shift"),
        (finding(), {ODD: Verdict.CONCENTRATED}, "newcomer", "shift"),
        (finding(), {"integrity": Verdict.FLEET}, "corruption", "shift"),
        (finding(), {"tail_energy": Verdict.FLEET}, "corruption", "data_fault"),
        (finding(triage="unknown"), {"integrity": Verdict.FLEET}, "corruption", "data_fault"),
        (finding(), {"neighbour_disagreement": Verdict.CONCENTRATED}, "hostile_rows", "attack"),
        (finding(triage="data_fault"), {}, "broken_values", "data_fault"),
        (finding(subject="mix"), {}, "mix", "shift"),
        (finding(triage="unknown"), {ODD: Verdict.FLEET}, "odd_everywhere", "shift"),
        (finding(triage="unknown"), {}, "", "unknown"),
        (finding(severity="info"), {}, "", "shift"),
    ],
)
def test_the_triage_follows_for_attacks_faults_and_where_nothing_was_known(
    before: Finding, senders: dict[str, Verdict], cause: str, triage: str
) -> None:
    after = judge(before, **senders)
    assert (tree(after)["cause"], after.triage) == (cause, triage)
    assert after.id == before.id
    assert after.failure_mode == before.failure_mode


def test_what_nobody_looked_at_is_not_denied() -> None:
    alone = tree(Arbiter(None).judge(finding(), (), COLUMNS, nothing))
    quiet = tree(judge(finding(), integrity=Verdict.QUIET, row_scores=Verdict.QUIET))
    few = tree(judge(finding(), integrity=Verdict.FEW_CLIENTS))
    title = "Inputs are damaged whoever sends them"
    assert title in alone["not_looked_at"]
    assert title in few["not_looked_at"]
    assert title in quiet["excluded"]


@pytest.mark.parametrize(("axis", "character"), [(0, "natural"), (WIDTH - 1, "perturbation-like")])
def test_a_joint_finding_says_in_which_directions_it_moved(view: View, axis: int, character: str) -> None:
    one = finding(units=(culprit("columns", COLUMNS),))
    sample = sample_of(points(800, 1, axis, 0.6), run=8)
    after = Arbiter(None).judge(one, (view,), COLUMNS, lambda _: sample)
    said = after.evidence[DIRECTIONS]
    assert said["character"] == character
    assert said["sentence"]
    assert json.dumps(said)
    assert after.id == one.id
    other = Arbiter(None).judge(finding(), (view,), COLUMNS, nothing)
    assert DIRECTIONS not in other.evidence


def test_a_reference_that_has_moved_has_directions_of_its_own(view: View) -> None:
    one, moved = finding(units=(culprit("columns", COLUMNS),)), view_of(points(1_500, 3)[:, ::-1].copy(), run=8)
    arbiter = Arbiter(None)
    before, after = (points(800, seed, 0, 0.6) for seed in (1, 5))
    for known, some in ((view, before), (moved, after[:, ::-1].copy())):
        judged = arbiter.judge(one, (known,), COLUMNS, lambda _, some=some: sample_of(some, run=8))  # type: ignore[misc]
        assert judged.evidence[DIRECTIONS]["character"] == "natural"


def test_directions_that_are_not_established_have_no_numbers(view: View) -> None:
    one = finding(units=(culprit("columns", COLUMNS),))
    after = Arbiter(None).judge(one, (view,), COLUMNS, lambda _: sample_of(points(200, 1), run=8))
    assert after.evidence[DIRECTIONS]["share"] is None
    assert "not established" in after.evidence[DIRECTIONS]["sentence"]


def test_evidence_that_is_there_stays() -> None:
    assert judge(finding(evidence={"more": 1})).evidence["more"] == 1


def test_a_finding_that_cannot_be_judged_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    calm, broken = streams(), streams()
    monkeypatch.setattr(broken._arbiter, "_rows", lambda _: 1 / 0)
    batch = rows(4_000, 1, shift=1.0)
    expected = findings(calm.feed(batch, "", 0.0).reports, "page")
    reports = broken.feed(batch, "", 0.0).reports
    assert [one.id for one in findings(reports, "page")] == [one.id for one in expected]
    assert expected
    assert FAULT_TREE in expected[0].evidence
    told = next(report for report in reports if report.findings)
    assert told.failures[FAULT_TREE].startswith("ZeroDivisionError")


def test_every_finding_of_the_streams_carries_its_tree() -> None:
    reports = streams(model(window={"panes": 4})).feed(rows(6_000, 2, shift=0.5, missing=0.3), "", 0.0).reports
    found = findings(reports, "page", "ticket")
    assert {one.triage for one in found} >= {"shift", "data_fault"}
    assert all(tree(one)["cause"] for one in found)
