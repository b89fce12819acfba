"""The agent's own guard as a watch: rows go in as a batch of the log, and what it judges comes out as alarms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pyarrow as pa

from detectors.queries.suspicion import Suspicion
from monitor.config import Model
from monitor.decode import Decoder
from monitor.fitted import Fitted
from monitor.loading import measure_batches
from monitor.security import guard as guards
from monitor.security.cases import Facts, Key, Now
from monitor.security.pseudonyms import Pseudonyms
from monitor.security.start import guard_of
from tests.attacks import traces
from tests.attacks.tasks import Task
from tests.attacks.traces import Trace
from tests.attacks.watch import Alarm, Alarms
from tests.statistical.data import batch_of

KEY = b"k" * 32
PANE = 1000
"""Rows of a pane, for the budget."""
LENGTH = 10_000.0
"""Panes without a false alarm that the model is promised."""


class Known:
    """A task's configuration and its measured reference, for many guards."""

    def __init__(self, task: Task) -> None:
        self.task = task
        image = {"image": "image", "image_shape": [*task.image, 1]} if task.image[0] else {}
        roles = {"client": "who", "time": "at", "probabilities": "chance", "label": "truth", **image}
        self.model = Model.model_validate({"name": task.name, "reference": "r.parquet", "columns": roles})
        rng = np.random.default_rng(0)
        rows = traces.traffic(task.reference, task.answer, rng)
        reference = table(task, rows).append_column("truth", pa.array(task.reference_labels.astype(str)))
        self.fitted: Fitted = measure_batches([batch_of(reference)], self.model)


def table(task: Task, trace: Trace) -> pa.Table:
    """A trace as the log has it, but for labels."""
    block = task.block(trace.inputs)
    columns: dict[str, pa.Array] = {
        "who": pa.array([f"{client:x}" for client in trace.client.tolist()]),
        "at": pa.array((trace.time * 1e6).astype("datetime64[us]")),
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


class Guarded:
    """A guard that has seen nothing but the reference; evidence is looked at after every batch that it is given."""

    def __init__(self, known: Known) -> None:
        self._known = known
        made = guard_of(known.model, known.fitted, KEY, "bench", lambda: 0.0)
        assert made is not None
        self.guard = made
        grid = known.fitted.reference.grid
        self._decoder = Decoder(known.fitted.plan, grid, known.fitted.vocabularies)
        self._alarms, self._rows = Alarms(), 0
        self._judged: list[tuple[Suspicion, str, str]] = []
        self._hashes: dict[int, int] = {}
        self._listen()

    def _listen(self) -> None:
        """Hear what the guard's cases judge, harmless verdicts too."""
        judge, cases = self.guard.cases.judge, self.guard.cases

        def heard(
            told: Iterable[Suspicion], watching: Collection[str], more: Mapping[Key, Facts], now: Now
        ) -> list[tuple[object, object]]:
            told = list(told)
            news = judge(told, watching, more, now)
            for one in told:
                case = cases.cases.get((one.about, one.who))
                if case is not None:
                    self._judged.append((one, case.triage, case.cause))
            return news  # type: ignore[return-value]

        cases.judge = heard  # type: ignore[method-assign,assignment]

    def see(self, trace: Trace) -> list[Alarm]:
        """One batch; the guard looks at its evidence when the batch is over."""
        batch = batch_of(table(self._known.task, trace))
        for client in np.unique(trace.client).tolist():
            self._hashes[_hash(f"{client:x}")] = client
        self._judged.clear()
        self._rows += trace.rows
        before, guards.LOOK_ROWS = guards.LOOK_ROWS, 1
        try:
            told = self.guard.feed(self._decoder.decode(batch), "v1", float(trace.time[-1]), self._rows // PANE, LENGTH)
        finally:
            guards.LOOK_ROWS = before
        if told is not None and told.failures:
            raise RuntimeError(str(told.failures))
        judged = [(one._replace(clients=self._named(one)), verdict, cause) for one, verdict, cause in self._judged]
        return self._alarms.new(self._rows, judged)

    def _named(self, one: Suspicion) -> tuple[tuple[int, int], ...]:
        """The senders as the trace calls them."""
        return tuple((self._hashes.get(who, 0), rows) for who, rows in one.clients)


def _hash(name: str) -> int:
    return int(Pseudonyms(KEY).of_name(name))
