"""The attacks of ART and foolbox instead of ours: ``reference_attacks [RUNS] [TASK...]``; skipped where absent.

They are installed in an environment of their own, beside this project's dependencies; the figures are those of
`tests.bench.attacks`, and should be like ours.
"""

from __future__ import annotations

from functools import partial

from tests.attacks import libraries, tasks
from tests.attacks.guarded import Guarded, Known
from tests.bench.attacks import VARIANTS, study
from tests.statistical import data

CHOSEN = ("plain", "dither .05", "10 names")


def run(runs: str = "3", *chosen: str) -> None:
    """Print a table for each library and task."""
    for name in chosen or ("glyphs", "mnist", "adult"):
        for library in (libraries.art, lambda _: libraries.foolbox()):
            try:
                task = getattr(tasks, name)()
                kinds = library(task)
            except (ImportError, data.AbsentError) as absent:
                print(f"skipped: {absent}")
                continue
            variants = [variant for variant in VARIANTS if variant.name in CHOSEN]
            study(task, kinds, partial(Guarded, Known(task)), int(runs), variants)
