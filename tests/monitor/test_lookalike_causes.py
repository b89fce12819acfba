"""Pages, replays to another version and announced releases are called by name; attacks inside them are not excused."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor.config import Model
from monitor.decode import Decoder
from monitor.fitted import Fitted
from monitor.loading import measure_batches
from monitor.security.cases import Case
from monitor.security.guard import Guard
from monitor.security.pseudonyms import Pseudonyms
from monitor.security.start import guard_of
from tests.attacks import guarded, lookalikes, tasks, traces
from tests.attacks.campaign import campaign
from tests.attacks.tasks import Task
from tests.attacks.traces import Trace
from tests.statistical import data

KEY = b"k" * 32
LENGTH = 10_000.0
BATCH = 256


def task(name: str) -> Task:
    try:
        found: Task = getattr(tasks, name)()
    except data.AbsentError as absent:
        pytest.skip(str(absent))
    return found


def model(name: str, **security: Any) -> Model:
    image = {"image": "image", "image_shape": [20, 20, 1]} if name == "glyphs" else {}
    roles = {
        "client": "who",
        "time": "at",
        "prediction": "answer",
        "probabilities": "chance",
        "version": "model",
    } | image
    pages = {"name": name, "reference": "r.parquet", "columns": roles, "security": security}
    return Model.model_validate(pages)


def logged(one: Task, trace: Trace, version: str | list[str] = "v1") -> pa.RecordBatch:
    versions = [version] * trace.rows if isinstance(version, str) else version
    return data.batch_of(guarded.table(one, trace).append_column("model", pa.array(versions)))


@cache
def fitted(name: str) -> Fitted:
    one = task(name)
    rows = traces.traffic(one.reference, one.answer, np.random.default_rng(0))
    return measure_batches([logged(one, rows)], model(name))


def guard(name: str, **security: Any) -> Guard:
    made = guard_of(model(name, **security), fitted(name), KEY, "config", lambda: 0.0)
    assert made is not None
    return made


def watched(name: str, trace: Trace, version: str | list[str] = "v1", **security: Any) -> Guard:
    """A guard that has seen 500 honest rows, and then the trace."""
    one, rng = task(name), np.random.default_rng(9)
    honest = traces.traffic(lookalikes.fresh(one)(500, rng), one.answer, rng, begin=-1_000.0)
    made, decoder = (
        guard(name, **security),
        Decoder(fitted(name).plan, fitted(name).reference.grid, fitted(name).vocabularies),
    )
    for batch in (logged(one, honest), logged(one, trace, version)):
        for start in range(0, batch.num_rows, BATCH):
            told = made.feed(decoder.decode(batch.slice(start, BATCH)), "", 0.0, 10, LENGTH)
            assert told is None or not told.failures
    return made


def case(made: Guard, client: int) -> Case:
    return made.cases.cases["client", int(Pseudonyms(KEY).of_name(f"{client:x}"))]


def triages(made: Guard) -> set[str]:
    return {one.triage for one in made.cases.cases.values()}


def pages(rows: int, client: int | None = None) -> Trace:
    """One reader's lists, or those of 50."""
    one = task("spambase")
    made = next(lookalikes.pagination(one, lookalikes.fresh(one), np.random.default_rng(3), rows))
    return made if client is None else made._replace(client=np.full(made.rows, client, np.uint64))


def test_a_reader_who_pages_through_lists_is_called_that() -> None:
    made = watched("spambase", pages(800, client=77))
    assert (case(made, 77).triage, case(made, 77).cause) == ("unknown", "pagination")
    assert not case(made, 77).findings
    assert "attack" not in triages(made)


def test_a_search_under_the_name_of_a_reader_is_told() -> None:
    found = campaign(task("spambase"), "HopSkipJump", np.random.default_rng(5), most=500).trace
    quiet = pages(500, client=77)
    every = traces.mix(quiet, found._replace(client=np.full(found.rows, 77, np.uint64)))
    made = watched("spambase", every)
    assert case(made, 77).cause != "pagination"
    assert case(made, 77).findings


def replayed(first: Trace, *, other: int = 88, light: float = 0.99) -> tuple[Trace, list[str]]:
    """Each row again from the replayer to v2, a little darker, or as it is."""
    one = task("glyphs")
    again = first.inputs if light == 1 else one.natural(first.inputs * np.float32(light))
    second = first._replace(
        inputs=again,
        probabilities=one.answer(again),
        client=np.full(first.rows, other, np.uint64),
        time=first.time + 1e-4,
    )
    both = traces.mix(first, second)
    return both, np.where(both.client == other, "v2", "v1").tolist()


def benign(rows: int) -> Trace:
    one, rng = task("glyphs"), np.random.default_rng(6)
    return traces.traffic(lookalikes.fresh(one)(rows, rng), one.answer, rng)


def test_a_replay_to_another_version_is_called_that() -> None:
    made = watched("glyphs", *replayed(benign(500)))
    assert (case(made, 88).triage, case(made, 88).cause) == ("unknown", "ab_replay")
    assert "attack" not in triages(made)


def test_without_versions_the_same_traffic_is_repetitive() -> None:
    both, _ = replayed(benign(500))
    assert case(watched("glyphs", both), 88).cause == "repetitive"


@pytest.mark.parametrize("how", ["replayed", "alternating"])
def test_a_search_is_a_search_whichever_versions_answer(how: str) -> None:
    found = campaign(task("glyphs"), "HopSkipJump", np.random.default_rng(5), most=400).trace
    both, versions = replayed(found, light=1) if how == "replayed" else (found, ["v1", "v2"] * 200)
    mine = case(watched("glyphs", both, versions), int(found.client[0]))
    assert (mine.triage, mine.findings != ()) == ("attack", True)


def test_expected_miss_a_search_of_which_each_query_comes_twice_a_little_darker() -> None:
    """The second ones give all steps one length: no search to be told, and no replay that excuses it either."""
    found = campaign(task("glyphs"), "HopSkipJump", np.random.default_rng(5), most=400).trace
    made = watched("glyphs", *replayed(found))
    assert not {"search", "ab_replay"} & {one.cause for one in made.cases.cases.values()}


@pytest.mark.parametrize(
    ("releases", "cause"), [((), "other_version"), (("v2",), "release"), (("v3",), "other_version")]
)
def test_an_announced_version_that_answers_otherwise_is_a_release(releases: tuple[str, ...], cause: str) -> None:
    first, second = benign(800), benign(1_600).take(slice(800, 1_600))
    second = second._replace(probabilities=second.probabilities.copy(), time=second.time + 1e6)
    second.probabilities[::3] = np.eye(10, dtype=np.float32)[0]  # a third of all is of the first class now
    both = traces.mix(first, second)
    made = watched("glyphs", both, ["v1"] * 800 + ["v2"] * 800, releases=releases)
    (found,) = [one for (about, _), one in made.cases.cases.items() if about == "version"]
    assert found.cause == cause
    assert bool(found.findings) == (cause != "release")


def test_fingerprints_stand_beside_near_duplicates_where_they_are_asked_for() -> None:
    found = campaign(task("glyphs"), "HopSkipJump", np.random.default_rng(5), most=400).trace
    asked, plain = (watched("glyphs", found, fingerprints=on) for on in (True, False))
    client = int(found.client[0])
    assert "fingerprints" in asked.watching - plain.watching
    assert "fingerprints" in case(asked, client).heuristics
    assert "fingerprints" not in case(plain, client).heuristics
    again = guard("glyphs", fingerprints=True)
    again.restore(asked.state())
    assert again.state() == asked.state()
