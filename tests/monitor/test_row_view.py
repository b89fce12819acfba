"""The joint view "row scores": fitted on rows kept apart, stored with the artefact, and what windows are tested on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import simulate
from detectors.multivariate.joint import JointDefault
from detectors.multivariate.samples import cut
from detectors.registry import WITNESS, Tolerances
from detectors.rows import scores
from detectors.rows.encoder import VIEW, ScoreEncoder
from detectors.rows.layout import Layout
from detectors.types import Block, FloatArray, View
from monitor import arrays, artefact, joint_reference
from monitor.decode import Decoder
from monitor.fitted import Fitted
from monitor.joint_reference import Measured, for_axes, views_of
from monitor.prepared import flat, rebuilt, under
from monitor.reference import fit
from monitor.schema import Plan, Roles
from tests.monitor.streams_bench import rows as table_rows

_NO = np.array(-1)
_NONE = np.zeros(0, np.int64)
_LAYOUT = Layout(_NONE, np.array([-1, 0, 0, 0]), np.array(0), np.array(1), _NO, _NO, _NO, _NONE)


def _block(n: int, seed: int, moved: float = 0.0) -> Block:
    """Embeddings of three classes, and probabilities; ``moved`` of them are between two classes."""
    rng = np.random.default_rng(seed)
    centres = 3 * np.eye(3, 12)
    z = centres[rng.integers(0, 3, n)]
    between = rng.random(n) < moved
    z[between] = (centres[0] + centres[1]) / 2
    z += rng.standard_normal((n, 12)) * np.linspace(1, 0.4, 12)
    logits = z @ centres.T
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    vectors = (z.astype(np.float32), (p / p.sum(axis=1, keepdims=True)).astype(np.float32))
    return Block(np.zeros((n, 0)), np.zeros((n, 0), np.int32), np.zeros(0, np.int64), None, vectors)


def _views(
    block: Block,
    layout: Layout | None,
    *,
    scored: bool | None = None,
    tau: FloatArray | None = None,
    notes: list[str] | None = None,
) -> tuple[View, ...]:
    base = simulate.reference_of(block, dependent=False)
    grid = dataclasses.replace(base.grid, vectors=(("z", 12), ("p", 3)))
    measured = Measured(Plan((), Roles()), grid, base.summary, block, base.tau, base.tau_missing, layout, scored)
    if tau is not None:
        measured = measured._replace(tau=tau)
    decoder = Decoder(measured.plan, grid, {})  # not asked: the reference is in memory
    views, remarks = views_of(measured, block, lambda: iter(()), decoder, np.random.default_rng(0))
    if notes is not None:
        notes.extend(remarks)
    return views


REFERENCE = _block(12_000, 0)


@pytest.fixture(scope="module")
def view() -> View:
    return next(one for one in _views(REFERENCE, _LAYOUT) if one.name == VIEW)


def test_there_is_a_view_where_the_log_carries_what_it_takes_or_where_it_is_asked_for() -> None:
    names = {one.name for one in _views(REFERENCE, None)}
    assert names == {"z", "p"}
    assert {one.name for one in _views(REFERENCE, _LAYOUT)} == {"z", "p", VIEW}
    assert {one.name for one in _views(REFERENCE, _LAYOUT, scored=False)} == names
    bare = _LAYOUT._replace(embedding=_NO, probabilities=_NO)
    assert {one.name for one in _views(REFERENCE, bare)} == names
    assert {one.name for one in _views(REFERENCE, bare, scored=True)} == names


def test_ranks_come_from_rows_that_are_not_in_the_sample(view: View) -> None:
    assert isinstance(view.encoder, ScoreEncoder)
    assert view.units == ()
    number = np.arange(REFERENCE.rows)
    mine = for_axes(number, view.run)
    kept = {row.tobytes() for row in REFERENCE.vectors[0][mine]}
    unit = view.encoder.fixed.embedded.rows
    lengths = REFERENCE.vectors[0] / np.linalg.norm(REFERENCE.vectors[0], axis=1, keepdims=True)
    inside = (np.abs(lengths[:, None] - unit[:50]).max(axis=2) < 1e-6).any(axis=1)
    assert inside.sum() == 50
    assert not inside[~mine].any()
    assert len(kept) == mine.sum()
    sampled = REFERENCE.rows // view.run * view.run
    assert len(view.sample.rows) == (~mine[:sampled]).sum()
    assert np.abs(view.sample.rows.mean(axis=0)).max() < 0.15


def test_a_window_of_odd_rows_is_seen_and_one_of_the_reference_is_not(view: View) -> None:
    test = JointDefault(draws=99)
    fixed = test.fit(view, np.random.default_rng(0))
    found = [
        np.exp(
            test.score(
                fixed, view, cut(view.encoder, _block(512, seed, moved), view.run), np.random.default_rng(1)
            ).log_p
        )
        for seed, moved in ((1, 0.0), (2, 0.0), (3, 0.2), (4, 0.2))
    ]
    assert min(found[:2]) > 0.05
    assert max(found[2:]) <= 0.02


def test_the_witness_finds_a_stream_of_odd_rows_and_stays_calm_without(view: View) -> None:
    witness = WITNESS(Tolerances())
    fixed = witness.fit(view, np.random.default_rng(0))
    seen = []
    for moved in (0.0, 0.3):
        state = witness.start(fixed)
        for pane in range(12):
            rows = cut(view.encoder, _block(600, 100 + pane, moved), view.run)
            state, step = witness.score(fixed, state, rows)
        seen.append(step.log_e)
    assert seen[0] < np.log(1000)
    assert seen[1] > np.log(1e6)


def test_a_reference_that_is_too_small_for_ranks_is_told() -> None:
    small = _block(1_400, 0)
    notes: list[str] = []
    assert VIEW not in {one.name for one in _views(small, _LAYOUT, notes=notes)}
    (note,) = notes
    assert note.startswith("Row scores are not looked at over windows: it takes 1,600 reference rows or so")


def test_columns_that_depend_on_their_neighbours_for_long_do_not_enter() -> None:
    rng = np.random.default_rng(0)
    plain = simulate.block_of(rng.standard_normal((6_000, 8)))
    block = dataclasses.replace(plain, vectors=_block(6_000, 0).vectors)
    layout = _LAYOUT._replace(features=np.arange(8))
    tau = np.ones(8)
    tau[[2, 5]] = joint_reference.MOST_TAU + 1
    (one,) = (made for made in _views(block, layout, tau=tau) if made.name == VIEW)
    assert isinstance(one.encoder, ScoreEncoder)
    assert one.encoder.fixed.spaces.layout.features.tolist() == [0, 1, 3, 4, 6, 7]


def test_the_view_is_stored_and_encodes_as_before(view: View, tmp_path: Path) -> None:
    fitted: Fitted = fit(lambda: iter([table_rows(3_000, 0)]), Roles())
    reference = dataclasses.replace(fitted.reference, views=(view,))
    with_view = dataclasses.replace(fitted, reference=reference)
    artefact.write(with_view, tmp_path / "a")
    (back,) = artefact.load(tmp_path / "a").reference.views
    fresh = _block(300, 5)
    assert isinstance(back.encoder, ScoreEncoder)
    assert np.array_equal(back.encoder.encode(fresh), view.encoder.encode(fresh))
    assert np.array_equal(back.sample.rows, view.sample.rows)


class _Inner(NamedTuple):
    a: NDArray[np.float32]


class _Outer(NamedTuple):
    inner: _Inner
    b: NDArray[np.int64]


def test_any_nested_measurement_becomes_arrays_and_comes_back(view: View) -> None:
    assert isinstance(view.encoder, ScoreEncoder)
    made = view.encoder.fixed
    stored = arrays.unpack(arrays.pack(flat({"rows": made, "mine": _Outer(_Inner(np.ones(2, "f4")), np.array(3))})))
    again = rebuilt(scores.RowsFixed, under("rows", stored))
    assert scores.names(again) == scores.names(made)
    before, after = (scores.score(one, _block(50, 6)) for one in (made, again))
    assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(before[1:], after[1:], strict=True))
    assert rebuilt(_Outer, under("mine", stored)).b == 3
    with pytest.raises(ValueError, match="_Outer is not what was stored: inner/a"):
        rebuilt(_Outer, {"b": np.array(3)})
