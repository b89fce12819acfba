"""``python -m tests.bench NAME [ARGUMENT...]``: run one benchmark, or the four of the running agent without a name."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

AGENT = ("compute", "flight", "http", "footprint")


def main() -> None:
    """Print the tables."""
    known = {one.name for one in pkgutil.iter_modules([str(Path(__file__).parent)])} - {"common", "__main__"}
    chosen, arguments = (sys.argv[1:2], sys.argv[2:]) if len(sys.argv) > 1 else (list(AGENT), [])
    unknown = [name for name in chosen if name not in known]
    if unknown:
        sys.exit(f"no benchmark is called {unknown[0]}; there are: {', '.join(sorted(known))}")
    for name in chosen:
        importlib.import_module(f"tests.bench.{name}").run(*arguments)


main()
