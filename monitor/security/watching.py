"""Which heuristics look at a log: built, with the columns that they need, on a reference that allows them."""

from __future__ import annotations

from detectors.heuristics import HEURISTICS, LABEL, QUERY
from detectors.poisoning import groups
from detectors.queries import fingerprints, membership
from detectors.queries.ring import refusal
from detectors.rows import scores
from monitor.config import Model
from monitor.security.measured import Measured

_ROWS = frozenset({*scores.HEURISTICS, "integrity", "output_integrity", "low_margin", membership.KIND})
"""Heuristics that are kinds of flag: they look where the reference gave them something to flag."""


def watching(model: Model, fixed: Measured, silent: frozenset[str], *, asked: bool) -> frozenset[str]:
    """Names of the heuristics; ``silent`` ones lack a column, ``asked``: the model itself is."""
    every, settings = HEURISTICS.items(), model.security
    marked = fixed.fingerprints
    gone = {*silent, *(_ROWS - {str(kind) for kind in fixed.held.clients.kinds})}
    gone |= _unlabelled(fixed)
    gone |= set() if asked else {"active_probes"}
    gone |= set() if settings.prada else {"prada"}
    gone |= {"fingerprints"} if marked is None or fingerprints.refusal(marked) else set()
    if settings.queries < 2 or refusal(fixed.held.near):
        gone |= {name for name, one in every if one.about == QUERY}
    return frozenset(HEURISTICS) - gone


def _unlabelled(fixed: Measured) -> set[str]:
    """Heuristics about labels for which the reference has too few labels, in all or of each class, or no opinions."""
    if fixed.feedback is None:
        return {name for name, one in HEURISTICS.items() if one.about == LABEL}
    gone = set() if len(fixed.feedback.noise.thresholds) else {"label_noise"}
    return gone | (set() if len(fixed.feedback.groups.classes) else set(groups.HEURISTICS))
