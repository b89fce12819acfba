"""What the running agent measured on itself, from its metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from monitor.asking import operator
from monitor.config import Config
from monitor.errors import DriftwardenError

NAMES: Final = {
    "driftwarden_selfcheck_panes_total": "panes",
    "driftwarden_selfcheck_false_alarms_total": "false_alarms",
    "driftwarden_selfcheck_injected_shifts_total": "injected",
    "driftwarden_selfcheck_found_shifts_total": "found",
    "driftwarden_selfcheck_delay_panes": "delay_panes",
}
"""Metrics, and what a report calls them."""


def figures_of(config: Config) -> dict[str, dict[str, float]]:
    """Numbers of the self-check by model; nothing where no agent answers, or it has checked nothing yet."""
    try:
        text = operator(config).fetch("/metrics").decode(errors="replace")
        found: dict[str, dict[str, float]] = {}
        for model, name, value in _samples(text):
            found.setdefault(model, {})[name] = value
    except (DriftwardenError, ValueError):
        return {}
    return {model: one for model, one in found.items() if one.get("panes")}


def _samples(text: str) -> Iterator[tuple[str, str, float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in NAMES and sample.value == sample.value:  # no NaN
                yield sample.labels.get("model", ""), NAMES[sample.name], float(sample.value)
