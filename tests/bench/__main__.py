"""Run the benchmarks that are named, or all."""

from __future__ import annotations

import importlib
import os
import sys

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

NAMES = ("compute", "flight", "http", "footprint")


def main() -> None:
    """Print one table per benchmark."""
    chosen = sys.argv[1:] or list(NAMES)
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        sys.exit(f"no benchmark is called {unknown[0]}; there are: {', '.join(NAMES)}")
    for name in chosen:
        importlib.import_module(f"tests.bench.{name}").run()


main()
