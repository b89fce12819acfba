"""Open Inference Protocol v2 over HTTP, the part with JSON: requests from rows, answers from bytes that nobody trusts.

An answer is taken only if it is what was asked for: this model and version, this request's id, one tensor of the right
shape, of finite probabilities or of names. Binary tensor data is not asked for, and refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray
from monitor.probes.settings import FLOATS, Settings, Tensor

MOST_CLASSES: Final = 4_096
_OFF = 0.01
"""Probabilities that sum to one but for this are probabilities."""

Row = Mapping[str, Any]
"""A row's values by column; a vector is a sequence of numbers."""


class BadAnswerError(Exception):
    """An answer that is not one to what was asked; ``reason`` is a closed label."""

    def __init__(self, reason: str, text: str) -> None:
        """Say what is wrong with it, without a value of it."""
        super().__init__(text)
        self.reason = reason


class UnfitError(Exception):
    """A row that cannot be sent: a value is missing, not finite or of another type."""


class Answer(NamedTuple):
    """Probabilities ``(n, C)`` and the names of the classes ("0", "1", ... where the model gives none)."""

    probabilities: FloatArray
    names: tuple[str, ...]
    version: str


class Metadata(NamedTuple):
    """What a model says of itself: whether rows can be sent together, and faults of our configuration."""

    together: bool
    faults: tuple[str, ...]


def values_of(tensor: Tensor, row: Row) -> list[Any]:
    """Values of one row in the order of the tensor; `UnfitError` if one cannot be sent."""
    found: list[Any] = []
    for column in tensor.columns:
        value = row.get(column)
        found += value if isinstance(value, (list, tuple)) else [value]
    wanted = math.prod(tensor.laid_out)
    if len(found) != wanted:
        raise UnfitError(f"{tensor.name}: {len(found)} values instead of {wanted}")
    if tensor.datatype == "BYTES":
        if any(value is None for value in found):
            raise UnfitError(f"{tensor.name}: a value is missing")
        return [str(value) for value in found]
    try:
        numbers = [float(value) for value in found]
    except (TypeError, ValueError, OverflowError):
        raise UnfitError(f"{tensor.name}: a value is missing or no number") from None
    if not all(map(math.isfinite, numbers)):
        raise UnfitError(f"{tensor.name}: a value is not finite")
    if tensor.datatype in FLOATS:
        return numbers
    return [bool(number) for number in numbers] if tensor.datatype == "BOOL" else [int(number) for number in numbers]


def request(settings: Settings, tensors: Sequence[Sequence[Sequence[Any]]], name: str) -> bytes:
    """A request for rows; ``tensors`` are values by input and row, ``name`` becomes its id."""
    inputs = [
        {
            "name": tensor.name,
            "shape": [len(rows), *tensor.laid_out],
            "datatype": tensor.datatype,
            "data": [value for row in rows for value in row],
        }
        for tensor, rows in zip(settings.inputs, tensors, strict=True)
    ]
    document: dict[str, Any] = {"id": name, "inputs": inputs}
    if settings.output:
        document["outputs"] = [{"name": settings.output}]
    return json.dumps(document, allow_nan=False).encode()


