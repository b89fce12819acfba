"""The base of all configuration sections: unknown keys refused, every fault told, each in a sentence with its fix.

Pydantic stops at the first broken rule that spans several fields, and speaks of types. A `Strict` section instead runs
its ``cross`` rules on the raw mapping whether or not single fields are broken, and turns all of it into sentences.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from monitor import budget
from monitor.quantities import Address, address, duration, duration_text, size, size_text


def resolve(value: object, info: ValidationInfo) -> Path:
    """A path as it is written, taken relative to the folder of the configuration file."""
    if not isinstance(value, (str, Path)) or not str(value):
        message = f"must be a path, not {_shown(value)}"
        raise ValueError(message)
    base = (info.context or {}).get("base", Path())
    return Path(base) / Path(value).expanduser()


Duration = Annotated[float, BeforeValidator(duration), PlainSerializer(duration_text)]
Size = Annotated[int, BeforeValidator(size), PlainSerializer(size_text)]
Listen = Annotated[Address, PlainValidator(address), PlainSerializer(str)]
BudgetText = Annotated[budget.Budget, PlainValidator(budget.parse), PlainSerializer(str)]
RelativePath = Annotated[Path, PlainValidator(resolve), PlainSerializer(str)]
Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
"""Column names; one alone needs no list."""

Location = tuple[int | str, ...]
Fault = tuple[Location, str]
"""Where, relative to the section that found it, and the sentence."""

_SENTENCE = "fault"
"""Error type of a fault that is already a sentence."""


class Strict(BaseModel):
    """A frozen section of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False, arbitrary_types_allowed=True)

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """Rules that span fields, told from the raw mapping: fields may be absent or of any type."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _all_faults(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Validate the fields, run the cross rules, and raise everything together."""
        if data is None:
            data = {}
        if not isinstance(data, (Mapping, cls)):
            keys = ", ".join(cls.model_fields)
            raise PydanticCustomError(_SENTENCE, "{text}", {"text": f"must be a mapping with the keys {keys}"})
        found: list[Fault] = []
        made: Self | None = None
        try:
            made = handler(data)
        except ValidationError as error:
            found += [(detail["loc"], cls._sentence(detail)) for detail in error.errors(include_url=False)]
        if isinstance(data, Mapping):
            told = {where for where, _ in found}
            context = info.context or {}
            found += [fault for fault in cls.cross(data, context) if fault[0] not in told]
        if made is None or found:
            raise ValidationError.from_exception_data(cls.__name__, [_detail(*fault) for fault in found])
        return made

    @classmethod
    def _sentence(cls, detail: ErrorDetails) -> str:
        """One fault of this section's own fields, or of a deeper section, as a sentence."""
        kind, where = detail["type"], detail["loc"]
        if kind == _SENTENCE:
            return detail["msg"]
        if kind == "extra_forbidden":
            return unknown("key", str(where[0]), cls.model_fields)
        field = cls.model_fields.get(str(where[0])) if where else None
        purpose = f" ({field.description})" if field is not None and field.description else ""
        if kind == "value_error":  # our own words, with the fix in them
            return str(detail["ctx"]["error"])
        if kind == "missing":
            return f"missing; add it{purpose}"
        return _plain(detail) + purpose


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """A sentence on a name that nobody knows, with the nearest one that is known."""
    names = list(known)
    near = difflib.get_close_matches(given.lower(), [name.lower() for name in names], n=1, cutoff=0.6)
    for name in names:
        if near and name.lower() == near[0]:
            return f'unknown {what}; did you mean "{name}"?'
    return f"unknown {what}; known: {', '.join(names) or 'none'}"


def faults_of(error: ValidationError) -> list[str]:
    """Each fault on a line of its own, in the order of the file: ``models.0.pane.every: ...``."""
    return [f"{path_text(detail['loc'])}{detail['msg']}" for detail in error.errors(include_url=False)]


def path_text(where: Location) -> str:
    """``models.0.name: `` or nothing for the file as a whole."""
    return ".".join(str(step) for step in where) + ": " if where else ""


def _detail(where: Location, text: str) -> InitErrorDetails:
    """A fault as Pydantic wants it raised."""
    return InitErrorDetails(type=PydanticCustomError(_SENTENCE, "{text}", {"text": text}), loc=where, input=None)


def _plain(detail: ErrorDetails) -> str:
    """Pydantic's message in the words of a person who writes YAML."""
    kind, limits = detail["type"], detail.get("ctx", {})
    given = _shown(detail["input"])
    if kind in _BOUNDS:
        limit = next(limits[key] for key in ("gt", "ge", "lt", "le") if key in limits)
        return f"must be {_BOUNDS[kind]} {limit:g}, not {given}"
    if kind == "literal_error":
        return f"must be {limits['expected']}, not {given}"
    for start, meaning in _TYPES.items():
        if kind.startswith(start):
            return f"must be {meaning}, not {given}"
    return f"{detail['msg']} (given: {given})"


def _shown(value: Any) -> str:
    """A given value, shortened, in YAML's words."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "empty"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


_BOUNDS = {
    "greater_than": "greater than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text (put it in quotes)",
    "tuple": "a list",
    "list": "a list",
    "path": "a path",
}
