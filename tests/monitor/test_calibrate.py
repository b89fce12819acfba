"""Calibrate: what the alarms will do, told from the reference alone."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from detectors.types import MISSING_CODE, NEW_CODE, Block
from monitor.calibration import advice, page, rows, words
from monitor.calibration.calibrate import calibrate
from monitor.calibration.forecast import forecast
from monitor.calibration.judge import paging
from monitor.calibration.plots import Axis, Plot, decades
from monitor.calibration.result import Interval, Result, binomial, poisson
from monitor.calibration.selfcheck import Selfcheck
from monitor.calibration.shifts import Injector, Shift
from monitor.calibration.study import ROWS_UNIT, Plan, Study
from monitor.calibration.traffic import traffic_of
from monitor.cli import command
from monitor.errors import ConfigError
from monitor.fitted import Fitted
from monitor.loading import measure_batches
from monitor.streams import ModelStreams
from tests.monitor import streams_bench as bench

PLAN = Plan(streams=5, horizon=20, seed=3, seconds=math.inf)
ALARMS = {"false_alarms": "1 per 1000 panes", "smallest_shift": 0.05}
ALONE = {"enabled": False}
"""Most tests do without the joint layer: it costs more than all columns of such small models."""


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return measure_batches([bench.rows(12_000, 0)], bench.model())


@pytest.fixture(scope="module")
def result(fitted: Fitted) -> Result:
    return calibrate(bench.model(alarms=ALARMS, joint=ALONE), fitted, rate=10.0, plan=PLAN)


@pytest.fixture(scope="module")
def injector(fitted: Fitted) -> Injector:
    return Injector(fitted.reference.grid, rows.rows_from(fitted).block)


def _inject(injector: Injector, kind: str, size: float, units: list[int] | None = None) -> tuple[Block, Block]:
    before = injector.sample
    return before, injector.inject(before, Shift(((kind, size),)), np.random.default_rng(1), units)


def test_large_shifts_are_found_at_once_and_tiny_ones_are_tolerated(result: Result) -> None:
    for name in "abc":
        assert result.of(name, "mean")[-1].median == 1
        assert result.of(name, "mean")[0].streams == 0  # the forecast says so; not simulated
        assert result.of(name, "mean")[0].mass < next(one for one in result.columns if one.name == name).tolerated
    assert result.of("kind", "mix")[-1].median == 1
    smallest = result.smallest("a", "mean")
    assert smallest is not None
    assert 0.2 <= smallest.size <= 0.5
    assert smallest.found >= 0.9 * smallest.streams
    assert smallest.ninety >= smallest.median


def test_delay_falls_with_size_and_agrees_with_the_forecast(result: Result) -> None:
    for name, kind in (("a", "mean"), ("c", "scale"), ("kind", "new category"), ("b", "missing")):
        medians = [one.median for one in result.of(name, kind)]
        assert medians == sorted(medians, reverse=True)
    seen = [one for one in result.delays if one.unit != ROWS_UNIT and 2 <= one.median < 15]
    assert len(seen) > 5
    ratios = [one.median / one.predicted for one in seen]  # without noise a shift near the tolerance takes longer
    assert 0.6 < np.median(ratios) < 1.5
    assert all(1 / 4 < ratio < 2 for ratio in ratios)


def test_delay_is_told_in_rows_and_time_at_the_stated_rate(result: Result) -> None:
    line = next(one for one in result.document()["delays"] if one["unit"] == "a" and one["size"] == 1.0)
    assert (line["median_panes"], line["median_rows"], line["median_seconds"]) == (1, 200, 20)


def test_undrifted_streams_keep_the_promise_and_lower_ones(result: Result) -> None:
    alarms = result.false_alarms
    assert alarms.panes == 5 * (20 + 10)
    assert alarms.pages == 0
    assert result.per_thousand.low == 0
    assert result.per_thousand.high == pytest.approx(1000 * 3.6889 / 150, rel=1e-3)
    assert [rung.pages for rung in alarms.ladder] == sorted((rung.pages for rung in alarms.ladder), reverse=True)
    assert all(poisson(rung.pages, rung.panes).low <= 1 / rung.length for rung in alarms.ladder)


def test_without_tolerance_the_ladder_is_climbed_no_faster_than_promised(fitted: Fitted) -> None:
    settings = bench.model(alarms=ALARMS | {"smallest_shift": 0.0}, joint=ALONE)
    source = rows.rows_from(fitted)
    engine = paging(ModelStreams(settings, fitted, config_id="", timer=lambda: 0.0).engine, source)
    study = Study(engine, source, traffic_of(settings, fitted, None), Plan())
    for study.rounds in range(1, 21):
        rng = np.random.default_rng(study.rounds)
        study._undrifted(source.index(source.law(rng), 60 * 200, rng).reshape(60, 200))
    ladder = study.false_alarms().ladder
    assert ladder[0].panes > 300
    assert all(poisson(rung.pages, rung.panes).low <= 1 / rung.length for rung in ladder)


def test_the_same_seed_gives_the_same_study(fitted: Fitted, result: Result) -> None:
    again = calibrate(bench.model(alarms=ALARMS, joint=ALONE), fitted, rate=10.0, plan=PLAN)
    first, second = ({**one.document(), "seconds_cpu": 0} for one in (result, again))
    assert first == second


def test_the_run_is_bounded_by_its_time(fitted: Fitted) -> None:
    clock = iter(range(10_000))
    plan = Plan(streams=50, horizon=5, seconds=2.5)
    found = calibrate(bench.model(), fitted, plan=plan, timer=lambda: float(next(clock)))
    assert 1 <= found.streams <= 3
    assert any("--streams 50" in warning for warning in found.warnings)


def test_rate_decides_what_a_pane_of_time_holds(fitted: Fitted) -> None:
    model = bench.model(pane={"every": "60s"}, alarms={"false_alarms": "1 per 1d"})
    with pytest.raises(ConfigError, match="--rate"):
        traffic_of(model, fitted, None)
    traffic = traffic_of(model, fitted, 5.0)
    assert (traffic.pane_rows, traffic.pane_seconds, traffic.run_length) == (300, 60.0, 1440.0)
    huge = traffic_of(model, fitted, 5_000.0)
    assert huge.pane_rows <= huge.parts * huge.part_rows < huge.pane_rows + huge.parts
    assert huge.part_rows <= 20_000
    assert (huge.panes(1), huge.panes(huge.parts), huge.panes(huge.parts + 1)) == (1, 1, 2)


def test_rate_is_the_references_own_where_its_rows_have_times() -> None:
    batch = bench.rows(2_000, 0).append_column("ts", pa.array(np.arange(2_000) * 0.5))
    settings = bench.model(columns={"time": "ts"}, pane={"every": "60s"})
    traffic = traffic_of(settings, measure_batches([batch], settings), None)
    assert traffic.rate == pytest.approx(2.0, rel=0.01)
    assert traffic.pane_rows == pytest.approx(120, abs=1)


def test_segments_share_the_budget(fitted: Fitted) -> None:
    settings = bench.model(columns={"segments": ["kind"]}, max_segments=2)
    whole = measure_batches([bench.rows(3_000, 0)], settings)
    assert traffic_of(settings, whole, None).shares == 3
    assert traffic_of(settings, fitted, None).shares == 1


def test_small_reference_is_told_with_the_rows_that_it_needs() -> None:
    small = measure_batches([bench.rows(400, 0)], bench.model())
    found = calibrate(bench.model(alarms=ALARMS), small, plan=Plan(streams=1, horizon=3, seconds=math.inf))
    text = next(warning for warning in found.warnings if "too small" in warning)
    error = math.sqrt(math.log(40) / (2 * 400))
    assert f"{error:.3f}" in text
    assert "at least 740 rows" in text  # ln(40) / (2 0.05^2) = 738


def test_a_broken_promise_is_told_first(fitted: Fitted, result: Result) -> None:
    model, some = bench.model(alarms=ALARMS), rows.rows_from(fitted)
    worse = dataclasses.replace(result, false_alarms=dataclasses.replace(result.false_alarms, pages=30))
    assert next(advice.warnings(worse, model, some, 5)).startswith("The promise is not kept: ")
    assert not any("promise" in warning for warning in result.warnings)


def test_blind_columns_and_small_panes_are_told() -> None:
    batch = bench.rows(4_000, 0).append_column("still", pa.array(np.ones(4_000)))
    settings = bench.model(alarms=ALARMS | {"smallest_shift": 0.6}, pane={"rows": 4})
    found = calibrate(settings, measure_batches([batch], settings), plan=Plan(streams=1, horizon=3, seconds=math.inf))
    text = "\n".join(found.warnings)
    assert "still: no question is asked" in text
    assert "a smaller alarms.smallest_shift" in text
    assert "A pane has 4 rows" in text
    assert "Raise window.panes to 13" in text


def test_rows_are_drawn_in_runs_from_a_law_per_stream(fitted: Fitted) -> None:
    source = rows.rows_from(fitted)
    rng = np.random.default_rng(0)
    law = source.law(rng)
    index = source.index(law, 1_000, rng)
    steps = np.diff(index) % source.block.rows
    assert (steps == 1).mean() > 0.9
    assert len(law.starts) == round(12_000 / source.run)
    assert index.max() < source.block.rows


def test_reference_of_a_study_follows_the_samples_law(fitted: Fitted) -> None:
    source = rows.rows_from(fitted)
    assert source.block.rows == 10_000
    reference = rows.as_sampled(fitted.reference, source)
    assert reference.summary.rows == 12_000
    own = np.bincount(source.block.codes[:, 0], minlength=reference.summary.codes.shape[1])
    assert np.abs(reference.summary.codes[0] - 1.2 * own).max() <= 0.5


def test_forecast_falls_with_the_size_and_gives_up_below_the_tolerance(fitted: Fitted, injector: Injector) -> None:
    engine = paging(ModelStreams(bench.model(), fitted, config_id="", timer=lambda: 0.0).engine, rows.rows_from(fitted))
    rng = np.random.default_rng(0)
    panes = [
        forecast(engine, injector.inject(injector.sample, Shift((("mean", size),)), rng), 200, 1000.0, 400).panes[0]
        for size in (0.05, 0.3, 0.5, 1.0)
    ]
    assert panes[0] == math.inf
    assert panes[1:] == sorted(panes[1:], reverse=True)
    assert panes[-1] == 1


def test_injections_change_what_they_say_and_nothing_else(injector: Injector) -> None:
    before, after = _inject(injector, "mean", 0.5, [0])
    assert np.nanmean(after.numeric[:, 0] - before.numeric[:, 0]) == pytest.approx(0.5, rel=0.03)
    assert np.array_equal(after.numeric[:, 1:], before.numeric[:, 1:], equal_nan=True)
    before, after = _inject(injector, "scale", 2.0)
    assert np.nanstd(after.numeric[:, 0]) == pytest.approx(2 * np.nanstd(before.numeric[:, 0]), rel=0.01)
    _, after = _inject(injector, "new category", 0.1)
    assert (after.codes == NEW_CODE).mean() == pytest.approx(0.1, abs=0.01)
    _, after = _inject(injector, "missing", 0.1)
    assert np.isnan(after.numeric[:, 0]).mean() == pytest.approx(0.1, abs=0.01)
    assert (after.codes == MISSING_CODE).mean() == pytest.approx(0.1, abs=0.01)
    _, after = _inject(injector, "spike", 0.1)
    assert (after.numeric[:, 0] > 9).mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("unit", [0, 2, 3])
def test_mass_moves_as_much_as_was_asked(fitted: Fitted, injector: Injector, unit: int) -> None:
    engine = paging(ModelStreams(bench.model(), fitted, config_id="", timer=lambda: 0.0).engine, rows.rows_from(fitted))
    _, after = _inject(injector, "mass", 0.1, [unit])
    assert forecast(engine, after, 200, 1000.0, 1).mass[unit] == pytest.approx(0.1, abs=0.02)


def test_discrete_columns_keep_their_values_and_atoms_their_place() -> None:
    rng = np.random.default_rng(0)
    dice = rng.integers(1, 7, 3_000).astype(float)
    paid = np.where(rng.random(3_000) < 0.4, 0.0, rng.standard_exponential(3_000))
    batch = pa.RecordBatch.from_pydict({"dice": pa.array(dice), "paid": pa.array(paid)})
    settings = bench.model(columns={"numeric": ["dice"]})
    whole = measure_batches([batch], settings)
    injector = Injector(whole.reference.grid, rows.rows_from(whole).block)
    before, after = _inject(injector, "mean", 0.2)
    assert set(np.unique(after.numeric[:, 0])) <= set(range(1, 7))
    assert np.mean(after.numeric[:, 0] - before.numeric[:, 0]) == pytest.approx(0.2 * injector.sd[0], rel=0.25)
    assert np.array_equal(before.numeric[:, 1] == 0, after.numeric[:, 1] == 0)


def test_joint_injections_leave_columns_or_rows_as_they_were() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(4_000)
    batch = pa.RecordBatch.from_pydict({"x": pa.array(x), "y": pa.array(x + 0.3 * rng.standard_normal(4_000))})
    whole = measure_batches([batch], bench.model())
    injector = Injector(whole.reference.grid, rows.rows_from(whole).block)
    before, after = _inject(injector, "correlation", 1.0)
    assert np.array_equal(np.sort(before.numeric, axis=0), np.sort(after.numeric, axis=0))
    together = [float(np.corrcoef(block.numeric[:, 0], block.numeric[:, 1])[0][1]) for block in (before, after)]
    assert together[0] > 0.9
    assert abs(together[1]) < 0.1
    for kind, size in (("mode drop", 0.4), ("row mix", 4.0)):
        before, after = _inject(injector, kind, size)
        assert {tuple(row) for row in after.numeric} <= {tuple(row) for row in before.numeric}
        assert abs(after.numeric[:, 0].mean() - before.numeric[:, 0].mean()) > 0.1


def test_a_broken_correlation_is_found_by_the_joint_detector_alone() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(6_000)
    batch = pa.RecordBatch.from_pydict({"x": pa.array(x), "y": pa.array(x + 0.1 * rng.standard_normal(6_000))})
    settings = bench.model(alarms=ALARMS)
    source = measure_batches([batch], settings)
    engine = paging(ModelStreams(settings, source, config_id="", timer=lambda: 0.0).engine, rows.rows_from(source))
    plan = Plan(streams=1, horizon=20, seconds=math.inf)
    study = Study(engine, rows.rows_from(source), traffic_of(settings, source, None), plan)
    study.forecasts, study.joint = {}, [Shift((("correlation", 1.0),))]
    study.run(lambda: 0.0)
    (found,) = study.delays()
    assert found.detectable
    assert dict(found.by) == {engine.rows[-1]: 1}


def test_intervals_are_exact() -> None:
    assert poisson(0, 1.0) == pytest.approx((0.0, 0.0, 3.6889), rel=1e-4)
    assert poisson(10, 1.0) == pytest.approx((10.0, 4.7954, 18.3904), rel=1e-4)
    assert binomial(9, 10) == pytest.approx((0.9, 0.5550, 0.9975), rel=1e-3)


class _Outside(html.parser.HTMLParser):
    """Collects what a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.found += [f"{tag} {name}" for name, _ in attrs if name in {"src", "href", "onload", "onclick"}]


