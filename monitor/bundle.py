"""The support bundle: how an agent is set up and how it does, in one archive that may be given away.

No feature values, no names of senders or people, no secrets: `monitor.scrub` says what passes. The running agent makes
it, or where none runs it is made from the state folder alone; then there are neither metrics nor a log in it.
"""

from __future__ import annotations

import io
import json
import platform
import sys
import threading
import time
import traceback
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Final

from monitor import log, scrub
from monitor.archive import Archive
from monitor.config import Config, describe, fingerprint
from monitor.scrub import Marks
from monitor.yaml_text import read_yaml, write_yaml

MOST_FINDINGS: Final = 2_000
MOST_PANES: Final = 200
MOST_FILES: Final = 5_000
_README: Final = """Driftwarden support bundle

Left out on purpose: feature values, values of segments and labels, names of senders and of people, what people wrote,
tokens, and of each URL all but its scheme. Marks such as stream#2 stand for the same thing throughout this bundle.

Still in it: names of models, columns and receivers, paths of files (the agent's home as ~), and the addresses that it
listens on. Look through it before you give it away.

about.json          versions, machine, configuration's fingerprint
config.yaml         the effective configuration
columns.json        columns of each model's reference: kinds and roles
metrics.txt         /metrics, if an agent ran
timings.json        mean seconds of what takes time, from the metrics
log.jsonl           newest lines of the log, if an agent ran
threads.txt         what each thread was doing, if an agent ran
findings.jsonl      findings without what they name, except for monitored columns
history.jsonl       evidence of the newest panes of each stream
interventions.jsonl what was done, without by whom and why
files.json          files in the state folder with their sizes
"""


@dataclass(frozen=True, slots=True)
class Live:
    """What only a running agent knows: its metrics, its newest log lines, what its threads do."""

    metrics: str
    log: Iterable[Mapping[str, Any]] = ()
    threads: str = ""


def live(metrics: str) -> Live:
    """Of the very process that asks."""
    return Live(metrics, log.tail(), _threads())


def bundle(config: Config, archive: Archive | None, known: Live | None = None) -> bytes:
    """The archive (zip); without ``archive`` there is no state folder yet."""
    marks, out, columns = Marks(), io.BytesIO(), _columns(config)
    contents: dict[str, str] = {
        "README.txt": _README,
        "about.json": _json(_about(config)),
        "config.yaml": write_yaml(scrub.configuration(read_yaml(describe(config), "config"), marks)),
        "columns.json": _json(columns),
        "files.json": _json(_files(config.store.path)),
    }
    if archive is not None:
        contents |= {
            "findings.jsonl": _lines(_findings(archive, _monitored(columns), marks)),
            "history.jsonl": _lines(_history(archive, marks)),
            "interventions.jsonl": _lines(_interventions(archive)),
        }
    if known is not None:
        contents |= {
            "metrics.txt": "\n".join(scrub.metrics(known.metrics, marks)) + "\n",
            "timings.json": _json(timings(known.metrics)),
            "log.jsonl": _lines(scrub.log_lines(known.log)),
            "threads.txt": known.threads,
        }
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in contents.items():
            made.writestr(f"driftwarden-support/{name}", text)
    return out.getvalue()


