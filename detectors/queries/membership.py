"""Membership probing (H14): a client that asks about the training rows far more often than others do.

Question: H0: a client's queries meet the training set no more often than held-out rows of the same law do.
Statistic: a flag per row: the same digest as a training row, or nearer to one, in the space of similarity, than all but
1 in 1,000 held-out rows are; then the client's e-process (`detectors.queries.clients`).
Null law: the flag's rate is measured on held-out rows that the radius was not chosen by; three times it is allowed.
Sees / blind to: lists of candidates checked against the model; blind to a few questions a name among ordinary ones, and
to noise that carries the candidates beyond the radius. It shows that training rows are asked for, not what is learnt.
A log whose ordinary traffic repeats the training rows has a high rate already, and is allowed it.
Cost: one product of 256 x m by m x t for 256 rows. Memory: 8 bytes a digest, 4 (m + 1) bytes for each of at most 4,096
rows kept for nearness. Source: Shokri, Stronati, Song and Shmatikov 2017 (the attack); failures.md 3.4.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.queries.suspicion import Queries
from detectors.types import FloatArray, SingleArray

KIND = "membership_probing"
_MOST_NEAR = 4096
_SHARE = 0.001
_TILE = 256


class Training(NamedTuple):
    """Digests ``(t,)``, rising; ``near (s, m)`` rows of the training set; ``radius ()``, 0 where nearness is no use."""

    digest: NDArray[np.uint64]
    near: SingleArray
    radius: FloatArray


def nobody(width: int = 0) -> Training:
    """No training set is known: no row is ever asked about."""
    return Training(np.zeros(0, np.uint64), np.zeros((0, width), np.float32), np.array(0.0))


def fit(
    digest: NDArray[np.uint64], near: SingleArray, held: SingleArray, rng: np.random.Generator
) -> tuple[Training, NDArray[np.bool_]]:
    """Index training rows; ``held (h, m)`` are rows of the same law that are none of them.

    Also says which held-out rows the radius was chosen by ``(h,)``: the flag's rate must be measured on the others.
    """
    chosen = rng.random(len(held)) < 0.5
    usable = np.flatnonzero(np.isfinite(near).all(axis=1))
    kept = near[np.sort(rng.permutation(usable)[:_MOST_NEAR])].astype(np.float32)
    index = Training(np.unique(digest), kept, np.array(0.0))
    distance = np.sort(_nearest(index, held[chosen]))
    distance = distance[np.isfinite(distance)]
    at = int(np.floor(_SHARE * (len(distance) + 1)))
    radius = float(distance[at - 1]) if at > 0 else 0.5 * float(distance[0]) if len(distance) else 0.0
    return index._replace(radius=np.array(radius)), chosen


def probes(training: Training, queries: Queries) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which queries meet the training set, and which could be asked about, ``(n,)`` each."""
    if not len(training.digest):
        nothing = np.zeros(len(queries.digest), np.bool_)
        return nothing, nothing
    place = np.minimum(np.searchsorted(training.digest, queries.digest), len(training.digest) - 1)
    met = training.digest[place] == queries.digest
    if training.radius > 0:
        met |= _nearest(training, queries.near) < training.radius
    return met, np.ones(len(met), np.bool_)


def _nearest(training: Training, rows: SingleArray) -> FloatArray:
    """Distance ``(n,)`` to the nearest training row kept; inf where there is none."""
    distance = np.full(len(rows), np.inf)
    if not len(training.near):
        return distance
    known = np.flatnonzero(np.isfinite(rows).all(axis=1))
    offset = 0.5 * np.einsum("ij,ij->i", training.near, training.near)
    for begin in range(0, len(known), _TILE):
        some = known[begin : begin + _TILE]
        best = (rows[some] @ training.near.T - offset).argmax(axis=1)
        apart = rows[some].astype(np.float64) - training.near[best]
        distance[some] = np.sqrt(np.einsum("ij,ij->i", apart, apart))
    return distance
