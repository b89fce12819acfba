"""What is wrong with `security.probes` is told when the file is read, as far as it needs no reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitor.config import parse_config
from monitor.errors import ConfigError

SOUND: dict[str, Any] = {
    "url": "http://127.0.0.1:9",
    "model": "credit",
    "inputs": [{"name": "x", "columns": ["age", "income"]}],
}
IMAGE: dict[str, Any] = {"image": "pixels", "image_shape": [4, 4, 1]}


def faults(probes: Any, columns: Any = None) -> list[str]:
    model = {"name": "credit", "reference": "reference.parquet", "columns": columns or {}}
    try:
        parse_config({"models": [model | {"security": {"probes": probes}}]}, base=Path(), environ={"TOKEN": "hush"})
    except ConfigError as error:
        return error.faults
    return []


@pytest.mark.parametrize(
    ("changes", "place", "word"),
    [
        ({"url": "ftp://127.0.0.1"}, "url", "http://HOST:PORT"),
        ({"url": "http://me:pass@127.0.0.1:9"}, "url", "password"),
        ({"url": "http://models.example.org", "token_env": "TOKEN"}, "url", "clear text"),
        ({"client_header": "X-Who\r\n"}, "client_header", "HTTP header"),
        ({"inputs": []}, "inputs", "input tensor"),
        ({"inputs": [{"name": "x", "columns": ["age"], "datatype": "FP31"}]}, "inputs", "FP31"),
        ({"inputs": [{"name": "x", "columns": ["age"], "shape": [-1, 1]}]}, "inputs", "below 1"),
        ({"inputs": [{"name": "x", "columns": ["age"], "datatype": "INT64"}]}, "inputs", "nothing to move"),
        ({"rows_per_day": 5}, "rows_per_day", "17 rows"),
        ({"certify": [10, 0]}, "certify", "radius"),
        ({"certify": [-1, -5]}, "certify", "negative"),
    ],
)
def test_faults_of_probes_are_told_where_they_stand(changes: dict[str, Any], place: str, word: str) -> None:
    told = faults(SOUND | changes)
    assert told
    assert all(fault.startswith(f"models.0.security.probes.{place}: ") for fault in told[:1])
    assert word in told[0]


def test_a_sound_section_has_none_and_an_image_costs_what_its_moves_do() -> None:
    assert faults(SOUND) == []
    pixels = SOUND | {"inputs": [{"name": "x", "columns": ["pixels"], "shape": [4, 4, 1]}], "rows_per_day": 9}
    assert faults(pixels, IMAGE) == []
    assert "takes 17 rows" in faults(pixels)[0]
    assert faults(SOUND | {"inputs": [{"name": "x", "columns": ["pixels"], "datatype": "UINT8"}]}, IMAGE) == []


@pytest.mark.parametrize("probes", [3, [], {"url": 3}, SOUND | {"more": 1}, SOUND | {"sigma": -1, "rows_per_day": 5}])
def test_a_section_that_is_not_sound_field_by_field_is_told_so_and_no_more(probes: Any) -> None:
    told = faults(probes)
    assert told
    assert not any("takes 17 rows" in fault for fault in told)


@pytest.mark.parametrize("shape", [3, [4, 4], [4, 0, 1], ["a", "b", "c"], None])
def test_an_image_s_shape_that_is_none_is_told_with_the_columns(shape: Any) -> None:
    told = faults(SOUND | {"inputs": [{"name": "x", "columns": ["pixels"]}]}, {"image": "pixels", "image_shape": shape})
    assert told
    assert all(fault.startswith("models.0.columns.") for fault in told)
