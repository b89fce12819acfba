"""Which rows the prober is offered, what is made of its answers, and that its own requests are no traffic."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.golden import Golden, GoldenFixed
from detectors.queries.suspicion import Suspicion
from detectors.rows.layout import Rows
from monitor.clock import ManualClock
from monitor.decode import Decoder
from monitor.errors import ConfigError
from monitor.probes.client import ID_PREFIX
from monitor.probes.prober import Candidate, Counts
from monitor.probes.results import GOLDEN, RANDOM, Result
from monitor.schema import Roles
from monitor.security.asking import MOST_GOLDEN, RANDOM_SHARE, Asking
from monitor.sinks.prometheus import ModelTally, of_model
from monitor.streams import ModelStreams
from monitor.watched import Watched
from tests.monitor.security_bench import batch, benign, feed, fitted, guard, model

OWN = "driftwarden-probe"
SUSPECT = "suspect"
VERSIONS = {"v1": 0, "v2": 1}
"""What the log calls its versions."""


class Marks:
    """Knows its own rows by plain names."""

    def own(self, client: str | None, name: str | None) -> bool:
        return client == OWN or (name or "").startswith(ID_PREFIX)


class FakeProber:
    """Keeps what it is offered and answers what it is told to."""

    def __init__(self) -> None:
        self.marks = Marks()
        self.offered: list[Candidate] = []
        self.seen = 0
        self.found: list[Result] = []
        self.running = False
        self.counted = Counts(0, 0, 0, 0, 0, 0, {}, open=False, waiting=0)
        self.spent, self.about = (20_000, 0), "a model"

    def resume(self, spent: tuple[int, int]) -> None:
        self.spent = (spent[0], self.spent[1] + spent[1])

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def offer(self, candidates: Sequence[Candidate], seen: int) -> None:
        self.offered += candidates
        self.seen += seen

    def results(self) -> list[Result]:
        found, self.found = self.found, []
        return found

    def counts(self) -> Counts:
        return self.counted

    def why(self, why: str) -> list[Candidate]:
        return [one for one in self.offered if one.why == why]


def asking(prober: FakeProber, golden: GoldenFixed | None = None) -> Asking:
    roles, known = fitted().plan.roles, guard().fixed.golden if golden is None else golden
    classes = {str(i): i for i in range(10)}
    return Asking(prober, roles, fitted().sample, known, classes, np.random.default_rng(0))  # type: ignore[arg-type]


def rows_of(given: pa.RecordBatch, version: int = 0) -> Rows:
    decoder = Decoder(fitted().plan, fitted().reference.grid, fitted().vocabularies)
    rows = guard().reader.rows(decoder.decode(given), "v1")
    return rows._replace(version=np.full(given.num_rows, version, np.int32))


def offer(
    one: Asking, given: pa.RecordBatch, *, version: int = 0, suspects: Collection[int] = (), first: int = 0
) -> None:
    rows = rows_of(given, version)
    one.offer(given, rows, np.arange(given.num_rows), first, suspects)


def test_a_random_share_of_the_traffic_is_offered() -> None:
    prober = FakeProber()
    one, given = asking(prober), batch(benign(1000, 1))
    for number in range(10):
        offer(one, given, first=1000 * number)
    drawn = prober.why(RANDOM)
    assert prober.running
    assert prober.seen == 10_000
    assert len(drawn) == pytest.approx(10_000 * RANDOM_SHARE, abs=1)
    assert len({each.number % 1000 for each in drawn}) > len(drawn) / 2
    for each in drawn:
        row = given.slice(each.number % 1000, 1).to_pylist()[0]
        assert each.values == row


def test_small_batches_have_their_share_too() -> None:
    prober = FakeProber()
    one, given = asking(prober), batch(benign(30, 1))
    for number in range(100):
        offer(one, given, first=30 * number)
    assert len(prober.why(RANDOM)) == pytest.approx(3_000 * RANDOM_SHARE, abs=1)
    assert len({each.number % 30 for each in prober.why(RANDOM)}) > 1


def test_few_rows_of_each_batch_of_suspects_are_offered() -> None:
    prober = FakeProber()
    given = batch(benign(300, 1))
    rows = rows_of(given)
    assert rows.client is not None
    who = int(rows.client[7])
    offer(asking(prober), given, suspects={who}, first=5_000)
    mine = prober.why(SUSPECT)
    assert len(mine) == 2
    assert {each.client for each in mine} == {who}
    assert all(rows.client[each.number - 5_000] == who for each in mine)


def test_golden_rows_are_offered_once_for_each_version_but_the_first() -> None:
    prober = FakeProber()
    one, given = asking(prober), batch(benign(50, 1))
    offer(one, given, version=0)
    assert not prober.why(GOLDEN)
    for _ in range(3):
        offer(one, given, version=1)
    golden = prober.why(GOLDEN)
    assert len(golden) == MOST_GOLDEN
    assert len({each.number for each in golden}) == MOST_GOLDEN
    assert golden[0].values == fitted().sample.slice(golden[0].number, 1).to_pylist()[0]
    offer(one, given, version=0)
    assert len(prober.why(GOLDEN)) == MOST_GOLDEN


def test_a_version_that_came_while_the_agent_was_down_is_asked() -> None:
    prober = FakeProber()
    one, given = asking(prober), batch(benign(50, 1))
    one.knows([0])
    offer(one, given, version=1)
    assert len(prober.why(GOLDEN)) == MOST_GOLDEN


def result(why: str, number: int, *, client: int = 0, change: float = 0.0, answer: int = 0) -> Result:
    p = np.full(10, 0.01)
    p[answer] = 0.91
    names = tuple(str(i) for i in range(10))
    return Result(number, client, why, 0.0, 0.01, "v2", p, names, 16, 1.0, change, change, float("nan"))


def taken(one: Asking, golden: Golden) -> list[Suspicion]:
    return one.take(golden, guard().fixed.held.single.layout, VERSIONS)


def test_a_sender_whose_rows_are_unstable_is_suspected() -> None:
    prober = FakeProber()
    one, golden = asking(prober), Golden(guard().fixed.golden)
    prober.found = [result(RANDOM, i, change=0.001 * i) for i in range(100)]
    prober.found += [result(SUSPECT, 100 + i, client=7, change=0.9) for i in range(40)]
    prober.found += [result(SUSPECT, 200 + i, client=8, change=0.02) for i in range(40)]
    found = {told.who: told.log_p for told in taken(one, golden)}
    assert found[7] < -10
    assert found[8] > -1
    assert not taken(one, golden)


def test_a_sender_s_probes_go_on_after_a_restart_unless_they_are_other_probes() -> None:
    golden = Golden(guard().fixed.golden)

    def after(state: Any, about: str) -> list[Suspicion]:
        prober = FakeProber()
        prober.about = about
        again = asking(prober)
        again.restore(state)
        prober.found = [result(SUSPECT, 100 + i, client=7, change=0.9) for i in range(3)]
        return taken(again, golden)

    prober = FakeProber()
    one = asking(prober)
    prober.found = [result(RANDOM, i, change=0.001 * i) for i in range(100)]
    prober.found += [result(SUSPECT, 100 + i, client=7, change=0.9) for i in range(7)]
    assert [told.rows for told in taken(one, golden)] == [5]
    state = json.loads(json.dumps(one.state()))
    assert [told.rows for told in after(state, "a model")] == [10]
    assert after(state, "another") == after(None, "a model") == []


def test_golden_answers_go_to_the_golden_set() -> None:
    prober = FakeProber()
    one, fixed = asking(prober), guard().fixed.golden
    golden = Golden(fixed)
    one.knows([0])
    offer(one, batch(benign(50, 1)), version=1)
    asked = prober.why(GOLDEN)[:100]
    right = dict(zip(fixed.row.tolist(), fixed.predicted.tolist(), strict=True))
    prober.found = [result(GOLDEN, each.number, answer=(right[each.number] + 1) % 10) for each in asked]
    assert not taken(one, golden)
    (told,) = [each for each in golden.suspicions() if each.heuristic == "golden_set"]
    assert (told.who, told.rows, told.hits) == (1, 100, 100)
    assert told.log_p < -100


def answers(prober: FakeProber, version: str, *, right: bool) -> list[Result]:
    """Answers of a version to all golden rows that were asked."""
    fixed = guard().fixed.golden
    known = dict(zip(fixed.row.tolist(), fixed.predicted.tolist(), strict=True))
    asked = [each.number for each in prober.why(GOLDEN)][:100]
    return [result(GOLDEN, row, answer=(known[row] + (not right)) % 10)._replace(version=version) for row in asked]


def test_golden_answers_are_those_of_the_version_that_gave_them() -> None:
    prober, golden = FakeProber(), Golden(guard().fixed.golden)
    one = asking(prober)
    for version in (0, 1, 0):  # a canary: both answer
        offer(one, batch(benign(50, 1)), version=version)
    prober.found = answers(prober, "v1", right=True) + answers(prober, "v2", right=False)
    taken(one, golden)
    said = {version: golden.comparison(version) for version in (0, 1)}
    found = {version: (each.asked, each.changed) for version, each in said.items() if each}
    assert found == {0: (100, 0), 1: (100, 100)}
    assert one.left_out == 0


@pytest.mark.parametrize("name", ["", "7"])
def test_answers_of_who_knows_which_version_are_left_out_and_counted(name: str) -> None:
    prober, golden = FakeProber(), Golden(guard().fixed.golden)
    one = asking(prober)
    for version in (0, 1):
        offer(one, batch(benign(50, 1)), version=version)
    prober.found = answers(prober, name, right=False)
    taken(one, golden)
    assert (one.left_out, golden.comparison(0), golden.comparison(1)) == (100, None, None)
    gone = rows_of(batch(benign(1_000, 1)), 1)
    for _ in range(10):
        one.offer(batch(benign(1_000, 1)), gone, np.arange(0), 0, ())  # the other one has gone
    prober.found = answers(prober, name, right=False)
    taken(one, golden)
    said = golden.comparison(1)
    assert said is not None
    assert (one.left_out, said.asked, said.changed, golden.comparison(0)) == (100, 100, 100, None)


def marked(given: pa.RecordBatch) -> pa.RecordBatch:
    """Every fifth row is the prober's."""
    names = [OWN if i % 5 == 0 else name for i, name in enumerate(given.column("who").to_pylist())]
    return given.set_column(given.schema.get_field_index("who"), "who", pa.array(names))


