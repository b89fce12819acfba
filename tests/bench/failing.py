"""Consistent failures in real rows through the agent's own lane: ``failing [adult|noise|digits|chance]``.

The same groups are planted as in ``slices``, in 20,000 rows of adult (``adult``; ``noise``: none, 4,000 rows) and in
digits of mnist_shift (``digits``; ``chance``: none); rows come in batches, their labels five minutes later.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from detectors.slices import columns, directions, separator
from detectors.slices.columns import Condition
from detectors.types import FloatArray, IntArray
from monitor.decode import Decoder
from monitor.outcomes.bins import Bins
from tests.bench import slices
from tests.bench.common import cpu, table
from tests.monitor.failing_bench import Alone
from tests.monitor.lane_bench import NOW
from tests.statistical import data

_KNOWN = 12_000
"""Rows of the reference."""


def logged(rows: pa.Table, truth: IntArray, wrong: FloatArray, classes: int) -> pa.Table:
    """Rows as a log: ids, a time, answers and labels."""
    said = np.where(wrong > 0, (truth + 1) % classes, truth)
    made = {"id": [f"r{i}" for i in range(len(truth))], "ts": np.full(len(truth), NOW)}
    made |= {"said": [f"c{one}" for one in said], "truth": [f"c{one}" for one in truth]}
    for name, column in made.items():
        rows = rows.append_column(name, pa.array(column))
    return rows


class Adult:
    """Rows of adult, a reference with even errors, and the bins of both."""

    def __init__(self, folder: Path) -> None:
        """Measure the reference."""
        rows = data.shuffled(data.table("adult", "adult.parquet"), np.random.default_rng(0))
        names = [name for name in ("class", "target", "fnlwgt") if name in rows.column_names]
        self._rows = rows.drop_columns(names)
        self._rng = np.random.default_rng(1)
        wrong = self._even(_KNOWN)
        self.alone = Alone(folder, logged(self._rows.slice(0, _KNOWN), self._truth(_KNOWN), wrong, 2))
        self.bins = Bins(self.alone.fitted)
        fitted = self.alone.fitted
        self._decoder = Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies)

    def searched(self, n: int, *, hard: bool) -> tuple[list[dict[str, Any]], FloatArray]:
        """The groups told for n rows, and precision and recall of the first five."""
        start = _KNOWN + int(self._rng.integers(self._rows.num_rows - _KNOWN - n + 1))
        rows, truth = self._rows.slice(start, n), self._truth(n)
        plain = logged(rows, truth, np.zeros(n), 2)
        codes = self.bins.codes(self._decoder.decode(plain.combine_chunks().to_batches()[0]).block)
        group = slices.planted(self.bins.fixed, codes, self._rng)
        mine = columns.inside(group, codes)
        wrong = (self._rng.random(n) < np.where(mine, slices.HARD, slices.USUAL)) if hard else self._even(n)
        failing = self.alone.after([logged(rows, truth, np.asarray(wrong, np.float64), 2)])
        followed = [tuple(Condition(*each) for each in one["conditions"]) for one in failing._result.followed[:5]]
        told = [columns.inside(one, codes) for one in followed]
        got = [((mine & one).sum() / one.sum(), (mine & one).sum() / mine.sum()) for one in told]
        document = failing.document
        return ([] if document is None else document["slices"]), np.array(got).reshape(-1, 2)

    def _even(self, n: int) -> FloatArray:
        return (self._rng.random(n) < slices.USUAL).astype(np.float64)

    def _truth(self, n: int) -> IntArray:
        return self._rng.integers(0, 2, n)


class Digits:
    """Digits as thumbnails, the first of them with even errors as a reference."""

    def __init__(self, folder: Path) -> None:
        """Measure the reference."""
        self.images, self.y = slices.digits_of()
        self._rng = np.random.default_rng(1)
        self.alone = Alone(folder, self._log(slice(0, 4_000), self.images, self._even(4_000)), **self._settings)

    def found(self, images: FloatArray, wrong: FloatArray) -> tuple[dict[str, Any], Any]:
        """What is told of directions in the other rows."""
        failing = self.alone.after([self._log(slice(4_000, None), images, wrong)])
        document = failing.document
        assert document is not None
        return document["directions"], failing

    def planted(self, how: str, label: int) -> tuple[list[str], float, float]:
        """Classes with a direction, AUROC of the planted rows along it, and their share of the hardest ten."""
        n = len(self.y) - 4_000
        hard = (self.y[4_000:] == label) & (self._rng.random(n) < 0.2)
        shown = self.images.copy()
        shown[4_000:][hard] = slices._changed(self.images[4_000:][hard], how, self._rng)
        wrong = (self._rng.random(n) < np.where(hard, 0.5, 0.05)).astype(np.float64)
        told, failing = self.found(shown, wrong)
        mine = next((one for one in told["classes"] if one["class"] == f"c{label}"), None)
        if mine is None:
            return [one["class"] for one in told["classes"]], float("nan"), float("nan")
        planted = {f"r{i}" for i in np.flatnonzero(hard)}
        share = float(np.mean([row["id"] in planted for row in mine["hard_rows"]]))
        return [one["class"] for one in told["classes"]], self._area(failing, shown, hard, label), share

    def even(self) -> list[str]:
        """Classes with a direction where nothing explains the errors."""
        told, _ = self.found(self.images, self._even(len(self.y) - 4_000))
        return [one["class"] for one in told["classes"]]

    @property
    def _settings(self) -> dict[str, Any]:
        return {"columns": {"embeddings": ["z"]}, "joint": {"enabled": False}}

    def _area(self, failing: Any, shown: FloatArray, hard: Any, label: int) -> float:
        """AUROC of planted rows that did not teach the direction: every second row is set apart."""
        code = failing._answers.codes[f"c{label}"]
        z, y = slices.thumbnails(shown)[4_000:], self.y[4_000:]
        _, rows = failing._vectors.of(failing._vectors.cohorts)
        numbers = np.array([int(bytes(one)[1:]) for one in rows["id"]])
        known = np.isin(np.arange(len(y)), numbers[::2])
        wrong = np.zeros(len(y), bool)
        wrong[numbers] = rows["prediction"] != rows["truth"]
        codes = np.array([failing._answers.codes[f"c{one}"] for one in range(10)])[y]
        fixed = directions.fit(z[known], codes[known], wrong[known], np.random.default_rng(0))
        if code not in fixed.classes:
            return float("nan")
        mine = ~known & (y == label)
        found = directions.values(fixed, z[mine])[:, fixed.classes.tolist().index(code)]
        return separator.auroc(-found, hard[mine].astype(np.float64))

    def _even(self, n: int) -> FloatArray:
        return (self._rng.random(n) < 0.1).astype(np.float64)

    def _log(self, which: slice, images: FloatArray, wrong: FloatArray) -> pa.Table:
        z, y = slices.thumbnails(images)[which].astype(np.float32), self.y[which]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(z.ravel()), z.shape[1])
        return logged(pa.table({"z": vectors}), y, wrong, 10)


def adult(folder: Path) -> None:
    """Planted groups of adult."""
    one, rows = Adult(folder), []
    for seed in range(20):
        found, got = one.searched(20_000, hard=True)
        best, most = (f"{max(part, default=0.0):.2f}" for part in got.T)
        rows.append((seed, len(found), "; ".join(each["name"] for each in found[:1]), best, most))
    table("Groups of adult by late labels", ("seed", "told", "first", "best precision of five", "best recall"), rows)
    spent = cpu(lambda: one.searched(20_000, hard=True), 3)
    table("CPU seconds, 20,000 rows through the lane, reference and search", ("all",), [(f"{spent:.2f}",)])


def noise(folder: Path) -> None:
    """Errors that nothing explains."""
    one = Adult(folder)
    told = sum(bool(one.searched(4_000, hard=False)[0]) for _ in range(200))
    table("Errors that nothing explains, 4,000 rows of adult by late labels", ("models", "with a group"), [(200, told)])


def digits(folder: Path) -> None:
    """Planted groups of digits."""
    one, rows = Digits(folder), []
    for how in ("dark", "moved", "noisy"):
        for label in range(10):
            classes, area, share = one.planted(how, label)
            rows.append((how, label, " ".join(classes), f"{area:.3f}", f"{share:.2f}"))
    headings = ("change", "class", "directions told", "AUROC of the group", "planted among the hardest ten")
    table("Groups of digits by late labels", headings, rows)


def chance(folder: Path) -> None:
    """Errors of digits that nothing explains."""
    one = Digits(folder)
    told = sum(bool(one.even()) for _ in range(100))
    table("Errors of digits that nothing explains, by late labels", ("models", "with a direction"), [(100, told)])


def run(part: str = "") -> None:
    """Print the tables."""
    if not (data.ROOT / "adult").is_dir():
        print(f"skipped: {data.ROOT}/adult is absent; set DRIFTWARDEN_DATA to the folder that has it")
        return
    parts: dict[str, Callable[[Path], None]] = {"adult": adult, "noise": noise, "digits": digits, "chance": chance}
    for name, work in parts.items():
        if part in ("", name):
            with tempfile.TemporaryDirectory() as folder:
                work(Path(folder))
