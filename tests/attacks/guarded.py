"""The agent's own guard as a watch: rows go in as a batch of the log, and what it judges comes out as alarms."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from detectors.queries.suspicion import Suspicion
from detectors.types import SingleArray
from monitor.budget import GUARD
from monitor.config import Model
from monitor.decode import Decoder
from monitor.fitted import Fitted
from monitor.loading import measure_batches
from monitor.report import Finding
from monitor.security.cases import Cases, Facts, Key, Now
from monitor.security.pseudonyms import Pseudonyms
from monitor.security.start import guard_of
from tests.attacks import traces
from tests.attacks.tasks import Task
from tests.attacks.traces import Trace
from tests.attacks.watch import Alarm, Alarms, Seen
from tests.statistical.data import batch_of

KEY = b"k" * 32
PANE = 1000
"""Rows of a pane, for the budget."""
LENGTH = 10_000.0
"""Panes without a false alarm that the model is promised."""


class Known:
    """A task's configuration and its measured reference, for many guards."""

    def __init__(self, task: Task, *, training: bool = False, answers: SingleArray | None = None) -> None:
        """``answers`` are the reference's probabilities where another model than the task's is watched."""
        self.task = task
        image = {"image": "image", "image_shape": [*task.image, 1]} if task.image[0] else {}
        roles = {
            "client": "who",
            "time": "at",
            "prediction": "answer",
            "probabilities": "chance",
            "label": "truth",
            **image,
        }
        security = {"training": training}
        document = {"name": task.name, "reference": "r.parquet", "columns": roles, "security": security}
        self.model = Model.model_validate(document)
        rng = np.random.default_rng(0)
        rows = traces.traffic(task.reference, task.answer, rng)
        rows = rows if answers is None else rows._replace(probabilities=answers)
        reference = table(task, rows).append_column("truth", pa.array(task.reference_labels.astype(str)))
        self.fitted: Fitted = measure_batches([batch_of(reference)], self.model)


def table(task: Task, trace: Trace) -> pa.Table:
    """A trace as the log has it, but for labels."""
    block = task.block(trace.inputs)
    columns: dict[str, pa.Array] = {
        "who": pa.array([f"{client:x}" for client in trace.client.tolist()]),
        "at": pa.array((trace.time * 1e6).astype("datetime64[us]")),
        "answer": pa.array(trace.predicted.astype(str)),
        "chance": _vectors(trace.probabilities),
    }
    if task.columns is None:
        return pa.table(columns | {"image": _vectors(trace.inputs)})
    numbers, words = np.split(np.array(task.columns.names), [block.numeric.shape[1]])
    columns |= {str(name): pa.array(block.numeric[:, j]) for j, name in enumerate(numbers)}
    columns |= {str(name): pa.array(block.codes[:, j].astype(str)) for j, name in enumerate(words)}
    return pa.table(columns)


def _vectors(rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows).ravel()), rows.shape[1])


class Heard(Cases):
    """Cases that keep each suspicion of the last look with its verdict and cause, harmless ones too."""

    heard: list[tuple[Suspicion, str, str]]

    def judge(
        self, told: Iterable[Suspicion], watching: Collection[str], more: Mapping[Key, Facts], now: Now
    ) -> list[tuple[Finding, Sequence[Suspicion]]]:
        """As the guard's own."""
        told = list(told)
        news = super().judge(told, watching, more, now)
        known = ((one, self.cases.get((one.about, one.who))) for one in told)
        self.heard = [(one, case.triage, case.cause) for one, case in known if case is not None]
        return news


class Guarded:
    """A guard that has seen nothing but the reference."""

    def __init__(self, known: Known) -> None:
        self._known = known
        made = guard_of(known.model, known.fitted, KEY, "bench", lambda: 0.0)
        assert made is not None
        self.guard = made
        grid = known.fitted.reference.grid
        self._decoder = Decoder(known.fitted.plan, grid, known.fitted.vocabularies)
        self._alarms, self._rows = Alarms(), 0
        self._hashes: dict[int, int] = {}
        cases = made.cases
        self._cases = made.cases = Heard(cases.model, cases.config_id, cases.grid_id, cases.hold)

    @property
    def seen(self) -> Seen:
        """Counts so far."""
        repeats = 0 if self.guard.parts.ring is None else self.guard.parts.ring.repeats
        return Seen(self._rows, self.guard.tally.flags.get("near_duplicates", 0), repeats)

    def see(self, trace: Trace) -> list[Alarm]:
        """One batch; senders' evidence is read after it, and judged at the guard's own looks."""
        batch = batch_of(table(self._known.task, trace))
        for client in np.unique(trace.client).tolist():
            self._hashes[_hash(f"{client:x}")] = client
        self._cases.heard = []
        self._rows += trace.rows
        panes = max(self._rows // PANE, 1)
        told = self.guard.feed(self._decoder.decode(batch), "v1", float(trace.time[-1]), panes, LENGTH)
        if told is not None and told.failures:
            raise RuntimeError(str(told.failures))
        bar = math.log(LENGTH / GUARD) + max(math.log((self.guard.parts.clients.born + 1) / panes), 0.0)
        who, log_e = self.guard.parts.clients.log_e()
        names = np.array([self._hashes.get(one, 0) for one in who.tolist()], np.uint64)
        found = self._alarms.of_senders(self._rows, names, log_e, bar)
        judged = [(one._replace(clients=self._named(one)), verdict, cause) for one, verdict, cause in self._cases.heard]
        return found + self._alarms.new(self._rows, judged)

    def _named(self, one: Suspicion) -> tuple[tuple[int, int], ...]:
        """The senders as the trace calls them."""
        return tuple((self._hashes.get(who, 0), rows) for who, rows in one.clients)


def _hash(name: str) -> int:
    return int(Pseudonyms(KEY).of_name(name))
