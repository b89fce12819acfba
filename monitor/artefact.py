"""The measured reference on disk: a folder of six or seven files, portable, without pickle, verified when read.

`manifest.json` holds the format version, the SHA-256 of the other files, the plan and all names; `arrays.npz` the
numbers; `views.npz` the encoders and samples of the joint views, with what the default detectors measured on them;
`security.npz` what single rows, senders and labels are held against; `outcomes.npz`, where the reference has labels,
what estimates of the performance are made from;
`vocabularies.arrow` and `sample.arrow` are Arrow IPC files. A folder is written beside its place and renamed into it,
so that a reader sees a whole one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from detectors.grid import BINS, CELLS, SLOTS, Grid
from detectors.multivariate.encode import ColumnsEncoder, VectorEncoder
from detectors.rows.encoder import ScoreEncoder
from detectors.strata import Strata
from detectors.types import Reference, Sample, Summary, View
from monitor import arrays as npz
from monitor.errors import ReferenceError_, StoreError
from monitor.fitted import Fitted, Segments
from monitor.prepared import deep, flat, rebuilt, under
from monitor.schema import Plan

FORMAT = 3
"""Raised when the files change their meaning; a reader refuses other numbers."""
MANIFEST = "manifest.json"
_ARRAYS, _VIEWS, _SECURITY = "arrays.npz", "views.npz", "security.npz"
_WORDS, _SAMPLE = "vocabularies.arrow", "sample.arrow"
_FILES = (_ARRAYS, _VIEWS, _SECURITY, _WORDS, _SAMPLE)
_OUTCOMES = "outcomes.npz"
"""Only where there are labels: what estimates of the performance are made from."""
_GRID = ("centre", "scale", "lut", "edges", "centres", "used", "open_vocabulary", "ordered")
_SUMMARY = ("numeric", "codes", "missing", "nonfinite", "new", "faults", "sums", "mix")
_ENCODERS: dict[str, type[Any]] = {"columns": ColumnsEncoder, "vector": VectorEncoder, "scores": ScoreEncoder}


def write(fitted: Fitted, directory: Path | str) -> None:
    """Write or replace the artefact; `ReferenceError_` if the folder holds something else or cannot be written."""
    target = Path(directory)
    if target.exists() and not _is_ours(target):
        raise ReferenceError_(f"{target}: is not empty and not an artefact; choose another folder for the artefact")
    contents = {
        _ARRAYS: _pack(fitted),
        _VIEWS: _pack_views(fitted.reference.views),
        _SECURITY: npz.pack(fitted.security),
        _WORDS: _ipc(_words(fitted)),
        _SAMPLE: _ipc(fitted.sample),
    }
    if fitted.outcomes:
        contents[_OUTCOMES] = npz.pack(fitted.outcomes)
    contents[MANIFEST] = json.dumps(_manifest(fitted, contents), indent=1, ensure_ascii=False).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            for name, content in contents.items():
                _store(fresh / name, content)
            _swap(fresh, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise ReferenceError_(f"{target}: cannot be written: {error.strerror}; check space and permissions") from None


def load(directory: Path | str) -> Fitted:
    """Read an artefact and verify every part of it; `ReferenceError_` names the file that is missing or damaged."""
    folder = Path(directory)
    manifest = read_manifest(folder)
    listed = (*_FILES, *([_OUTCOMES] if _OUTCOMES in manifest["files"] else []))
    contents = {name: _verified(folder / name, manifest) for name in listed}
    with _blame(folder / _ARRAYS):
        arrays = _unpack(contents[_ARRAYS])
    with _blame(folder / MANIFEST):
        plan = Plan.of(manifest["plan"])
        grid = Grid(
            numeric_names=tuple(manifest["numeric"]),
            code_names=tuple(manifest["categorical"]),
            labels=tuple(tuple(names) for names in manifest["labels"]),
            vectors=tuple((str(name), int(length)) for name, length in manifest["vectors"]),
            strata=() if plan.strata is None else plan.strata.names,
            **{name: arrays[f"grid_{name}"] for name in _GRID},
        )
        rows, created = int(manifest["rows"]), float(manifest["created"])
        notes = tuple(manifest["notes"])
    if grid.id != manifest.get("grid") or not _fits(grid, arrays):
        raise _damaged(folder / MANIFEST, "its names and arrays do not belong together")
    summary = Summary(grid.id, rows, **{name: arrays[f"summary_{name}"] for name in _SUMMARY})
    with _blame(folder / _WORDS):
        words = _batch(contents[_WORDS])
        vocabularies = {name: words.column(name).values for name in grid.code_names}
    with _blame(folder / _SAMPLE):
        sample = _batch(contents[_SAMPLE])
    with _blame(folder / MANIFEST):
        segments = _segments(grid.id, manifest["segments"], arrays)
        strata = _strata(grid, plan, manifest["strata_rows"], arrays)
    with _blame(folder / _VIEWS):
        views = _unpack_views(manifest["views"], npz.unpack(contents[_VIEWS]))
    reference = Reference(grid, summary, arrays["tau"], arrays["tau_missing"], strata, views)
    with _blame(folder / _SECURITY):
        security = npz.unpack(contents[_SECURITY])
    with _blame(folder / _OUTCOMES):
        outcomes = npz.unpack(contents[_OUTCOMES]) if _OUTCOMES in contents else {}
    return Fitted(plan, reference, vocabularies, sample, rows, created, notes, segments, security, outcomes)


def _segments(grid_id: str, listed: list[list[Any]], arrays: dict[str, Any]) -> Segments:
    """Summaries of segments, stacked in the order in which the manifest lists them."""
    found: dict[str, dict[str, Summary]] = {}
    for i, (column, value, rows) in enumerate(listed):
        parts = {name: arrays[f"segments_{name}"][i] for name in _SUMMARY}
        found.setdefault(str(column), {})[str(value)] = Summary(grid_id, int(rows), **parts)
    return found


def _strata(grid: Grid, plan: Plan, rows: list[int], arrays: dict[str, Any]) -> Strata | None:
    if plan.strata is None:
        return None
    parts = [
        Summary(grid.id, int(number), **{name: arrays[f"strata_{name}"][i] for name in _SUMMARY})
        for i, number in enumerate(rows)
    ]
    if len(parts) != len(grid.strata):
        raise ValueError("a stratum is missing")
    return Strata(tuple(parts), plan.strata.parents, np.isin(grid.names, plan.strata.columns), plan.strata.hours)


def _pack_views(views: tuple[View, ...]) -> bytes:
    """Encoders and samples, not compressed: numbers like these hardly shrink."""
    arrays: dict[str, Any] = {}
    for i, view in enumerate(views):
        if not isinstance(view.encoder, tuple(_ENCODERS.values())):
            raise TypeError(f"view {view.name} has an encoder that cannot be stored: {type(view.encoder).__name__}")
        arrays |= flat({f"{i}/encoder": view.encoder, f"{i}/sample": view.sample})
        arrays |= {f"{i}/measured/{path}": array for path, array in flat(view.measured).items()}
    return npz.pack(arrays)


def _unpack_views(listed: list[dict[str, Any]], arrays: dict[str, Any]) -> tuple[View, ...]:
    views = []
    for i, said in enumerate(listed):
        encoder = rebuilt(_ENCODERS[said["kind"]], under(f"{i}/encoder", arrays))
        sample = rebuilt(Sample, under(f"{i}/sample", arrays))
        if sample.rows.shape != (len(sample.run), len(encoder.unit)) or len(sample.strata) != len(sample.run):
            raise ValueError("encoder and sample do not belong together")
        units = tuple(int(unit) for unit in said["units"])
        measured = deep(under(f"{i}/measured", arrays))
        views.append(View(str(said["name"]), encoder, sample, int(said["run"]), units, float(said["tau"]), measured))
    return tuple(views)


def _view_said(view: View) -> dict[str, Any]:
    kind = next(name for name, encoder in _ENCODERS.items() if isinstance(view.encoder, encoder))
    return {"name": view.name, "kind": kind, "run": view.run, "units": list(view.units), "tau": view.tau}


def _listed(fitted: Fitted) -> list[tuple[str, str, Summary]]:
    return [(column, value, one) for column, values in fitted.segments.items() for value, one in values.items()]


def _manifest(fitted: Fitted, contents: dict[str, bytes]) -> dict[str, Any]:
    grid = fitted.reference.grid
    return {
        "format": FORMAT,
        "tool": f"driftwarden {_version()}",
        "created": fitted.created,
        "rows": fitted.rows,
        "grid": grid.id,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "notes": list(fitted.notes),
        "numeric": list(grid.numeric_names),
        "categorical": list(grid.code_names),
        "labels": [list(names) for names in grid.labels],
        "vectors": [list(vector) for vector in grid.vectors],
        "strata_rows": [one.rows for one in fitted.reference.strata.parts] if fitted.reference.strata else [],
        "views": [_view_said(view) for view in fitted.reference.views],
        "segments": [[column, value, one.rows] for column, value, one in _listed(fitted)],
        "plan": fitted.plan.document(),
    }


def _pack(fitted: Fitted) -> bytes:
    reference = fitted.reference
    arrays = {f"grid_{name}": getattr(reference.grid, name) for name in _GRID}
    arrays |= {f"summary_{name}": getattr(reference.summary, name) for name in _SUMMARY}
    if segments := [one for _, _, one in _listed(fitted)]:
        arrays |= {f"segments_{name}": np.stack([getattr(one, name) for one in segments]) for name in _SUMMARY}
    if reference.strata is not None:
        arrays |= {
            f"strata_{name}": np.stack([getattr(one, name) for one in reference.strata.parts]) for name in _SUMMARY
        }
    out = io.BytesIO()
    np.savez_compressed(out, tau=reference.tau, tau_missing=reference.tau_missing, **arrays)
    return out.getvalue()


def _unpack(content: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _words(fitted: Fitted) -> pa.RecordBatch:
    """All vocabularies as one row of lists: they differ in length."""
    lists = {
        name: pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
        for name, values in fitted.vocabularies.items()
    }
    return pa.RecordBatch.from_arrays(list(lists.values()), names=list(lists))


def _ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _batch(content: bytes) -> pa.RecordBatch:
    batch = pa.ipc.open_file(pa.py_buffer(content)).get_batch(0)
    batch.validate(full=True)
    return batch


def _fits(grid: Grid, arrays: dict[str, Any]) -> bool:
    """Whether the arrays have the shapes that the names demand."""
    p, q = len(grid.numeric_names), len(grid.code_names)
    shapes = {
        "grid_centre": (p,), "grid_scale": (p,), "grid_used": (p,), "grid_lut": (p, CELLS),
        "grid_edges": (p, BINS + 1), "grid_centres": (p, BINS), "grid_open_vocabulary": (q,), "grid_ordered": (q,),
        "summary_numeric": (p, SLOTS), "summary_codes": (q, grid.slots), "summary_sums": (p, 2),
        "summary_mix": (len(grid.strata),),
    }  # fmt: skip
    units = ("summary_missing", "summary_nonfinite", "summary_new", "summary_faults", "tau", "tau_missing")
    shapes |= dict.fromkeys(units, (p + q,))
    return len(grid.labels) == q and all(arrays[name].shape == shape for name, shape in shapes.items())


def _is_ours(target: Path) -> bool:
    """Whether a folder may be replaced: it is empty, or an artefact and nothing but that."""
    if not target.is_dir():
        return False
    found = {item.name for item in target.iterdir()}
    return not found or (MANIFEST in found and found <= {MANIFEST, _OUTCOMES, *_FILES})


def _store(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _swap(fresh: Path, target: Path) -> None:
    """Rename the fresh folder into its place; an old one steps aside first and goes afterwards."""
    readable = (fresh / MANIFEST).stat().st_mode & 0o777
    fresh.chmod(readable | (readable & 0o444) >> 2 | 0o100)  # who may read its files may enter it
    _sync(fresh)
    old = fresh.with_name(f"{fresh.name}.old")
    if target.exists():
        target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What an artefact says about itself; the rest is neither read nor verified. `ReferenceError_` if it cannot."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ReferenceError_(f"{path}: not found; make the artefact with `driftwarden fit`") from None
    except OSError as error:
        raise ReferenceError_(f"{path}: cannot be read: {error.strerror}; check its permissions") from None
    except ValueError:
        raise _damaged(path, "it is not JSON") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise _damaged(path, "it is not a manifest")
    if manifest.get("format") != FORMAT:
        raise ReferenceError_(
            f"{path}: has format {manifest.get('format')!r}, this version reads {FORMAT}; run `driftwarden fit` again"
        )
    return manifest


def _verified(path: Path, manifest: dict[str, Any]) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _damaged(path, "it is missing") from None
    except OSError as error:
        raise ReferenceError_(f"{path}: cannot be read: {error.strerror}; check its permissions") from None
    if hashlib.sha256(content).hexdigest() != manifest["files"].get(path.name):
        raise _damaged(path, "its checksum is not the manifest's")
    return content


def _damaged(path: Path, why: str) -> ReferenceError_:
    return ReferenceError_(f"{path}: damaged: {why}; run `driftwarden fit` again")


@contextmanager
def _blame(path: Path) -> Iterator[None]:
    """Turn whatever a damaged part provokes into a `ReferenceError_` with its file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, EOFError, zipfile.BadZipFile, OSError, StoreError) as error:
        raise _damaged(path, f"{type(error).__name__} while reading it") from None


def _version() -> str:
    try:
        return metadata.version("driftwarden")
    except metadata.PackageNotFoundError:
        return "(not installed)"
