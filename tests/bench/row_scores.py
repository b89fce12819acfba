"""Row scores: power of windows with some adversarial rows, level of windows without, and single rows.

``python -m tests.bench row_scores [windows] [world | level | cost]``. Two worlds of pictures with a perceptron
(`glyphs`, whose rows never end, and `mnist`), attacked by FGSM, PGD and DeepFool, all rounded to 1/255; ``cnn``, the
stored attacks on another network, of which only pictures and probabilities are logged; and the tables `adult` and
`spambase`, attacked in their numbers and rounded to whole ones and to two decimals. A window has 500 rows; tests run at
1 %. The encoder of the scores is fitted on reference rows that are not in the views' samples, as in the agent. The view
"without pictures" is what is left of the scores where the log carries answers and the embedding only. ``level`` draws
references anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from detectors import simulate
from detectors.multivariate.encode import Encoder, columns_encoder, vector_encoder
from detectors.multivariate.joint import JointDefault
from detectors.multivariate.samples import cut
from detectors.rows import scores
from detectors.rows.encoder import ScoreEncoder
from detectors.rows.layout import Layout
from detectors.types import Block, CodeArray, FloatArray, IntArray, SingleArray, View
from tests.attacks import tasks
from tests.attacks.models import Network, softmax
from tests.attacks.whitebox import deepfool, fgsm, pgd
from tests.bench.common import cpu, table
from tests.statistical import data

_ROWS, _RUN, _LEVEL = 500, 8, 0.01
_SHARES = (0.2, 0.1)
_NO, _NONE = np.array(-1), np.zeros(0, np.int64)
CLEAN = "clean"
PERCEPTRON = ("pixels", "embedding", "softmax")
"""Vectors of a block, in this order, before the logits."""


class World(NamedTuple):
    """Reference rows to fit scores on and to sample, live rows, and the live rows attacked, by name."""

    layout: Layout
    fitted: Block
    labels: CodeArray
    sampled: Block
    live: Block
    attacked: Mapping[str, Block]
    vectors: tuple[str, ...]


def run(windows: str = "40", only: str = "") -> None:
    """Print the tables of all worlds, or of one, and what scoring costs."""
    for name, made in _WORLDS.items():
        if only in ("", name):
            world = made()
            _print_rows(name, world)
            _print_windows(name, world, int(windows))
    if only in ("", "level"):
        _print_level(int(windows))
    if only in ("", "cost"):
        _print_cost()


def glyphs() -> World:
    """A law that gives rows without end: 10,000 of reference, a quarter of them for the scores."""
    task, rng = tasks.glyphs(), np.random.default_rng(11)
    rows = [tasks.more_glyphs(number, rng) for number in (2500, 7500, 4000)]
    return _perceptron(task, rows, rng)


def mnist() -> World:
    """5,000 digits that the network has not seen: 1,500 for the scores, 1,500 sampled, 2,000 live."""
    task, rng = tasks.mnist(), np.random.default_rng(12)
    unseen = np.concatenate([task.reference, task.test])[rng.permutation(5000)]
    return _perceptron(task, [unseen[:1500], unseen[1500:3000], unseen[3000:]], rng)


def cnn() -> World:
    """The stored attacks on a convolutional network; 1,500 digits for the scores, 1,500 sampled, 1,000 live."""
    folder = data.ROOT / "mnist_shift"
    with np.load(folder / "mnist_t10k.npz") as stored:
        pixels, p, split = stored["images"].reshape(-1, 784), stored["probs"], stored["split"]
    with np.load(folder / "adversarial.npz") as stored:
        names, taken = stored["names"].tolist(), stored["source_index"]
        attacked = {
            name: _block(stored["images"][i].reshape(-1, 784), stored["probs"][i]) for i, name in enumerate(names)
        }
    rest = np.setdiff1d(np.flatnonzero(split > 0), taken)
    rest = np.random.default_rng(13).permutation(rest)
    first, second = rest[:1500], rest[1500:3000]
    layout = Layout(_NONE, np.array([0, 28, 28, 1]), _NO, np.array(1), _NO, _NO, _NO, _NONE)
    classes = p[first].argmax(axis=1).astype(np.int32)
    blocks = (_block(pixels[some], p[some]) for some in (first, second, taken))
    fitted, sampled, live = blocks
    return World(layout, fitted, classes, sampled, live, attacked, ("pixels", "softmax"))


def adult() -> World:
    """Census rows: six numbers that an attacker can move, eight categories that stay."""
    return _tabular(tasks.adult(), (3000, 6000), decimals=0)


def spambase() -> World:
    """2,500 mails that the network has not seen: 57 numbers."""
    return _tabular(tasks.spambase(), (900, 1600), decimals=2)


def _tabular(task: tasks.Task, cuts: tuple[int, int], decimals: int) -> World:
    rng = np.random.default_rng(15)
    unseen = np.concatenate([task.reference, task.test])[:10_000]
    rows = np.split(rng.permutation(unseen), cuts)
    units = len(task.columns.names) if task.columns is not None else 0
    layout = Layout(np.arange(units), _NONE, np.array(0), np.array(1), np.array(2), _NO, _NO, _NONE)
    made = _attacked(task.network, rows[2], rng)
    for one in made.values():
        one[:, task.free :] = rows[2][:, task.free :]
    fitted, sampled, live = (_tabled(task, x, decimals) for x in rows)
    labels = fitted.vectors[1].argmax(axis=1).astype(np.int32)
    attacked = {name: _tabled(task, one, decimals) for name, one in made.items()}
    return World(layout, fitted, labels, sampled, live, attacked, ("embedding", "softmax"))


def _tabled(task: tasks.Task, x: SingleArray, decimals: int) -> Block:
    """What the log says of rows in [0, 1]: numbers with so many decimals, and the answers to those."""
    network, block, free = task.network, task.block(x), task.free
    numeric = np.asfortranarray(np.round(block.numeric, decimals))
    if task.columns is not None:
        x = x.copy()
        x[:, :free] = (np.log1p(np.maximum(numeric, 0)) - task.columns.low) / task.columns.span
    vectors = _block(network.features(x), network.probabilities(x), network.logits(x)).vectors
    return dataclasses.replace(block, numeric=numeric, vectors=vectors)


def _perceptron(task: tasks.Task, rows: list[SingleArray], rng: np.random.Generator, *, attacks: bool = True) -> World:
    network, (height, width) = task.network, task.image
    image = np.array([0, height, width, 1])
    layout = Layout(_NONE, image, np.array(1), np.array(2), np.array(3), _NO, _NO, _NONE)
    fitted, sampled, live = (_logged(network, x) for x in rows)
    stored = {name: _logged(network, one) for name, one in _attacked(network, rows[2], rng).items()} if attacks else {}
    labels = fitted.vectors[2].argmax(axis=1).astype(np.int32)
    return World(layout, fitted, labels, sampled, live, stored, PERCEPTRON)


def _attacked(network: Network, x: SingleArray, rng: np.random.Generator) -> dict[str, SingleArray]:
    label = network.logits(x).argmax(axis=1)
    return {
        "FGSM 8/255": fgsm(network, x, label, 8 / 255),
        "PGD 2/255": pgd(network, x, label, 2 / 255, rng),
        "PGD 8/255": pgd(network, x, label, 8 / 255, rng),
        "PGD 0.1": pgd(network, x, label, 0.1, rng),
        "DeepFool": deepfool(network, x, label),
        "noise 0.04": np.clip(x + rng.normal(0, 0.04, x.shape).astype(np.float32), 0, 1),
    }


def _logged(network: Network, x: SingleArray) -> Block:
    """What the log says of rows in [0, 1]: 8-bit pictures, embedding, probabilities, logits."""
    rounded = (np.rint(x * 255) / 255).astype(np.float32)
    return _block(rounded * 255, network.features(rounded), network.probabilities(rounded), network.logits(rounded))


def _block(*vectors: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Block:
    n = len(vectors[0])
    singles = tuple(np.ascontiguousarray(one, np.float32) for one in vectors)
    return Block(np.zeros((n, 0)), np.zeros((n, 0), np.int32), np.zeros(0, np.int64), None, singles)


def _some(*parts: tuple[Block, IntArray]) -> Block:
    numeric = np.asfortranarray(np.concatenate([block.numeric[rows] for block, rows in parts]))
    codes = np.asfortranarray(np.concatenate([block.codes[rows] for block, rows in parts]))
    vectors = zip(*([one[rows] for one in block.vectors] for block, rows in parts), strict=True)
    return Block(numeric, codes, parts[0][0].faults, None, tuple(np.concatenate(one) for one in vectors))


def _fixed(world: World, *, pictures: bool = True) -> scores.RowsFixed:
    base = simulate.reference_of(world.fitted, dependent=False)
    rng = np.random.default_rng(0)
    layout = world.layout if pictures else world.layout._replace(image=_NONE)
    return scores.fit(layout, base.grid, base.summary, world.fitted, world.labels, rng)


def views_of(world: World) -> list[View]:
    """Row scores, and the views that there are without them; all fitted on the same rows."""
    rng = np.random.default_rng(1)
    encoders: dict[str, Encoder] = {"row scores": ScoreEncoder(_fixed(world))}
    if len(world.layout.features):
        base = simulate.reference_of(world.fitted, dependent=False)
        encoders["columns"] = columns_encoder(base.grid, base.summary, world.fitted)
    else:
        encoders["without pictures"] = ScoreEncoder(_fixed(world, pictures=False))
    for i, name in enumerate(world.vectors):
        encoder = vector_encoder(i, world.fitted.vectors[i], rng)
        if encoder is not None:
            encoders[name] = encoder
    return [View(name, one, cut(one, world.sampled, _RUN), _RUN, (), 1.0) for name, one in encoders.items()]


def _print_rows(name: str, world: World) -> None:
    """Each score, over the live rows as they are and attacked."""
    fixed = _fixed(world)
    clean = scores.score(fixed, world.live)
    attacked = {kind: scores.score(fixed, block) for kind, block in world.attacked.items()}
    lines = []
    for i, score in enumerate((*clean.names, "T2")):
        values = [(one.u[:, i], one.p[:, i]) if i < len(one.names) else (one.t2, np.exp(one.log_p))
                  for one in (clean, *attacked.values())]  # fmt: skip
        cells = [f"{auroc(values[0][0], u):.2f} {np.mean(p <= 0.05):.2f}" for u, p in values[1:]]
        lines.append((score, f"{np.mean(values[0][1] <= 0.05):.3f}", *cells))
    fooled = [f"{_fooled(world, block):.2f}" for block in world.attacked.values()]
    lines.append(("answer changed", "", *fooled))
    table(f"{name}: AUROC and share of rows at p <= 0.05, by score", ("score", "clean", *attacked), lines)


def _fooled(world: World, block: Block) -> float:
    at = int(world.layout.probabilities)
    return float((block.vectors[at].argmax(axis=1) != world.live.vectors[at].argmax(axis=1)).mean())


def auroc(negative: FloatArray, positive: FloatArray) -> float:
    """Chance that a positive is above a negative, ties half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / 2 / len(ordered))


