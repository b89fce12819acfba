"""What a trainer leaves out: the senders and the rows in quarantine, or those that one finding names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from detectors.rows.layout import DigestArray
from detectors.types import IntArray
from monitor.decode import Decoded
from monitor.exports import table
from monitor.exports.ground import Ground
from monitor.exports.senders import Held, Sieve, column, named, quarantined, senders
from monitor.telling import faults


@dataclass(slots=True)
class _Seen:
    """What the kept rows show of one sender."""

    name: str | None = None
    rows: int = 0
    first: float = float("nan")
    last: float = float("nan")


def write_clients(ground: Ground, out: BinaryIO) -> dict[str, Any]:
    """One line a sender; names only for those who may see them, as far as kept rows still show them."""
    left_out = _held(ground)
    seen = {who: _Seen() for who in left_out.clients}
    for some in ground.rows() if seen else ():
        _count(ground, some, seen)
    lines = [
        {"client": f"{who:016x}", "name": one.name, "rows": one.rows, "first_seen": one.first, "last_seen": one.last}
        | dict(left_out.clients[who])
        for who, one in seen.items()
    ]
    facts = {"clients": len(lines), "rows": sum(one.rows for one in seen.values())}
    told = [{f"{table.PREFIX}{name}": value for name, value in line.items()} for line in lines]
    table.write(pa.Table.from_pylist(told, schema=_schema(names=ground.asked.names)), ground.about | facts, out)
    return facts


def write_rows(ground: Ground, out: BinaryIO) -> dict[str, Any]:
    """Kept rows to leave out: ids and times, whose they are, why; the newest ones where there are more than asked.

    Of a finding about a fault of the data these are the rows since it began that have the fault, in whatever stream.
    """
    left_out, parts = _held(ground), []
    sieve = Sieve(ground, left_out)
    for some in ground.rows() if left_out else ():
        mark, who = sieve.marked(some.batch)
        mark |= faults(ground.fitted.reference.grid, some.block, left_out.faults) > 0
        if mark.any():
            parts.append(_blamed(ground, left_out, some.batch, np.flatnonzero(mark), who[mark]))
    whole = table.joined(
        parts or [_blamed(ground, left_out, ground.none, np.zeros(0, np.int64), np.zeros(0, np.uint64))]
    )
    facts = {"rows": min(whole.num_rows, ground.asked.rows), "found": whole.num_rows, "listed": len(left_out.rows)}
    table.write(whole.slice(max(whole.num_rows - ground.asked.rows, 0)), ground.about | facts, out)
    return facts


def _held(ground: Ground) -> Held:
    return quarantined(ground) if ground.finding is None else named(ground)


def _blamed(ground: Ground, left_out: Held, batch: pa.RecordBatch, rows: IntArray, who: DigestArray) -> pa.Table:
    """Rows with the sender to blame, or the list that their id is on."""
    some = batch.take(pa.array(rows))
    ids = [""] * len(rows)
    for labels in column(some, ground.fitted.plan.roles.id):
        ids = [labels.values[code] if code >= 0 else "" for code in labels.codes.tolist()]
    lists, rest = (left_out.clients, left_out.rows), left_out.finding
    why = [lists[0].get(one) or lists[1].get(row, rest) for one, row in zip(who.tolist(), ids, strict=True)]
    facts = {
        "client": pa.array([f"{one:016x}" if one else None for one in who.tolist()], pa.string()),
        "finding": pa.array([one.get("finding") or None for one in why], pa.string()),
        "because": pa.array([one.get("because") for one in why], pa.string()),
    }
    return table.beside(facts, ground.shown(some))


def _count(ground: Ground, some: Decoded, seen: dict[int, _Seen]) -> None:
    """Add some rows to what is known of the senders."""
    times = some.block.time if some.block.time is not None else np.full(some.block.rows, np.nan)
    for labels in senders(ground, some.batch):
        for code, name in enumerate(labels.values):
            one = seen.get(ground.pseudonyms.of_name(name)) if name else None
            if one is not None:
                mine = times[labels.codes == code]
                one.name, one.rows = name, one.rows + len(mine)
                one.first = float(np.fmin.reduce(mine, initial=one.first))
                one.last = float(np.fmax.reduce(mine, initial=one.last))


def _schema(*, names: bool) -> pa.Schema:
    numbers = {"rows": pa.int64(), "first_seen": pa.float64(), "last_seen": pa.float64(), "time": pa.float64()}
    shown = ("client", *(("name",) if names else ()), *numbers, "finding", "because", "by")
    return pa.schema([(f"{table.PREFIX}{name}", numbers.get(name, pa.string())) for name in shown])
