"""A lane that is fed without an agent: hundreds of models in a minute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from monitor.config import Model
from monitor.decode import Decoder
from monitor.fitted import Fitted
from monitor.loading import measure_batches
from monitor.outcomes.beside import Beside
from monitor.outcomes.failing import Failing
from monitor.outcomes.lane import Lane, lane_of
from tests.monitor.lane_bench import COLUMNS, NOW, labels, silent

QUARTER = 900.0
"""Length of a cohort if rows are kept for a day."""
KEY = b"one and the same key for all...."
"""In the place of a random one, so that samples are in the same order in every run."""
_BATCH = 2_000


def quarter_of(number: int) -> float:
    """When a quarter of an hour begins."""
    return NOW + QUARTER * number


def model(reference: pa.Table, **changes: Any) -> Model:
    """Columns that a lane needs, by the names of `lane_bench`."""
    columns: dict[str, Any] = {key: name for key, name in COLUMNS.items() if name in reference.column_names}
    columns |= changes.pop("columns", {})
    section = {"name": "m", "reference": "unused", "columns": columns, "pane": {"rows": 500}}
    return Model.model_validate(section | {"labels": {"rows": 50_000, "hours": 24.0}} | changes)


class Alone:
    """Models of one reference."""

    def __init__(self, folder: Path, reference: pa.Table, **changes: Any) -> None:
        """Measure the reference once."""
        self.model = model(reference, **changes)
        self.fitted: Fitted = measure_batches(reference.combine_chunks().to_batches(), self.model)
        self._decoder = Decoder(self.fitted.plan, self.fitted.reference.grid, self.fitted.vocabularies)
        self._folder, self._made = folder, 0

    def after(self, quarters: Sequence[pa.Table]) -> Failing:
        """What looks for failures, after quarters of an hour with these rows, all of them labelled."""
        self._made += 1
        place, beside = self._folder / str(self._made), Beside("m")
        place.mkdir()
        lane = lane_of(self.model, self.fitted, place, None, 1.0, beside)
        assert lane is not None
        assert lane.failing is not None
        lane.restore({})
        for number, rows in enumerate(quarters):
            self._feed(lane, quarter_of(number), rows)
            assert beside.wait(300)
        lane.close()
        beside.close()
        return lane.failing

    def found(self, *quarters: pa.Table) -> list[dict[str, Any]]:
        """The groups that are told then."""
        document = self.after(quarters).document
        assert document is not None
        told: list[dict[str, Any]] = document["slices"]
        return told

    def _feed(self, lane: Lane, start: float, rows: pa.Table) -> None:
        for one in silent(rows).combine_chunks().to_batches(max_chunksize=_BATCH):
            lane.fed(self._decoder.decode(one), start + 60, "")
        for one in labels(rows).combine_chunks().to_batches(max_chunksize=_BATCH):
            lane.labelled(one, start + 300)
        nobody = labels(rows.slice(0, 1)).set_column(0, "id", pa.array(["nobody"]))
        for one in nobody.combine_chunks().to_batches():
            lane.labelled(one, start + QUARTER + 10)
