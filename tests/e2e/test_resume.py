from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable

import numpy as np

from monitor.arrays import unpack
from tests.e2e.conftest import Agent, ipc, table

SHIFT_FROM = 30


def _batches() -> list[bytes]:
    """Sixty bodies of 70 rows, so that panes of 100 rows straddle them; x0 moves half way."""
    return [ipc(table(70, seed=100 + i, shift=1.0 if i >= SHIFT_FROM else 0.0)) for i in range(60)]


def _result(agent: Agent) -> tuple[dict[str, np.ndarray], list[tuple[object, ...]]]:
    with contextlib.closing(sqlite3.connect(agent.folder / "state" / "driftwarden.sqlite3")) as database:
        (blob,) = database.execute("SELECT blob FROM streams WHERE name = 'm/all'").fetchone()
        rows = database.execute("SELECT document, state FROM findings ORDER BY id").fetchall()
    told: list[tuple[object, ...]] = []
    for document, state in rows:
        finding = json.loads(document)
        told.append((finding["pane"], finding["severity"], json.dumps(finding["units"]), finding["log_e"], state))
    times = ("panes/clock", "panes/spans", "starts", "first_time", "lengths")  # arrival times differ between runs
    return {name: part for name, part in unpack(blob).items() if name not in times and "document" not in name}, told


def _send(agent: Agent, bodies: list[bytes]) -> None:
    for body in bodies:
        assert agent.post(body).status_code == 202


def test_killed_agent_goes_on_bit_for_bit_and_judges_no_pane_twice(make_agent: Callable[..., Agent]) -> None:
    bodies = _batches()
    calm = make_agent("calm")
    calm.start()
    _send(calm, bodies)
    calm.settled(60 * 70)
    assert calm.stop() == 0

    harried = make_agent("harried")
    harried.start()
    for start, end in ((0, 7), (7, 21), (21, 33), (33, 34), (34, 60)):
        _send(harried, bodies[start:end])
        harried.kill()
        harried.start()
    harried.settled(60 * 70)
    assert harried.stop() == 0

    expected, findings = _result(calm)
    actual, again = _result(harried)
    assert findings == again
    assert any(severity == "page" for _, severity, *_ in findings)
    assert expected.keys() == actual.keys()
    for name, part in expected.items():
        np.testing.assert_array_equal(actual[name], part, err_msg=name)


def test_sigterm_drains_and_a_restart_has_nothing_to_recover(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    agent.start()
    _send(agent, _batches()[:20])
    assert agent.stop() == 0
    agent.start()
    agent.settled(20 * 70)
    assert agent.value("driftwarden_spool_bytes") == 0
    assert "recovered_rows=0" in agent.log.read_text()


def test_second_agent_on_the_same_state_is_refused(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    agent.start()
    command = [sys.executable, "-m", "monitor", "run", "--config", str(agent.config)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "in use" in second.stderr
    assert agent.post(_batches()[0]).status_code == 202


def test_reload_takes_a_good_file_and_refuses_a_bad_one(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    agent.start()
    good = agent.config.read_text()
    agent.config.write_text(good.replace("smallest_shift: 0.05", "smallest_shifts: 0.05"))
    assert agent.process is not None
    agent.process.send_signal(signal.SIGHUP)
    agent.wait(lambda: agent.value("driftwarden_config_last_reload_successful") == 0)
    assert "smallest_shifts: unknown key; did you mean" in agent.log.read_text()
    agent.config.write_text(good.replace("smallest_shift: 0.05", "smallest_shift: 0.2"))
    agent.process.send_signal(signal.SIGHUP)
    agent.wait(lambda: agent.value("driftwarden_smallest_shift") == 0.2)
    assert agent.value("driftwarden_config_last_reload_successful") == 1
    assert agent.post(_batches()[0]).status_code == 202
