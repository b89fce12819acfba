"""Where a model fails more than elsewhere: slices of one to three conditions.

Question: is there a group of rows, told by a few columns, whose mean loss is above that of all rows? H0: losses and
columns have nothing to do with each other.
Statistic: SliceLine's score a (e_s / e - 1) - (1 - a) (n / n_s - 1), with a lower bound (97.5 %) of the slice's mean
loss in the place of e_s, so that a handful of rows does not win. On one half of the rows, drawn at random, slices are
searched level by level; a slice is refined only if the bound of its refinements (by SliceLine's equation 9) is above
the scores in hand. Then the best one is taken, and again the best one by the rows in none of those before: what
contains a slice, or overlaps with it, is told only for what it adds.
Null law: on the other half, z of the rows that each slice adds, beside the largest z of all slices over `PERMUTATIONS`
permutations of the losses: exact, and family-wise, whatever was searched. Needs rows that do not depend on each other;
``tau``, the rows that are worth one, divides z^2.
Error: the figures of a slice come from the second half alone. They are a little too high for what was picked as worst
among several told.
Sees / blind to: groups that at most `LEVELS` columns tell, of at least `LEAST_SHARE` of the rows. Beyond `MOST_ATOMS`
conditions those with the best scores alone stay; a level keeps `BEAM` slices: an interaction without any effect alone
can be lost among many columns. Rows count alike: weights take no part.
Cost: 0.13 CPU s for 2 x 10,000 rows of 13 columns, 1.1 s for 2 x 16,384 rows of 60.
Source: Sagadeeva and Boehm 2021 (SliceLine, equations 5 and 9); Westfall and Young 1993 (largest of many).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.slices.columns import Codes, ColumnsFixed, Condition, Slice, conditions, inside
from detectors.slices.scores import Sums, bound, score
from detectors.types import FloatArray, IntArray, SingleArray

MOST_ROWS: Final = 16_384
"""Rows of each half at most: a sample of the others."""
LEVELS: Final = 3
MOST_ATOMS: Final = 640
BEAM: Final = 256
LEAST_SHARE: Final = 0.01
LEAST_ROWS: Final = 50
"""Rows of a slice in the half that is searched, at least."""
MOST_SLICES: Final = 10
PERMUTATIONS: Final = 499
LEVEL: Final = 0.05
ALIKE: Final = 0.5
"""Slices that share so much of the rows of either are one; the one that has been told before keeps its name."""
_POOL: Final = 400
_BLOCK: Final = 50


class Found(NamedTuple):
    """A slice that has held on rows that it was not found by: ``p`` is family-wise, ``fresh`` the rows that it adds."""

    conditions: Slice
    p: float
    score: float
    fresh: int


class Search(NamedTuple):
    """``found``, best first; ``tried`` slices looked at; the mean ``loss`` of the rows that judged.

    ``validation (m,)`` says which rows these are: `compare.measure` has to be given them, and no others.
    """

    found: tuple[Found, ...]
    tried: int
    validation: IntArray
    loss: float


class _Level(NamedTuple):
    """Slices of a level, ``atoms (s, level)`` and what is known of them."""

    atoms: IntArray
    sums: Sums
    score: FloatArray
    bound: FloatArray


def find(
    fixed: ColumnsFixed,
    binned: Codes,
    loss: FloatArray,
    rng: np.random.Generator,
    known: Sequence[Slice] = (),
    tau: float = 1.0,
) -> Search:
    """Search rows ``(n, f)`` with ``loss (n,)``, NaN where not known; ``known`` are slices told before."""
    usable = rng.permutation(np.flatnonzero(np.isfinite(loss) & (loss >= 0)))
    half = min(len(usable) // 2, MOST_ROWS)
    first, second = np.sort(usable[:half]), np.sort(usable[half : half + MOST_ROWS])
    greatest = float(loss[usable].max(initial=0.0))
    if half < 2 * LEAST_ROWS or greatest <= 0:
        return Search((), 0, second, float(loss[second].mean()) if len(second) else float("nan"))
    scaled = loss / greatest
    pool, tried = _searched(conditions(fixed), binned[first], scaled[first])
    chosen = _chosen(pool, list(known), binned[first], scaled[first])
    found = _judged(chosen, binned[second], scaled[second], rng, tau)
    return Search(found, tried, second, float(scaled[second].mean()) * greatest)


def _searched(every: list[Condition], binned: Codes, loss: FloatArray) -> tuple[list[Slice], int]:
    """The slices with the best scores, all above 0, and how many were looked at."""
    n, total = len(loss), float(loss.sum())
    least = max(LEAST_ROWS, int(np.ceil(LEAST_SHARE * n)))
    level, every, member = _single(every, binned, loss, least)
    pool: list[tuple[float, Slice]] = []
    tried, column = len(every), np.array([one.column for one in every])
    for depth in range(LEVELS):
        good = np.flatnonzero(level.score > 0)
        good = good[np.argsort(-level.score[good], kind="stable")[:_POOL]]
        pool += [(float(level.score[i]), _slice(level.atoms[i], every)) for i in good]
        pool = sorted(pool, key=lambda one: (-one[0], len(one[1]), one[1]))[:_POOL]
        if depth + 1 == LEVELS or not len(level.atoms):
            break
        floor = pool[-1][0] if len(pool) == _POOL else 0.0
        parents = np.flatnonzero(level.bound > floor)
        if depth:
            parents = parents[np.argsort(-level.score[parents], kind="stable")[:BEAM]]
        level, looked = _refined(_part(level, parents), member, loss, column, (least, n, total, floor))
        tried += looked
    return [one for _, one in pool], tried


def _single(
    every: list[Condition], binned: Codes, loss: FloatArray, least: int
) -> tuple[_Level, list[Condition], SingleArray]:
    """Slices of one condition with rows enough, the conditions that stay, and who meets them ``(n, m)``."""
    n, total, made = len(loss), float(loss.sum()), []
    for one in every:
        mine = loss[inside((one,), binned)]
        made.append((len(mine), mine.sum(), np.square(mine).sum(), mine.max(initial=0.0)))
    sums = Sums(*np.array(made).reshape(len(every), 4).T)
    value = score(sums, n, total)
    enough = np.flatnonzero((sums.rows >= least) & (sums.rows < n))
    kept = np.sort(enough[np.argsort(-value[enough], kind="stable")[:MOST_ATOMS]])
    stay = [every[i] for i in kept]
    member = np.zeros((n, len(stay)), np.float32, order="F")
    for i, one in enumerate(stay):
        member[:, i] = inside((one,), binned)
    sums = Sums(*(part[kept] for part in sums))
    atoms = np.arange(len(stay))[:, None]
    return _Level(atoms, sums, value[kept], bound(sums, n, total, least)), stay, member


def _refined(
    parents: _Level, member: SingleArray, loss: FloatArray, column: IntArray, law: tuple[int, int, float, float]
) -> tuple[_Level, int]:
    """Slices with one condition more, on a column that is not yet in them."""
    least, n, total, floor = law
    both = np.ones((len(loss), len(parents.atoms)), np.float32, order="F")
    for atom in parents.atoms.T:
        both *= member[:, atom]
    failed = np.flatnonzero(loss > 0)
    size = (both.T @ member).astype(np.float64)
    some, rows = both[failed].T, member[failed]
    if (loss[failed] == loss[failed[0]]).all():
        errors = (some @ rows).astype(np.float64) * loss[failed[0]]
        squares = errors * loss[failed[0]]
    else:
        weight = loss[failed, None].astype(np.float32)
        errors = (some @ (rows * weight)).astype(np.float64)
        squares = (some @ (rows * np.square(weight))).astype(np.float64)
    allowed = size >= least
    for atom in parents.atoms.T:
        allowed &= column[atom][:, None] != column[None, :]
    allowed &= size < parents.sums.rows[:, None]
    who, atom = np.nonzero(allowed)
    atoms = np.sort(np.column_stack([parents.atoms[who], atom]), axis=1)
    atoms, at = np.unique(atoms, axis=0, return_index=True)
    who, atom = who[at], atom[at]
    sums = Sums(size[who, atom], errors[who, atom], squares[who, atom], parents.sums.most[who])
    made = _Level(atoms, sums, score(sums, n, total), bound(sums, n, total, least))
    return _part(made, np.flatnonzero(made.bound > floor)), len(atoms)


def _part(level: _Level, which: IntArray) -> _Level:
    return _Level(level.atoms[which], Sums(*(one[which] for one in level.sums)), level.score[which], level.bound[which])


def _slice(atoms: IntArray, every: list[Condition]) -> Slice:
    return tuple(sorted(every[i] for i in atoms.tolist()))


def _chosen(pool: list[Slice], known: list[Slice], binned: Codes, loss: FloatArray) -> list[Slice]:
    """Slices one after the other, each the best by the rows in none of those before; earlier names stay."""
    out: list[Slice] = []
    who = np.array([inside(one, binned) for one in pool]).reshape(len(pool), len(loss)).astype(np.float32)
    before = np.array([inside(one, binned) for one in known]).reshape(len(known), len(loss))
    left = np.ones(len(loss), np.bool_)
    for _ in range(MOST_SLICES):
        worth = _score_of(who, left, loss)
        best = int(worth.argmax()) if len(worth) else 0
        if not len(worth) or not worth[best] > 0:
            break
        pick = _simpler(pool[best], binned, loss)
        mine = inside(pick, binned)
        for i, old in enumerate(before):
            if known[i] not in out and (old & mine).sum() >= ALIKE * (old | mine).sum():
                pick, mine = known[i], old
                break
        out.append(pick)
        who[best] = 0
        left &= ~mine
    return out


def _simpler(group: Slice, binned: Codes, loss: FloatArray) -> Slice:
    """The slice without conditions that only keep out rows whose loss is nearer to its own than to the usual one."""
    while len(group) > 1:
        own = float(loss[inside(group, binned)].mean())
        without = [tuple(one for one in group if one != leave) for leave in group]
        more = [inside(one, binned) & ~inside(group, binned) for one in without]
        like = [float(loss[rows].mean()) if rows.any() else own for rows in more]
        best = int(np.argmax(like))
        if like[best] < (own + float(loss.mean())) / 2:
            break
        group = without[best]
    return group


def _score_of(who: SingleArray, left: NDArray[np.bool_], loss: FloatArray) -> FloatArray:
    """Scores of slices ``(s, n)`` by the rows that are ``left``; all rows say what is usual."""
    part = np.where(left, loss, 0.0).astype(np.float32)
    rows, errors, squares = ((who @ one).astype(np.float64) for one in (left.astype(np.float32), part, part * part))
    sums = Sums(rows, errors, squares, np.ones(len(rows)))
    return np.where(rows >= LEAST_ROWS / 2, score(sums, len(loss), float(loss.sum())), -np.inf)


def _judged(
    chosen: list[Slice], binned: Codes, loss: FloatArray, rng: np.random.Generator, tau: float
) -> tuple[Found, ...]:
    """Those of the slices that hold on rows that they were not found by, best score first."""
    left, fresh = np.ones(len(loss), np.bool_), []
    for one in chosen:
        mine = inside(one, binned)
        fresh.append(mine & left)
        left &= ~mine
    who = np.array(fresh).reshape(len(chosen), len(loss)).astype(np.float64)
    z = _z(who, loss[None, :])[:, 0] / np.sqrt(max(tau, 1.0))
    most = _largest(who, loss, rng)
    p = (1 + (most[None, :] >= z[:, None] - 1e-9).sum(axis=1)) / (1 + len(most))
    whole = np.array([inside(one, binned) for one in chosen]).reshape(who.shape).astype(np.float32)
    worth = _score_of(whole, np.ones(len(loss), np.bool_), loss)
    made = [
        Found(*one)
        for one in zip(chosen, p.tolist(), worth.tolist(), who.sum(axis=1).astype(int).tolist(), strict=True)
    ]
    return tuple(sorted((one for one in made if one.p <= LEVEL), key=lambda one: (-one.score, one.conditions)))


def _largest(who: FloatArray, loss: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The largest z of all slices in each permutation."""
    if not len(who):
        return np.zeros(0)
    out = []
    for start in range(0, PERMUTATIONS, _BLOCK):
        many = min(_BLOCK, PERMUTATIONS - start)
        shuffled = rng.permuted(np.broadcast_to(loss, (many, len(loss))), axis=1)
        out.append(_z(who, shuffled).max(axis=0))
    return np.concatenate(out)


def _z(who: FloatArray, loss: FloatArray) -> FloatArray:
    """Mean loss of slices ``(s, n)`` less that of all rows in standard errors ``(s, b)``, for losses ``(b, n)``."""
    n, rows = loss.shape[1], who.sum(axis=1)
    spread = loss.std(axis=1)
    some = np.maximum(rows, 1)
    error = np.sqrt(np.maximum(1 / some - 1 / n, 1 / n**2))
    apart = who @ loss.T / some[:, None] - loss.mean(axis=1)
    z = apart / error[:, None] / np.maximum(spread, 1e-300)
    return np.where((rows > 0)[:, None] & (spread > 0), z, -np.inf)
