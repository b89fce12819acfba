"""What profiles of answers find, and what they cost: ``profiles [streams] [delay | null | cost] [world]``.

Streams of answers are drawn at random from real ones, first 50 panes of 200 rows as the reference's law, then shifted:
digits of a convolutional network (probabilities of ten classes; corrupted, attacked and strange pictures, classes in
other shares, other temperatures), CIFAR-10 (probabilities), and the census of Massachusetts (a score, with its inputs).
Each is judged through the agent's own path with what is logged alone (joint views on), with the confidence beside it,
and with all profiles, at the same threshold of 10,000 panes, which the columns share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pyarrow as pa
from scipy.special import expit, logit

from detectors.types import FloatArray, SingleArray
from monitor import profiles
from monitor.config import Model
from monitor.schema import Plan
from monitor.streams import ModelStreams
from monitor.telling import decoder_of
from tests.bench.common import cpu, table
from tests.statistical import data

PANE, WARM, HORIZON, THRESHOLD = 200, 50, 150, 10_000
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "logged only": (),
    "and confidence": ("confidence",),
    "all": ("confidence", "margin", "entropy", "chance", "answer"),
}
Draw = Callable[[int, np.random.Generator], pa.Table]


class World(NamedTuple):
    """Columns of the log, rows as the reference's, and rows of each shift."""

    columns: Mapping[str, Any]
    usual: Draw
    shifted: Mapping[str, Draw]
    variants: tuple[str, ...] = tuple(VARIANTS)


def run(streams: str = "4", only: str = "", world: str = "") -> None:
    """Print the tables, of one world or of all."""
    if only in ("", "delay", "null"):
        for name, made in _WORLDS.items():
            if world in ("", name):
                _print(name, made(), int(streams), only)
    if only in ("", "cost"):
        _print_cost()


def _print(name: str, world: World, streams: int, only: str) -> None:
    heads = ("shift", *world.variants)
    models = {variant: watching(world, VARIANTS[variant]) for variant in world.variants}
    if only != "null":
        rows = [
            [
                shift,
                *(_told([delay(make, world, draw, seed) for seed in range(streams)]) for make in models.values()),
            ]
            for shift, draw in world.shifted.items()
        ]
        table(f"{name}: panes to the first page, median of {streams} (found; before the shift)", heads, rows)
    if only != "delay":
        quiet = [sum(_pages(make, world, seed) for seed in range(streams)) for make in models.values()]
        table(f"{name}: pages in {streams} x 500 panes without a shift", heads, [["none", *quiet]])


def watching(world: World, wanted: tuple[str, ...]) -> Callable[[], ModelStreams]:
    """Begins streams that are held against one reference with the wanted profiles."""
    settings = Model.model_validate(
        {
            "name": "m",
            "reference": "unused.parquet",
            "columns": dict(world.columns),
            "pane": {"rows": PANE},
            "alarms": {"false_alarms": f"1 per {THRESHOLD} panes", "smallest_shift": 0.02},
        }
    )

    def some(*given: Any) -> Plan:
        plan = profiles.planned(*given)
        return replace(plan, columns=tuple(c for c in plan.columns if not c.source or c.role in wanted))

    with mock.patch("monitor.reference.planned", some):
        fitted = data.streams_of(settings, world.usual(20_000, np.random.default_rng(1))).fitted
    return lambda: ModelStreams(settings, fitted, config_id="test", timer=lambda: 0.0)


def _fed(make: Callable[[], ModelStreams], parts: Iterator[pa.Table]) -> Iterator[tuple[int, str]]:
    """Pane and severity of every finding."""
    streams = make()
    for part in parts:
        for report in streams.feed(data.batch_of(part), "", 0.0).reports:
            yield from ((report.pane, one.severity) for one in report.findings)


def delay(make: Callable[[], ModelStreams], world: World, draw: Draw, seed: int) -> float:
    rng = np.random.default_rng([seed, 7])

    def parts() -> Iterator[pa.Table]:
        yield world.usual(WARM * PANE, rng)
        for _ in range(HORIZON // 10):
            yield draw(10 * PANE, rng)

    found = (pane - WARM for pane, severity in _fed(make, parts()) if severity == "page")
    return next(found, float("inf"))


def _told(delays: list[float]) -> str:
    late = np.array([one for one in delays if one > 0])
    median = float(np.quantile(late, 0.5, method="higher")) if late.size else np.nan
    early = f"; {len(delays) - late.size} early" if late.size < len(delays) else ""
    return f"{median:.0f} ({np.isfinite(late).sum()} of {len(delays)}{early})"


def _pages(make: Callable[[], ModelStreams], world: World, seed: int) -> int:
    rng = np.random.default_rng([seed, 8])
    parts = (world.usual(50 * PANE, rng) for _ in range(10))
    return sum(severity == "page" for _, severity in _fed(make, parts))


def _answers(p: SingleArray) -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(p.astype(np.float32).ravel()), p.shape[1])
    return pa.table({"said": pa.array(p.argmax(axis=1).astype(str)), "p": vectors})


def _of(*pools: tuple[SingleArray, float]) -> Draw:
    """Rows of pools of probabilities in the given shares."""

    def draw(number: int, rng: np.random.Generator) -> pa.Table:
        which = rng.choice(len(pools), number, p=[share for _, share in pools])
        rows = [pool[rng.integers(len(pool), size=number)] for pool, _ in pools]
        return _answers(np.stack(rows)[which, np.arange(number)])

    return draw


def _tempered(p: SingleArray, temperature: float) -> SingleArray:
    with np.errstate(divide="ignore"):
        raised = np.exp((np.log(np.maximum(p, 1e-12)) / temperature).astype(np.float64))
    tempered: SingleArray = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    return tempered


