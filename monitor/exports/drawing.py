"""Kept rows to label so that few labels say how often the model is wrong: drawn by chance, with the odds stated.

Rows are drawn by predicted error and by whether those that predict it disagree (`detectors.slices.sampling`); both have
been learnt from the labelled rows of the reference. The file has a column for the labels; `estimated` reads it again.
"""

from __future__ import annotations

import secrets
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import pyarrow as pa

from detectors.slices import predicted, sampling
from detectors.slices.predicted import Chance, ErrorFixed
from detectors.types import Block, FloatArray, SingleArray
from monitor.decode import Decoded
from monitor.errors import NothingThere
from monitor.exports import table
from monitor.exports.ground import Ground
from monitor.exports.labelling import doubts, unlabelled
from monitor.exports.pool import Piece, Pool
from monitor.exports.senders import outside
from monitor.outcomes.answers import Answers
from monitor.outcomes.bins import trusted
from monitor.outcomes.said import Said

CANDIDATES: Final = 100_000
"""Rows without a label among which is drawn; of more an even sample, whose own error is then left out."""


class Guess(NamedTuple):
    """What predicts errors, and how rows are encoded for it; ``fixed`` is None where the reference has no labels."""

    ground: Ground
    answers: Answers
    fixed: ErrorFixed | None

    def of(self, some: Decoded) -> Chance:
        """Of each row the chance that it is wrong; the model's own doubt where nothing has been learnt."""
        doubt = doubts(self.ground.reader.rows(some))
        if self.fixed is None:
            return Chance(doubt, np.full(len(doubt), np.nan))
        return predicted.chance(self.fixed, _seen(self.ground, some.block, self.answers.said(some.block), doubt))


def write(ground: Ground, out: BinaryIO) -> dict[str, Any]:
    """The rows; ids and times alone for those who may not see values."""
    seed = secrets.randbits(63)  # nobody may foresee which rows are looked at
    rng = np.random.default_rng(seed)
    guess = learnt(ground, rng)
    pool, labelled = _offered(ground, guess, rng)
    pieces = pool.pieces()
    if not pieces:
        raise NothingThere("no kept rows of this span are without a label; ask for another span, or keep more rows")
    chance = np.concatenate([one.places for one in pieces]).astype(np.float64)
    shares = guess.answers.kind != "regression"
    drawn = sampling.draw(chance[:, 0], chance[:, 1], ground.asked.rows, rng, shares=shares)
    shown = table.joined(one.shown for one in pieces).take(pa.array(drawn.rows))
    facts = {
        "rows": len(drawn.rows),
        "candidates": len(chance),
        "unlabelled_rows": pool.offered,
        "labelled_rows": labelled,
        "predicted_error_auroc": _known(None if guess.fixed is None else float(guess.fixed.auroc)),
        "expected_loss": _known(float(np.nanmean(chance[:, 0])) if np.isfinite(chance[:, 0]).any() else None),
        "seed": seed,
    }
    columns = _columns(drawn, chance, pool.offered / len(chance))
    label = pa.nulls(len(drawn.rows), pa.string() if shares else pa.float64())
    table.write(table.beside({**columns, "label": label}, shown), ground.about | facts, out)
    return facts


def learnt(ground: Ground, rng: np.random.Generator) -> Guess:
    """Learn from the reference which rows are answered wrong, if it says so and they are right or wrong."""
    answers = Answers(ground.fitted)
    if answers.kind in (None, "regression"):
        return Guess(ground, answers, None)
    known = trusted(ground.fitted, answers)
    if len(np.unique(known.loss[np.isfinite(known.loss)])) < 2:
        return Guess(ground, answers, None)
    doubt = doubts(ground.reader.rows(ground.trusted))
    rows = _seen(ground, known.block, known.said, doubt)
    units = np.array([one for encoder in ground.places.encoders for one in encoder.unit], np.int64)
    return Guess(ground, answers, predicted.fit(rows, np.append(units, [-1, -1]), known.loss, rng))


def _seen(ground: Ground, block: Block, said: Said, doubt: FloatArray) -> SingleArray:
    """Inputs, how unsure the model is, and its answer ``(n, d + 2)``."""
    unsure = doubt if said.score is None else np.minimum(said.score, 1 - said.score)
    with np.errstate(over="ignore", invalid="ignore"):
        beside = np.stack([unsure, said.prediction], axis=1).astype(np.float32)
    return np.hstack([ground.places.of(block), beside])


def _offered(ground: Ground, guess: Guess, rng: np.random.Generator) -> tuple[Pool, int]:
    """Rows without a label with their chances to be wrong, and how many have one; nothing of what is in quarantine."""
    pool, labelled = Pool(CANDIDATES, rng), 0
    for some in outside(ground):
        wanted, chance = unlabelled(ground, some), guess.of(some)
        answer = guess.answers.said(some.block).prediction
        mine = {"answer": _told(guess.answers, answer)} if ground.asked.values else {}
        shown = table.beside(mine, ground.shown(some.batch))
        pool.add(Piece(np.stack(chance, axis=1).astype(np.float32), chance.wrong, shown).some(wanted))
        labelled += int((~wanted).sum())
    return pool, labelled


def _told(answers: Answers, prediction: FloatArray) -> pa.Array:
    """Answers as the labels are written: names of classes, or numbers."""
    if answers.kind == "regression":
        return pa.array(prediction, mask=np.isnan(prediction))
    names = {float(code): name for name, code in answers.codes.items()}
    return pa.array([names.get(one) for one in prediction.tolist()], pa.string())


def _columns(drawn: sampling.Draw, chance: FloatArray, times: float) -> dict[str, Any]:
    """What `estimated` needs of each row; each candidate stands for so many ``times`` rows."""
    stratum = drawn.stratum
    return {
        "probability": drawn.probability / times,
        "stratum": stratum,
        "stratum_rows": np.rint(drawn.sizes[stratum] * times).astype(np.int64),
        "stratum_drawn": drawn.taken[stratum],
        "predicted_error": chance[drawn.rows, 0],
        "disagreement": chance[drawn.rows, 1],
    }


def _known(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
