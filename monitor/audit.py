"""Is a candidate training set fit to be used? Its rows against trusted ones, heuristic by heuristic.

What is decided is decided by evidence at one level for the whole audit, an equal part for each heuristic that could
look: where nothing is wrong at most that share of audits says "suspicious". Shares removed or flagged are never fixed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.poisoning import clusters, doubt, floods, labels, noise, rates, spectral
from detectors.types import FloatArray, IntArray
from monitor.audit_data import Prepared, Side
from monitor.errors import AuditError

LEVEL = 0.01
"""Share of audits of clean rows that may say "suspicious"."""
HEURISTICS = (
    "label_disagreement",
    "label_noise",
    "spectral_signature",
    "activation_clustering",
    "label_floods",
    "unlike_trusted",
)
_AT_ONCE = 4_096
_LEAST_SOURCE = 20
"""A source with fewer rows is not asked by itself."""
_HINT = 0.05
"""What is less sure than the audit's level is said as a note up to here."""
_STRANGE_SHARE = 0.01
"""So many rows unlike any trusted one are usual."""


@dataclass(frozen=True)
class Finding:
    """Something suspicious: ``about`` is "all rows", "class C" or "source S"; ``chosen`` are the rows it is told by.

    ``share`` of the rows looked at, its 95 % interval, and the share ``expected`` by the trusted rows (NaN: no such
    figure); ``log_evidence`` is a log e-value, or -log p with ``by`` "p".
    """

    heuristic: str
    about: str
    sentence: str
    rows: int
    hits: int
    share: float
    interval: tuple[float, float]
    expected: float
    log_evidence: float
    by: str


@dataclass
class Scores:
    """What one heuristic says of each row: its ``score (n,)``, NaN where it did not look, and the rows it names."""

    score: FloatArray
    named: NDArray[np.bool_]


@dataclass
class Audit:
    """The outcome; ``looked`` and ``skipped`` are sentences by heuristic, ``scores`` by heuristic.

    ``moved``: most classes lie elsewhere than trusted rows of them, which is a shift and no poison of a class.
    """

    prepared: Prepared
    level: float
    findings: list[Finding] = field(default_factory=list)
    looked: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    scores: dict[str, Scores] = field(default_factory=dict)
    moved: bool = False
    looks: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def suspicious(self) -> bool:
        """Whether anything was found."""
        return bool(self.findings)


def audit(prepared: Prepared, rng: np.random.Generator, level: float = LEVEL) -> Audit:
    """Compare; `AuditError` if the trusted rows are too few to judge anything."""
    out = Audit(prepared, level, looks=np.full(len(prepared.new.label), -1))
    part = level / len(HEURISTICS)
    _labels(out, rng, part)
    _noise(out, part)
    _spectra(out, rng, part)
    _clusters(out, rng, part)
    _floods(out, part)
    return out


def _itself(out: Audit) -> bool:
    return out.prepared.trusted is out.prepared.new


def _labels(out: Audit, rng: np.random.Generator, level: float) -> None:
    """H17 and the rows that are unlike trusted ones."""
    new, trusted, classes = out.prepared.new, out.prepared.trusted, out.prepared.classes
    try:
        fixed = labels.fit(trusted.z, trusted.label, len(classes), rng)
    except ValueError as error:
        raise AuditError(f"--reference: {error}; {labels.LEAST_ROWS} with a label and all inputs are needed") from None
    judge = labels.judge_itself if _itself(out) else labels.judge
    if _itself(out):
        judged = [judge(fixed, new.z, new.label)]
    else:
        cuts = range(0, len(new.label), _AT_ONCE)
        judged = [judge(fixed, new.z[s : s + _AT_ONCE], new.label[s : s + _AT_ONCE]) for s in cuts]
    doubts = doubt.Doubts(*(np.concatenate(parts) for parts in zip(*(one.doubts for one in judged), strict=True)))
    strange = np.concatenate([one.strange for one in judged])
    out.looks = np.where(doubts.known, doubts.looks, -1)
    named = doubts.known & doubts.wrong & (doubts.p <= level)
    out.scores["label_disagreement"] = Scores(np.where(doubts.known, doubts.score, np.nan), named)
    agree = 1 - fixed.ruler.hits.sum() / fixed.ruler.size.sum()
    who = "the other rows" if _itself(out) else f"{len(fixed.rows):,} trusted rows"
    out.looked["label_disagreement"] = (
        f"the labels of {int(doubts.known.sum()):,} rows against those that {who} nearby have "
        f"(these agree with each other in {agree:.1%})"
    )
    _hygiene(out, fixed)
    _asked(out, "label_disagreement", fixed.ruler, doubts, level)
    _strange(out, strange, len(fixed.rows), level)


