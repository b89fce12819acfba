"""The fault tree: what is established, explained, excluded or not looked at, and the one verdict that comes of it."""

from __future__ import annotations

import json
import math
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.decide.causes import CERTAIN, FACTS, LOCATED, TREE, facts_of, gathered
from detectors.decide.fault_tree import (
    ATTACK,
    DATA_FAULT,
    EXCLUDED,
    EXPLAINED,
    HIGH,
    LOW,
    MEDIUM,
    PRECEDENCE,
    SHIFT,
    SUPPORTED,
    UNKNOWN,
    UNSEEN,
    Cause,
    Check,
    Fact,
    Judged,
    Tree,
    Verdict,
    evaluate,
    render,
    shown,
)
from detectors.heuristics import HEURISTICS
from detectors.queries.suspicion import Suspicion
from detectors.taxonomy import MODES

Told = dict[str, bool | float | None]
SURE, UNSURE = -40.0, -1.0
NEAR: Final[Told] = {"near_duplicates": True}
SIGNS: Final = ("flips_log_p", "low_margin_log_p", "confidence_log_p")
SEARCH: Final[Told] = NEAR | {"flips_log_p": SURE}
SCENE: Final[Told] = {"frames_regular": True, "steps_smooth": True}
NOTHING: Final[Told] = dict.fromkeys((name for name, fact in FACTS.items() if fact.unit == "yes"), False)


def judged(facts: Told) -> Verdict:
    return evaluate(TREE, facts)


def states(verdict: Verdict) -> dict[str, str]:
    return {one.name: one.state for one in verdict.tree.walk() if one.gate}


