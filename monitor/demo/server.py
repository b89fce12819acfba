"""A model server: answers people's requests as its accelerated clock reaches them and logs each answer over Flight.

A process of its own (``python -m monitor.demo.server``), as a model is. It scores every row when its time has come;
the answers stored beside the features are not read. What was true of each person is logged four weeks later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq

from monitor.demo.classifier import Classifier
from monitor.demo.files import MODEL, folder
from monitor.demo.sender import Link, Sender

CONTEXT = ("id", "time", "year")
"""What a request has beside its features: who asked, when, and the year of the survey."""
BATCH_ROWS = 200
"""Requests that the server answers and logs together."""

BATCH_LABELS = 1_000
"""Labels that become known together."""


@click.command()
@click.option("--location", default="grpc://127.0.0.1:8815", show_default=True, help="Flight address of the agent.")
@click.option("--seconds", default=60.0, show_default=True, help="How long the three years of the log take.")
@click.option("--first", default=0, help="Begin with this row, counted from 0.")
@click.option("--end", default=0, help="Stop before this row; 0 takes all.")
def main(location: str, seconds: float, first: int, end: int) -> None:
    """Serve the stored requests once, and log them to an agent."""
    model = Classifier.load(folder() / "model.json")
    whole = read_requests(folder() / "production.parquet", model)
    requests = whole.slice(first, (end or whole.num_rows) - first)
    pace = Accelerated.over(requests, seconds * requests.num_rows / whole.num_rows, time.monotonic)
    labels = pq.read_table(folder() / "labels.parquet").slice(first, requests.num_rows)
    link = Link(location, (MODEL, model.version))
    rows, truths = (Sender(link, time.monotonic, time.sleep) for _ in range(2))
    with ThreadPoolExecutor() as pool:
        known = pool.submit(truths.send, told(labels, pace, time.sleep))
        logged = rows.send(serve(requests, model, pace, time.sleep))
        click.echo(f"{logged} rows logged, {known.result()} labels, {rows.refusals + truths.refusals} refusals")


def read_requests(path: Path, model: Classifier) -> pa.Table:
    """The stored requests: context and features, and nothing that a model has said about them."""
    table = pq.read_table(path, columns=[*CONTEXT, *model.features])
    return table.unify_dictionaries().combine_chunks()


@dataclass(frozen=True, slots=True)
class Accelerated:
    """A clock that shows event time and runs ``speed`` times as fast as ``now``."""

    start: float
    began: float
    speed: float
    now: Callable[[], float]

    @classmethod
    def over(cls, requests: pa.Table, seconds: float, now: Callable[[], float]) -> Accelerated:
        """The clock that passes all requests in ``seconds``; it starts with the first of them."""
        first, last = _moment(requests, 0), _moment(requests, requests.num_rows - 1)
        return cls(first, now(), max(last - first, 1e-3) / max(seconds, 1e-3), now)

    def wait(self, moment: float) -> float:
        """Real seconds until the clock shows ``moment``; 0 when that has passed."""
        return max((moment - self.start) / self.speed - (self.now() - self.began), 0.0)


def serve(
    requests: pa.Table, model: Classifier, pace: Accelerated, sleep: Callable[[float], None]
) -> Iterator[pa.RecordBatch]:
    """Answered requests, a batch at a time, each when its last request has come."""
    for start in range(0, requests.num_rows, BATCH_ROWS):
        part = requests.slice(start, BATCH_ROWS)
        sleep(pace.wait(_moment(part, part.num_rows - 1)))
        prediction, score = model.answer(part)
        answered = part.append_column("prediction", pa.array(prediction)).append_column("score", pa.array(score))
        yield from answered.to_batches()


def told(labels: pa.Table, pace: Accelerated, sleep: Callable[[float], None]) -> Iterator[pa.RecordBatch]:
    """Labels, a batch at a time, each when the last of them is known."""
    for start in range(0, labels.num_rows, BATCH_LABELS):
        part = labels.slice(start, BATCH_LABELS).combine_chunks()
        sleep(pace.wait(_moment(part, part.num_rows - 1)))
        yield from part.to_batches()


def _moment(requests: pa.Table, row: int) -> float:
    """Event time of a request, in seconds since the epoch."""
    return float(requests["time"][row].value) / 1000.0


if __name__ == "__main__":
    main()
