"""Attribution to reference rows against retraining: ``influence [RETRAININGS]``; then who finds flipped labels.

Linear datamodelling score: the last layer (softmax, L-BFGS, three ridges) is trained anew on so many random halves of
the training rows; by held-out row, the rank correlation of its margins with the summed attribution of the rows that
took part; mean over 60 rows. Flipped labels: 5 % of the training labels, the last layer trained on them; AUROC of the
harm done to 500 rows with right labels. Embeddings: the 64 features of the network of `poisoning` (its clean rows,
earlier layers fixed), and 63 principal axes of the pixels of mnist_shift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from detectors import influence
from detectors.types import FloatArray, IntArray
from tests.bench.common import cpu, table
from tests.statistical import data

RIDGES = (1e-4, 1e-3, 1e-2)
TRAINING, TARGETS, TRUSTED = 1500, 60, 500
CLASSES = 10


def run(retrainings: str = "100") -> None:
    """Print the tables."""
    if not (data.ROOT / "poisoning").is_dir():
        print(f"skipped: {data.ROOT}/poisoning is absent; set DRIFTWARDEN_DATA to the folder that has it")
        return
    scores, flips = [], []
    for name, z, y in _sets():
        for ridge in RIDGES:
            rng = np.random.default_rng(72)
            scores.append((name, ridge, *_retrained(z, y, ridge, int(retrainings), rng)))
            flips.append((name, ridge, *_flipped(z, y, ridge, rng)))
    headings = ("embedding", "ridge of the layer", *_METHODS, "influence, 32 axes")
    table(f"Linear datamodelling score, {retrainings} retrainings on halves of {TRAINING} rows", headings, scores)
    table("5 % flipped labels, AUROC", ("embedding", "ridge of the layer", "harm", "1 - p of the label"), flips)
    rng = np.random.default_rng(0)
    z, p = rng.standard_normal((10_000, 64)), rng.dirichlet(np.ones(CLASSES), 10_000)
    fixed = influence.fit(z, p, p.argmax(axis=1))
    once = cpu(lambda: influence.fit(z, p, p.argmax(axis=1)), 1)
    each = cpu(lambda: influence.attribution(fixed, z[:20], p[:20], np.zeros(20)), 3)
    table("CPU seconds, 10,000 rows, 64 axes, 10 classes", ("fit", "20 rows"), [(f"{once:.2f}", f"{each:.3f}")])


def _sets() -> Iterator[tuple[str, FloatArray, IntArray]]:
    folder = data.ROOT / "poisoning"
    with np.load(folder / "mnist_poisoned_train.npz") as rows, np.load(folder / "mnist_poison_truth.npz") as truth:
        clean = truth["kind"] == 0
        yield "network", rows["features"][clean].astype(np.float64), truth["labels_true"][clean].astype(np.int64)
    with np.load(data.ROOT / "mnist_shift" / "mnist_t10k.npz") as rows:
        pixels = rows["images"][:5000].reshape(5000, -1) / 255
        axes = np.linalg.eigh(np.cov(pixels.T))[1][:, ::-1][:, :63]
        yield "pixels", (pixels - pixels.mean(axis=0)) @ axes, rows["labels"][:5000].astype(np.int64)


def _retrained(z: FloatArray, y: IntArray, ridge: float, number: int, rng: np.random.Generator) -> Iterator[str]:
    z, y = _split(z, y, rng)
    known, asked = slice(TRAINING), slice(TRAINING, TRAINING + TARGETS)
    whole = _trained(z[known], y[known], ridge)
    halves = np.stack([rng.permutation(TRAINING) < TRAINING // 2 for _ in range(number)])
    margins = np.stack([_margins(z[asked], y[asked], _trained(z[known][h], y[known][h], ridge, whole)) for h in halves])
    p = _probabilities(z, whole)
    given = z[known], p[known], y[known], z[asked], p[asked], y[asked]
    found = {name: method(*given) for name, method in _METHODS.items()}
    axes = np.linalg.eigh(z[known].T @ z[known])[1][:, -32:]
    found["reduced"] = _influence(z[known] @ axes, p[known], y[known], z[asked] @ axes, p[asked], y[asked])
    for scores in found.values():
        told = halves @ scores.T
        yield f"{np.mean([stats.spearmanr(told[:, i], margins[:, i])[0] for i in range(TARGETS)]):.2f}"


def _flipped(z: FloatArray, y: IntArray, ridge: float, rng: np.random.Generator) -> Iterator[str]:
    z, y = _split(z, y, rng)
    given, wrong = y.copy(), rng.random(len(y)) < 0.05
    given[wrong] = (y[wrong] + rng.integers(1, CLASSES, int(wrong.sum()))) % CLASSES
    known, trusted = slice(TRAINING), slice(TRAINING, TRAINING + TRUSTED)
    p = _probabilities(z, _trained(z[known], given[known], ridge))
    fixed = influence.fit(z[known], p[known], given[known])
    harm = -influence.attribution(fixed, z[trusted], p[trusted], y[trusted]).mean(axis=0)
    for scores in (harm, 1 - p[np.arange(TRAINING), given[known]]):
        yield f"{_auroc(scores, wrong[known]):.3f}"


def _split(z: FloatArray, y: IntArray, rng: np.random.Generator) -> tuple[FloatArray, IntArray]:
    order = rng.permutation(len(y))
    return z[order] / np.sqrt(np.square(z).mean()), y[order]


def _with_one(z: FloatArray) -> FloatArray:
    return np.column_stack([z, np.ones(len(z))])


def _trained(z: FloatArray, y: IntArray, ridge: float, start: FloatArray | None = None) -> FloatArray:
    """Weights ``(d + 1, C)`` of the softmax layer."""
    x, one_hot = _with_one(z), np.eye(CLASSES)[y]
    first = np.zeros((x.shape[1], CLASSES)) if start is None else start

    def loss(flat: FloatArray) -> tuple[float, FloatArray]:
        weights = flat.reshape(first.shape)
        logits = x @ weights
        p = _softmax(logits)
        value = -np.log(np.maximum(p[np.arange(len(y)), y], 1e-300)).mean() + ridge / 2 * (flat @ flat)
        return float(value), (x.T @ (p - one_hot) / len(y)).ravel() + ridge * flat

    done = optimize.minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    weights: FloatArray = done.x.reshape(first.shape)
    return weights


def _softmax(logits: FloatArray) -> FloatArray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    p: FloatArray = raised / raised.sum(axis=1, keepdims=True)
    return p


def _probabilities(z: FloatArray, weights: FloatArray) -> FloatArray:
    return _softmax(_with_one(z) @ weights)


def _margins(z: FloatArray, y: IntArray, weights: FloatArray) -> FloatArray:
    p = _probabilities(z, weights)
    one = np.arange(len(y))
    mine = p[one, y]
    p[one, y] = 0
    margins: FloatArray = np.log(mine) - np.log(p.sum(axis=1))
    return margins


def _gradients(z: FloatArray, p: FloatArray, y: IntArray) -> FloatArray:
    one = np.arange(len(y))
    towards = -p / np.maximum(1 - p[one, y], 1e-12)[:, None]
    towards[one, y] = 1
    gradients: FloatArray = (towards[:, :, None] * _with_one(z)[:, None, :]).reshape(len(y), -1)
    return gradients


def _influence(
    z: FloatArray, p: FloatArray, y: IntArray, z_asked: FloatArray, p_asked: FloatArray, y_asked: IntArray
) -> FloatArray:
    return influence.attribution(influence.fit(z, p, y), z_asked, p_asked, y_asked)


def _trak(
    z: FloatArray, p: FloatArray, y: IntArray, z_asked: FloatArray, p_asked: FloatArray, y_asked: IntArray
) -> FloatArray:
    """TRAK of one model's last layer, with the mean eigenvalue as the ridge."""
    known = _gradients(z, p, y)
    square = known.T @ known
    square[np.diag_indices_from(square)] += np.trace(square) / len(square)
    weight = 1 - p[np.arange(len(y)), y]
    scores: FloatArray = _gradients(z_asked, p_asked, y_asked) @ np.linalg.solve(square, known.T) * weight
    return scores


