"""Attack, natural shift, data fault or unknown: a fault tree kept as data, and how it is judged on measured facts.

Question: which causes of an incident do the facts support, which do they exclude, and which did nobody look at?
Statistic: each check compares one fact with a bound; gates ask for so many of their parts (any, all, k of n) in the
three-valued logic of Kleene. A fact that was not measured is "not looked at", through all gates, and never a "no".
Decision: harmless explanations are judged first. One that is supported *explains* facts away: they speak for nothing
else. The verdict is the first supported branch in the order of `PRECEDENCE`, or unknown; there is exactly one.
Calibration: none of its own; every bound is on a p-value, an alarm within its budget, or a share that is documented.
Sees / blind to: it weighs nothing that is not in the tree; several facts with one cause count as several.
Cost: one pass over some 60 checks an incident.
Source: Vesely, Goldberg, Roberts and Haasl 1981 (Fault Tree Handbook, NUREG-0492: gates, conditions that inhibit,
undeveloped events); Kleene 1952 section 64 (strong three-valued logic); failures.md sections 2.1, 3.0 and 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

SUPPORTED, EXPLAINED, EXCLUDED, UNSEEN = "supported", "explained", "excluded", "not looked at"
ATTACK, DATA_FAULT, SHIFT, UNKNOWN = "attack", "data_fault", "shift", "unknown"
PRECEDENCE: Final = (ATTACK, DATA_FAULT, SHIFT, UNKNOWN)
"""Of several supported branches the first gives the triage: a fault shows as a shift too, an attack hides in both."""
LOW, MEDIUM, HIGH = "low", "medium", "high"
ALL, ANY = -1, 1
_BRANCHES: Final = 3
"""Depth of the causes below the branches."""
_LEAST_LOG: Final = -690.0

Facts = Mapping[str, bool | float | None]


class Fact(NamedTuple):
    """Something that is measured: what it is, its unit, and which heuristic (or who) measures it.

    ``unit`` is "yes" (true or false), "log_p" (natural logarithm of a p-value), "share" in [0, 1], or what is counted.
    """

    what: str
    unit: str
    by: str


class Check(NamedTuple):
    """One fact against one bound: supported where the fact is ``at_least`` (else at most) ``bound``."""

    fact: str
    bound: float = 1.0
    at_least: bool = True

    def holds(self, facts: Facts) -> bool | None:
        """Whether it holds; None where nobody measured it."""
        value = facts.get(self.fact)
        if value is None or math.isnan(value):
            return None
        return float(value) >= self.bound if self.at_least else float(value) <= self.bound


class Cause(NamedTuple):
    """A gate over checks and further causes; one without parts is undeveloped: no log shows it.

    ``least`` of the ``parts`` must be supported (`ALL`, `ANY` or a number). Any one check of ``excluded_by`` that holds
    excludes it. Where it is supported it explains the facts in ``explains``. ``beside`` are facts that strengthen it
    without being needed, ``shows`` facts that people want to see with it. ``triage`` and ``mode`` (failure mode) are
    those of the nearest cause above that has one.
    """

    name: str
    title: str
    parts: tuple[Check | Cause, ...] = ()
    least: int = ANY
    excluded_by: tuple[Check, ...] = ()
    explains: tuple[str, ...] = ()
    beside: tuple[Check, ...] = ()
    shows: tuple[str, ...] = ()
    triage: str = ""
    mode: str = ""

    @property
    def gate(self) -> str:
        """The gate in words."""
        words = {ANY: "any of", ALL: "all of"}
        return "undeveloped" if not self.parts else words.get(self.least, f"{self.least} of")


class Tree(NamedTuple):
    """The top event with its branches, and the facts that they speak of."""

    top: Cause
    facts: Mapping[str, Fact]


class Judged(NamedTuple):
    """A cause or a check with its state and the sentence that says why; ``role`` is what it is to the cause above.

    ``role``: "part", "excludes" or "strengthens".
    """

    name: str
    title: str
    gate: str
    role: str
    state: str
    evidence: str
    triage: str
    mode: str
    parts: tuple[Judged, ...]

    @property
    def dark(self) -> bool:
        """Whether it is a cause of which nothing at all was looked at."""
        return bool(self.gate) and all(one.gate or one.state == UNSEEN for one in self.walk())

    def as_dict(self, depth: int = 1) -> dict[str, Any]:
        """JSON form without what is empty; of a cause that nobody looked at only what would look at it."""
        texts = {key: text for key, text in self._asdict().items() if text and key != "parts"}
        if depth >= _BRANCHES and self.dark:
            return texts | {"evidence": _needs(self) or "no log shows it"}
        parts = [one.as_dict(depth + 1) for one in self.parts if one.role == "part" or one.state != UNSEEN]
        return texts | ({"parts": parts} if parts else {})

    def walk(self) -> Iterator[Judged]:
        """This one and all below."""
        yield self
        for one in self.parts:
            yield from one.walk()


class Verdict(NamedTuple):
    """What an incident is; ``cause`` is the leading cause's name ("": nothing is established), ``tree`` the reasoning.

    ``support`` is low (nothing is established), medium, or high (three checks or more speak for it).
    """

    triage: str
    cause: str
    title: str
    mode: str
    support: str
    tree: Judged

    def names(self, state: str) -> tuple[str, ...]:
        """Causes (not checks) of a state, as titles."""
        causes = (one for branch in self.tree.parts for one in branch.parts)
        return tuple(one.title for one in causes if one.state == state)

    def supported(self) -> tuple[Judged, ...]:
        """Every cause that is supported, those of the leading triage first."""
        order = PRECEDENCE.index
        causes = [one for branch in self.tree.parts for one in branch.parts if one.state == SUPPORTED]
        return tuple(sorted(causes, key=lambda one: (one.name != self.cause, order(one.triage))))

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "triage": self.triage,
            "cause": self.cause,
            "title": self.title,
            "failure_mode": self.mode,
            "support": self.support,
            "supported": [
                {"cause": one.name, "title": one.title, "triage": one.triage, "failure_mode": one.mode}
                for one in self.supported()
            ],
            "excluded": list(self.names(EXCLUDED)),
            "not_looked_at": list(self.names(UNSEEN)),
            "tree": self.tree.as_dict(),
        }


def evaluate(tree: Tree, facts: Facts) -> Verdict:
    """Judge a tree; ``facts`` by name, None or NaN for what was not measured. Names that no check has are ignored."""
    causes = tuple(_causes(tree.top))
    explained: dict[str, str] = {}
    for cause in (one for one in causes if one.explains):  # harmless ones first: they stand first in the tree
        if _judge(cause, tree.facts, facts, {}).state == SUPPORTED:
            explained |= {fact: explained.get(fact, cause.title) for fact in cause.explains}
    judged = _judge(tree.top, tree.facts, facts, explained)
    for triage in PRECEDENCE:
        leading = _leading(judged, triage)
        if leading is not None:
            return Verdict(triage, leading.name, leading.title, leading.mode, _support(leading), judged)
    return Verdict(UNKNOWN, "", "no cause is established", "", LOW, judged)


def render(verdict: Verdict) -> list[str]:
    """The verdict and its tree as indented lines for people."""
    return shown(verdict.as_dict())


def shown(document: Mapping[str, Any]) -> list[str]:
    """The same of a verdict's JSON form, as it is kept with a finding."""
    triage = document["triage"].replace("_", " ")
    return [f"{triage}: {document['title']} ({document['support']} support)", *_lines(document["tree"], 1)]


