"""Stream states and panes as bytes, for checkpoints: arrays and a little JSON, no pickle.

The window's merged summary is not stored: it is merged anew from the panes, which gives the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import parts
from detectors.decide.incidents import Incident
from detectors.decide.pages import PageState
from detectors.decide.tickets import TicketState
from detectors.sequential.recursion import Recursion
from detectors.types import Reference
from monitor.arrays import pack, unpack
from monitor.classical import ClassicalState
from monitor.engine import Engine, Pane, StreamState
from monitor.moving import Moving
from monitor.windows import Panes, arrays_of, arrays_of_samples, samples_of, summary_of

Arrays = dict[str, NDArray[Any]]


def pack_pane(pane: Pane) -> bytes:
    """One judged pane."""
    span = np.array([pane.number, pane.start, pane.end])
    answers = {f"answers/{name}": part for name, part in (pane.answers or {}).items()}
    return pack({**arrays_of(pane.summary), **arrays_of_samples(pane.samples), **answers, "span": span})


def unpack_pane(grid_id: str, blob: bytes) -> Pane:
    """Inverse of `pack_pane`."""
    arrays = unpack(blob)
    number, start, end = (float(value) for value in arrays["span"])
    answers = {name.removeprefix("answers/"): part for name, part in arrays.items() if name.startswith("answers/")}
    return Pane(int(number), start, end, summary_of(grid_id, arrays), samples_of(arrays), answers or None)


def pack_stream(
    state: StreamState,
    panes: Panes,
    first_time: float,
    late: int,
    lengths: NDArray[np.float64],
    moving: Moving | None = None,
) -> bytes:
    """Everything of one stream but the panes of its window."""
    arrays: Arrays = {f"panes/{name}": part for name, part in panes.state().items()}
    if moving is not None:
        arrays |= {f"moving/{name}": part for name, part in moving.state().items()}
    joint = {str(i): one for i, one in enumerate(state.joint)}
    families = {"detector": state.detectors, "back": state.back, "joint": joint, "classical": state.classical.states}
    for family, states in families.items():
        for name, parts_ in states.items():
            arrays.update({f"{family}/{name}/{i}": part for i, part in enumerate(parts_)})
    document = {
        "owners": [[row, unit, owner] for (row, unit), owner in state.owners.items()],
        "ticket_owners": [[unit, owner] for unit, owner in state.ticket_owners.items()],
        "incident": list(state.incident),
        "late": late,
        "quiet": dict(state.classical.quiet),
    }
    arrays |= {
        "latched": state.pages.latched,
        "level": state.tickets.level,
        "starts": state.starts,
        "released": state.released,
        "first_time": np.array([first_time]),
        "lengths": lengths,
        "document": np.frombuffer(json.dumps(document).encode(), np.uint8),
    }
    return pack(arrays)


def unpack_stream(
    blob: bytes, engine: Engine, panes: Panes, kept: Sequence[Pane]
) -> tuple[StreamState, float, int, NDArray[np.float64]]:
    """Inverse of `pack_stream`: state, first time, late rows and lengths; ``panes`` is restored in place."""
    arrays = unpack(blob)
    panes.restore({name.removeprefix("panes/"): part for name, part in arrays.items() if name.startswith("panes/")})
    fresh = engine.start()
    document = json.loads(arrays["document"].tobytes())
    window = tuple(pane for pane in kept if panes.number - engine.window_panes < pane.number <= panes.number)
    merged = reduce(parts.merge, (pane.summary for pane in window)) if window else None
    state = StreamState(
        detectors={name: _filled(state, arrays, f"detector/{name}") for name, state in fresh.detectors.items()},
        joint=tuple(_filled(one, arrays, f"joint/{i}") for i, one in enumerate(fresh.joint)),
        classical=ClassicalState(
            {name: _filled(one, arrays, f"classical/{name}") for name, one in fresh.classical.states.items()},
            document["quiet"],
        ),
        back={name: Recursion(*_filled(state, arrays, f"back/{name}")) for name, state in fresh.back.items()},
        pages=PageState(arrays["latched"]),
        tickets=TicketState(arrays["level"]),
        owners={(row, unit): owner for row, unit, owner in document["owners"]},
        ticket_owners={unit: owner for unit, owner in document["ticket_owners"]},  # noqa: C416 - JSON has lists of two
        incident=Incident(*document["incident"]),
        starts=arrays["starts"],
        released=arrays["released"],
        panes=window,
        merged=merged,
    )
    return state, float(arrays["first_time"][0]), int(document["late"]), arrays["lengths"]


def moved(blob: bytes, moving: Moving | None) -> Reference | None:
    """The reference in force, where it moves and has moved; ``moving`` is restored in place."""
    arrays = {} if moving is None else unpack(blob)
    stored = {name.removeprefix("moving/"): part for name, part in arrays.items() if name.startswith("moving/")}
    if moving is None or not stored:
        return None
    moving.restore(stored)
    return moving.reference()


def _filled(state: Any, arrays: Arrays, prefix: str) -> Any:
    """A state of the same type with the stored arrays."""
    return type(state)(*(arrays[f"{prefix}/{i}"] for i in range(len(state))))
