"""Groups within a class are looked for in the stream, one class at a time, at a cost that wide rows do not raise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.poisoning import groups, spectral
from detectors.poisoning.groups import EVERY, SIZE, Groups, GroupsFixed
from detectors.rows.layout import DigestArray
from detectors.types import CodeArray, SingleArray

LEVEL = float(np.log(1e3))
CLASSES, WIDTH = 4, 40


class Stream(NamedTuple):
    z: SingleArray
    label: CodeArray
    source: DigestArray


def drawn(n: int, rng: np.random.Generator) -> Stream:
    """Classes apart from each other, on axes of falling spread, from ten sources."""
    label = rng.integers(0, CLASSES, n).astype(np.int32)
    spread = np.linspace(1.5, 0.05, WIDTH)
    z = 3 * np.eye(CLASSES, WIDTH)[label] + spread * rng.standard_normal((n, WIDTH))
    return Stream(z.astype(np.float32), label, rng.integers(1, 11, n).astype(np.uint64))


@pytest.fixture(scope="module")
def fixed() -> GroupsFixed:
    rng = np.random.default_rng(0)
    some = drawn(3_000, rng)
    return groups.fit(some.z, some.label, CLASSES, rng)


def fed(fixed: GroupsFixed, it: Stream, parts: int = 1) -> Groups:
    one = Groups(fixed)
    for part in np.array_split(np.arange(len(it.z)), parts):
        one.add(it.z[part], it.label[part], it.source[part], part)
    return one


def poisoned(seed: int, share: float = 0.2) -> tuple[Stream, NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    it = drawn(6_000, rng)
    bad = (it.label == 2) & (rng.random(6_000) < share)
    it.z[bad, 5:9] += np.float32(6)
    return it, bad


def test_a_group_of_one_source_is_told_with_its_class_and_its_source(fixed: GroupsFixed) -> None:
    it, bad = poisoned(1)
    it.source[bad] = 7
    found = fed(fixed, it).suspicions(LEVEL)
    assert {one.heuristic for one in found} == set(groups.HEURISTICS)
    for one in found:
        assert (one.about, one.who, one.clients[0][0], one.rows) == ("class", 2, 7, SIZE)
        assert one.facts["same_source"] > 0.9
        assert bad[one.members].mean() > 0.8
        assert one.since <= one.members.min() <= one.members.max() <= one.until


def test_a_group_of_all_sources_is_no_single_ones_and_without_names_nobody_knows(fixed: GroupsFixed) -> None:
    it, _ = poisoned(2)
    assert all(one.facts["same_source"] < 0.4 for one in fed(fixed, it).suspicions(LEVEL))
    found = fed(fixed, it._replace(source=np.zeros_like(it.source))).suspicions(LEVEL)
    assert found
    assert all(np.isnan(one.facts["same_source"]) and not one.clients for one in found)


@pytest.mark.parametrize("seed", range(5))
def test_honest_rows_are_no_group(fixed: GroupsFixed, seed: int) -> None:
    one, it = Groups(fixed), drawn(8_000, np.random.default_rng(100 + seed))
    for part in np.array_split(np.arange(8_000), 20):
        one.add(it.z[part], it.label[part], it.source[part], part)
        assert one.suspicions(LEVEL) == []


def test_a_few_rows_that_are_far_away_are_no_group(fixed: GroupsFixed) -> None:
    it = drawn(6_000, np.random.default_rng(3))
    it.z[::1_500] = np.float32(3e38)
    assert fed(fixed, it).suspicions(LEVEL) == []


def test_inputs_that_move_for_all_while_a_round_goes_on_are_no_groups(fixed: GroupsFixed) -> None:
    it = drawn(9_000, np.random.default_rng(4))
    it.z[3_100:] *= np.float32(3)
    one = Groups(fixed)
    loud = 0
    for part in np.array_split(np.arange(9_000), 60):
        one.add(it.z[part], it.label[part], it.source[part], part)
        assert one.suspicions(LEVEL) == []
        loud = max(loud, int((np.nan_to_num(one.state()["log_p"][0]) < -LEVEL).sum()))
    assert loud >= CLASSES // 2


def test_a_look_is_at_one_class_on_few_axes_however_rows_come(
    fixed: GroupsFixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[tuple[int, ...]] = []
    spectrum = spectral.spectrum

    def watched(null: spectral.Null, rows: SingleArray) -> spectral.Spectrum:
        looked.append(rows.shape)
        return spectrum(null, rows)

    monkeypatch.setattr(spectral, "spectrum", watched)
    monkeypatch.setattr(spectral, "null_of", pytest.fail)
    fed(fixed, drawn(6_000, np.random.default_rng(5)))
    assert 0 < len(looked) <= 6_000 // EVERY
    assert set(looked) == {(SIZE - groups.LONE, 32)}


def test_batches_do_not_matter_and_the_state_comes_back(fixed: GroupsFixed) -> None:
    it, _ = poisoned(6)
    whole, parts = fed(fixed, it), fed(fixed, it, 41)
    again = Groups(fixed)
    again.restore(whole.state())
    for name, array in whole.state().items():
        assert np.allclose(
            parts.state()[name].astype(np.float64), array.astype(np.float64), 1e-4, 1e-6, equal_nan=True
        ), name
        np.testing.assert_array_equal(again.state()[name], array)


def test_a_state_that_does_not_fit_is_refused_whole(fixed: GroupsFixed) -> None:
    one, it = Groups(fixed), drawn(1_000, np.random.default_rng(7))
    state = fed(fixed, it).state() | {"totals": np.zeros(3)}
    with pytest.raises(ValueError, match="does not fit: totals"):
        one.restore(state)
    assert not one.state()["z"].any()


def test_classes_without_trusted_rows_and_labels_of_none_are_passed_over() -> None:
    rng = np.random.default_rng(8)
    some = drawn(300, rng)
    known = groups.fit(some.z, np.where(some.label == 0, 0, -1).astype(np.int32), CLASSES, rng)
    nobody = groups.fit(some.z[:40], some.label[:40], CLASSES, rng)
    for fixed, classes in ((known, [0]), (nobody, [])):
        assert fixed.classes.tolist() == classes
        one = fed(fixed, some._replace(label=np.arange(300, dtype=np.int32)))
        assert one.suspicions(0.0) == []


def test_a_group_apart_where_rows_hardly_vary_is_an_expected_miss(fixed: GroupsFixed) -> None:
    rng = np.random.default_rng(9)
    it = drawn(6_000, rng)
    it.z[(it.label == 2) & (rng.random(6_000) < 0.2), -1] += np.float32(6)
    assert fed(fixed, it).suspicions(LEVEL) == []


def test_a_fiftieth_of_a_class_is_an_expected_miss(fixed: GroupsFixed) -> None:
    assert fed(fixed, poisoned(10, share=0.02)[0]).suspicions(LEVEL) == []
