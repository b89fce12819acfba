"""What each column of a log is: its kind by inference, its role by configuration, and why it is or is not monitored.

Inference reads the Arrow type and, for integers, how many distinct values the reference showed. The result is a `Plan`,
which is written into the artefact: production batches are decoded by the plan, never inferred again.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

import pyarrow as pa
from pyarrow import types as at

from monitor.errors import ConfigError
from monitor.strata import StrataPlan

LONGEST_VECTOR = 4_096
"""A longer embedding is not monitored."""
INTEGER_CODES = 32
"""An integer column with at most this many distinct values in the reference is taken for a categorical code."""
REPEATS = 3
"""... provided that each was seen this often on average: in a handful of rows every integer column has few values."""
MONITORED_ROLES = ("feature", "prediction", "score", "lower", "upper", "segment")
"""Columns in these roles are watched; the others identify, order or explain the row."""
_LISTS = {"segments": "segment", "embeddings": "embedding", "categorical": "feature", "numeric": "feature"}
_NO_COLUMNS = ("classes", "image_shape", "quantile", "places")
"""Roles that say more about a column and name none."""
VECTORS = ("embedding", "probabilities", "logits", "image")
"""Roles of vector columns."""
_OPTIONAL = (
    "time", "id", "client", "label", "source", "version", "artefact", "digest", "latency", "probabilities", "logits",
    "image", "lower", "upper", "set", "query", "ignore",
)  # fmt: skip
"""Roles that training data often lacks: absent from the reference they are noted, unless a name looks misspelt."""
_FAMILIES = {
    "null": (at.is_null,),
    "boolean": (at.is_boolean,),
    "number": (at.is_integer, at.is_floating, at.is_decimal),
    "text": (at.is_string, at.is_large_string, at.is_string_view),
    "duration": (at.is_duration,),
    "time": (at.is_timestamp, at.is_date, at.is_time),
    "binary": (at.is_binary, at.is_large_binary, at.is_binary_view, at.is_fixed_size_binary),
}
"""Classes of types that read alike; everything else is nested."""


class Kind(StrEnum):
    """What a column holds; BOOLEAN is a categorical of two values."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    VECTOR = "vector"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Roles:
    """The configuration's `columns:` mapping. What it does not name is a feature."""

    time: str | None = None
    id: str | None = None
    client: str | None = None
    prediction: str | None = None
    score: str | None = None
    probabilities: str | None = None
    logits: str | None = None
    classes: tuple[str, ...] = ()
    quantile: float | None = None
    lower: str | None = None
    upper: str | None = None
    set: str | None = None
    query: str | None = None
    places: int = 0
    label: str | None = None
    source: str | None = None
    version: str | None = None
    artefact: str | None = None
    digest: str | None = None
    latency: str | None = None
    image: str | None = None
    image_shape: tuple[int, ...] = ()
    segments: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    @property
    def vectors(self) -> tuple[str, ...]:
        """Columns named for what must be vectors."""
        return (*self.embeddings, *(one for one in (self.probabilities, self.logits, self.image) if one))

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> Roles:
        """Build from a plain mapping, such as the manifest's; lists become tuples, absent keys their defaults."""
        known = {item.name for item in fields(cls)}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, (list, tuple)) else value
            for key, value in mapping.items()
            if key in known
        }
        return cls(**values)

    def named(self) -> Iterator[tuple[str, str]]:
        """Every (configuration key, column) that the user wrote."""
        for item in (item for item in fields(self) if item.name not in _NO_COLUMNS):
            value = getattr(self, item.name)
            for column in (value,) if isinstance(value, str) else value or ():
                yield item.name, column


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """One column of the reference: what it is, what it is for, and in ``note`` why, for people; ``family`` as below.

    A derived column (see `monitor.profiles`) has as its ``role`` what it measures of the logged column ``source``,
    whose vectors have ``length`` numbers (0: it holds single ones).
    """

    name: str
    kind: Kind
    role: str
    arrow_type: str
    note: str = ""
    monitored: bool = True
    family: str = ""
    source: str = ""
    length: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """All columns of the reference in their order, the roles they were given, and what makes strata of their rows."""

    columns: tuple[ColumnPlan, ...]
    roles: Roles
    strata: StrataPlan | None = None

    @property
    def numeric(self) -> tuple[str, ...]:
        """Monitored numeric columns, in order."""
        return tuple(c.name for c in self.columns if c.monitored and c.kind is Kind.NUMERIC)

    @property
    def categorical(self) -> tuple[str, ...]:
        """Monitored categorical and boolean columns, in order."""
        return tuple(c.name for c in self.columns if c.monitored and c.kind in (Kind.CATEGORICAL, Kind.BOOLEAN))

    @property
    def vectors(self) -> tuple[str, ...]:
        """Monitored embeddings, images and vectors of probabilities, in order."""
        return tuple(c.name for c in self.columns if c.monitored and c.kind is Kind.VECTOR)

    @property
    def derived(self) -> tuple[ColumnPlan, ...]:
        """Columns that are computed from a logged one; the last ones of their kind."""
        return tuple(c for c in self.columns if c.source)

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON-able values."""
        strata = None if self.strata is None else self.strata.document()
        return {"columns": [asdict(c) for c in self.columns], "roles": asdict(self.roles), "strata": strata}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Plan:
        """Read back what `document` wrote; KeyError, TypeError or ValueError if it is something else."""
        columns = tuple(ColumnPlan(**{**c, "kind": Kind(c["kind"])}) for c in document["columns"])
        strata = None if document["strata"] is None else StrataPlan.of(document["strata"])
        return cls(columns, Roles.of(document["roles"]), strata)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the reference showed of one column: values that were not null, distinct ones (None: too many to matter).

    ``length`` is that of most vectors of an embedding.
    """

    present: int
    distinct: int | None
    length: int = 0


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values inside dictionary, run-end and extension wrappings."""
    while True:
        if at.is_dictionary(kind) or at.is_run_end_encoded(kind):
            kind = kind.value_type
        elif isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        else:
            return kind


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold embeddings: lists of numbers."""
    plain = plain_type(kind)
    lists = (at.is_list, at.is_large_list, at.is_fixed_size_list)
    return any(test(plain) for test in lists) and family(plain.value_type) == "number"


