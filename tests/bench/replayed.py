"""The real sets with outcomes through `driftwarden replay`: estimate and truth of every stretch, and what was wrong.

``python -m tests.bench replayed [SET]``: sets whose name contains SET (all without it); needs the data sets beside the
repository (`tests.statistical.data`). ``speed``: what labels cost, of a made log.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from monitor.replay import Line
from tests.bench.common import table
from tests.monitor.lane_bench import COLUMNS, labels, scored, silent
from tests.statistical.replayed import STUDIES, Study, Told, told

SHOWN = ("accuracy", "auroc", "mae", "bias")
LOSS = 0.02
ROWS = 600_000


def _figure(line: Line, kind: str, metric: str) -> str:
    one = line[kind].get(metric)
    return "-" if one is None else f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def _stretches(name: str, found: Told, metrics: list[str]) -> None:
    rows = []
    for line in found.stretches:
        cells = [f"{_figure(line, 'estimate', one)} / {_figure(line, 'realised', one)}" for one in metrics]
        worse = ", ".join(line["below_expectation"]["realised"][:3])
        rows.append([line["since_pane"], line["labelled"], line["estimator"], *cells, ", ".join(line["doubts"]), worse])
    told_of = [f"{one}: estimate / labels" for one in metrics]
    reference = {one: found.summary["performance"]["reference"][one]["value"] for one in metrics}
    title = f"{name}; on the reference {', '.join(f'{one} {value:.3f}' for one, value in reference.items())}"
    table(title, ("since pane", "labels", "by", *told_of, "doubts", "below expectation by labels"), rows)
    pages = [f"{one['pane']} {', '.join(unit['unit'] for unit in one['units'][:3])}" for one in found.pages]
    print(f"\nPages of inputs and answers: {'; '.join(pages) or 'none'}")


def wrong(found: Told, metric: str) -> tuple[int, int]:
    """Stretches whose estimate was off by more than a loss that matters and than its interval: doubted, and not."""
    allowed = LOSS if metric == "accuracy" else LOSS * found.summary["performance"]["reference"][metric]["value"]
    off = np.abs(found.of(metric, "estimate") - found.of(metric))
    bad = ~found.within(metric) & (off > allowed)
    return int((bad & found.doubted).sum()), int((bad & ~found.doubted).sum())


def speed() -> None:
    """Rows a CPU second of 600,000, with and without labels."""
    rows, reference = scored(ROWS, 1), scored(20_000, 0)
    later = labels(rows).take(np.random.default_rng(0).permutation(ROWS))
    pane: tuple[Any, int] = ({"rows": 1_000}, 60)
    known = {role: name for role, name in COLUMNS.items() if role != "label"}
    alone = {role: name for role, name in COLUMNS.items() if role != "id"}
    cases = {
        "no labels are named": Study(reference, silent(rows), {**known, "ignore": ["truth"]}, *pane),
        "labels are named, none is there": Study(reference, silent(rows), COLUMNS, *pane),
        "labels in the rows, no ids": Study(reference, rows, {**alone, "ignore": ["id"]}, *pane),
        "labels in the rows, ids": Study(reference, rows, COLUMNS, *pane),
        "labels in a file of their own, shuffled": Study(reference, silent(rows), COLUMNS, *pane, later),
    }
    lines = [[name, f"{ROWS / told(study).summary['seconds_cpu']:,.0f}"] for name, study in cases.items()]
    table(f"Replay of {ROWS:,} rows, panes of 1,000, stretches of 60", ("", "rows a CPU second"), lines)


def run(only: str = "") -> None:
    """Print the tables."""
    if only == "speed":
        speed()
        return
    lines = []
    for name, make in STUDIES.items():
        if only not in name:
            continue
        found = told(make())
        metrics = [one for one in SHOWN if one in found.summary["performance"]["reference"]]
        _stretches(name, found, metrics)
        first = metrics[0]
        worth = found.summary["performance"]["estimates_less_labels"][first]
        doubted, sure = wrong(found, first)
        lines.append(
            [
                *(
                    name,
                    f"{len(found.stretches)} x {np.median([line['rows'] for line in found.stretches]):.0f}",
                    first,
                ),
                *(f"{worth['mae']:.4f}", f"{worth['within']:.2f}", f"{worth['log_p'] / math.log(10):.1f}"),
                *(int(found.doubted.sum()), doubted, sure, int(found.below("realised", first).sum())),
                *(len(found.pages), f"{found.summary['seconds_cpu']:.0f}"),
            ]
        )
    headings: tuple[str, ...] = (
        "set",
        "stretches",
        "metric",
        "mean size of estimate less labels",
        "within",
        "log10 p",
        "in doubt",
    )
    headings += ("wrong and in doubt", "wrong and sure", "below expectation by labels", "pages of inputs", "CPU s")
    table("Estimates beside labels, `driftwarden replay`", headings, lines)
