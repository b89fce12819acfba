"""Handing over for sources that may be slowed: they wait for room instead of being refused."""

from __future__ import annotations

import threading
from typing import Final

from monitor.errors import QueueFull
from monitor.intake import Draining, Intake, Policy
from monitor.offer import Offer

_PATIENCE: Final = 0.5
"""Seconds of one wait for room; between two of them the source looks whether it is to stop."""
_PAUSE: Final = 0.1
"""Seconds after a refusal that no room can cure at once, such as a full disk."""


def hand_over(intake: Intake, stopped: threading.Event, offer: Offer, policy: Policy = "reject") -> bool:
    """`Intake.accept`, again and again until it succeeds; False when the source or the agent is stopping."""
    while not stopped.is_set():
        try:
            intake.accept(offer, policy, patience=_PATIENCE)
            return True
        except Draining:
            return False
        except QueueFull:
            stopped.wait(_PAUSE)
    return False
