"""Where rows come from. A source takes bytes, checks size and identity, hands them to the intake and acknowledges.

A new source is one file and one line in `SOURCES`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

SOURCES: Final = {
    "http": "monitor.sources.http:Server",
    "flight": "monitor.sources.flight:FlightSource",
    "directory": "monitor.sources.directory:DirectorySource",
    "stdin": "monitor.sources.stdin:StdinSource",
}
"""Name in the configuration -> where its class lives; named, not imported, for one that is not used costs nothing."""


def load(name: str) -> Any:
    """The class of a source; each has ``start()`` and ``stop()``."""
    module, _, attribute = SOURCES[name].partition(":")
    return getattr(import_module(module), attribute)
