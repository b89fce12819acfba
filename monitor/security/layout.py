"""Where the heuristics find what they need in a model's blocks, told from the plan, and which of them can run."""

from __future__ import annotations

import numpy as np

from detectors.grid import Grid
from detectors.rows.layout import Layout
from detectors.types import IntArray
from monitor.errors import ConfigError
from monitor.schema import Plan


def layout_of(plan: Plan, grid: Grid) -> Layout:
    """Places of the columns; `ConfigError` if the image's shape, or the number of classes, does not fit its vectors."""
    roles, p = plan.roles, len(grid.numeric_names)
    units = {name: i for i, name in enumerate(grid.names)}
    features = [units[c.name] for c in plan.columns if c.name in units and c.role in ("feature", "segment")]
    vectors = {name: i for i, (name, _) in enumerate(grid.vectors)}
    prediction = units.get(roles.prediction or "", -1)
    prediction = prediction if prediction >= p else -1
    score = units.get(roles.score or "", -1)
    places = vectors.get(roles.probabilities or "", -1), vectors.get(roles.logits or "", -1)
    names = grid.labels[prediction - p] if prediction >= 0 else ()
    length = max((grid.vectors[place][1] for place in places if place >= 0), default=0)
    if roles.classes and length not in (0, len(roles.classes)):
        message = (
            f"columns.classes: {len(roles.classes)} names for vectors of {length}; name each class, in their order"
        )
        raise ConfigError([message])
    return Layout(
        features=np.array(features, np.int64),
        image=_image(plan, grid, vectors),
        embedding=np.array(next((vectors[name] for name in roles.embeddings if name in vectors), -1)),
        probabilities=np.array(places[0]),
        logits=np.array(places[1]),
        prediction=np.array(prediction),
        score=np.array(score if 0 <= score < p else -1),
        classes=np.array([classes(names, roles.classes, length).get(name, -1) for name in names], np.int64),
    )


def classes(names: tuple[str, ...], declared: tuple[str, ...], length: int) -> dict[str, int]:
    """Name -> class 0..C-1: as declared, else numbers 0..C-1 as they are, else in the order of numbers or letters.

    ``length`` is C where probabilities tell it, 0 where not.
    """
    if declared:
        return {name: i for i, name in enumerate(declared)}
    try:
        numbers = {name: float(name) for name in names}
    except ValueError:
        return {name: i for i, name in enumerate(sorted(names))}
    if all(number.is_integer() and 0 <= number < length for number in numbers.values()):
        return {name: int(number) for name, number in numbers.items()}
    return {name: i for i, name in enumerate(sorted(names, key=lambda name: numbers[name]))}


def _image(plan: Plan, grid: Grid, vectors: dict[str, int]) -> IntArray:
    roles = plan.roles
    place = vectors.get(roles.image or "", -1)
    if place < 0:
        return np.zeros(0, np.int64)
    length, shape = grid.vectors[place][1], roles.image_shape
    if length != int(np.prod(shape)):
        said = " x ".join(str(one) for one in shape)
        message = f"columns.image_shape: {said} is not {length}, the length of the vectors in `{roles.image}`"
        raise ConfigError([f"{message}; give [height, width, channels]"])
    return np.array([place, *shape], np.int64)
