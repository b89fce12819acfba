"""The ring of recent queries: speed, benign hits where the reference is smaller than the ring, and the query log.

`python -m tests.bench ring [repetitions]`; the last two tables need `shared/data/mnist_shift` and `query_log`.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.queries.ring import NearFixed, Ring, between, calibrate, refusal
from detectors.queries.suspicion import Hits, Queries
from detectors.types import FloatArray, SingleArray
from tests.bench.common import cpu, table
from tests.statistical import data

CAPACITY, WIDTH, CHUNK = 20_000, 64, 256
BAR = 11.5
AIMS = ("flips_log_p", "low_margin_log_p", "confidence_log_p")


def queries(near: SingleArray, probabilities: SingleArray, rng: np.random.Generator) -> Queries:
    """Rows with digests of their own and no names."""
    ordered = np.sort(probabilities.astype(np.float32), axis=1)
    return Queries(
        near,
        rng.integers(1, 2**63, len(near), dtype=np.uint64),
        np.zeros(len(near), np.uint64),
        probabilities.argmax(axis=1).astype(np.int32),
        ordered[:, -1] - ordered[:, -2],
        ordered[:, -1],
        np.arange(len(near), dtype=np.float64),
    )


def thumbnails(images: NDArray[np.uint8]) -> SingleArray:
    """Area means of 28 x 28 pixels on 8 x 8."""
    edge, pixel = np.linspace(0, 28, 9), np.arange(28)
    share = np.clip(np.minimum(edge[1:, None], pixel + 1) - np.maximum(edge[:-1, None], pixel), 0, None)
    share = share / share.sum(axis=1, keepdims=True)
    small = np.einsum("ai,nij,bj->nab", share, images / 255.0, share)
    return np.asarray(small.reshape(len(images), WIDTH), np.float32)


def fed(ring: Ring, whole: Queries, chunk: int = CHUNK) -> Hits:
    """As the guard does it."""
    parts = [ring.add(between(whole, start, start + chunk)) for start in range(0, len(whole.digest), chunk)]
    return Hits(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def speed(rng: np.random.Generator, repeats: int) -> None:
    """Queries a CPU second with a full ring."""

    def rows(n: int) -> Queries:
        return queries(
            rng.standard_normal((n, WIDTH), np.float32), rng.dirichlet(np.ones(10), n).astype(np.float32), rng
        )

    known = calibrate(rows(5000), CAPACITY, rng)
    began = cpu(lambda: calibrate(rows(5000), CAPACITY, rng), 1)
    lines: list[list[object]] = []
    for kind in ("ordinary", "all near-duplicates", "all exact repeats"):
        for chunk in (CHUNK, 16):
            ring = Ring(known, CAPACITY)
            fed(ring, rows(CAPACITY))
            some = rows(2048)
            if kind != "ordinary":
                some = some._replace(near=some.near[:32].repeat(64, axis=0))
            if kind == "all exact repeats":
                some = some._replace(digest=some.digest[:32].repeat(64))
            else:
                some.near[:] += rng.normal(0, 1e-3, some.near.shape).astype(np.float32)
            spent = []
            for _ in range(repeats):
                fresh = some._replace(digest=rng.integers(1, 2**63, 2048, dtype=np.uint64))
                again = some if kind == "all exact repeats" else fresh
                spent.append(cpu_once(ring, again, chunk))
            lines.append([kind, chunk, f"{2048 / np.median(spent):,.0f}"])
    table(f"Queries a CPU second, {CAPACITY:,} x {WIDTH}", ["traffic", "rows a batch", "queries/s"], lines)
    state = sum(array.nbytes for array in ring.state().values())
    print(f"\ncalibrate on 5,000 rows: {began:.2f} CPU s; state {state / 1e6:.1f} MB", flush=True)


def cpu_once(ring: Ring, whole: Queries, chunk: int) -> float:
    """CPU seconds of feeding these once, without a warm-up: the ring remembers."""
    began = time.process_time()
    fed(ring, whole, chunk)
    return time.process_time() - began


def digits() -> tuple[SingleArray, SingleArray, NDArray[np.int8]]:
    """Thumbnails, probabilities and split of the 10,000 test digits."""
    with np.load(data.ROOT / "mnist_shift" / "mnist_t10k.npz") as stored:
        return thumbnails(stored["images"]), stored["probs"].astype(np.float32), stored["split"]


def rates(rng: np.random.Generator, repeats: int) -> None:
    """Share of hits among honest digits once the ring is full."""
    near, probabilities, _ = digits()
    lines: list[list[object]] = []
    for n in (600, 1000, 2000, 4000):
        for capacity in (500, 2000, 4000):
            shares, radii = [], []
            for _ in range(repeats):
                order = rng.permutation(len(near))
                known = calibrate(queries(near[order[:n]], probabilities[order[:n]], rng), capacity, rng)
                hits = fed(Ring(known, capacity), queries(near[order[n:]], probabilities[order[n:]], rng))
                shares.append(hits.hit[capacity:].mean())
                radii.append(float(known.radius.radius))
            lines.append([n, capacity, f"{np.mean(radii):.3f}", f"{np.mean(shares):.3%}", f"{np.max(shares):.3%}"])
    table("Hits among honest digits (at most 0.200 %)", ["reference", "ring", "radius", "mean", "most"], lines)


def log(rng: np.random.Generator) -> None:
    """The log of queries: hits, clusters and their signs by kind of sender."""
    near, probabilities, split = digits()
    known: NearFixed = calibrate(queries(near[split == 0], probabilities[split == 0], rng), CAPACITY, rng)
    whole, kind, client = query_log()
    ring = Ring(known, CAPACITY)
    hits = fed(ring, whole)
    lines: list[list[object]] = []
    told = [one for one in ring.suspicions(BAR) if one.about == "cluster" and one.heuristic == "near_duplicates"]
    for name in sorted(set(kind.tolist())):
        mine = kind == name
        number = [int((kind[one.members] == name).sum() * 2 > len(one.members)) for one in told]
        aimed = [min(one.facts[aim] for aim in AIMS) < np.log(1e-4) for one in told]
        first = [np.flatnonzero(hits.hit[client == who])[:1] for who in np.unique(client[mine])]
        found = sorted(int(place[0]) + 1 for place in first if len(place))
        lines.append(
            [
                name, int(mine.sum()), f"{hits.exact[mine].mean():.1%}", f"{hits.hit[mine].mean():.2%}",
                f"{hits.flip[mine].mean():.1%}", sum(number), sum(a * b for a, b in zip(number, aimed, strict=True)),
                found[len(found) // 2] if found else "none",
            ]
        )  # fmt: skip
    headings = ["kind", "queries", "repeats", "hits", "flips", "clusters told", "with signs of a search", "first hit"]
    table(f"query_log; {refusal(known) or 'radius ' + format(float(known.radius.radius), '.3f')}", headings, lines)


def query_log() -> tuple[Queries, NDArray[np.str_], NDArray[np.uint64]]:
    """Queries, kinds and senders of the stored log."""
    asked, truth = data.table("query_log", "queries.parquet"), data.table("query_log", "labels.parquet")
    with np.load(data.ROOT / "query_log" / "images.npz") as stored:
        images = stored["images"]
    with np.load(data.ROOT / "query_log" / "probs.npz") as stored:
        probabilities = stored["probs"].astype(np.float32)
    digest = np.array([_hash(image.tobytes()) for image in images], np.uint64)
    client = np.array([_hash(str(name).encode()) for name in asked.column("client_id").to_pylist()], np.uint64)
    stamp: FloatArray = asked.column("timestamp").to_numpy().astype(np.int64) / 1e9
    plain = queries(thumbnails(images), probabilities, np.random.default_rng(0))
    kind: NDArray[Any] = np.array(truth.column("kind").to_pylist())
    return plain._replace(digest=digest, client=client, time=stamp), kind, client


def _hash(value: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(value, digest_size=8).digest(), "little")


def run(*args: str) -> None:
    """Print all tables."""
    repeats = int(args[0]) if args else 5
    rng = np.random.default_rng(0)
    speed(rng, repeats)
    rates(rng, repeats)
    log(rng)
