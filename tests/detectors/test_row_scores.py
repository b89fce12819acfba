"""Scores of single rows: their level, what each sees and misses, and what is left when the log carries less."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import simulate
from detectors.rows import answers, atoms, confidence, fusion, neighbours, pixels, scores, spaces, tail
from detectors.rows.encoder import ScoreEncoder
from detectors.rows.layout import Layout
from detectors.types import Block, CodeArray, FloatArray, SingleArray

_NO = np.array(-1)
_CLASSES, _D, _SIDE = 4, 24, 12


class World(NamedTuple):
    """A model of small pictures: class means in a space, its embedding, its logits."""

    centres: FloatArray
    paint: FloatArray

    def rows(self, n: int, seed: int) -> tuple[FloatArray, CodeArray]:
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, _CLASSES, n).astype(np.int32)
        z = self.centres[truth] + rng.standard_normal((n, _D)) * np.linspace(1.5, 0.3, _D)
        return z, truth

    def pictures(self, z: FloatArray, seed: int) -> FloatArray:
        noise = np.random.default_rng(seed).standard_normal((len(z), _SIDE * _SIDE))
        shown: FloatArray = z @ self.paint + 0.02 * noise
        return shown

    def logits(self, z: FloatArray) -> FloatArray:
        apart = z[:, None] - self.centres
        out: FloatArray = -np.square(apart).sum(axis=2) / 4
        return out


def _world() -> World:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:_SIDE, :_SIDE] / _SIDE
    waves = [np.cos(np.pi * (a * x + b * y)).reshape(-1) for a in range(5) for b in range(5)][1 : _D + 1]
    return World(rng.standard_normal((_CLASSES, _D)) * 1.5, np.stack(waves))


WORLD = _world()
_FULL = Layout(
    np.zeros(0, np.int64), np.array([0, _SIDE, _SIDE, 1]), np.array(1), np.array(2), np.array(3), _NO, _NO,
    np.zeros(0, np.int64),
)  # fmt: skip


def _softmax(logits: FloatArray) -> SingleArray:
    return answers.softmax(logits.astype(np.float32))


def _block(*vectors: NDArray[np.floating]) -> Block:
    n = len(vectors[0])
    singles = tuple(np.ascontiguousarray(one, np.float32) for one in vectors)
    return Block(np.zeros((n, 0)), np.zeros((n, 0), np.int32), np.zeros(0, np.int64), None, singles)


def _logged(z: FloatArray, seed: int, pictures: FloatArray | None = None) -> Block:
    shown = WORLD.pictures(z, seed) if pictures is None else pictures
    logits = WORLD.logits(z)
    return _block(shown, z, _softmax(logits), logits)


def _fit(layout: Layout, block: Block, labels: CodeArray | None = None, seed: int = 0) -> scores.RowsFixed:
    measured = simulate.reference_of(block, dependent=False)
    return scores.fit(layout, measured.grid, measured.summary, block, labels, np.random.default_rng(seed))


_Z, _TRUTH = WORLD.rows(4000, 1)
FIXED = _fit(_FULL, _logged(_Z, 1), _TRUTH)
_FRESH, _ = WORLD.rows(4000, 2)
CLEAN = _logged(_FRESH, 2)


def _rates(block: Block, fixed: scores.RowsFixed = FIXED, rate: float = 0.05) -> dict[str, float]:
    heuristics, found = scores.flags(scores.score(fixed, block), rate)
    return dict(zip(heuristics, found.mean(axis=0).tolist(), strict=True))


def test_every_score_is_there_and_new_reference_rows_keep_the_level() -> None:
    scored = scores.score(FIXED, CLEAN)
    assert set(scored.names) == set(scores.NAMES) - set(atoms.NAMES)
    assert np.median(scored.u.std(axis=0)) == pytest.approx(1, abs=0.05)
    shares = {name: float((scored.p[:, i] <= 0.05).mean()) for i, name in enumerate(scored.names)}
    assert max(shares.values()) < 0.08, shares
    rates = _rates(CLEAN)
    assert rates.pop("neighbour_disagreement") < 0.08  # most rows are equal to it
    assert all(0.02 < share < 0.08 for share in rates.values())


def test_a_conformal_p_is_exact_over_references_drawn_anew() -> None:
    rates = []
    for seed in range(10):
        z, truth = WORLD.rows(1600, 100 + seed)
        fixed = _fit(_FULL, _logged(z, seed), truth, seed)
        fresh, _ = WORLD.rows(1000, 200 + seed)
        rates.append(np.exp(scores.score(fixed, _logged(fresh, 300 + seed)).log_p) <= 0.05)
    assert np.mean(rates) == pytest.approx(0.05, abs=0.012)


def test_a_row_gets_the_same_numbers_however_rows_are_batched() -> None:
    whole = scores.score(FIXED, CLEAN)
    encoded = ScoreEncoder(FIXED).encode(CLEAN)
    for a, b in ((0, 1), (1, 300), (300, 333)):
        part = _block(*(one[a:b] for one in CLEAN.vectors))
        again = scores.score(FIXED, part)
        assert all(np.array_equal(x[a:b], y, equal_nan=True) for x, y in zip(whole[1:], again[1:], strict=True))
        assert np.array_equal(ScoreEncoder(FIXED).encode(part), encoded[a:b])
    assert encoded.dtype == np.float32
    assert np.isfinite(encoded).all()
    assert ScoreEncoder(FIXED).unit.tolist() == [-1] * len(whole.names)


def test_pixel_noise_stands_out_in_the_tail_and_in_the_texture_but_not_to_neighbours() -> None:
    shown = WORLD.pictures(_FRESH, 2)
    signs = np.sign(np.random.default_rng(3).standard_normal(shown.shape))
    assert shown.std() > 5
    assert _rates(_logged(_FRESH, 2, shown + 0.06 * signs))["tail_energy"] > 0.95
    rates = _rates(_logged(_FRESH, 2, shown + 0.9 * signs))
    assert rates["image_statistics"] > 0.7
    assert rates["row_scores"] > 0.9
    assert rates["neighbour_disagreement"] < 0.08


def test_an_answer_that_the_picture_does_not_support_stands_out_to_neighbours() -> None:
    wrong = np.roll(WORLD.logits(_FRESH), 1, axis=1)
    lied = _block(CLEAN.vectors[0], _FRESH, _softmax(wrong), wrong)
    assert _rates(lied)["neighbour_disagreement"] > 0.9


def test_an_embedding_of_no_class_stands_out() -> None:
    far = scores.score(FIXED, _block(CLEAN.vectors[0], 2 * _FRESH[:, ::-1], *CLEAN.vectors[2:]))
    for name in ("mahalanobis", "relative_mahalanobis", "knn_distance"):
        assert (far.p[:, far.names.index(name)] <= 0.01).mean() > 0.5, name


def test_an_answer_that_is_too_sure_stands_out_as_well() -> None:
    logits = WORLD.logits(_FRESH)
    sure = _block(*CLEAN.vectors[:2], _softmax(30 * logits), 30 * logits)
    scored = scores.score(FIXED, sure)
    assert (scored.p[:, scored.names.index("energy")] <= 0.01).mean() > 0.5


def test_row_scores_expected_miss_an_attack_that_moves_all_the_way_to_another_class() -> None:
    """The attacker paints a true picture of the class that it wants: nothing about the row is odd."""
    truth = np.random.default_rng(4).integers(0, _CLASSES, 1000)
    moved = WORLD.centres[truth] + np.random.default_rng(5).standard_normal((1000, _D)) * np.linspace(1.5, 0.3, _D)
    assert max(_rates(_logged(moved, 6)).values()) < 0.08


def test_tail_energy_expected_miss_a_perturbation_along_the_strong_axes() -> None:
    """A large change within the first tenth of the axes leaves the last band as it is."""
    axes = np.linalg.svd(WORLD.pictures(_Z, 1) - WORLD.pictures(_Z, 1).mean(axis=0), full_matrices=False)[2][:10]
    shown = WORLD.pictures(_FRESH, 2)
    moved = shown + np.sign(np.random.default_rng(6).standard_normal((len(shown), 10))) @ axes
    assert np.abs(moved - shown).mean() > 0.15
    assert _rates(_logged(_FRESH, 2, moved))["tail_energy"] < 0.1


def test_neighbour_disagreement_expected_miss_a_row_among_neighbours_of_its_answer() -> None:
    """The mean of one picture and many of the wanted class has neighbours of that class, and its answer."""
    wanted = np.repeat(WORLD.centres[:1], 500, axis=0) + 0.2 * _FRESH[:500]
    assert _rates(_logged(wanted, 7))["neighbour_disagreement"] < 0.08


def test_image_statistics_expected_miss_another_picture_of_the_same_texture() -> None:
    upside_down = WORLD.pictures(_FRESH, 2).reshape(-1, _SIDE, _SIDE)[:, ::-1, ::-1].reshape(len(_FRESH), -1)
    assert _rates(_logged(_FRESH, 2, upside_down))["image_statistics"] < 0.08


@pytest.mark.parametrize(
    ("kept", "names"),
    [
        ((0,), {*tail.NAMES, *pixels.NAMES}),
        ((1,), {"mahalanobis", "knn_distance", *tail.NAMES}),
        ((2,), {"confidence", "entropy", "margin"}),
        ((3,), {"confidence", "entropy", "margin", "energy"}),
        ((), set()),
    ],
)
def test_what_the_log_does_not_carry_turns_off_what_needs_it(kept: tuple[int, ...], names: set[str]) -> None:
    none = (np.array([-1, 0, 0, 0]), _NO, _NO, _NO)
    image, embedding, probabilities, logits = (_FULL[1 + i] if i in kept else none[i] for i in range(4))
    layout = _FULL._replace(image=image, embedding=embedding, probabilities=probabilities, logits=logits)
    fixed = _fit(layout, _logged(_Z, 1))
    assert set(scores.names(fixed)) - {"saturation"} == names - {"saturation"}
    scored = scores.score(fixed, CLEAN)
    assert scored.u.shape == (4000, len(scored.names))
    assert all(0.02 < share < 0.08 for share in _rates(CLEAN, fixed).values())


def test_a_table_of_a_binary_model_has_confidence_tail_and_neighbours() -> None:
    def logged(n: int, seed: int) -> Block:
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, 6))
        x[:, 5] = x[:, 0] + 0.05 * rng.standard_normal(n)
        chance = 1 / (1 + np.exp(-6 * x[:, 1]))
        return simulate.block_of(np.column_stack([x, chance]))

    layout = Layout(np.arange(6), _FULL.classes, _NO, _NO, _NO, _NO, np.array(6), _FULL.classes)
    fixed = _fit(layout, logged(4000, 0))
    assert "confidence" in scores.names(fixed)
    assert "neighbour_disagreement" not in scores.names(fixed) or fixed.independent.rows.shape[1] == 6
    fresh = logged(1000, 1)
    fresh.numeric[:, 5] = -fresh.numeric[:, 0]
    assert _rates(fresh, fixed)["tail_energy"] > 0.6


def _sparse(n: int, seed: int) -> FloatArray:
    """Eight counts that are mostly zero, and two numbers that never stand still."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.2 + 0.2 * rng.random((n, 1)), (n, 8)).astype(np.float64)
    return np.column_stack([counts, rng.standard_normal((n, 2))])


