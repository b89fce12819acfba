from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.flight
import pyarrow.parquet as pq

from tests.e2e.conftest import NDJSON, Agent, free_port, ipc, table


def _lines(rows: pa.Table) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows.to_pylist()).encode()


def test_rows_come_by_http_flight_folder_and_json_and_the_books_balance(
    make_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    port, folder = free_port(), tmp_path / "watched"
    folder.mkdir()
    agent = make_agent()
    text = agent.config.read_text() + ""
    text = text.replace(
        "sources:\n",
        f"sources:\n- flight: {{listen: '127.0.0.1:{port}'}}\n"
        f"- directory: {{path: '{folder}', model: m, poll: 100ms}}\n",
    )
    agent.config.write_text(text)
    agent.start()

    assert agent.post(ipc(table(150, seed=2))).json() == {"accepted_rows": 150}
    assert agent.post(_lines(table(50, seed=3)), NDJSON).json() == {"accepted_rows": 50}
    rows = table(300, seed=4)
    client = pyarrow.flight.connect(f"grpc://127.0.0.1:{port}")
    writer, reader = client.do_put(pyarrow.flight.FlightDescriptor.for_path("m"), rows.schema)
    with writer:
        for batch in rows.to_batches(max_chunksize=100):
            writer.write_batch(batch)
        acknowledged = [json.loads(reader.read().to_pybytes())["rows"] for _ in range(3)]
        writer.done_writing()
    assert acknowledged == [100, 200, 300]
    pq.write_table(table(200, seed=5), folder / "a.parquet")
    (folder / "b.jsonl").write_bytes(_lines(table(100, seed=6)))
    agent.settled(800)
    assert agent.value("driftwarden_processed_rows_total") == 800

    agent.kill()
    agent.start()  # the folder's files were read: they do not come again
    pq.write_table(table(40, seed=7), folder / "c.parquet")
    agent.settled(840)
    assert agent.value("driftwarden_panes_closed_total") >= 0
    assert agent.stop() == 0


def test_version_of_the_descriptor_gets_a_stream_of_its_own(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    agent.start()
    body = ipc(table(200, seed=2))
    for version in ("v1", "v2"):
        headers = {"content-type": "application/vnd.apache.arrow.stream", "x-driftwarden-version": version}
        assert agent.post(body, headers).status_code == 202
    agent.settled(400)
    agent.wait(lambda: agent.value("driftwarden_streams") == 2)
    assert agent.value("driftwarden_panes_closed_total", 'stream="v2"') == 2
    assert agent.value("driftwarden_detector_duration_seconds_count", 'detector="e_ks"') == 4


def test_bad_input_is_refused_or_discarded_and_everything_else_goes_on(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    agent.start()
    good = ipc(table(100, seed=2))
    claim = bytearray(good[:1000])
    claim[4:8] = (2_000_000_000).to_bytes(4, "little")
    wide = ipc(pa.table({f"c{i}": [1.0] for i in range(10_000)}))
    assert agent.post(good[: len(good) // 2]).status_code == 400
    assert agent.post(bytes(range(256)) * 20).status_code == 400
    assert agent.post(bytes(claim)).status_code == 400
    assert agent.post(wide).status_code == 413
    assert agent.post(good, model="nobody").status_code == 404
    assert agent.post(b"", {"content-type": "text/plain"}).status_code == 415
    assert agent.value("driftwarden_ingest_received_rows_total") == 0

    odd = pa.table({
        "x0": ["not a number"] * 100,
        "x1": pa.array([[1.0]] * 100),
        "x2": pa.array([float("nan"), float("inf"), None, -1e300] * 25),
        "renamed": range(100),
        "kind": pa.array(["a", "zzz"] * 50).dictionary_encode(),
    })  # fmt: skip
    assert agent.post(ipc(odd)).status_code == 202
    assert agent.post(ipc(table(100, seed=2).slice(0, 0))).status_code in (202, 400)
    mixed = b'{"x0": 1.5, "kind": "a"}\nnot json\n{"x0": "\xff"}\n{"x0": 2}\n'
    assert agent.post(mixed, NDJSON).status_code == 202
    assert agent.post(good).status_code == 202
    agent.settled(100 + 4 + 100)
    assert agent.value("driftwarden_processed_rows_total") >= 202
    assert agent.value("driftwarden_type_faults_total") >= 200
    assert agent.value("driftwarden_schema_violations_total", 'kind="missing_column"') >= 1
    assert agent.value("driftwarden_discarded_rows_total") >= 1
