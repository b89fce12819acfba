"""What pages say in words: titles, sentences, how sure, times and numbers. Pure; a person at 3 a.m. reads it.

Names of columns and senders come from logs: they are shown whole or cut, never taken for words of ours.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from detectors.heuristics import HEURISTICS
from detectors.registry import JOINT, SEQUENTIAL
from detectors.taxonomy import MODES
from monitor.naming import OUTCOME

SEVERITIES: Final = {"page": "Page", "ticket": "Ticket", "info": "Note"}
TRIAGES: Final = {"shift": "Shift", "attack": "Attack", "data_fault": "Data fault", "unknown": "Unknown"}
STATES: Final = {
    "open": "Open",
    "acknowledged": "Acknowledged",
    "recovered": "Recovered",
    "rebaselined": "Accepted as the new normal",
    "reloaded": "Ended by a new configuration",
}
KINDS: Final = {
    "acknowledge": "Acknowledged",
    "mute": "Muted",
    "quarantine": "Quarantined",
    "rebaseline": "Accepted the new normal",
}
SURE: Final = {"high": "strong", "medium": "fair", "low": "weak"}
"""Support of a failure mode, in words that need no key."""
NAME_LETTERS: Final = 80
"""Letters shown of a name from a log."""
NAMED: Final = 4
"""Columns named in a sentence."""

_RATES: Final = {
    "e_missing": ("goes missing", "of the rows lack it"),
    "e_nonfinite": ("is not a number", "of the rows have an infinite value or one that is no number"),
    "e_out_of_range": ("leaves its known range", "of the rows lie outside of the reference's range"),
    "e_new_category": ("has values that were never seen", "of the rows have a value that the reference never showed"),
    "e_type_fault": ("has values of a wrong type", "of the rows have a value of a wrong type"),
}
"""What each rate detector says of a column, and of the share that it counts."""
DASH: Final = "\N{EN DASH}"
"""Where there is nothing to say."""
_CALLS: Final = {
    "page": "",
    "ticket": "Tests on full windows open tickets; they wake nobody.",
    "info": "The change is not surely larger than smallest_shift: it is on record and calls for nobody.",
}
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
_SPANS: Final = ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute"), (1.0, "second"))


class Told(NamedTuple):
    """A finding in two sentences."""

    headline: str
    detail: str


def clean(name: object, most: int = NAME_LETTERS) -> str:
    r"""A name from a log for the eye: control and direction characters as their numbers, and cut to its first letters.

    >>> print(clean("age" + chr(0x202E) + chr(7)))
    age\u202e\u0007
    """
    text = str(name)
    cut = text[:most] + ("…" if len(text) > most else "")
    return "".join(
        f"\\u{ord(one):04x}" if unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp") else one for one in cut
    )


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """Names as in a sentence: the first few, and how many more."""
    shown = [clean(name) for name in names[:most]]
    more = len(names) - len(shown)
    if more:
        shown.append(f"{more} more {'column' if more == 1 else 'columns'}")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def parts_of(unit: str, detector: str) -> list[str]:
    """The columns of a unit: those of a joint test are joined by stars."""
    return (
        unit.split("*") if detector in JOINT or (detector.startswith("e_") and detector not in SEQUENTIAL) else [unit]
    )


def title(triage: str, subject: str, failure_mode: str, unit: str, detector: str, units: int = 1) -> str:
    """A finding in a line of a list; ``unit`` is the first of so many ``units``."""
    name = clean(unit)
    if units > 1 and subject == "data":
        fault = "Data faults in " if detector in _RATES else ""
        return f"{fault}{name} and {units - 1} more{'' if fault else ' shifted'}"
    if subject != "data":
        what = {"mix": "Mix of the traffic changed", OUTCOME: "More errors"}
        return f"{what.get(subject) or _claim(triage, failure_mode, detector)}: {name}"
    if detector in _RATES:
        return f"{name} {_RATES[detector][0]}"
    columns = parts_of(unit, detector)
    if len(columns) > 1:
        return f"{listed(columns)} changed together"
    return f"{name} shifted"


def _claim(triage: str, failure_mode: str, detector: str) -> str:
    """What is held against a sender."""
    if triage == "attack":
        return f"{mode_title(failure_mode)} suspected"
    return claim(detector) if detector in HEURISTICS else mode_title(failure_mode)


def told(document: Mapping[str, Any]) -> Told:
    """A finding's document in two sentences: what happened, and how large it is."""
    units = document["units"]
    first, subject, triage = units[0], document["subject"], document["triage"]
    largest = sorted(units, key=lambda one: -(one["effect"] or 0.0))
    names = list(dict.fromkeys(part for one in largest for part in parts_of(one["unit"], one["detector"])))
    if subject == "sender":
        return Told(
            f"{_claim(triage, document['failure_mode'], first['detector'])}: {clean(first['unit'])}.", _share(first)
        )
    if subject == OUTCOME:
        return Told(f"Labels show more errors than the reference had, in {clean(first['unit'])}.", _errors(document))
    if subject == "mix":
        return Told(f"The mix of the traffic changed, seen in {listed(names)}.", _strata(document["strata"]))
    if document["severity"] == "info":
        return Told(
            f"{listed(names)} differ{'s' if len(names) == 1 else ''} a little from the reference.", _largest(units)
        )
    return Told(_changed(units, names), _largest(units))


