"""What the preview shows of an answer, and that the check tells an empty or refused query; Prometheus is made up."""

from __future__ import annotations

import json
import math
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from grafana import preview
from grafana.ask import Prometheus, RefusedError, Series
from grafana.rendered import Panel, committed, filled, panels_of
from grafana.shown import Cell, Named, Span, answers, colour, grid, legend, mapped, text
from tests.deploy.live_dashboards import NEEDS, check

LABELS = {"model": "credit", "severity": "page", "stream": "v1", "url": "http://pages", "le": "0.5"}


class Answers(BaseHTTPRequestHandler):
    """Series for every query, but for those that name something that is asked to be missing or wrong."""

    def do_POST(self) -> None:
        asked = urllib.parse.parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        expr = asked["query"][0]
        if "spool_bytes" in expr:
            self.reply(400, {"status": "error", "error": "no such thing"})
        elif self.path.endswith("query_range"):
            start, end, step = (float(asked[name][0]) for name in ("start", "end", "step"))
            times = [start, start + step, end]
            self.reply(200, self.matrix([[at, str(place)] for place, at in enumerate(times)]))
        elif "streams{" in expr:
            self.reply(200, {"data": {"resultType": "vector", "result": []}})
        else:
            value = "NaN" if "ready" in expr else "4"
            result = [{"metric": LABELS, "value": [float(asked["time"][0]), value]}]
            self.reply(200, {"data": {"resultType": "vector", "result": result}})

    @staticmethod
    def matrix(values: list[list[float | str]]) -> dict[str, Any]:
        return {"data": {"resultType": "matrix", "result": [{"metric": LABELS, "values": values}]}}

    def reply(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def panel(uid: str, title: str) -> Panel:
    return next(one for one in panels_of(committed()[uid]) if one.title == title)


def test_check_names_what_is_empty_not_a_number_or_refused(url: str) -> None:
    found = check(url, {"model": "credit"})
    assert "driftwarden-fleet: Models watched: A" in found
    assert "driftwarden-fleet: Agents ready: A" in found
    assert [where for where in found if "refused" in where] == [
        "driftwarden-agent: Queue and spool: B: refused: no such thing",
        "driftwarden-agent: Bytes of queue, spool and checkpoint: B: refused: no such thing",
    ]
    assert not [where for where in found if where.startswith("driftwarden-security")]


def test_needs_name_panels_that_exist() -> None:
    known = {f"{uid}: {one.title}" for uid, dashboard in committed().items() for one in panels_of(dashboard)}
    named = {where for places in NEEDS.values() for where in places if not where.endswith(": ")}
    assert named <= known


def test_refusals_keep_the_words_of_prometheus(url: str) -> None:
    with pytest.raises(RefusedError, match="no such thing"):
        Prometheus(url).now("spool_bytes", 0.0)


def test_variables_are_filled_longest_first() -> None:
    assert filled('{a=~"$job", b="${job}", c="$jobs"}', {"job": "x", "jobs": "y"}) == '{a=~"x", b="x", c="y"}'


def test_legends_take_labels_and_leave_nothing_of_unknown_ones() -> None:
    assert legend("{{model}}: {{ stream }}{{x}}", Series(LABELS, ())) == "credit: v1"


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.123, "percentunit", "12.3 %"), (0.002, "s", "2 ms"), (90, "s", "1.5 min"), (200_000, "s", "2.31 d"),
        (1_500, "short", "1.5k"), (3e9, "bytes", "3GB"), (math.nan, "s", "-"),
    ],
)  # fmt: skip
def test_values_in_their_units(value: float, unit: str, shown: str) -> None:
    assert text(value, unit) == shown


def test_colours_of_steps_and_words_of_values() -> None:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}, {"color": "red", "value": 1}]
    assert [colour(value, steps) for value in (0, 1)] == ["green", "red"]
    states = panel("driftwarden-fleet", "State by model").document["fieldConfig"]["defaults"]["mappings"]
    assert mapped("4", states) == Cell("page", "red")
    assert mapped("9", states) is None


def named(labels: dict[str, str], *values: float) -> Named:
    points = tuple((float(at), float(value)) for at, value in enumerate(values))
    return Named(labels.get("feature", ""), Series(labels, points))


def test_a_table_joins_answers_and_hides_the_address() -> None:
    models = panel("driftwarden-fleet", "Models")
    one, other = {"model": "a"}, {"model": "b"}
    found = [[named(one, 0), named(other, 4)], *([] for _ in range(6)), [named(one | {"url": "http://x"}, 3)]]
    shown = grid(models, found)
    assert shown.headings == ("Model", "State", "Streams")
    assert [row[0].text for row in shown.rows] == ["b", "a"], "the worst comes first"
    assert [row[1] for row in shown.rows] == [Cell("page", "red"), Cell("quiet", "green")]
    assert [row[2].text for row in shown.rows] == ["-", "3"]


def test_before_and_after_are_the_ends_of_lines() -> None:
    before = panel("driftwarden-model", "Before and after, in this time range")
    found = [[named({"feature": "age"}, math.nan, 0.1, 0.5, 0.2), named({"feature": "income"}, 0.0, 0.3)]]
    shown = grid(before, found)
    assert shown.headings == ("Column", "Before", "After", "Most")
    assert [[cell.text for cell in row] for row in shown.rows] == [
        ["income", "0.0 %", "30.0 %", "30.0 %"], ["age", "10.0 %", "20.0 %", "50.0 %"],
    ]  # fmt: skip


def test_lines_have_gaps_where_prometheus_had_no_value(url: str) -> None:
    (found,) = answers(panel("driftwarden-fleet", "Rows judged"), Prometheus(url), Span(0, 2400, 15), {})
    values = [value for _, value in found[0].series.points]
    assert values[:2] == [0, 1]
    assert math.isnan(values[2])
    assert values[-1] == 2


@pytest.mark.slow
def test_preview_draws_a_picture_of_each_row(url: str, tmp_path: Path) -> None:
    assert preview.main(["--prometheus", url, "--out", str(tmp_path), "--only", "driftwarden-fleet"]) == 0
    pictures = sorted(tmp_path.iterdir())
    assert [path.name for path in pictures] == [f"driftwarden-fleet-{row}.png" for row in (1, 2, 3)]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