def answer(settings: Settings, body: bytes, rows: int, name: str) -> Answer:
    """Read the answer to ``rows`` rows; `BadAnswerError` if it is none."""
    document = _document(body)
    for key, wanted in (("model_name", settings.model), ("model_version", settings.version), ("id", name)):
        given = document.get(key)
        if wanted and given not in (None, "", wanted):
            raise BadAnswerError("mismatch", f"`{key}` is not what was asked for")
    tensor = _output(settings, document)
    shape, data = tensor.get("shape"), tensor.get("data")
    if not isinstance(shape, list) or not shape or shape[0] != rows or not all(_count(size) for size in shape):
        raise BadAnswerError("mismatch", f"the output's shape is not [{rows}, ...]")
    flat = _flat(data, math.prod(shape))
    version = document.get("model_version")
    shown = version if isinstance(version, str) and len(version) <= 256 else ""
    if tensor.get("datatype") == "BYTES" or (str(tensor.get("datatype")) not in FLOATS and math.prod(shape) == rows):
        return _named(flat, rows, shown)
    return _numbers(flat, rows, math.prod(shape) // rows, shown)


def metadata(settings: Settings, body: bytes) -> Metadata:
    """Read ``GET v2/models/NAME``; a model that does not describe its inputs is asked one row at a time."""
    document = _document(body)
    if document.get("name") not in (None, settings.model):
        raise BadAnswerError("mismatch", "the metadata are of another model")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
        return Metadata(together=False, faults=())
    said = {one.get("name"): one for one in inputs}
    faults = [f'no input "{tensor.name}"' for tensor in settings.inputs if said and tensor.name not in said]
    faults += [
        f'input "{tensor.name}" is not {tensor.datatype}'
        for tensor in settings.inputs
        if said.get(tensor.name, {}).get("datatype") not in (None, tensor.datatype)
    ]
    shapes = [said.get(tensor.name, {}).get("shape") for tensor in settings.inputs]
    together = all(isinstance(shape, list) and bool(shape) and shape[0] == -1 for shape in shapes)
    return Metadata(together, tuple(faults))


def _document(body: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8, with nothing in it that is not JSON."""

    def refuse(name: str) -> float:
        raise ValueError(name)

    try:
        document = json.loads(body.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise BadAnswerError("malformed", "the answer is not JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise BadAnswerError("malformed", "the answer is not a JSON object")
    return document


def _output(settings: Settings, document: dict[str, Any]) -> dict[str, Any]:
    outputs = document.get("outputs")
    if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
        raise BadAnswerError("malformed", "the answer has no list of outputs")
    for one in outputs:
        if one.get("name") == settings.output or not settings.output:
            tensor: dict[str, Any] = one
            return tensor
    raise BadAnswerError("mismatch", "the output that was asked for is not there")


def _count(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and 0 < size <= MOST_CLASSES * 1_024


def _flat(data: object, wanted: int) -> list[Any]:
    """Values in row-major order, nested or not; nothing is unfolded beyond what is wanted."""
    flat = data
    while isinstance(flat, list) and flat and isinstance(flat[0], list):
        if not all(isinstance(part, list) for part in flat) or sum(map(len, flat)) > wanted:
            break
        flat = [value for part in flat for value in part]
    if not isinstance(flat, list) or len(flat) != wanted or any(isinstance(value, (list, dict)) for value in flat):
        raise BadAnswerError("mismatch", "the output's data are not of its shape")
    return flat


def _named(flat: list[Any], rows: int, version: str) -> Answer:
    """Class names (or codes) as certain answers."""
    if len(flat) != rows or any(not isinstance(value, (str, int)) for value in flat):
        raise BadAnswerError("mismatch", "the output is neither probabilities nor one class a row")
    said = [str(value)[:256] for value in flat]
    names = tuple(sorted(set(said)))
    place = {name: i for i, name in enumerate(names)}
    return Answer(np.eye(len(names))[[place[name] for name in said]], names, version)


def _numbers(flat: list[Any], rows: int, classes: int, version: str) -> Answer:
    """Probabilities; one number in [0, 1] a row is the chance of the second of two classes."""
    if classes > MOST_CLASSES:
        raise BadAnswerError("mismatch", "the output has too many classes")
    if any(isinstance(value, str) or value is None for value in flat):
        raise BadAnswerError("mismatch", "the output is not of numbers")
    try:
        p: NDArray[np.float64] = np.array(flat, np.float64).reshape(rows, classes)
    except (ValueError, TypeError, OverflowError):
        raise BadAnswerError("mismatch", "the output is not of numbers") from None
    if classes == 1 and (np.rint(p) == p).all() and (np.abs(p) < MOST_CLASSES).all():
        return _named([int(value) for value in p[:, 0]], rows, version)
    p = np.concatenate([1.0 - p, p], axis=1) if classes == 1 else p
    if not np.isfinite(p).all() or p.min() < -_OFF or not (np.abs(p.sum(axis=1) - 1.0) <= _OFF).all():
        raise BadAnswerError("mismatch", "the output is not of probabilities")
    return Answer(p, tuple(map(str, range(p.shape[1]))), version)