def _dot(
    z: FloatArray, p: FloatArray, y: IntArray, z_asked: FloatArray, p_asked: FloatArray, y_asked: IntArray
) -> FloatArray:
    weight = 1 - p[np.arange(len(y)), y]
    scores: FloatArray = _gradients(z_asked, p_asked, y_asked) @ _gradients(z, p, y).T * weight
    return scores


def _cosine(
    z: FloatArray, _p: FloatArray, y: IntArray, z_asked: FloatArray, _q: FloatArray, y_asked: IntArray
) -> FloatArray:
    """Cosine of the embeddings, positive for the same label and negative for another."""
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (z_asked, z))
    scores: FloatArray = a @ b.T * np.where(y_asked[:, None] == y, 1.0, -1.0)
    return scores


_METHODS: dict[str, Callable[[FloatArray, FloatArray, IntArray, FloatArray, FloatArray, IntArray], FloatArray]] = {
    "influence": _influence,
    "TRAK": _trak,
    "gradient dot": _dot,
    "label cosine": _cosine,
}


def _auroc(scores: FloatArray, wrong: NDArray[np.bool_]) -> float:
    ranks = stats.rankdata(scores)
    n = int(wrong.sum())
    return float((ranks[wrong].sum() - n * (n + 1) / 2) / (n * (len(wrong) - n)))
