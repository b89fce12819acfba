"""The contract holds with strata as well: odd mixes give reason codes, and state goes on bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from detectors import parts, simulate
from detectors.compare import Baseline, Comparison
from detectors.registry import CATALOG, SEQUENTIAL, Tolerances
from detectors.simulate import Layout
from detectors.types import Block, Evidence, Reason, Reference, Window
from monitor.arrays import pack, unpack
from tests.contract import bench
from tests.contract.bench import NUMERIC, same, same_state

LAYOUT = Layout(parent=(0, 0, 1, 1, 1), free=(NUMERIC,), cell=(0, 1, 0, 1, 1))


def with_strata(block: Block, codes: int | None = None, seed: int = 0) -> Block:
    """Rows of strata 0 to 3, or of one; the last is empty in the reference."""
    strata = np.random.default_rng(seed).integers(0, 4, block.rows) if codes is None else np.full(block.rows, codes)
    return dataclasses.replace(block, strata=strata.astype(np.int32))


REFERENCES: dict[str, Block] = {
    "usual": with_strata(bench.block(4_000, 1)),
    "small": with_strata(bench.block(40, 2)),
    "one row": with_strata(bench.block(1, 3)),
    "one stratum": with_strata(bench.block(1_000, 4), 2),
    "constant": with_strata(simulate.block_of(np.full((500, NUMERIC), 3.5), np.zeros((500, 3), np.int32))),
    "all missing": with_strata(simulate.block_of(np.full((500, NUMERIC), np.nan), np.full((500, 3), -1, np.int32))),
    "missing in one": dataclasses.replace(
        simulate.replaced(bench.block(2_000, 5), 0, 0.5, np.nan, np.random.default_rng(0)),
        strata=np.repeat(np.arange(4, dtype=np.int32), 500),
    ),
}
WINDOWS: dict[str, Block] = {
    "usual": with_strata(bench.block(300, 10)),
    "empty": with_strata(bench.block(0, 11)),
    "one row": with_strata(bench.block(1, 12), 3),
    "unseen": with_strata(bench.block(300, 13), 4),
    "one stratum": with_strata(bench.block(300, 14), 1),
    "without strata": bench.block(300, 15),
    "all missing": with_strata(simulate.block_of(np.full((300, NUMERIC), np.nan), np.full((300, 3), -1, np.int32))),
    "all new": with_strata(simulate.block_of(np.full((300, NUMERIC), 1e9), np.full((300, 3), -2, np.int32))),
    "many": with_strata(bench.block(6_000, 16)),
}


def measure(block: Block) -> Reference:
    return simulate.reference_of(block, labels=[list("abcde")] * 3, layout=LAYOUT, dependent=False)


def window_of(reference: Reference, block: Block) -> Window:
    summary = parts.summarise(reference.grid, block)
    return Window(0.0, 1.0, Comparison(Baseline(reference).at(summary.mix), summary), summary)


def consistent(evidence: Evidence, *, sequential: bool) -> None:
    speaks = evidence.reason == Reason.OK
    told = evidence.log_e if sequential else evidence.log_p
    np.testing.assert_array_equal(speaks, ~np.isnan(told))
    assert not np.isposinf(told).any()
    assert sequential or (np.isfinite(told[speaks]).all() and (told[speaks] <= 0).all())


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize("kind", REFERENCES)
def test_odd_mixes_give_reason_codes_and_neither_exceptions_nor_warnings(name: str, kind: str) -> None:
    reference = measure(REFERENCES[kind])
    detector = CATALOG[name](Tolerances())
    fixed = detector.fit(reference)
    state = detector.start(fixed)
    for block in WINDOWS.values():
        state, evidence = detector.score(fixed, state, window_of(reference, block))
        consistent(evidence, sequential=name in SEQUENTIAL)
        assert all(np.isfinite(part).all() for part in state)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_state_survives_bytes_and_an_empty_pane_is_no_step(name: str) -> None:
    reference = measure(REFERENCES["usual"])
    detector = SEQUENTIAL[name](Tolerances())
    fixed = detector.fit(reference)
    kept = detector.start(fixed)
    for window in ("usual", "all new", "one stratum", "unseen"):
        restored = type(kept)(*unpack(pack({str(i): part for i, part in enumerate(kept)})).values())
        pane = window_of(reference, WINDOWS[window])
        kept, a = detector.score(fixed, kept, pane)
        other, b = detector.score(fixed, restored, pane)
        assert same(a, b)
        assert same_state(kept, other)
    later, _ = detector.score(fixed, kept, window_of(reference, WINDOWS["empty"]))
    assert same_state(kept, later)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_questions_have_one_length_at_every_mix(name: str) -> None:
    reference = measure(REFERENCES["usual"])
    detector = SEQUENTIAL[name](Tolerances())
    fixed = detector.fit(reference)
    yes, _ = detector.answers(fixed, reference.summary)
    for mix in np.eye(5, dtype=np.int64) * 100:
        asked = detector.questions(fixed, mix)
        assert len(asked.share) == len(asked.p0) == len(asked.unit) == len(yes)
        assert (asked.p0 > asked.share).all()
