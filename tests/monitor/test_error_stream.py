"""The error stream inside the agent: a rise of errors opens a page; late, lost and corrected labels open none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor.config import parse_config
from monitor.errors import ConfigError
from monitor.interventions import Wanted
from monitor.logbook import told
from monitor.notify.shown import finding
from monitor.records import Event
from monitor.web.desk import Desk, Hands
from monitor.web.live import Live
from tests.monitor.lane_bench import COLUMNS, DAY, NOW, Bench, labels, numbered, scored, silent
from tests.monitor.pages_bench import client

REFERENCE = scored(8_000, 0)
BUDGET = {"false_alarms": "1 per 10000 panes"}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def begin(name: str, reference: pa.Table = REFERENCE, **changes: Any) -> Bench:
        changes = {
            "joint": {"enabled": False},
            "pane": {"rows": 50},
            "labels": {"rows": 100_000, "hours": 24.0},
            "alarms": BUDGET,
            **changes,
        }
        made.append(Bench(tmp_path / name, reference, **changes))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def wrong(rows: pa.Table, share: float, seed: int = 0) -> pa.Table:
    """Some labels are the other ones."""
    turned = np.random.default_rng(seed).random(rows.num_rows) < share
    truth = np.where(turned, 1 - rows["truth"].to_numpy(), rows["truth"].to_numpy())
    return rows.set_column(rows.column_names.index("truth"), "truth", pa.array(truth))


def found(bench: Bench) -> list[dict[str, Any]]:
    """Lines about answers, in order."""
    return [line for line in bench.agent.findings.lines if line.get("stream") == "outcomes"]


def stream(bench: Bench) -> Any:
    errors = bench.agent.models["m"].side.errors  # type: ignore[union-attr]
    assert errors is not None
    return errors


def nothing(*_: Any) -> Any:
    raise AssertionError("nobody acts here")


def page(bench: Bench, one: str) -> str:
    """What somebody is shown who may see values."""
    bench.agent.checkpoint()
    models = Live(lambda: bench.agent.models)
    return client(Desk(bench.store, models, Hands(nothing, nothing), lambda: NOW + 200)).get(f"/findings/{one}").text


def test_a_rise_of_errors_opens_a_page_that_says_since_when_and_by_how_much(make: Callable[..., Bench]) -> None:
    bench = make("one")
    bench.send(scored(2_000, 1))
    assert found(bench) == []
    bench.send(wrong(scored(1_000, 2, start=NOW + 60), 0.3), NOW + 120)
    line = found(bench)[0]
    unit, risen = line["units"][0], line["evidence"]["errors"]["risen"]
    assert unit["unit"] == "answers"
    assert unit["effect_low"] > 0
    assert unit["reference"] == pytest.approx(0.24, abs=0.01)
    assert unit["window"] > 0.33
    assert "answers are wrong" in {one["question"] for one in risen}
    assert line["log_e"] >= line["threshold"] >= np.log(10_000 / 0.2)
    assert (line["severity"], line["subject"], line["detector"]) == ("page", "outcome", "e_errors")
    assert line["since_time"] == pytest.approx(NOW + 60, abs=9)


def test_labels_that_come_late_and_sooner_for_wrong_answers_open_nothing(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), scored(4_000, 1)
    bench.send(silent(rows))
    right = np.equal(rows["said"].to_numpy(), rows["truth"].to_numpy())
    bench.send(labels(rows.filter((~right).tolist())), NOW + 100)
    assert stream(bench).counts["panes"] == 0  # none is complete: "no label yet" is not "right"
    order = np.random.default_rng(0).permutation(np.flatnonzero(right))
    for part in np.array_split(order, 7):
        bench.send(labels(rows.take(part)), NOW + 200)
    assert stream(bench).counts["panes"] == 80
    assert found(bench) == []


def test_a_pane_that_lost_its_labels_holds_up_no_other(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), scored(2_000, 1)
    bench.send(silent(rows))
    bench.send(labels(rows.slice(50)), NOW + 100)
    assert stream(bench).counts["panes"] == 39
    bench.send(
        silent(scored(1, 9, start=NOW + 25 * 3600)), NOW + 25 * 3600 + 60
    )  # no label of the first can be joined any more
    assert len(stream(bench).ripening.waiting.number) == 1
    assert stream(bench).counts["panes"] == 39


def test_corrected_labels_count_until_the_pane_is_judged(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), scored(2_000, 1)
    bench.send(silent(rows))
    some = np.arange(2_000) % 50 != 0  # of each pane one label in fifty: too few
    for part in (wrong(rows, 1.0), rows):
        bench.send(labels(part.filter((~some).tolist())), NOW + 100)
    assert stream(bench).counts["panes"] == 0
    bench.send(labels(rows.filter(some.tolist())), NOW + 200)
    assert found(bench) == []
    first = np.add.reduce(stream(bench).judged.yes[:, 0])
    assert first == np.not_equal(rows["said"].to_numpy(), rows["truth"].to_numpy()).sum()
    bench.send(labels(wrong(rows, 1.0)), NOW + 300)  # after they were judged
    assert stream(bench).counts["late"] == 2_000
    assert found(bench) == []


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_a_restart_at_any_moment_finds_the_same(make: Callable[..., Bench], stop: int) -> None:
    rows = pa.concat_tables([scored(1_000, 1), wrong(scored(1_500, 2, start=NOW + 60), 0.4)])
    parts = [(silent(rows.slice(0, 1_300)), 70.0), (labels(rows.slice(0, 700)), 80.0)]
    parts += [(silent(rows.slice(1_300)), 90.0), (labels(rows.slice(600, 1_000)), 100.0)]
    parts += [(labels(rows.slice(1_580)), 110.0), (labels(rows.slice(1_600)), 120.0), (labels(rows), 130.0)]
    whole, bench = make("whole"), make("cut")
    for place, (part, after) in enumerate(parts):
        whole.send(part, NOW + after)
        if place == stop:
            bench.agent.checkpoint()
            bench.send(part, NOW + after)  # lost in the crash, and sent again
            bench.stop()
            bench = make("cut")
        bench.send(part, NOW + after)
    opened = [line for line in found(whole) if line["kind"] == "finding"]
    assert len(opened) == 1
    assert opened[0]["id"] in bench.agent.findings.open
    assert stream(bench).state() == stream(whole).state()


def test_errors_that_fall_again_close_the_finding(make: Callable[..., Bench]) -> None:
    bench = make("one")
    bench.send(wrong(scored(1_500, 1), 0.4))
    page = found(bench)[0]["id"]
    assert page in bench.agent.findings.open
    for seed in range(2, 14):
        bench.send(scored(2_000, seed, start=NOW + 60 * seed), NOW + 60 * seed + 60)
    assert page not in bench.agent.findings.open
    assert found(bench)[-1]["kind"] == "recovery"
    bench.send(wrong(scored(1_500, 20, start=NOW + 2_000), 0.4), NOW + 2_100)
    assert found(bench)[-1]["kind"] == "finding"  # and once more


def test_a_version_that_is_worse_is_named(make: Callable[..., Bench]) -> None:
    reference = REFERENCE.append_column("version", pa.array(["v1"] * 8_000))
    bench = make("one", reference, columns={**COLUMNS, "version": "version"})
    worse = np.arange(6_000) % 4 == 0
    rows = scored(6_000, 3)
    truth = np.where(worse & (np.arange(6_000) % 5 < 2), 1 - rows["truth"].to_numpy(), rows["truth"].to_numpy())
    rows = rows.set_column(rows.column_names.index("truth"), "truth", pa.array(truth))
    bench.send(rows.append_column("version", pa.array(np.where(worse, "v2", "v1"))))
    lines = [line for line in found(bench) if line["kind"] == "finding"]
    assert "answers of version v2" in {line["units"][0]["unit"] for line in lines}
    assert "answers of version v1" not in {line["units"][0]["unit"] for line in lines}
    assert [line["severity"] for line in lines].count("page") == 1  # one event calls once
    shares = {one["version"]: one["now"] for one in lines[0]["evidence"]["errors"]["versions"]}
    assert shares["v2"] > shares["v1"] + 0.1


def test_a_segment_that_is_worse_is_named_in_the_evidence_and_not_in_the_sentence(make: Callable[..., Bench]) -> None:
    columns = {**COLUMNS, "segments": ["kind"]}
    bench, rows = make("one", columns=columns), scored(6_000, 4)
    turned = np.equal(rows["kind"].to_numpy(zero_copy_only=False), "y") & (np.arange(6_000) % 2 == 0)
    truth = np.where(turned, 1 - rows["truth"].to_numpy(), rows["truth"].to_numpy())
    bench.send(rows.set_column(rows.column_names.index("truth"), "truth", pa.array(truth)))
    lines = [line for line in found(bench) if line["kind"] == "finding"]
    first = lines[0]["evidence"]["errors"]["segments"][0]
    assert first["segment"] == "kind=y"
    assert first["low"] > first["before"]
    assert {unit["unit"] for line in lines for unit in line["units"]} <= {"answers", "answers in a segment"}
    assert "answers in a segment" in {unit["unit"] for line in lines for unit in line["units"]}
    shown = page(bench, lines[0]["id"])
    assert "Labels show more errors than the reference had" in shown
    assert "kind=y" in shown
    assert "Check some of the labels by hand" in shown
    assert "No rows were kept with it." in shown
    row = bench.agent.findings.open[lines[0]["id"]]
    assert "kind=y" not in json.dumps(finding(Event("e", NOW, "finding.opened", "m", {"finding": told(row)}), ""))


def test_a_regression_that_errs_by_more_is_found(make: Callable[..., Bench]) -> None:
    bench, rows = make("one", numbered(8_000, 0)), numbered(2_000, 1)
    bench.send(numbered(2_000, 2))
    assert found(bench) == []
    off = pa.array(rows["truth"].to_numpy() + 2.0)
    bench.send(rows.set_column(rows.column_names.index("truth"), "truth", off))
    line = found(bench)[0]
    assert line["evidence"]["errors"]["question"].startswith(("underestimated by more than", "errors are larger"))
    assert line["units"][0]["effect"] > 0.1


def test_a_new_reference_begins_anew_and_ends_the_finding(make: Callable[..., Bench]) -> None:
    bench = make("one")
    bench.send(wrong(scored(1_500, 1), 0.4))
    page = found(bench)[0]["id"]
    bench.agent.intervene(Wanted("rebaseline", "m", "a test", "ana", {"rows": 8_000}))
    bench.send(wrong(scored(8_100, 5, start=NOW + 60), 0.4), NOW + 130)
    assert bench.agent.models["m"].tally.rebaselined == 1
    assert page not in bench.agent.findings.open
    before = len(found(bench))
    bench.send(wrong(scored(3_000, 6, start=NOW + 120), 0.4), NOW + 200)  # so many errors are normal now
    assert len(found(bench)) == before
    bench.send(labels(scored(1_500, 1)), NOW + 210)  # of the time before: judged, and no news
    assert len(found(bench)) == before


def test_errors_join_the_incident_of_the_inputs(make: Callable[..., Bench]) -> None:
    bench = make("one")
    rows = wrong(scored(3_000, 1, moved=1.5), 0.4)
    bench.send(silent(rows))
    head = next(row for row in bench.agent.findings.open.values() if row.severity == "page")
    assert head.subject == "data"
    bench.send(labels(rows), NOW + 90)
    line = found(bench)[0]
    assert line["joins"] == head.id
    assert line["evidence"]["errors"]["inputs_moved"] is True
    assert line["kind_of_failure"]["sub"] == "shift of inputs, labels or quality"


def test_classical_detectors_of_errors_leave_notes_and_page_nobody(make: Callable[..., Bench]) -> None:
    bench = make("one", streaming=["ddm", "hddm_a"])
    bench.send(scored(1_000, 1))
    bench.agent.checkpoint()
    bench.send(wrong(scored(300, 2, start=NOW + 60), 1.0), NOW + 120)
    bench.stop()
    again = make("one", streaming=["ddm", "hddm_a"])
    again.send(wrong(scored(300, 2, start=NOW + 60), 1.0), NOW + 120)
    again.send(wrong(scored(300, 3, start=NOW + 120), 1.0), NOW + 180)
    notes = [line for line in found(again) if line.get("severity") == "info"]
    assert sorted(line["detector"] for line in notes) == ["ddm", "hddm_a"]
    assert {line["kind_of_failure"]["kind"] for line in notes} == {"unknown"}
    assert "promises nothing" in notes[0]["failure_modes"][0]["reason"]
    assert "Labels show more errors" in page(again, notes[0]["id"])


def test_detectors_of_errors_need_labels() -> None:
    section = {"name": "m", "reference": "r", "streaming": ["adwin", "ddm"]}
    with pytest.raises(ConfigError, match="ddm looks at errors"):
        parse_config({"models": [section]}, base=Path())
    columns = {"id": "i", "label": "y"}
    settings = parse_config({"models": [{**section, "columns": columns}]}, base=Path()).models[0]
    assert settings.streaming_values == ("adwin",)


def test_the_budget_is_shared_and_not_widened(make: Callable[..., Bench]) -> None:
    bench = make("one")
    bench.send(scored(2_000, 1))
    streams = bench.agent.models["m"].streams
    assert streams is not None
    panes = 1 / streams.threshold + np.exp(-stream(bench).threshold)
    assert panes == pytest.approx(1 / streams.run_length, rel=0.01)


def test_labels_that_come_for_wrong_answers_alone_page_nobody(make: Callable[..., Bench]) -> None:
    """Complaints: the model is as good as ever, and every label says that it was wrong."""
    bench = make("one", labels={"rows": 100_000, "hours": 24.0})
    for day in range(4):
        table = scored(2_000, 20 + day, start=NOW + day * DAY)
        bench.send(silent(table), NOW + day * DAY + 60)
        errs = np.not_equal(table["said"].to_numpy(), table["truth"].to_numpy())
        bench.send(labels(table.filter(pa.array(errs))), NOW + day * DAY + 600)
    bench.send(silent(scored(100, 30, start=NOW + 8 * DAY)), NOW + 8 * DAY + 60)
    assert [line for line in found(bench) if line.get("severity") == "page"] == []


def test_an_episode_that_ends_is_not_told_again(make: Callable[..., Bench]) -> None:
    """The pane in which errors are back holds evidence of the time when they were not: that is no news."""
    bench = make("one")
    for step in range(24):
        table = scored(500, 40 + step, start=NOW + 60 * step)
        bench.send(wrong(table, 0.3) if 4 <= step < 10 else table, NOW + 60 * step + 60)
    told_ = [(line["kind"], line.get("severity")) for line in found(bench)]
    recovered = next(i for i, (kind, _) in enumerate(told_) if kind == "recovery")
    assert ("finding", "page") in told_[:recovered]
    assert [severity for kind, severity in told_[recovered:] if kind == "finding"] == []
    assert sum(severity == "page" for _, severity in told_) == 1
