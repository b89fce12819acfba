"""Latency of acknowledgements: 300 requests a second of 100 rows each, while all detectors run."""

from __future__ import annotations

import http.client
import threading
import time

import numpy as np
import pyarrow as pa

from tests.bench.common import Running, agent, mixed, table

RATE, ROWS, SECONDS, SENDERS = 300, 100, 20, 8
HEADERS = {"content-type": "application/vnd.apache.arrow.stream"}


def body(seed: int) -> bytes:
    """An IPC stream of 100 rows."""
    rows = mixed(ROWS, seed)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def load(server: Running, *, keep: bool) -> np.ndarray:
    """Open-loop load from several senders; seconds from the due time of each request to its answer."""
    bodies = [body(seed) for seed in range(20)]
    taken: list[list[float]] = [[] for _ in range(SENDERS)]
    begin = time.perf_counter() + 0.2

    def sender(index: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        for number in range(index, RATE * SECONDS, SENDERS):
            due = begin + number / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            if not keep:
                connection.close()
            connection.request("POST", "/v1/ingest/m", bodies[number % len(bodies)], HEADERS)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 202:
                raise SystemExit(f"HTTP {answer.status}")
            taken[index].append(time.perf_counter() - due)

    threads = [threading.Thread(target=sender, args=(index,)) for index in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.concatenate([np.array(part) for part in taken])


def run() -> None:
    """Print the table."""
    lines = []
    for durable in (False, True):
        for keep in (True, False):
            with agent(durable=durable, pane_rows=200) as server:
                before, began = server.cpu(), time.perf_counter()
                seconds = load(server, keep=keep) * 1e3
                server.wait_rows(RATE * SECONDS * ROWS)
                share = (server.cpu() - before) / (time.perf_counter() - began)
                resident = server.resident()
            quantiles = [f"{value:.2f}" for value in np.quantile(seconds, [0.5, 0.99, 0.999])]
            mode = "durable (fsync)" if durable else "in memory"
            lines.append(
                (mode, "kept alive" if keep else "one per request", *quantiles, f"{share:.2f}", f"{resident:.0f}")
            )
    table(
        f"HTTP: {RATE} requests/s of {ROWS} rows x 60 columns for {SECONDS} s, panes of 200 rows, {SENDERS} senders",
        ("mode", "connections", "p50 ms", "p99 ms", "p99.9 ms", "agent's cores", "agent's MB"),
        lines,
    )
