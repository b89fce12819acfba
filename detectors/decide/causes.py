"""What may lie behind an incident: the facts that are measured, and the tree of causes that they speak for or against.

Facts that are called like a heuristic are true while that heuristic's alarm about the incident's subject stands within
its budget; nothing here weighs them again. The others are measured inside the incident: on the cluster, the sender or
the labels that it is about. Their bound is `CERTAIN` where they are p-values (failures.md section 3.3, H10).
Near-duplicates alone are never an attack: frames, sensors, like customers and retries come again as well.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from detectors.decide.fault_tree import ALL, ATTACK, DATA_FAULT, SHIFT, UNKNOWN, Cause, Check, Fact, Tree
from detectors.heuristics import HEURISTICS, LABEL
from detectors.queries.suspicion import Suspicion

CERTAIN: Final = math.log(1e-4)
"""A p-value at most this speaks for something."""
MOSTLY: Final = 0.5
"""A share of at least this is most of the rows."""
CLIMB: Final = 0.8
"""Rank correlation of confidence and order from which confidence climbs (H13)."""

RISE: Final = 0.5
"""The same over a sender's window, in which its other queries stand as well; a new scene makes it rise, too."""

_DRIFT, _SENDERS, _SOURCES = "drift detectors", "concentration by sender", "concentration by source"

FACTS: Final[dict[str, Fact]] = {name: Fact(one.claim, "yes", name) for name, one in HEURISTICS.items()} | {
    # of the incident's queries, whether of a cluster, a sender or the fleet
    "rows": Fact("rows", "rows", "near_duplicates"),
    "clients": Fact("senders", "senders", "near_duplicates"),
    "span": Fact("from the first to the last", "s", "near_duplicates"),
    "exact_share": Fact("share of the very same inputs again", "share", "near_duplicates"),
    "near_share": Fact("share of near-duplicates", "share", "near_duplicates"),
    "flip_share": Fact("share of those that are answered otherwise", "share", "boundary_walk"),
    "fleet_hit_share": Fact("share of near-duplicates in all traffic", "share", "near_duplicates"),
    "flips": Fact("changes of the answer between near-duplicates", "flips", "boundary_walk"),
    "flips_log_p": Fact("so many changes of the answer between near-duplicates by chance", "log_p", "boundary_walk"),
    "low_margin_log_p": Fact("so many near-duplicates between two answers by chance", "log_p", "boundary_walk"),
    "same_version_flips_log_p": Fact("so many changes within a version by chance", "log_p", "versions of repeats"),
    "confidence_trend": Fact("rank correlation of confidence and order", "", "confidence_ascent"),
    "confidence_log_p": Fact("such a trend of confidence by chance", "log_p", "confidence_ascent"),
    "target_log_p": Fact("one class so often by chance", "log_p", "target_class"),
    "many_scales": Fact("steps of many scales, as a search that narrows down makes them", "yes", "boundary_walk"),
    "noise_like_log_p": Fact("a way so unlike that between honest rows by chance", "log_p", "noise_like_updates"),
    "rising_confidence": Fact("rank correlation of confidence and order in a sender's window", "", "confidence_ascent"),
    "frames_regular": Fact("they come at one steady interval", "yes", "near_duplicates"),
    "steps_smooth": Fact("each goes on the way of the one before", "yes", "noise_like_updates"),
    "pagination": Fact("they step through one column and keep all others", "yes", "columns of near-duplicates"),
    "ab_replay": Fact("the same inputs are answered by another version too", "yes", "versions of near-duplicates"),
    "load_test": Fact("few inputs come again and again at a steady pace", "yes", "flooding"),
    "reprogramming_like": Fact("foreign rows, few classes and many changes of the answer", "yes", "client_shift"),
    # of single rows, counted by sender
    "concentrated": Fact("one sender, or a few, send the odd rows", "yes", _SENDERS),
    "fleet_wide": Fact("all senders send more odd rows, and none stands out", "yes", _SENDERS),
    # of columns and views, judged by the drift detectors
    "shift_established": Fact("distributions differ from the reference", "yes", _DRIFT),
    "mix_changed": Fact("the mix of the traffic has changed", "yes", _DRIFT),
    "fault_established": Fact("missing, impossible or unknown values are more frequent", "yes", _DRIFT),
    "weak_directions": Fact("what moved lies in directions in which the data hardly varies", "yes", "robust share"),
    # of labels
    "one_source": Fact("one source, or a few, give the odd labels", "yes", _SOURCES),
    "every_source": Fact("all sources give more odd labels, and none stands out", "yes", _SOURCES),
    # of the model
    "release_known": Fact("a new version was announced", "yes", "the list security.releases"),
    "replaced": Fact("changes of the model's files under the same version", "times", "version_change"),
    "answers_differ": Fact("the same input and version are answered otherwise", "yes", "output_integrity"),
}  # fmt: skip
"""Name -> what it is, its unit and who measures it."""


