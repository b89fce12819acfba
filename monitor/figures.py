"""What the running agent has measured of itself."""

from __future__ import annotations

from typing import NamedTuple


class Figures(NamedTuple):
    """Totals so far; ``delay_panes`` is the median over the last injections, inf if most were not found in time.

    NaN before the first injection has ended.
    """

    false_alarms: int
    null_panes: int
    detected: int
    injected: int
    delay_panes: float
