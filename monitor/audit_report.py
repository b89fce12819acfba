"""An audit for people and for programs: plain words, one JSON document, ranked rows as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from detectors.types import FloatArray, IntArray
from monitor.audit import HEURISTICS, Audit, Finding
from monitor.errors import AuditError

REASONS = {
    "label_disagreement": "label contradicts trusted rows nearby",
    "label_noise": "label contradicts confident probabilities",
    "spectral_signature": "far out in the direction in which its class spreads too far",
    "activation_clustering": "in the smaller group of a class that falls in two",
    "label_floods": "one of many copies, or of copies with other labels",
    "unlike_trusted": "unlike any trusted row: its label was not judged",
}
_BONUS = {"spectral_signature": 1.0, "activation_clustering": 1.0, "label_floods": 1.0}


def overall(found: Audit) -> FloatArray:
    """One score a row ``(n,)``: contradictions, and something more for each other heuristic that names the row.

    A row that cannot be judged because no trusted row is like it stands between those that agree and those that do not.
    """
    n = len(found.prepared.new.label)
    told = [found.scores[name].score for name in ("label_disagreement", "label_noise") if name in found.scores]
    total = np.sum([np.nan_to_num(one, nan=-2.0) for one in told], axis=0) if told else np.zeros(n)
    for name, bonus in _BONUS.items():
        if name in found.scores:
            total = total + bonus * found.scores[name].named
    if "unlike_trusted" in found.scores:
        total = np.where(found.scores["unlike_trusted"].named, np.maximum(total, 0.0), total)
    return np.asarray(total, np.float64)


def ranked(found: Audit) -> pa.Table:
    """All rows, the most suspicious first: score, rank, and score and rank by heuristic, with reasons."""
    new, classes = found.prepared.new, np.array([*found.prepared.classes, ""])
    score = overall(found)
    order = np.argsort(-score, kind="stable")
    columns: dict[str, Any] = {
        "row": np.arange(len(score)),
        "rank": _ranks(score),
        "score": score,
        "label": pa.array(classes[new.label], mask=new.label < 0),
        "looks_like": pa.array(classes[found.looks], mask=found.looks < 0),
        "source": pa.array(np.array([*new.sources, ""])[new.source], mask=new.source < 0),
        "reasons": _reasons(found),
    }
    for name in HEURISTICS:
        if name in found.scores:
            mine = found.scores[name].score
            columns[f"{name}_score"] = pa.array(mine, mask=np.isnan(mine))
            columns[f"{name}_rank"] = pa.array(_ranks(mine), mask=np.isnan(mine))
    return pa.table(columns).take(pa.array(order))


def _ranks(score: FloatArray) -> IntArray:
    """1 for the highest; rows that were not looked at come last."""
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")
    ranks = np.empty(len(score), np.int64)
    ranks[order] = np.arange(1, len(score) + 1)
    return ranks


def _reasons(found: Audit) -> pa.Array:
    out: list[list[str]] = [[] for _ in found.prepared.new.label]
    for name in HEURISTICS:
        if name in found.scores:
            for i in np.flatnonzero(found.scores[name].named):
                out[i].append(REASONS[name])
    return pa.array(["; ".join(one) for one in out], pa.string())


def write(found: Audit, path: Path) -> None:
    """Write the ranked rows; `AuditError` if that cannot be done."""
    try:
        pq.write_table(ranked(found), path)
    except OSError as error:
        raise AuditError(f"--out: {path}: cannot be written: {error.strerror}; choose another place") from None


def document(found: Audit, out: Path | None = None) -> dict[str, Any]:
    """For programs."""
    prepared = found.prepared
    return {
        "suspicious": found.suspicious,
        "rows": len(prepared.new.label),
        "trusted_rows": 0 if prepared.trusted is prepared.new else len(prepared.trusted.label),
        "classes": list(prepared.classes),
        "space": prepared.space,
        "level": found.level,
        "findings": [_entry(one) for one in found.findings],
        "looked_at": found.looked,
        "not_looked_at": found.skipped,
        "notes": [*prepared.notes, *found.notes],
        "rows_without_label": int((prepared.new.label < 0).sum() - prepared.new.unknown.sum()),
        "rows_with_unknown_label": int(prepared.new.unknown.sum()),
        "ranked": None if out is None else str(out),
    }


def _entry(one: Finding) -> dict[str, Any]:
    return {
        "heuristic": one.heuristic,
        "about": one.about,
        "sentence": one.sentence,
        "rows": one.rows,
        "hits": one.hits,
        "share": round(one.share, 6),
        "share_low": round(one.interval[0], 6),
        "share_high": round(one.interval[1], 6),
        "expected_share": None if np.isnan(one.expected) else round(one.expected, 6),
        "evidence": {"kind": f"log_{one.by}", "value": round(one.log_evidence * (1 if one.by == "e" else -1), 3)},
    }


def print_audit(found: Audit, out: Path | None) -> None:
    """Say what was looked at, what could not be and why, what was found, and which rows to look at first."""
    console = Console(width=None if Console().is_terminal else 160)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    told = document(found)
    base = (
        f"{told['trusted_rows']:,} trusted rows" if told["trusted_rows"] else "each other (no trusted rows were given)"
    )
    say(f"{told['rows']:,} rows of {len(told['classes'])} classes compared with {base} by {told['space']}")
    say("\nlooked at:")
    for name, text in found.looked.items():
        say(f"  {name}: {text}")
    say("not looked at:")
    for text in _missing(found, told):
        say(f"  {text}")
    for note in told["notes"]:
        say(f"note: {note}")
    say("")
    for one in found.findings:
        say(f"suspicious: {_worded(one)}")
    if not found.findings:
        say(f"nothing suspicious (at most {found.level:.0%} of audits of clean rows say otherwise)")
    _first(found, say)
    if out is not None:
        say(f"ranked rows written to {out}")


def _missing(found: Audit, told: dict[str, Any]) -> list[str]:
    """What could not be looked at, and why."""
    lines = [f"{name}: {text}" for name, text in found.skipped.items()]
    if told["rows_without_label"]:
        lines.append(f"{told['rows_without_label']:,} rows without a label")
    if told["rows_with_unknown_label"]:
        lines.append(f"{told['rows_with_unknown_label']:,} rows with a label that the trusted rows do not have")
    lines.append("poison with right labels that leaves rows where their class lies: no audit of this kind sees it")
    return lines


def _worded(one: Finding) -> str:
    low, high = one.interval
    expected = "" if np.isnan(one.expected) else f", {one.expected:.1%} expected"
    size = f"{one.hits:,} of {one.rows:,} rows, {one.share:.1%} ({low:.1%} to {high:.1%}){expected}"
    evidence = f"{one.by} = 1e{(1 if one.by == 'e' else -1) * one.log_evidence / np.log(10):.0f}"
    return f"{one.about}: {one.sentence} [{size}; {one.heuristic}, {evidence}]"


def _first(found: Audit, say: Any) -> None:
    if not found.findings:
        return
    top = ranked(found).slice(0, 5).select(["row", "label", "looks_like", "reasons"]).to_pylist()
    say("\nlook first at rows (counted from 0):")
    for one in top:
        say(f"  {one['row']}: label {one['label']}, looks like {one['looks_like']}: {one['reasons']}")


def dumped(found: Audit, out: Path | None) -> str:
    """The document as JSON."""
    return json.dumps(document(found, out), allow_nan=False)
