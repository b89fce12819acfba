"""Labels that come late to a real agent by every source, over kills: each counts once, and performance is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.flight
import pyarrow.parquet as pq

from tests.e2e.conftest import NDJSON, Agent, free_port, ipc
from tests.monitor.lane_bench import COLUMNS, labels, scored, silent

ROWS = 3_000


def configured(make_agent: Callable[..., Agent], folder: Path, port: int) -> Agent:
    """An agent with a folder and a Flight port for labels."""
    folder.mkdir()
    reference = folder.parent / "labelled.parquet"
    pq.write_table(scored(4_000, 0), reference)
    model = {
        "name": "m",
        "reference": str(reference),
        "columns": COLUMNS,
        "pane": {"rows": 500},
        "window": {"panes": 6},
    }
    agent = make_agent(models=[model | {"security": {"enabled": False}}])
    text = agent.config.read_text().replace(
        "sources:\n",
        f"sources:\n- flight: {{listen: '127.0.0.1:{port}'}}\n"
        f"- directory: {{path: '{folder}', model: m, poll: 100ms}}\n",
    )
    agent.config.write_text(text)
    return agent


def by_flight(port: int, rows: pa.Table) -> None:
    client = pyarrow.flight.connect(f"grpc://127.0.0.1:{port}")
    writer, reader = client.do_put(pyarrow.flight.FlightDescriptor.for_path("m"), rows.schema)
    with writer:
        for batch in rows.to_batches():
            writer.write_batch(batch)
            reader.read()
        writer.done_writing()


def test_labels_by_every_source_count_once_over_kills(make_agent: Callable[..., Agent], tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "watched"
    agent = configured(make_agent, folder, port)
    agent.start()
    rows = scored(ROWS, 1, start=time.time() - 7 * 3_600)  # of a cohort of six hours that is over
    assert agent.post(ipc(silent(rows))).status_code == 202
    agent.settled(ROWS)
    agent.wait(lambda: agent.value("driftwarden_performance_estimate", 'metric="accuracy"') > 0)
    assert agent.value("driftwarden_outcome_rows", 'state="unlabelled"') == ROWS

    agent.kill()  # before any checkpoint: all of it comes again from the spool
    agent.start()
    agent.settled(ROWS)
    assert agent.value("driftwarden_outcome_rows", 'state="unlabelled"') == ROWS
    parts = [labels(rows.slice(start, ROWS // 3)) for start in range(0, ROWS, ROWS // 3)]
    pq.write_table(parts[0], folder / "labels.parquet")
    by_flight(port, parts[1])
    body = "".join(json.dumps(row) + "\n" for row in parts[2].to_pylist()).encode()
    assert agent.post(body, NDJSON).status_code == 202
    agent.settled(2 * ROWS)

    agent.kill()
    agent.start()
    agent.settled(2 * ROWS)
    agent.wait(lambda: agent.value("driftwarden_outcome_labels_total", 'fate="joined"') == ROWS)
    assert agent.value("driftwarden_outcome_rows", 'state="labelled"') == ROWS
    assert agent.value("driftwarden_outcome_labels_total", 'fate="repeated"') == 0
    assert agent.value("driftwarden_panes_closed_total") <= ROWS / 500
    truth = sum(a == b for a, b in zip(rows["said"].to_pylist(), rows["truth"].to_pylist(), strict=True)) / ROWS
    agent.wait(lambda: agent.value("driftwarden_performance_realised", 'metric="accuracy"') > 0)
    assert agent.value("driftwarden_performance_realised", 'metric="accuracy"') == truth
    assert agent.value("driftwarden_performance_below_expectation") == 0
    assert agent.stop() == 0