def timings(metrics: str) -> dict[str, dict[str, float]]:
    """Of each histogram of seconds: how often, and the mean, by its labels but for streams."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples if family.name.endswith("_seconds") and family.type == "histogram" else ():
            part = sample.name.removeprefix(family.name)
            if part in ("_sum", "_count"):
                labels = ",".join(value for name, value in sorted(sample.labels.items()) if name != "stream")
                one = found.setdefault(f"{family.name}{{{labels}}}", {"_sum": 0.0, "_count": 0.0})
                one[part] += sample.value
    told = {name: one for name, one in found.items() if one["_count"]}
    return {name: {"count": one["_count"], "mean": one["_sum"] / one["_count"]} for name, one in told.items()}


def _about(config: Config) -> dict[str, Any]:
    return {
        "made": round(time.time(), 3),
        "driftwarden": _version("driftwarden"),
        "config": fingerprint(config),
        "python": sys.version,
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _packages()},
    }


def _packages() -> Iterator[str]:
    """What the agent depends on, without its extras."""
    try:
        wanted = requires("driftwarden") or []
    except PackageNotFoundError:
        wanted = []
    for one in wanted:
        if ";" not in one:
            yield one.split("<")[0].split(">")[0].split("=")[0].split("~")[0].strip()


def _version(name: str) -> str:
    try:
        return installed(name)
    except PackageNotFoundError:
        return "(not installed)"


def _columns(config: Config) -> dict[str, Any]:
    """Columns of the references that were measured: what they are, never what is in them."""
    from monitor import artefact
    from monitor.errors import DriftwardenError
    from monitor.loading import whereabouts
    from monitor.standing import Standing

    found: dict[str, Any] = {}
    for model in config.models:
        folder = config.store.path
        place = Standing(folder, model).place or whereabouts(model, folder / "references")
        try:
            told = None if place is None else artefact.read_manifest(place)
        except DriftwardenError as error:
            found[model.name] = {"error": type(error).__name__}
            continue
        if told is not None:
            named = ("name", "kind", "role", "arrow_type", "monitored")
            columns = [{name: one[name] for name in named} for one in told["plan"]["columns"]]
            found[model.name] = {"rows": told["rows"], "created": told["created"], "columns": columns}
    return found


def _files(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.rglob("*"))[:MOST_FILES]:
        try:
            status = path.stat()
        except OSError:  # it went meanwhile
            continue
        if path.is_file():
            name = str(path.relative_to(folder))
            found.append({"file": name, "bytes": status.st_size, "modified": round(status.st_mtime, 3)})
    return found


def _findings(archive: Archive, columns: frozenset[str], marks: Marks) -> Iterator[dict[str, Any]]:
    """Findings: their numbers, and the columns that they name; whatever else they name gets a mark."""
    for brief in archive.briefs(limit=MOST_FINDINGS):
        row = archive.finding(brief.id)
        if row is None:
            continue
        document = json.loads(row.document)
        plain = ("id", "model", "opened", "closed", "state", "severity", "triage", "failure_mode", "subject", "joins")
        numbers = ("pane", "since_pane", "since_time", "rows", "log_e", "threshold", "grid_id", "config_id")
        units = [
            {"unit": _unit(one["unit"], columns, marks), "detector": one["detector"]}
            | {name: one[name] for name in ("log_e", "effect", "effect_name", "effect_low", "effect_high")}
            for one in document["units"]
        ]
        line = {name: getattr(row, name) for name in (*plain, "detector", "muted")}
        line |= {name: document[name] for name in numbers if name in document}
        yield line | {"stream": marks("stream", row.stream), "units": units, "evidence_bytes": len(row.evidence)}


def _monitored(told: Mapping[str, Any]) -> frozenset[str]:
    models = told.values()
    return frozenset(one["name"] for model in models for one in model.get("columns", ()) if one["monitored"])


def _unit(unit: str, columns: frozenset[str], marks: Marks) -> str:
    return "*".join(part if part in columns else marks("unit", part) for part in str(unit).split("*"))


def _history(archive: Archive, marks: Marks) -> Iterator[dict[str, Any]]:
    for name in archive.histories():
        model, _, stream = name.partition("/")
        for one in archive.history(name, limit=MOST_PANES):
            told = {"model": model, "stream": marks("stream", stream), "pane": one.pane, "end": one.end}
            yield told | {"rows": one.rows, "log_e": one.log_e, "threshold": one.threshold}


def _interventions(archive: Archive) -> Iterator[dict[str, Any]]:
    for one in archive.interventions(limit=MOST_FINDINGS):
        told = {"id": one.id, "kind": one.kind, "model": one.model, "finding": one.finding, "time": one.time}
        yield told | {"until": one.until, "undone": one.undone, "target": sorted(one.target)}


def _threads() -> str:
    """Where each thread is: files, lines and functions, no values."""
    names = {one.ident: one.name for one in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - the documented way to see all threads
        parts.append(f"{names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}")
    return "\n".join(parts)


def _json(document: Any) -> str:
    return json.dumps(document, indent=1) + "\n"


def _lines(documents: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(one) + "\n" for one in documents)