def test_ticks_leave_room_for_the_title_of_their_axis() -> None:
    across = Axis(1.0, 10.0, decades(1.0, 10.0), "x")
    starts = []
    for text in ("1", "1 in 100,000"):
        picture = Plot(across, Axis(1.0, 10.0, [(1.0, text)], "y"), [], "").svg()
        starts.append(float(picture.split('class="grid" d="M')[1].split()[0]))
    assert starts[1] > starts[0] + 40


def test_durations_are_told_as_the_configuration_takes_them() -> None:
    assert [words.length(seconds) for seconds in (59.2, 5039.0)] == ["60s", "84m"]
    assert words.interval(Interval(1850.2, 0.0123456, 224.0)) == "1,850 (0.0123 to 224)"


def test_page_stands_alone_and_escapes_names(result: Result) -> None:
    text = page.html(result)
    reader = _Outside()
    reader.feed(text)
    assert reader.found == []
    assert not {"script", "link", "img", "iframe"} & reader.tags.keys()
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert reader.tags["svg"] == 1 + 4 + 3  # the false alarms, each column, each joint shift
    assert "prefers-color-scheme: dark" in text
    assert "nan" not in text.lower().replace("tenant", "")


def _write(folder: Path, **changes: Any) -> Path:
    pq.write_table(pa.Table.from_batches([bench.rows(2_000, 0)]), folder / "reference.parquet")
    pane = changes.get("pane", "{rows: 200}")
    names = changes.get("names", ("m",))
    lines = ["models:", *(f"- {{name: {name}, reference: reference.parquet, pane: {pane}}}" for name in names)]
    (folder / "c.yaml").write_text("\n".join(lines), encoding="utf-8")
    return folder / "c.yaml"