def _sure(fact: str) -> Check:
    return Check(fact, CERTAIN, at_least=False)


_SEARCH = (_sure("flips_log_p"), _sure("low_margin_log_p"), _sure("confidence_log_p"))
"""What nearly equal queries show when they look for something."""
_AIMED = (*_SEARCH, Check("confidence_ascent"))
_NEAR = ("near_duplicates", "fingerprints")
_DAMAGE = tuple(Check(name) for name in ("integrity", "tail_energy", "image_statistics"))
_ODD = tuple(Check(name) for name in ("row_scores", "neighbour_disagreement"))
DAMAGE: Final = tuple(check.fact for check in _DAMAGE)
"""Heuristics that say that rows are damaged."""
LOCATED: Final = frozenset(check.fact for check in (*_DAMAGE, *_ODD))
"""Heuristics whose odd rows the facts "concentrated" and "fleet_wide" speak of, and no others."""
_ODD_LABELS = tuple(
    Check(name)
    for name in ("label_disagreement", "label_noise", "label_floods", "spectral_signature", "activation_clustering")
)

_HARMLESS = Cause(
    "harmless", "Ordinary traffic that looks odd", triage=UNKNOWN,
    parts=(
        Cause(
            "retries", "The same requests are sent again", (Check("exact_share", MOSTLY),),
            excluded_by=(Check("near_duplicates"),), explains=("flooding",),
        ),
        Cause(
            "video", "Frames of a scene that moves", (Check("frames_regular"), Check("steps_smooth")), ALL,
            excluded_by=(Check("many_scales"), Check("noise_like_updates"), _sure("noise_like_log_p")),
            explains=(*_NEAR, "flips_log_p", "low_margin_log_p", "confidence_log_p", "confidence_ascent",
                      "same_version_flips_log_p", "flooding"),
        ),
        Cause(
            "polling", "A sensor that is asked at a steady interval", (Check("frames_regular"),),
            excluded_by=_AIMED, explains=(*_NEAR, "noise_like_updates", "flooding"),
        ),
        Cause(
            "pagination", "Somebody pages through a list", (Check("pagination"),),
            excluded_by=_AIMED, explains=(*_NEAR, "noise_like_updates"),
        ),
        Cause(
            "ab_replay", "Traffic is sent to another version as well", (Check("ab_replay"),),
            excluded_by=(_sure("same_version_flips_log_p"),), explains=(*_NEAR, "flips_log_p", "flooding"),
        ),
        Cause(
            "load_test", "A load test", (Check("load_test"),), excluded_by=_AIMED,
            explains=(*_NEAR, "flooding", "membership_probing"),
        ),
        Cause(
            "release", "A new version that was announced", (Check("release_known"), Check("version_change")), ALL,
            excluded_by=(Check("replaced"),), explains=("version_change", "golden_set"),
        ),
        Cause(
            "repetitive", "Repetitive traffic: near-duplicates, and no sign of what they look for",
            (Check("near_duplicates"),), excluded_by=_AIMED,
        ),
    ),
)  # fmt: skip

