"""What the labels of drawn rows say of all: reads the file of `drawing` again, once its labels are filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from detectors.performance.types import Figure
from detectors.slices import sampling
from detectors.types import FloatArray
from monitor.decode import labels_of
from monitor.errors import ConfigError
from monitor.exports.table import PREFIX
from monitor.outcomes.truths import class_of, numbers

LABEL: Final = f"{PREFIX}label"
ANSWER: Final = f"{PREFIX}answer"
_DESIGN: Final = ("probability", "stratum", "stratum_rows", "stratum_drawn")
_MOST_PARTS: Final = 100


def estimated(path: Path, label: str = LABEL, answer: str = ANSWER, by: str | None = None) -> dict[str, Any]:
    """The mean loss of all rows that could have been drawn, and of parts of them; `ConfigError` with the fix."""
    rows = _read(path, [label, answer, *([] if by is None else [by])])
    drawn, loss = _drawn(rows), _losses(rows, label, answer)
    whole = sampling.estimate(drawn, loss)
    document: dict[str, Any] = {
        "rows": int(drawn.sizes.sum()),
        "drawn": int(drawn.taken.sum()),
        "labelled": int(np.isfinite(loss).sum()),
        "loss_is": "error" if _classes(rows, answer) else "absolute error",
        "unbiased": _said(whole.horvitz_thompson),
        "ratio": _said(whole.hajek),
    }
    if by is None:
        return document
    parts = labels_of(_column(rows, by))
    known = [int(code) for code in np.unique(parts.codes) if code >= 0][:_MOST_PARTS]
    some = {parts.values[code]: sampling.estimate(drawn, loss, parts.codes == code).hajek for code in known}
    return document | {"by": {name: _said(one) for name, one in some.items()}}


def _read(path: Path, wanted: list[str]) -> pa.Table:
    try:
        rows = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError([f"{path}: cannot be read as Parquet: {type(error).__name__}"]) from error
    needed = [*(f"{PREFIX}{name}" for name in _DESIGN), *wanted]
    if lacking := [name for name in needed if name not in rows.schema.names]:
        hint = "keep all columns of `driftwarden export drawn`, and name yours with --label, --answer and --by"
        raise ConfigError([f"{path}: there is no column {', '.join(lacking)}; {hint}"])
    return rows


def _drawn(rows: pa.Table) -> sampling.Draw:
    """The plan by which the rows were drawn; rows that are gone since are drawn ones without a label."""
    given = [rows[f"{PREFIX}{name}"].combine_chunks() for name in _DESIGN]
    if any(one.null_count for one in given):
        raise ConfigError([f"columns {PREFIX}probability and {PREFIX}stratum...: a value is missing; keep them all"])
    probability, stratum, sizes, taken = (one.to_numpy(zero_copy_only=False) for one in given)
    known, first, who = np.unique(stratum, return_index=True, return_inverse=True)
    counts = np.bincount(who, minlength=len(known))
    plan = np.stack([sizes, taken], axis=1)
    if (
        (plan != plan[first][who]).any()
        or (counts > taken[first]).any()
        or not ((probability > 0) & (probability <= 1)).all()
    ):
        raise ConfigError(
            [f"the rows are not those that were drawn: use one file, each row once, {PREFIX}... as it was"]
        )
    return sampling.Draw(np.arange(len(who)), probability, who, sizes[first], taken[first])


def _losses(rows: pa.Table, label: str, answer: str) -> FloatArray:
    """Loss of each row ``(n,)``, NaN without a label."""
    if not _classes(rows, answer):
        return np.abs(numbers(_column(rows, answer)).values - numbers(_column(rows, label)).values)
    said, truth = (labels_of(_column(rows, name)) for name in (answer, label))
    codes = {name: code for code, name in enumerate(dict.fromkeys(said.values))}
    answers = np.array([*(float(codes[name]) for name in said.values), np.nan])[said.codes]
    classes = np.array([*(class_of(name, codes) for name in truth.values), np.nan])
    blank = np.array([*(name.strip().lower() in ("", "nan") for name in truth.values), True])
    known = ~np.isnan(answers) & ~blank[truth.codes]
    return np.where(known, classes[truth.codes] != answers, np.nan)


def _classes(rows: pa.Table, answer: str) -> bool:
    """Whether answers are classes; fractions are those of a regression."""
    return not pa.types.is_floating(rows.schema.field(answer).type)


def _column(rows: pa.Table, name: str) -> pa.Array:
    return rows.column(rows.schema.names.index(name)).combine_chunks()


def _said(one: Figure) -> dict[str, Any]:
    if one.reason:
        return {"value": None, "why": one.reason}
    return {"value": one.value, "low": one.low, "high": one.high, "error": one.error, "labels": one.n}
