"""The names of findings: modes with support, the kind of failure, and that the cause is not claimed."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from detectors.decide.causes import TREE
from detectors.decide.fault_tree import evaluate
from detectors.taxonomy import MODES
from monitor.naming import FAULT_TREE, Facts, mode_of, named
from monitor.report import Finding
from tests.monitor.streams_bench import findings, rows, streams

PAGE = Facts("distributional_shift", "shift", "data", "page", ("e_ks",), 12.0)
FAULT = Facts("common_corruption", "data_fault", "data", "page", ("e_missing",), 12.0)


def modes(facts: Facts) -> dict[str, str]:
    return {one["mode"]: one["support"] for one in named(facts)["failure_modes"]}


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        (PAGE, {"distributional_shift": "high"}),
        (PAGE._replace(severity="info"), {"distributional_shift": "medium"}),
        (PAGE._replace(severity="info", log_e=math.nan, detectors=("adwin",)), {"distributional_shift": "low"}),
        (
            PAGE._replace(detectors=("e_ks", "e_out_of_range")),
            {"distributional_shift": "high", "incomplete_testing": "medium"},
        ),
        (
            PAGE._replace(triage="unknown", detectors=("e_out_of_range",)),
            {"distributional_shift": "low", "incomplete_testing": "medium"},
        ),
        (FAULT, {"common_corruption": "high"}),
        (
            FAULT._replace(detectors=("e_new_category",)),
            {"common_corruption": "medium", "incomplete_testing": "medium"},
        ),
        (
            FAULT._replace(detectors=("e_missing", "e_new_category")),
            {"common_corruption": "high", "incomplete_testing": "medium"},
        ),
        (Facts("model_stealing", "attack", "data", "page", ("a_detector",), 12.0), {"model_stealing": "medium"}),
    ],
)
def test_modes_and_their_support_follow_from_what_the_finding_knows(facts: Facts, wanted: dict[str, str]) -> None:
    assert modes(facts) == wanted
    assert next(iter(modes(facts))) == facts.failure_mode
    assert named(facts)["failure_modes"][0]["reason"].endswith("cause unknown")


@pytest.mark.parametrize(
    ("facts", "kind", "sub"),
    [
        (PAGE, "robustness", "exposure"),
        (FAULT, "robustness", "corruption or fault of the pipeline"),
        (PAGE._replace(severity="info", log_e=math.nan), "unknown", ""),
        (PAGE._replace(triage="attack"), "robustness", "intent suspected"),
    ],
)
def test_the_kind_of_failure_says_why(facts: Facts, kind: str, sub: str) -> None:
    found = named(facts)["kind_of_failure"]
    assert (found["kind"], found["sub"]) == (kind, sub)
    assert len(found["reason"]) > 20


SENDER = Facts("perturbation_attack", "attack", "sender", "page", ("near_duplicates",), 30.0)


def judged(facts: Facts, **told: bool | float) -> Facts:
    verdict = evaluate(TREE, told)
    mode = mode_of(verdict, facts.detectors[0])
    return facts._replace(failure_mode=mode, triage=verdict.triage, evidence={FAULT_TREE: verdict.as_dict()})


@pytest.mark.parametrize(
    ("detector", "told", "wanted", "sub"),
    [
        (
            "near_duplicates",
            {"near_duplicates": True, "flips_log_p": -40.0},
            {"perturbation_attack": "medium", "model_inversion": "low", "reprogramming": "low"},
            "intent suspected",
        ),
        (
            "near_duplicates",
            {"near_duplicates": True, "confidence_log_p": -40.0, "confidence_trend": 0.95},
            {"model_inversion": "high", "perturbation_attack": "medium", "reprogramming": "low"},
            "intent suspected",
        ),
        (
            "near_duplicates",
            {"near_duplicates": True},
            {"perturbation_attack": "low", "model_inversion": "low", "reprogramming": "low"},
            "",
        ),
        ("membership_probing", {"membership_probing": True}, {"membership_inference": "medium"}, "intent suspected"),
        ("label_noise", {"label_noise": True, "one_source": True}, {"poisoning": "medium"}, "intent suspected"),
        (
            "label_noise",
            {"label_noise": True, "every_source": True},
            {"distributional_shift": "medium", "poisoning": "low"},
            "exposure",
        ),
        (
            "tail_energy",
            {"tail_energy": True, "fleet_wide": True, "concentrated": False},
            {"common_corruption": "medium", "perturbation_attack": "low"},
            "common corruption or fault of the pipeline",
        ),
        (
            "output_integrity",
            {"output_integrity": True},
            {"software_dependencies": "medium"},
            "corruption or fault of the pipeline",
        ),
        (
            "golden_set",
            {"golden_set": True, "replaced": 1.0, "version_change": True},
            {"supply_chain": "high", "software_dependencies": "low"},
            "corruption or fault of the pipeline",
        ),
        ("extraction", {}, {"model_stealing": "low"}, ""),
    ],
)
def test_a_verdict_names_the_modes_with_its_support(
    detector: str, told: dict[str, bool | float], wanted: dict[str, str], sub: str
) -> None:
    facts = judged(SENDER._replace(detectors=(detector,)), **told)
    assert modes(facts) == wanted
    found = named(facts)
    assert found["kind_of_failure"]["sub"] == sub
    assert all(one["reason"] for one in found["failure_modes"])


@pytest.mark.parametrize(
    ("told", "wanted", "sub"),
    [
        ({"shift_established": True}, {"distributional_shift": "high"}, "exposure"),
        (
            {"shift_established": True, "tail_energy": True, "fleet_wide": True, "concentrated": False},
            {"distributional_shift": "high", "common_corruption": "medium"},
            "common corruption or fault of the pipeline",
        ),
        (
            {
                "shift_established": True,
                "row_scores": True,
                "concentrated": True,
                "neighbour_disagreement": True,
            },
            {"distributional_shift": "high", "perturbation_attack": "medium"},
            "intent suspected",
        ),
        ({}, {"distributional_shift": "high"}, "exposure"),
    ],
)
def test_a_measured_shift_keeps_its_name_and_gets_what_the_tree_adds(
    told: dict[str, bool | float], wanted: dict[str, str], sub: str
) -> None:
    verdict = evaluate(TREE, told)
    triage = "shift" if verdict.triage == "unknown" else verdict.triage
    facts = PAGE._replace(triage=triage, evidence={FAULT_TREE: verdict.as_dict()})
    assert modes(facts) == wanted
    assert named(facts)["kind_of_failure"]["sub"] == sub


def test_a_tree_establishes_no_shift_where_the_detector_promises_nothing() -> None:
    note = PAGE._replace(severity="info", log_e=math.nan, detectors=("adwin",))
    found = named(note._replace(evidence={FAULT_TREE: evaluate(TREE, {"shift_established": False}).as_dict()}))
    assert found["kind_of_failure"]["kind"] == "unknown"
    assert found["failure_modes"][0]["support"] == "low"


def test_without_a_cause_the_first_step_is_to_ask_and_with_one_it_is_the_modes_own() -> None:
    asked = named(judged(SENDER, near_duplicates=True))["first_steps"]
    limited = named(judged(SENDER, near_duplicates=True, flips_log_p=-40.0))["first_steps"]
    assert "Ask who sends them what they are for." in asked
    assert limited == list(MODES["perturbation_attack"].first_steps)


def test_no_verdict_claims_to_know_what_somebody_wants() -> None:
    reason = named(judged(SENDER, near_duplicates=True, flips_log_p=-40.0))["failure_modes"][0]["reason"]
    assert reason == "queries look for the boundary of an answer; what whoever sends them wants is not known"


def test_a_change_of_the_mix_has_first_steps_of_its_own() -> None:
    assert named(PAGE._replace(subject="mix"))["first_steps"] != named(PAGE)["first_steps"]


def page(**shift: float) -> Finding:
    it = streams()
    quiet = list(it.feed(rows(10 * 200, 4), "", 0.0).reports)
    found = findings(quiet + list(it.feed(rows(10 * 200, 5, **shift), "", 0.0).reports), "page")
    return found[0]


def test_the_json_of_a_finding_carries_its_names() -> None:
    finding = page(shift=1.0)
    line: dict[str, Any] = json.loads(json.dumps(finding.as_dict(), allow_nan=False))
    (mode,) = line["failure_modes"]
    assert (mode["mode"], mode["number"]) == (line["failure_mode"], 14)
    assert mode["tags"]["misp"] == [
        'failure-mode-in-machine-learning:unintended-failures-summary="14-distributional-shifts"'
    ]
    assert mode["tags"]["atlas"] == mode["tags"]["owasp"] == mode["tags"]["nist"] == []
    assert line["kind_of_failure"]["kind"] == "robustness"
    assert line["not_observable"] == MODES["distributional_shift"].not_observable
    assert line["first_steps"] == list(MODES["distributional_shift"].first_steps)


def test_new_categories_may_be_a_fault_or_may_be_untested() -> None:
    line = page(new=0.2).as_dict()
    assert [one["number"] for one in line["failure_modes"]] == [16, 17]
    assert line["triage"] == "data_fault"


def test_a_finding_of_every_mode_can_be_written_down() -> None:
    finding = page(missing=0.2)
    for name, mode in MODES.items():
        line = dataclasses.replace(finding, failure_mode=name).as_dict()
        assert line["failure_modes"][0]["number"] == mode.number