_INTENT = Cause(
    "intent", "Somebody wants it", triage=ATTACK,
    parts=(
        Cause(
            "search", "Queries look for the boundary of an answer", mode="perturbation_attack", least=ALL,
            parts=(Check("near_duplicates"), Cause("aim", "They look for something", _SEARCH)),
            beside=(Check("many_scales"), Check("noise_like_updates"), _sure("noise_like_log_p"), Check("fingerprints"),
                    _sure("target_log_p"), Check("integrity"), Check("tail_energy"), Check("active_probes")),
        ),
        Cause(
            "inversion", "Queries climb to where the model is surest", mode="model_inversion", least=ALL,
            parts=(
                Check("near_duplicates"),
                Cause("ascent", "Confidence climbs", (
                    Cause("rise", "It rises over a sender's window, by steps of many scales", least=ALL,
                          parts=(Check("confidence_ascent"), Check("rising_confidence", RISE), Check("many_scales"))),
                    Cause("trend", "It climbs from query to query", least=ALL,
                          parts=(_sure("confidence_log_p"), Check("confidence_trend", CLIMB))),
                )),
            ),
            excluded_by=(_sure("flips_log_p"),), beside=(Check("row_scores"), Check("noise_like_updates")),
        ),
        Cause(
            "membership", "A sender asks about training rows", (Check("membership_probing"),),
            mode="membership_inference",
        ),
        Cause(
            "stealing", "A sender copies the model", mode="model_stealing", least=ALL,
            parts=(
                Check("extraction"),
                Cause("manner", "Its queries are chosen to learn from", (Check("coverage_growth"), Check("prada"))),
            ),
            beside=(Check("flooding"), Check("client_shift"), Check("low_margin"), Check("near_duplicates")),
        ),
        Cause(
            "reprogramming", "A sender uses the model for another task", mode="reprogramming", least=ALL,
            parts=(Check("client_shift"), Check("reprogramming_like")),
            beside=(Check("row_scores"), Check("near_duplicates"), Check("concentrated"), Check("flooding")),
        ),
        Cause(
            "hostile_rows", "One sender, or a few, send odd rows that are bent to an answer",
            mode="perturbation_attack", least=ALL,
            parts=(
                Cause("odd", "Rows are odd", (*_ODD, *_DAMAGE)), Check("concentrated"),
                Cause("bent", "They get an answer that rows like them do not get",
                      (Check("neighbour_disagreement"), _sure("target_log_p"), Check("active_probes"))),
            ),
            beside=(Check("weak_directions"), Check("low_margin")),
        ),
        Cause(
            "poison", "One source, or a few, give the odd labels", mode="poisoning", least=ALL,
            parts=(Cause("odd_labels", "Labels are odd", _ODD_LABELS), Check("one_source")),
        ),
        Cause(
            "trigger", "Rows are answered against their neighbours, with one class", mode="backdoor", least=ALL,
            parts=(Check("neighbour_disagreement"), _sure("target_log_p")),
            beside=(Check("spectral_signature"), Check("activation_clustering"), Check("tail_energy")),
        ),
        Cause("offline", "An example that was made elsewhere, encoded like all others", mode="perturbation_attack"),
        Cause("right_labels", "Poison whose labels are right", mode="poisoning"),
    ),
)  # fmt: skip

_FAULT = Cause(
    "fault", "Data, the model's files or its host are at fault", triage=DATA_FAULT,
    parts=(
        Cause(
            "broken_values", "Values are missing, impossible or unknown", (Check("fault_established"),),
            mode="common_corruption", beside=(Check("integrity"),),
        ),
        Cause(
            "collapse", "A fault makes all inputs alike", mode="common_corruption", least=ALL,
            parts=(Check("fault_established"), Check("fleet_hit_share", MOSTLY)),
            explains=(*_NEAR, "flips_log_p", "low_margin_log_p"),
        ),
        Cause(
            "corruption", "Inputs are damaged whoever sends them", mode="common_corruption", least=ALL,
            parts=(Cause("damage", "Rows are damaged", _DAMAGE), Check("fleet_wide")),
            excluded_by=(Check("concentrated"),), beside=(Check("weak_directions"),),
        ),
        Cause(
            "host", "The model's host is at fault", (Check("output_integrity"), Check("answers_differ")),
            mode="software_dependencies", beside=(Check("golden_set"),),
        ),
        Cause(
            "replaced", "The model is not the one that was released", (Check("replaced"), Check("golden_set")),
            mode="supply_chain", beside=(Check("version_change"),),
        ),
    ),
)  # fmt: skip

