"""The contract of joint tests and of the witness; a new one is tested by its line in the registry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detectors.multivariate.protocol import Outcome
from detectors.registry import JOINT, WITNESS, Tolerances
from detectors.types import Reason, Sample, View
from monitor.arrays import pack, unpack
from tests.detectors.views import sample_of, view_of

every = pytest.mark.parametrize("name", JOINT)


def normal(n: int, seed: int, *, shift: float = 0.0, rho: float = 0.5) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4))
    x[:, 1] = rho * x[:, 0] + np.sqrt(1 - rho**2) * x[:, 1]
    return (x + shift).astype(np.float32)


@pytest.fixture(scope="module")
def view() -> View:
    return view_of(normal(4000, 0))


def judged(name: str, view: View, sample: Sample, seed: int = 1) -> Outcome:
    it = JOINT[name](Tolerances())
    return it.score(it.fit(view, np.random.default_rng(0)), view, sample, np.random.default_rng(seed))


@every
def test_name_in_the_catalogue_is_the_tests_own(name: str) -> None:
    it = JOINT[name](Tolerances())
    assert it.name == name
    assert it.failure_modes


@every
def test_same_seed_gives_the_same_bits(name: str, view: View) -> None:
    sample = sample_of(normal(800, 1))
    assert judged(name, view, sample) == judged(name, view, sample)


@every
def test_a_large_shift_is_found_and_none_is_not(name: str, view: View) -> None:
    quiet = np.mean([judged(name, view, sample_of(normal(800, seed))).log_p < np.log(0.05) for seed in range(2, 12)])
    assert quiet <= 0.3
    found = judged(name, view, sample_of(normal(800, 12, shift=1.0, rho=-0.5)))
    assert found.reason == Reason.OK
    assert found.log_p <= np.log(0.01)


@every
def test_few_rows_are_a_reason_and_no_number(name: str, view: View) -> None:
    for rows in (0, 5):
        outcome = judged(name, view, sample_of(normal(rows, 13)))
        assert outcome.reason == Reason.FEW_ROWS
        assert np.isnan(outcome.log_p)


@every
def test_what_is_fixed_goes_through_bytes(name: str, view: View) -> None:
    it = JOINT[name](Tolerances())
    fixed = it.fit(view, np.random.default_rng(0))
    assert isinstance(fixed, tuple)
    _plain(fixed)


def _plain(part: Any) -> None:
    """Arrays and tuples of them, nothing else."""
    if isinstance(part, tuple):
        for one in part:
            _plain(one)
    else:
        assert np.asarray(part).dtype != object


@every
def test_inputs_are_not_changed(name: str, view: View) -> None:
    sample = sample_of(normal(800, 14))
    arrays: list[np.ndarray[Any, Any]] = [*sample, *view.sample]
    before = [array.copy() for array in arrays]
    judged(name, view, sample)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


def test_witness_state_survives_bytes_and_goes_on_bit_for_bit(view: View) -> None:
    it = WITNESS(Tolerances())
    fixed = it.fit(view, np.random.default_rng(0))
    kept = it.start(fixed)
    for seed in range(12):
        fresh = sample_of(normal(200, seed, shift=0.2 * (seed > 5)))
        assert all(part.dtype == np.float64 for part in kept)
        restored = type(kept)(*unpack(pack({str(i): part for i, part in enumerate(kept)})).values())
        kept, a = it.score(fixed, kept, fresh)
        other, b = it.score(fixed, restored, fresh)
        assert a == b or (np.isnan(a.since) and a.log_e == b.log_e)
        assert all(np.array_equal(x, y) for x, y in zip(kept, other, strict=True))
        if seed == 8:
            kept = it.alarmed(fixed, kept)
