"""The catalogue of heuristics: names, needs, and that each says which attack defeats it."""

from __future__ import annotations

import re

import pytest

from detectors.heuristics import CLIENT, HEURISTICS, LABEL, QUERY, ROW, VERSION, absences, unmet
from detectors.taxonomy import MODES, TELEMETRY


def test_names_are_keys_and_numbers_are_those_of_the_note() -> None:
    assert [one.name for one in HEURISTICS.values()] == list(HEURISTICS)
    numbers = [one.number for one in HEURISTICS.values() if one.number]
    assert len(set(numbers)) == len(numbers)
    assert all(re.fullmatch(r"H\d+[a-f]?(-H\d+)?", number) for number in numbers)


@pytest.mark.parametrize("name", HEURISTICS)
def test_each_says_what_it_asks_needs_speaks_of_and_what_defeats_it(name: str) -> None:
    one = HEURISTICS[name]
    assert one.about in (ROW, QUERY, CLIENT, LABEL, VERSION)
    assert one.question.endswith("?")
    assert one.claim
    assert one.defeated_by
    assert not one.defeated_by.endswith(".")
    assert one.needs
    assert all(one.needs)
    asked = {key for group in one.needs for key in group} | set(one.helps)
    assert asked <= set(TELEMETRY)
    assert one.modes
    assert set(one.modes) <= set(MODES)


def test_a_need_is_met_by_any_of_its_group_and_not_by_what_only_helps() -> None:
    walk = HEURISTICS["boundary_walk"]
    assert unmet(walk, ()) == walk.needs
    assert walk.met({"embeddings", "score"})
    assert not walk.met({"embeddings", "client"})
    assert unmet(walk, {"inputs"}) == (("prediction", "probabilities", "logits", "score"),)


def test_without_a_name_of_the_sender_exactly_those_about_clients_are_off() -> None:
    given = set(TELEMETRY) - {"client"}
    assert {name for name, one in HEURISTICS.items() if not one.met(given)} == {
        name for name, one in HEURISTICS.items() if one.about == CLIENT
    }


def test_without_inputs_embeddings_still_serve_what_compares_queries() -> None:
    given = set(TELEMETRY) - {"inputs", "image"}
    assert {name for name, one in HEURISTICS.items() if not one.met(given)} == {
        "integrity",
        "tail_energy",
        "image_statistics",
        "fingerprints",
        "active_probes",
    }


def test_bare_inputs_leave_the_integrity_of_rows_and_near_duplicates() -> None:
    assert {name for name, one in HEURISTICS.items() if one.met({"inputs"})} == {
        "integrity",
        "row_scores",
        "tail_energy",
        "near_duplicates",
        "fingerprints",
        "noise_like_updates",
    }


def test_each_that_is_off_is_off_for_one_reason() -> None:
    off = [one.name for ones in absences(()).values() for one in ones]
    assert sorted(off) == sorted(HEURISTICS)
    assert absences(TELEMETRY) == {}
