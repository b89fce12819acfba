from __future__ import annotations

import numpy as np
import pytest

from detectors.queries import fingerprints
from detectors.queries.fingerprints import Fingerprints, FingerprintsFixed, calibrate, marks, refusal
from detectors.queries.suspicion import Hits, Queries
from detectors.types import Reason, SingleArray
from tests.attacks import tasks, traces
from tests.attacks.campaign import campaign
from tests.attacks.traces import Trace
from tests.detectors.senders import no_hits

CAPACITY, SECRET = 2_000, 12345


def measured(secret: int = SECRET, capacity: int = CAPACITY, n: int = 6_000) -> FingerprintsFixed:
    rows = tasks.glyphs().reference[:n]
    return calibrate(rows, traces.digests(rows), capacity, secret, pixels=True)


@pytest.fixture(scope="module")
def fixed() -> FingerprintsFixed:
    return measured()


@pytest.fixture(scope="module")
def search() -> Trace:
    return campaign(tasks.glyphs(), "HopSkipJump", np.random.default_rng(1), most=300).trace


def sent(trace: Trace) -> tuple[SingleArray, Queries, Hits]:
    """The trace with its exact repeats told, as the ring tells them."""
    queries = traces.queries(trace, trace.inputs[:, :8])
    repeat = np.ones(trace.rows, np.bool_)
    repeat[np.unique(queries.digest, return_index=True)[1]] = False
    return trace.inputs, queries, no_hits(trace.rows)._replace(exact=repeat)


def benign(n: int, seed: int = 2) -> Trace:
    rng = np.random.default_rng(seed)
    return traces.traffic(tasks.more_glyphs(n, rng), tasks.glyphs().answer, rng)


def test_the_published_parameters_hold_for_images_and_honest_rows_hardly_match(fixed: FingerprintsFixed) -> None:
    assert refusal(fixed) == ""
    assert (int(fixed.window), int(fixed.kept), int(fixed.shared)) == (20, 50, 25)
    share = Fingerprints(fixed, CAPACITY).add(*sent(benign(2_000))).mean()
    assert share <= float(fixed.rate) < 0.01


def test_a_search_matches_itself_and_its_sender_is_supported(fixed: FingerprintsFixed, search: Trace) -> None:
    one = Fingerprints(fixed, CAPACITY)
    one.add(*sent(benign(1_000)))
    matched = one.add(*sent(search))
    assert matched[1:].mean() > 0.8
    (found,) = one.suspicions()
    assert (found.heuristic, found.about, found.who) == ("fingerprints", "client", int(search.client[0]))
    assert np.isnan(found.log_e)
    assert found.log_p < np.log(1e-4)
    assert (found.hits, found.since) == (matched.sum(), 1_000 + int(np.flatnonzero(matched)[0]))


def test_clusters_are_counted_whatever_the_names(fixed: FingerprintsFixed, search: Trace) -> None:
    rows, queries, hits = sent(traces.sybil(search, 100, np.random.default_rng(3)))
    one = Fingerprints(fixed, CAPACITY)
    one.add(rows, queries, hits._replace(cluster=np.full(len(rows), 7)))
    assert ("cluster", 7) in {(found.about, found.who) for found in one.suspicions()}


def test_expected_miss_noise_of_two_hundredths_on_each_query(fixed: FingerprintsFixed, search: Trace) -> None:
    task = tasks.glyphs()
    noisy = traces.dither(search, 0.02, task.answer, np.random.default_rng(4), task.free)
    one = Fingerprints(fixed, CAPACITY)
    assert one.add(*sent(noisy)).mean() < 0.01
    assert one.suspicions() == []


def test_exact_repeats_are_left_to_their_digest(fixed: FingerprintsFixed) -> None:
    again = traces.mix(*[benign(50)] * 4)
    one = Fingerprints(fixed, CAPACITY)
    assert not one.add(*sent(again)).any()


def test_other_secrets_make_other_marks() -> None:
    rows = benign(50).inputs
    mine, others = marks(measured(), rows), marks(measured(SECRET + 1), rows)
    np.testing.assert_array_equal(mine, marks(measured(), rows))
    assert not np.intersect1d(mine[mine > 0], others[others > 0]).size


