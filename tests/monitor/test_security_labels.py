"""What is odd in the labels of a stream reaches those who read findings, with the class and the source it is about."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from monitor.decode import Decoder
from monitor.report import Finding
from monitor.security.guard import Guard
from tests.monitor.test_security_missing import fitted, flat, guard, replaced, table, vectors

ROWS = 8_000
POISON = {"spectral_signature", "activation_clustering"}


def fed(one: Guard, rows: pa.Table) -> list[Finding]:
    decoder, found = Decoder(fitted().plan, fitted().reference.grid, fitted().vocabularies), []
    for number, batch in enumerate(rows.combine_chunks().to_batches(max_chunksize=250)):
        told = one.feed(decoder.decode(batch), "v1", 1.0 * number, number, 10_000.0)
        assert told is None or not told.failures, told
        found += [] if told is None else [finding for finding, _ in told.findings]
    return found


def of_labels(found: list[Finding]) -> list[Finding]:
    return [one for one in found if POISON & {unit.detector for unit in one.units}]


@pytest.fixture(scope="module")
def poisoned() -> tuple[pa.Table, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """A fifth of the rows labelled "bee" lie apart from all bees."""
    rows, rng = table(ROWS, 21), np.random.default_rng(5)
    bad = (rows["truth"].to_numpy() == "bee") & (rng.random(ROWS) < 0.2)
    place = flat(rows, "place").copy()
    place[bad, 4:] += np.float32(4)
    return replaced(rows, "place", vectors(place)), bad


def test_a_group_within_a_class_that_one_source_labels_is_told_as_poisoning(
    poisoned: tuple[pa.Table, np.ndarray[tuple[int], np.dtype[np.bool_]]],
) -> None:
    rows, bad = poisoned
    who = np.where(bad, "user 3", rows["who"].to_numpy())
    found = of_labels(fed(guard(), replaced(rows, "who", pa.array(who))))
    assert {(one.triage, one.failure_mode) for one in found} == {("attack", "poisoning")}
    assert {unit.unit for one in found for unit in one.units} == {"class 1"}
    assert {one.severity for one in found} == {"ticket"}


def test_a_group_within_a_class_that_all_sources_label_is_told_as_no_single_ones(
    poisoned: tuple[pa.Table, np.ndarray[tuple[int], np.dtype[np.bool_]]],
) -> None:
    found = of_labels(fed(guard(), poisoned[0]))
    assert found
    assert {one.triage for one in found} == {"shift"}


def test_honest_labels_are_told_of_nobody_and_all_that_looks_at_them_is_active() -> None:
    one = guard()
    assert one.watching >= {*POISON, "label_noise", "label_floods", "label_disagreement"}
    assert fed(one, table(ROWS, 22)) == []


def test_a_popular_input_that_many_label_opens_nothing_and_one_source_that_floods_is_told() -> None:
    rows = table(3_000, 23)
    again = np.where(np.arange(3_000) % 20 == 0, 0, np.arange(3_000))
    popular = rows.take(pa.array(again)).set_column(0, "who", rows["who"])
    who = np.where(again == 0, "user 3", rows["who"].to_numpy())
    flood = popular.set_column(0, "who", pa.array(who))
    many, single = guard(), guard()
    found = [
        [one for one in fed(each, some) if "label_floods" in {unit.detector for unit in one.units}]
        for each, some in ((many, popular), (single, flood))
    ]
    assert ("label_floods", "shift") in many.cases.verdicts
    assert found[0] == []
    assert {(one.triage, one.failure_mode) for one in found[1]} == {("attack", "poisoning")}
