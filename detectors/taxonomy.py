"""The seventeen ways in which machine learning fails, by their published names, and what a log shows of each.

Source: Kumar, O'Brien, Albert, Viljoen and Snover 2019, "Failure Modes in Machine Learning" (Microsoft), 1-11 intended
by somebody, 12-17 by nobody; identifiers of MISP (its taxonomy `failure-mode-in-machine-learning`), MITRE ATLAS v5.6,
OWASP ML Security Top 10 of 2023 and NIST AI 100-2e2025; severities of Microsoft's bug bar for AI. MISP counts 10 twice
(11 does not occur there): its spelling is kept in the tags, ours counts to 17. Where a catalogue has no entry there is
none here: ATLAS has none for reprogramming nor for 12-17. The rule of reliability and robustness follows Heim, Wright
and Shriver 2025 (SEI), as far as abstract and summaries tell it.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Final, NamedTuple

_NAMESPACE: Final = "failure-mode-in-machine-learning"


class Telemetry(NamedTuple):
    """Something that a log can carry: what it is, and the configuration's ``key`` for it ("": there is none)."""

    key: str
    what: str


TELEMETRY: Final[dict[str, Telemetry]] = {
    "inputs": Telemetry("", "the model's inputs, or statistics of them"),
    "image": Telemetry("columns.image", "the column that holds images, and their shape"),
    "prediction": Telemetry("columns.prediction", "the model's answer"),
    "score": Telemetry("columns.score", "the model's score"),
    "probabilities": Telemetry("columns.probabilities", "all probabilities of an answer, before rounding"),
    "logits": Telemetry("columns.logits", "all logits of an answer"),
    "embeddings": Telemetry("columns.embeddings", "embeddings, best of another model than the one that is watched"),
    "label": Telemetry("columns.label", "the truth, when it is known"),
    "label_source": Telemetry("columns.source", "who gave each label"),
    "client": Telemetry("columns.client", "a lasting pseudonym of who asks, such as a keyed hash"),
    "version": Telemetry("columns.version", "the version of the model, unless senders name it"),
    "segments": Telemetry("columns.segments", "the groups that must be served equally well"),
    "time": Telemetry("columns.time", "the time of each row"),
    "request_digest": Telemetry("columns.digest", "a keyed hash of each input, unless the inputs are logged"),
    "model_digest": Telemetry("columns.artefact", "a digest of the model's files"),
    "golden_set": Telemetry(
        "columns.prediction", "reference rows with the answers to them, asked again of each version"
    ),
    "training_digest": Telemetry("security.training", "whether the reference is what the model was trained on"),
    "latency": Telemetry("columns.latency", "how long each answer took"),
    "endpoint": Telemetry("security.probes", "where the model can be asked, with leave to ask it"),
    "outcome": Telemetry("", "what came of a decision in the end, beside the figure that the model optimises"),
    "tested": Telemetry("", "what the model was tested on, where that is not the reference"),
}
"""Name -> telemetry that modes and heuristics ask for."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One failure mode.

    ``misp`` is MISP's own spelling. ``properties`` are those it breaks, of confidentiality, integrity and availability
    (12-17 are a matter of safety alone); ``violates_access``: whether it breaks what is usually called access control.
    ``observable`` is what an inference log shows of it ("": nothing), ``not_observable`` what none does, ``telemetry``
    (keys of `TELEMETRY`) what would show more.
    """

    number: int
    name: str
    title: str
    misp: str
    severity: str
    _: KW_ONLY
    properties: tuple[str, ...] = ()
    violates_access: bool = False
    atlas: tuple[str, ...] = ()
    owasp: tuple[str, ...] = ()
    nist: tuple[str, ...] = ()
    observable: str
    not_observable: str
    telemetry: tuple[str, ...]
    first_steps: tuple[str, ...]

    @property
    def intentional(self) -> bool:
        """Whether somebody wants it."""
        return self.number <= 11

    @property
    def tags(self) -> dict[str, list[str]]:
        """Identifiers by catalogue, those of MISP as whole machine tags."""
        predicate = "intentionally-motivated-failures-summary" if self.intentional else "unintended-failures-summary"
        return {
            "misp": [f'{_NAMESPACE}:{predicate}="{self.misp}"'],
            "atlas": [f"AML.{one}" for one in self.atlas],
            "owasp": [f"{one}:2023" for one in self.owasp],
            "nist": [f"NISTAML.{one}" for one in self.nist],
        }


