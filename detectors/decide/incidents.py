"""Which alarms are one incident: a page wakes somebody, what belongs to it is a ticket beside it."""

from __future__ import annotations

from typing import NamedTuple

FRESH_SHARE = 0.1
"""A shift that begins within this share of the hold after a page began with it, for all that an onset can tell."""
LARGER = 2.0
"""A shift that began later is an incident of its own, within the hold too, if it is so many times as large."""
_NEVER = -(10**9)


class Incident(NamedTuple):
    """The last page of a stream: its pane, the pane in which its shift began, its largest effect, the finding's id."""

    pane: int = _NEVER
    onset: int = _NEVER
    effect: float = 0.0
    id: str = ""


def joins(last: Incident, *, pane: int, onset: int, effect: float, hold: int, still_open: bool) -> bool:
    """Whether an alarm belongs to the last page.

    It does within ``hold`` panes of it, unless its shift began well after the page and is far larger; and later as
    well, while that page is open and the new shift began with it.
    """
    if pane - last.pane <= hold:
        return not (onset > last.pane + FRESH_SHARE * hold and effect >= LARGER * last.effect)
    return still_open and last.onset - hold <= onset <= last.pane + hold
