"""From a configured reference to a fitted one: load the artefact, or measure the data once and keep the result.

What reads and measures tables is imported where it is used: a run that loads an artefact is smaller without it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from monitor import artefact
from monitor.config import Model
from monitor.errors import ConfigError, ReferenceError_
from monitor.fitted import Fitted
from monitor.measuring import in_child
from monitor.schema import Roles
from monitor.severity import Measure, Severity
from monitor.strict import unknown

if TYPE_CHECKING:
    from monitor.reader import Tables

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, the rows so far, and how many there are if that is known."""


def roles_of(model: Model) -> Roles:
    """The configured roles in the form the fit uses."""
    return Roles.of(model.columns.model_dump())


def fitted_of(model: Model, cache: Path | None = None, progress: Progress | None = None) -> Fitted:
    """The model's reference: an artefact is loaded, data is measured.

    With ``cache`` (a folder) it is measured by a process of its own and kept there, under a name that changes with the
    files and the roles, and loaded the next time. `ReferenceError_` if there is no reference to load.
    """
    paths = model.reference.paths
    if not paths:
        raise ReferenceError_(
            f"models.{model.name}.reference: {{learn_rows}} has no stored rows to read; name a file or folder here"
        )
    made = _artefact(model)
    if made is not None:
        return made
    from monitor.reader import Tables

    tables = Tables(paths)
    place = None if cache is None else _kept(tables, model, cache)
    if place is not None and (place / artefact.MANIFEST).is_file():
        with contextlib.suppress(ReferenceError_):  # of another version, or damaged: it is only a cache
            return artefact.load(place)
    if place is None:
        return measure(tables, model, progress)
    in_child(model, place)
    return artefact.load(place)


def _artefact(model: Model) -> Fitted | None:
    """The configured reference if it is an artefact; `ReferenceError_` if that was fitted for another configuration."""
    paths = model.reference.paths
    if len(paths) != 1 or not (Path(paths[0]) / artefact.MANIFEST).is_file():
        return None
    return _checked(artefact.load(paths[0]), model)


def _checked(fitted: Fitted, model: Model) -> Fitted:
    """An artefact says by itself what time, segments and season are: refuse one that was fitted for others."""
    roles, strata = fitted.plan.roles, fitted.plan.strata
    by = "none" if strata is None else strata.by
    kept = {"time": roles.time, "segments": roles.segments, "season": by}
    asked = {"time": model.columns.time, "segments": model.columns.segments, "season": model.season.by}
    if strata is not None and by != "none":
        kept["timezone"], asked["timezone"] = strata.timezone, model.season.timezone
    for what, one in kept.items():
        if one != asked[what]:
            raise ReferenceError_(
                f"models.{model.name}.reference: the artefact was fitted with {what} {_said(one)}, the configuration "
                f"says {_said(asked[what])}; fit it anew with this configuration, or put the old value back"
            )
    return fitted


def _said(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) and value else str(value or "none")


def at_hand(model: Model, cache: Path) -> Fitted | None:
    """The configured reference if it can be had without measuring: an artefact, or what `fitted_of` keeps.

    `ReferenceError_` as there, for an artefact that does not fit the configuration.
    """
    made = _artefact(model)
    if made is not None:
        return made
    from monitor.reader import Tables

    with contextlib.suppress(ReferenceError_):
        return artefact.load(_kept(Tables(model.reference.paths), model, cache))
    return None


def whereabouts(model: Model, cache: Path) -> Path | None:
    """Where the artefact lies that `at_hand` loads; None where nothing was measured yet."""
    from monitor.reader import Tables

    paths = model.reference.paths
    place = Path(paths[0]) if len(paths) == 1 else None
    if paths and (place is None or not (place / artefact.MANIFEST).is_file()):
        with contextlib.suppress(ReferenceError_):
            place = _kept(Tables(paths), model, cache)
    return place if place is not None and (place / artefact.MANIFEST).is_file() else None


def measure(tables: Tables, model: Model, progress: Progress | None = None) -> Fitted:
    """Measure stored data; ``progress`` is told how far it is."""
    from monitor.outcomes.measured import with_outcomes
    from monitor.reference import fit

    total = tables.row_count

    def tell(name: str, rows: int) -> None:
        if progress is not None:
            progress(name, rows, total)

    fitted = fit(tables.batches, roles_of(model), season=model.season, scored=model.scored, progress=tell)
    return with_outcomes(fitted, tables.batches)


def measure_batches(batches: list[pa.RecordBatch], model: Model) -> Fitted:
    """Measure rows in memory: the first traffic of a model without a stored reference."""
    from monitor.outcomes.measured import with_outcomes
    from monitor.reference import fit

    fitted = fit(lambda: iter(batches), roles_of(model), season=model.season, scored=model.scored)
    return with_outcomes(fitted, lambda: iter(batches))


def _kept(tables: Tables, model: Model, cache: Path) -> Path:
    """Where the measured reference is kept."""
    return cache / f"{model.name}-{_fingerprint(tables, model)}"


def _fingerprint(tables: Tables, model: Model) -> str:
    """Changes with names, sizes and times of the files, with the roles, the season and the security section."""
    digest = hashlib.sha256(
        "".join([*(one.model_dump_json() for one in (model.columns, model.season, model.security))]).encode()
    )
    for name in tables.names:
        file = Path(name)
        stat = file.stat() if file.exists() else None
        digest.update(repr((name, stat and (stat.st_size, stat.st_mtime_ns))).encode())
    return digest.hexdigest()[:12]


def severity_of(model: Model, names: Sequence[str], measure: Measure | None = None) -> Severity | None:
    """The rule of a model, None where nothing is declared nor measured; `ConfigError` for columns that it lacks."""
    declared = model.columns.importance
    if strange := [name for name in declared if name not in names]:
        raise ConfigError([f"columns.importance: {unknown('column', name, names)}" for name in strange])
    return Severity(declared, model.labels.smallest_loss, measure) if declared or measure else None
