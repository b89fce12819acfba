"""Counts of a ranking's queries: the normalised discounted cumulative gain of each.

A row's gain is its relevance, discounted by 1 / log2(1 + place); rows of equal score share the mean discount of their
places. A query with a row that has no label or score yet, with a negative relevance, or with nothing relevant has no
NDCG. The query has the weight and the segment of its first row.
Source: Jarvelin and Kekalainen 2002; McSherry and Najork 2008 (ties).
"""

from __future__ import annotations

import numpy as np

from detectors.performance.counts import QUERIES, Rows, Tally, add_sums, weigh
from detectors.performance.layout import Layout
from detectors.performance.types import Outcomes
from detectors.types import FloatArray, IntArray


def fill(out: Tally, made: Layout, outcomes: Outcomes, rows: Rows) -> None:
    """Count queries all of whose rows have a label."""
    if outcomes.group is None or outcomes.score is None or not len(rows.at):
        return
    name, group = np.unique(outcomes.group, return_inverse=True)
    whole = np.bincount(group, minlength=len(name)) == np.bincount(group[rows.at], minlength=len(name))
    score = np.asarray(outcomes.score, np.float64)[rows.at]
    mine, gain = group[rows.at], rows.truth
    value = ndcg(mine, score, gain, len(name), int(made.first))
    usable = whole & np.isfinite(value)
    _, head = np.unique(mine, return_index=True)
    first = np.zeros(len(name), np.int64)
    first[mine[head]] = head
    some = rows.take(first[usable])
    weigh(out, QUERIES, some)
    add_sums(out, made.name, some, {"ndcg": value[usable], "ndcg2": np.square(value[usable])})


def ndcg(group: IntArray, score: FloatArray, gain: FloatArray, groups: int, first: int = 0) -> FloatArray:
    """NDCG of each query ``(groups,)`` from its rows ``(n,)``, of the ``first`` places (0: all); NaN: it has none."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        most = np.zeros(groups)
        np.maximum.at(most, group, gain)
        relative = np.where(gain < 0, np.nan, gain / most[group])
        value = _dcg(group, score, relative, groups, first) / _dcg(group, gain, relative, groups, first)
    return np.where(most > 0, value, np.nan)


def _dcg(group: IntArray, score: FloatArray, gain: FloatArray, groups: int, first: int) -> FloatArray:
    order = np.lexsort((gain, -score, group))  # by gain too: sums of floats go by the order
    group, score, gain = group[order], score[order], gain[order]
    begin = np.searchsorted(group, np.arange(groups))
    place = np.arange(len(group)) - begin[group]
    discount = 1 / np.log2(place + 2.0)
    if first:
        discount[place >= first] = 0.0
    new = np.ones(len(group), np.bool_)
    new[1:] = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
    tie = np.cumsum(new) - 1
    discount = (np.bincount(tie, discount) / np.bincount(tie))[tie]
    summed: FloatArray = np.bincount(group, gain * discount, minlength=groups).astype(np.float64)
    return summed
