"""The heuristics about rows, senders, labels and versions, as data: what each asks, needs, sees, and what defeats it.

``H`` numbers are those of the research note (failures.md, section 3). A heuristic whose need is not met is switched off
and nothing else changes: `unmet` says which, and why. Everything that is said of coverage is told from here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

ROW, QUERY, CLIENT, LABEL, VERSION = "row", "query", "client", "label", "version"
ALARMS, SUPPORTS = "alarms", "supports"
"""Alarms on the log, or support of others."""


class Heuristic(NamedTuple):
    """One heuristic.

    ``about`` is what it judges: a row, the queries of a cluster or of anybody, a client, labels, or a version.
    ``claim`` is what its alarm says, ``question`` what it asks. Of each group in ``needs`` (keys of
    `detectors.taxonomy.TELEMETRY`) one at least must be logged; ``helps`` is what makes it see more. ``modes`` are the
    failure modes that it speaks of, ``does`` is `ALARMS` or
    `SUPPORTS`.
    """

    name: str
    number: str
    about: str
    claim: str
    question: str
    needs: tuple[tuple[str, ...], ...]
    helps: tuple[str, ...]
    modes: tuple[str, ...]
    defeated_by: str
    does: str = ALARMS

    def met(self, given: Collection[str]) -> bool:
        """Whether the telemetry that is ``given`` is enough."""
        return not unmet(self, given)


def unmet(heuristic: Heuristic, given: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of telemetry of which ``given`` holds none."""
    return tuple(group for group in heuristic.needs if not set(group) & set(given))


_INPUTS = ("inputs",)
_NEAR = ("inputs", "embeddings")
_ANSWER = ("prediction", "probabilities", "logits", "score")
_CHANCES = ("probabilities", "logits", "score")
_CLIENT = ("client",)
_LABEL = ("label",)
_EVASION = "perturbation_attack"
_STEALING = "model_stealing"
_INVERSION = "model_inversion"
_MEMBERS = "membership_inference"
_POISON = ("poisoning",)
_BACKDOOR = ("poisoning", "backdoor")

_ROWS = (
    Heuristic(
        "integrity", "H5", ROW,
        "values break the format of the reference",
        "Do values keep to the grid, the bounds and the relations between columns that the reference keeps to?",
        (_INPUTS,), ("client",), ("common_corruption", "software_dependencies", _EVASION),
        "rounding the attack to the format of the training data",
    ),
    Heuristic(
        "output_integrity", "H6", ROW,
        "answers are impossible, stuck, late or not repeatable",
        "Are the answers possible ones, and the same for the same input and version?",
        (_ANSWER,), ("probabilities", "request_digest", "version", "latency"), ("software_dependencies",),
        "a tampered model whose answers are possible and repeat",
    ),
    Heuristic(
        "row_scores", "H1-H3", ROW,
        "rows have odd scores",
        "Are a row's confidence, distance to the reference, or their combination unlike those of held-out rows?",
        (("probabilities", "logits", "score", "embeddings", "inputs"),), ("embeddings", "logits", "client"),
        (_EVASION, "physical_adversarial_example", "distributional_shift"),
        "perturbations that end as confident as ordinary rows and close to them; single rows in any case",
    ),
    Heuristic(
        "tail_energy", "H4", ROW,
        "rows have energy where the reference hardly varies",
        "Does a row have energy in directions in which the reference hardly varies?",
        (_INPUTS,), ("client",), (_EVASION, "common_corruption"),
        "a smooth perturbation, or encoding the attack again as ordinary inputs are",
    ),
    Heuristic(
        "image_statistics", "H4b", ROW,
        "noise, sharpness, brightness or contrast of images is odd",
        "Are noise, sharpness, brightness or contrast of an image unlike those of the reference?",
        (("image",),), ("client",), ("common_corruption", _EVASION),
        "perturbations of 2/255 and less, and those that keep these statistics",
    ),
    Heuristic(
        "neighbour_disagreement", "H7", ROW,
        "rows are answered against their neighbours",
        "Is a row answered against its neighbours in the reference, in a space that is not the model's own?",
        (_NEAR, _ANSWER), ("label", "client"),
        (_EVASION, "physical_adversarial_example", "backdoor", "natural_adversarial_example"),
        "moving the row until its neighbours are of the class it is taken for",
    ),
)  # fmt: skip

