"""The contract that every detector in the catalogue keeps; a new one is tested by its line in the registry."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from detectors import parts, simulate
from detectors.registry import CATALOG, SEQUENTIAL, WINDOWED, Tolerances
from detectors.types import Block, Evidence, Reason, Reference, Summary
from monitor.arrays import pack, unpack
from tests.contract import bench
from tests.contract.bench import NUMERIC, UNITS, judge, same, same_state, window_of, window_of_summaries

every = pytest.mark.parametrize("name", CATALOG)
windowed = pytest.mark.parametrize("name", WINDOWED)
sequential = pytest.mark.parametrize("name", SEQUENTIAL)


@pytest.fixture(scope="module")
def measured() -> Reference:
    return bench.reference()


def consistent(evidence: Evidence, *, sequential: bool) -> None:
    """Evidence has a reason code exactly where it is silent, and never an infinity on the alarming side."""
    speaks = evidence.reason == Reason.OK
    told = evidence.log_e if sequential else evidence.log_p
    np.testing.assert_array_equal(speaks, ~np.isnan(told))
    assert not np.isposinf(told).any()
    if not sequential:
        assert np.isfinite(told[speaks]).all()
        assert (told[speaks] <= 0).all()
        for field in ("statistic", "effect", "effect_low", "effect_high"):
            values = getattr(evidence, field)
            assert np.isnan(values[~speaks]).all()
            assert not np.isnan(values[speaks]).any()


@every
def test_name_in_the_catalogue_is_the_detectors_own(name: str, measured: Reference) -> None:
    detector = CATALOG[name](Tolerances())
    assert detector.name == name
    assert detector.failure_modes
    assert judge(name, measured, window_of(measured, [bench.block(200)]))[1].detector == name


@every
def test_evidence_has_one_entry_per_unit_and_the_promised_types(name: str, measured: Reference) -> None:
    _, evidence = judge(name, measured, window_of(measured, [bench.block(200)]))
    for field in bench.FIELDS:
        values = getattr(evidence, field)
        assert values.shape == (UNITS,), field
        assert values.dtype == (np.int8 if field == "reason" else np.float64), field
    for values in evidence.extra.values():
        assert values.shape == (UNITS,)
        assert values.dtype == np.float64
    consistent(evidence, sequential=name in SEQUENTIAL)


@every
def test_state_is_a_tuple_of_float_arrays(name: str, measured: Reference) -> None:
    state, _ = judge(name, measured, window_of(measured, [bench.block(200)]))
    assert isinstance(state, tuple)
    assert all(part.dtype == np.float64 for part in state)


@every
def test_same_input_gives_the_same_bits(name: str, measured: Reference) -> None:
    window = [window_of(measured, [bench.block(500, 3)]) for _ in range(2)]
    (state_a, a), (state_b, b) = (judge(name, measured, one) for one in window)
    assert same(a, b)
    assert same_state(state_a, state_b)


@every
def test_order_of_rows_is_irrelevant(name: str, measured: Reference) -> None:
    rows = simulate.moved(bench.block(700, 4), 1, 0.3)
    shuffled = simulate.take(rows, np.random.default_rng(5).permutation(700))
    assert same(
        judge(name, measured, window_of(measured, [rows]))[1], judge(name, measured, window_of(measured, [shuffled]))[1]
    )


@windowed
def test_a_window_may_be_cut_into_panes_anywhere(name: str, measured: Reference) -> None:
    rows = simulate.moved(bench.block(900, 6), 0, 0.2)
    whole = judge(name, measured, window_of(measured, [rows]))[1]
    for cuts in ([0, 1, 900], [0, 300, 300, 899, 900], list(range(0, 901, 100))):
        panes = [simulate.take(rows, slice(a, b)) for a, b in itertools.pairwise(cuts)]
        assert same(whole, judge(name, measured, window_of(measured, panes))[1])


@windowed
def test_windowed_detectors_have_no_moving_state(name: str, measured: Reference) -> None:
    detector = CATALOG[name](Tolerances())
    fixed = detector.fit(measured)
    state = detector.start(fixed)
    assert state == ()
    assert detector.score(fixed, state, window_of(measured, [bench.block(300)]))[0] == ()


@sequential
def test_state_survives_bytes_and_goes_on_bit_for_bit(name: str, measured: Reference) -> None:
    detector = CATALOG[name](Tolerances())
    fixed = detector.fit(measured)
    kept = detector.start(fixed)
    for seed in range(12):
        window = window_of(measured, [_faulty(seed)])
        restored = type(kept)(*unpack(pack({str(i): part for i, part in enumerate(kept)})).values())
        kept, a = detector.score(fixed, kept, window)
        other, b = detector.score(fixed, restored, window)
        assert same(a, b)
        assert same_state(kept, other)


@every
def test_inputs_are_not_changed(name: str, measured: Reference) -> None:
    window = window_of(measured, [_faulty(1), _faulty(2)])
    arrays = [*_arrays(measured.summary), *_arrays(window.comparison.summary), *_arrays(window.fresh)]
    arrays += [measured.tau, measured.tau_missing, measured.grid.lut, measured.grid.centres, measured.grid.edges]
    detector = CATALOG[name](Tolerances())
    fixed = detector.fit(measured)
    state = detector.start(fixed)
    arrays += list(state)
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    try:
        detector.score(fixed, state, window)
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(arrays, before, strict=True))
    finally:
        for array in arrays:
            array.setflags(write=True)


REFERENCES: dict[str, Block] = {
    "usual": bench.block(2_000, 20),
    "small": bench.block(40, 21),
    "one row": bench.block(1, 22),
    "constant": simulate.block_of(np.full((500, NUMERIC), 3.5), np.zeros((500, 3), np.int32)),
    "all missing": simulate.block_of(np.full((500, NUMERIC), np.nan), np.full((500, 3), -1, np.int32)),
    "huge": simulate.block_of(bench.block(500, 23).numeric * 1e300, bench.block(500, 23).codes),
    "tiny": simulate.block_of(bench.block(500, 24).numeric * 1e-300, bench.block(500, 24).codes),
    "heavy tails": simulate.block_of(np.exp(50 * bench.block(500, 25).numeric), bench.block(500, 25).codes),
    "some infinite": simulate.replaced(bench.block(500, 26), 0, 0.3, np.inf, np.random.default_rng(4)),
    "all but constant": simulate.block_of(
        np.maximum(bench.block(4_000, 28).numeric, 3.0), (bench.block(4_000, 28).numeric[:, :3] > 2.5).astype(np.int32)
    ),
    "two values": simulate.block_of(np.sign(bench.block(500, 27).numeric), bench.block(500, 27).codes % 2),
}
WINDOWS: dict[str, Block] = {
    "usual": bench.block(300, 30),
    "empty": bench.block(0, 31),
    "one row": bench.block(1, 32),
    "constant": simulate.block_of(np.full((300, NUMERIC), 3.5), np.zeros((300, 3), np.int32)),
    "all missing": simulate.block_of(np.full((300, NUMERIC), np.nan), np.full((300, 3), -1, np.int32)),
    "all new": simulate.block_of(np.full((300, NUMERIC), 1e9), np.full((300, 3), -2, np.int32)),
    "infinite": simulate.block_of(np.full((300, NUMERIC), -np.inf), bench.block(300, 33).codes),
    "huge": simulate.block_of(np.full((300, NUMERIC), 1e300), bench.block(300, 34).codes),
    "many": bench.block(6_000, 36),
    "mixed": simulate.replaced(bench.block(300, 35), 1, 0.5, np.nan, np.random.default_rng(5)),
}


@every
@pytest.mark.parametrize("kind", REFERENCES)
def test_odd_data_gives_reason_codes_and_neither_exceptions_nor_warnings(name: str, kind: str) -> None:
    measured = simulate.reference_of(REFERENCES[kind], labels=[list("abcde")] * 3)
    for rows in WINDOWS.values():
        _, evidence = judge(name, measured, window_of(measured, [rows]))
        consistent(evidence, sequential=name in SEQUENTIAL)


@every
@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (1, 0), (0, 1)])
def test_tables_of_one_sort_of_column_only_are_judged(name: str, shape: tuple[int, int]) -> None:
    numeric, categorical = shape
    measured = bench.reference(1_000, numeric=numeric, categorical=categorical)
    window = window_of(measured, [bench.block(300, 40, numeric=numeric, categorical=categorical)])
    _, evidence = judge(name, measured, window)
    assert evidence.reason.shape == (numeric + categorical,)
    consistent(evidence, sequential=name in SEQUENTIAL)


@windowed
def test_a_constant_or_empty_column_is_named_by_its_reason(name: str) -> None:
    rows = bench.block(1_000, 41)
    rows = simulate.replaced(rows, 0, 1.0, 7.0, np.random.default_rng(0))
    rows = simulate.replaced(rows, 1, 1.0, np.nan, np.random.default_rng(0))
    measured = simulate.reference_of(rows, labels=[list("abcde")] * 3)
    _, evidence = judge(name, measured, window_of(measured, [bench.block(300, 42)]))
    assert evidence.reason[0] == Reason.CONSTANT_REFERENCE
    assert evidence.reason[1] == Reason.NO_REFERENCE
    missing = simulate.replaced(bench.block(300, 43), 2, 1.0, np.nan, np.random.default_rng(0))
    _, evidence = judge(name, measured, window_of(measured, [missing]))
    assert evidence.reason[2] == Reason.ALL_MISSING
    _, evidence = judge(name, measured, window_of(measured, [bench.block(10, 44)]))
    assert evidence.reason[3] == Reason.FEW_ROWS


@every
def test_a_billion_rows_overflow_nothing(name: str, measured: Reference) -> None:
    rows = simulate.moved(bench.block(1_000, 50), 0, 3.0)
    rows = simulate.recoded(rows, NUMERIC, 0.9, -2, np.random.default_rng(0))
    many = _times(parts.summarise(measured.grid, rows), 1_000_000)
    state = None
    for _ in range(50):
        state, evidence = judge(name, measured, window_of_summaries(measured, [many]), state)
        consistent(evidence, sequential=name in SEQUENTIAL)
        assert all(np.isfinite(part).all() for part in state)


@sequential
def test_a_pane_without_rows_leaves_the_evidence_as_it_was(name: str, measured: Reference) -> None:
    state, before = judge(name, measured, window_of(measured, [_faulty(3)]))
    later, after = judge(name, measured, window_of(measured, [bench.block(0)]), state)
    assert same_state(state, later)
    np.testing.assert_array_equal(before.log_e, after.log_e)


@sequential
def test_forgetting_a_unit_takes_its_evidence_and_no_other(name: str, measured: Reference) -> None:
    detector = SEQUENTIAL[name](Tolerances())
    fixed = detector.fit(measured)
    state, before = detector.score(fixed, detector.start(fixed), window_of(measured, [_faulty(6)]))
    marked = np.zeros(UNITS, bool)
    marked[[0, NUMERIC]] = True
    empty = window_of(measured, [bench.block(0)])
    _, after = detector.score(fixed, detector.forget(fixed, state, marked), empty)
    spoke = marked & ~np.isnan(before.log_e)
    assert np.isneginf(after.log_e[spoke]).all()
    np.testing.assert_array_equal(after.log_e[~marked], before.log_e[~marked])


@sequential
def test_questions_and_answers_have_one_length(name: str, measured: Reference) -> None:
    detector = SEQUENTIAL[name](Tolerances())
    fixed = detector.fit(measured)
    asked = detector.questions(fixed)
    yes, rows = detector.answers(fixed, measured.summary)
    assert len(yes) == len(rows) == len(asked.unit) == len(asked.share) == len(asked.p0) == len(asked.tau)
    assert (yes <= rows).all()
    some = rows > 0
    np.testing.assert_allclose(yes[some] / rows[some], asked.share[some], atol=1e-12)
    assert (asked.p0 > asked.share).all()


def _faulty(seed: int) -> Block:
    """Rows with something of every fault."""
    rng = np.random.default_rng(seed)
    rows = simulate.replaced(bench.block(200, seed), 0, 0.1, np.nan, rng)
    rows = simulate.replaced(rows, 1, 0.1, np.inf, rng)
    rows = simulate.replaced(rows, 2, 0.1, 40.0, rng)
    rows = simulate.recoded(rows, NUMERIC, 0.1, -2, rng)
    return simulate.mistyped(rows, NUMERIC + 1, 0.1, rng)


def _arrays(summary: Summary) -> list[np.ndarray[Any, Any]]:
    return [getattr(summary, name) for name in ("numeric", "codes", "missing", "nonfinite", "new", "faults", "sums")]


def _times(summary: Summary, by: int) -> Summary:
    """The summary of the same rows ``by`` times over."""
    fields = ("rows", "numeric", "codes", "missing", "nonfinite", "new", "faults", "sums")
    return dataclasses.replace(summary, **{name: getattr(summary, name) * by for name in fields})
