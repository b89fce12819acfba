"""What the tests of the guard share: a small model of glyphs with its guard, traffic, and an attacker in it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from detectors.queries.suspicion import Suspicion
from monitor.clock import Clock
from monitor.config import Model
from monitor.decode import Decoder
from monitor.fitted import Fitted
from monitor.loading import measure_batches
from monitor.report import Finding
from monitor.security.guard import Guard
from monitor.security.pseudonyms import Pseudonyms
from monitor.security.start import guard_of
from monitor.told import Told
from tests.attacks import guarded, tasks, traces
from tests.attacks.campaign import campaign
from tests.attacks.lookalikes import LookAlike
from tests.attacks.tasks import Task
from tests.attacks.traces import Trace
from tests.statistical.data import batch_of

KEY = b"k" * 32
LENGTH = 10_000.0
PANE = 200
REFERENCE = 2500
EVE = "eve@example.org"
ROLES: dict[str, Any] = {
    "client": "who",
    "time": "at",
    "prediction": "answer",
    "probabilities": "chance",
    "label": "truth",
    "image": "image",
    "image_shape": [20, 20, 1],
}


def model(**security: Any) -> Model:
    """Windows, and so the hold, of three panes."""
    document = {
        "name": "glyphs",
        "reference": "unused.parquet",
        "columns": ROLES,
        "pane": {"rows": PANE},
        "window": {"panes": 3},
        "alarms": {"false_alarms": "1 per 10000 panes"},
        "security": {"queries": 3000} | security,
    }
    return Model.model_validate(document)


@cache
def task() -> Task:
    return tasks.glyphs()


@cache
def fitted() -> Fitted:
    """Measured once, with all that the guard measures."""
    from monitor.prepared import prepared

    rows = traces.traffic(task().reference[:REFERENCE], task().answer, np.random.default_rng(0))
    table = guarded.table(task(), rows).append_column(
        "truth", pa.array(task().reference_labels[:REFERENCE].astype(str))
    )
    return prepared(measure_batches([batch_of(table)], model()), model())


def guard(clock: Clock | None = None, **security: Any) -> Guard:
    made = guard_of(model(**security), fitted(), KEY, "config", lambda: 0.0, clock)
    assert made is not None
    return made


def benign(rows: int, seed: int, *, each: float = 1.0, begin: float = 0.0) -> Trace:
    rng = np.random.default_rng(seed)
    return traces.traffic(tasks.more_glyphs(rows, rng), task().answer, rng, each=each, begin=begin)


def hop_skip_jump(rows: int, seed: int = 5) -> Trace:
    return campaign(task(), "HopSkipJump", np.random.default_rng(seed), most=rows).trace


def honest(look: LookAlike, rows: int, seed: int = 3) -> Trace:
    """So many rows of a look-alike."""
    parts = look(task(), tasks.more_glyphs, np.random.default_rng(seed), rows)
    return next(parts).take(slice(0, rows))


def batch(trace: Trace, *, eve: bool = True) -> pa.RecordBatch:
    """The rows as logged; the attacker is called `EVE`."""
    table = guarded.table(task(), trace)
    names = np.where(trace.is_attack & eve, EVE, np.array(table["who"].to_pylist()))
    return batch_of(table.set_column(table.schema.get_field_index("who"), "who", pa.array(names)))


def feed(one: Guard, rows: pa.RecordBatch, number: int, version: str = "v1", now: float | None = None) -> Told | None:
    """Feed a batch whose first row has this number."""
    decoder = Decoder(fitted().plan, fitted().reference.grid, fitted().vocabularies)
    at = float(number) if now is None else now
    return one.feed(decoder.decode(rows), version, at, number // PANE, LENGTH)


def run(one: Guard, rows: pa.RecordBatch, *, size: int = PANE, first: int = 0) -> list[Told]:
    """All that is told while the rows go in."""
    told = (feed(one, rows.slice(start, size), first + start) for start in range(0, rows.num_rows, size))
    return [each for each in told if each is not None]


def findings(told: list[Told]) -> list[Finding]:
    return [finding for each in told for finding, _ in each.findings]


def pseudonym(name: str = EVE) -> str:
    return f"client {Pseudonyms(KEY).of_name(name):016x}"


def suspicion(who: int, **changes: Any) -> Suspicion:
    """A sender's boundary search, without doubt."""
    facts = {"flips_log_p": -50.0, "low_margin_log_p": -50.0}
    plain = Suspicion(
        "near_duplicates",
        "client",
        who,
        60.0,
        float("nan"),
        400,
        300,
        0,
        500,
        ((who, 400),),
        facts,
        np.zeros(0, np.int64),
    )
    return plain._replace(**changes)
