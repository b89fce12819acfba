"""Signals, installed before any heavy import: Python as process 1 would otherwise ignore SIGTERM for seconds.

Only the standard library here. The handlers do nothing but set events.
"""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from types import FrameType


@dataclass(frozen=True, slots=True)
class Signals:
    """What the operator has asked for; ``wake`` is set with every request."""

    stop: threading.Event = field(default_factory=threading.Event)
    reload: threading.Event = field(default_factory=threading.Event)
    wake: threading.Event = field(default_factory=threading.Event)

    def install(self) -> None:
        """SIGTERM and SIGINT ask for a stop, SIGHUP for a reload. Must be called on the main thread."""
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stop.set()
        self.wake.set()

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload.set()
        self.wake.set()