def powers(world: World, views: list[View], kinds: list[tuple[str, float]], windows: int) -> Iterator[FloatArray]:
    """Share of windows at p <= 1 % by view, joint_min_p and its spectral MMD alone ``(v, 2)``, for each kind."""
    test = JointDefault()
    fixed = [test.fit(view, np.random.default_rng(2)) for view in views]
    for kind, share in kinds:
        rng, found = np.random.default_rng(3), np.zeros((len(views), 2))
        for _ in range(_number(kind, windows)):
            rows = rng.permutation(world.live.rows)[:_ROWS]
            odd = rng.permutation(_ROWS) < round(share * _ROWS)
            window = _some((world.live, rows[~odd]), (world.attacked.get(kind, world.live), rows[odd]))
            window = _some((window, rng.permutation(_ROWS)))
            for i, view in enumerate(views):
                said = test.score(fixed[i], view, cut(view.encoder, window, _RUN), rng)
                found[i] += np.exp([said.log_p, said.extra["log_p_spectral_mmd"]]) <= _LEVEL
        yield found / _number(kind, windows)


def _number(kind: str, windows: int) -> int:
    return windows * (5 if kind == CLEAN else 1)


def _print_windows(name: str, world: World, windows: int) -> None:
    kinds = [(CLEAN, 0.0)] + [(kind, share) for kind in world.attacked for share in _SHARES]
    seen = views_of(world)
    lines = [
        (kind, f"{share:.0%}", _number(kind, windows), *(f"{both:.2f} / {mmd:.2f}" for both, mmd in found))
        for (kind, share), found in zip(kinds, powers(world, seen, kinds, windows), strict=True)
    ]
    headings = ("attack", "share", "windows", *(view.name for view in seen))
    table(f"{name}: share of windows of {_ROWS} rows at p <= {_LEVEL} (joint_min_p / spectral MMD)", headings, lines)


