"""Pictures as data: even bins keep the mass, rare values keep their names to themselves, evidence stays in sight."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor.records import Judged
from monitor.web import plots
from monitor.web.rowviews import Image, Picture, Watched, telling

SIDES = ("reference", "now")


def bins(
    before: list[int], now: list[int], labels: list[str] | None = None, **faults: tuple[int, int]
) -> list[dict[str, Any]]:
    """A column's table: numeric with unit bins unless there are labels."""
    middle = [
        {"label": label, "lower": at if labels is None else math.nan, "upper": at + 1.0 if labels is None else math.nan}
        for at, label in enumerate(labels or [""] * len(before))
    ]
    for one, a, b in zip(middle, before, now, strict=True):
        one |= {"reference": a, "window": b}
    ends = (
        []
        if labels
        else [_end("below range", -math.inf, 0.0, faults), _end("above range", float(len(before)), math.inf, faults)]
    )
    body = [ends[0], *middle, ends[1]] if ends else middle
    blank = {"lower": math.nan, "upper": math.nan}
    counters = [{"label": name, **blank, **_sides(faults.get(name, (0, 0)))} for name in plots.FAULTS]
    return [one | {"unit": "x", "position": at} for at, one in enumerate([*body, *counters])]


def _end(label: str, lower: float, upper: float, faults: dict[str, tuple[int, int]]) -> dict[str, Any]:
    return {"label": label, "lower": lower, "upper": upper, **_sides(faults.get(label.removesuffix(" range"), (0, 0)))}


def _sides(pair: tuple[int, int]) -> dict[str, int]:
    return {"reference": pair[0], "window": pair[1]}


def column(table: list[dict[str, Any]], *, values: bool = True) -> plots.Column:
    (one,) = plots.columns(table, values=values, labels=SIDES)
    return one


def test_even_bins_hold_what_uneven_ones_held_but_for_the_tails() -> None:
    rng = np.random.default_rng(0)
    before, now = (rng.integers(1, 50, 64).tolist() for _ in range(2))
    spec = column(bins(before, now)).spec
    for side in ("before", "now"):
        assert 1 - 2 * 2 * plots.TAIL < sum(spec[side][:-1]) <= 1
    assert len(spec["x"]) == len(spec["before"]) == plots.BARS + 1


def test_a_shift_shows_where_it_is() -> None:
    spec = column(bins([10] * 10 + [0] * 10, [0] * 10 + [10] * 10)).spec
    left = [x < 10 for x in spec["x"][:-1]]
    assert sum(share for share, here in zip(spec["before"], left, strict=False) if here) > 0.9
    assert sum(share for share, here in zip(spec["now"], left, strict=False) if here) < 0.1


def test_faults_are_shares_of_all_rows_and_told_only_where_there_are_some() -> None:
    one = column(bins([90], [60], missing=(10, 40)))
    assert [(fault.label, fault.before, fault.now) for fault in one.faults] == [("missing", 0.1, 0.4)]
    assert column(bins([90], [60])).faults == ()


def test_categories_that_moved_most_are_shown_and_the_rest_is_added_up() -> None:
    labels = [f"c{at}" for at in range(20)]
    now = [10] * 18 + [100, 0]
    one = column(bins([100] * 20, now, labels))
    assert len(one.bars) == plots.SHOWN + 1
    assert {"c18", "c19"} <= {bar.label for bar in one.bars}
    assert one.bars[-1].label == "12 others"
    assert sum(bar.before for bar in one.bars) == pytest.approx(1)


@pytest.mark.parametrize(
    ("values", "shown"), [(True, {"often", "Mr Smith"}), (False, {"value 1", "value 2"})], ids=["values", "without"]
)
def test_a_category_is_named_only_to_those_who_may_see_values(shown: set[str], *, values: bool) -> None:
    one = column(bins([1_000, 900], [10, 500], ["often", "Mr Smith"]), values=values)
    assert {bar.label for bar in one.bars} == shown
    assert one.named is values
    assert "Mr Smith" in str(one) or not values


def test_shares_of_a_column_and_its_faults_make_up_a_whole() -> None:
    one = column(bins([80, 20], [60, 16], ["a", "b"], new=(0, 24)))
    assert [(bar.before, bar.now) for bar in (*one.bars, *one.faults)] == [(0.8, 0.6), (0.2, 0.16), (0, 0.24)]
    assert plots.fault_shares(one, "e_new_category") == (0, 0.24)
    assert plots.fault_shares(one, "e_ks") is None


