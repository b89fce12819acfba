"""Columns that the configuration names for a role and no row ever brings: misspelt, most likely."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from monitor.schema import Roles

ROWS = 2_000
"""Rows after which a column counts as absent."""


class Absent:
    """Watches for the columns of one model's roles."""

    def __init__(self, roles: Roles, known: Sequence[str]) -> None:
        """``known`` columns are in the reference: whether those come is told elsewhere."""
        self._wanted = {name: key for key, name in roles.named() if name not in known and key != "ignore"}
        self._rows = 0

    def look(self, names: Sequence[str], rows: int) -> list[str]:
        """Sentences, once, about the columns that ``ROWS`` rows did not bring; ``names`` are those of a batch."""
        if not self._wanted:
            return []
        for name in [name for name in self._wanted if name in names]:
            del self._wanted[name]
        self._rows += rows
        if self._rows < ROWS:
            return []
        missing, self._wanted = self._wanted, {}
        return [_sentence(key, name, names, self._rows) for name, key in missing.items()]


def _sentence(key: str, name: str, names: Sequence[str], rows: int) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"?' if near else f"the newest batch has: {', '.join(names[:12])}"
    return f'columns.{key}: no column "{name}" in {rows} rows; {hint}'
