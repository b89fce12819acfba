"""What the default joint detectors measure on each view, kept with the artefact: a start then costs no second of it.

The names of a detector's fields say what is stored; other fields (of another version) are measured anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

import numpy as np

from detectors.multivariate.joint import JointFixed
from detectors.multivariate.witness import WitnessFixed
from detectors.registry import JOINT, WITNESS, Tolerances
from monitor.fitted import Fitted
from monitor.joint import rng_of

KINDS: dict[str, type[Any]] = {"e_witness": WitnessFixed, "joint_min_p": JointFixed}
"""Detectors whose measurements are kept; none of them depends on the tolerances."""


def prepared(fitted: Fitted) -> Fitted:
    """The same with every view measured."""
    witness, joint = WITNESS(Tolerances()), JOINT["joint_min_p"](Tolerances())
    views = []
    for i, view in enumerate(fitted.reference.views):
        made = {
            witness.name: witness.fit(view, rng_of(fitted.reference, i, 0)),
            joint.name: joint.fit(view, rng_of(fitted.reference, i, 0)),
        }
        views.append(dataclasses.replace(view, measured=made))
    return dataclasses.replace(fitted, reference=dataclasses.replace(fitted.reference, views=tuple(views)))


def flat(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays of the measurements by path, such as ``joint_min_p/spectral/landmarks``."""
    arrays: dict[str, Any] = {}
    for name, part in measured.items():
        if isinstance(part, tuple):
            arrays |= {f"{name}/{path}": one for path, one in flat(part._asdict()).items()}  # type: ignore[attr-defined]
        else:
            arrays[name] = np.asarray(part)
    return arrays


def deep(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `flat` for the detectors whose fields are all there, and no others."""
    found = {}
    for name, kind in KINDS.items():
        mine = {path.removeprefix(f"{name}/"): one for path, one in arrays.items() if path.startswith(f"{name}/")}
        if mine.keys() == _paths(kind):
            found[name] = _made(kind, mine)
    return found


def _parts(kind: type[Any]) -> dict[str, type[Any] | None]:
    """Fields of a measurement: the type of a nested one, None for an array."""
    hints = get_type_hints(kind)
    nested = {name: hint for name, hint in hints.items() if isinstance(hint, type) and hasattr(hint, "_fields")}
    return {name: nested.get(name) for name in kind._fields}


def _paths(kind: type[Any]) -> set[str]:
    return {
        path
        for name, part in _parts(kind).items()
        for path in ([name] if part is None else [f"{name}/{inner}" for inner in _paths(part)])
    }


def _made(kind: type[Any], arrays: Mapping[str, Any]) -> Any:
    made = {}
    for name, part in _parts(kind).items():
        inner = {path.removeprefix(f"{name}/"): one for path, one in arrays.items() if path.startswith(f"{name}/")}
        made[name] = arrays[name] if part is None else _made(part, inner)
    return kind(**made)
