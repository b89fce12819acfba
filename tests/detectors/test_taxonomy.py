"""The seventeen failure modes: numbers, spelling, identifiers, and the rule of reliability and robustness."""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import Final

import pytest

from detectors.heuristics import HEURISTICS
from detectors.registry import CATALOG, JOINT, WITNESS, Tolerances
from detectors.sequential.rates import COUNTERS, FAILURE_MODES
from detectors.taxonomy import MODES, RULES, TELEMETRY, kind_of

INTENDED: Final = 'failure-mode-in-machine-learning:intentionally-motivated-failures-summary="{}"'
UNINTENDED: Final = 'failure-mode-in-machine-learning:unintended-failures-summary="{}"'
MISP: Final = {
    "perturbation_attack": INTENDED.format("1-perturbation-attack"),
    "poisoning": INTENDED.format("2-poisoning-attack"),
    "model_inversion": INTENDED.format("3-model-inversion"),
    "membership_inference": INTENDED.format("4-membership-inference"),
    "model_stealing": INTENDED.format("5-model-stealing"),
    "reprogramming": INTENDED.format("6-reprogramming-ML-system"),
    "physical_adversarial_example": INTENDED.format("7-adversarial-example-in-physical-domain"),
    "malicious_provider": INTENDED.format("8-malicious-ML-provider-recovering-training-data"),
    "supply_chain": INTENDED.format("9-attacking-the-ML-supply-chain"),
    "backdoor": INTENDED.format("10-backdoor-ML"),
    "software_dependencies": INTENDED.format("10-exploit-software-dependencies"),
    "reward_hacking": UNINTENDED.format("12-reward-hacking"),
    "side_effects": UNINTENDED.format("13-side-effects"),
    "distributional_shift": UNINTENDED.format("14-distributional-shifts"),
    "natural_adversarial_example": UNINTENDED.format("15-natural-adversarial-examples"),
    "common_corruption": UNINTENDED.format("16-common-corruption"),
    "incomplete_testing": UNINTENDED.format("17-incomplete-testing"),
}
"""machinetag.json of MISP/misp-taxonomies at 6179f6b, version 1, defects included."""
FORMS: Final = {"atlas": r"AML\.T\d{4}(\.\d{3})?", "owasp": r"ML(0[1-9]|10):2023", "nist": r"NISTAML\.\d{2,3}"}


def test_the_modes_count_to_seventeen_and_eleven_are_intended() -> None:
    assert [mode.number for mode in MODES.values()] == list(range(1, 18))
    assert [mode.name for mode in MODES.values()] == list(MODES) == list(MISP)
    assert [mode.intentional for mode in MODES.values()] == [True] * 11 + [False] * 6


def test_only_8_to_11_break_access_control() -> None:
    assert [mode.number for mode in MODES.values() if mode.violates_access] == [8, 9, 10, 11]
    assert all(bool(mode.properties) == mode.intentional for mode in MODES.values())


@pytest.mark.parametrize("name", MODES)
def test_misp_tags_are_spelt_as_misp_spells_them(name: str) -> None:
    assert MODES[name].tags["misp"] == [MISP[name]]


@pytest.mark.parametrize("name", MODES)
def test_identifiers_have_the_form_of_their_catalogue_and_none_is_invented(name: str) -> None:
    tags = MODES[name].tags
    for catalogue, form in FORMS.items():
        assert [one for one in tags[catalogue] if not re.fullmatch(form, one)] == []
        assert len(set(tags[catalogue])) == len(tags[catalogue])
        assert not (tags[catalogue] and MODES[name].number in {6, 12, 13, 14, 15, 16, 17})


@pytest.mark.parametrize("name", MODES)
def test_every_mode_says_what_no_log_shows_and_what_to_do(name: str) -> None:
    mode = MODES[name]
    assert mode.not_observable.endswith(".")
    assert bool(mode.observable) == (name != "malicious_provider")
    assert 2 <= len(mode.first_steps) <= 4
    assert all(step.endswith(".") for step in mode.first_steps)
    assert set(mode.telemetry) <= set(TELEMETRY)


def test_no_telemetry_is_listed_for_nothing() -> None:
    asked = {need for mode in MODES.values() for need in mode.telemetry}
    for one in HEURISTICS.values():
        asked |= {need for group in one.needs for need in group} | set(one.helps)
    assert asked == set(TELEMETRY)


def test_modes_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MODES["backdoor"].number = 11  # type: ignore[misc]


def test_every_detector_speaks_of_modes_that_exist() -> None:
    tolerances = Tolerances()
    told = [make(tolerances).failure_modes for make in CATALOG.values()]
    told += [make(tolerances).failure_modes for make in JOINT.values()] + [WITNESS(tolerances).failure_modes]
    assert {mode for modes in told for mode in modes} == {
        "distributional_shift",
        "common_corruption",
        "incomplete_testing",
    }
    assert set(FAILURE_MODES) <= set(COUNTERS)


def test_exactly_one_rule_holds_whatever_is_known() -> None:
    every = itertools.product(
        (False, True),
        ("none", "unlocated", "everywhere", "one_client"),
        ("unknown", "within", "worse", "from_start"),
    )
    for shift, integrity, error in every:
        holds = [r for r in RULES if shift in r.shift and integrity in r.integrity and error in r.error]
        assert holds == [kind_of(shift=shift, integrity=integrity, error=error)]


@pytest.mark.parametrize(
    ("shift", "integrity", "error", "kind", "sub"),
    [
        (False, "none", "within", "none", ""),
        (False, "none", "from_start", "reliability", "under-specified, too small or not calibrated"),
        (False, "none", "worse", "robustness", "concept change"),
        (True, "none", "within", "none", "harmless shift"),
        (True, "none", "worse", "robustness", "shift of inputs, labels or quality"),
        (True, "none", "unknown", "robustness", "exposure"),
        (False, "none", "unknown", "unknown", ""),
        (False, "everywhere", "unknown", "robustness", "common corruption or fault of the pipeline"),
        (True, "one_client", "within", "robustness", "intent suspected"),
    ],
)
def test_the_rule_says_what_the_literature_says(shift: bool, integrity: str, error: str, kind: str, sub: str) -> None:  # noqa: FBT001 - a parameter of the test
    found = kind_of(shift=shift, integrity=integrity, error=error)
    assert (found.kind, found.sub) == (kind, sub)
    assert found.reason


def test_what_nobody_defined_has_no_rule() -> None:
    with pytest.raises(ValueError, match="sideways"):
        kind_of(shift=True, integrity="sideways")