def _lines(one: Mapping[str, Any], depth: int) -> Iterator[str]:
    """One line each; a cause of which nothing was looked at is one line that says what would look at it."""
    role = {"excludes": "against: ", "strengthens": "also: "}.get(one["role"], "")
    state = one["state"] if one["role"] != "excludes" else "yes" if one["state"] == SUPPORTED else "no"
    parts = one.get("parts", ())
    gate = f"({one['gate']})" if "gate" in one and parts else ""
    said = "; ".join(part for part in (gate, one.get("evidence", "")) if part)
    yield f"{'  ' * depth}[{state}] {role}{one['title']}: {said}"
    for part in parts:
        yield from _lines(part, depth + 1)


def _needs(one: Judged) -> str:
    needs = dict.fromkeys(check.evidence.removeprefix("needs ") for check in one.walk() if check.role == "part")
    needs.pop("", None)
    return "needs " + ", ".join(needs) if needs else ""


def _causes(cause: Cause) -> Iterator[Cause]:
    yield cause
    for part in cause.parts:
        if isinstance(part, Cause):
            yield from _causes(part)


def _judge(
    cause: Cause,
    known: Mapping[str, Fact],
    facts: Facts,
    explained: Mapping[str, str],
    triage: str = "",
    mode: str = "",
) -> Judged:
    """A cause with everything below it; a cause's own explanation does not take its own support away."""
    triage, mode = cause.triage or triage, cause.mode or mode
    left = {fact: by for fact, by in explained.items() if fact not in cause.explains}
    parts = tuple(
        _judge(part, known, facts, left, triage, mode)
        if isinstance(part, Cause)
        else _checked(part, "part", known, facts, left)
        for part in cause.parts
    )
    against = tuple(_checked(check, "excludes", known, facts, {}) for check in cause.excluded_by)
    beside = tuple(_checked(check, "strengthens", known, facts, left) for check in cause.beside)
    excluded = [one for one in against if one.state == SUPPORTED]
    state = EXCLUDED if excluded else _gate([one.state for one in parts], cause.least)
    shown = [_said(known[name], facts.get(name)) for name in cause.shows if _measured(facts.get(name))]
    return Judged(
        cause.name, cause.title, cause.gate, "part", state, "; ".join(shown), triage, mode, (*parts, *against, *beside)
    )