def test_own_rows_are_left_out_by_their_sender() -> None:
    left = asking(FakeProber()).without_own(marked(batch(benign(100, 1))))
    assert left.num_rows == 80
    assert OWN not in left.column("who").to_pylist()


def test_own_rows_are_left_out_by_their_request() -> None:
    given = batch(benign(100, 1)).append_column(
        "request", pa.array([f"{ID_PREFIX}{i}" if i < 30 else f"r{i}" for i in range(100)])
    )
    one = asking(FakeProber())
    one._roles = Roles(id="request", client="who")
    assert one.without_own(given).num_rows == 70


@pytest.mark.parametrize("names", [[None] * 100, [""] * 100])
def test_a_batch_without_own_rows_is_the_same_batch(names: list[str | None]) -> None:
    given = batch(benign(100, 1)).append_column("request", pa.array(names, pa.string()))
    assert asking(FakeProber()).without_own(given) is given


def test_names_that_cannot_be_read_are_nobodys_and_cost_no_row() -> None:
    given = marked(batch(benign(10, 1)))
    names = [name.encode() for name in given.column("who").to_pylist()]
    names[1] = b"\xff\xfe"
    joined, ends = b"".join(names), np.cumsum([0, *map(len, names)]).astype(np.int32)
    spoiled = pa.StringArray.from_buffers(10, pa.py_buffer(ends.tobytes()), pa.py_buffer(joined))
    place = given.schema.get_field_index("who")
    left = asking(FakeProber()).without_own(given.set_column(place, "who", spoiled))
    assert left.num_rows == 8
    assert left.column("at").to_pylist()[0] == given.column("at").to_pylist()[1]
    ends[5] = 10_000
    spoiled = pa.StringArray.from_buffers(10, pa.py_buffer(ends.tobytes()), pa.py_buffer(joined))
    assert asking(FakeProber()).without_own(given.set_column(place, "who", spoiled)).num_rows == 10