_C, _I, _A = "confidentiality", "integrity", "availability"

_INTENTIONAL = (
    Mode(
        1, "perturbation_attack", "Perturbation attack", "1-perturbation-attack", "important to critical",
        properties=(_I,), owasp=("ML01",), nist=("022", "025"),
        atlas=("T0043", "T0043.000", "T0043.001", "T0043.002", "T0043.003", "T0015", "T0042"),
        observable=(
            "Long runs of nearly equal queries by one client, with flips of the answer and small margins "
            "inside the run."
        ),
        not_observable=(
            "An example that was made offline is one row; encoded like all others, no test of a log tells "
            "it."
        ),
        telemetry=("client", "inputs", "probabilities", "request_digest", "embeddings"),
        first_steps=("Find the client and its run of queries.", "Limit or cut off that client.",
                     "Label the rows by hand before they reach training."),
    ),
    Mode(
        2, "poisoning", "Poisoning attack", "2-poisoning-attack", "important to critical",
        properties=(_I,), owasp=("ML02", "ML08"), nist=("012", "013", "024"),
        atlas=("T0020", "T0019", "T0059", "T0031", "T0010.002"),
        observable=(
            "Labels that contradict those of trusted neighbours, floods of duplicates, one source unlike the "
            "others."
        ),
        not_observable="Poison with right labels, and what was put in before the log.",
        telemetry=("label", "label_source", "client", "embeddings"),
        first_steps=("Stop retraining on the feedback.", "Compare the labels with a trusted set, source by source.",
                     "Quarantine the rows of the source that stands out."),
    ),
    Mode(
        3, "model_inversion", "Model inversion", "3-model-inversion", "critical",
        properties=(_C,), owasp=("ML03",), nist=("032", "034"),
        atlas=("T0024.001",),
        observable="Nearly equal queries of one client whose confidence climbs towards 1, far from the data.",
        not_observable="An inversion of few queries or on a copy of the model, and what the asker wants.",
        telemetry=("client", "probabilities", "request_digest"),
        first_steps=("Find the client whose confidence climbs.", "Round or withhold its probabilities.",
                     "Ask which training data its queries come near to."),
    ),
    Mode(
        4, "membership_inference", "Membership inference", "4-membership-inference", "moderate to critical",
        properties=(_C,), owasp=("ML04",), nist=("033",),
        atlas=("T0024.000",),
        observable="A client whose queries are training rows far more often than those of others.",
        not_observable="Single questions about ordinary records look like ordinary use.",
        telemetry=("client", "training_digest", "request_digest"),
        first_steps=("Find the client that asks about training rows.", "Withhold probabilities from it.",
                     "Tell those who answer for the data's privacy."),
    ),
    Mode(
        5, "model_stealing", "Model stealing", "5-model-stealing", "important to critical",
        properties=(_C,), owasp=("ML05",), nist=("031",),
        atlas=("T0024.002", "T0005.001", "T0048.004"),
        observable=(
            "Many different queries of one client that cover the input space, with classes and margins "
            "unlike the fleet's."
        ),
        not_observable="Natural or random queries at an ordinary pace, or spread over many names, look like use.",
        telemetry=("client", "probabilities", "request_digest"),
        first_steps=("Find the client and how many different queries it sent.",
                     "Limit its rate and round its probabilities.", "Check its contract."),
    ),
    Mode(
        6, "reprogramming", "Reprogramming", "6-reprogramming-ML-system", "important to critical",
        properties=(_I, _A),
        observable="Foreign inputs of one client that share a region, answered with few of many classes.",
        not_observable="A program that differs from query to query looks like a client with odd data.",
        telemetry=("client", "inputs", "prediction", "embeddings"),
        first_steps=("Find the client and what its inputs share.", "Look at the inputs.",
                     "Cut it off if they are not of your task."),
    ),
    Mode(
        7, "physical_adversarial_example", "Physical adversarial example",
        "7-adversarial-example-in-physical-domain", "critical",
        properties=(_I,), owasp=("ML01",), nist=("022",),
        atlas=("T0041", "T0043", "T0008.003", "T0015"),
        observable="An unusual patch for several frames of one source, answered unlike its neighbours.",
        not_observable="Whether a person put it there: natural oddities look the same.",
        telemetry=("inputs", "embeddings", "client", "time"),
        first_steps=("Look at the frames.", "Send somebody to look at the place.",
                     "Fall back to a person for that source."),
    ),
    Mode(
        8, "malicious_provider", "Malicious provider recovers training data",
        "8-malicious-ML-provider-recovering-training-data", "critical",
        properties=(_C,), violates_access=True, owasp=("ML03", "ML06"), nist=("05", "032"),
        atlas=("T0024", "T0010.003", "T0018"),
        observable="",
        not_observable="All of it: the provider reads the model where no inference log is written.",
        telemetry=("client",),
        first_steps=("Ask who besides you can query or copy the model.",
                     "Check egress and access logs; no inference log tells."),
    ),
    Mode(
        9, "supply_chain", "Attack on the supply chain", "9-attacking-the-ML-supply-chain", "critical",
        properties=(_I,), violates_access=True, owasp=("ML06", "ML07"), nist=("05", "051"),
        atlas=("T0010.000", "T0010.001", "T0010.002", "T0010.003", "T0010.004", "T0058", "T0011.000", "T0018.002",
               "T0109"),
        observable="Another version or digest without a release, other answers to the same probes.",
        not_observable="A replacement that answers ordinary probes as before.",
        telemetry=("version", "model_digest", "golden_set", "score"),
        first_steps=("Compare the digest of the deployed model with the release.", "Replay known probes.",
                     "Roll back if they differ."),
    ),
    Mode(
        10, "backdoor", "Backdoor", "10-backdoor-ML", "critical",
        properties=(_C, _I), violates_access=True, owasp=("ML10", "ML02"), nist=("023", "021"),
        atlas=("T0018.000", "T0018.001", "T0043.004", "T0020"),
        observable="Rows answered against their neighbours, always with one class, sharing a fragment of the input.",
        not_observable="A trigger that nobody used yet, and most that leave labels right.",
        telemetry=("inputs", "embeddings", "prediction", "label"),
        first_steps=("Lay the rows beside each other and look for what they share.", "Replay them without it.",
                     "Check the training set for it; roll back to a model from before."),
    ),
    Mode(
        11, "software_dependencies", "Exploit of software dependencies", "10-exploit-software-dependencies", "",
        properties=(_C, _I, _A), violates_access=True, owasp=("ML06", "ML09"),
        atlas=("T0010.001", "T0049", "T0029"),
        observable=(
            "NaN, infinity, other types, probabilities that do not sum to 1, different answers to the same "
            "input."
        ),
        not_observable="An exploit that leaves the answers as they were.",
        telemetry=("probabilities", "request_digest", "version", "latency"),
        first_steps=("Reproduce the input on a clean host.",
                     "Compare installed packages with the lock file and known flaws.", "Isolate the host."),
    ),
)  # fmt: skip

