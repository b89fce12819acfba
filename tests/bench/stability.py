"""Integrity, versions and moved copies on real data: ``stability [ROWS]``; attacks of the tests' own models.

Integrity: benign rows of other tables against the bound that the reference gave, and pixels of attacks as floats and
rounded to 1/255. Versions: the same model, one of another seed, one trained on shuffled labels of a class. Moved
copies: how far attacked rows are told from clean ones of the same model by their change under moves or noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from detectors import simulate, smoothing
from detectors.golden import Golden, fit
from detectors.rows import integrity
from detectors.rows.layout import Layout, Rows
from detectors.types import Block, FloatArray, SingleArray
from tests.attacks import tasks, whitebox
from tests.attacks.models import Network, train
from tests.attacks.tasks import Task
from tests.bench.common import table
from tests.statistical import data

_MINUS, _NONE = np.array(-1, np.int64), np.zeros(0, np.int64)
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
