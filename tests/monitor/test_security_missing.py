"""Columns that are missing, empty or spoiled: what needs them is off or silent, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from detectors.heuristics import HEURISTICS
from monitor.config import Model
from monitor.coverage import switched_off
from monitor.decode import Decoder
from monitor.fitted import Fitted
from monitor.loading import measure_batches
from monitor.prepared import prepared
from monitor.security.guard import Guard
from monitor.security.start import guard_of
from monitor.sinks.prometheus import ModelTally, of_model
from monitor.streams import ModelStreams

KEY = b"k" * 32
COLUMNS: dict[str, str] = {
    "client": "who", "id": "request", "probabilities": "chance", "embedding": "place", "label": "truth",
}  # fmt: skip
CLASSES = ("ant", "bee", "cat")


def table(n: int, seed: int) -> pa.Table:
    """Three classes that stand apart in an embedding and in four numbers, and the answers of a good model."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, n)
    centre = np.random.default_rng(0).normal(0, 2, (3, 8))
    place = (centre[label] + rng.standard_normal((n, 8))).astype(np.float32)
    logits = -0.5 * ((place[:, None] - centre) ** 2).sum(axis=2)
    chance = np.exp(logits - logits.max(axis=1, keepdims=True))
    chance = (chance / chance.sum(axis=1, keepdims=True)).astype(np.float32)
    names = np.array(CLASSES)
    return pa.table(
        {
            "who": pa.array([f"user {i}" for i in rng.integers(0, 20, n)]),
            "request": pa.array([f"{seed}-{i}" for i in range(n)]),
            "answer": pa.array(names[chance.argmax(axis=1)]),
            "chance": vectors(chance),
            "place": vectors(place),
            "truth": pa.array(names[label]),
        }
    )


def vectors(rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows).ravel()), rows.shape[1])


def model(without: str = "") -> Model:
    """All roles but one, whose column is left out."""
    roles = {role: name for role, name in COLUMNS.items() if role not in ("embedding", without)}
    places = () if without == "embedding" else ("place",)
    columns: dict[str, Any] = {**roles, "prediction": "answer", "embeddings": places}
    columns["ignore"] = [COLUMNS[without]] if without else []
    document = {"name": "m", "reference": "unused", "columns": columns, "security": {"queries": 1000, "enabled": True}}
    return Model.model_validate(document)


@cache
def fitted(without: str = "") -> Fitted:
    return prepared(measure_batches(table(2_000, 1).to_batches(), model(without)), model(without))


def guard(without: str = "") -> Guard:
    made = guard_of(model(without), fitted(without), KEY, "c", lambda: 0.0)
    assert made is not None
    return made


def run(rows: pa.Table) -> Guard:
    """A guard that has seen these rows, 100 at a time."""
    one, decoder = guard(), Decoder(fitted().plan, fitted().reference.grid, fitted().vocabularies)
    for number, batch in enumerate(rows.combine_chunks().to_batches(max_chunksize=100)):
        told = one.feed(decoder.decode(batch), "v1", 1.0 * number, number, 10_000.0)
        assert told is None or not told.failures, told
    return one


@cache
def whole() -> pa.Table:
    """Rows of which every second one lies where no class is, some sent twice, some nearly twice."""
    rows = table(600, 7)
    place = flat(rows, "place").copy()
    place[::2] = np.random.default_rng(3).normal(0, 4, (300, 8))
    place[400:500] = place[200:300]
    place[500:] = place[100:200] + np.float32(1e-4)
    return replaced(rows, "place", vectors(place))


