"""Exactly once: whatever a crash left behind, an index is what its checkpoint says, and goes on as if nothing was."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.errors import StoreError
from monitor.outcomes import rowlog
from monitor.outcomes.index import Index
from monitor.outcomes.joined import Joined
from tests.monitor.outcomes_bench import FIELDS, KEY, NOW, Batch, Label, Prediction, feed, opened, stream

ROWS = 60


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few rows, so that there are many of them."""
    monkeypatch.setattr(rowlog, "FILE_ROWS", 16)
    monkeypatch.setattr(rowlog, "READ_ROWS", 5)


def fed(index: Index, batches: Sequence[Batch]) -> list[tuple[bytes, ...]]:
    """What an index gives for each delivery, to the last bit."""
    return [given(feed(index, batch)) for batch in batches]


def given(joined: Joined) -> tuple[bytes, ...]:
    parts = (joined.time, joined.truth, joined.before, joined.delay, *joined.values.values())
    return tuple(part.tobytes() for part in parts)


def everything(index: Index) -> list[Any]:
    """All that can be seen of an index."""
    rows = [(row.time.tobytes(), row.values["score"].tobytes(), row.truth.tobytes()) for row in index.rows()]
    return [index.settle(), rows, index.figures()._replace(disk_bytes=0, edges=None, delays=None)]  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(6))
def test_after_a_crash_the_rest_of_the_stream_gives_what_it_gives_without(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    batches = stream(rng, 150, 11)
    clean = opened(tmp_path / "clean", rows=ROWS, hours=500.0)
    answers = fed(clean, batches)
    wanted = everything(clean)

    index, state, saved, place = opened(tmp_path / "crashed", rows=ROWS, hours=500.0), None, 0, 0
    while place < len(batches):
        assert given(feed(index, batches[place])) == answers[place]
        place += 1
        chance = rng.random()
        if chance < 0.3:  # a checkpoint, of which the crash may come before its commit or after it
            blob = index.settle()
            if chance < 0.2:
                state, saved = blob, place
                if chance < 0.15:
                    index.settled()
        elif chance < 0.45:
            index.close()
            index, place = opened(tmp_path / "crashed", state, rows=ROWS, hours=500.0), saved
    assert everything(index) == wanted
    clean.close()
    index.close()


def test_a_crash_at_any_byte_changes_nothing(tmp_path: Path) -> None:
    batches = stream(np.random.default_rng(1), 40, 9)
    half = len(batches) // 2
    index = opened(tmp_path / "index", rows=ROWS)
    fed(index, batches[:half])
    state = index.settle()
    index.settled()
    wanted = everything(index)
    lengths = {path: path.stat().st_size for path in (tmp_path / "index").rglob("*.rows")}
    fed(index, batches[half:])
    index.close()
    tried = 0
    for path in sorted((tmp_path / "index").rglob("*.rows")):
        durable, size = lengths.get(path, 0), path.stat().st_size
        for end in {durable, *range(durable + 1, size, 13), size}:
            copy = tmp_path / "copy"
            shutil.copytree(tmp_path / "index", copy)
            os.truncate(copy / path.relative_to(tmp_path / "index"), end)
            other = opened(copy, state, rows=ROWS)
            assert everything(other) == wanted
            other.close()
            shutil.rmtree(copy)
            tried += 1
    assert tried > 50


def test_files_that_are_not_what_was_written_are_refused(tmp_path: Path) -> None:
    index = opened(tmp_path / "index", rows=ROWS)
    fed(index, stream(np.random.default_rng(2), 40, 9))
    state = index.settle()
    index.settled()
    index.close()
    files = sorted((tmp_path / "index").rglob("*.rows"))
    assert len({path.parent for path in files}) == 3
    for path in files:
        raw = path.read_bytes()
        for damaged in (
            raw[:-1],
            raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :],
            None,
        ):
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            with pytest.raises(StoreError, match="is not what was written"):
                opened(tmp_path / "index", state, rows=ROWS)
            path.write_bytes(raw)
    opened(tmp_path / "index", state, rows=ROWS).close()


def test_without_a_checkpoint_nothing_is_left_of_what_an_earlier_run_wrote(tmp_path: Path) -> None:
    index = opened(tmp_path)
    feed(index, Batch(NOW, (Prediction("a", NOW, 0.5),)))
    index.settle()
    index.close()
    index = opened(tmp_path)
    assert index.figures().rows == 0
    assert list(tmp_path.rglob("*.rows")) == []
    index.close()


def test_files_go_once_the_checkpoint_that_does_without_them_is_on_disk(tmp_path: Path) -> None:
    index = opened(tmp_path, rows=ROWS)
    for start in range(0, 400, 10):
        feed(index, Batch(NOW, tuple(Prediction(str(start + one), NOW, 0.5) for one in range(10))))
    before = len(list(tmp_path.rglob("*.rows")))
    index.settle()
    assert len(list(tmp_path.rglob("*.rows"))) == before
    index.settled()
    assert len(list(tmp_path.rglob("*.rows"))) <= ROWS // 16 + 2
    index.close()


