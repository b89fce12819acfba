"""`python -m grafana.preview`: pictures of the dashboards with the data of a live Prometheus, to be looked at.

There is no Grafana in the test environment; this shows what one would have to tell. It needs matplotlib.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from grafana.ask import Prometheus
from grafana.draw import picture
from grafana.rendered import Json, Panel, committed
from grafana.shown import Span, answers


def main(arguments: list[str]) -> int:
    """Write DIR/NAME-N.png for row N of each dashboard."""
    asked = _parser().parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    end = time.time()
    span = Span(end - asked.minutes * 60, end, asked.scrape)
    variables = {
        "job": asked.job,
        "instance": asked.instance,
        "model": asked.model,
        "stream": ".+",
        "metric": asked.metric,
    }
    for name, document in committed().items():
        for number, (heading, panels) in enumerate(_rows(document) if name in (asked.only or [name]) else [], 1):
            shown = [(panel, answers(panel, Prometheus(asked.prometheus), span, variables)) for panel in panels]
            path = asked.out / f"{name}-{number}.png"
            picture(f"{document['title']} / {heading}", shown, path)
            sys.stdout.write(f"wrote {path}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m grafana.preview", description=__doc__)
    made.add_argument("--prometheus", required=True, metavar="URL", help="for example http://127.0.0.1:9090")
    made.add_argument("--out", required=True, type=Path, metavar="DIR", help="where pictures go")
    made.add_argument("--minutes", type=float, default=30, help="how far to look back")
    made.add_argument("--scrape", type=float, default=15, help="seconds between scrapes")
    made.add_argument("--model", default=".+", help="value of the variable model; one model's dashboard needs it")
    made.add_argument("--metric", default="accuracy", help="value of the variable metric")
    made.add_argument("--job", default=".+", help="value of the variable job")
    made.add_argument("--instance", default=".+", help="value of the variable instance")
    made.add_argument("--only", action="append", metavar="NAME", help="a dashboard by its name in addresses")
    return made


def _rows(document: Json) -> list[tuple[str, list[Panel]]]:
    """The panels under each heading."""
    made: list[tuple[str, list[Panel]]] = []
    for one in document["panels"]:
        panel = Panel(document["uid"], one)
        if panel.kind == "row":
            made.append((panel.title, []))
        else:
            made[-1][1].append(panel)
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
