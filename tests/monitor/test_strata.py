"""Every row has a stratum: its segment and its local hour, checked against the calendar of the standard library."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from monitor.decode import Labels
from monitor.strata import CELLS, MOST_STRATA, StrataPlan, Stratifier, plan_of, tally

ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns")


def labels(*values: str | None) -> Labels:
    names = tuple(dict.fromkeys(value for value in values if value is not None))
    return Labels(np.array([names.index(v) if v is not None else -1 for v in values], np.int32), names)


def season(by: str, zone: str = "UTC") -> StrataPlan:
    plan = plan_of((), {}, by, zone, 1000)
    assert plan is not None
    return plan


@pytest.mark.parametrize("zone", ZONES)
def test_hours_are_those_of_the_wall_clock(zone: str) -> None:
    rng = np.random.default_rng(0)
    changes = np.concatenate([rng.uniform(0, 2e9, 300), 1_711_846_800 + rng.uniform(-7200, 7200, 200)])  # March 2024
    stratifier = Stratifier(season("hour_of_week", zone))
    got = stratifier.codes({}, changes, len(changes))
    for time, code in zip(changes, got, strict=True):
        local = datetime.fromtimestamp(np.floor(time), ZoneInfo(zone))
        assert code == local.weekday() * 24 + local.hour
    np.testing.assert_array_equal([stratifier.codes({}, changes[i : i + 1], 1)[0] for i in range(50)], got[:50])
    assert got.dtype == np.int32


def test_names_and_cells_agree() -> None:
    saturday = datetime(2024, 6, 1, 14, 59, tzinfo=UTC).timestamp()
    time = np.array([saturday, saturday + 3 * 86400, np.nan])
    wanted = {
        "hour_of_day": ["14h", "14h", "no time"],
        "weekday_hour": ["weekend 14h", "weekday 14h", "no time"],
        "hour_of_week": ["sat 14h", "tue 14h", "no time"],
    }
    for by, names in wanted.items():
        plan = season(by)
        assert len(plan.names) == CELLS[by] + 1
        assert [plan.names[code] for code in Stratifier(plan).codes({}, time, 3)] == names
        assert {plan.names[code] for code in Stratifier(plan).codes({}, None, 3)} == {"no time"}


def test_times_at_the_ends_of_the_calendar_have_a_stratum() -> None:
    time = np.array([-62_135_596_800.0, 253_402_300_799.0, np.nan, np.inf])
    for zone in ZONES:
        got = Stratifier(season("hour_of_week", zone)).codes({}, time, 4)
        assert ((got >= 0) & (got <= 168)).all()
        assert got[2:].tolist() == [168, 168]


def test_segments_have_strata_of_their_own_and_the_others_share_one() -> None:
    found = Counter[tuple[str, ...]]()
    region = labels("EU", "EU", "US", None, "EU", "EU", "US")
    tier = labels("gold", "gold", "gold", "gold", "tin", None, "gold")
    tally([region, tier], found)
    assert found == {("EU", "gold"): 2, ("US", "gold"): 2, ("EU", "tin"): 1}
    plan = plan_of(("region", "tier"), found, "none", "UTC", 1000)
    assert plan is not None
    assert plan.names == ("region=EU, tier=gold", "region=US, tier=gold", "region=EU, tier=tin", "other segments")
    stratifier = Stratifier(plan)
    assert stratifier.codes({"region": region, "tier": tier}, None, 7).tolist() == [0, 0, 1, 3, 2, 3, 1]
    odd = {"region": labels("US", "EU", "mars"), "tier": labels("tin", "tin", "gold")}
    assert stratifier.codes(odd, None, 3).tolist() == [3, 2, 3]
    assert stratifier.codes({"region": odd["region"]}, None, 3).tolist() == [3, 3, 3]
    assert stratifier.codes({"region": labels(), "tier": labels()}, None, 0).tolist() == []


def test_segments_cross_with_hours() -> None:
    plan = plan_of(("region",), {("EU",): 5, ("US",): 3}, "hour_of_day", "UTC", 1000)
    assert plan is not None
    time = np.array([3600.0, 7200.0, np.nan])
    got = Stratifier(plan).codes({"region": labels("US", "EU", "x")}, time, 3)
    assert [plan.names[code] for code in got] == ["region=US | 01h", "region=EU | 02h", "other segments | no time"]
    assert plan.parents[got].tolist() == [1, 0, 2]


def test_parents_are_the_next_wider_groups() -> None:
    week = season("hour_of_week")
    at = {name: i for i, name in enumerate(week.names)}
    assert week.parents[at["mon 14h"]] == week.parents[at["sun 14h"]] == 14
    assert week.parents[at["no time"]] == 24
    halves = season("weekday_hour")
    assert sorted(Counter(halves.parents.tolist()).values()) == [1, 24, 24]
    assert not season("hour_of_day").parents.any()
    segments = plan_of(("region",), {("EU",): 5}, "none", "UTC", 1000)
    assert segments is not None
    assert segments.parents.tolist() == [0, 0]


def test_the_number_of_strata_is_bounded_and_the_frequent_segments_stay() -> None:
    seen: dict[tuple[str, ...], int] = {(f"s{i:03d}",): 1000 - i for i in range(500)}
    for by, number in (("none", 64), ("hour_of_day", 19), ("weekday_hour", 9), ("hour_of_week", 2)):
        plan = plan_of(("s",), seen, by, "UTC", 1000)
        assert plan is not None
        assert len(plan.names) <= MOST_STRATA
        assert plan.combinations == tuple((f"s{i:03d}",) for i in range(number))
    wide = plan_of(("s",), seen, "none", "UTC", 1 << 20)
    assert wide is not None
    assert len(wide.names) == 16


def test_without_segments_and_season_there_are_no_strata() -> None:
    assert plan_of((), {}, "none", "UTC", 10) is None


def test_a_plan_survives_json() -> None:
    plan = plan_of(("a", "b"), {("x", "y"): 3, ("é", ""): 2}, "weekday_hour", "Europe/Berlin", 10)
    assert plan is not None
    assert StrataPlan.of(json.loads(json.dumps(plan.document()))) == plan
    with pytest.raises(KeyError):
        StrataPlan.of(plan.document() | {"by": "fortnight"})


def test_a_segment_column_without_any_value_has_one_stratum() -> None:
    plan = plan_of(("a",), {}, "none", "UTC", 10)
    assert plan is not None
    assert plan.names == ("other segments",)
    assert Stratifier(plan).codes({"a": labels("x", None)}, None, 2).tolist() == [0, 0]