def _print_level(references: int) -> None:
    """False alarms of windows and rows over references drawn anew: 10,000 rows of `glyphs`, then 20 windows of it."""
    task, test, per = tasks.glyphs(), JointDefault(draws=199), 20
    windows, rows = [], []
    for seed in range(references):
        rng = np.random.default_rng([14, seed])
        world = _perceptron(task, [tasks.more_glyphs(n, rng) for n in (2500, 7500, _ROWS * per)], rng, attacks=False)
        encoder = ScoreEncoder(_fixed(world))
        view = View("row scores", encoder, cut(encoder, world.sampled, _RUN), _RUN, (), 1.0)
        fixed = test.fit(view, rng)
        parts = [_some((world.live, np.arange(_ROWS) + _ROWS * i)) for i in range(per)]
        windows.append([np.exp(test.score(fixed, view, cut(encoder, part, _RUN), rng).log_p) for part in parts])
        heuristics, odd = scores.flags(scores.score(encoder.fixed, world.live), _LEVEL)
        rows.append(dict(zip(heuristics, odd.mean(axis=0).tolist(), strict=True)))
    found = np.array(windows)
    lines = [(f"windows at {level:.0%}", *_spread((found <= level).mean(axis=1))) for level in (0.01, 0.05)]
    names = sorted({name for one in rows for name in one})
    lines += [
        (f"rows at {_LEVEL:.0%}: {name}", *_spread(np.array([one[name] for one in rows if name in one])))
        for name in names
    ]
    headings = ("asked", "references", "mean rate", "standard error", "5 to 95 % of references")
    table(f"glyphs: false alarms, {per} windows of {_ROWS} rows a reference", headings, lines)