def _changed(units: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """What happened to columns."""
    detectors = {one["detector"] for one in units}
    if len(names) == 1 and (rate := next(iter(detectors & set(_RATES)), None)) and len(detectors) == 1:
        return f"{clean(names[0])} {_RATES[rate][0]}."
    if any(one["view"] for one in units):
        return f"{listed(names)} changed together in a way that no single column shows."
    return f"{listed(names)} no longer look{'s' if len(names) == 1 else ''} like the reference."


def _largest(units: Sequence[Mapping[str, Any]]) -> str:
    """How far the column moved that moved most."""
    sized = [one for one in units if one["effect"] is not None]
    if not sized:
        return "How large the change is cannot be told yet: there are too few rows since it began."
    return effect(max(sized, key=lambda one: one["effect"]), name=True)


def effect(unit: Mapping[str, Any], *, name: bool = False) -> str:
    """How large a unit's change is, with its interval."""
    if unit["effect"] is None:
        return "size not known yet"
    columns = parts_of(unit["unit"], unit["detector"])
    whose = f"{listed(columns)} together" if len(columns) > 1 else clean(unit["unit"])
    start = f"{whose}: " if name else ""
    before, now = unit["reference"], unit["window"]
    if unit["detector"] in _RATES and before is not None:
        return f"{start}{percent(now)} {_RATES[unit['detector']][1]}; in the reference {percent(before)}."
    if unit["effect_name"] == "ks_distance" and before is not None:
        return f"{start}{percent(now)} of the rows now lie where {percent(before)} of the reference did."
    between = (
        f" ({percent(unit['effect_low'])} to {percent(unit['effect_high'])})" if unit["effect_low"] is not None else ""
    )
    if unit["effect_name"] in ("ks_distance", "total_variation"):
        return f"{start}{percent(unit['effect'])} of the rows are distributed otherwise{between}."
    return f"{start}{unit['effect_name'].replace('_', ' ')} {number(unit['effect'])}{between}."


def _share(unit: Mapping[str, Any]) -> str:
    """How many of a sender's rows speak against it."""
    if unit["window"] is None:
        return ""
    usual = f"; usual are {percent(unit['reference'])}" if unit["reference"] is not None else ""
    return f"{percent(unit['window'])} of the rows looked at speak for it{usual}."


def _errors(document: Mapping[str, Any]) -> str:
    """How much worse answers are."""
    first, told = document["units"][0], document["evidence"]["errors"]
    if first["effect"] is None:
        return "How much worse is not measured by this rule."
    inputs = "Inputs have moved as well." if told["inputs_moved"] else "No input has moved by itself."
    now, before = percent(first["window"]), percent(first["reference"])
    return f"{capital(told['question'])}: {now}; in the reference {before}. {inputs}"


def _strata(strata: Sequence[Mapping[str, Any]]) -> str:
    if not strata:
        return "The columns themselves are as they were within each part of the traffic."
    first = strata[0]
    now, before = percent(first["window"]), percent(first["reference"])
    return f"Most of all {clean(first['stratum'])}: {now} of the rows, expected {before}."


def sureness(document: Mapping[str, Any]) -> str:
    """How sure a finding is, and against what it was measured."""
    log_e, detector = document["log_e"], document["detector"]
    if log_e is None:
        return "This rule makes no promise about false alarms: look before you act on it."
    if document["subject"] != "sender" and not sequential(detector):
        calls = _CALLS[document["severity"]]
        return f"By chance a window like this comes with a probability below {power(-log_e)}. {calls}"
    asked = f"an alarm asks for {fold(document['threshold'])}"
    seldom = f"by chance alone it comes at most once in about {rounded(math.exp(document['threshold']))} panes"
    return f"The evidence against chance is {fold(log_e)}; {asked}. {capital(seldom)}."


METRICS: Final = {
    "auroc": "AUROC",
    "f1": "F1",
    "f1_micro": "F1 (micro)",
    "ece": "Calibration error",
    "brier": "Brier score",
    "mae": "Mean absolute error",
    "rmse": "Root mean square error",
    "mape": "Mean absolute share of error",
    "r2": "R²",
    "ndcg": "NDCG",
    "bias": "Mean error",
}
"""Metrics of performance whose names are no words."""
PARTS: Final = {
    "mix": "Mix of the inputs",
    "prior": "How often each class comes",
    "rate": "What follows from inputs",
    "total": "Altogether",
}
"""Parts of a change of performance."""


_FOREMOST: Final = ("accuracy", "mae", "ndcg")


def metric(name: str) -> str:
    """A metric of performance in words."""
    return METRICS.get(name, capital(name.replace("_", " ")))


def foremost(names: Sequence[str]) -> str:
    """Of some metrics the one that is shown unless another is asked for; "" of none."""
    return next((name for name in _FOREMOST if name in names), next(iter(names), ""))


def is_rate(detector: str) -> bool:
    """Whether a detector counts a fault."""
    return detector in _RATES


def sequential(detector: str) -> bool:
    """Whether a detector's evidence grows pane by pane, and so can page."""
    return detector in SEQUENTIAL or detector.startswith("e_")


def fold(log_e: float | None) -> str:
    """An e-value: how many times its stake a bet against chance has become."""
    if log_e is None or not math.isfinite(log_e):
        return DASH
    return f"{rounded(math.exp(log_e)) if log_e < math.log(1e6) else power(log_e)}-fold"


def power(log: float) -> str:
    """E to the ``log`` as a power of ten, in raised figures."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return f"10{str(round(log / math.log(10))).translate(raised)}"


def rounded(value: float) -> str:
    """Two or three figures, with separators."""
    if not math.isfinite(value):
        return "endlessly many"
    if value < 10:
        return f"{value:.2g}"
    digits = max(len(str(int(value))) - 2, 0)
    return f"{int(round(value, -digits)):,}"


def number(value: float | None, digits: int = 4) -> str:
    """A number for a table; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == round(value) and abs(value) < 1e15:
        return str(round(value))
    return f"{value:.{max(digits, len(str(round(abs(value)))))}g}" if abs(value) < 1e15 else f"{value:.3g}"


def percent(share: float | None) -> str:
    """A share of rows; small ones keep a figure.

    >>> percent(0.0004), percent(0.352), percent(0.0)
    ('0.04 %', '35 %', '0 %')
    """
    if share is None or not math.isfinite(share):
        return DASH
    value = 100 * share
    if value == 0 or abs(value) >= 9.95:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if abs(value) >= 0.1 else f"{value:.1g} %"


def instant(time: float | None) -> str:
    """A time in UTC: the minute, for people."""
    if time is None or not _datable(time):
        return DASH
    moment = datetime.fromtimestamp(time, UTC)
    return f"{moment.day} {moment:%b %Y, %H:%M} UTC"


def machine_time(time: float | None) -> str:
    """A time for programs; "" for none."""
    return (
        datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds") if time is not None and _datable(time) else ""
    )


def _datable(time: float) -> bool:
    return math.isfinite(time) and 0 <= time < 253_402_300_800  # the end of year 9999


def span(seconds: float) -> str:
    """A length of time in its largest unit.

    >>> span(5400), span(86400 * 3)
    ('90 minutes', '3 days')
    """
    size, name = next(((size, name) for size, name in _SPANS if seconds >= 2 * size), (1.0, "second"))
    count = round(seconds / size)
    return f"{count} {name}{'' if count == 1 else 's'}"


def ago(time: float | None, now: float) -> str:
    """How long ago, where that helps: "" for what is older than a month or not yet."""
    if time is None or not math.isfinite(time) or not 0 <= now - time < 31 * _DAY:
        return ""
    return f"{span(now - time)} ago"


def mode_title(name: str) -> str:
    """A failure mode's title."""
    return MODES[name].title if name in MODES else capital(name.replace("_", " "))


def capital(text: str) -> str:
    """A sentence's beginning."""
    return text[:1].upper() + text[1:]


def claim(heuristic: str) -> str:
    """What a heuristic's alarm says."""
    return capital(HEURISTICS[heuristic].claim) if heuristic in HEURISTICS else heuristic


def targets(target: Mapping[str, Any]) -> list[str]:
    """What an intervention is about, in words; its finding is told apart."""
    if "since" in target:
        return [f"rows from {instant(target['since'])} to {instant(target.get('until'))}"]
    if "rows" in target and isinstance(target["rows"], int):
        return [f"the next {target['rows']:,} rows"]
    if "failure_mode" in target:
        return [f"every {mode_title(target['failure_mode']).lower()}"]
    singles = [f"{key} {clean(target[key])}" for key in ("column", "segment") if key in target]
    rows = target.get("rows", [])
    senders = [f"sender {clean(name)}" for name in target.get("clients", [])[:NAMED]]
    more = [f"{len(target['clients']) - NAMED} more senders"] if len(target.get("clients", [])) > NAMED else []
    return [*singles, *senders, *more, *([f"{len(rows)} rows"] if rows else [])]
