"""What a single delivery may be at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that are checked before anything is allocated for what a sender claims."""

    body_bytes: int = 64 << 20
    batch_rows: int = 1_000_000
    columns: int = 4096
    string_bytes: int = 1 << 16
