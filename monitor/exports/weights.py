"""Weights with which old rows stand for the traffic of now, for the reference's rows and for the recent ones.

Three numbers a row: ``weight`` for training on the reference alone, ``weight_pooled`` for training on the reference and
the recent rows together, and ``log_ratio``, which both are made of, as it was before it was clipped. What the weights
are worth, and which columns they bring together, stands in the file's metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa

from detectors import weights
from detectors.types import FloatArray, SingleArray
from monitor import artefact
from monitor.decode import Decoded
from monitor.errors import NothingThere
from monitor.exports import table
from monitor.exports.ground import Ground
from monitor.exports.pool import Piece, Pool
from monitor.exports.senders import column, outside
from monitor.passes import decoded
from monitor.standing import Standing

RECENT = 20_000
"""Recent rows that the ratio is learnt from and that means are compared on, at most."""
FEW_ROWS, FEW_SHARE = 100.0, 0.01
"""Weights that are worth fewer rows than this, or than this share of them, are not to be trained with."""
SAME: Final = 0.52
"""Up to this area under the curve nobody tells recent rows from the reference's."""
_COLUMNS_TOLD = 20
_SEED = 0


@dataclass(slots=True)
class _Sums:
    """What the reference's weights add up to."""

    rows: int = 0
    total: float = 0.0
    squares: float = 0.0
    clipped: int = 0

    def add(self, weight: FloatArray, top: float) -> None:
        """Some rows more."""
        self.rows += len(weight)
        self.total += float(weight.sum())
        self.squares += float(np.square(weight).sum())
        self.clipped += int((weight >= top * (1 - 1e-9)).sum())

    @property
    def effective(self) -> float:
        """How many equally weighted rows they are worth (Kish)."""
        return self.total**2 / self.squares if self.squares else 0.0


def write(ground: Ground, out: BinaryIO) -> dict[str, Any]:
    """Weights of all rows of both sides; ids and times beside them, never values: the trainer has the rows."""
    rng = np.random.default_rng(_SEED)
    recent = Pool(RECENT, rng)
    for some in outside(ground):
        blank = np.full(some.block.rows, np.nan)
        recent.add(Piece(ground.places.of(some.block), blank, pa.table({"row": blank})))
    known, now = ground.places.of(ground.trusted.block), _places(recent, ground)
    try:
        ratio = weights.fit(known, now, rng)
    except ValueError as error:
        raise NothingThere(f"weights: {error}; ask for a longer span, or keep more rows (store.keep_bytes)") from None
    sums, rows = _Sums(), _rows(ground)
    share = recent.offered / (recent.offered + rows)
    with table.Writer(out, ground.about) as writer:
        for piece in _weighed(ground, "reference", _reference(ground), ratio, share):
            sums.add(piece[f"{table.PREFIX}weight"].to_numpy(), float(ratio.cap / ratio.level))
            writer.add(piece)
        for piece in _weighed(ground, "recent", outside(ground), ratio, share):
            writer.add(piece)
        writer.facts |= {"reference_rows": sums.rows, "recent_rows": recent.offered, "whole_reference": _whole(ground)}
        writer.facts |= _worth(ratio, sums) | _balance(ground, ratio, known, now)
        return dict(writer.facts)


def verdict(effective: float, rows: int, auc: float) -> str:
    """What to do with the weights, for people."""
    if auc <= SAME:
        return "recent inputs cannot be told from the reference's: the weights are all about 1 and change nothing"
    if effective < max(FEW_ROWS, FEW_SHARE * rows):
        return (
            f"too few old rows are like the recent ones: the weights are worth {effective:,.0f} rows. Do not train "
            "with them; label recent rows instead (`driftwarden export labelling`)"
        )
    return f"old rows can stand for recent ones: the weights are worth {effective:,.0f} of {rows:,} rows"


def _worth(ratio: weights.Ratio, sums: _Sums) -> dict[str, Any]:
    return {
        "effective_rows": round(sums.effective, 1),
        "clipped_at": round(float(ratio.cap / ratio.level), 4),
        "clipped_rows": sums.clipped,
        "auc": round(float(ratio.auc), 4),
        "ridge": float(ratio.ridge),
        "verdict": verdict(sums.effective, sums.rows, float(ratio.auc)),
    }


def _balance(ground: Ground, ratio: weights.Ratio, known: SingleArray, now: SingleArray) -> dict[str, Any]:
    """How far the means are apart, column by column, before and after; of several dimensions of a column the worst."""
    found = weights.balance(known, now, weights.clipped(ratio, weights.log_ratio(ratio, known)))
    worst: dict[str, list[float]] = {}
    for name, before, after in zip(ground.places.names, found.before, found.after, strict=True):
        least = worst.setdefault(name, [0.0, 0.0])
        worst[name] = [max(old, abs(round(float(new), 4))) for old, new in zip(least, (before, after), strict=True)]
    told = sorted(worst.items(), key=lambda one: -max(one[1]))[:_COLUMNS_TOLD]
    return {
        "balance": [{"column": name, "apart": before, "weighted": after} for name, (before, after) in told],
        "most_apart": max((before for before, _ in worst.values()), default=0.0),
        "most_apart_weighted": max((after for _, after in worst.values()), default=0.0),
        "left_out": list(ground.places.left_out),
    }


def _weighed(
    ground: Ground, side: str, pieces: Iterator[Decoded], ratio: weights.Ratio, share: float
) -> Iterator[pa.Table]:
    """Rows with their weights; ids as text, because batches of a log may write them in several ways."""
    number = 0
    for some in pieces:
        n, log = some.block.rows, weights.log_ratio(ratio, ground.places.of(some.block))
        weight = weights.clipped(ratio, log)
        ids = pa.nulls(n, pa.string())
        for labels in column(some.batch, ground.fitted.plan.roles.id):
            ids = pa.array([*labels.values, None], pa.string()).take(pa.array(labels.codes % (len(labels.values) + 1)))
        facts = {
            "side": pa.array([side] * n, pa.string()),
            "row": number + np.arange(n),
            "id": ids,
            "time": np.full(n, np.nan) if some.block.time is None else some.block.time,
            "weight": weight,
            "weight_pooled": weights.pooled(weight, share),
            "log_ratio": log,
        }
        number += n
        yield pa.table({f"{table.PREFIX}{name}": values for name, values in facts.items()})


def _whole(ground: Ground) -> bool:
    """Whether the reference's own rows are at hand, or only its sample."""
    paths, folder = ground.model.reference.paths, ground.config.store.path
    made = len(paths) == 1 and (Path(paths[0]) / artefact.MANIFEST).is_file()
    return bool(paths) and not made and Standing(folder, ground.model).place is None


def _rows(ground: Ground) -> int:
    return ground.fitted.rows if _whole(ground) else ground.fitted.sample.num_rows


def _reference(ground: Ground) -> Iterator[Decoded]:
    """All rows of the reference in their order, as far as they are at hand."""
    if not _whole(ground):
        yield ground.trusted
        return
    from monitor.reader import Tables

    grid = ground.fitted.reference.grid
    width = len(grid.names) + sum(length for _, length in grid.vectors)
    yield from decoded(Tables(ground.model.reference.paths).batches, ground.decoder, width)


def _places(recent: Pool, ground: Ground) -> SingleArray:
    parts = [one.places for one in recent.pieces()]
    return np.concatenate(parts) if parts else np.zeros((0, len(ground.places.names)), np.float32)