def _gate(states: list[str], least: int) -> str:
    """So many of the parts in three-valued logic, "explained" between what was not looked at and what is excluded."""
    needed = len(states) if least == ALL else least
    possible = 0
    for state in (SUPPORTED, UNSEEN, EXPLAINED):
        possible += states.count(state)
        if possible >= needed and states:
            return state
    return EXCLUDED if states else UNSEEN


def _checked(check: Check, role: str, known: Mapping[str, Fact], facts: Facts, explained: Mapping[str, str]) -> Judged:
    fact, holds = known[check.fact], check.holds(facts)
    state = UNSEEN if holds is None else SUPPORTED if holds else EXCLUDED
    said = f"needs {fact.by}" if holds is None else _said(fact, facts.get(check.fact), check)
    if state == SUPPORTED and check.fact in explained:
        state, said = EXPLAINED, f"{said}; explained by: {explained[check.fact]}"
    return Judged(check.fact, fact.what, "", role, state, said, "", "", ())


def _measured(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _said(fact: Fact, value: float | None, check: Check | None = None) -> str:
    """A fact's value in words, beside the bound that it was held against."""
    given = float("nan") if value is None else float(value)
    if fact.unit == "yes":
        return ("yes" if given >= 1 else "no") if check else f"{fact.what}: {'yes' if given >= 1 else 'no'}"
    bound = (
        "" if check is None else f" (wanted: at {'least' if check.at_least else 'most'} {_value(fact, check.bound)})"
    )
    return f"{'' if check else f'{fact.what}: '}{_value(fact, given)}{bound}"


def _value(fact: Fact, value: float) -> str:
    if fact.unit == "log_p":
        return f"p = 10^{max(value, _LEAST_LOG) / math.log(10):.1f}"
    return f"{value:.1%}" if fact.unit == "share" else f"{value:.4g} {fact.unit}".rstrip()


def _leading(tree: Judged, triage: str) -> Judged | None:
    """Of the causes just below the branches of a triage: the supported one with most supported checks, else none."""
    causes = [one for branch in tree.parts if branch.triage == triage for one in branch.parts]
    supported = [one for one in causes if one.state == SUPPORTED]
    return max(supported, key=_supports, default=None)


def _supports(cause: Judged) -> int:
    """How many checks speak for a cause."""
    return sum(not one.gate and one.role != "excludes" and one.state == SUPPORTED for one in cause.walk())


def _support(cause: Judged) -> str:
    """High where three checks or more speak for it."""
    return HIGH if _supports(cause) >= 3 else MEDIUM