@pytest.mark.parametrize(
    ("facts", "triage", "cause"),
    [
        ({}, UNKNOWN, ""),
        (NOTHING, UNKNOWN, ""),
        (NEAR, UNKNOWN, "repetitive"),
        (NEAR | {"flips_log_p": UNSURE, "low_margin_log_p": UNSURE}, UNKNOWN, "repetitive"),
        (SEARCH, ATTACK, "search"),
        (NEAR | {"low_margin_log_p": SURE}, ATTACK, "search"),
        (NEAR | {"confidence_log_p": SURE, "confidence_trend": -0.9}, ATTACK, "search"),
        (NEAR | {"confidence_log_p": SURE, "confidence_trend": 0.9, "flips_log_p": UNSURE}, ATTACK, "inversion"),
        ({"flips_log_p": SURE, "low_margin_log_p": SURE}, UNKNOWN, ""),
        ({"exact_share": 0.9, "flooding": True, "near_duplicates": False}, UNKNOWN, "retries"),
        (SEARCH | {"exact_share": 0.9}, ATTACK, "search"),
        (SEARCH | SCENE, UNKNOWN, "video"),
        (SEARCH | {"frames_regular": True}, ATTACK, "search"),
        (SEARCH | SCENE | {"noise_like_updates": True}, ATTACK, "search"),
        (NEAR | {"pagination": True}, UNKNOWN, "pagination"),
        (SEARCH | {"pagination": True}, ATTACK, "search"),
        (SEARCH | {"ab_replay": True}, UNKNOWN, "ab_replay"),
        (SEARCH | {"ab_replay": True, "same_version_flips_log_p": SURE}, ATTACK, "search"),
        (NEAR | {"load_test": True, "flooding": True, "membership_probing": True}, UNKNOWN, "load_test"),
        ({"membership_probing": True}, ATTACK, "membership"),
        ({"extraction": True, "coverage_growth": True}, ATTACK, "stealing"),
        ({"extraction": True, "coverage_growth": False}, SHIFT, "newcomer"),
        ({"extraction": True, "low_margin": True, "near_duplicates": True}, SHIFT, "newcomer"),
        ({"client_shift": True}, SHIFT, "newcomer"),
        ({"client_shift": True, "reprogramming_like": 1.0}, ATTACK, "reprogramming"),
        ({"client_shift": True, "reprogramming_like": 0.0}, SHIFT, "newcomer"),
        (NEAR | {"confidence_ascent": True, "rising_confidence": 0.7}, UNKNOWN, ""),
        (NEAR | {"confidence_ascent": True, "rising_confidence": 0.7, "row_scores": True}, UNKNOWN, ""),
        (NEAR | {"confidence_ascent": True, "rising_confidence": 0.7, "many_scales": 1.0}, ATTACK, "inversion"),
        (NEAR | {"confidence_ascent": True, "rising_confidence": -0.7}, UNKNOWN, ""),
        ({"confidence_ascent": True, "rising_confidence": 0.7}, UNKNOWN, ""),
        (SEARCH | SCENE | {"many_scales": True}, ATTACK, "search"),
        (SEARCH | SCENE | {"noise_like_log_p": SURE}, ATTACK, "search"),
        ({"row_scores": True, "concentrated": True}, SHIFT, "newcomer"),
        ({"row_scores": True, "neighbour_disagreement": True, "concentrated": True}, ATTACK, "hostile_rows"),
        ({"row_scores": True, "concentrated": False, "fleet_wide": True}, SHIFT, "odd_everywhere"),
        ({"tail_energy": True, "concentrated": False, "fleet_wide": True}, DATA_FAULT, "corruption"),
        ({"tail_energy": True, "concentrated": True, "fleet_wide": True}, SHIFT, "newcomer"),
        ({"tail_energy": True, "concentrated": True, "active_probes": True}, ATTACK, "hostile_rows"),
        ({"row_scores": True, "tail_energy": True}, UNKNOWN, ""),
        ({"label_disagreement": True, "one_source": True}, ATTACK, "poison"),
        ({"label_disagreement": True, "one_source": False, "every_source": True}, SHIFT, "concept"),
        ({"label_disagreement": True}, UNKNOWN, ""),
        ({"neighbour_disagreement": True, "target_log_p": SURE}, ATTACK, "trigger"),
        ({"fault_established": True, "shift_established": True}, DATA_FAULT, "broken_values"),
        (SEARCH | {"fault_established": True, "fleet_hit_share": 0.8}, DATA_FAULT, "collapse"),
        (SEARCH | {"fault_established": True, "fleet_hit_share": 0.01}, ATTACK, "search"),
        ({"output_integrity": True}, DATA_FAULT, "host"),
        ({"golden_set": True}, DATA_FAULT, "replaced"),
        ({"golden_set": True, "version_change": True, "release_known": True}, UNKNOWN, "release"),
        ({"replaced": 1.0, "version_change": True, "release_known": True}, DATA_FAULT, "replaced"),
        ({"version_change": True, "replaced": 0.0}, SHIFT, "other_version"),
        ({"shift_established": True}, SHIFT, "shift"),
        ({"mix_changed": True}, SHIFT, "mix"),
        (SEARCH | {"shift_established": True}, ATTACK, "search"),
    ],
)
def test_the_leading_cause_follows_from_the_facts(facts: Told, triage: str, cause: str) -> None:
    verdict = judged(facts)
    assert (verdict.triage, verdict.cause) == (triage, cause)


def test_what_was_not_measured_is_neither_excluded_nor_supported() -> None:
    assert set(states(judged({})).values()) == {UNSEEN}
    assert states(judged({"flips_log_p": math.nan})) == states(judged({"flips_log_p": None})) == states(judged({}))


def test_what_was_looked_at_and_not_found_is_excluded_but_for_what_no_log_shows() -> None:
    every = NOTHING | {name: 0.0 for name, fact in FACTS.items() if fact.unit != "yes"}
    left = {name for name, state in states(judged(every)).items() if state != EXCLUDED}
    assert left == {"offline", "right_labels", "intent", "incident"}


def test_a_harmless_cause_explains_the_facts_of_others_and_not_its_own() -> None:
    found = states(judged(SEARCH | SCENE))
    assert (found["video"], found["search"]) == (SUPPORTED, EXPLAINED)
    leaf = next(one for one in judged(SEARCH | SCENE).tree.walk() if one.state == EXPLAINED and not one.gate)
    assert "explained by: Frames of a scene that moves" in leaf.evidence