def family(kind: pa.DataType) -> str:
    """Coarse class of a type. A column whose family changes was retyped; within a family any type reads as well."""
    kind = plain_type(kind)
    return next((name for name, tests in _FAMILIES.items() if any(test(kind) for test in tests)), "nested")


def code_type(kind: pa.DataType, *, integral: bool = False) -> pa.DataType:
    """Type of the vocabulary of a categorical column; ``integral``: a float column that held whole numbers only."""
    plain, group = plain_type(kind), family(kind)
    if group == "boolean":
        return pa.bool_()
    if group == "number":
        if at.is_uint64(plain):
            return pa.uint64()
        return pa.int64() if integral or at.is_integer(plain) else pa.float64()
    return pa.string()


def build(schema: pa.Schema, roles: Roles, facts: Mapping[str, Facts]) -> Plan:
    """Decide on every column; call `check_roles` first, so that the user sees all faults at once."""
    given = {column: _LISTS.get(key, key) for key, column in roles.named() if key not in ("categorical", "numeric")}
    ends = tuple(one for one in (roles.lower, roles.upper) if one)
    forced = dict.fromkeys(roles.categorical + roles.segments, Kind.CATEGORICAL) | dict.fromkeys(
        roles.numeric + ends, Kind.NUMERIC
    )
    columns = [_column(field, given.get(field.name, "feature"), forced.get(field.name), facts) for field in schema]
    for key, column in roles.named():
        if column not in schema.names:
            note = "not in the reference; read from the stream when it is there"
            columns.append(ColumnPlan(column, Kind.OTHER, key, "", note, monitored=False))
    return Plan(tuple(columns), roles)


