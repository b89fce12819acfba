"""Rows that show a finding, for people: the most telling ones, each beside the nearest trusted rows.

Which rows these are, and their score, is told by `monitor.telling`; here they become cells of a table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from monitor.web.wording import clean, number

TOLD: Final = 10
"""Rows shown of those that tell most."""
LETTERS: Final = 40
"""Letters of a value in a table."""
FEW: Final = 4
"""Entries of a vector that are written out."""
SIDE: Final = 32
"""Pixels of an image's longer side."""
_WITNESS: Final = "witness"
_FACTS: Final = ("row", "rank", "space", "distance", "side", "influence", "reference_row")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """An image in a cell: small enough to be sent as its values, 0 to 255, by rows."""

    width: int
    height: int
    pixels: list[int]

    def __str__(self) -> str:
        """For those who do not see it."""
        return f"image of {self.width} by {self.height}"


Cell = str | Picture


class Image(NamedTuple):
    """The column that holds images, and their shape; "" where there is none."""

    column: str = ""
    shape: tuple[int, ...] = ()


class Watched(NamedTuple):
    """The columns that are watched, and which of them holds images."""

    columns: Sequence[str] = ()
    image: Image = Image()


@dataclass(frozen=True, slots=True)
class Near:
    """A trusted row beside one of the traffic: how near it is, or whether it speaks for the answer."""

    values: tuple[Cell, ...]
    says: str


@dataclass(frozen=True, slots=True)
class Told:
    """A row: its values in the order of the columns, and the trusted rows beside it."""

    values: tuple[Cell, ...]
    score: str
    near: tuple[Near, ...] = ()
    differs: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Telling:
    """Rows that show a finding; the first ``named`` columns are those that it names."""

    columns: tuple[str, ...] = ()
    named: int = 0
    rows: tuple[Told, ...] = ()
    kept: int = 0
    score: str = ""


def telling(
    rows: pa.Table, beside: Mapping[str, pa.Table], names: Sequence[str], watched: Watched, score: str
) -> Telling:
    """Rows for a page: named columns first, then the watched ones, and under each row its nearest trusted rows.

    Columns that nobody watches, such as ids, are shown and not compared.
    """
    given = [name for name in rows.column_names if name != _WITNESS]
    picture = [watched.image.column] if watched.image.column else []
    columns = tuple(dict.fromkeys(name for name in (*names, *picture, *watched.columns, *given) if name in given))
    named = sum(name in names for name in columns)
    compared = [not watched.columns or name in (*names, *picture, *watched.columns) for name in columns]
    values = _speaking(rows.to_pylist())[:TOLD]
    near = _near(beside)
    look = _Look(columns, compared, watched.image)
    told = tuple(_told(row, look, near.get(place, [])) for place, row in enumerate(values))
    return Telling(tuple(clean(name) for name in columns), named, told, rows.num_rows, score)


class _Look(NamedTuple):
    """Which columns are shown, which of them are compared, and which is an image."""

    columns: Sequence[str]
    compared: Sequence[bool]
    image: Image

    def cells(self, row: Row) -> tuple[Cell, ...]:
        """A row's values."""
        return tuple(
            _cell(row.get(name), self.image.shape if name == self.image.column else ()) for name in self.columns
        )


def _speaking(rows: list[Row]) -> list[Row]:
    """Rows whose score speaks for the finding; all of them where none has a score that does."""
    return [row for row in rows if (row.get(_WITNESS) or 0.0) > 0] or rows


def _told(row: Row, look: _Look, near: Sequence[tuple[Row, str]]) -> Told:
    values = look.cells(row)
    beside = tuple(Near(look.cells(other), says) for other, says in near)
    differs = tuple(
        looked and any(one.values[place] != value for one in beside)
        for place, (value, looked) in enumerate(zip(values, look.compared, strict=True))
    )
    witness = row.get(_WITNESS)
    return Told(values, number(witness, 3) if witness is not None else "", beside, differs)


def _near(beside: Mapping[str, pa.Table]) -> dict[int, list[tuple[Row, str]]]:
    """Trusted rows by the row that they lie beside."""
    found: dict[int, list[tuple[Row, str]]] = {}
    for name in ("neighbours", "influence"):
        for one in beside[name].to_pylist() if name in beside else ():
            own = {key.removesuffix(" (reference)"): value for key, value in one.items() if key not in _FACTS}
            found.setdefault(one["row"], []).append((own, _says(name, one)))
    return found


def _says(table: str, one: Row) -> str:
    if table == "neighbours":
        return f"trusted row, {number(one['distance'], 3)} away ({clean(one['space'])})"
    return f"trusted row that {one['side']} the answer ({number(one['influence'], 3)})"


def _cell(value: Any, shape: tuple[int, ...]) -> Cell:
    """A value, or the image that it is."""
    if shape and isinstance(value, list) and len(value) == math.prod(shape):
        return _picture(np.asarray(value, np.float64).reshape(shape[0], shape[1], -1))
    return _value(value)


def _picture(image: np.ndarray) -> Picture:
    """An image of at most `SIDE` a side; its values are stretched to 0 to 255 where they are not those."""
    step = -(-max(image.shape[:2]) // SIDE)
    small = np.nan_to_num(image[::step, ::step])
    small = small if small.shape[2] == 3 else small[:, :, :1]
    low, high = float(small.min()), float(small.max())
    if low < 0 or high <= 1.5 or high > 255:
        low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
        small = (small - low) / max(high - low, 1e-12) * 255
    return Picture(small.shape[1], small.shape[0], [round(one) for one in small.reshape(-1).tolist()])


def _value(value: Any) -> str:
    """A value in a cell of a table."""
    if value is None:
        return "missing"
    if isinstance(value, float):
        return number(value, 5) if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, list) and len(value) > FEW:
        return _vector(value)
    if isinstance(value, list | dict):
        return clean(json.dumps(value, default=str), LETTERS)
    return clean(value, LETTERS)


def _vector(values: list[Any]) -> str:
    """Many numbers in a cell: how many, and where the largest is."""
    numbers = [one for one in values if isinstance(one, int | float) and math.isfinite(one)]
    if len(numbers) != len(values):
        return f"{len(values)} entries"
    return f"{len(values)} numbers, largest {number(max(numbers), 3)} (no. {numbers.index(max(numbers)) + 1})"