def _hygiene(out: Audit, fixed: labels.LabelsFixed) -> None:
    """What the trusted rows' own labels are worth."""
    mine = doubt.read(fixed.ruler, fixed.loo, fixed.label)
    for c, name in enumerate(out.prepared.classes):
        own = fixed.label == c
        if own.sum() < labels.LEAST_ROWS:
            out.notes.append(f"class {name}: {int(own.sum())} trusted rows, too few to say much of its labels")
        elif mine.wrong[own].mean() > 0.5:
            out.notes.append(
                f"class {name}: most trusted rows of it look like other classes; its labels can hardly be judged by "
                f"{out.prepared.space}"
            )


def _strange(out: Audit, strange: NDArray[np.bool_], trusted: int, level: float) -> None:
    if _itself(out):
        out.skipped["unlike_trusted"] = "no trusted rows were given (--reference)"
        return
    placed = np.isfinite(out.prepared.new.z).all(axis=1)
    rows, hits = int(placed.sum()), int(strange.sum())
    usual = np.array(labels.STRANGE * trusted)
    bounds = np.maximum(rates.bound(usual, np.array(trusted)), _STRANGE_SHARE).reshape(1)
    log_e = float(rates.log_e(np.array([[hits]]), np.array([[rows]]), bounds)[0])
    out.scores["unlike_trusted"] = Scores(strange.astype(np.float64), strange)
    out.looked["unlike_trusted"] = f"{hits:,} of {rows:,} rows are unlike any trusted row: their labels were not judged"
    if log_e >= -np.log(level):
        sentence = "rows unlike any trusted row: trusted rows cannot judge their labels, look at them before use"
        out.findings.append(_finding("unlike_trusted", "all rows", sentence, rows, hits, labels.STRANGE, log_e))


def _noise(out: Audit, level: float) -> None:
    """H18."""
    new, trusted = out.prepared.new, out.prepared.trusted
    if new.probabilities is None or trusted.probabilities is None:
        where = "--probabilities was not given" if new.probabilities is None else "the reference has no probabilities"
        out.skipped["label_noise"] = f"{where}: no model's opinion of these rows"
        return
    try:
        fixed = noise.fit(trusted.probabilities, trusted.label)
    except ValueError as error:
        out.skipped["label_noise"] = str(error)
        return
    doubts, off = noise.judge(fixed, new.probabilities, new.label)
    out.scores["label_noise"] = Scores(np.where(doubts.known, doubts.score, np.nan), off & (doubts.p <= level))
    out.looked["label_noise"] = (
        f"the labels of {int(doubts.known.sum()):,} rows against the probabilities given (of use only if their model "
        "was not trained on these labels)"
    )
    _asked(out, "label_noise", fixed.ruler, doubts, level)


class _Question(NamedTuple):
    """One thing that may be poisoned: its name, its rows ``(n,)``, the evidence, and the share of hits expected."""

    kind: str
    about: str
    mine: NDArray[np.bool_]
    log_e: float
    expected: float


def _asked(out: Audit, heuristic: str, ruler: doubt.Ruler, doubts: doubt.Doubts, level: float) -> None:
    """Contradictions of all rows, of labels of each class, and of each source, at one level together."""
    questions = _questions(out.prepared, ruler, doubts)
    if not questions:
        out.skipped[heuristic] = "no row has both a label and all that is needed to judge it"
        out.looked.pop(heuristic, None)
        return
    found = rates.discoveries(np.array([one.log_e for one in questions]), level)
    sources = np.array([one.kind == "source" for one in questions])
    if sources.sum() > 1 and found[sources].all():
        found &= ~sources
        out.notes.append(f"{heuristic}: all {int(sources.sum())} sources alike contradict the trusted rows")
    for k in np.flatnonzero(found):
        one = questions[k]
        rows, hits = int((one.mine & doubts.known).sum()), int((one.mine & doubts.wrong).sum())
        sentence = _contradicting(out, one, doubts)
        out.findings.append(_finding(heuristic, one.about, sentence, rows, hits, one.expected, one.log_e))