_UNINTENTIONAL = (
    Mode(
        12, "reward_hacking", "Reward hacking", "12-reward-hacking", "safety",
        observable="Only a proxy: the figure that the model optimises rises while the outcome does not.",
        not_observable="The environment and the intended reward are in no inference log.",
        telemetry=("outcome", "label"),
        first_steps=("Compare the optimised figure with the outcome wanted.",
                     "Have people review a sample of decisions."),
    ),
    Mode(
        13, "side_effects", "Side effects", "13-side-effects", "safety",
        observable="Only a proxy: inputs that move after the model's own actions.",
        not_observable="What the model's actions do to the world outside of its inputs.",
        telemetry=("outcome", "time"),
        first_steps=("Lay the rate of actions beside the inputs that follow.",
                     "Hold out a part of the traffic from the model."),
    ),
    Mode(
        14, "distributional_shift", "Distributional shift", "14-distributional-shifts", "safety",
        observable="Inputs, answers or embeddings that are distributed unlike the reference.",
        not_observable=(
            "What caused the shift and, without labels, whether the model is worse for it; a few per cent of "
            "odd rows are lost in the rest."
        ),
        telemetry=("inputs", "prediction", "score", "embeddings", "segments", "version", "time", "label"),
        first_steps=("Look at the named columns before and after the onset.",
                     "Ask what changed upstream, or in the world, then.", "Label a sample of the rows since the onset.",
                     "Retrain, or re-baseline if this is the new normal and the model is right on it."),
    ),
    Mode(
        15, "natural_adversarial_example", "Natural adversarial example", "15-natural-adversarial-examples", "safety",
        observable="Confident errors that lie close together in an embedding that is not the model's own.",
        not_observable="Without labels a confident error looks like a confident answer.",
        telemetry=("label", "embeddings", "score"),
        first_steps=("Collect the confident errors.", "Look for what they share.",
                     "Add such cases to training and tests."),
    ),
    Mode(
        16, "common_corruption", "Common corruption", "16-common-corruption", "safety",
        observable=(
            "Values missing, not finite, of a wrong type or out of range; noise, blur or another scale in "
            "the inputs."
        ),
        not_observable=(
            "Values that are wrong but usual, whether it was an accident, and what only shows in inputs that "
            "are not logged."
        ),
        telemetry=("inputs", "client"),
        first_steps=("Look at the named columns in the newest rows.",
                     "Find the step upstream that writes them and its last change.",
                     "Do not train on these rows: export those to leave out, or leave out the whole span."),
    ),
    Mode(
        17, "incomplete_testing", "Incomplete testing", "17-incomplete-testing", "safety",
        observable="Categories and values that the reference never showed, segments without labels.",
        not_observable=(
            "What was tested, unless that is the reference; combinations of usual values that were never "
            "seen together."
        ),
        telemetry=("inputs", "segments", "label", "tested"),
        first_steps=("Look at the values that are new.", "Decide whether the model is meant for them.",
                     "Test it on them before its answers are relied upon."),
    ),
)  # fmt: skip

