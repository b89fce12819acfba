"""The ``web.config.yml`` of a listener as it stands now: read anew whenever it or a file that it names has changed.

So rotated certificates and changed passwords apply to the next connection and the next request. A file that cannot be
used leaves the last good one in force, is told in the log once, and shows in `WebConfigFile.sound`.
"""

from __future__ import annotations

import math
import os
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from monitor import log
from monitor.errors import ConfigError
from monitor.web.tls import Certificate, Latest, alternative_names, server_context
from monitor.web.webconfig import WebConfig, read

Mark = tuple[int, int, int] | None
"""What changes when a file does: time, size and inode; None where there is none."""
RETRY_SECONDS = 10.0
"""How often a file that cannot be used is tried again, as what it lacks may be elsewhere."""
TICK_SECONDS = 1.0
"""Longer than the clock of any file system takes to show that time has passed."""


@dataclass(frozen=True, slots=True)
class _Read:
    """One good reading."""

    config: WebConfig
    context: ssl.SSLContext | None
    marks: dict[Path, Mark]


class WebConfigFile:
    """Follows one file; used by the thread of one server."""

    def __init__(self, path: Path, *, demand: bool = False) -> None:
        """Read it, or raise `ConfigError`; with ``demand`` it must authenticate.

        One that authenticates must go on doing so: passwords that are lost with an edit open no door.
        """
        self.path = path
        self.sound = True
        self._demand = demand
        self._log = log.get("web")
        self._now = self._read()
        self._demand = demand or self._now.config.authenticates
        self._seen = self._now.marks
        self._again = _settled(self._seen)

    @property
    def current(self) -> WebConfig:
        """The latest good configuration."""
        self._follow()
        return self._now.config

    @property
    def tls(self) -> ssl.SSLContext | None:
        """A context for the server that always has the latest certificate; None where TLS is not spoken."""
        return None if self._now.context is None else Latest.of(self._context)

    def admits(self, certificate: Certificate) -> bool:
        """Whether a verified client certificate is issued for one of the names that are wanted, if any are."""
        wanted = self.current.tls_server_config.client_allowed_sans
        return not wanted or not alternative_names(certificate).isdisjoint(wanted)

    def _context(self) -> ssl.SSLContext:
        self._follow()
        if self._now.context is None:
            raise ssl.SSLError("TLS was not configured at the start")
        return self._now.context

    def _follow(self) -> None:
        """Read again if anything changed since the last look, or may have."""
        marks = _marks(self._seen)
        if marks == self._seen and time.monotonic() < self._again:
            return
        changed, self._seen = marks != self._seen, marks
        try:
            self._now = self._read()
        except ConfigError as error:
            if changed or self.sound:
                self._log.error("web configuration refused, the last good one stays in force", faults=str(error))
            self.sound, self._again = False, time.monotonic() + RETRY_SECONDS
            return
        if changed or not self.sound:
            self._log.info("web configuration read anew", file=str(self.path))
        self._seen, self.sound = self._now.marks, True
        self._again = _settled(self._seen)

    def _read(self) -> _Read:
        marks = _marks([self.path])  # before reading: what changes meanwhile is read again
        config = read(self.path)
        settings = config.tls_server_config
        marks |= _marks(settings.files)
        context = server_context(settings) if settings.enabled else None
        if self._demand and not config.authenticates:
            fix = "add basic_auth_users, or tls_server_config with client_auth_type: RequireAndVerifyClientCert"
            raise ConfigError([f"{self.path}: asks nobody who they are, and the listener must; {fix}"])
        if hasattr(self, "_now") and (context is None) != (self._now.context is None):
            raise ConfigError([f"{self.path}: TLS cannot be switched on or off while the agent runs; restart it"])
        return _Read(config, context, marks)


def _settled(marks: Mapping[Path, Mark]) -> float:
    """When to read again all the same: soon after a file that was just written, as another write may bear its time."""
    written = max((mark[0] for mark in marks.values() if mark is not None), default=0)
    fresh = time.time_ns() - written < TICK_SECONDS * 1e9
    return time.monotonic() + TICK_SECONDS if fresh else math.inf


def _marks(paths: Iterable[Path]) -> dict[Path, Mark]:
    found: dict[Path, Mark] = {}
    for path in paths:
        try:
            told = os.stat(path)  # noqa: PTH116 - at every request
        except OSError:
            found[path] = None
        else:
            found[path] = (told.st_mtime_ns, told.st_size, told.st_ino)
    return found
