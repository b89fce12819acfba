from __future__ import annotations

import dataclasses
import io
import os
import signal
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from monitor.archive import DATABASE, reading
from monitor.arrays import pack, unpack
from monitor.clock import ManualClock, SystemClock
from monitor.errors import StoreError
from monitor.records import Checkpoint, Event, FindingRow, FindingState, Intervention, Judged, News, PaneRow
from monitor.store import Store

ROOT = Path(__file__).parents[2]


def opened(path: Path) -> Store:
    return Store(path, ManualClock(1_700_000_000.0))


def checkpoint(sequence: int = 1, **streams: bytes) -> Checkpoint:
    return Checkpoint(sequence, streams, {"directory": {"file": "a.parquet", "row": 7}}, {"rows": [1, 2]}, 100.0)


def finding(
    name: str, *, opened: float = 1.0, closed: float | None = None, model: str = "m", state: FindingState = "open"
) -> FindingRow:
    about = ("page", "shift", "distributional_shift", "data", "", "e_ks", "x0", 1, "page: x0 moved", False)
    return FindingRow(name, model, "all", opened, closed, state, *about, '{"a":1}', b"arrow")


def test_a_new_store_holds_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "deep" / "state") as store:
        assert store.load() is None
        assert store.briefs() == []


def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    saved = checkpoint(5, a=b"\x00one", b=b"")
    with opened(tmp_path) as store:
        store.commit(saved, News((finding("f"),), (PaneRow("all", 1, b"p"),)))
    with opened(tmp_path) as store:
        assert store.load() == saved
        assert store.findings(over=False) == [finding("f")]
        assert store.panes("all") == [PaneRow("all", 1, b"p")]


