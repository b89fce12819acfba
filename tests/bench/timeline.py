"""`python -m tests.bench.timeline`: milliseconds of the engine's thread for one look at a full timeline."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from monitor.outcomes.timeline import MOST, Truth, Window
from tests.monitor.lane_bench import NOW, Bench, scored

COHORTS = 126


def main() -> None:
    """One pane's look with all cohorts complete and as many windows as are kept."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), scored(8_000, 0), pane={"rows": 500}, window={"panes": 2}, labels={"hours": 2})
        bench.send(scored(4_000, 1), NOW + 60)
        side, realised = bench.side, bench.lane.realised
        figures, width = realised.reference, 60.0
        first = int(NOW // width) - COHORTS
        side.timeline.windows = tuple(
            Window("all", one, one + 15, figures) for one in (first * width + 18 * place for place in range(MOST))
        )
        side.timeline.truths = {
            first + place: Truth((first + place) * width, (first + place + 1) * width, 100, figures)
            for place in range(COHORTS)
        }
        for name, do in (
            ("figures of one cohort", lambda: realised.figures(bench.lane.index.cohorts().number.tolist()[:1])),
            ("which cohorts are complete", bench.lane.index.cohorts),
            ("reconcile", lambda: side.timeline.reconcile(width)),
            ("state", side.timeline.state),
        ):
            began = time.process_time()
            for _ in range(20):
                do()
            sys.stdout.write(f"{name}: {(time.process_time() - began) / 20 * 1e3:.2f} ms\n")
        sys.stdout.write(f"state: {len(side.timeline.state()):,} bytes\n")
        bench.stop()


if __name__ == "__main__":
    main()
