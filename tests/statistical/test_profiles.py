"""A real network grows unsure: profiles of its answers are paged before what is logged, and nothing without a shift."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench import profiles
from tests.statistical import data


@pytest.mark.slow
def test_corrupted_digits_are_found_in_half_of_the_panes_that_logged_answers_take() -> None:
    if not (data.ROOT / "mnist_shift").is_dir():
        pytest.skip(f"mnist_shift is not in {data.ROOT}")
    world = profiles.mnist()
    logged, every = (profiles.watching(world, profiles.VARIANTS[one]) for one in ("logged only", "all"))
    for shift in ("gaussian_noise_0.30, 30 % of rows", "blur_1.0, 30 % of rows"):
        draw = world.shifted[shift]
        slow, quick = (
            np.array([profiles.delay(make, world, draw, seed) for seed in (101, 102, 103)]) for make in (logged, every)
        )
        assert (quick > 0).all()  # no page before the shift
        assert (slow > 0).all()
        assert np.median(quick) <= np.median(slow) / 2
