"""One look at the full windows of clients: four questions, their evidence, and what people want to know beside it.

Level: look j of a client has 1 / (j (j + 1)) of its level, and the five questions (flooding is the fifth) share that
equally; log p is given out with both taken off, so that the least one of a client over all time is a p-value.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.queries import client_shift, extraction
from detectors.queries.profile import TALLIES, ProfileFixed, Profiles
from detectors.types import FloatArray, IntArray

HEURISTICS = ("client_shift", "extraction", "coverage_growth", "confidence_ascent")
SHARED = float(np.log(len(HEURISTICS) + 1))


class Looked(NamedTuple):
    """``log_p (c, 4)`` by heuristic, NaN where it was not looked; ``facts`` by name, ``(c,)`` each."""

    log_p: FloatArray
    facts: dict[str, FloatArray]


class Seen(NamedTuple):
    """Windows of clients, and of whatever else is judged beside them: see `detectors.queries.profile`.

    ``standing (c, b)`` is the window and the one before: what the others are compared with.
    """

    counts: FloatArray
    standing: FloatArray
    answers: FloatArray
    tally: IntArray
    trend: FloatArray
    looks: IntArray


def seen(profiles: Profiles, slots: IntArray) -> Seen:
    """The windows in ``slots (c,)``."""
    counts = profiles.counts[slots].astype(np.float64)
    answers = profiles.answers[slots].astype(np.float64)
    return Seen(
        counts,
        counts + profiles.past[slots],
        answers,
        profiles.tally[slots],
        profiles.trend[slots],
        profiles.looks[slots],
    )


def together(first: Seen, second: Seen) -> Seen:
    """Both, one after the other."""
    return Seen._make(np.concatenate(parts) for parts in zip(first, second, strict=True))


def judge(fixed: ProfileFixed, windows: Seen) -> Looked:
    """Compare every window with all others."""
    blocks = client_shift.blocks_of(fixed, windows.counts)
    reference = [block[0] for block in client_shift.blocks_of(fixed, fixed.reference[None])]
    standing = client_shift.blocks_of(fixed, windows.standing)
    tests = [client_shift.unlike(*each) for each in zip(blocks, standing, reference, strict=True)]
    log_p = np.column_stack([found for found, _ in tests])
    cells = slice(int(fixed.blocks[3]), int(fixed.blocks[4]))
    covered = extraction.coverage(windows.counts[:, cells], windows.standing[:, cells])
    rising, ascent = extraction.ascent(windows.trend, windows.tally[:, 0])
    two = extraction.two_of_three(np.column_stack([covered.log_p, log_p[:, 0], log_p[:, 1]]))
    evidence = np.column_stack([_least(log_p), two, covered.log_p_more, ascent])
    spent = np.log((windows.looks + 1.0) * (windows.looks + 2.0)) + SHARED
    facts = {
        **{f"{name}_distance": found for name, (_, found) in zip(client_shift.BLOCKS, tests, strict=True)},
        **{f"{name}_log_p": log_p[:, i] for i, name in enumerate(client_shift.BLOCKS)},
        "cells_visited": covered.visited,
        "cells_expected": covered.expected,
        "rising_confidence": rising[:, 0],
        "rising_oddness": rising[:, 1],
        **_shares(windows, blocks),
    }
    return Looked(np.minimum(evidence + spent[:, None], 0.0), facts)


def _least(log_p: FloatArray) -> FloatArray:
    """Bonferroni over what is known."""
    known = ~np.isnan(log_p)
    least = np.where(known, log_p, 0.0).min(axis=1) + np.log(np.maximum(known.sum(axis=1), 1))
    return np.where(known.any(axis=1), least, np.nan)


def _shares(windows: Seen, blocks: list[FloatArray]) -> dict[str, FloatArray]:
    """Shares and effective numbers, and whether they look like another programme being run on the model."""
    rows = np.maximum(windows.tally[:, 0], 1).astype(np.float64)
    tally = dict(zip(TALLIES, windows.tally.T.astype(np.float64), strict=True))
    classes, places = extraction.effective(windows.answers), extraction.effective(blocks[3])
    facts = {
        "window_rows": tally["rows"],
        "near_share": tally["near"] / rows,
        "flip_share": tally["flips"] / np.maximum(tally["near"], 1.0),
        "odd_share": tally["odd"] / rows,
        "low_margin_share": blocks[1][:, 0] / np.maximum(blocks[1].sum(axis=1), 1.0),
        "effective_classes": classes,
        "effective_places": places,
    }
    like = extraction.reprogramming_like(tally, classes, blocks[0].shape[1])
    return {**facts, "reprogramming_like": like.astype(np.float64)}