def test_support_grows_with_the_checks_that_speak_for_the_cause() -> None:
    assert judged({}).support == LOW
    assert judged(SEARCH).support == MEDIUM
    assert judged(SEARCH | {"noise_like_updates": True}).support == HIGH


def test_bounds_belong_to_what_they_bound() -> None:
    at_most, at_least = Check("x", -2.0, at_least=False), Check("x", 0.5)
    assert [at_most.holds({"x": value}) for value in (-3.0, -2.0, -1.9, math.nan, None)] == [
        True,
        True,
        False,
        None,
        None,
    ]
    assert [at_least.holds({"x": value}) for value in (True, 0.5, False)] == [True, True, False]
    assert [at_least.holds({}), at_most.holds({"x": -math.inf})] == [None, True]


def gate(least: int, *values: bool | None) -> str:
    facts = {f"f{i}": value for i, value in enumerate(values)}
    top = Cause("top", "Top", tuple(Check(name) for name in facts), least, triage=SHIFT)
    return evaluate(
        Tree(Cause("all", "All", (top,)), {name: Fact(name, "yes", "") for name in facts}), facts
    ).tree.state


@pytest.mark.parametrize(
    ("least", "values", "state"),
    [
        (1, (True, None), SUPPORTED),
        (1, (False, None), UNSEEN),
        (1, (False, False), EXCLUDED),
        (-1, (True, None), UNSEEN),
        (-1, (False, None), EXCLUDED),
        (-1, (True, True), SUPPORTED),
        (2, (True, True, None), SUPPORTED),
        (2, (True, False, None), UNSEEN),
        (2, (True, False, False), EXCLUDED),
        (2, (None, False, False), EXCLUDED),
    ],
)
def test_gates_keep_to_three_valued_logic(least: int, values: tuple[bool | None, ...], state: str) -> None:
    assert gate(least, *values) == state


def checks(cause: Cause) -> set[str]:
    own = {one.fact for one in (*cause.parts, *cause.beside, *cause.excluded_by) if isinstance(one, Check)}
    return own.union(cause.explains, cause.shows, *(checks(one) for one in cause.parts if isinstance(one, Cause)))


def causes(cause: Cause) -> list[Cause]:
    return [cause, *(below for one in cause.parts if isinstance(one, Cause) for below in causes(one))]


def test_the_tree_speaks_of_facts_modes_and_triages_that_exist_and_no_fact_is_listed_for_nothing() -> None:
    assert checks(TREE.top) <= set(FACTS)
    assert set(FACTS) - checks(TREE.top) <= {"boundary_walk", "target_class"}  # by their p-values
    assert {one.mode for one in causes(TREE.top) if one.mode} <= set(MODES)
    assert {one.triage for one in TREE.top.parts if isinstance(one, Cause)} == set(PRECEDENCE)
    names = [one.name for one in causes(TREE.top)]
    assert len(set(names)) == len(names)
    assert all(fact.by in HEURISTICS or " " in fact.by for fact in FACTS.values())


def every_check(cause: Cause) -> list[Check]:
    own = [one for one in (*cause.parts, *cause.beside, *cause.excluded_by) if isinstance(one, Check)]
    return own + [check for one in cause.parts if isinstance(one, Cause) for check in every_check(one)]


def test_p_values_speak_by_being_small_and_all_else_by_being_large() -> None:
    for check in every_check(TREE.top):
        assert check.at_least == (FACTS[check.fact].unit != "log_p")
        assert check.bound == (1.0 if FACTS[check.fact].unit == "yes" else check.bound)


def test_concentration_is_asked_of_odd_rows_alone() -> None:
    (hostile,) = [one for one in causes(TREE.top) if one.name == "odd"]
    assert checks(hostile) == LOCATED


BY_UNIT: Final = {
    "yes": st.booleans(),
    "log_p": st.floats(-1e9, 0.0) | st.sampled_from([CERTAIN, -math.inf, 0.0]),
    "share": st.floats(0.0, 1.0),
    "": st.floats(-1.0, 1.0),
}
ANY_FACTS: Final = st.fixed_dictionaries(
    {}, optional={name: BY_UNIT.get(fact.unit, st.floats(0.0, 1e308)) | st.none() for name, fact in FACTS.items()}
)
SPEAKING: Final = {
    name: st.just(value)
    for name, value in {
        **{name: True for name, fact in FACTS.items() if fact.unit == "yes"},
        **{name: SURE for name, fact in FACTS.items() if fact.unit == "log_p"},
        "confidence_trend": 1.0,
        "rising_confidence": 1.0,
    }.items()
}


