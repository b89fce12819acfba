"""Honest traffic that looks like an attack: each yields parts of an endless trace, ``part`` rows or so at a time.

All take a task, a source of ordinary rows `Fresh` and a generator of random numbers. No row of them is an attack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from detectors.types import FloatArray, SingleArray
from tests.attacks.models import margin
from tests.attacks.tasks import GRAIN, Task, more_glyphs
from tests.attacks.traces import Trace, names, trace_of

Fresh = Callable[[int, np.random.Generator], SingleArray]
"""Draws so many ordinary rows."""
LookAlike = Callable[[Task, Fresh, np.random.Generator, int], Iterator[Trace]]


def fresh(task: Task) -> Fresh:
    """Ordinary rows: of `glyphs` new ones for ever, of other tasks the live rows again and again."""
    if task.name == "glyphs":
        return more_glyphs
    return lambda number, rng: task.test[rng.integers(0, len(task.test), number)]


def _scenes(task: Task, draw: Fresh, number: int, rng: np.random.Generator) -> SingleArray:
    """What a camera looks at, before its noise: known of glyphs only."""
    return more_glyphs(number, rng, grain=0.0) if task.name == "glyphs" else draw(number, rng)


class _Clock:
    """Times that go on from part to part."""

    def __init__(self, rng: np.random.Generator, each: float) -> None:
        self.now, self.each, self.rng = 0.0, each, rng

    def times(self, number: int, *, even: bool = False) -> FloatArray:
        steps = np.full(number, self.each) if even else self.rng.exponential(self.each, number)
        found = self.now + np.cumsum(steps)
        self.now = float(found[-1])
        return found


def retries(task: Task, draw: Fresh, rng: np.random.Generator, part: int) -> Iterator[Trace]:
    """Each row up to three times, byte for byte, from one of 20 clients whose connection is poor."""
    clients, clock = names(20, rng), _Clock(rng, 0.5)
    while True:
        times = rng.integers(1, 4, part // 2)
        rows = np.repeat(draw(len(times), rng), times, axis=0)
        sender = np.repeat(rng.choice(clients, len(times)), times)
        yield trace_of(rows, task.answer(rows), sender, clock.times(len(rows)), "retries")


def video(task: Task, draw: Fresh, rng: np.random.Generator, part: int) -> Iterator[Trace]:
    """Three cameras, 25 frames a second: an object sways by half a pixel, with their noise, then the next comes."""
    clients, clock = names(3, rng), _Clock(rng, 0.04 / 3)
    while True:
        frames = max(part // 3, 2)
        rows = np.stack([_filmed(task, scene, frames, 0.5, rng) for scene in _scenes(task, draw, 3, rng)], axis=1)
        rows = rows.reshape(frames * 3, -1)
        yield trace_of(rows, task.answer(rows), np.tile(clients, frames), clock.times(len(rows), even=True), "video")


def ambiguous_video(task: Task, draw: Fresh, rng: np.random.Generator, part: int) -> Iterator[Trace]:
    """One camera on an object that the model is not sure of: low margins and changing answers while it stands there."""
    client, clock = names(1, rng), _Clock(rng, 0.04)
    while True:
        some = _scenes(task, draw, 1000, rng)
        scene = some[np.argmin(margin(task.answer(some)))]
        rows = _filmed(task, scene, part, 0.1, rng)
        yield trace_of(rows, task.answer(rows), int(client[0]), clock.times(part, even=True), "ambiguous video")


def noisy_video(task: Task, draw: Fresh, rng: np.random.Generator, part: int) -> Iterator[Trace]:
    """As `ambiguous_video`, and every other scene as it comes, from a camera with ten times the reference's noise."""
    client, clock = names(1, rng), _Clock(rng, 0.04)
    while True:
        for number in (1000, 1):
            some = _scenes(task, draw, number, rng)
            rows = _filmed(task, some[np.argmin(margin(task.answer(some)))], part, 0.1, rng, grain=10 * GRAIN)
            yield trace_of(rows, task.answer(rows), int(client[0]), clock.times(part, even=True), "noisy video")