def test_files_that_the_checkpoint_needs_stay_although_their_rows_have_left_since(tmp_path: Path) -> None:
    index = opened(tmp_path, rows=ROWS)
    batch = [tuple(Prediction(str(start + one), NOW, 0.5) for one in range(10)) for start in range(0, 400, 10)]
    for rows in batch[:6]:
        feed(index, Batch(NOW, rows))
    state = index.settle()
    wanted = everything(index)
    for rows in batch[6:]:
        feed(index, Batch(NOW, rows))
    index.settled()
    index.close()
    other = opened(tmp_path, state, rows=ROWS)
    assert everything(other) == wanted
    other.close()


def test_other_fields_or_another_key_begin_anew(tmp_path: Path) -> None:
    index = opened(tmp_path)
    feed(index, Batch(NOW, (Prediction("a", NOW, 0.5),)))
    state = index.settle()
    index.close()
    for fields, key in (({**FIELDS, "score": "f4"}, KEY), (FIELDS, b"another key of the state folder.")):
        other = Index(tmp_path / "other", fields, key=key, rows=100, hours=1.0)
        assert not other.restore(state)
        assert other.figures().rows == 0
        other.close()


def test_other_bounds_keep_what_is_there(tmp_path: Path) -> None:
    index = opened(tmp_path, rows=100, hours=1000.0)
    for start in range(0, 100, 5):
        feed(index, Batch(NOW, tuple(Prediction(str(start + one), NOW, 0.5) for one in range(5))))
    feed(index, Batch(NOW, (Label("7", 1.0, NOW), Label("97", 1.0, NOW))))
    state = index.settle()
    index.close()
    fewer = opened(tmp_path, state, rows=40, hours=10.0)
    assert (fewer.figures().rows, fewer.figures().labelled) == (100, 2)
    feed(fewer, Batch(NOW, (Prediction("new", NOW, 0.5),)))
    assert (fewer.figures().rows, fewer.figures().left) == (40, {"labelled": 1, "unlabelled": 60})
    assert feed(fewer, Batch(NOW, (Label("99", 1.0, NOW),))).rows == 1
    state = fewer.settle()
    fewer.close()
    more = opened(tmp_path, state, rows=10_000)
    assert feed(more, Batch(NOW, (Label("98", 1.0, NOW),))).rows == 1
    assert (more.figures().rows, more.figures().labelled) == (40, 3)
    more.close()


def test_a_full_disk_costs_rows_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = opened(tmp_path)
    feed(index, Batch(NOW, (Prediction("a", NOW, 0.5), Prediction("b", NOW, 0.25))))
    before = everything(index)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert feed(index, Batch(NOW, (Prediction("c", NOW, 0.5), Prediction("d", NOW, 0.5)))).rows == 0
    assert feed(index, Batch(NOW, (Label("a", 1.0, NOW), Label("z", 1.0, NOW)))).rows == 0
    monkeypatch.undo()
    figures = index.figures()
    assert (figures.predictions["not_kept"], figures.labels["not_kept"]) == (2, 2)
    assert everything(index)[1] == before[1]
    assert feed(index, Batch(NOW, (Label("a", 1.0, NOW),))).rows == 1
    state = index.settle()
    index.close()
    opened(tmp_path, state).close()


def test_a_disk_that_fails_halfway_leaves_no_half_a_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = opened(tmp_path)
    feed(index, Batch(NOW, (Label("a", 1.0, NOW),)))
    real, calls = os.pwrite, 0

    def once(descriptor: int, raw: Any, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, raw, offset)

    monkeypatch.setattr(os, "pwrite", once)
    assert feed(index, Batch(NOW, (Prediction("a", NOW, 0.5),))).rows == 0  # the prediction is written, its label not
    monkeypatch.undo()
    assert (index.figures().rows, index.figures().waiting) == (0, 1)
    assert feed(index, Batch(NOW, (Prediction("a", NOW, 0.5),))).rows == 1
    state = index.settle()
    index.close()
    other = opened(tmp_path, state)
    assert (other.figures().rows, other.figures().labelled, other.figures().waiting) == (1, 1, 0)
    other.close()


def test_a_join_is_told_even_if_tidying_up_after_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = opened(tmp_path)
    feed(index, Batch(NOW, (Prediction("a", NOW, 0.5),)))

    def broken(*_: object) -> None:
        raise StoreError("store.path: cannot be read")

    monkeypatch.setattr(index._matching.book, "tidy", broken)
    assert feed(index, Batch(NOW, (Label("a", 1.0, NOW),))).rows == 1
    index.close()


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = opened(tmp_path)
    feed(index, Batch(NOW, (Prediction("a", NOW, 0.5),)))

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StoreError, match="Input/output error"):
        index.settle()
    monkeypatch.undo()
    index.settle()
    index.close()


def test_a_file_that_loses_rows_while_it_is_open_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    index = opened(tmp_path)
    feed(index, Batch(NOW, (Prediction("a", NOW, 0.5),)))
    for path in (tmp_path / "predictions").iterdir():
        os.truncate(path, 0)
    with pytest.raises(StoreError, match="has become shorter"):
        feed(index, Batch(NOW, (Label("a", 1.0, NOW),)))
    index.close()