def test_own_rows_count_as_processed_and_are_seen_by_nobody() -> None:
    one = guard()
    one.asking = asking(FakeProber())
    streams = ModelStreams(model(), fitted(), config_id="c", timer=lambda: 0.0, guard=one)
    fed = streams.feed(marked(batch(benign(100, 1))), "v1", 0.0)
    assert fed.rows == 100
    assert one.tally.looked_at == 80
    assert streams.streams["v1"].panes.pending_rows == 80
    alone = batch(benign(10, 1)).set_column(0, "who", pa.array([OWN] * 10))
    assert streams.feed(alone, "v1", 1.0).rows == 10
    assert one.tally.looked_at == 80


def test_a_prober_that_fails_costs_nothing_but_probes() -> None:
    class Broken(FakeProber):
        def offer(self, candidates: Sequence[Candidate], seen: int) -> None:
            raise OSError("no")

    one = guard()
    one.asking = asking(Broken())
    told = feed(one, batch(benign(100, 1)), 0)
    assert told is not None
    assert dict(told.failures) == {"active_probes": "OSError: no"}
    assert one.tally.looked_at == 100


def test_what_happened_to_probes_is_counted_in_metrics() -> None:
    prober = FakeProber()
    prober.counted = Counts(99, 3, 4, 50, 850, 130, {"timeout": 5, "status": 2}, open=True, waiting=0)
    one = guard()
    one.asking = asking(prober)
    one.asking.left_out = 6
    streams = ModelStreams(model(), fitted(), config_id="c", timer=lambda: 0.0, guard=one)
    made = of_model(streams, ModelTally())
    assert made["driftwarden_probe_rows_total"] == [(("glyphs",), 850)]
    assert made["driftwarden_probe_breaker_open"] == [(("glyphs",), 1.0)]
    fates = {labels[1]: value for labels, value in made["driftwarden_probes_total"]}
    assert fates == {"answered": 50, "unfit": 4, "left_out": 9, "failed": 7}
    one.asking = None
    assert not [name for name in of_model(streams, ModelTally()) if "probe" in name]