def _spread(rates: FloatArray) -> tuple[object, ...]:
    error = rates.std() / np.sqrt(len(rates))
    low, high = np.quantile(rates, [0.05, 0.95])
    return len(rates), f"{rates.mean():.4f}", f"{error:.4f}", f"{low:.4f} to {high:.4f}"


def _print_cost() -> None:
    """500 x 128: 128 columns, an embedding of 128, ten probabilities and logits."""
    reference, window = _table_of(10_000, 0), _table_of(_ROWS, 1)
    base = simulate.reference_of(reference, dependent=False)
    layout = Layout(np.arange(128), _NONE, np.array(0), np.array(1), np.array(2), _NO, _NO, _NONE)

    def fit() -> scores.RowsFixed:
        return scores.fit(layout, base.grid, base.summary, reference, None, np.random.default_rng(0))

    fixed = fit()
    lines = [
        ("fit on 10,000 rows", f"{1e3 * cpu(fit, 3):.0f}"),
        (
            f"score {_ROWS} rows, {len(scores.names(fixed))} scores",
            f"{1e3 * cpu(lambda: scores.score(fixed, window), 20):.1f}",
        ),
        ("the view's encoder", f"{1e3 * cpu(lambda: ScoreEncoder(fixed).encode(window), 20):.1f}"),
    ]
    table("CPU milliseconds: 128 columns, embedding of 128, 10 probabilities, 10 logits", ("", "ms"), lines)


_WORLDS: dict[str, Callable[[], World]] = {
    "glyphs": glyphs,
    "mnist": mnist,
    "cnn": cnn,
    "adult": adult,
    "spambase": spambase,
}


def _table_of(n: int, seed: int) -> Block:
    rng = np.random.default_rng(seed)
    centres = 0.6 * np.random.default_rng(9).standard_normal((10, 128))
    truth = rng.integers(0, 10, n)
    z, x = (centres[truth] + rng.standard_normal((n, 128)) for _ in range(2))
    logits = 0.7 * z @ centres.T
    vectors = _block(z, softmax(logits.astype(np.float32)), logits).vectors
    return Block(np.asfortranarray(x), np.zeros((n, 0), np.int32), np.zeros(128, np.int64), None, vectors)
