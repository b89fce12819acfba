"""What is measured on a reference as arrays by name, kept with the artefact: a start then costs no second of it.

Whatever detectors measure is a NamedTuple of arrays and of such NamedTuples. `flat` names its arrays by path; `rebuilt`
makes it again from them and from its type alone. The names of the fields say what is stored: what has others (is of
another version) is measured anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

import numpy as np

from detectors.multivariate.joint import JointFixed
from detectors.multivariate.witness import WitnessFixed
from detectors.registry import JOINT, WITNESS, Tolerances
from monitor.config import Model
from monitor.fitted import Fitted
from monitor.joint import rng_of

T = TypeVar("T")
KINDS: dict[str, type[Any]] = {"e_witness": WitnessFixed, "joint_min_p": JointFixed}
"""Detectors whose measurements are kept; none of them depends on the tolerances."""


def prepared(fitted: Fitted, model: Model) -> Fitted:
    """The same with every view measured, and what single rows and their senders are held against."""
    from monitor.security.measured import measure

    witness, joint = WITNESS(Tolerances()), JOINT["joint_min_p"](Tolerances())
    views = []
    for i, view in enumerate(fitted.reference.views):
        made = {
            witness.name: witness.fit(view, rng_of(fitted.reference, i, 0)),
            joint.name: joint.fit(view, rng_of(fitted.reference, i, 0)),
        }
        views.append(dataclasses.replace(view, measured=made))
    reference = dataclasses.replace(fitted.reference, views=tuple(views))
    security = measure(fitted, model.security) if model.guarded else {}
    return dataclasses.replace(fitted, reference=reference, security=security)


def flat(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays of measurements, or of one's fields (``it._asdict()``), by path: ``joint_min_p/spectral/landmarks``."""
    arrays: dict[str, Any] = {}
    for name, part in measured.items():
        if isinstance(part, tuple):
            arrays |= {f"{name}/{path}": one for path, one in flat(part._asdict()).items()}  # type: ignore[attr-defined]
        else:
            arrays[name] = np.asarray(part)
    return arrays


def rebuilt(kind: type[T], arrays: Mapping[str, Any]) -> T:
    """Inverse of ``flat(it._asdict())`` for one NamedTuple; `ValueError` if the paths are not those of its fields."""
    wanted = _paths(kind)
    if arrays.keys() != wanted:
        odd = sorted(arrays.keys() ^ wanted)[:3]
        message = f"{kind.__name__} is not what was stored: {', '.join(odd)}"
        raise ValueError(message)
    made: T = _made(kind, arrays)
    return made


def under(name: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays whose path begins with a name, by the rest of it."""
    return {path.removeprefix(f"{name}/"): one for path, one in arrays.items() if path.startswith(f"{name}/")}


def deep(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `flat` for the detectors whose fields are all there, and no others."""
    parts = {name: under(name, arrays) for name in KINDS}
    return {name: rebuilt(kind, parts[name]) for name, kind in KINDS.items() if parts[name].keys() == _paths(kind)}


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
    return kind(
        **{
            name: arrays[name] if part is None else _made(part, under(name, arrays))
            for name, part in _parts(kind).items()
        }
    )