def test_marks_are_the_greatest_hashes_of_windows_wherever_a_row_stands(fixed: FingerprintsFixed) -> None:
    rows = benign(100).inputs
    every = marks(fixed, rows)
    assert every.shape == (100, 50)
    for row in (0, 31, 32, 99):
        np.testing.assert_array_equal(np.sort(marks(fixed, rows[row : row + 1])[0]), np.sort(every[row]))
    moved = rows.copy()
    moved[:, 200] = 1 - moved[:, 200]  # one number is in 20 windows of 381
    kept = [len(np.intersect1d(one, other)) for one, other in zip(every, marks(fixed, moved), strict=True)]
    assert min(kept) >= 25
    assert np.mean(kept) < 50


def test_cuts_and_restarts_change_nothing(fixed: FingerprintsFixed, search: Trace) -> None:
    rows, queries, hits = sent(traces.mix(benign(300), search))
    whole = Fingerprints(fixed, CAPACITY)
    every = whole.add(rows, queries, hits)
    one, parts = Fingerprints(fixed, CAPACITY), []
    for start in range(0, len(rows), 37):
        some = slice(start, start + 37)
        parts.append(
            one.add(rows[some], Queries._make(part[some] for part in queries), Hits._make(part[some] for part in hits))
        )
        again = Fingerprints(fixed, CAPACITY)
        again.restore(one.state())
        one = again
    np.testing.assert_array_equal(np.concatenate(parts), every)
    assert one.state().keys() == whole.state().keys()
    assert all(np.array_equal(array, one.state()[name]) for name, array in whole.state().items())
    with pytest.raises(ValueError, match="places"):
        one.restore(Fingerprints(fixed, 100).state())


def test_what_cannot_be_told_apart_is_refused_with_a_reason() -> None:
    rng = np.random.default_rng(5)
    digest = np.arange(1, 1_001, dtype=np.uint64)
    alike = (np.tile(rng.random((20, 400)), (50, 1)) + 1e-4 * rng.random((1_000, 400))).astype(np.float32)
    whole = calibrate(alike, digest, CAPACITY, SECRET, pixels=True)
    few = measured(n=100)
    narrow = calibrate(rng.random((1_000, 6), np.float32), digest, CAPACITY, SECRET, pixels=False)
    plain = calibrate(np.zeros((1_000, 400), np.float32), digest, CAPACITY, SECRET, pixels=True)
    reasons = [int(one.reason) for one in (whole, few, narrow, plain)]
    assert reasons == [Reason.CONSTANT_REFERENCE, Reason.FEW_ROWS, Reason.NOT_APPLICABLE, Reason.NOT_APPLICABLE]
    assert "100% of honest rows" in refusal(whole)
    assert "400 different reference rows" in refusal(few)
    assert "6 numbers" in refusal(narrow)
    one = Fingerprints(whole, CAPACITY)
    assert not one.add(alike, *sent(benign(1_000))[1:]).any()


def test_no_rows_no_columns_and_hostile_numbers_are_survived(fixed: FingerprintsFixed) -> None:
    one = Fingerprints(fixed, CAPACITY)
    rows, queries, hits = sent(benign(60))
    rows = rows.copy()
    rows[:20], rows[20:40], rows[40:] = np.nan, np.inf, 3e38
    assert not one.add(rows, queries, hits)[:40].any()
    nothing = sent(benign(60).take(slice(0, 0)))
    assert len(one.add(*nothing)) == 0
    assert refusal(calibrate(np.zeros((0, 0), np.float32), np.zeros(0, np.uint64), 10, SECRET, pixels=False))
    assert refusal(
        calibrate(np.full((900, 40), np.nan, np.float32), np.arange(900, dtype=np.uint64), 10, 1, pixels=True)
    )


def test_subjects_are_bounded_and_the_one_not_heard_of_for_longest_goes(fixed: FingerprintsFixed) -> None:
    one = Fingerprints(fixed, CAPACITY)
    n = 2 * fingerprints.MOST
    rows = np.tile(benign(1).inputs, (n, 1))
    rows[:, 399] = np.arange(n) % 2  # near the first, and no exact repeat
    unknown = np.full(n, np.nan, np.float32)
    queries = Queries(
        unknown[:, None], np.arange(n, dtype=np.uint64), np.arange(1, n + 1, dtype=np.uint64),
        np.zeros(n, np.int32), unknown, unknown, np.zeros(n),
    )  # fmt: skip
    one.add(rows, queries, no_hits(n))
    assert one.state()["subjects/who"].tolist() == list(range(n - fingerprints.MOST + 1, n + 1))
