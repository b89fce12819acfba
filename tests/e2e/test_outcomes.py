"""The index of labels beside the store, in a process that is killed again and again: each label counts once."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from monitor.clock import SystemClock
from monitor.outcomes.index import Index
from monitor.outcomes.joined import Joined
from monitor.records import Checkpoint, News
from monitor.store import Store
from tests.monitor.outcomes_bench import feed, opened, stream

SEED = 7
ROWS = 3000


def work(folder: Path) -> str:
    """Go on from the last checkpoint to the end of the stream; what has been added up and is held then."""
    batches = stream(np.random.default_rng(SEED), ROWS, 5)
    store = Store(folder, SystemClock())
    saved = store.load()
    place, sums = (saved.sequence, saved.positions["sums"]) if saved is not None else (0, {})
    index = opened(folder / "outcomes", None if saved is None else saved.streams["m/outcomes"], rows=ROWS // 2)
    while place < len(batches):
        add(sums, feed(index, batches[place]))
        place += 1
        if place % 20 == 0 or place == len(batches):
            state = index.settle()
            store.commit(Checkpoint(place, {"m/outcomes": state}, {"sums": sums}, {}, time.time()), News())
            index.settled()
    told = digest(index, sums)
    index.close()
    store.close()
    return told


def add(sums: dict[str, int], joined: Joined) -> None:
    """Count answers and truths together, as an error rate would."""
    answers = joined.values["prediction"].tolist()
    for answer, truth, before in zip(answers, joined.truth.tolist(), joined.before.tolist(), strict=True):
        sums[f"{answer} {truth}"] = sums.get(f"{answer} {truth}", 0) + 1
        if not np.isnan(before):
            sums[f"{answer} {before}"] -= 1


def digest(index: Index, sums: dict[str, int]) -> str:
    rows = [row.time.tobytes() + row.truth.tobytes() + row.values["score"].tobytes() for row in index.rows()]
    seen = json.dumps([sorted(sums.items()), index.figures().labels, index.figures().predictions]).encode()
    return hashlib.sha256(index.settle() + seen + b"".join(rows)).hexdigest()


@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again_ends_where_one_that_was_not_does(tmp_path: Path) -> None:
    wanted = work(tmp_path / "clean")
    rng, killed = np.random.default_rng(0), 0
    command = [sys.executable, "-m", "tests.e2e.test_outcomes", str(tmp_path / "killed")]
    while True:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            told, _ = child.communicate(timeout=None if killed >= 8 else float(rng.uniform(0.8, 2.5)))
            break
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.communicate()
            killed += 1
    assert child.returncode == 0
    assert told.strip() == wanted
    assert killed > 2


if __name__ == "__main__":
    sys.stdout.write(work(Path(sys.argv[1])))
