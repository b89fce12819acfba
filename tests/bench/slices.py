"""Slices where a model fails: ``slices [tables|noise]``; what is planted is found, and nothing else.

``tables``: errors with a chance of 12 %, 40 % in a group of two conditions on adult (3-15 % of 20,000 rows); figures
of the first five slices. ``noise``: errors that nothing explains.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors import simulate
from detectors.slices import columns, search
from detectors.types import Block, FloatArray, Reference
from tests.bench.common import cpu, table
from tests.statistical import data

USUAL, HARD = 0.12, 0.4


def adult() -> tuple[Reference, Block]:
    """All rows of adult."""
    rows = data.shuffled(data.table("adult", "adult.parquet"), np.random.default_rng(0))
    rows = rows.drop_columns([name for name in ("class", "target", "fnlwgt") if name in rows.column_names])
    numeric, codes, labels = [], [], []
    for column in rows.columns:
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            numeric.append(column.to_numpy().astype(np.float64))
        else:
            words = pc.dictionary_encode(column.combine_chunks().cast(pa.string()))
            codes.append(words.indices.fill_null(-1).to_numpy())
            labels.append(words.dictionary.to_pylist())
    block = simulate.block_of(np.stack(numeric, axis=1), np.stack(codes, axis=1))
    return simulate.reference_of(block, dependent=False, labels=labels), block


def planted(fixed: columns.ColumnsFixed, binned: columns.Codes, rng: np.random.Generator) -> columns.Slice:
    """A group of two conditions with 3-15 % of the rows."""
    every = columns.conditions(fixed)
    while True:
        group = tuple(sorted(every[i] for i in rng.choice(len(every), 2, replace=False)))
        if group[0].column != group[1].column and 0.03 < columns.inside(group, binned).mean() < 0.15:
            return group


def precisions(found: tuple[search.Found, ...], group: columns.Slice, binned: columns.Codes) -> FloatArray:
    """Of the rows of each of the first five slices the share in the planted group, and of these the share told."""
    truth = columns.inside(group, binned)
    told = [columns.inside(one.conditions, binned) for one in found[:5]]
    return np.array([((truth & one).sum() / one.sum(), (truth & one).sum() / truth.sum()) for one in told])


def tables() -> None:
    """Planted groups of adult."""
    reference, block = adult()
    fixed = columns.fit(reference.grid, reference.summary)
    binned, rows = columns.codes(fixed, block), []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mine = binned[rng.choice(len(binned), 20_000, replace=False)]
        group = planted(fixed, mine, rng)
        truth = columns.inside(group, mine)
        loss = (rng.random(len(mine)) < np.where(truth, HARD, USUAL)).astype(np.float64)
        found = search.find(fixed, mine, loss, rng).found
        got = precisions(found, group, mine).reshape(-1, 2)
        name = columns.name(fixed, reference.grid, group)
        best = max(got[:, 0], default=0.0)
        first = columns.name(fixed, reference.grid, found[0].conditions) if found else ""
        rows.append(
            (name, f"{truth.mean():.3f}", first, len(found), f"{best:.2f}", f"{max(got[:, 1], default=0.0):.2f}")
        )
    table(
        "Planted groups of adult", ("planted", "share", "first found", "found", "best precision", "best recall"), rows
    )
    spent = cpu(lambda: search.find(fixed, mine, loss, np.random.default_rng(0)), 3)
    table("CPU seconds, 20,000 rows of adult", ("search",), [(f"{spent:.2f}",)])


def noise() -> None:
    """Errors that nothing explains."""
    reference, block = adult()
    fixed = columns.fit(reference.grid, reference.summary)
    binned, told = columns.codes(fixed, block), 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        mine = binned[rng.choice(len(binned), 4_000, replace=False)]
        told += bool(search.find(fixed, mine, (rng.random(4_000) < 0.15).astype(np.float64), rng).found)
    table("Errors that nothing explains, 4,000 rows of adult", ("searches", "with a slice"), [(200, told)])


def run(part: str = "") -> None:
    """Print the tables."""
    if not (data.ROOT / "adult").is_dir():
        print(f"skipped: {data.ROOT}/adult is absent; set DRIFTWARDEN_DATA to the folder that has it")
        return
    parts = {"tables": tables, "noise": noise}
    for name, work in parts.items():
        if part in ("", name):
            work()