def test_command_writes_both_files_and_prints_a_table(tmp_path: Path) -> None:
    config = _write(tmp_path)
    arguments = ["calibrate", "-c", str(config), "--streams", "1", "--panes", "3", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "promised: 1 per 90d" in done.stdout
    document = json.loads((tmp_path / "out" / "calibration.json").read_text("utf-8"))
    assert document["streams"] == 1
    assert {one["column"] for one in document["columns"]} == set(bench.NAMES)
    assert (tmp_path / "out" / "calibration.html").read_text("utf-8").startswith("<!doctype html>")


def test_command_prints_one_document_a_model(tmp_path: Path) -> None:
    config = _write(tmp_path, names=("one", "two"))
    arguments = [
        "calibrate",
        "-c",
        str(config),
        "--streams",
        "1",
        "--panes",
        "2",
        "--json",
        "--out",
        str(tmp_path / "o"),
    ]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert [one["model"] for one in json.loads(done.stdout)] == ["one", "two"]
    assert (tmp_path / "o" / "two" / "calibration.json").is_file()


def test_command_refuses_unknown_models_and_panes_without_a_rate(tmp_path: Path) -> None:
    config = _write(tmp_path, pane="{every: 60s}")
    with pytest.raises(ConfigError, match="no model is called 'x'"):
        CliRunner().invoke(command, ["calibrate", "-c", str(config), "--model", "x"], catch_exceptions=False)
    with pytest.raises(ConfigError, match="--rate"):
        CliRunner().invoke(command, ["calibrate", "-c", str(config)], catch_exceptions=False)
    assert CliRunner().invoke(command, ["calibrate", "-c", str(config), "--rate", "0"]).exit_code == 2


def test_selfcheck_goes_on_in_slices_and_finds_what_it_injects(fitted: Fitted) -> None:
    whole, sliced = (Selfcheck(bench.model(alarms=ALARMS, joint=ALONE), fitted, 1) for _ in range(2))
    assert math.isnan(whole.figures().delay_panes)
    whole.step(400)
    for _ in range(40):
        sliced.step(10)
    assert whole.figures() == sliced.figures()
    found = whole.figures()
    assert found.null_panes >= 100
    assert found.false_alarms == 0
    assert 0 < found.detected <= found.injected
    assert 1 <= found.delay_panes < 100


def test_selfcheck_counts_what_is_not_found(fitted: Fitted) -> None:
    hopeless = bench.model(pane={"rows": 2}, alarms={"false_alarms": "1 per 1000000 panes"}, joint=ALONE)
    check = Selfcheck(hopeless, fitted, 1)
    check.step(400)
    found = check.figures()
    assert found.injected >= 1
    assert found.detected == 0
    assert found.delay_panes == math.inf
