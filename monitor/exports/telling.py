"""The rows kept with a finding: those that show it, the stream's own since it began, and the trusted ones nearest."""

from __future__ import annotations

from typing import Any, BinaryIO, Final

import pyarrow as pa

from monitor.errors import ConfigError
from monitor.evidence import unpack_evidence
from monitor.exports import table
from monitor.exports.ground import Ground

PARTS: Final = {
    "window": "show the finding, with their score, most of all first",
    "rows": "of the stream since it began",
    "reference": "of the reference, least like the window",
    "neighbours": "of the reference, nearest to telling rows",
    "influence": "of the reference, speak for or against answers",
}
"""Tables of `monitor.evidence` in the order in which they are written, and what their rows are."""
_NONE: Final = "none of the rows that were kept came after the finding began, or shows it"
_OURS = {"window": slice(-1, None), "reference": slice(-1, None), "neighbours": slice(5), "influence": slice(5)}
"""Where the columns stand that are no values of the log; names would not do, for a log's may be the same."""


def write(ground: Ground, out: BinaryIO) -> dict[str, Any]:
    """All of them in one table; the first column says which they are."""
    if ground.finding is None:
        raise ConfigError(["finding: is missing; name the one whose rows are wanted"])
    found = unpack_evidence(ground.finding.evidence)
    parts = [_shown(ground, name, found[name]) for name in PARTS if name in found and found[name].num_rows]
    whole = table.joined(parts or [table.beside({"part": pa.array([], pa.string())}, ground.shown(ground.none))])
    facts = {"rows": whole.num_rows, "parts": {name: what for name, what in PARTS.items() if name in found}}
    if not any(name in found and found[name].num_rows for name in ("window", "rows")):
        facts["note"] = _NONE
    table.write(whole, ground.about | facts, out)
    return facts


def _shown(ground: Ground, name: str, rows: pa.Table) -> pa.Table:
    """One of the tables, with the name of its part; without values for those who may not see them."""
    batch = rows.combine_chunks().to_batches()[0]
    places = list(range(batch.num_columns))
    ours = places[_OURS[name]] if name in _OURS else []
    facts = {"part": pa.array([name] * rows.num_rows, pa.string())}
    facts |= {batch.schema.names[at]: batch.column(at) for at in ours}
    theirs = batch.select([at for at in places if at not in ours])
    return table.beside(facts, theirs if ground.asked.values else ground.shown(theirs))