def test_a_checkpoint_replaces_the_one_before_and_drops_its_streams(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit(checkpoint(1, a=b"1", b=b"2"), News())
        store.commit(checkpoint(2, b=b"2", c=b"3"), News())
        loaded = store.load()
        assert loaded == checkpoint(2, b=b"2", c=b"3")
        store.commit(checkpoint(3, b=b"changed", c=b"3"), News())
        assert store.load() == checkpoint(3, b=b"changed", c=b"3")


def test_a_stream_that_comes_back_unchanged_is_written_again(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for saved in (checkpoint(1, a=b"1"), checkpoint(2), checkpoint(3, a=b"1")):
            store.commit(saved, News())
            assert store.load() == saved


def test_a_finding_is_brought_up_to_date_under_its_id(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit(checkpoint(), News((finding("f"),)))
        again = (finding("f", closed=9.0, state="recovered"), finding("g", opened=2.0))
        store.commit(checkpoint(), News(again))
        assert [(row.id, row.state) for row in store.briefs()] == [("g", "open"), ("f", "recovered")]


def test_findings_are_filtered_by_what_is_asked(tmp_path: Path) -> None:
    rows = (finding("a"), finding("b", opened=2.0, model="n"), finding("c", opened=3.0, closed=4.0, state="recovered"))
    with opened(tmp_path) as store:
        store.commit(checkpoint(), News(rows))
        assert [row.id for row in store.briefs(model="n")] == ["b"]
        assert [row.id for row in store.briefs(state="open")] == ["b", "a"]
        assert [row.id for row in store.briefs(over=True)] == ["c"]
        assert [row.id for row in store.briefs(since=2.0)] == ["c", "b"]
        assert [row.id for row in store.briefs(until=2.0, severity="page")] == ["a"]
        assert [row.id for row in store.briefs(limit=1)] == ["c"]
        assert [row.id for row in store.briefs(after=(3.0, "c"), limit=1)] == ["b"]
        assert [row.id for row in store.briefs(failure_mode="poisoning")] == []
        assert store.briefs(model="' OR 1=1 --") == []
        assert store.counts("state") == {"open": 2, "recovered": 1}


def test_an_incident_is_its_head_and_what_joins_it(tmp_path: Path) -> None:
    rows = (finding("head"), *(dataclasses.replace(finding(f"j{i}"), joins="head") for i in range(3)), finding("other"))
    with opened(tmp_path) as store:
        store.commit(checkpoint(), News(rows))
        assert {row.id for row in store.briefs(heads=True)} == {"head", "other"}
        assert {row.id for row in store.briefs(incident="head")} == {"head", "j0", "j1", "j2"}
        assert store.joined(["head", "other"]) == {"head": 3}


def test_history_keeps_order_and_span(tmp_path: Path) -> None:
    rows = tuple(Judged("m/all", n, n * 60.0, n * 60.0 + 60, 100, n / 2, 7.0, {"age": 1.5}) for n in range(1, 9))
    with opened(tmp_path) as store:
        store.commit(checkpoint(), News(history=(*rows, Judged("m/b", 1, 0.0, 60.0, 5, None, 7.0))))
        assert store.history("m/all") == list(rows)
        assert [one.pane for one in store.history("m/all", limit=2)] == [7, 8]
        assert [one.pane for one in store.history("m/all", since=200.0, until=400.0)] == [3, 4, 5]
        assert store.histories() == ["m/all", "m/b"]


def test_what_people_did_is_kept_and_what_still_holds_is_told_apart(tmp_path: Path) -> None:
    done = Intervention("i", "acknowledge", "m", {"finding": "f"}, "on it", "ana", 5.0)
    mute = Intervention("j", "mute", "m", {"column": "age"}, "known", "ana", 6.0, until=50.0)
    with opened(tmp_path) as store:
        store.commit(checkpoint(), News(interventions=(done, mute)))
        assert store.interventions() == [mute, done]
        assert store.interventions(finding="f") == [done]
        assert store.interventions(active=49.0) == [mute, done]
        assert store.interventions(active=50.0) == [done]
        undone = dataclasses.replace(done, undone=7.0, undone_by="bob", undone_because="mistake")
        store.commit(checkpoint(), News(interventions=(undone,)))
        assert store.interventions(active=8.0, kind="acknowledge") == []
        assert store.interventions(id="i") == [undone]


def test_events_come_in_order_once_and_cursors_stay(tmp_path: Path) -> None:
    def event(name: str) -> Event:
        return Event(name, 1.0, "finding.opened", "m", {"finding": {"id": name}})

    with opened(tmp_path) as store:
        assert (store.last_event(), store.cursor("slack")) == (0, None)
        store.commit(checkpoint(), News(events=(event("a"), event("b"))))
        store.commit(checkpoint(), News(events=(event("a"), event("c"))))
        told = store.events(0)
        assert [one.id for one in told] == ["a", "b", "c"]
        assert [one.id for one in store.events(told[1].seq, 5)] == ["c"]
        assert store.last_event() == told[-1].seq
        store.move_cursor("slack", told[1].seq)
    with opened(tmp_path) as store:
        assert store.cursor("slack") == told[1].seq


def test_it_is_read_beside_the_writer_without_its_lock(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no agent has written here"):
        reading(tmp_path)
    with opened(tmp_path) as store:
        store.commit(checkpoint(), News((finding("f"),)))
        with reading(tmp_path) as beside:
            assert [row.id for row in beside.briefs()] == ["f"]
            store.commit(checkpoint(), News((finding("g", opened=2.0),)))
            assert beside.finding("g") == finding("g", opened=2.0)
            assert beside.finding("nobody") is None
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                beside._connection.execute("DELETE FROM findings")


def test_pruning_forgets_closed_findings_and_old_panes_only(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        rows = (finding("open"), finding("old", closed=5.0), finding("new", closed=50.0))
        old = Intervention("i", "mute", "m", {"column": "age"}, "known", "ana", 1.0, until=9.0)
        holds = Intervention("j", "rebaseline", "m", {"rows": 2000}, "known", "ana", 1.0)
        news = News(rows, (PaneRow("all", 1, b""),), (Judged("m/all", 1, 0.0, 9.0, 5, 1.0, 7.0),), (old, holds))
        store.commit(checkpoint(), news)
        assert store.prune(before=10.0) == 3
        assert {row.id for row in store.briefs()} == {"open", "new"}
        assert store.interventions() == [holds]
        assert store.prune(before=101.0) == 2
        assert store.panes("all") == []


def test_a_second_agent_is_turned_away(tmp_path: Path) -> None:
    with (
        opened(tmp_path),
        pytest.raises(StoreError, match=f"in use by another agent .process {os.getpid()} since 2023"),
    ):
        opened(tmp_path)
    opened(tmp_path).close()


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.load()
    with pytest.raises(StoreError, match="closed"):
        store.commit(checkpoint(), News())


def test_an_unusable_directory_names_the_key_and_the_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"store\.path .*choose another"):
        opened(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"garbage " * 1000])
def test_a_damaged_file_is_never_taken_for_an_empty_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATABASE).write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged.*restore it from a copy"):
        opened(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == content


def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("CREATE TABLE mine (a)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        opened(tmp_path)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="schema 99"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "change", ["UPDATE streams SET blob = x'00'", "DELETE FROM streams", "UPDATE checkpoint SET document = '{}'"]
)
def test_a_state_that_does_not_match_its_checksum_is_refused(tmp_path: Path, change: str) -> None:
    with opened(tmp_path) as store:
        store.commit(checkpoint(1, a=b"state"), News())
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.execute(change)
    connection.close()
    with opened(tmp_path) as store, pytest.raises(StoreError, match="damaged"):
        store.load()


def test_bytes_overwritten_in_the_middle_are_noticed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit(checkpoint(1, a=os.urandom(200_000)), News())
    file = tmp_path / DATABASE
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 5000] = b"\xff" * 5000
    file.write_bytes(content)
    with pytest.raises(StoreError), opened(tmp_path) as store:
        store.load()


def test_a_full_disk_fails_the_commit_and_keeps_the_old_content(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit(checkpoint(1, a=b"1"), News())
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="free space"):
            store.commit(checkpoint(2, a=b"x" * 1_000_000), News((finding("f"),)))
        assert store.load() == checkpoint(1, a=b"1")
        assert store.briefs() == []
        store._connection.execute("PRAGMA max_page_count = 1000000")
        store.commit(checkpoint(2, a=b"x" * 1_000_000), News((finding("f"),)))
        assert store.load() == checkpoint(2, a=b"x" * 1_000_000)


KILLED = """
import os, sys
from pathlib import Path
from monitor.clock import SystemClock
from monitor.records import Checkpoint, News, PaneRow
from monitor.store import Store
from tests.monitor.test_store import finding
store = Store(Path(sys.argv[1]), SystemClock())
number = 0
while True:
    number += 1
    text = str(number)
    row = finding(text, opened=float(number))
    streams = {"a": text.encode() * 20000, "b": text.encode()}
    news = News((row,), (PaneRow("s", number, text.encode()),))
    store.commit(Checkpoint(number, streams, {}, {"n": number}, 1.0), news)
    print(number, flush=True)
"""


@pytest.mark.parametrize("commits", [1, 13])
def test_a_killed_writer_leaves_all_of_its_last_commit_or_the_whole_next_one(tmp_path: Path, commits: int) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(commits):
            told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        told = max([told, *(int(line) for line in process.stdout if line.endswith("\n"))])
    with Store(tmp_path, SystemClock()) as store:
        saved = store.load()
        assert saved is not None
        number = saved.sequence
        assert number in {told, told + 1}
        assert saved.streams == {"a": str(number).encode() * 20000, "b": str(number).encode()}
        assert saved.ledger == {"n": number}
        assert len(store.briefs()) == len(store.panes("s")) == number


def test_arrays_of_every_kind_come_back_bit_for_bit() -> None:
    arrays = {
        "file": np.asfortranarray(np.random.default_rng(1).normal(size=(3, 4))),
        "with/slash": np.array([np.nan, np.inf, -0.0]),
        "scalar": np.array(7, dtype=np.int8),
        "empty": np.empty((0, 5), dtype=bool),
        "text": np.array(["a", "é"]),
    }
    back = unpack(pack(arrays))
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].tobytes() == array.tobytes()
        assert back[name].shape == array.shape


def test_packed_arrays_are_a_file_that_numpy_reads() -> None:
    with np.load(io.BytesIO(pack({"a": np.arange(3)})), allow_pickle=False) as loaded:
        assert loaded["a"].tolist() == [0, 1, 2]


def test_equal_arrays_give_equal_bytes() -> None:
    assert pack({"a": np.arange(3)}) == pack({"a": np.arange(3)})


def test_objects_are_never_pickled() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        pack({"a": np.array([object()])})
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([object()]))
    with pytest.raises(StoreError, match="damaged"):
        unpack(buffer.getvalue())


@given(st.binary(max_size=64))
def test_bytes_that_are_no_arrays_are_refused(blob: bytes) -> None:
    with pytest.raises(StoreError, match="damaged"):
        unpack(blob)


@given(hnp.arrays(np.float64, st.integers(1, 40)), st.data())
def test_a_changed_byte_is_refused_or_changes_nothing(array: NDArray[np.float64], data: st.DataObject) -> None:
    blob = bytearray(pack({"a": array}))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        back = unpack(bytes(blob))
    except StoreError:
        return
    assert [values.tobytes() for values in back.values()] in ([array.tobytes()], [])


def test_a_truncated_archive_is_refused() -> None:
    blob = pack({"a": np.arange(100.0)})
    with pytest.raises(StoreError):
        unpack(blob[:-1])
    assert zipfile.is_zipfile(io.BytesIO(blob))
