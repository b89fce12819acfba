"""Moments and spans as people write them on a command line."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime

import click

from monitor.quantities import duration


def moment(text: str) -> float:
    """Seconds since the epoch of ``2026-11-21``, ``2026-11-21T10:30Z`` or a number; without a zone it is UTC.

    >>> moment("2026-11-21T10:30Z")
    1795257000.0
    """
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        message = f'"{text}" is no time; write "2026-11-21", "2026-11-21T10:30Z" or seconds since the epoch'
        raise ValueError(message) from None


class _Read(click.ParamType):  # type: ignore[type-arg] # generic in new versions of click only
    """What a function reads from the text of an option."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or the function's own words about what is wrong."""
        if isinstance(value, float):
            return value
        try:
            return moment(str(value)) if self.name == "time" else duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


MOMENT, SPAN = _Read("time"), _Read("duration")
"""Types of options: a time, and a duration such as ``4h``."""
