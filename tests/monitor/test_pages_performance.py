"""The page of a model's performance: what it draws, what it says without labels, and whom it names values to."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from monitor.web.desk import Desk, Hands
from monitor.web.live import Live
from monitor.web.outcomeplots import STEPS, over_time, reliability, waterfall
from monitor.web.people import Person
from tests.monitor.lane_bench import NOW, Bench, scored, silent
from tests.monitor.pages_bench import ALL, HOSTILE, Agent, client

READER = Person("bob", None)
FIGURE = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 10, "reason": ""}
PART = {"value": -0.05, "low": -0.07, "high": -0.03, "reason": ""}
SLICE = {
    "id": "b1",
    "name": f"kind = {HOSTILE}",
    "columns": ["kind"],
    "conditions": [f"kind = {HOSTILE}"],
    "since": NOW,
    "seen": NOW,
    "found": True,
    "confirmed": True,
    "weak_in_reference": False,
    "share": 0.09,
    "loss": FIGURE,
    "usual": FIGURE,
    "before": None,
    "status": "worse",
}
ROW = {"id": "request-17", "value": -1.3, "truth": None, "answer": "8", "wrong": None}
DIRECTION = {
    "class": HOSTILE,
    "balanced": 0.8,
    "chance": 0.5,
    "hard": FIGURE,
    "hard_rows": [ROW],
    "easy_rows": [],
    "captions": {"hard": [HOSTILE], "easy": []},
}
FAILING = {
    "model": "m",
    "loss_is": "error",
    "since": NOW,
    "until": NOW + 60,
    "rows": 100,
    "tried": 20,
    "loss": FIGURE,
    "slices": [SLICE],
    "reference_slices": [],
    "directions": {"column": "emb", "classes": [DIRECTION]},
}
CHANGE = {
    "by": "labels",
    "metric": "accuracy",
    "start": NOW,
    "end": NOW + 60,
    "verdict": "harmful",
    "doubts": [],
    "parts": [
        {"part": "mix", **PART},
        {"part": "prior", "value": None, "low": None, "high": None, "reason": "it went by something else"},
        {"part": "rate", **PART, "value": 0.02},
    ],
    "total": {"part": "total", **PART, "value": -0.03},
}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, scored(8_000, 0), pane={"rows": 500}, window={"panes": 2}, labels={"hours": 2})
    yield made
    made.stop()


@pytest.fixture
def desk(bench: Bench) -> Desk:
    agent = Agent(bench.store)
    models = dict(bench.agent.models)
    return Desk(bench.store, Live(lambda: models), Hands(agent.intervene, agent.undo), lambda: NOW + 600)


def fed(bench: Bench) -> None:
    """Four minutes with labels, a fifth without."""
    for minute in range(5):
        rows = scored(1_000, 10 + minute, start=NOW + 60 * minute)
        bench.send(rows if minute < 4 else silent(rows), NOW + 60 * (minute + 1))
        assert bench.side.estimates is not None
        assert bench.side.estimates.wait(60)
    bench.side.states()


def plots(text: str) -> dict[str, Any]:
    found = [json.loads(unescape(one)) for one in re.findall(r'data-plot="([^"]*)"', text)]
    return {one["kind"]: one for one in found}


def test_estimate_and_truth_are_drawn_at_the_time_of_the_predictions(desk: Desk, bench: Bench) -> None:
    fed(bench)
    text = client(desk).get("/models/m/performance").text
    drawn = plots(text)["performance"]
    labelled = [x for x, value in zip(drawn["x"], drawn["realised"]["value"], strict=True) if value is not None]
    (estimate,) = drawn["estimates"]
    guessed = [x for x, value in zip(drawn["x"], estimate["value"], strict=True) if value is not None]
    assert max(labelled) <= NOW + 240 < max(guessed)
    assert drawn["reference"] == pytest.approx(0.77, abs=0.02)
    for low, value, high in zip(*(estimate[key] for key in ("low", "value", "high")), strict=True):
        assert (low is None) == (value is None) == (high is None)
        assert value is None or low < value < high
    curve = plots(text)["reliability"]
    assert curve["x"] == sorted(curve["x"])
    assert sum(one is not None for one in curve["now"]) >= 5
    assert "Labels tell until" in text
    assert plots(client(desk).get("/models/m").text)["performance"] == drawn


def test_another_metric_can_be_asked_for_and_a_strange_one_cannot(desk: Desk, bench: Bench) -> None:
    fed(bench)
    one = client(desk)
    assert plots(one.get("/models/m/performance?metric=auroc").text)["performance"]["title"] == "AUROC"
    assert plots(one.get("/models/m/performance?metric=%3Cb%3E").text)["performance"]["title"] == "Accuracy"


def test_without_anything_the_page_says_so(desk: Desk) -> None:
    text = client(desk).get("/models/m/performance").text
    assert "No complete labels yet" in text
    assert "performance" not in plots(text)


def test_programs_get_what_the_page_shows(desk: Desk, bench: Bench) -> None:
    fed(bench)
    told = client(desk).get("/api/v1/models/m/performance").json()
    assert told["metrics"][0] == "accuracy"
    assert len(told["cohorts"]) >= 4
    assert told["past"]["accuracy"]["n"] >= 3
    assert told["realised"]["figures"]["accuracy"]["low"] < told["reference"]["accuracy"]["value"]
    assert client(desk).get("/api/v1/models/m/performance?x=1").status_code == 400


def test_models_of_others_and_without_labels_have_no_such_page(desk: Desk, bench: Bench) -> None:
    stranger = Person("eve", frozenset({"other"}), values=True)
    bench.agent.models["m"].side, side = None, bench.agent.models["m"].side
    for one in (ALL, stranger):
        for path in ("/models/m/performance", "/api/v1/models/m/performance"):
            assert client(desk, one).get(path).status_code == 404
    assert "/performance" not in client(desk).get("/models/m").text
    bench.agent.models["m"].side = side
    assert client(desk, stranger).get("/models/m/performance").status_code == 404
    assert 'href="/models/m/performance"' in client(desk).get("/models/m").text


def told_all(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    change = SimpleNamespace(document=lambda: CHANGE, change=SimpleNamespace(metric="accuracy"))
    monkeypatch.setattr(type(bench.side), "explained", lambda *_: [change], raising=False)
    monkeypatch.setattr(type(bench.side), "failing", SimpleNamespace(document=FAILING), raising=False)


def test_names_from_the_log_are_text_and_shown_to_those_alone_who_may_see_values(
    desk: Desk, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed(bench)
    told_all(monkeypatch, bench)
    for person, seen in ((ALL, True), (READER, False)):
        text = client(desk, person).get("/models/m/performance").text
        assert HOSTILE not in text
        assert ("&lt;img src=x" in text) == seen
        assert ("request-17" in text) == seen
        raw = client(desk, person).get("/api/v1/models/m/performance").text
        assert ("onerror" in raw) == seen
        assert ("request-17" in raw) == seen
    assert "What follows from inputs" in text
    assert "it went by something else" in text
    unsearched = dict.fromkeys(("since", "until", "loss")) | {"rows": 0, "tried": 0, "slices": []}
    monkeypatch.setattr(type(bench.side), "failing", SimpleNamespace(document={**FAILING, **unsearched}))
    text = client(desk).get("/models/m/performance").text
    assert "No groups have been searched for yet" in text
    assert "request-17" in text


def test_a_waterfall_goes_from_part_to_part_and_ends_with_the_whole() -> None:
    mix, prior, rate, total = waterfall({**CHANGE, "higher_is_better": True})
    assert mix.left + mix.width == pytest.approx(mix.zero, abs=0.1)
    assert (prior.width, prior.value) == (0, None)
    assert rate.left == pytest.approx(mix.left, abs=0.1)
    assert total.width == pytest.approx(mix.width - rate.width, abs=0.1)
    assert (mix.worse, rate.worse, total.worse) == (True, False, True)
    assert all(0 <= one.left <= one.left + one.width <= 100 for one in (mix, rate, total))
    assert not waterfall({**CHANGE, "higher_is_better": False})[0].worse


def test_cohorts_that_are_apart_leave_a_gap_and_nothing_draws_nothing() -> None:
    figures = {"accuracy": FIGURE}
    cohorts = [{"start": at, "end": at + 10.0, "figures": figures} for at in (0.0, 10.0, 30.0)]
    windows = [{"stream": "all", "start": 20.0, "end": 28.0, "figures": figures}]
    drawn = over_time({"cohorts": cohorts, "windows": windows, "reference": {}}, "accuracy", "Accuracy")
    by_time = dict(zip(drawn["x"], drawn["realised"]["value"], strict=True))
    assert by_time[24.0] is None
    assert [by_time[at] for at in (0.0, 9.999, 10.0, 30.0)] == [0.8] * 4
    assert drawn["reference"] is None
    many = [{"start": at, "end": at + 10.0, "figures": figures} for at in np.arange(0.0, 10_000.0, 10.0)]
    drawn = over_time({"cohorts": many, "windows": [], "reference": {}}, "accuracy", "Accuracy")
    assert sum(one is not None for one in drawn["realised"]["value"]) <= 2 * STEPS + 2
    assert drawn["realised"]["high"][0] == pytest.approx(0.8 + 0.1 / math.sqrt(10))
    assert over_time({"cohorts": [], "windows": windows, "reference": {}}, "mae", "") == {}
    assert reliability({"reference": [], "now": [{"said": math.nan}]}) == {}
