"""Estimates inside the agent: counted pane by pane, the same however rows come, and told with what speaks against."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.performance import estimate
from detectors.performance.counts import DECIDED
from detectors.types import Block
from monitor import artefact, states
from monitor.config import Model
from monitor.engine import Pane
from monitor.loading import measure_batches
from monitor.metrics import table
from monitor.outcomes.answers import Answers
from monitor.outcomes.counting import Counter
from monitor.outcomes.expectation import below
from monitor.outcomes.measured import OfClasses, OfNumbers, known_of, measure, with_outcomes
from monitor.streams import ModelStreams
from tests.monitor.lane_bench import COLUMNS, NOW, Bench, labels, numbered, scored, silent

REFERENCE = scored(8_000, 0)


def model(reference: pa.Table = REFERENCE, **changes: Any) -> Model:
    columns = {key: name for key, name in COLUMNS.items() if name in reference.column_names}
    section = {"name": "m", "reference": "unused", "columns": columns, "pane": {"rows": 500}, "window": {"panes": 8}}
    return Model.model_validate(section | changes)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def begin(name: str, reference: pa.Table = REFERENCE, **changes: Any) -> Bench:
        made.append(Bench(tmp_path / name, reference, **{"pane": {"rows": 500}, "window": {"panes": 8}, **changes}))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def told(bench: Bench) -> Any:
    estimates = bench.side.estimates
    assert estimates is not None
    assert estimates.wait(60)
    return estimates.told["all"]


def right(rows: pa.Table) -> float:
    return float(np.mean(np.equal(rows["said"].to_numpy(), rows["truth"].to_numpy())))


@pytest.mark.parametrize("moved", [0.0, 0.7])
def test_the_accuracy_that_labels_would_show_is_within_the_interval(make: Callable[..., Bench], moved: float) -> None:
    bench, rows = make("one"), scored(4_000, 2, moved=moved)
    bench.send(silent(rows))
    found = told(bench).estimate
    assert found.figures["accuracy"].n == 4_000
    assert found.figures["accuracy"].low <= right(rows) <= found.figures["accuracy"].high
    chance = np.abs(rows["score"].to_numpy() - 0.5).mean() + 0.5  # scores are honest: what the labels were drawn with
    assert abs(found.figures["accuracy"].value - chance) < 4 * found.figures["accuracy"].error
    assert found.figures["accuracy"].high - found.figures["accuracy"].low < 0.06
    assert "no_inputs" not in found.reliability.doubts
    assert found.reference["accuracy"] == pytest.approx(right(REFERENCE), abs=0.002)


def test_a_regression_is_estimated_from_all_rows_inputs(make: Callable[..., Bench]) -> None:
    bench, rows = make("one", numbered(8_000, 0)), numbered(4_000, 1, spread=0.3)
    bench.send(silent(rows))
    found = told(bench)
    mae = float(np.abs(np.subtract(rows["said"].to_numpy(), rows["truth"].to_numpy())).mean())
    assert found.estimate.figures["mae"].value == pytest.approx(mae, rel=0.1)
    assert found.estimate.reference["mae"] > 1.2 * mae
    assert "no_confidence" in found.estimate.reliability.doubts
    assert not any(found.below.values())


def test_a_clear_loss_is_below_expectation_and_usual_rows_are_not(make: Callable[..., Bench]) -> None:
    usual, worse = make("usual"), make("worse")
    usual.send(silent(scored(4_000, 2)))
    assert not any(told(usual).below.values())
    rows = scored(12_000, 3)
    unsure = rows.filter((np.abs(rows["score"].to_numpy() - 0.5) < 0.25).tolist()).slice(0, 4_000)
    worse.send(silent(unsure))
    found = told(worse)
    assert right(unsure) < right(REFERENCE) - 0.1
    assert found.below["accuracy"]
    doubted = found.estimate._replace(reliability=found.estimate.reliability._replace(doubts=("disagreement",)))
    reference = worse.lane.realised.reference
    assert not any(below(doubted, reference, 1_000, 0.02).values())
    assert not below(found.estimate, reference, 1_000, 0.5)["accuracy"]


def test_what_was_measured_comes_back_with_the_artefact(tmp_path: Path) -> None:
    for kind, reference in ((OfClasses, REFERENCE), (OfNumbers, numbered(3_000, 0))):
        fitted = measure_batches(reference.combine_chunks().to_batches(), model(reference))
        artefact.write(fitted, tmp_path / kind.__name__)
        again = artefact.load(tmp_path / kind.__name__)
        assert fitted.outcomes.keys() == again.outcomes.keys()
        first, second = known_of(fitted).measured, known_of(again).measured
        assert isinstance(second, kind)
        assert first is not None
        assert all(
            np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(first.encoder, second.encoder, strict=True)
        )
        older = dataclasses.replace(again, outcomes={})  # of a version that measured none: the sample has to do
        assert isinstance(known_of(older).measured, kind)


def test_a_reference_without_labels_has_no_estimates() -> None:
    fitted = measure_batches(silent(REFERENCE).combine_chunks().to_batches(), model(silent(REFERENCE)))
    assert not fitted.outcomes
    assert known_of(fitted).measured is None


def _same(kept: list[bytes], _stream: str) -> list[bytes]:
    return kept


def fed(sizes: list[int], rows: pa.Table, *, stop: int = -1) -> list[Pane]:
    """The panes of a stream to which rows come in batches of these sizes; it is stored and taken up once."""
    settings = model()
    fitted = _fitted()
    known = known_of(fitted).measured
    assert known is not None

    def begin() -> ModelStreams:
        counter = Counter(known, Answers(fitted), 8)
        return ModelStreams(settings, fitted, config_id="", timer=lambda: 0.0, counter=counter)

    streams, first = begin(), 0
    for place, size in enumerate(sizes):
        for batch in rows.slice(first, size).combine_chunks().to_batches():
            streams.feed(batch, "", NOW)
        first += size
        if place == stop:
            kept = [states.pack_pane(pane) for pane in streams.streams["all"].state.panes]
            blobs, streams = streams.state(), begin()
            streams.restore(blobs, partial(_same, kept))
    return list(streams.streams["all"].state.panes)


_MADE: list[Any] = []


def _fitted() -> Any:
    if not _MADE:
        _MADE.append(measure_batches(REFERENCE.combine_chunks().to_batches(), model()))
    return _MADE[0]


def test_panes_count_the_same_however_rows_come_and_over_a_checkpoint() -> None:
    rows = silent(scored(3_900, 4))
    whole = fed([3_900], rows)
    for panes in (fed([1_300, 1, 299, 2_300], rows, stop=1), fed([700] * 5 + [400], rows, stop=2)):
        for one, other in zip(whole, panes, strict=True):
            assert one.answers is not None
            assert other.answers is not None
            assert one.answers.keys() == other.answers.keys()
            for name in ("which", "counts", "offered"):
                assert np.array_equal(one.answers[name], other.answers[name])
            assert sorted(one.answers["hashes"]) == sorted(other.answers["hashes"])


def test_a_window_is_what_counting_all_its_rows_at_once_gives_and_its_sample_is_fair() -> None:
    fitted = _fitted()
    known = known_of(fitted).measured
    assert isinstance(known, OfClasses)
    answers = Answers(fitted)
    counter = Counter(known, answers, 60)
    rng = np.random.default_rng(0)
    packed, whole = [], None
    for pane, n in enumerate((20_000, 500, 3_000)):
        block = (
            ModelStreams(model(), fitted, config_id="", timer=lambda: 0.0)
            ._decoder.decode(silent(scored(n, 10 + pane)).combine_chunks().to_batches()[0])
            .block
        )
        counted = counter.add(None, [block], block, np.arange(n) + int(rng.integers(1 << 40)))
        packed.append(counter.packed(counted))
        alone = estimate.count(known.fixed, answers.outcomes(answers.said(block)))
        whole = alone if whole is None else estimate.merge(whole, alone)
    tally, inputs = counter.window(packed)
    assert whole is not None
    assert all(np.array_equal(a, b) for a, b in zip(tally, whole, strict=True))
    assert inputs is not None
    kept = [len(one["hashes"]) for one in packed if one is not None]
    assert kept == [1_096, 500, 1_096]
    share = len(inputs) / 23_500
    assert share == pytest.approx(1_096 / 20_000, rel=0.15)  # the fullest pane says how many of each are taken
    assert counter.window([])[1] is None


def test_answers_that_are_missing_or_odd_are_counted_as_such(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), silent(scored(4_000, 5))
    score = rows["score"].to_numpy().copy()
    score[:400] = np.nan
    score[400:410] = 1e308
    bench.send(rows.set_column(rows.column_names.index("score"), "score", pa.array(score)))
    found = told(bench).estimate
    assert found.reliability.unscored == pytest.approx(0.1)
    assert "unscored" in found.reliability.doubts


def test_series_are_of_the_table(make: Callable[..., Bench]) -> None:
    bench = make("one")
    bench.send(silent(scored(4_000, 6)))
    told(bench)
    made, known = bench.performance, table()
    assert all(len(labels_) == len(known[name].labels) for name, some in made.items() for labels_, _ in some)
    metrics = {labels_[-1] for labels_, _ in made["driftwarden_performance_estimate"]}
    assert {"accuracy", "auroc", "brier"} <= metrics
    assert metrics <= {labels_[-1] for labels_, _ in made["driftwarden_performance_reference"]}
    assert {value for _, value in made["driftwarden_performance_below_expectation"]} == {0.0}


def test_labels_that_come_alone_change_no_estimate(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), scored(4_000, 7)
    bench.send(silent(rows))
    before = told(bench)
    bench.send(labels(rows))
    assert told(bench) is before


def test_an_estimate_that_fails_is_counted_and_the_next_one_comes(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make("one")
    estimates = bench.side.estimates
    assert estimates is not None
    with monkeypatch.context() as patch:
        patch.setattr("monitor.outcomes.estimates.estimate.estimate", lambda *_: 1 / 0)
        bench.send(silent(scored(500, 8)))
        assert estimates.wait(60)
    assert bench.side.failures == 1
    bench.send(silent(scored(4_000, 9)))
    assert told(bench).estimate.chosen


def test_answers_that_cannot_be_counted_cost_no_row(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make("one")
    calls, count = iter([True, False]), estimate.count
    patched = lambda *given: 1 / 0 if next(calls, False) else count(*given)  # noqa: E731
    monkeypatch.setattr("monitor.outcomes.counting.estimate.count", patched)
    bench.send(silent(scored(1_000, 8)))
    accounts = bench.intake.ledger.snapshot().accounts["http", "m"]
    assert (accounts.processed_rows, sum(accounts.discarded_rows.values())) == (1_000, 0)
    assert told(bench).estimate.figures["accuracy"].n == 500  # of two panes one
    assert bench.side.estimates is not None
    failures = dict(bench.performance["driftwarden_performance_estimate_failures_total"])
    assert failures["m",] == bench.side.estimates.counter.failures == 1


def test_a_block_of_vectors_is_read_as_probabilities() -> None:
    rng = np.random.default_rng(1)
    chances = rng.dirichlet((1, 1, 1), 3_000)
    truth = (rng.random(3_000)[:, None] > chances.cumsum(axis=1)).sum(axis=1)
    rows = pa.table(
        {
            "id": [str(i) for i in range(3_000)],
            "a": rng.normal(size=3_000),
            "p": pa.FixedSizeListArray.from_arrays(pa.array(chances.ravel()), 3),
            "truth": np.array(["ape", "bee", "cat"])[truth],
        }
    )
    columns = {"id": "id", "probabilities": "p", "label": "truth"}
    settings = Model.model_validate({"name": "m", "reference": "unused", "columns": columns})
    fitted = measure_batches(rows.combine_chunks().to_batches(), settings)
    answers, known = Answers(fitted), known_of(fitted).measured
    assert (answers.kind, answers.k, dict(answers.codes)) == ("multiclass", 3, {"ape": 0, "bee": 1, "cat": 2})
    assert isinstance(known, OfClasses)
    counter = Counter(known, answers, 8)
    streams = ModelStreams(settings, fitted, config_id="", timer=lambda: 0.0)
    blocks: list[Block] = [streams._decoder.decode(one).block for one in rows.to_batches(max_chunksize=1_000)]
    counted = None
    for place, block in enumerate(blocks):
        counted = counter.add(counted, [block], block, np.arange(1_000) + 1_000 * place)
    tally, inputs = counter.window([counter.packed(counted)])
    made = estimate.estimate(known.fixed, tally, inputs)
    exact = float((chances.argmax(axis=1) == truth).mean())
    assert made.figures["accuracy"].value == pytest.approx(exact, abs=0.02)


def test_labels_of_one_part_of_a_reference_are_enough() -> None:
    settings = model()
    batches = REFERENCE.combine_chunks().to_batches(max_chunksize=2_000)
    fitted = measure_batches(REFERENCE.combine_chunks().to_batches(), settings)
    some = [one if i != 3 else one.drop_columns(["truth"]) for i, one in enumerate(batches)]
    known = known_of(dataclasses.replace(fitted, outcomes=measure(fitted, lambda: iter(some))))
    assert known.expected is not None
    assert known.expected.reference.mass[0, DECIDED, 0] == 6_000


def test_a_label_with_a_thousand_values_costs_no_reference() -> None:
    many = REFERENCE.set_column(
        REFERENCE.column_names.index("truth"), "truth", pa.array([f"note {i}" for i in range(len(REFERENCE))])
    )
    fitted = measure_batches(many.combine_chunks().to_batches(), model(many))
    assert known_of(with_outcomes(fitted, lambda: iter(many.to_batches()))) == (None, None, None)


def test_answers_without_a_score_have_no_estimate_and_no_failure(make: Callable[..., Bench]) -> None:
    bare = REFERENCE.drop_columns(["score"]).set_column(
        REFERENCE.column_names.index("said"), "said", pa.array(np.array(["no", "yes"])[REFERENCE["said"].to_numpy()])
    )
    bare = bare.set_column(
        bare.column_names.index("truth"), "truth", pa.array(np.array(["no", "yes"])[REFERENCE["truth"].to_numpy()])
    )
    bench = make("one", bare)
    assert bench.side.estimates is None
    assert bench.lane is not None
