"""Series of the groups of rows on which one model fails: what they are called holds no values of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from monitor.metrics import Snapshot, Value
from monitor.outcomes.series import STATES

if TYPE_CHECKING:
    from monitor.outcomes.failing import Failing

_ENDS: Final = (("value", ""), ("low", "_low"), ("high", "_high"))
_FIGURES: Final = (("value", "loss"), ("low", "loss_low"), ("high", "loss_high"))


def of_failing(failing: Failing) -> Snapshot:
    """What is followed, and the sample in which it was found."""
    name, document = failing.model.name, failing.document
    made: Snapshot = {
        "driftwarden_slice_failures_total": [((name,), failing.failures)],
        "driftwarden_slice_sample_bytes": [((name,), failing.nbytes)],
        "driftwarden_slice_sample_rows": [
            ((name, state), number) for state, number in zip(STATES, failing.counts(), strict=False)
        ],
    }
    if document is not None:
        if document["until"] is not None:
            made["driftwarden_slice_searched_timestamp_seconds"] = [((name,), document["until"])]
        for one in document["slices"]:
            labels = (name, one["id"], ", ".join(one["columns"]))
            for metric, value in _values(one).items():
                made.setdefault(f"driftwarden_slice_{metric}", []).append((labels, value))
        for one in (document["directions"] or {"classes": ()})["classes"]:
            for key, suffix in _ENDS if one["hard"] is not None else ():
                series = made.setdefault(f"driftwarden_direction_hard_ratio{suffix}", [])
                series.append(((name, one["class"]), one["hard"][key]))
    return made


def _values(one: dict[str, Any]) -> dict[str, Value]:
    found: dict[str, Value | None] = {"rows_ratio": one["share"], "confirmed": float(one["confirmed"])}
    found["worse"] = float(one["status"] == "worse")
    if one["loss"] is not None:
        found |= {metric: one["loss"][key] for key, metric in _FIGURES}
    if one["before"] is not None:
        found["reference_loss"] = one["before"]["value"]
    return {metric: value for metric, value in found.items() if value is not None}
