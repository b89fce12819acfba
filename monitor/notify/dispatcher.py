"""All receivers, each on a thread of its own: one that is dead, slow or lying delays neither the agent nor another."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Final

from monitor import log
from monitor.clock import Clock
from monitor.errors import StoreError
from monitor.notify.alerts import Herald
from monitor.notify.courier import Courier
from monitor.notify.section import Alertmanager, Notify, Webhook
from monitor.notify.sending import Counts
from monitor.store import Store

_AFTER_TROUBLE: Final = 5.0
"""Seconds before the next step after one that failed for a reason of our own."""


class Dispatcher:
    """Tells others what the event log says."""

    def __init__(self, store: Store, sections: Iterable[Notify], url: str, clock: Clock) -> None:
        """Take every receiver's place in the log, so that nothing that happens from now on is missed.

        ``url`` is the outside address of the pages, for links, "" for none.
        """
        self._log = log.get("notify")
        self._stopped = threading.Event()
        self._workers = [_worker(store, section.settings, url, clock) for section in sections]
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to tell."""
        for worker in self._workers:
            thread = threading.Thread(target=self._run, args=(worker,), name=f"driftwarden-{worker.name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Let attempts under way come to their end, so that what has arrived is not sent again; begin no other."""
        self._stopped.set()
        end = time.monotonic() + max((worker.timeout for worker in self._workers), default=0.0) + 1.0
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.0))

    def counts(self) -> Mapping[str, Counts]:
        """How each receiver goes, as copies."""
        return {worker.name: dataclasses.replace(worker.counts) for worker in self._workers}

    def _run(self, worker: Courier | Herald) -> None:
        wait = 0.0
        while not self._stopped.wait(wait):
            try:
                wait = worker.step()
            except StoreError as error:
                wait = _AFTER_TROUBLE
                self._log.error("the event log cannot be read", receiver=worker.name, error=str(error))
            except Exception as error:  # noqa: BLE001 - a mistake of ours must not silence a receiver for good
                wait = _AFTER_TROUBLE
                self._log.error("notifying failed", receiver=worker.name, error=type(error).__name__)


def _worker(store: Store, section: Webhook | Alertmanager, url: str, clock: Clock) -> Courier | Herald:
    return Courier(store, section, url, clock) if isinstance(section, Webhook) else Herald(store, section, url, clock)
