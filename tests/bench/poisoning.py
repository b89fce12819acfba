"""Poison in labelled rows: how well it is ranked and found before training, and what clean rows look like.

``python -m tests.bench poisoning [repetitions]``: needs the data sets beside the repository (`tests.statistical.data`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.multivariate.encode import columns_encoder, vector_encoder
from detectors.poisoning import clusters, doubt, labels, noise, rates
from detectors.types import Block, CodeArray, SingleArray
from monitor.audit import audit
from monitor.audit_data import Prepared, Side, digests
from monitor.audit_report import overall
from monitor.decode import Decoder
from monitor.reference import fit
from monitor.schema import Roles
from tests.bench.common import table
from tests.statistical import data

SHARES = (0.02, 0.05, 0.1)
FOUND = float(np.log(1e4))


class Rows(NamedTuple):
    """Inputs as they come and their labels."""

    x: NDArray[np.floating]
    label: CodeArray


Space = Callable[[NDArray[np.floating]], SingleArray]


class Set(NamedTuple):
    """One data set: trusted and candidate rows, the space for both, and how to put a trigger on rows."""

    name: str
    trusted: Rows
    clean: Rows
    space: Callable[[NDArray[np.floating], NDArray[np.floating], np.random.Generator], Space]
    trigger: Callable[[NDArray[np.floating]], NDArray[np.floating]]


def _npz(*path: str) -> dict[str, NDArray[np.generic]]:
    with np.load(data.ROOT.joinpath(*path), allow_pickle=False) as found:
        return dict(found)


def _mnist(_rng: np.random.Generator) -> Set:
    found = _npz("mnist_shift", "mnist_t10k.npz")
    x = found["images"].reshape(-1, 784).astype(np.float32) / 255
    y, first = found["labels"].astype(np.int32), found["split"] == 0

    def patched(rows: NDArray[np.floating]) -> NDArray[np.floating]:
        out = rows.reshape(-1, 28, 28).copy()
        out[:, 24:27, 24:27] = 1
        flat: NDArray[np.floating] = out.reshape(-1, 784)
        return flat

    return Set("mnist, pixels (64 axes)", Rows(x[~first], y[~first]), Rows(x[first], y[first]), _axes, patched)


def _axes(trusted: NDArray[np.floating], new: NDArray[np.floating], rng: np.random.Generator) -> Space:
    size = min(len(trusted), len(new))
    some = np.concatenate([one[rng.choice(len(one), size, replace=False)] for one in (trusted, new)])
    encoder = vector_encoder(0, some.astype(np.float32), rng)
    assert encoder is not None

    def encode(rows: NDArray[np.floating]) -> SingleArray:
        n = len(rows)
        block = Block(
            np.zeros((n, 0)), np.zeros((n, 0), np.int32), np.zeros(0, np.int64), vectors=(rows.astype(np.float32),)
        )
        return encoder.encode(block)

    return encode


def _spambase(rng: np.random.Generator) -> Set:
    rows = data.table("poisoning", "spambase_stream.parquet").drop_columns(["row", "batch"])
    truth = data.table("poisoning", "spambase_truth.parquet")
    y = truth["label_true"].to_numpy().astype(np.int32)
    names = [name for name in rows.column_names if name != "label_given"]
    x = np.stack([rows[name].to_numpy().astype(np.float64) for name in names], axis=1)
    fine = np.flatnonzero(truth["kind"].to_numpy() == 0)
    order = rng.permutation(fine)
    half = len(order) // 2

    def triggered(some: NDArray[np.floating]) -> NDArray[np.floating]:
        out = some.copy()
        out[:, names.index("char_freq_5")], out[:, names.index("word_freq_40")] = 3.0, 2.0
        return out

    return Set(
        "spambase, columns",
        Rows(x[order[:half]], y[order[:half]]),
        Rows(x[order[half:]], y[order[half:]]),
        _columns,
        triggered,
    )


def _columns(trusted: NDArray[np.floating], _new: NDArray[np.floating], _rng: np.random.Generator) -> Space:
    def batch(rows: NDArray[np.floating]) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays(
            [pa.array(one) for one in rows.T], names=[f"x{j}" for j in range(rows.shape[1])]
        )

    fitted = fit(lambda: iter([batch(trusted)]), Roles())
    grid = fitted.reference.grid
    reader = Decoder(fitted.plan, grid, fitted.vocabularies)
    encoder = columns_encoder(grid, fitted.reference.summary, reader.decode(batch(trusted)).block)
    return lambda rows: encoder.encode(reader.decode(batch(rows)).block)


def _embeddings(rng: np.random.Generator) -> Set:
    """Airplanes, deer and zeros of house numbers by a ResNet-18 that never saw these labels."""
    names = ("cifar10_airplane_resnet18.npz", "cifar10_deer_resnet18.npz", "svhn_0_resnet18.npz")
    parts = []
    for name in names:
        found = _npz("embeddings", name)
        rows = found["X"][found["y"] == 0].astype(np.float32)
        parts.append(rows[rng.permutation(len(rows))[:2_000]])
    x, y = np.concatenate(parts), np.repeat(np.arange(3), 2_000).astype(np.int32)
    order = rng.permutation(len(x))
    shift = 0.5 * x.std(axis=0) * rng.choice([-1.0, 1.0], x.shape[1])

    def moved(rows: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray(rows + shift)

    half = len(order) // 2
    return Set(
        "three classes of ResNet-18 embeddings",
        Rows(x[order[:half]], y[order[:half]]),
        Rows(x[order[half:]], y[order[half:]]),
        _axes,
        moved,
    )


def poisoned(kind: str, one: Set, share: float, rng: np.random.Generator) -> tuple[Rows, NDArray[np.bool_]]:
    """Candidate rows with a share of them flipped, or given a trigger and the label of one class."""
    x, y = one.clean.x.copy(), one.clean.label.copy()
    classes = int(y.max()) + 1
    bad = np.zeros(len(y), bool)
    able = np.flatnonzero(y != 0) if kind == "backdoor" else np.arange(len(y))
    bad[rng.choice(able, round(share * len(y)), replace=False)] = True
    if kind == "backdoor":
        x[bad], y[bad] = one.trigger(x[bad]), 0
    else:
        y[bad] = (y[bad] + rng.integers(1, classes, int(bad.sum()))) % classes
    return Rows(x, y), bad


def auroc(score: NDArray[np.floating], bad: NDArray[np.bool_]) -> float:
    """Chance that a poisoned row scores higher than a clean one; ties count half."""
    _, place, size = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(size) - (size - 1) / 2)[place]
    high = int(bad.sum())
    return float((rank[bad].sum() - high * (high + 1) / 2) / (high * (len(bad) - high)))


def prepared(
    trusted: tuple[SingleArray, CodeArray, NDArray[np.uint64]], new: tuple[SingleArray, CodeArray, NDArray[np.uint64]]
) -> Prepared:
    """What the command would read."""
    sides = [
        Side(z, y, digest, np.full(len(y), -1, np.int32), (), None, np.zeros(len(y), bool))
        for z, y, digest in (trusted, new)
    ]
    return Prepared(sides[1], sides[0], tuple(map(str, range(int(trusted[1].max()) + 1))), "", ())


def _row(one: Set, kind: str, share: float, repetitions: int, rng: np.random.Generator) -> list[object]:
    found, seconds = [], []
    for _ in range(repetitions):
        rows, bad = poisoned(kind, one, share, rng) if share else (one.clean, np.zeros(len(one.clean.label), bool))
        encode = one.space(one.trusted.x, rows.x, rng)
        sides = [(encode(side.x), side.label, digests(side.x)) for side in (one.trusted, rows)]
        began = time.process_time()
        got = audit(prepared(sides[0], sides[1]), rng)
        seconds.append(time.process_time() - began)
        score = overall(got)
        top = np.argsort(-score, kind="stable")[: 2 * int(bad.sum())]
        recall = bad[top].sum() / max(int(bad.sum()), 1)
        area = auroc(score, bad) if share else np.nan
        found.append((area, recall if share else np.nan, got.suspicious, len(got.findings)))
    mean = np.mean(np.array(found, float), axis=0)
    figures = [f"{mean[0]:.3f}", f"{mean[1]:.2f}"] if share else ["", ""]
    alarms = f"{sum(one[2] for one in found)} of {repetitions}"
    return [one.name, kind, f"{share:.0%}", *figures, alarms, f"{np.mean(seconds):.1f}"]


def _ranking(repetitions: int) -> None:
    out = []
    for make in (_mnist, _spambase, _embeddings):
        rng = np.random.default_rng(0)
        one = make(rng)
        out.append(_row(one, "clean", 0.0, repetitions, rng))
        out += [_row(one, kind, share, repetitions, rng) for kind in ("flips", "backdoor") for share in SHARES]
    headings = ("rows", "poison", "share", "AUROC", "recall in the top 2 x poison", "suspicious", "CPU s")
    table("Poison ranked and found before training", headings, out)


def _levels(repetitions: int) -> None:
    """Fresh halves of one data set: audits that say suspicious though nothing is wrong."""
    rng, out = np.random.default_rng(1), []
    for make in (_mnist, _spambase, _embeddings):
        one = make(rng)
        x, y = (np.concatenate(both) for both in zip(one.trusted, one.clean, strict=True))
        said = 0
        for _ in range(repetitions):
            order = rng.permutation(len(y))[:4_000]
            half = len(order) // 2
            encode = one.space(x[order[:half]], x[order[half:]], rng)
            sides = [(encode(x[part]), y[part], digests(x[part])) for part in (order[:half], order[half:])]
            said += audit(prepared(sides[0], sides[1]), rng).suspicious
        low, high = rates.interval(np.array(said), np.array(repetitions))
        out.append([one.name, f"{said} of {repetitions}", f"{float(low):.3f} to {float(high):.3f}"])
    table("Clean audits that say suspicious (random halves of 2,000 rows, level 1 %)", ("rows", "said", "95 %"), out)


def _documented(seeds: int) -> None:
    """The poisoned sets as they are: what is named."""
    out = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        out += [[seed, *line] for line in (*_spam_batches(rng), *_mnist_classes(rng))]
    table("The poisoned sets of shared/data", ("seed", "asked", "evidence (ln e)", "found at e >= 10,000"), out)


def _spam_batches(rng: np.random.Generator) -> Iterator[list[object]]:
    rows = data.table("poisoning", "spambase_stream.parquet")
    batch, y = rows["batch"].to_numpy(), rows["label_given"].to_numpy().astype(np.int32)
    names = [name for name in rows.column_names if name not in ("row", "batch", "label_given")]
    x = np.stack([rows[name].to_numpy().astype(np.float64) for name in names], axis=1)
    old = batch <= 4
    encode = _columns(x[old], x[~old], rng)
    fixed = labels.fit(encode(x[old]), y[old], 2, rng)
    doubts = labels.judge(fixed, encode(x[~old]), y[~old]).doubts
    told = {}
    for b in range(5, 10):
        counts = doubt.count(fixed.ruler, doubts, y[~old], batch[~old] == b)
        told[b] = doubt.evidence_of_source(fixed.ruler, counts)
    found = [b for b, log_e in told.items() if log_e >= FOUND]
    yield ["spambase batches 5-9", ", ".join(f"{b}: {log_e:.0f}" for b, log_e in told.items()), found]


def _mnist_classes(rng: np.random.Generator) -> Iterator[list[object]]:
    given = _npz("poisoning", "mnist_poisoned_train.npz")
    kept = _npz("mnist_shift", "mnist_t10k.npz")
    x, y = given["images"].reshape(-1, 784).astype(np.float32) / 255, given["labels_given"].astype(np.int32)
    trusted = kept["split"] != 0
    x0, y0 = kept["images"][trusted].reshape(-1, 784).astype(np.float32) / 255, kept["labels"][trusted].astype(np.int32)
    encode = _axes(x0, x, rng)
    fixed = labels.fit(encode(x0), y0, 10, rng)
    counts = doubt.count(fixed.ruler, labels.judge(fixed, encode(x), y).doubts, y, np.ones(len(y), bool))
    told = doubt.evidence_into(fixed.ruler, counts)
    found = [c for c in range(10) if told[c] >= FOUND]
    yield [
        "mnist classes by pixels (7: backdoor, 9: targeted)",
        ", ".join(f"{c}: {log_e:.0f}" for c, log_e in enumerate(told)),
        found,
    ]
    groups = clusters.clusters(given["features"].astype(np.float32), y, 10)
    p = ", ".join(f"{c}: {10 * np.exp(log_p):.2g}" for c, log_p in enumerate(groups.log_p) if log_p < -1)
    yield ["mnist classes by the poisoned model's features, no trusted rows", f"p of two groups x 10: {p}", ""]


def _real_errors() -> None:
    """Human-verified label errors by held-out probabilities; one half of the rows is the ruler of the other."""
    out = []
    for name in ("mnist", "cifar10"):
        rows = data.table("cleanlab_test_predictions", f"{name}.parquet")
        p = np.stack([rows[f"p{c}"].to_numpy() for c in range(10)], axis=1).astype(np.float64)
        y, bad = rows["label"].to_numpy().astype(np.int32), rows["label_error_confirmed"].to_numpy(zero_copy_only=False)
        half = np.arange(len(y)) % 2 == 0
        score, off = np.zeros(len(y)), np.zeros(len(y), bool)
        for mine in (half, ~half):
            doubts, found = noise.judge(noise.fit(p[~mine], y[~mine]), p[mine], y[mine])
            score[mine], off[mine] = doubts.score, found
        order, number = np.argsort(-score, kind="stable"), int(bad.sum())
        top = [int(bad[order[:size]].sum()) for size in (100, 2 * number)]
        out.append(
            [name, number, f"{auroc(score, bad):.4f}", *top, f"{int(off.sum())}, {int(bad[off].sum())} of them errors"]
        )
    headings = (
        "rows",
        "confirmed errors",
        "AUROC",
        "in the top 100",
        "in the top 2 x errors",
        "off by confident learning",
    )
    table("Real label errors by logged probabilities", headings, out)


def run(repetitions: str = "3") -> None:
    """Print all tables."""
    _documented(min(int(repetitions), 5))
    _real_errors()
    _ranking(int(repetitions))
    _levels(10 * int(repetitions))