def _questions(prepared: Prepared, ruler: doubt.Ruler, doubts: doubt.Doubts) -> list[_Question]:
    new = prepared.new
    everything = np.ones(len(new.label), bool)
    whole = doubt.count(ruler, doubts, new.label, everything)
    size = int(whole.size.sum())
    if not size:
        return []
    usual = doubt.expected(ruler, whole) / size
    out = [_Question("all", "all rows", everything, doubt.evidence(ruler, whole), usual)]
    into = (ruler.into / np.maximum(ruler.others, 1) * whole.others).sum(axis=0)
    for c, log_e in enumerate(doubt.evidence_into(ruler, whole)):
        mine = np.asarray(new.label == c, bool)
        labelled = max(int((mine & doubts.known).sum()), 1)
        out.append(_Question("class", f"class {prepared.classes[c]}", mine, float(log_e), float(into[c]) / labelled))
    for s in np.flatnonzero(np.bincount(new.source[new.source >= 0]) >= _LEAST_SOURCE):
        mine = np.asarray(new.source == s, bool)
        counts = doubt.count(ruler, doubts, new.label, mine)
        usual = doubt.expected(ruler, counts) / max(int(counts.size.sum()), 1)
        by = doubt.without(ruler, whole, counts) if prepared.trusted is new else ruler
        evidence = doubt.evidence_of_source(by, counts)
        out.append(_Question("source", f"source {new.sources[int(s)]}", mine, evidence, usual))
    return out


def _contradicting(out: Audit, one: _Question, doubts: doubt.Doubts) -> str:
    """What the contradicting rows have in common."""
    classes, mine = out.prepared.classes, one.mine & doubts.wrong
    given, looks = (np.bincount(x[mine], minlength=len(classes)) for x in (out.prepared.new.label, doubts.looks))
    a, b = int(looks.argmax()), int(given.argmax())
    if one.kind == "class":
        most = f"{looks[a] / max(looks.sum(), 1):.0%} of these rows look like class {classes[a]}"
    else:
        most = f"{given[b] / max(given.sum(), 1):.0%} of these are labelled {classes[b]}"
    return f"labels contradict trusted rows; {most}"


def _spectra(out: Audit, rng: np.random.Generator, level: float) -> None:
    """H19, class by class."""
    if _itself(out):
        out.skipped["spectral_signature"] = "no trusted rows were given (--reference)"
        return
    new, trusted, classes = out.prepared.new, out.prepared.trusted, out.prepared.classes
    score, named = np.full(len(new.label), np.nan), np.zeros(len(new.label), bool)
    done, few, told = 0, list[str](), list[Finding]()
    for c, name in enumerate(classes):
        mine, base = _of_class(new, c), _of_class(trusted, c)
        found = spectral.spectrum(spectral.null_of(trusted.z[base], len(mine), rng), new.z[mine])
        if np.isnan(found.log_p):
            few.append(name)
            continue
        done += 1
        score[mine] = found.tau
        if found.log_p + np.log(len(classes)) <= np.log(level):
            named[mine] = found.tau > 1
            sentence = f"rows spread {found.ratio:.1f} times as far in one direction as trusted rows: some lie apart"
            told.append(_apart("spectral_signature", name, sentence, found.tau > 1, 0.01, found.log_p))
    if len(told) > max(done / 2, 1):
        out.moved, named[:] = True, False
        out.notes.append(
            "rows of most classes spread further than trusted ones: inputs have moved, whatever the labels"
        )
    else:
        out.findings += told
    _said(out, "spectral_signature", done, few, "the directions in which rows of {} spread")
    out.scores["spectral_signature"] = Scores(score, named)


def _apart(
    heuristic: str, name: str, sentence: str, apart: NDArray[np.bool_], expected: float, log_p: float
) -> Finding:
    return _finding(heuristic, f"class {name}", sentence, len(apart), int(apart.sum()), expected, -log_p, "p")


def _of_class(side: Side, c: int) -> IntArray:
    return np.flatnonzero((side.label == c) & np.isfinite(side.z).all(axis=1))


def _said(out: Audit, heuristic: str, done: int, few: list[str], what: str) -> None:
    if done:
        out.looked[heuristic] = what.format(f"{done} classes")
    if few:
        out.skipped[heuristic] = f"too few rows, or too few trusted ones, of class {', '.join(few)}"