def attacking(cause: Cause) -> set[str]:
    """Facts that speak for an attack."""
    own = {one.fact for one in (*cause.parts, *cause.beside) if isinstance(one, Check)}
    return own.union(*(attacking(one) for one in cause.parts if isinstance(one, Cause)))


FOR_ATTACK: Final = sorted(
    set().union(*(attacking(one) for one in TREE.top.parts if isinstance(one, Cause) and one.triage == ATTACK))
)


@settings(max_examples=150, deadline=None)
@given(ANY_FACTS)
def test_exactly_one_triage_and_an_attack_only_with_its_support(facts: Told) -> None:
    verdict = judged(facts)
    assert verdict.triage in PRECEDENCE
    found = {one.triage for one in verdict.supported()}
    if verdict.triage == ATTACK:
        assert ATTACK in found
    assert (verdict.cause == "") == (not found)
    if verdict.cause in ("search", "inversion"):
        assert facts["near_duplicates"]
        assert any((facts.get(name) or 0.0) <= CERTAIN for name in SIGNS) or facts["confidence_ascent"]
    json.dumps(verdict.as_dict(), allow_nan=False)
    assert render(verdict)


@settings(max_examples=150, deadline=None)
@given(ANY_FACTS, st.sets(st.sampled_from(sorted(FACTS)), min_size=1, max_size=20))
def test_a_fact_that_is_not_measured_never_excludes(facts: Told, dropped: set[str]) -> None:
    before, after = states(judged(facts)), states(judged(facts | dict.fromkeys(dropped)))
    newly = {name for name, state in after.items() if state == EXCLUDED and before[name] != EXCLUDED}
    assert newly == set()


@settings(max_examples=150, deadline=None)
@given(ANY_FACTS, st.sets(st.sampled_from(FOR_ATTACK), min_size=1, max_size=5), st.data())
def test_more_support_never_makes_less_of_an_attack(facts: Told, added: set[str], data: st.DataObject) -> None:
    before = judged(facts)
    after = judged(facts | {name: data.draw(SPEAKING[name]) for name in added})
    if before.triage == ATTACK:
        assert after.triage == ATTACK
        assert (after.support == HIGH) >= (before.support == HIGH)


@settings(max_examples=100, deadline=None)
@given(ANY_FACTS, st.permutations(sorted(FACTS)))
def test_the_order_of_the_facts_does_not_matter(facts: Told, order: list[str]) -> None:
    assert judged({name: facts[name] for name in order if name in facts}) == judged(facts)


def test_the_text_says_what_was_excluded_and_what_was_not_looked_at() -> None:
    verdict = judged(SEARCH | {"rows": 300.0, "exact_share": 0.01})
    first, *lines = render(verdict)
    assert first == "attack: Queries look for the boundary of an answer (medium support)"
    text = "\n".join(lines)
    for wanted in (
        "rows: 300 rows; share of the very same inputs again: 1.0%",
        "[excluded] The same requests are sent again",
        "[supported] so many changes of the answer between near-duplicates by chance: p = 10^-17.4",
        "[not looked at] A sender asks about training rows: needs membership_probing",
        "[not looked at] Poison whose labels are right: no log shows it",
    ):
        assert wanted in text
    assert "-inf" not in "\n".join(render(judged(NEAR | {"flips_log_p": -math.inf})))


def test_the_text_can_be_made_of_what_is_kept_with_a_finding() -> None:
    verdict = judged(SEARCH | {"exact_share": 0.9})
    assert shown(json.loads(json.dumps(verdict.as_dict()))) == render(verdict)


