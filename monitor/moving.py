"""A reference that moves: the panes before the window, instead of the fixed rows. Pure.

The stream's panes are gathered in parts of ``panes / steps``; the last ``steps`` whole parts are the reference, from
one window after they ended, so that reference and window share no row. With one step it is the previous period as a
whole. Bins and questions stay those of the fixed reference, so that evidence goes on; the joint layer is measured anew
and begins without evidence. Slow drift that a moving reference follows is not seen: that is what it is for.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors import parts
from detectors.multivariate.samples import window_sample
from detectors.types import Reference, Sample, Summary, View
from monitor.engine import Pane
from monitor.windows import arrays_of, summary_of

VIEW_ROWS = 20_000
"""Rows of a view in all parts of the reference together."""
_SAMPLE = ("rows", "run", "strata")


class Part(NamedTuple):
    """Panes gathered: how many, the last one's number, their summary, and rows by view; every ``stride``-th run."""

    panes: int
    last: int
    summary: Summary
    samples: tuple[Sample, ...]
    stride: int


class Moving:
    """Gathers the panes of one stream and says when its reference moves."""

    def __init__(self, reference: Reference, panes: int, steps: int, lag: int) -> None:
        """``panes`` of the reference in ``steps`` parts; ``lag`` panes lie between it and what it judges."""
        self._fixed = reference
        self._size, self._steps, self._lag = max(panes // steps, 1), steps, lag
        self._open: Part | None = None
        self._waiting: list[Part] = []
        self._parts: deque[Part] = deque(maxlen=steps)

    def add(self, pane: Pane) -> Reference | None:
        """Gather a judged pane; the reference from the next pane on, if it moves now."""
        part = Part(1, pane.number, pane.summary, pane.samples, 1)
        self._open = part if self._open is None else self._joined(self._open, part)
        if self._open.panes >= self._size:
            self._waiting.append(self._open)
            self._open = None
        if not self._waiting or pane.number < self._waiting[0].last + self._lag:
            return None
        self._parts.append(self._waiting.pop(0))
        return self.reference()

    def reference(self) -> Reference | None:
        """The reference in force; None before there are enough parts."""
        if len(self._parts) < self._steps:
            return None
        fixed = self._fixed
        summary = reduce(parts.merge, (one.summary for one in self._parts))
        views = tuple(self._view(i, view) for i, view in enumerate(fixed.views))
        ruler = fixed.summary if fixed.ruler is None else fixed.ruler
        return dataclasses.replace(fixed, summary=summary, strata=None, views=views, ruler=ruler)

    def _view(self, i: int, view: View) -> View:
        sample = window_sample((one.samples[i] for one in self._parts), view.run)
        return dataclasses.replace(view, sample=sample, measured={})

    def _joined(self, part: Part, pane: Part) -> Part:
        stride = part.stride
        samples = tuple(_after(a, _thinned(b, stride)) for a, b in zip(part.samples, pane.samples, strict=True))
        while any(len(one.run) > VIEW_ROWS // self._steps for one in samples):
            stride *= 2
            samples = tuple(_thinned(one, stride) for one in samples)
        return Part(part.panes + 1, pane.last, parts.merge(part.summary, pane.summary), samples, stride)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything as arrays, for a checkpoint."""
        held = [*self._parts, *self._waiting, *([] if self._open is None else [self._open])]
        arrays: dict[str, NDArray[np.generic]] = {
            "whole": np.array([len(self._parts), len(self._waiting)], np.int64),
            "parts": np.array([[one.panes, one.last, one.stride] for one in held], np.int64).reshape(-1, 3),
        }
        for at, one in enumerate(held):
            arrays |= {f"part{at}/{name}": array for name, array in arrays_of(one.summary).items()}
            for i, sample in enumerate(one.samples):
                arrays |= {f"part{at}/view{i}/{name}": getattr(sample, name) for name in _SAMPLE}
        return arrays

    def restore(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Go on from a checkpoint."""
        held = []
        for at, (panes, last, stride) in enumerate(arrays["parts"].tolist()):
            prefix = f"part{at}/"
            mine = {name.removeprefix(prefix): one for name, one in arrays.items() if name.startswith(prefix)}
            samples = tuple(_stored(mine, f"view{i}/") for i in range(len(self._fixed.views)))
            held.append(Part(panes, last, summary_of(self._fixed.grid.id, mine), samples, stride))
        whole, waiting = (int(number) for number in arrays["whole"])
        self._parts = deque(held[:whole], maxlen=self._steps)
        self._waiting = held[whole : whole + waiting]
        self._open = held[whole + waiting] if len(held) > whole + waiting else None


def _thinned(sample: Sample, stride: int) -> Sample:
    keep = sample.run % stride == 0
    return Sample(sample.rows[keep], sample.run[keep], sample.strata[keep])


def _after(a: Sample, b: Sample) -> Sample:
    return Sample(
        np.concatenate([a.rows, b.rows]), np.concatenate([a.run, b.run]), np.concatenate([a.strata, b.strata])
    )


def _stored(arrays: dict[str, NDArray[np.generic]], prefix: str) -> Sample:
    rows, run, strata = (arrays[prefix + name] for name in _SAMPLE)
    return Sample(rows.astype(np.float32), run.astype(np.int64), strata.astype(np.int32))