def _clusters(out: Audit, rng: np.random.Generator, level: float) -> None:
    """H20, class by class."""
    new, trusted, classes = out.prepared.new, out.prepared.trusted, out.prepared.classes
    placed = np.asarray(np.isfinite(new.z).all(axis=1), bool)
    z, label = np.where(placed[:, None], new.z, 0), np.where(placed, new.label, -1)
    if _itself(out):
        found = clusters.clusters(z, label, len(classes))
    else:
        pairs = [(_of_class(trusted, c), _of_class(new, c)) for c in range(len(classes))]
        nulls = [clusters.null_of(trusted.z[base], len(mine), rng) for base, mine in pairs]
        found = clusters.clusters_against(nulls, z, label)
    done = np.isfinite(found.log_p)
    named = np.zeros(len(label), bool)
    sure = done & (found.log_p + np.log(len(classes)) <= np.log(level)) & (not out.moved)
    for c in np.flatnonzero(sure):
        mine = np.asarray(label == c, bool)
        named |= mine & found.smaller
        sentence = f"rows fall into two groups (silhouette {found.silhouette[c]:.2f}), the smaller one lies apart"
        small = found.smaller[mine]
        log_p = float(found.log_p[c])
        out.findings.append(_apart("activation_clustering", classes[c], sentence, small, np.nan, log_p))
    hints = np.flatnonzero(done & (found.log_p + np.log(len(classes)) <= np.log(_HINT)) & ~sure)
    for c in hints:
        p = np.exp(found.log_p[c]) * len(classes)
        out.notes.append(f"class {classes[c]} falls into two groups a little more clearly than others do (p = {p:.2g})")
    few = [name for name, fine in zip(classes, done, strict=True) if not fine]
    against = "the other classes" if _itself(out) else "trusted rows"
    _said(out, "activation_clustering", int(done.sum()), few, f"groups inside {{}}, compared with {against}")
    out.scores["activation_clustering"] = Scores(np.where(placed, found.smaller, np.nan), named)


def _floods(out: Audit, level: float) -> None:
    """Copies, and copies with other labels."""
    new, trusted = out.prepared.new, out.prepared.trusted
    placed = np.asarray(np.isfinite(new.z).all(axis=1), bool)
    found = floods.floods(new.digest, new.label, new.digest[:0] if _itself(out) else trusted.digest)
    out.scores["label_floods"] = Scores(found.copies.astype(np.float64), np.zeros(len(new.label), bool))
    if _itself(out):
        out.skipped["label_floods"] = "how often an input comes can only be judged by trusted rows (--reference)"
        return
    out.looked["label_floods"] = f"copies of the same input among {int(placed.sum()):,} rows"
    hit = placed & (found.log_p <= np.log(level / 2))
    out.scores["label_floods"].named |= hit
    for group in np.unique(found.group[hit])[:20]:
        mine = found.group == group
        who = _who(new, mine)
        sentence = f"one input {int(mine.sum()):,} times, far more often than among trusted rows{who}"
        log_p = float(found.log_p[mine][0])
        out.findings.append(
            _finding("label_floods", "all rows", sentence, len(mine), int(mine.sum()), np.nan, -log_p, "p")
        )
    own = floods.floods(trusted.digest, trusted.label, trusted.digest)
    bounds = rates.bound(np.array([own.conflict.sum()]), np.array([len(own.conflict)]))
    log_e = float(rates.log_e(np.array([[found.conflict.sum()]]), np.array([[len(new.label)]]), bounds)[0])
    if log_e >= -np.log(level / 2):
        out.scores["label_floods"].named |= found.conflict
        expected = float(own.conflict.mean())
        sentence = f"the same input with different labels{_who(new, found.conflict)}"
        rows, hits = len(new.label), int(found.conflict.sum())
        out.findings.append(_finding("label_floods", "all rows", sentence, rows, hits, expected, log_e))


def _who(side: Side, mine: NDArray[np.bool_]) -> str:
    """The source of most of the rows."""
    named = side.source[mine & (side.source >= 0)]
    if not len(named):
        return ""
    most = int(np.bincount(named).argmax())
    return f" ({np.mean(named == most):.0%} of them by source {side.sources[most]})"


def _finding(
    heuristic: str, about: str, sentence: str, rows: int, hits: int, expected: float, evidence: float, by: str = "e"
) -> Finding:
    low, high = rates.interval(np.array(hits), np.array(rows))
    share = hits / max(rows, 1)
    return Finding(heuristic, about, sentence, rows, hits, share, (float(low), float(high)), expected, evidence, by)