def test_a_perturbation_of_every_number_moves_values_that_stand_still() -> None:
    layout = _FULL._replace(features=np.arange(10), image=_FULL.classes, embedding=_NO, probabilities=_NO, logits=_NO)
    fixed = _fit(layout, simulate.block_of(_sparse(4000, 0)))
    fresh = _sparse(2000, 1)
    i = scores.names(fixed).index("moved_values")
    assert 0.0 < (scores.score(fixed, simulate.block_of(fresh)).p[:, i] <= 0.05).mean() < 0.08
    moved = fresh + 0.01 * np.sign(np.random.default_rng(2).standard_normal(fresh.shape))
    assert (scores.score(fixed, simulate.block_of(moved)).p[:, i] <= 0.05).mean() > 0.9


def test_moved_values_expected_miss_a_perturbation_of_other_columns() -> None:
    """The attacker leaves alone what stands still, and moves the two numbers by a whole spread."""
    layout = _FULL._replace(features=np.arange(10), image=_FULL.classes, embedding=_NO, probabilities=_NO, logits=_NO)
    fixed = _fit(layout, simulate.block_of(_sparse(4000, 0)))
    fresh = _sparse(2000, 1)
    fresh[:, 8:] += 1
    i = scores.names(fixed).index("moved_values")
    assert (scores.score(fixed, simulate.block_of(fresh)).p[:, i] <= 0.05).mean() < 0.08