_QUERIES = (
    Heuristic(
        "near_duplicates", "H8", QUERY,
        "queries come nearly, but not exactly, again",
        "Do queries come nearly, and not exactly, again, more often than ordinary ones do?",
        (_NEAR,), ("client", "prediction", "probabilities", "request_digest"),
        (_EVASION, _INVERSION, "reprogramming"),
        "noise of more than 0.1 on each query, or queries further apart in time than the ring remembers",
    ),
    Heuristic(
        "fingerprints", "H9", QUERY,
        "queries share most of their fingerprints",
        "Do queries share most of their hashed windows with an earlier one?",
        (_INPUTS,), ("client",), (_EVASION,),
        "noise of 0.02 on each query; video and pages look alike",
        does=SUPPORTS,
    ),
    Heuristic(
        "boundary_walk", "H10", QUERY,
        "near-duplicates walk along the boundary of an answer",
        "Do near-duplicates change the answer, or stay where two answers are equally likely?",
        (_NEAR, _ANSWER), ("client", "probabilities"), (_EVASION, _MEMBERS),
        "attacks that follow scores and never cross the boundary before the end",
        does=SUPPORTS,
    ),
    Heuristic(
        "noise_like_updates", "H11", QUERY,
        "steps from query to query are like noise",
        "Do steps from query to query point nowhere in particular, as those of random search do?",
        (_NEAR,), ("client",), (_EVASION,),
        "coordinate-wise search; video looks alike",
        does=SUPPORTS,
    ),
    Heuristic(
        "target_class", "H12", QUERY,
        "one class stands out among the suspicious rows",
        "Are suspicious rows answered with one class far more often than the fleet is?",
        (_NEAR, _ANSWER), ("client",), (_EVASION, "backdoor"),
        "an untargeted attack, or several targets",
        does=SUPPORTS,
    ),
    Heuristic(
        "confidence_ascent", "H13", QUERY,
        "confidence climbs, or falls, within near-duplicates",
        "Does confidence climb, or fall, from query to query within near-duplicates?",
        (_NEAR, _CHANCES), ("client",), (_INVERSION, _EVASION),
        "an inversion of few queries, on a copy of the model, or in shuffled order",
        does=SUPPORTS,
    ),
)  # fmt: skip

_CLIENTS = (
    Heuristic(
        "membership_probing", "H14", CLIENT,
        "a sender asks about training rows",
        "Does a client ask about training rows far more often than others do?",
        (_CLIENT, ("request_digest", "inputs", "embeddings"), ("training_digest",)), (), (_MEMBERS,),
        "few questions for each name, among ordinary ones",
    ),
    Heuristic(
        "prada", "H15", CLIENT,
        "distances between a sender's queries are not normally distributed",
        "Are the distances between a client's queries of one class not normally distributed?",
        (_CLIENT, _NEAR, _ANSWER), (), (_STEALING,),
        "natural or random queries, or half of them ordinary",
        does=SUPPORTS,
    ),
    Heuristic(
        "client_shift", "H16a", CLIENT,
        "a sender is unlike the fleet",
        "Are a client's rows, scores and answers distributed unlike the fleet's?",
        (_CLIENT, (*_NEAR, "probabilities", "logits", "score")), ("prediction",), (_STEALING, "reprogramming"),
        "queries drawn from the fleet's own distribution",
    ),
    Heuristic(
        "extraction", "H16", CLIENT,
        "a sender's queries together look like copying the model",
        "Do coverage, classes, margins and volume of a client together look like copying the model?",
        (_CLIENT, _NEAR, _ANSWER), ("probabilities", "request_digest", "time"), (_STEALING,),
        "natural queries at an ordinary pace, or spread over many unlike names",
    ),
    Heuristic(
        "low_margin", "H16c", CLIENT,
        "a sender asks where the model hesitates",
        "Does a client ask where the model hesitates, more often than the fleet does?",
        (_CLIENT, _CHANCES), (), (_STEALING, _EVASION),
        "queries that are not chosen by the model's doubt",
        does=SUPPORTS,
    ),
    Heuristic(
        "coverage_growth", "H16e", CLIENT,
        "a sender's queries spread over the inputs faster than the fleet's",
        "Do a client's queries spread over the input space faster than as many rows of the fleet?",
        (_CLIENT, _NEAR), (), (_STEALING,),
        "natural queries in the fleet's own proportions",
        does=SUPPORTS,
    ),
    Heuristic(
        "flooding", "H16f", CLIENT,
        "a sender asks far more, or far more regularly, than others",
        "Does a client ask far more, or far more regularly, than the fleet does?",
        (_CLIENT,), ("time",), (_STEALING, "reprogramming"),
        "an ordinary, irregular pace, or many names",
    ),
)  # fmt: skip