@pytest.mark.parametrize(
    ("before", "now", "where"),
    [
        ([10] * 20, [0] * 10 + [10] * 10, "Values are higher and closer together than before."),
        ([0] * 10 + [10] * 10, [10] * 10 + [0] * 10, "Values are lower than before."),
        ([0] * 5 + [10] * 10 + [0] * 5, [10] * 20, "Values are spread wider than before."),
        ([10] * 20, [11] * 20, ""),
        ([10] * 20, [0] * 20, ""),
    ],
)
def test_the_direction_of_a_shift_is_told(before: list[int], now: list[int], where: str) -> None:
    assert column(bins(before, now)).where == where


@pytest.mark.parametrize(
    ("now", "rose"), [((0.1, 0.101), False), ((0.0, 0.004), False), ((0.0, 0.1), True), ((0.1, 0.0), False)]
)
def test_a_fault_stands_out_only_if_it_rose_by_more_than_chance_and_trifles(
    now: tuple[float, float], *, rose: bool
) -> None:
    assert plots.Bar("missing", *now).rose((10_000, 2_000)) is rose
    assert not plots.Bar("missing", 0.1, 0.15).rose((10_000, 100))


def judged(pane: int, log_e: float | None, **units: float) -> Judged:
    return Judged("m/all", pane, pane, pane + 1.0, 100, log_e, math.log(10_000), units)


def test_evidence_is_in_powers_of_ten_within_the_picture() -> None:
    spec = plots.evidence(
        [judged(1, math.log(100)), judged(2, 5_000.0), judged(3, None)], marks={"over": None, "found": 2.0}
    )
    assert spec["whole"] == [2.0, 12.0, None]
    assert spec["threshold"] == [4.0] * 3
    assert spec["marks"] == [{"label": "found", "x": 2.0}]


def test_an_alarm_shows_the_evidence_that_raised_it() -> None:
    spec = plots.evidence([judged(1, -3.0), judged(2, -3.0, a=50.0)], units=["a", "b"], alarms={2: math.log(1_000_000)})
    assert spec["whole"][1] == 6.0
    assert [(one["name"], one["y"]) for one in spec["units"]] == [("a", [None, 12.0])]


def test_thinning_keeps_the_peaks() -> None:
    panes = [judged(at, 40.0 if at == 777 else 0.0) for at in range(2_000)]
    thin = plots.thinned(panes)
    assert len(thin) <= plots.POINTS
    assert 777 in [one.pane for one in thin]


def test_two_columns_as_points_need_numbers_on_both_sides() -> None:
    numbers = pa.table({"a": [1.0, 2.0, None], "b": [3.0, 4.0, 5.0]})
    words = pa.table({"a": ["x"], "b": ["y"]})
    spec = plots.scatter((numbers, numbers), ("a", "b"), SIDES)
    assert spec["x"] == [1.0, 1.0, 2.0, 2.0]
    assert [one is None for one in spec["before"]] == [one is not None for one in spec["now"]]
    assert plots.scatter((numbers, words), ("a", "b"), SIDES) == {}
    assert plots.scatter((numbers, pa.table({})), ("a", "b"), SIDES) == {}


def test_rows_that_show_a_finding_are_told_with_its_columns_first() -> None:
    rows = pa.table({"id": ["p", "q"], "x": [2.5, 0.5], "witness": [1.5, -0.5]})
    shown = telling(rows, {}, ["x"], Watched(["x"]), "score")
    assert (shown.columns, shown.named) == (("x", "id"), 1)
    assert [(row.values[1], row.score) for row in shown.rows] == [("p", "1.5")]


def test_images_are_small_pictures_and_other_vectors_a_few_words() -> None:
    rows = pa.table({"image": [[0.0, 1.0] * 50], "chance": [[0.1, 0.2, 0.3, 0.15, 0.25]]})
    shown = telling(rows, {}, [], Watched(["chance"], Image("image", (10, 10, 1))), "")
    picture, chance = shown.rows[0].values
    assert isinstance(picture, Picture)
    assert (picture.width, picture.height, set(picture.pixels)) == (10, 10, {0, 255})
    assert chance == "5 numbers, largest 0.3 (no. 3)"