def test_categories_count_by_how_rare_they_are() -> None:
    rng = np.random.default_rng(0)
    codes = rng.choice(3, (1000, 2), p=[0.9, 0.09, 0.01]).astype(np.int32)
    known = atoms.fit(simulate.block_of(np.zeros((1000, 0)), codes), np.arange(2))
    asked = np.array([[0, 0], [0, 1], [2, 2], [-1, 0], [-2, -2], [7, 7]], np.int32)
    got = atoms.measures(known, simulate.block_of(np.zeros((6, 0)), asked))
    assert np.isnan(got[:, 0]).all()
    assert got[0, 1] < got[1, 1] < got[2, 1] <= got[5, 1] < got[4, 1] + 1e-9
    assert np.isfinite(got[:, 1]).all()


@pytest.mark.parametrize("n", [0, 1, 50, 399])
def test_a_small_reference_gives_no_scores_and_takes_any_row(n: int) -> None:
    z, truth = WORLD.rows(n, 1)
    fixed = _fit(_FULL, _logged(z, 1), truth)
    assert scores.names(fixed) == ()
    assert scores.score(fixed, CLEAN).log_p.tolist() == [0.0] * 4000
    assert ScoreEncoder(fixed).encode(CLEAN).shape == (4000, 0)


def test_hostile_numbers_do_no_harm_to_other_rows() -> None:
    vectors = [one[:6].copy() for one in CLEAN.vectors]
    for one in vectors:
        one[0], one[1], one[2] = np.nan, np.inf, 3e38
        one[3, 0] = -np.inf
    scored = scores.score(FIXED, _block(*vectors))
    plain = scores.score(FIXED, CLEAN)
    assert np.isfinite(scored.u).all()
    assert np.isfinite(scored.log_p).all()
    assert np.array_equal(scored.u[4:], plain.u[4:6])
    assert not scored.u[0].any()
    assert scores.score(FIXED, _block(*(one[:0] for one in vectors))).u.shape == (0, len(plain.names))


