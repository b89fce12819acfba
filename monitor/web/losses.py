"""What a finding's page says of the performance: why it calls as loudly as it does, and why the figure changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from monitor.web.wording import DASH, clean, number, percent

_CALLED: Final = {
    "ticket": "This would have been a page. It is a ticket, since none of its columns can cost more than {loss} of "
    "performance as they have moved.",
    "page": "This would have woken nobody. It is a page, since the shift of its column surely costs more than {loss} "
    "of performance.",
}
_METRICS: Final = {"accuracy": "Accuracy", "mae": "Mean absolute error"}
_PARTS: Final = {
    "mix": "other inputs come (mix)",
    "prior": "classes are more or less frequent (prior)",
    "rate": "labels follow from inputs otherwise (rate)",
    "total": "in all",
}
_VERDICTS: Final = {
    "harmful": "The model has become worse by more than matters.",
    "virtual": "Whatever has moved, the model is as good as before.",
    "unknown": "Whether the model has become worse by more than matters is not known.",
}
_BY: Final = {
    "labels": "By labels.",
    "estimate": "Without labels: if they follow from inputs as they did. Nothing but labels can show that they do.",
}


class Part(NamedTuple):
    """A part of a change, with its interval or why it is not known."""

    name: str
    value: str
    between: str


class Change(NamedTuple):
    """A change of a figure: what it is, by what that is known, and its parts."""

    title: str
    verdict: str
    by: str
    parts: tuple[Part, ...]


class Losses(NamedTuple):
    """Sentences on the severity, and changes."""

    severity: tuple[str, ...]
    changes: tuple[Change, ...]


def losses(document: Mapping[str, Any]) -> Losses:
    """Of a finding's document; both are empty where nothing is known."""
    evidence = document["evidence"]
    changes = evidence.get("change") or {}
    return Losses(_severity(evidence.get("severity") or {}), tuple(_change(one) for one in changes.values()))


def _severity(told: Mapping[str, Any]) -> tuple[str, ...]:
    if not told:
        return ()
    loss = percent(told["smallest_loss"])
    why = [_CALLED[told["severity"]].format(loss=loss)] if told["severity"] != told["usual"] else []
    return (*why, *(_cost(one) for one in told["columns"] if one["loss"] is not None))


def _cost(one: Mapping[str, Any]) -> str:
    how = "as declared" if one["by"] == "declared" else "as measured by itself"
    most = "" if one["most"] is None else f", at most {percent(max(one['most'], 0.0))}"
    return f"{clean(one['column'])}: {how}, its shift costs {percent(max(one['loss'], 0.0))}{most}."


def _change(told: Mapping[str, Any]) -> Change:
    unit: Callable[[float], str] = percent if told["metric"] == "accuracy" else number
    parts = tuple(_part(one, unit) for one in (*told["parts"], told["total"]))
    title = f"{_METRICS.get(told['metric'], told['metric'])} against the reference"
    return Change(title, _VERDICTS[told["verdict"]], _BY[told["by"]], parts)


def _part(one: Mapping[str, Any], unit: Callable[[float], str]) -> Part:
    name = _PARTS[one["part"]]
    if one["value"] is None:
        return Part(name, DASH, one["reason"])
    value, low, high = (_signed(one[key], unit) for key in ("value", "low", "high"))
    return Part(name, value, f"{low} to {high}")


def _signed(value: float, unit: Callable[[float], str]) -> str:
    return f"{'-' if value < 0 else '+'}{unit(math.fabs(value))}"
