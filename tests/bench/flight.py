"""Flight end to end against a Flight sink that only counts rows: rows per CPU second of client and server together."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from tests.bench.common import Running, agent, mixed, table

ROWS = 2_000_000

SINK = """
import pyarrow.flight as fl, sys
class Sink(fl.FlightServerBase):
    rows = 0
    def do_put(self, context, descriptor, reader, writer):
        for chunk in reader:
            Sink.rows += chunk.data.num_rows
            writer.write(b'{"rows": %d}' % Sink.rows)
server = Sink("grpc://127.0.0.1:0")
print(server.port, flush=True)
server.serve()
"""


def send(port: int, rows: pa.Table, size: int, repeats: int) -> float:
    """Send the rows so many times; CPU seconds of this process."""
    client = fl.connect(f"grpc://127.0.0.1:{port}")
    batches = rows.combine_chunks().to_batches(max_chunksize=size)
    began = time.process_time()
    writer, reader = client.do_put(fl.FlightDescriptor.for_path("m"), rows.schema)
    acks = threading.Thread(target=_drain, args=(reader, repeats * len(batches)))
    acks.start()
    with writer:
        for _ in range(repeats):
            for batch in batches:
                writer.write_batch(batch)
        writer.done_writing()
        acks.join()
    return time.process_time() - began


def _drain(reader: Any, number: int) -> None:
    for _ in range(number):
        reader.read()


def _sink(rows: pa.Table, size: int, repeats: int) -> float:
    process = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE)
    assert process.stdout is not None
    server = Running(process.pid, 0, int(process.stdout.readline()))
    before = server.cpu()
    client = send(server.flight, rows, size, repeats)
    spent = client + server.cpu() - before
    process.kill()
    process.wait()
    return spent


def run() -> None:
    """Print the table."""
    lines = []
    rows = mixed(200_000, seed=1)
    repeats = ROWS // rows.num_rows
    for size in (16_384, 1_000):
        sink = _sink(rows, size, repeats)
        lines.append((f"{size:,}", "sink that counts", f"{ROWS / sink:,.0f}", "1.00"))
        for durable in (False, True):
            with agent(durable=durable, pane_rows=100_000, queue="2GiB") as server:
                before = server.cpu()
                client = send(server.flight, rows, size, repeats)
                server.wait_rows(ROWS)
                spent = client + server.cpu() - before
            name = "agent, durable" if durable else "agent, in memory"
            lines.append((f"{size:,}", name, f"{ROWS / spent:,.0f}", f"{sink / spent:.2f}"))
    table(
        f"Flight DoPut of {ROWS:,} rows x (50 float64 + 10 dictionary), everything on, panes of 100,000 rows",
        ("rows a batch", "server", "rows per CPU s (client + server)", "share of the sink"),
        lines,
    )