def faulty(task: Task, draw: Fresh, rng: np.random.Generator, part: int) -> Iterator[Trace]:
    """Among 30 senders one whose camera is mirrored, one inverted, one dim, one half covered; or whose scale is off."""
    clients, clock = names(30, rng), _Clock(rng, 1.0)
    while True:
        rows, who = draw(part, rng).copy(), rng.integers(0, 30, part)
        for broken, fault in enumerate(_FAULTS if task.image[0] else _OFF_SCALE):
            mine = who == broken
            shape = (-1, *task.image) if task.image[0] else (-1, task.free)
            rows[mine, : task.free] = fault(rows[mine, : task.free].reshape(shape)).reshape(-1, task.free)
        rows = task.natural(rows)
        yield trace_of(rows, task.answer(rows), clients[who], clock.times(part), "faulty senders")


def _covered(pictures: SingleArray) -> SingleArray:
    height, width = pictures.shape[1:]
    corner = (np.arange(height)[:, None] < height // 2) & (np.arange(width) < width // 2)
    return np.where(corner, np.float32(0), pictures)


_FAULTS: tuple[Callable[[SingleArray], SingleArray], ...] = (
    lambda pictures: pictures[:, :, ::-1],
    lambda pictures: 1 - pictures,
    lambda pictures: pictures * np.float32(0.5),
    _covered,
)
_OFF_SCALE: tuple[Callable[[SingleArray], SingleArray], ...] = (
    lambda values: values + np.float32(0.15),
    lambda values: values * np.float32(0.5),
)


def _filmed(
    task: Task, scene: SingleArray, frames: int, sway: float, rng: np.random.Generator, grain: float = GRAIN
) -> SingleArray:
    """Frames of one scene that sways to and fro by so many pixels, with the camera's noise."""
    image = scene.reshape(task.image)
    way = sway * np.sin(np.arange(frames) / 15 + rng.uniform(0, 6))[:, None, None]
    left, right = np.roll(image, -1, axis=1), np.roll(image, 1, axis=1)
    moved = image + np.maximum(way, 0) * (right - image) + np.maximum(-way, 0) * (left - image)
    return _grainy(task, moved.reshape(frames, -1).astype(np.float32), grain, rng)


def _grainy(task: Task, rows: SingleArray, sigma: float, rng: np.random.Generator) -> SingleArray:
    """Noise on what a sender can move, in natural values."""
    noise = np.zeros_like(rows)
    noise[:, : task.free] = sigma * rng.standard_normal((len(rows), task.free), np.float32)
    return task.natural(rows + noise)


def customers(task: Task, draw: Fresh, rng: np.random.Generator, part: int) -> Iterator[Trace]:
    """200 regular customers of 20 branches: the same row each time but for one or two values."""
    clients, clock = names(20, rng), _Clock(rng, 1.0)
    known = draw(200, rng)
    while True:
        who = rng.integers(0, len(known), part)
        rows = known[who].copy()
        for _ in range(2):
            column = rng.integers(0, task.free, part)
            rows[np.arange(part), column] = np.clip(
                rows[np.arange(part), column] + rng.normal(0.0, 0.03, part).astype(np.float32), 0.0, 1.0
            )
        rows = task.natural(rows)
        yield trace_of(rows, task.answer(rows), clients[who % 20], clock.times(part), "customers")


def pagination(task: Task, draw: Fresh, rng: np.random.Generator, part: int) -> Iterator[Trace]:
    """Readers page through lists: a row again with one number a little higher, 5 to 30 pages long.

    The number is that of the column with most values.
    """
    clients, clock = names(50, rng), _Clock(rng, 0.7)
    column = int(np.argmax([len(np.unique(values)) for values in task.test[:, : task.free].T]))
    while True:
        lists = max(part // 17, 1)
        pages = rng.integers(5, 31, lists)
        rows = np.repeat(draw(lists, rng), pages, axis=0)
        page = np.arange(len(rows)) - np.repeat(np.cumsum(pages) - pages, pages)
        rows[:, column] = np.clip(rows[:, column] + page * np.float32(1 / 256), 0.0, 1.0)
        rows = task.natural(rows)
        sender = np.repeat(rng.choice(clients, lists), pages)
        yield trace_of(rows, task.answer(rows), sender, clock.times(len(rows)), "pagination")


def replays(task: Task, draw: Fresh, rng: np.random.Generator, part: int) -> Iterator[Trace]:
    """An A/B test sends all traffic twice, the second time from the replayer and encoded a little otherwise."""
    clients, clock = names(30, rng), _Clock(rng, 0.2)
    second = names(1, rng)[0]
    while True:
        half = max(part // 2, 1)
        first = draw(half, rng)
        rows = np.stack([first, _grainy(task, first, 0.003, rng)], axis=1).reshape(-1, first.shape[1])
        sender = np.column_stack([rng.choice(clients, half), np.full(half, second, np.uint64)]).ravel()
        yield trace_of(rows, task.answer(rows), sender, clock.times(len(rows)), "A/B replay")


def load_test(task: Task, draw: Fresh, rng: np.random.Generator, part: int) -> Iterator[Trace]:
    """Fifty prepared rows as fast as they go from four machines, every second time with noise to get past the cache."""
    clients, clock = names(4, rng), _Clock(rng, 0.001)
    prepared = draw(50, rng)
    while True:
        rows = prepared[rng.integers(0, 50, part)].copy()
        rows[::2] = _grainy(task, rows[::2], 0.005, rng)
        yield trace_of(rows, task.answer(rows), rng.choice(clients, part), clock.times(part, even=True), "load test")


def sensor(task: Task, draw: Fresh, rng: np.random.Generator, part: int) -> Iterator[Trace]:
    """Ten sensors report every minute what hardly changes: a slow walk around their own row, to and fro."""
    clients, clock = names(10, rng), _Clock(rng, 6.0)
    home = draw(10, rng)
    here = np.zeros((10, task.free), np.float32)
    while True:
        rounds = max(part // 10, 1)
        rows = np.repeat(home[None], rounds, axis=0)
        for turn in range(rounds):
            here = np.float32(0.99) * here + np.float32(0.003) * rng.standard_normal(here.shape, np.float32)
            rows[turn, :, : task.free] += here
        rows = task.natural(rows.reshape(-1, home.shape[1]))
        yield trace_of(rows, task.answer(rows), np.tile(clients, rounds), clock.times(len(rows), even=True), "sensor")


def surveillance(task: Task, draw: Fresh, rng: np.random.Generator, part: int) -> Iterator[Trace]:
    """Ten cameras send a picture of the same place every minute, a little brighter or darker than the last one."""
    clients, clock = names(10, rng), _Clock(rng, 6.0)
    home, light = _scenes(task, draw, 10, rng), np.zeros((10, 1), np.float32)
    while True:
        rounds = []
        for _ in range(max(part // 10, 1)):
            light = np.float32(0.95) * light + np.float32(0.02) * rng.standard_normal(light.shape, np.float32)
            rounds.append(home * (1 + light))
        rows = _grainy(task, np.concatenate(rounds), GRAIN, rng)
        sender, times = np.tile(clients, len(rounds)), clock.times(len(rows), even=True)
        yield trace_of(rows, task.answer(rows), sender, times, "surveillance")


IMAGES: dict[str, LookAlike] = {
    "retries": retries,
    "video": video,
    "ambiguous video": ambiguous_video,
    "A/B replay": replays,
    "load test": load_test,
    "surveillance": surveillance,
    "noisy video": noisy_video,
    "faulty senders": faulty,
}
"""What can be sent to a model of images."""
TABLES: dict[str, LookAlike] = {
    "retries": retries,
    "customers": customers,
    "pagination": pagination,
    "A/B replay": replays,
    "load test": load_test,
    "sensor": sensor,
    "faulty senders": faulty,
}
"""What can be sent to a model of a table."""
