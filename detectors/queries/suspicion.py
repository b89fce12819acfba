"""What the analysis of queries says of a sender, of a cluster of near-duplicates, or of the fleet as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from numpy import bool_, uint64
from numpy.typing import NDArray

from detectors.types import CodeArray, FloatArray, IntArray, SingleArray


class Queries(NamedTuple):
    """Some queries in order of arrival, ``(n,)`` each.

    ``near (n, m)`` is the query in the low-pass space of similarity, a row of NaN where it has no place there.
    ``digest`` is a keyed hash of the input, ``client`` one of the sender's name (0: none). ``predicted`` is the class
    of the answer (-1: unknown), ``margin`` its greatest less its second probability, ``confidence`` its greatest
    (NaN: unknown), ``time`` in seconds since the epoch (NaN: unknown).
    """

    near: SingleArray
    digest: NDArray[uint64]
    client: NDArray[uint64]
    predicted: CodeArray
    margin: SingleArray
    confidence: SingleArray
    time: FloatArray


class Hits(NamedTuple):
    """What the ring of recent queries knows of some new ones, ``(n,)`` each.

    ``distance`` to the nearest earlier query that is not the very same (NaN: none), ``neighbour`` its number (-1),
    ``exact``: the same input was there before, ``hit``: a near-duplicate, ``flip``: a hit whose neighbour was answered
    otherwise, ``cluster`` the number of the cluster of near-duplicates that it belongs to (-1: none).
    """

    distance: SingleArray
    neighbour: IntArray
    exact: NDArray[bool_]
    hit: NDArray[bool_]
    flip: NDArray[bool_]
    cluster: IntArray


class Suspicion(NamedTuple):
    """Evidence about one sender, one cluster, one label, or the fleet.

    ``heuristic`` is its name in `detectors.heuristics`. ``about`` is "client", "cluster", "class" or "fleet", ``who``
    the client's hash, the cluster's number or the label. ``log_e`` is anytime-valid evidence against the benign null
    (NaN where the heuristic gives ``log_p`` instead). ``rows`` were looked at and ``hits`` of them speak for it,
    between ``since`` and ``until`` (numbers of rows in the model's stream). ``clients`` are the senders with their
    rows, the busiest first. ``facts`` are named numbers for arbitration and for people. ``members`` are numbers of
    telling rows.
    """

    heuristic: str
    about: str
    who: int
    log_e: float
    log_p: float
    rows: int
    hits: int
    since: int
    until: int
    clients: tuple[tuple[int, int], ...]
    facts: Mapping[str, float]
    members: IntArray