def test_closing_ends_the_prober() -> None:
    prober = FakeProber()
    one = guard()
    one.asking = asking(prober)
    feed(one, batch(benign(100, 1)), 0)
    assert prober.running
    one.close()
    assert not prober.running


def test_what_was_asked_today_outlives_a_restart_even_with_other_settings() -> None:
    one, again, other = guard(), guard(), guard(queries=300)
    for each in (one, again, other):
        each.asking = asking(FakeProber())
    assert one.asking is not None
    one.asking.restore(one.asking.state() | {"spent": [20_000, 77]})
    for each in (again, other):
        each.restore(one.state())
        assert each.asking is not None
        assert each.asking.state()["spent"] == [20_000, 77]
    one.asking = None
    again.restore(one.state())
    assert again.asking.state()["spent"] == [20_000, 77]  # type: ignore[union-attr]


def test_what_was_asked_today_outlives_a_reload() -> None:
    def watched(spent: int) -> Watched:
        made = guard()
        made.asking = asking(FakeProber()) if spent >= 0 else None
        if made.asking is not None:
            made.asking.restore(made.asking.state() | {"spent": [20_000, spent]})
        return Watched(model(), ModelStreams(model(), fitted(), config_id="c", timer=lambda: 0.0, guard=made))

    after = watched(5)
    for before in (watched(7), watched(-1), None):
        after.asks_on(before)
    assert after.streams is not None
    assert after.streams.guard is not None
    assert after.streams.guard.asking is not None
    assert after.streams.guard.asking.state()["spent"] == [20_000, 12]
    watched(-1).asks_on(after)


def test_inputs_of_the_model_that_no_column_holds_are_refused() -> None:
    known = {"name": "pixels", "columns": ["image"], "shape": [20, 20]}
    probes = {"url": "http://127.0.0.1:9", "model": "glyphs"}
    assert guard(ManualClock(), probes=probes | {"inputs": [known]}).asking is not None
    inputs = [known, {"name": "more", "columns": ["imgae", "who"]}]
    with pytest.raises(ConfigError, match=r"models.glyphs.security.probes.inputs: the reference has no column imgae;"):
        guard(ManualClock(), probes=probes | {"inputs": inputs})