def test_classes_with_enough_rows_get_ranks_of_their_own() -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat(np.array([0, 2, -1], np.int32), 300)
    values = np.concatenate([rng.normal(0, 1, 300), rng.normal(5, 1, 300), rng.normal(9, 1, 300)])[:, None]
    known = fusion.ranks(values, classes)
    assert known.groups.tolist() == [1, 0, 2]
    asked = np.full((4, 1), 4.0)
    got = fusion.ranked(known, asked, np.array([0, 2, 1, -1], np.int32)).upper[:, 0]
    expected = [(1 + (values[part] >= 4).sum()) / (1 + values[part].size) for part in (classes == 0, classes == 2)]
    np.testing.assert_allclose(got[:2], expected)
    assert got[2] == got[3] == (1 + (values >= 4).sum()) / 901
    few = fusion.ranks(values[:450], classes[:450])
    assert len(few.counts) == 1


@pytest.mark.parametrize("r", [11, 500, 1100, 2048])
def test_neighbours_are_the_true_ones(r: int) -> None:
    rng = np.random.default_rng(0)
    rows, asked = rng.standard_normal((r, 5)).astype("f4"), rng.standard_normal((70, 5)).astype("f4")
    classes = rng.integers(0, 3, r).astype(np.int32)
    known = neighbours.fit(rows, classes, rng)
    apart = np.linalg.norm(asked[:, None] - known.rows, axis=2)
    np.testing.assert_allclose(neighbours.distance(known, asked), np.sort(apart, axis=1)[:, 9], rtol=1e-3)
    nearest = known.classes[np.argsort(apart, axis=1)[:, :10]]
    predicted = np.zeros(70, np.int32)
    far = np.sort(apart, axis=1)[:, 9] > known.reach
    wanted = np.where(far, np.nan, (nearest != 0).mean(axis=1))
    np.testing.assert_allclose(neighbours.disagreement(known, asked, predicted), wanted)
    foreign = neighbours.disagreement(known, asked + np.float32(20), predicted)
    assert np.isnan(foreign).all()
    votes = np.stack([(nearest == c).sum(axis=1) for c in range(3)], axis=1)
    assert (neighbours.voted(known, asked) == votes.argmax(axis=1)).all()