def flat(rows: pa.Table, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    values: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = rows[name].combine_chunks().flatten().to_numpy()
    return values.reshape(rows.num_rows, -1)


def replaced(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, values)


@cache
def expected() -> dict[str, int]:
    return run(whole()).tally.flags


OFF = {
    "client": {"client_shift", "coverage_growth", "extraction", "flooding", "low_margin"},
    "id": set[str](),
    "probabilities": {"confidence_ascent", "label_noise", "low_margin"},
    "embedding": {
        "activation_clustering", "boundary_walk", "confidence_ascent", "coverage_growth", "extraction",
        "label_disagreement", "label_floods", "near_duplicates", "noise_like_updates", "spectral_signature",
        "target_class",
    },
    "label": {
        "activation_clustering", "label_disagreement", "label_floods", "label_noise", "spectral_signature",
    },
}  # fmt: skip


@pytest.mark.parametrize("role", COLUMNS)
def test_a_role_that_is_not_configured_switches_off_what_needs_it_and_nothing_else(role: str) -> None:
    assert guard().watching - guard(role).watching == OFF[role]
    assert not guard(role).watching - guard().watching


@pytest.mark.parametrize("role", COLUMNS)
def test_the_metric_says_which_are_active(role: str) -> None:
    streams = ModelStreams(model(role), fitted(role), config_id="c", timer=lambda: 0.0, guard=guard(role))
    series = of_model(streams, ModelTally())["driftwarden_heuristic_active"]
    active = {labels[1]: value for labels, value in series}
    assert set(active) == set(HEURISTICS)
    assert {name for name, value in active.items() if value} == guard().watching - OFF[role]


@pytest.mark.parametrize("role", COLUMNS)
def test_one_line_of_the_log_says_what_is_off_for_want_of_what(role: str) -> None:
    with capture_logs() as lines:
        guard(role)
    told = [line["event"] for line in lines if "not watched by" in line["event"]]
    assert told == [absence.sentence for absence in switched_off(model(role), fitted(role))]
    mine = [line for line in told if SAID[role] in line] if SAID[role] else []
    assert len(mine) == (SAID[role] != "")
    for heuristic in OFF[role] if mine else ():
        assert any(heuristic in line for line in told)


SAID = {
    "client": "no columns.client:",
    "id": "",
    "probabilities": "no columns.probabilities or columns.logits or columns.score:",
    "embedding": "no inputs or columns.embeddings:",
    "label": "no columns.label:",
}

SPOILED: dict[str, Callable[[str], pa.Array]] = {
    "null": lambda name: pa.nulls(600, whole().schema.field(name).type),
    "no type": lambda _: pa.nulls(600),
    "text": lambda _: pa.array(["x"] * 600),
    "numbers": lambda _: pa.array(np.arange(600.0)),
    "lists of text": lambda _: pa.array([["a"]] * 600),
    "structs": lambda _: pa.array([{"a": 1}] * 600),
    "bytes": lambda _: pa.array([b"ab"] * 600),
    "short vectors": lambda _: vectors(np.zeros((600, 2), np.float32)),
    "NaN": lambda _: vectors(np.full((600, 3), np.nan, np.float32)),
}
NEEDS = {
    "client": set[str](),
    "id": set[str](),
    "label": set[str](),
    "probabilities": {"low_margin", "row_scores", "output_integrity"},
    "embedding": {"near_duplicates", "row_scores", "tail_energy", "output_integrity"},
}
"""Kinds of flag that a column moves; wrong answers are told by the input that comes again, too."""


@pytest.mark.parametrize("role", COLUMNS)
def test_a_column_that_batches_lack_moves_no_flag_that_does_without_it(role: str) -> None:
    flags = run(whole().drop_columns([COLUMNS[role]])).tally.flags
    same = set(expected()) - NEEDS[role]
    assert {kind: flags[kind] for kind in same} == {kind: expected()[kind] for kind in same}
    assert all(flags[kind] <= expected()[kind] for kind in NEEDS[role])


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("role", COLUMNS)
def test_a_spoiled_column_moves_no_flag_that_does_without_it(role: str, how: str) -> None:
    name = COLUMNS[role]
    flags = run(replaced(whole(), name, SPOILED[how](name))).tally.flags
    wrong = role == "probabilities" and how in ("null", "short vectors", "NaN")  # answers that no sound model gives
    same = set(expected()) - NEEDS[role]
    assert {kind: flags[kind] for kind in same} == {kind: expected()[kind] for kind in same}
    assert all(flags[kind] <= expected()[kind] for kind in NEEDS[role] - {"output_integrity"})
    assert flags["output_integrity"] == 600 if wrong else flags["output_integrity"] <= expected()["output_integrity"]


def test_a_log_that_loses_its_inputs_does_not_send_the_same_input_again() -> None:
    one = run(whole().drop_columns(["place"]))
    assert one.parts.ring is not None
    assert one.parts.ring.repeats == 0
    assert one.tally.flags["output_integrity"] == 0


def test_rows_without_a_name_are_nobodys() -> None:
    nobody = run(whole().drop_columns(["who"]))
    assert nobody.parts.clients.remembered == 0
    assert not nobody.suspects(10)


def test_what_was_lost_for_a_while_is_looked_at_again() -> None:
    gone = whole().drop_columns(["chance"]).slice(0, 300)
    flags = run(pa.concat_tables([gone, whole()], promote_options="permissive")).tally.flags
    assert flags["low_margin"] == expected()["low_margin"]


@pytest.mark.parametrize("value", [3e38, -3e38, 0.0])
def test_enormous_vectors_break_nothing(value: float) -> None:
    rows = replaced(whole(), "place", vectors(np.full((600, 8), value, np.float32)))
    assert run(rows).tally.looked_at == 600
