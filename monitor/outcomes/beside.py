"""Work beside the engine: done by a thread of its own, one thing after the other, for a twentieth of a core.

Of two wishes of one name the newer counts: what has not been begun is passed over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from monitor import log

REST: Final = 19.0
"""After a piece of work nobody begins another one for so many times longer than it took."""
_WAIT: Final = 0.2
_TURN = threading.Lock()
"""Held by the one model whose work is done, and while it rests: many models together cost no more than one."""


class Beside:
    """The thread of one model; asked by the engine's thread."""

    def __init__(self, model: str) -> None:
        """Start nothing yet: the first wish does."""
        self.failures = 0
        self._model = model
        self._asked: dict[str, Callable[[], None]] = {}
        self._changed = threading.Condition()
        self._busy = self._closed = self._hurry = False
        self._thread: threading.Thread | None = None
        self._log = log.get("estimates")

    def ask(self, name: str, work: Callable[[], None]) -> None:
        """Want something done."""
        with self._changed:
            if self._closed:
                return
            self._asked[name] = work
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"estimates {self._model}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait, without any rest from now on, until nothing is left to be done; whether that came in time."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._asked and not self._busy, timeout)

    def close(self) -> None:
        """Let the thread end after what it is at."""
        with self._changed:
            self._closed = True
            self._asked.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while self._wanted():
            mine = self._turn()
            try:
                self._next()
            finally:
                if mine:
                    _TURN.release()

    def _wanted(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._asked))
            return not self._closed

    def _turn(self) -> bool:
        """Wait for the turn; whether it was taken, which nobody does who is in a hurry or ends."""
        while not (self._hurry or self._closed):
            if _TURN.acquire(timeout=_WAIT):
                return True
        return False

    def _next(self) -> None:
        """Do one piece of work, and rest."""
        with self._changed:
            if self._closed or not self._asked:
                return
            name = next(iter(self._asked))
            work, self._busy = self._asked.pop(name), True
        began = time.monotonic()
        try:
            work()
        except Exception as fault:  # noqa: BLE001 - what fails must not end what is to come
            self.failures += 1
            self._log.error("estimate failed", model=self._model, stream=name, error=repr(fault))
        self._rest(REST * (time.monotonic() - began))

    def _rest(self, seconds: float) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._hurry, seconds)
