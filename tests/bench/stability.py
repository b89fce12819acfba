"""Integrity, versions and moved copies on real data: ``stability [ROWS]``; attacks of the tests' own models.

Integrity: benign rows of other tables against the bound that the reference gave, and pixels of attacks as floats and
rounded to 1/255. Versions: models trained otherwise, on the golden set; and releases at 49 places of a real log of
three years whose inputs move, some of the time by far. Moved copies: how far attacked rows are told from clean ones of
the same model by their change under moves or noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from scipy import special

from detectors import simulate, smoothing, versions
from detectors.golden import Golden, fit
from detectors.multivariate.encode import columns_encoder
from detectors.rows import integrity
from detectors.rows.layout import Layout, Rows
from detectors.types import Block, FloatArray, SingleArray
from tests.attacks import tasks, whitebox
from tests.attacks.models import Network, train
from tests.attacks.tasks import Task
from tests.bench.common import table
from tests.statistical import data

_MINUS, _NONE = np.array(-1, np.int64), np.zeros(0, np.int64)
_ANSWERS = ("id", "year", "prediction", "predicted_probability", "employed")
_TABLES = (
    ("adult", "adult.parquet"), ("california_housing", "reference.parquet"), ("elec2", "elec2.parquet"),
    ("nyc_green_taxi_2020", "green_tripdata_2020-03.parquet"), ("wine_quality", "white.parquet"),
    ("occupancy", "test2.parquet"), ("poisoning", "spambase_stream.parquet"), ("bike_sharing", "hour.parquet"),
)  # fmt: skip


def run(*args: str) -> None:
    """Print the tables."""
    rows = int(args[0]) if args else 400
    table(
        "Benign rows that fail (rows the reference never saw)",
        ("table", "reference", "columns", "grids", "relations", "failing", "bound"),
        list(_benign()),
    )
    task = tasks.mnist()
    attacked = _attacked(task, rows)
    table("Pixels off their grid", ("rows", "as floats", "rounded to 1/255"), list(_pixels(task, attacked)))
    table(
        "Golden set of 300, 5 % tolerated",
        ("later version", "changed", "interval", "alarm at 1e-4"),
        list(_golden(task)),
    )
    table(
        "Releases in ma_employment, 8,000 rows before and 4,000 after, 49 places: alarms at 1e-4",
        ("release", "in cells", "without cells"),
        list(_releases()),
    )
    table(
        "Moved copies: AUROC, found at 5 % false",
        ("rows", "8 moves", "noise .1, 16 copies"),
        list(_moved(task, attacked)),
    )


def _benign() -> Iterator[tuple[object, ...]]:
    for name in _TABLES:
        rows = data.table(*name)
        chosen = [
            c for c, kind in zip(rows.column_names, rows.schema.types, strict=True) if pa.types.is_primitive(kind)
        ]
        chosen = [c for c in chosen if pa.types.is_integer(rows[c].type) or pa.types.is_floating(rows[c].type)]
        values = np.column_stack([rows[c].cast(pa.float64(), safe=False).to_numpy() for c in chosen])
        values = values[np.random.default_rng(0).permutation(len(values))][:20_000]
        half = len(values) // 2
        fixed = _fitted(simulate.block_of(values[:half]), _NONE)
        seen = integrity.check(fixed, simulate.block_of(values[half:])).flags
        worst = int(seen.mean(axis=0).argmax())
        bound = f"{integrity.null_rates(fixed)[worst]:.2%} ({integrity.KINDS[worst]})"
        yield (
            name[0], half, len(chosen), int((fixed.columns.step > 0).sum()), len(fixed.relations.weights),
            f"{seen.any(axis=1).mean():.2%}", bound,
        )  # fmt: skip


def _fitted(block: Block, image: np.ndarray) -> integrity.IntegrityFixed:
    reference = simulate.reference_of(block, dependent=False)
    features = np.arange(block.numeric.shape[1])
    layout = Layout(features, image.astype(np.int64), _MINUS, _MINUS, _MINUS, _MINUS, _MINUS, _NONE)
    return integrity.fit(layout, reference.grid, reference.summary, block)


def _attacked(task: Task, rows: int) -> dict[str, SingleArray]:
    """Rows that the model gets right, clean and attacked."""
    right = np.flatnonzero(task.answer(task.test).argmax(axis=1) == task.test_labels)[: 2 * rows]
    clean, x, label = task.test[right[rows:]], task.test[right[:rows]], task.test_labels[right[:rows]]
    rng = np.random.default_rng(1)
    return {
        "clean": clean,
        "FGSM .1": whitebox.fgsm(task.network, x, label, 0.1),
        "PGD .05": whitebox.pgd(task.network, x, label, 0.05, rng),
        "PGD .1": whitebox.pgd(task.network, x, label, 0.1, rng),
        "DeepFool": whitebox.deepfool(task.network, x, label),
        "noise .05": np.clip(x + rng.normal(0, 0.05, x.shape), 0, 1).astype(np.float32),
    }


def _pixels(task: Task, attacked: dict[str, SingleArray]) -> Iterator[tuple[object, ...]]:
    fixed = _fitted(task.block(task.reference), np.array([0, *task.image, 1]))
    for name, x in attacked.items():
        rounded = (np.rint(x.astype(np.float64) * 255) / 255).astype(np.float32)
        share = [float((integrity.check(fixed, task.block(some)).image != 0).mean()) for some in (x, rounded)]
        yield name, f"{share[0]:.1%}", f"{share[1]:.1%}"


def _golden(task: Task) -> Iterator[tuple[object, ...]]:
    layout = Layout(_NONE, _NONE, _MINUS, _MINUS, _MINUS, _MINUS, _MINUS, _NONE)

    def answered(network: Network) -> Rows:
        p = network.probabilities(task.reference)
        digest = np.arange(1, len(p) + 1).astype(np.uint64)
        label = task.reference_labels.astype(np.int32)
        return Rows(
            task.block(task.reference),
            digest,
            predicted=p.argmax(axis=1).astype(np.int32),
            label=label,
            probabilities=p,
        )

    fixed = fit(layout, answered(task.network), np.random.default_rng(2), 300)
    odd = np.where(task.train_labels == 4, 9, task.train_labels)
    later = {
        "the same": task.network,
        "another seed": _trained(task, task.train_labels, 12),
        "two epochs instead of twelve": _trained(task, task.train_labels, 13, epochs=2),
        "fours taught as nines": _trained(task, odd, 12),
        "inputs upside down": _upside_down(task.network),
    }
    for name, network in later.items():
        judge = Golden(fixed)
        judge.add(layout, answered(network))
        said = judge.comparison(0)
        alarm = any(one.log_p < np.log(1e-4) for one in judge.suspicions() if one.heuristic == "golden_set")
        assert said is not None
        yield name, f"{said.changed} of {said.asked}", f"{said.low:.1%} to {said.high:.1%}", "yes" if alarm else "no"


def _releases() -> Iterator[tuple[object, ...]]:
    """How often a release is told that changes nothing, and one that asks for more, or answers less surely."""
    rows = pa.concat_tables([data.table("ma_employment", name) for name in ("reference.parquet", "analysis.parquet")],
                            promote_options="permissive").unify_dictionaries()  # fmt: skip
    near = _encoded(rows)
    cell = versions.cells_of(versions.centres(near[:68_785], np.random.default_rng(4)), near)
    score = rows["predicted_probability"].to_numpy().astype(np.float64)
    logit = np.log(np.clip(score, 1e-6, 1) / np.clip(1 - score, 1e-6, 1))
    changes = {"none": logit, "log odds less .3": logit - 0.3, "log odds less .8": logit - 0.8, "halved": logit / 2}
    for name, later in changes.items():
        told = [0, 0]
        for start in range(68_785, len(score) - 16_000, 4_000):
            for kind, cells in enumerate((cell, np.full(len(cell), -1))):
                judge = versions.Versions()
                for number, log_odds, first, last in (
                    (1, logit, start, start + 8_000),
                    (2, later, start + 8_000, start + 12_000),
                ):
                    p, nobody = special.expit(log_odds[first:last]), np.full(last - first, -1, np.int32)
                    version, yes = np.full(last - first, number, np.int32), (p >= 0.5).astype(np.int32)
                    judge.add(versions.Batch(version, cells[first:last], yes, np.maximum(p, 1 - p), nobody))
                told[kind] += judge.suspicions()[0].log_p <= np.log(1e-4)
        yield name, f"{told[0]} of 49", f"{told[1]} of 49"


def _encoded(rows: pa.Table) -> SingleArray:
    """Rows along the 16 first principal axes of the encoded features."""
    names = [name for name in rows.column_names if name not in _ANSWERS]
    number = [name for name in names if pa.types.is_floating(rows[name].type)]
    words = [rows[name].combine_chunks() for name in names if name not in number]
    words = [one if pa.types.is_dictionary(one.type) else one.dictionary_encode() for one in words]
    codes = [one.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32) for one in words]
    numeric = [rows[name].to_numpy().astype(np.float64) for name in number]
    block = simulate.block_of(
        np.column_stack(numeric) if numeric else np.zeros((rows.num_rows, 0)), np.column_stack(codes)
    )
    labels = [[str(i) for i in range(min(len(one.dictionary), 255))] for one in words]
    first = simulate.take(block, slice(0, 20_000))
    reference = simulate.reference_of(first, dependent=False, labels=labels)
    encoded = columns_encoder(reference.grid, reference.summary, first).encode(block)
    axes = np.linalg.svd(encoded[:10_000] - encoded[:10_000].mean(axis=0), full_matrices=False)[2]
    projected: SingleArray = encoded @ axes[:16].T
    return projected


def _trained(task: Task, labels: np.ndarray, seed: int, epochs: int = 12) -> Network:
    hidden = tuple(len(bias) for bias in task.network.biases[:-1])
    return train(task.train, labels, task.classes, np.random.default_rng(seed), hidden=hidden, epochs=epochs)


def _upside_down(network: Network) -> Network:
    """What a preprocessing that turns images around makes of the model."""
    return network._replace(weights=(network.weights[0][::-1], *network.weights[1:]))


def _moved(task: Task, attacked: dict[str, SingleArray]) -> Iterator[tuple[object, ...]]:
    rng = np.random.default_rng(3)

    def moves(x: SingleArray) -> FloatArray:
        copies = smoothing.moved(x.reshape(len(x), *task.image, 1)).reshape(len(smoothing.MOVES), *x.shape)
        return _change(task, x, copies)

    def noise(x: SingleArray) -> FloatArray:
        return _change(task, x, smoothing.noisy(x.astype(np.float64), np.array(0.1), 16, rng).astype(np.float32))

    probes: tuple[Callable[[SingleArray], FloatArray], ...] = (moves, noise)
    clean = [probe(attacked["clean"]) for probe in probes]
    for name, x in attacked.items():
        if name != "clean":
            yield name, *(_found(probe(x), null) for probe, null in zip(probes, clean, strict=True))


def _change(task: Task, x: SingleArray, copies: SingleArray) -> FloatArray:
    answers = np.stack([task.answer(copy) for copy in copies]).astype(np.float64)
    return smoothing.stability(task.answer(x).astype(np.float64), answers).change


def _found(score: FloatArray, clean: FloatArray) -> str:
    auroc = (score[:, None] > clean).mean() + 0.5 * (score[:, None] == clean).mean()
    return f"{auroc:.2f}, {(score > np.quantile(clean, 0.95)).mean():.2f}"
