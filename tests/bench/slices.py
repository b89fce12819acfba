"""Consistent failures, planted and none: ``slices [tables|worse|noise|digits|chance|labels]``.

``tables``: errors with a chance of 12 %, 40 % in a group of two conditions on adult (3-15 % of 20,000 rows); figures
of the first five slices. ``worse``: errors with 8 %, 30 % in one such group, before; now 15 points more in another.
``digits``: a fifth of one class of mnist_shift darkened, moved or noisy, and wrong in half of its answers, 5 %
elsewhere; directions on thumbnails of 14 x 14, by rows that they have not seen. ``noise`` and ``chance``: the same with
errors that nothing explains. ``labels``: how far from the truth estimates are by labels drawn by plan, and evenly.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors import simulate
from detectors.slices import columns, compare, directions, predicted, sampling, search, separator, worse
from detectors.types import Block, FloatArray, IntArray, Reference
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


def searched(
    fixed: columns.ColumnsFixed, binned: columns.Codes, seed: int
) -> tuple[columns.Slice, columns.Codes, FloatArray, tuple[search.Found, ...]]:
    """A planted group in 20,000 of the rows, these, their losses, and the slices found."""
    rng = np.random.default_rng(seed)
    mine = binned[rng.choice(len(binned), 20_000, replace=False)]
    group = planted(fixed, mine, rng)
    loss = (rng.random(len(mine)) < np.where(columns.inside(group, mine), HARD, USUAL)).astype(np.float64)
    return group, mine, loss, search.find(fixed, mine, loss, rng).found


def tables() -> None:
    """Planted groups of adult."""
    reference, block = adult()
    fixed = columns.fit(reference.grid, reference.summary)
    binned, rows = columns.codes(fixed, block), []
    for seed in range(20):
        group, mine, loss, found = searched(fixed, binned, seed)
        got = precisions(found, group, mine).reshape(-1, 2)
        best, most = (f"{max(part, default=0.0):.2f}" for part in got.T)
        names = [columns.name(fixed, reference.grid, one) for one in (group, *(each.conditions for each in found[:1]))]
        share = columns.inside(group, mine).mean()
        rows.append((names[0], f"{share:.3f}", "".join(names[1:]), len(found), best, most))
    table(
        "Planted groups of adult", ("planted", "share", "first found", "found", "best precision", "best recall"), rows
    )
    spent = cpu(lambda: search.find(fixed, mine, loss, np.random.default_rng(0)), 3)
    table("CPU seconds, 20,000 rows of adult", ("search",), [(f"{spent:.2f}",)])


def worsened() -> None:
    """Groups of adult that are worse than before, and none."""
    reference, block = adult()
    fixed = columns.fit(reference.grid, reference.summary)
    binned, found, told = columns.codes(fixed, block), [], 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        order, group, other = rng.permutation(len(binned)), planted(fixed, binned, rng), planted(fixed, binned, rng)
        usual = np.where(columns.inside(other, binned), 0.3, 0.08)
        more = 0.15 * columns.inside(group, binned) * (seed < 20)
        loss = (rng.random(len(binned)) < usual + more).astype(np.float64)
        before = (rng.random(len(binned)) < usual).astype(np.float64)
        old = compare.fit(binned[order[:20_000]], before[order[:20_000]], rng)
        now = order[20_000:40_000]
        got = worse.worsened(fixed, binned[now], loss[now], old, rng)
        if seed >= 20:
            told += bool(got)
            continue
        truth = columns.inside(group, binned)
        inside = [columns.inside(one.conditions, binned) for one in got]
        best = max(((truth & one).sum() / one.sum() for one in inside), default=0.0)
        found.append((columns.name(fixed, reference.grid, group), len(got), f"{best:.2f}"))
    table("Groups of adult that became worse", ("planted", "found", "best precision"), found)
    table("No group became worse", ("windows", "with a group"), [(100, told)])
    spent = cpu(lambda: worse.worsened(fixed, binned[now], loss[now], old, np.random.default_rng(0)), 3)
    table("CPU seconds, 2 x 20,000 rows of adult", ("search",), [(f"{spent:.2f}",)])


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


def digits_of() -> tuple[FloatArray, IntArray]:
    """Images of mnist_shift and their classes."""
    with np.load(data.ROOT / "mnist_shift" / "mnist_t10k.npz") as rows:
        return rows["images"] / 255, rows["labels"].astype(np.int64)


def thumbnails(images: FloatArray) -> FloatArray:
    """Images of 14 x 14 as rows: an embedding that no model has learnt."""
    small: FloatArray = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(len(images), -1)
    return small


def _changed(images: FloatArray, how: str, rng: np.random.Generator) -> FloatArray:
    if how == "dark":
        return images * 0.35
    if how == "moved":
        return np.roll(images, 3, axis=2)
    return np.clip(images + 0.3 * rng.standard_normal(images.shape), 0, 1)


def failing(images: FloatArray, y: IntArray, how: str, label: int) -> tuple[directions.DirectionsFixed, float]:
    """Directions measured on 60 % of the digits, and the AUROC of the planted group among the others; NaN: not told."""
    rng = np.random.default_rng(label)
    hard = (y == label) & (rng.random(len(y)) < 0.2)
    shown = images.copy()
    shown[hard] = _changed(images[hard], how, rng)
    z, wrong = thumbnails(shown), rng.random(len(y)) < np.where(hard, 0.5, 0.05)
    old = rng.random(len(y)) < 0.6
    fixed = directions.fit(z[old], y[old], wrong[old], rng)
    told = fixed.classes.tolist()
    if label not in told:
        return fixed, float("nan")
    mine = ~old & (y == label)
    found = directions.values(fixed, z[mine])[:, told.index(label)]
    return fixed, separator.auroc(-found, hard[mine].astype(np.float64))


def digits() -> None:
    """Planted groups of digits."""
    images, y = digits_of()
    rows: list[tuple[object, ...]] = []
    for how in ("dark", "moved", "noisy"):
        for label in range(10):
            fixed, area = failing(images, y, how, label)
            balanced = float(fixed.balanced[fixed.tested == label].max(initial=0.0))
            others = int((fixed.classes != label).sum())
            rows.append((how, label, label in fixed.classes, others, f"{balanced:.2f}", f"{area:.3f}"))
    headings = ("change", "class", "direction", "of other classes", "balanced accuracy", "AUROC of the group")
    table("Planted groups of digits", headings, rows)
    z, wrong = thumbnails(images)[:6_000], np.random.default_rng(0).random(6_000) < 0.1
    spent = cpu(lambda: directions.fit(z, y[:6_000], wrong, np.random.default_rng(0)), 3)
    table("CPU seconds, 6,000 digits of 196 dimensions, 10 classes", ("fit",), [(f"{spent:.2f}",)])


def chance() -> None:
    """Errors of digits that nothing explains."""
    images, y = digits_of()
    z, told = thumbnails(images)[:5000], 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        told += bool(len(directions.fit(z, y[:5000], rng.random(5000) < 0.1, rng).classes))
    table("Errors that nothing explains, 5,000 digits", ("references", "with a direction"), [(200, told)])


def labels() -> None:
    """Labels drawn by plan and evenly, beside the truth of 20,000 rows of adult."""
    reference, block = adult()
    fixed = columns.fit(reference.grid, reference.summary)
    binned, rng = columns.codes(fixed, block), np.random.default_rng(0)
    group = planted(fixed, binned, rng)
    truth = np.where(columns.inside(group, binned), HARD, USUAL / 2)
    loss = (rng.random(len(binned)) < truth).astype(np.float64)
    seen = binned.astype(np.float32)
    learnt = predicted.fit(seen[:20_000], np.full(seen.shape[1], -1), loss[:20_000], rng)
    new, said = loss[20_000:40_000], predicted.chance(learnt, seen[20_000:40_000])
    rows: list[tuple[object, ...]] = []
    for number in (100, 300, 1_000):
        for name, wrong, apart in (("plan", said.wrong, said.apart), ("even", 0 * said.wrong, 0 * said.apart)):
            off, inside = [], 0
            for _ in range(200):
                drawn = sampling.draw(wrong, apart, number, rng)
                one = sampling.estimate(drawn, new[drawn.rows]).hajek
                off.append(one.value - new.mean())
                inside += one.low <= new.mean() <= one.high
            rows.append((number, name, f"{np.mean(off):+.4f}", f"{np.std(off):.4f}", f"{inside / 200:.2f}"))
    title = f"Labels drawn, mean loss {new.mean():.3f}, AUROC of predicted errors {float(learnt.auroc):.2f}"
    table(title, ("labels", "drawn", "bias", "deviation", "within the interval"), rows)


def run(part: str = "") -> None:
    """Print the tables."""
    if not (data.ROOT / "adult").is_dir():
        print(f"skipped: {data.ROOT}/adult is absent; set DRIFTWARDEN_DATA to the folder that has it")
        return
    parts = {"tables": tables, "worse": worsened, "noise": noise, "digits": digits, "chance": chance, "labels": labels}
    for name, work in parts.items():
        if part in ("", name):
            work()