def test_tail_energy_is_the_mean_square_along_whitened_axes_and_patches_share_theirs() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((3000, 20)) * np.linspace(5, 0.1, 20)).astype(np.float32)
    got = tail.measures(tail.fit(rows, (0, 0, 0), rng), rows)
    white = np.square((rows - rows.mean(axis=0)) / rows.std(axis=0))
    assert np.corrcoef(got[:, 3], np.log(white[:, 10:].mean(axis=1)))[0, 1] > 0.99
    assert np.isnan(got[:, 1]).all() == (
        tail.fit(rows, (0, 0, 0), rng).ends[0] == tail.fit(rows, (0, 0, 0), rng).ends[1]
    )
    big = rng.standard_normal((200, 40 * 36)).cumsum(axis=1).astype(np.float32)
    fixed = tail.fit(big, (40, 36, 1), rng)
    assert fixed.axes.axes.shape == (64, 64)
    noisy = tail.measures(fixed, big + 5 * rng.standard_normal(big.shape).astype("f4"))[:, 3]
    assert (noisy > np.quantile(tail.measures(fixed, big)[:, 3], 0.99)).mean() > 0.95


def test_pixels_name_the_corruption() -> None:
    rng = np.random.default_rng(0)
    shown = WORLD.pictures(_FRESH[:300], 2).reshape(-1, _SIDE, _SIDE, 1).astype(np.float32)
    known = pixels.fit(shown)
    plain = dict(zip(pixels.NAMES, pixels.measures(known, shown).T, strict=True))
    grainy = shown + 0.3 * rng.standard_normal(shown.shape).astype("f4")
    changed: dict[str, NDArray[np.floating]] = {
        "noise": grainy,
        "blur": (grainy[:, 1:, 1:] + grainy[:, :-1, 1:] + grainy[:, 1:, :-1] + grainy[:, :-1, :-1]) / 4,
        "light": shown + 1,
        "flat": shown * np.float32(0.3),
    }
    got = {
        name: dict(zip(pixels.NAMES, pixels.measures(known, np.asarray(x, np.float32)).T, strict=True))
        for name, x in changed.items()
    }
    assert (got["noise"]["noise"] > plain["noise"]).mean() > 0.95
    assert (got["blur"]["sharpness"] < got["noise"]["sharpness"]).mean() > 0.95
    assert (got["light"]["brightness"] > plain["brightness"]).all()
    np.testing.assert_allclose(got["light"]["contrast"], plain["contrast"], atol=1e-4)
    assert (got["flat"]["contrast"] < plain["contrast"]).all()


def test_answers_come_from_what_is_logged() -> None:
    classes = np.array([1, 0, -1])
    table = simulate.block_of(np.array([[0.9], [0.2], [np.nan], [7.0]]), np.array([[0], [1], [2], [-1]]))
    by_name = _FULL._replace(
        image=_FULL.classes, embedding=_NO, probabilities=_NO, logits=_NO, prediction=np.array(1), classes=classes
    )
    assert answers.predicted(by_name, table).tolist() == [1, 0, -1, -1]
    by_score = by_name._replace(prediction=_NO, score=np.array(0))
    assert answers.predicted(by_score, table).tolist() == [1, 0, -1, -1]
    np.testing.assert_allclose(confidence.margins(answers.probabilities(by_score, table))[:2], [0.8, 0.6], rtol=1e-6)
    assert spaces.image_shape(by_score) == (0, 0, 0)
