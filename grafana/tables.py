"""Tables: instant queries laid side by side, one row for each combination of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana import sdk
from grafana.panels import WHOLE, Property, Query, Steps, drawn, steps
from grafana.sdk import models

Properties = tuple[Property, ...]
_TABLE = sdk.prometheus_models.PromQueryFormat.TABLE


@dataclass(frozen=True, slots=True)
class Column:
    """A query whose values make a column, and how they look."""

    name: str
    expr: str
    look: Properties = ()


def in_unit(unit: str, decimals: int | None = None) -> Properties:
    """Values with a unit of their own."""
    made = (Property(id_val="unit", value=unit),)
    return made if decimals is None else (*made, Property(id_val="decimals", value=decimals))


def as_bar(look: Steps, most: float | None = None) -> Properties:
    """Values drawn as bars from 0, to ``most`` where they end there."""
    made = [
        Property(id_val="custom.cellOptions", value={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}),
        Property(id_val="thresholds", value=steps(look).build()),
        Property(id_val="min", value=0),
    ]
    return (*made, *([] if most is None else [Property(id_val="max", value=most)]))


def as_colour(look: Steps) -> Properties:
    """Values on a background in the colour of their step."""
    return (
        Property(id_val="custom.cellOptions", value={"type": "color-background", "mode": "basic"}),
        Property(id_val="thresholds", value=steps(look).build()),
    )


def as_words(mapping: Property | list[models.ValueMapping]) -> Properties:
    """Values shown as words on coloured ground."""
    made = mapping if isinstance(mapping, Property) else Property(id_val="mappings", value=mapping)
    return (Property(id_val="custom.cellOptions", value={"type": "color-background", "mode": "basic"}), made)


def table(
    title: str,
    text: str,
    labels: Mapping[str, str],
    columns: Sequence[Column],
    *,
    looks: Mapping[str, Properties] | None = None,
    sort: str = "",
    width: int = WHOLE,
    height: int = 8,
) -> sdk.table.Panel:
    """A table whose rows are told apart by ``labels`` (name of the label: its heading; no heading hides it).

    ``looks`` are for columns that are labels. The largest in column ``sort`` come first.
    """
    queries = [Query(column.expr) for column in columns]
    made = drawn(sdk.table.Panel(), title, text, queries, "short", (width, height), now=True, form=_TABLE)
    made = made.transformations(_transformations(labels, columns)).no_value("-")
    for label, heading in labels.items():
        made = made if heading else made.override_by_name(label, _hidden())
    for name, look in {**{one.name: one.look for one in columns}, **(looks or {})}.items():
        made = made.override_by_name(name, list(look)) if look else made
    return made.sort_by([sdk.common.TableSortByFieldState().display_name(sort).desc(desc=True)]) if sort else made


def _hidden() -> list[Property]:
    """Not shown, but there for links; the first form is that of Grafana up to 12, the second of later ones."""
    return [
        Property(id_val="custom.hidden", value=True),
        Property(id_val="custom.hideFrom", value={"viz": True, "legend": True, "tooltip": True}),
    ]


def _transformations(labels: Mapping[str, str], columns: Sequence[Column]) -> list[models.DataTransformerConfig]:
    """All answers as one table, with headings and in order."""
    values = [f"Value #{chr(ord('A') + place)}" for place in range(len(columns))] if len(columns) > 1 else ["Value"]
    headings = {label: heading for label, heading in labels.items() if heading}
    headings |= {value: column.name for value, column in zip(values, columns, strict=True)}
    order = {name: place for place, name in enumerate([*labels, *values])}
    organise = {"excludeByName": {"Time": True}, "renameByName": headings, "indexByName": order}
    return [
        models.DataTransformerConfig(id_val="merge", options={}),
        models.DataTransformerConfig(id_val="organize", options=organise),
    ]


def ends(title: str, text: str, query: Query, unit: str, heading: str, *, width: int = 12) -> sdk.table.Panel:
    """What lines of a plot were at the beginning and the end of the time range, and at most in between."""
    made = drawn(sdk.table.Panel(), title, text, [query], unit, (width, 9))
    reduce = {"reducers": ["firstNotNull", "lastNotNull", "max"], "mode": "seriesToRows"}
    names = {"Field": heading, "First *": "Before", "Last *": "After", "Max": "Most"}
    made = made.transformations(
        [
            models.DataTransformerConfig(id_val="reduce", options=reduce),
            models.DataTransformerConfig(id_val="organize", options={"renameByName": names}),
        ]
    )
    return made.sort_by([sdk.common.TableSortByFieldState().display_name("After").desc(desc=True)])
