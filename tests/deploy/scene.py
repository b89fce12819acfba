"""A real agent whose life has a story, and real Prometheus servers that watch it.

Model "credit" has versions, segments, senders, scores and labels; ages in the south rise in the middle of its traffic
and stay so, and a second version takes over near the end. Model "glyphs" is attacked. Its rows are
those of the attack tests.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.attacks import guarded, tasks, traces
from tests.attacks.campaign import campaign
from tests.attacks.tasks import Task
from tests.attacks.traces import Trace
from tests.deploy.peers import SUITES, Peers
from tests.e2e.conftest import Agent, free_port, ipc

BODY = 100
SCRAPE = 1.0
_SHIFTED, _SECOND = 0.4, 0.8
_BEGIN = 600.0


@dataclass
class Scene:
    """An agent, the addresses of the Prometheus servers that watch it, and the attacked task."""

    agent: Agent
    servers: dict[str, str]
    task: Task

    def play(self, steps: int, pause: float) -> None:
        """Send all traffic: ``steps`` deliveries of credit, a share of the attack beside each."""
        attacked = _attacked(self.task)
        for step in range(steps):
            done = step / steps
            low, high = (int(attacked.num_rows * share) for share in (done, (step + 1) / steps))
            self.agent.post(ipc(credit(BODY, step + 2, done)), model="credit").raise_for_status()
            self.agent.post(ipc(attacked.slice(low, high - low)), model="glyphs").raise_for_status()
            time.sleep(pause)


def credit(rows: int, seed: int, done: float) -> pa.Table:
    """Applicants at a share ``done`` of the story; those before it are the reference's like."""
    rng = np.random.default_rng(seed)
    shifted = done > _SHIFTED
    region = rng.choice(["north", "south"], rows)
    age = rng.normal(40 + 8 * shifted * (region == "south"), 12)
    income = rng.lognormal(10, 0.6, rows)
    score = 1 / (1 + np.exp(-((income - 22_000) / 2e4 + (age - 40) / 30)))
    return pa.table(
        {
            "age": age,
            "income": income,
            "tenure": rng.gamma(2, 3, rows),
            "job": rng.choice(["a", "b", "c", "d"], rows, p=[0.4, 0.3, 0.2, 0.1]),
            "region": region,
            "version": ["v2" if done > _SECOND else "v1"] * rows,
            "score": score,
            "answer": (score > 0.5).astype(str),
            "who": [f"user-{number}" for number in rng.integers(0, 300, rows)],
            "row": [f"{seed}-{number}" for number in range(rows)],
            "truth": (rng.random(rows) < score).astype(str),
        }
    )


def _attacked(task: Task) -> pa.Table:
    rng = np.random.default_rng(2)
    calm = traces.traffic(tasks.more_glyphs(1_200, rng), task.answer, rng)
    calm = calm._replace(time=np.sort(rng.uniform(0, 2_000, calm.rows)))
    attack = campaign(task, "HopSkipJump", np.random.default_rng(5), most=400, begin=_BEGIN).trace
    return _logged(task, traces.mix(attack, calm))


def _logged(task: Task, trace: Trace) -> pa.Table:
    """Rows as the application logs them, in the time of the story: it ends now."""
    rows = guarded.table(task, trace)
    at = pa.array(((trace.time + time.time() - 2_000) * 1e6).astype("datetime64[us]"))
    names = ["eve" if bad else name for name, bad in zip(rows["who"].to_pylist(), trace.is_attack, strict=True)]
    rows = rows.set_column(rows.schema.get_field_index("at"), "at", at)
    return rows.set_column(rows.schema.get_field_index("who"), "who", pa.array(names))


def _configured(folder: Path, task: Task) -> Agent:
    pq.write_table(credit(8_000, 1, 0.0), folder / "credit.parquet")
    known = traces.traffic(task.reference[:2500], task.answer, np.random.default_rng(0))
    truth = pa.array(task.reference_labels[:2500].astype(str))
    pq.write_table(_logged(task, known).append_column("truth", truth), folder / "glyphs.parquet")
    port, web = free_port(), free_port()
    usual = {"pane": {"rows": 200}, "window": {"panes": 10}, "alarms": {"false_alarms": "1 per 10000 panes"}}
    roles = {"client": "who", "prediction": "answer"}
    columns = {**roles, "segments": ["region"], "version": "version", "score": "score"}
    columns |= {"id": "row", "label": "truth"}
    images: dict[str, object] = {**roles, "time": "at", "probabilities": "chance", "label": "truth"}
    images |= {"image": "image", "image_shape": [*task.image, 1]}
    document = {
        "models": [
            {"name": "credit", "reference": "credit.parquet", "columns": columns, "labels": {"hours": 2}, **usual},
            {
                "name": "glyphs",
                "reference": "glyphs.parquet",
                "columns": images,
                **usual,
                "security": {"queries": 5000},
            },
        ],
        "sources": [{"http": {"listen": f"127.0.0.1:{port}"}}],
        "web": {"listen": f"127.0.0.1:{web}"},
        "notify": [{"webhook": {"name": "nobody", "url": f"http://127.0.0.1:{free_port()}/"}}],
        "store": {"path": "state", "checkpoint": "5s"},
    }
    config = folder / "driftwarden.yaml"
    config.write_text(yaml.safe_dump(document))
    return Agent(folder, port, config)


@contextmanager
def _prometheus(folder: Path, binary: str, agent: Agent) -> Iterator[str]:
    """A Prometheus that scrapes the agent every second; its address."""
    port = free_port()
    scraped = [{"job_name": "driftwarden", "static_configs": [{"targets": [f"127.0.0.1:{agent.port}"]}]}]
    document = {"global": {"scrape_interval": f"{SCRAPE:g}s"}, "scrape_configs": scraped}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(document))
    files = [f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("wb") as log:
        child = subprocess.Popen([binary, *files, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        agent.wait(lambda: _ready(url), 60)
        yield url
    finally:
        child.terminate()
        child.wait(20)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def scene(folder: Path, servers: Mapping[str, str]) -> Iterator[Scene]:
    """The agent and a Prometheus of each binary run inside the block; nothing has been sent yet."""
    task = tasks.glyphs()
    agent = _configured(folder, task)
    with ExitStack() as stack:
        stack.callback(agent.stop)
        agent.start()
        running = {}
        for name, binary in servers.items():
            (folder / name).mkdir()
            running[name] = stack.enter_context(_prometheus(folder / name, binary, agent))
        yield Scene(agent, running, task)


def binaries() -> dict[str, str]:
    """Every Prometheus that ``.ci/peers`` has unpacked, by its suite."""
    found = {suite: Peers(suite).path("prometheus") for suite in SUITES}
    return {suite: path for suite, path in found.items() if Path(path).is_file()}