_LABELS = (
    Heuristic(
        "label_disagreement", "H17", LABEL,
        "labels contradict those of trusted neighbours",
        "Do labels contradict those of their neighbours in a trusted reference?",
        (_LABEL, _NEAR), ("embeddings", "label_source", "client"), _BACKDOOR,
        "poison whose labels are right; an embedding of the model that was trained on the poison",
    ),
    Heuristic(
        "label_noise", "H18", LABEL,
        "the model firmly contradicts labels",
        "Does the model, which never saw these labels, firmly contradict them?",
        (_LABEL, ("probabilities", "logits")), ("label_source",), _POISON,
        "a model that was trained on the poison",
    ),
    Heuristic(
        "spectral_signature", "H19", LABEL,
        "a class has one direction too strong",
        "Do the embeddings of a class have one direction stronger than its own rows explain?",
        (_LABEL, _NEAR), ("embeddings",), _BACKDOOR,
        "much of a class poisoned, or very little",
    ),
    Heuristic(
        "activation_clustering", "H20", LABEL,
        "a class falls apart in two",
        "Do the embeddings of a class fall apart into a large and a small cluster?",
        (_LABEL, _NEAR), ("embeddings",), _BACKDOOR,
        "poison spread through its class",
    ),
    Heuristic(
        "label_floods", "", LABEL,
        "one input comes with a label again and again",
        "Does one input come with a label again and again, from many sources or one?",
        (_LABEL, _NEAR), ("label_source", "time"), _POISON,
        "copies that differ in a last digit",
    ),
)  # fmt: skip

_VERSIONS = (
    Heuristic(
        "golden_set", "H21", VERSION,
        "probes are answered otherwise than before",
        "Are probes with known answers answered as before?",
        (("request_digest",), _ANSWER), ("golden_set", "version", "probabilities", "label"),
        ("supply_chain", "software_dependencies"),
        "a replacement that answers ordinary probes as before",
    ),
    Heuristic(
        "version_change", "", VERSION,
        "another version answers otherwise",
        "Did the version or the digest of the model change, and with it the answers on comparable rows?",
        (("version", "model_digest"), _ANSWER), ("model_digest", "label"), ("supply_chain",),
        "a replacement under the old name whose answers are distributed as before",
    ),
    Heuristic(
        "active_probes", "", ROW,
        "answers do not hold when rows are moved a little",
        "Does the model hold to its answer when the row is moved a little?",
        (("endpoint",), _INPUTS), ("prediction",), (_EVASION,),
        "perturbations made to hold under such moves",
    ),
)  # fmt: skip

HEURISTICS: Final[dict[str, Heuristic]] = {
    one.name: one for one in (*_ROWS, *_QUERIES, *_CLIENTS, *_LABELS, *_VERSIONS)
}
"""Every heuristic by name, in the order of the research note."""


def absences(given: Collection[str]) -> dict[tuple[str, ...], tuple[Heuristic, ...]]:
    """What is off and for want of what: each group of telemetry that ``given`` lacks, with the heuristics that need it.

    A heuristic that lacks several things stands under the first.
    """
    off: dict[tuple[str, ...], tuple[Heuristic, ...]] = {}
    for one in HEURISTICS.values():
        for group in unmet(one, given)[:1]:
            off[group] = (*off.get(group, ()), one)
    return off