def mnist() -> World:
    """The network's answers to digits that it has not seen."""
    folder = data.ROOT / "mnist_shift"
    with np.load(folder / "mnist_t10k.npz") as stored:
        p, split, labels = stored["probs"].astype(np.float32), stored["split"], stored["labels"]
        usual = p[split > 0]
        nine = p[(split > 0) & (labels == 9)]
    shifted = {"another 10 % are nines": _of((usual, 0.9), (nine, 0.1))}
    with np.load(folder / "corrupted.npz") as stored:
        names = stored["names"].tolist()
        for one in ("gaussian_noise_0.30", "blur_1.0", "rotate_20", "salt_pepper_5pct"):
            odd = stored["probs"][names.index(one)].astype(np.float32)
            shifted[f"{one}, 30 % of rows"] = _of((usual, 0.7), (odd, 0.3))
    with np.load(folder / "adversarial.npz") as stored:
        names = stored["names"].tolist()
        for i, name in [(names.index(one), one) for one in ("fgsm_0.1", "pgd20_0.1", "pgd20_0.2")]:
            shifted[f"{name}, 10 % of rows"] = _of((usual, 0.9), (stored["probs"][i].astype(np.float32), 0.1))
    with np.load(folder / "notmnist_first5000.npz") as stored:
        shifted["letters, 10 % of rows"] = _of((usual, 0.9), (stored["probs_of_mnist_model"].astype(np.float32), 0.1))
    return World({"prediction": "said", "probabilities": "p"}, _of((usual, 1.0)), shifted)


def cifar() -> World:
    """A network that is too sure."""
    rows = data.table("cleanlab_test_predictions", "cifar10.parquet")
    p = np.stack([rows[f"p{i}"].to_numpy() for i in range(10)], axis=1).astype(np.float32)
    shifted = {f"temperature {t:g}": _of((_tempered(p, t), 1.0)) for t in (0.8, 1.1, 1.25)}
    shifted["half of the chances of 10 % of rows on the next class"] = _of((p, 0.9), (_halved(p), 0.1))
    return World({"prediction": "said", "probabilities": "p"}, _of((p, 1.0)), shifted)


def _halved(p: SingleArray) -> SingleArray:
    halved: SingleArray = (0.52 * p + 0.48 * np.roll(p, 1, axis=1)).astype(np.float32)
    return halved


def census() -> World:
    """A score with all inputs, which stay as they are."""
    rows = data.table("ma_employment", "reference.parquet").drop_columns(["id", "year", "employed"])
    score = np.clip(rows["predicted_probability"].to_numpy(), 1e-4, 1 - 1e-4)

    def draw(change: Callable[[FloatArray, np.random.Generator], FloatArray]) -> Draw:
        def some(number: int, rng: np.random.Generator) -> pa.Table:
            which = rng.integers(len(score), size=number)
            p = expit(change(logit(score[which]), rng))
            taken = rows.take(pa.array(which)).drop_columns(["predicted_probability", "prediction"])
            return taken.append_column("score", pa.array(p)).append_column("said", pa.array((p >= 0.5).astype(int)))

        return some

    shifted = {
        "logits x 0.9": draw(lambda z, _: 0.9 * z),
        "logits x 0.8": draw(lambda z, _: 0.8 * z),
        "logits x 1.25": draw(lambda z, _: 1.25 * z),
        "logits + 0.1": draw(lambda z, _: z + 0.1),
        "logits + 0.2": draw(lambda z, _: z + 0.2),
        "10 % undecided": draw(lambda z, rng: np.where(rng.random(len(z)) < 0.1, rng.normal(size=len(z)) / 4, z)),
        "logits with noise of deviation 0.5": draw(lambda z, rng: z + rng.normal(size=len(z)) / 2),
    }
    roles = {"prediction": "said", "score": "score"}
    return World(roles, draw(lambda z, _: z), shifted, ("logged only", "and confidence"))


_WORLDS: Mapping[str, Callable[[], World]] = {"census": census, "mnist": mnist, "cifar": cifar}


def _print_cost() -> None:
    """CPU time of decoding a row, with and without profiles."""
    rng = np.random.default_rng(3)
    lines = [
        [classes or "score", rows, *_costs(classes, rows, rng)]
        for classes in (0, 2, 3, 10, 100, 1000)
        for rows in (256, 4096)
    ]
    table("Decoding, ns a row", ("classes", "rows a batch", "logged only", "with profiles", "profiles"), lines)


def _costs(classes: int, rows: int, rng: np.random.Generator) -> list[str]:
    def draw(number: int, rng: np.random.Generator) -> pa.Table:
        inputs = {f"x{i}": rng.normal(size=number) for i in range(20)}
        if not classes:
            return pa.table({**inputs, "p": rng.random(number)})
        p = pa.array(rng.dirichlet(np.full(classes, 0.3), number).astype(np.float32).ravel())
        return pa.table({**inputs, "p": pa.FixedSizeListArray.from_arrays(p, classes)})

    world = World({"probabilities" if classes else "score": "p"}, lambda n, r: draw(min(n, 2_000), r), {})
    batch, spent = data.batch_of(draw(rows, rng)), []
    for wanted in ((), VARIANTS["all"]):
        with mock.patch("monitor.reference.views_of", return_value=((), ())):
            decode = decoder_of(watching(world, wanted)().fitted).decode
        spent.append(1e9 * cpu(lambda some=decode: [some(batch) for _ in range(20)], 5) / 20 / rows)  # type: ignore[misc]
    return [f"{spent[0]:.0f}", f"{spent[1]:.0f}", f"{spent[1] - spent[0]:.0f}"]