_MOVED = Cause(
    "moved", "The world, who asks, or the model has changed", triage=SHIFT, mode="distributional_shift",
    parts=(
        Cause("shift", "Rows are distributed unlike the reference", (Check("shift_established"),)),
        Cause("mix", "The mix of the traffic has changed", (Check("mix_changed"),)),
        Cause(
            "narrowing", "Traffic has moved to inputs that are alike", least=ALL,
            parts=(Check("shift_established"), Check("fleet_hit_share", MOSTLY)),
            explains=(*_NEAR, "flips_log_p", "low_margin_log_p"),
        ),
        Cause(
            "odd_everywhere", "Rows are odd whoever sends them", least=ALL,
            parts=(Cause("odd_rows", "Rows are odd", _ODD), Check("fleet_wide")),
            excluded_by=(Check("concentrated"),),
        ),
        Cause(
            "concept", "What is right has changed: labels are odd whoever gives them", least=ALL,
            parts=(Cause("labels_moved", "Labels are odd", _ODD_LABELS), Check("every_source")),
            excluded_by=(Check("one_source"),),
        ),
        Cause(
            "newcomer", "A sender unlike the others: another population, a faulty sensor, or somebody hostile",
            (
                Check("client_shift"), Check("extraction"), Check("flooding"),
                Cause("odd_sender", "One sender, or a few, send odd rows",
                      (Cause("odd_there", "Rows are odd", (*_ODD, *_DAMAGE)), Check("concentrated")), ALL),
            ),
        ),
        Cause(
            "other_version", "Another version answers otherwise", (Check("version_change"),),
            excluded_by=(Check("replaced"),), mode="supply_chain",
        ),
    ),
)  # fmt: skip

TREE: Final = Tree(
    Cause(
        "incident", "Rows, answers, labels or senders are unlike what was expected",
        (_HARMLESS, _INTENT, _FAULT, _MOVED),
        shows=("rows", "clients", "span", "exact_share", "near_share", "flips", "flip_share"),
    ),
    FACTS,
)  # fmt: skip
"""The tree that incidents are judged by."""


_OF_ONE = ("frames_regular", "steps_smooth", "many_scales")
"""What says something of one scene or search, and nothing of all traffic together."""


def facts_of(one: Suspicion) -> dict[str, float]:
    """A suspicion's own facts with what its form says: rows, senders, and of labels whether one source gives them."""
    heuristic = HEURISTICS.get(one.heuristic)
    facts = {"rows": float(one.rows)}
    if one.clients:
        facts["clients"] = max(float(len(one.clients)), one.facts.get("names", 0.0))
    if heuristic is not None and heuristic.about == LABEL:
        facts |= _labelled_by(one)
    alone = _OF_ONE if one.about == "fleet" else ()
    return facts | {name: value for name, value in one.facts.items() if name not in alone}


def _labelled_by(one: Suspicion) -> dict[str, float]:
    """Whether one source gives the odd labels: by its share, where measured, else by whom it is about."""
    share = one.facts.get("same_source", float(one.about != "fleet"))
    if math.isnan(share):  # labels without a source
        return {}
    return {"one_source": float(share >= MOSTLY), "every_source": float(share < MOSTLY)}


def gathered(
    alarms: Iterable[tuple[str, Mapping[str, float]]], watching: Collection[str]
) -> dict[str, bool | float | None]:
    """Facts of one subject: ``alarms`` are heuristics with their facts, ``watching`` those that looked at it at all.

    A heuristic that looked and raised no alarm is False, one that did not look is absent. Where several alarms measured
    the same fact the strongest counts; p-values pay for being chosen among so many (Bonferroni).
    """
    facts: dict[str, bool | float | None] = dict.fromkeys((name for name in watching if name in FACTS), False)
    measured: dict[str, list[float]] = {}
    for heuristic, told in alarms:
        facts[heuristic] = True
        for name, value in told.items():
            if name in FACTS and not math.isnan(value):
                measured.setdefault(name, []).append(float(value))
    return facts | {name: _strongest(name, values) for name, values in measured.items()}


def _strongest(name: str, values: list[float]) -> float:
    if FACTS[name].unit == "log_p":
        return min(0.0, min(values) + math.log(len(set(values))))
    return max(values, key=abs)
