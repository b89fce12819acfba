"""Where in a block the heuristics for single rows, senders and labels find what they need, and what they are given."""

from __future__ import annotations

from typing import NamedTuple

from numpy import uint64
from numpy.typing import NDArray

from detectors.types import Block, CodeArray, FloatArray, IntArray, SingleArray

DigestArray = NDArray[uint64]


class Layout(NamedTuple):
    """Places in a block; -1, or no entries, for what the log does not carry.

    ``features (f,)`` are the units (positions in ``Grid.names``) that are the model's inputs: neither its answers nor
    its scores. ``image (4,)`` is a position in ``Block.vectors`` and the image's height, width and channels.
    ``embedding ()``, ``probabilities ()`` and ``logits ()`` are positions in ``Block.vectors``; ``prediction ()`` and
    ``score ()`` are units: a categorical answer, and a number in [0, 1] that is the chance of the last class.
    ``classes (v,)`` takes a slot of the answer's column in ``Block.codes`` to its class 0..C-1, -1 for no class.
    """

    features: IntArray
    image: IntArray
    embedding: IntArray
    probabilities: IntArray
    logits: IntArray
    prediction: IntArray
    score: IntArray
    classes: IntArray


class Rows(NamedTuple):
    """Some rows of one model in order of arrival, ``(n,)`` each; None where the log does not carry it.

    ``digest`` is a keyed hash of the model's input: equal inputs have equal ones. ``client`` is a keyed hash of the
    sender's name, 0 where a row names none. ``predicted`` and ``label`` are classes 0..C-1, -1 where missing.
    ``probabilities (n, C)`` and ``logits (n, C)``, a row of NaN where missing. ``time`` is in seconds since the epoch.
    ``version`` is a number for each model version. ``source`` is a keyed hash of who gave the label, ``latency`` in
    seconds, ``model`` a keyed hash of the model's files.
    """

    block: Block
    digest: DigestArray
    client: DigestArray | None = None
    predicted: CodeArray | None = None
    label: CodeArray | None = None
    probabilities: SingleArray | None = None
    logits: SingleArray | None = None
    time: FloatArray | None = None
    version: CodeArray | None = None
    source: DigestArray | None = None
    latency: FloatArray | None = None
    model: DigestArray | None = None
