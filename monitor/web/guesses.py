"""How often one may ask: token buckets, one for all requests and one for each address that guesses passwords."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

GUESSES = 10
"""Wrong answers that an address may give at once."""
GUESS_SECONDS = 6.0
"""Every so often it may give one more."""
ADDRESSES = 4096
"""Addresses remembered at most; the one longest unseen goes first."""


class Bucket:
    """Holds up to ``burst`` tokens, one more every ``interval`` seconds."""

    def __init__(self, burst: int, interval: float, now: float) -> None:
        """Begin full."""
        self._burst, self._interval = burst, interval
        self._held, self._time = float(burst), now

    def take(self, now: float) -> float:
        """Take a token and give 0, or the seconds until there is one."""
        self._held = min(self._burst, self._held + (now - self._time) / self._interval)
        self._time = now
        if self._held < 1:
            return (1 - self._held) * self._interval
        self._held -= 1
        return 0.0

    def give_back(self) -> None:
        """A token was taken for nothing."""
        self._held = min(self._burst, self._held + 1)


class Guesses:
    """A bucket for each address; IPv6 by its network of 64 bits, which one machine may own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody has guessed yet."""
        self._clock = clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, address: str) -> float:
        """Begin a guess: 0, or the seconds to wait."""
        now, key = self._clock(), _network(address)
        bucket = self._buckets.pop(key, None) or Bucket(GUESSES, GUESS_SECONDS, now)
        self._buckets[key] = bucket
        if len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)
        return bucket.take(now)

    def right(self, address: str) -> None:
        """It was none: the answer was right."""
        bucket = self._buckets.get(_network(address))
        if bucket is not None:
            bucket.give_back()


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