def check_roles(names: Sequence[str], roles: Roles) -> None:
    """Raise `ConfigError` listing every role that does not fit the columns, each with its fix."""
    faults = [
        f"reference: column `{name}` occurs more than once; rename one of them"
        for name in sorted({n for n in names if names.count(n) > 1})
    ]
    seen: dict[str, str] = {}
    for key, column in roles.named():
        if column not in names:
            faults += _unknown(key, column, names)
        group = key if key in ("ignore", "categorical", "numeric") else "role"
        other = seen.setdefault(column, group)
        if other != group and {other, group} not in ({"role", "categorical"}, {"role", "numeric"}):
            faults.append(f"columns.{key}: `{column}` is also under another key that contradicts it; keep one of them")
    faults += [
        f"columns.numeric: `{name}` is also a segment, which is categorical; remove it from one of them"
        for name in roles.numeric
        if name in roles.segments
    ]
    if faults:
        raise ConfigError(faults)


def _unknown(key: str, column: str, names: Sequence[str]) -> list[str]:
    near = difflib.get_close_matches(column, names, n=1, cutoff=0.7)
    if key in _OPTIONAL and not near:
        return []
    hint = f'did you mean "{near[0]}"?' if near else f"remove it, or add the column; there are: {_some(names)}"
    return [f'columns.{key}: no column "{column}" in the reference; {hint}']


def _some(names: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _column(field: pa.Field, role: str, forced: Kind | None, facts: Mapping[str, Facts]) -> ColumnPlan:
    kind, note = (forced, "kind set by the configuration") if forced else _infer(field.type, facts.get(field.name))
    if role in VECTORS:
        return _vector(field, role, facts.get(field.name))
    if role == "ignore":
        note = "ignored by the configuration"
    elif role not in MONITORED_ROLES:
        note = f"the {role} of the row, not a feature"
    elif forced and family(field.type) in ("nested", "binary"):
        kind, note = Kind.OTHER, f"a {family(field.type)} column cannot be {forced.value}: ignored"
    monitored = role in MONITORED_ROLES and kind in (Kind.NUMERIC, Kind.CATEGORICAL, Kind.BOOLEAN)
    return ColumnPlan(field.name, kind, role, str(field.type), note, monitored, family(field.type))


def _vector(field: pa.Field, role: str, facts: Facts | None) -> ColumnPlan:
    """A declared embedding, image or vector of probabilities: monitored if it holds vectors that are not too long."""
    length = facts.length if facts else 0
    kind = Kind.VECTOR if is_vector(field.type) else Kind.OTHER
    note = f"{role} of {length} numbers"
    if kind is Kind.OTHER:
        note = f"a column of {field.type} cannot be the {role}: ignored"
    elif not length:
        note = f"{role} without a vector in the reference: not monitored"
    elif length > LONGEST_VECTOR:
        note = f"{note}, more than {LONGEST_VECTOR}: not monitored"
    monitored = kind is Kind.VECTOR and 0 < length <= LONGEST_VECTOR
    return ColumnPlan(field.name, kind, role, str(field.type), note, monitored, family(field.type))


def _infer(kind: pa.DataType, facts: Facts | None) -> tuple[Kind, str]:
    """Kind and note of a column for which the configuration says nothing."""
    plain, group = plain_type(kind), family(kind)
    if group == "number" and at.is_integer(plain):
        distinct = (facts.distinct if facts else None) or 0
        if facts and 0 < distinct <= INTEGER_CODES and facts.present >= REPEATS * distinct:
            return Kind.CATEGORICAL, f"integer code with {distinct} values"
        return Kind.NUMERIC, ""
    if at.is_fixed_size_list(plain) and at.is_floating(plain.value_type):
        return Kind.VECTOR, f"vector of {plain.list_size}: not monitored unless named under columns.embeddings"
    return {
        "number": (Kind.NUMERIC, ""),
        "null": (Kind.NUMERIC, "no value in the reference: only the share of missing values is watched"),
        "boolean": (Kind.BOOLEAN, ""),
        "text": (Kind.CATEGORICAL, ""),
        "duration": (Kind.NUMERIC, "duration, in its own unit"),
        "time": (Kind.TIMESTAMP, "a time: not monitored unless named under columns.numeric"),
        "binary": (Kind.OTHER, "binary: ignored"),
        "nested": (Kind.OTHER, "nested: ignored"),
    }[group]