MODES: Final[dict[str, Mode]] = {mode.name: mode for mode in (*_INTENTIONAL, *_UNINTENTIONAL)}
"""Every failure mode by name, in the order of the numbers 1 to 17."""


class Rule(NamedTuple):
    """A row of the rule of reliability and robustness; each of the first three lists what it holds for.

    ``shift``: the inputs differ from the reference; ``integrity``: values are damaged or hostile, "none", "unlocated"
    (nobody looked whose), "everywhere" or of "one_client"; ``error``: "unknown", "within" what is specified, "worse",
    or worse "from_start" (on the reference already).
    """

    shift: tuple[bool, ...]
    integrity: tuple[str, ...]
    error: tuple[str, ...]
    kind: str
    sub: str
    reason: str


_EITHER, _NONE = (False, True), ("none",)
_ANY = ("unknown", "within", "worse", "from_start")

RULES: Final = (
    Rule((False,), _NONE, ("within",), "none", "", "nothing differs, and errors are as specified"),
    Rule((False,), _NONE, ("from_start",), "reliability", "under-specified, too small or not calibrated",
         "the model is worse than specified on rows like the reference, and was so on the reference"),
    Rule((False,), _NONE, ("worse",), "robustness", "concept change",
         "errors rose on inputs like the reference: what is right has changed"),
    Rule((False,), _NONE, ("unknown",), "unknown", "", "no shift is established, and errors are not known"),
    Rule((True,), _NONE, ("within",), "none", "harmless shift", "inputs differ, and errors are as specified"),
    Rule((True,), _NONE, ("worse", "from_start"), "robustness", "shift of inputs, labels or quality",
         "inputs differ, and errors are worse than specified"),
    Rule((True,), _NONE, ("unknown",), "robustness", "exposure",
         "inputs differ from the reference; without labels nobody knows whether the model fails on them"),
    Rule(_EITHER, ("everywhere",), _ANY, "robustness", "common corruption or fault of the pipeline",
         "values are damaged whoever sends them"),
    Rule(_EITHER, ("one_client",), _ANY, "robustness", "intent suspected", "one client, or a cluster, sends them"),
    Rule(_EITHER, ("unlocated",), _ANY, "robustness", "corruption or fault of the pipeline",
         "values are damaged; nobody looked whether one client sends them or all"),
)  # fmt: skip
"""Exactly one row holds for each combination (failures of reliability are those on rows like the reference)."""


def kind_of(*, shift: bool, integrity: str = "none", error: str = "unknown") -> Rule:
    """Look the rule up that holds; the arguments are as in `Rule`, ValueError if one is something else."""
    for rule in RULES:
        if shift in rule.shift and integrity in rule.integrity and error in rule.error:
            return rule
    raise ValueError(f"no rule for integrity {integrity!r} and error {error!r}")
