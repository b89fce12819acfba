"""Durations, sizes and addresses in the words of a configuration file, and back into words."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass

SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""Length of each unit of a duration."""
BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
"""Length of each unit of a size."""
WORDS = {"second": "s", "minute": "m", "hour": "h", "day": "d", "week": "w"}
"""Units that may be written out, in singular or plural."""

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")
_PORTS = 65536


def duration(value: object) -> float:
    """Seconds of ``"60s"``, ``"1h30m"``, ``"90d"`` or ``"2 weeks"``; a bare number other than 0 is refused.

    >>> duration("1h30m")
    5400.0
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value == 0:
            return 0.0
        message = f'a duration needs a unit: write "{value}s" if seconds are meant'
        raise ValueError(message)
    if not isinstance(value, str):
        raise ValueError('must be a duration such as "60s", "5m", "1h" or "7d"')  # noqa: TRY004 - pydantic reads it
    text = value.strip()
    parts = list(_PART.finditer(text))
    if not parts or "".join(part.group(0) for part in parts) != text:
        message = f'"{value}" is not a duration; write for example "60s", "5m", "1h30m" or "7d"'
        raise ValueError(message)
    return math.fsum(float(part.group(1)) * _unit_seconds(part.group(2), value) for part in parts)


def _unit_seconds(unit: str, value: str) -> float:
    """Length of one unit, written short or in full."""
    short = WORDS.get(unit.lower().removesuffix("s"), unit) if len(unit) > 2 else unit
    if short not in SECONDS:
        message = f'"{unit}" in "{value}" is not a unit of time; use one of {", ".join(SECONDS)}'
        raise ValueError(message)
    return SECONDS[short]


def duration_text(seconds: float) -> str:
    """The shortest exact text of a duration, for people: ``5400.0`` is ``"90m"``.

    >>> duration_text(7776000.0)
    '90d'
    """
    if seconds == 0:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        count = seconds / SECONDS[unit]
        if count.is_integer():
            return f"{int(count)}{unit}"
    return f"{seconds:g}s"


def size(value: object) -> int:
    """Bytes of ``"64MiB"``, ``"1GB"`` or a whole number.

    >>> size("64MiB")
    67108864
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("must not be negative")
        return value
    part = _PART.fullmatch(value.strip()) if isinstance(value, str) else None
    units = {name.lower(): length for name, length in BYTES.items()}
    if part is None or part.group(2).lower() not in units:
        message = f'"{value}" is not a size; write for example "64MiB" or a number of bytes ({", ".join(BYTES)})'
        raise ValueError(message)
    return round(float(part.group(1)) * units[part.group(2).lower()])


def size_text(count: int) -> str:
    """The largest binary unit that gives a whole number: ``67108864`` is ``"64MiB"``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count and count % BYTES[unit] == 0:
            return f"{count // BYTES[unit]}{unit}"
    return f"{count}B"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener binds; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        """As it is written in a configuration file."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def wildcard(self) -> bool:
        """Whether it takes the port on all interfaces."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 - a comparison, not a binding

    def clashes(self, other: Address) -> bool:
        """Whether both cannot be bound by two servers at the same time."""
        same_host = self.host == other.host or self.wildcard or other.wildcard
        return self.port == other.port != 0 and same_host


def address(value: object) -> Address:
    """The address of ``"127.0.0.1:9710"``, ``"[::1]:9710"`` or ``":9710"`` (all interfaces).

    >>> address("[::1]:9710").host
    '::1'
    """
    if isinstance(value, Address):
        return value
    hint = 'write "HOST:PORT", for example "127.0.0.1:9710"'
    if not isinstance(value, str) or ":" not in value:
        message = f"{value!r} is not an address; {hint}"
        raise ValueError(message)
    host, _, port = value.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        message = f'"{value}": an IPv6 host goes in brackets, for example "[::1]:9710"'
        raise ValueError(message)
    if not port.isascii() or not port.isdigit() or int(port) >= _PORTS:
        message = f'"{port}" in "{value}" is not a port between 0 and {_PORTS - 1}; {hint}'
        raise ValueError(message)
    return Address(host or "0.0.0.0", int(port))  # noqa: S104 - ":PORT" says all interfaces, and config asks for a token