def test_the_json_holds_the_whole_reasoning_and_stays_small() -> None:
    document = judged(SEARCH).as_dict()
    assert (document["triage"], document["cause"], document["failure_mode"]) == (
        ATTACK,
        "search",
        "perturbation_attack",
    )
    assert "A sender asks about training rows" in document["not_looked_at"]
    assert "The same requests are sent again" in document["excluded"]
    assert len(json.dumps(document)) < 16_000


def test_alarms_are_gathered_and_pay_for_being_chosen() -> None:
    alarms = [
        ("near_duplicates", {"flips_log_p": -20.0, "rows": 30.0, "odd": 1.0, "exact_share": math.nan}),
        ("near_duplicates", {"flips_log_p": -5.0, "rows": 300.0}),
    ]
    facts = gathered(alarms, ("near_duplicates", "prada", "no such heuristic"))
    assert facts == {"near_duplicates": True, "prada": False, "flips_log_p": -20.0 + math.log(2), "rows": 300.0}
    assert judged(facts).triage == ATTACK


def suspicion(heuristic: str, about: str, **facts: float) -> Suspicion:
    nobody = np.zeros(0, np.int64)
    return Suspicion(heuristic, about, 7, 20.0, math.nan, 100, 40, 0, 100, ((7, 90), (8, 10)), facts, nobody)


@pytest.mark.parametrize(("about", "triage", "cause"), [("client", ATTACK, "poison"), ("fleet", SHIFT, "concept")])
def test_odd_labels_of_one_source_are_poison_and_of_all_a_change_of_what_is_right(
    about: str, triage: str, cause: str
) -> None:
    one = suspicion("label_disagreement", about, contradicted_share=0.4)
    verdict = judged(gathered([(one.heuristic, facts_of(one))], ("label_disagreement",)))
    assert (verdict.triage, verdict.cause) == (triage, cause)


@pytest.mark.parametrize(
    ("share", "triage", "cause"),
    [(0.9, ATTACK, "poison"), (0.5, ATTACK, "poison"), (0.02, SHIFT, "concept"), (math.nan, UNKNOWN, "")],
)
@pytest.mark.parametrize(("heuristic", "about"), [("label_floods", "cluster"), ("spectral_signature", "class")])
def test_a_popular_input_or_a_group_of_many_sources_is_no_single_ones_poison(
    heuristic: str, about: str, share: float, triage: str, cause: str
) -> None:
    one = suspicion(heuristic, about, same_source=share)
    verdict = judged(gathered([(one.heuristic, facts_of(one))], (heuristic,)))
    assert (verdict.triage, verdict.cause) == (triage, cause)


def test_a_suspicion_knows_its_rows_and_senders_unless_its_facts_say_more() -> None:
    assert facts_of(suspicion("near_duplicates", "cluster")) == {"rows": 100.0, "clients": 2.0}
    assert facts_of(suspicion("near_duplicates", "cluster", clients=40.0))["clients"] == 40.0
    assert facts_of(suspicion("near_duplicates", "fleet", names=40.0))["clients"] == 40.0


def test_all_traffic_together_is_no_scene() -> None:
    assert "frames_regular" in facts_of(suspicion("near_duplicates", "cluster", frames_regular=1.0))
    assert "frames_regular" not in facts_of(suspicion("near_duplicates", "fleet", frames_regular=1.0))


def test_a_fact_that_several_suspicions_of_one_cluster_repeat_is_paid_for_once() -> None:
    same = [(name, {"flips_log_p": -20.0}) for name in ("near_duplicates", "boundary_walk", "target_class")]
    assert gathered(same, ())["flips_log_p"] == -20.0


def test_expected_miss_an_attacker_who_moves_as_a_scene_does_is_taken_for_a_video() -> None:
    assert judged(SEARCH | SCENE).triage == UNKNOWN


def test_expected_miss_somebody_who_lets_another_version_answer_first_is_taken_for_a_replay() -> None:
    assert judged(SEARCH | {"ab_replay": True}).triage == UNKNOWN


def leaves(one: Judged) -> list[Judged]:
    return [below for below in one.walk() if not below.gate]


def test_every_check_has_a_sentence() -> None:
    assert all(one.evidence and one.title for one in leaves(judged(NOTHING).tree))
