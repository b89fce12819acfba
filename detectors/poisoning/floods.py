"""`label_floods`: one input sent again and again, or with labels that contradict each other.

Question: H0: an input comes as often as the trusted rows allow: with a chance of at most the upper 99.9 % limit of its
share among them (without a trusted copy too: a limit of 7 / m). H1: it comes more often.
Statistic: copies of each input among n rows. Null law: binomial tail, Bonferroni over the inputs that come twice.
Sees / blind to: exact copies; blind to copies that differ in a last digit, which `near_duplicates` is for.
Cost: a sort of n digests. Source: failures.md section 6 (stream-level checks); Clopper and Pearson 1934.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.types import FloatArray, IntArray

LEVEL = 0.999
_FLOOR = 1e-300


class Floods(NamedTuple):
    """Copies of each row's input, ``(n,)`` each.

    The number of its ``group``, the ``copies`` in it, ``log_p`` of the group (0 for single rows; corrected for how many
    groups there are), and whether labels in the group ``conflict``.
    """

    group: IntArray
    copies: IntArray
    log_p: FloatArray
    conflict: NDArray[np.bool_]


def floods(digest: NDArray[np.uint64], label: NDArray[np.integer], trusted: NDArray[np.uint64]) -> Floods:
    """Count copies among ``digest (n,)`` of the inputs, against those of the ``trusted (m,)`` rows."""
    values, group, copies = np.unique(digest, return_inverse=True, return_counts=True)
    known, times = np.unique(trusted, return_counts=True)
    at = np.minimum(np.searchsorted(known, values), max(len(known) - 1, 0))
    seen = np.where(known[at] == values, times[at], 0) if len(known) else np.zeros(len(values), np.int64)
    share = allowed(seen, len(trusted))
    log_p = np.zeros(len(values))
    repeated = copies > 1
    tail = special.betainc(copies[repeated], len(digest) - copies[repeated] + 1, share[repeated])
    log_p[repeated] = np.log(np.clip(tail * max(int(repeated.sum()), 1), _FLOOR, 1.0))
    low, high = np.full(len(values), np.iinfo(np.int64).max), np.full(len(values), -1)
    named = label >= 0
    np.minimum.at(low, group[named], label[named])
    np.maximum.at(high, group[named], label[named])
    return Floods(group, copies[group], log_p[group], (high > low)[group] & repeated[group])


def allowed(copies: NDArray[np.integer], rows: int) -> FloatArray:
    """Largest share of an input with so many copies among ``rows`` trusted rows."""
    share = special.betaincinv(copies + 1.0, np.maximum(rows - copies, 1e-9), LEVEL)
    return np.where(copies < rows, share, 1.0)
