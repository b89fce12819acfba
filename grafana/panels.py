"""Panels as this project draws them: each kind has one look, so that a number always means what it looks like.

A panel is made of a title, a sentence for whoever asks what it shows, queries and a unit. Names of Grafana's units are
those of its field options: ``short``, ``s``, ``bytes``, ``percentunit`` (1 is 100 %).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from grafana import sdk
from grafana.sdk import models
from grafana.series import STATES

Source = sdk.common_models.DataSourceRef
Property = models.DynamicConfigValue
Panel = sdk.Builder[models.Panel]

SOURCE = Source(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "#8e8e8e"
STATE_COLOURS = (GREEN, BLUE, PURPLE, ORANGE, RED)
SEVERITY_COLOURS = {"page": RED, "ticket": ORANGE, "info": BLUE}
TRIAGE_COLOURS = {"shift": ORANGE, "attack": RED, "data_fault": PURPLE, "unknown": GREY}
WHOLE = 24
"""Columns of Grafana's grid."""


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; ``legend`` names its series, with ``{{label}}`` for a label."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Steps:
    """Colours from values on; the first is for all below the second's value."""

    first: str
    rest: tuple[tuple[float, str], ...] = ()


CALM = Steps(GREEN)
ANY_IS_BAD = Steps(GREEN, ((1, RED),))
ANY_IS_WORK = Steps(GREEN, ((1, ORANGE),))
NEAR_ONE = Steps(GREEN, ((0.5, YELLOW), (1, RED)))
NONE_IS_BAD = Steps(RED, ((1, GREEN),))
PLAIN = Steps(BLUE)


class Drawn(Protocol):
    """What the builders of all kinds of panels have in common, as far as it is used here."""

    def title(self, title: str) -> Self:
        """Its heading."""
        ...

    def description(self, description: str) -> Self:
        """What it shows, for those who ask."""
        ...

    def datasource(self, datasource: Source) -> Self:
        """Where its numbers come from."""
        ...

    def targets(self, targets: list[sdk.Builder[sdk.Dataquery]]) -> Self:
        """Its queries."""
        ...

    def unit(self, unit: str) -> Self:
        """The unit of its values."""
        ...

    def height(self, h: int) -> Self:
        """Rows of the grid that it takes."""
        ...

    def span(self, w: int) -> Self:
        """Columns of the grid that it takes."""
        ...

    def no_value(self, no_value: str) -> Self:
        """What stands there without data."""
        ...

    def thresholds(self, thresholds: sdk.Builder[models.ThresholdsConfig]) -> Self:
        """Its steps of colour."""
        ...


Kind = TypeVar("Kind", bound=Drawn)


def drawn(
    panel: Kind,
    title: str,
    text: str,
    queries: Sequence[Query],
    unit: str,
    size: tuple[int, int],
    *,
    now: bool = False,
    form: sdk.prometheus_models.PromQueryFormat = sdk.prometheus_models.PromQueryFormat.TIME_SERIES,
) -> Kind:
    """What panels of all kinds have in common; ``now`` asks for the last values only."""
    targets: list[sdk.Builder[sdk.Dataquery]] = []
    for place, query in enumerate(queries):
        target = sdk.prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + place)).datasource(SOURCE)
        target = target.format(form).legend_format(query.legend)
        targets.append(target.instant() if now else target.range())
    width, height = size
    named = panel.title(title).description(text).datasource(SOURCE).targets(targets)
    return named.unit(unit).span(width).height(height)


def steps(given: Steps) -> sdk.Builder[models.ThresholdsConfig]:
    """Thresholds in Grafana's form."""
    made = [models.Threshold(value=None, color=given.first)]
    made += [models.Threshold(value=value, color=colour) for value, colour in given.rest]
    return sdk.dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(made)


def fixed(colour: str) -> Property:
    """One colour, whatever the value."""
    return Property(id_val="color", value={"mode": "fixed", "fixedColor": colour})


def links(*given: tuple[str, str]) -> Property:
    """Links of a field's values: their titles and addresses."""
    return Property(id_val="links", value=[{"title": title, "url": url, "targetBlank": True} for title, url in given])


def words(names: Sequence[str], colours: Sequence[str]) -> list[models.ValueMapping]:
    """Numbers from 0 on shown as words in colours."""
    options = {
        str(place): models.ValueMappingResult(text=name, color=colour, index=place)
        for place, (name, colour) in enumerate(zip(names, colours, strict=True))
    }
    return [models.ValueMap(options=options)]


STATE_WORDS = words(STATES, STATE_COLOURS)


def painted(colours: Mapping[str, str]) -> Property:
    """Words in colours, as the background of a cell."""
    options = {
        name: {"text": name, "color": colour, "index": place} for place, (name, colour) in enumerate(colours.items())
    }
    return Property(id_val="mappings", value=[{"type": "value", "options": options}])


def number(
    title: str,
    text: str,
    queries: Sequence[Query],
    unit: str = "short",
    look: Steps = PLAIN,
    *,
    width: int = 4,
    height: int = 4,
) -> sdk.stat.Panel:
    """A number, or a few beside each other, in the colour of the worst step that it has reached."""
    made = drawn(sdk.stat.Panel(), title, text, queries, unit, (width, height), now=True)
    reduced = sdk.common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False)
    mode = sdk.common_models.BigValueColorMode.BACKGROUND if look.rest else sdk.common_models.BigValueColorMode.VALUE
    made = made.reduce_options(reduced).color_mode(mode).graph_mode(sdk.common_models.BigValueGraphMode.NONE)
    return made.thresholds(steps(look)).no_value("none")


def word(title: str, text: str, query: Query, *, width: int = 4, height: int = 4) -> sdk.stat.Panel:
    """The state of a model as a word."""
    made = number(title, text, [query], "short", NEAR_ONE, width=width, height=height)
    return made.mappings(STATE_WORDS).thresholds(steps(CALM))


def dial(title: str, text: str, query: Query, unit: str, look: Steps, *, width: int = 4) -> sdk.gauge.Panel:
    """A share of 1 as a dial."""
    made = drawn(sdk.gauge.Panel(), title, text, [query], unit, (width, 4), now=True)
    reduced = sdk.common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False)
    return made.reduce_options(reduced).min(0).max(1).thresholds(steps(look)).no_value("none")


def bars(title: str, text: str, query: Query, unit: str, look: Steps, *, width: int = 8) -> sdk.bargauge.Panel:
    """One bar for each series, as it is now."""
    made = drawn(sdk.bargauge.Panel(), title, text, [query], unit, (width, 9), now=True)
    reduced = sdk.common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False)
    made = made.reduce_options(reduced).orientation(sdk.common_models.VizOrientation.HORIZONTAL)
    return made.display_mode(sdk.common_models.BarGaugeDisplayMode.BASIC).min(0).thresholds(steps(look))


def lines(
    title: str,
    text: str,
    queries: Sequence[Query],
    unit: str = "short",
    *,
    width: int = 12,
    height: int = 8,
    axis: str = "",
) -> sdk.timeseries.Panel:
    """Lines over time."""
    made = drawn(sdk.timeseries.Panel(), title, text, queries, unit, (width, height))
    legend = (
        sdk.common.VizLegendOptions()
        .display_mode(sdk.common_models.LegendDisplayMode.TABLE)
        .placement(
            sdk.common_models.LegendPlacement.RIGHT if width > WHOLE // 2 else sdk.common_models.LegendPlacement.BOTTOM
        )
        .show_legend(show_legend=True)
        .calcs(["lastNotNull", "max"])
        .sort_by("Max")
        .sort_desc(sort_desc=True)
    )
    tooltip = sdk.common.VizTooltipOptions().mode(sdk.common_models.TooltipDisplayMode.MULTI)
    tooltip = tooltip.sort(sdk.common_models.SortOrder.DESCENDING)
    made = made.legend(legend).tooltip(tooltip).line_width(1).fill_opacity(6)
    made = made.show_points(sdk.common_models.VisibilityMode.NEVER)
    return made.axis_label(axis) if axis else made


def counts(
    title: str, text: str, queries: Sequence[Query], *, width: int = 12, height: int = 8
) -> sdk.timeseries.Panel:
    """Events over time as stacked bars, far enough apart that an event is not in several of them."""
    made = lines(title, text, queries, "short", width=width, height=height).interval("2m")
    stacked = sdk.common.StackingConfig().mode(sdk.common_models.StackingMode.NORMAL)
    return made.draw_style(sdk.common_models.GraphDrawStyle.BARS).fill_opacity(70).stacking(stacked).decimals(0).min(0)


def limit(panel: sdk.timeseries.Panel, legend: str) -> sdk.timeseries.Panel:
    """Draw the series called ``legend`` as a limit: red, dashed, without filling."""
    dashed = Property(id_val="custom.lineStyle", value={"fill": "dash", "dash": [10, 8]})
    plain = Property(id_val="custom.fillOpacity", value=0)
    return panel.override_by_name(legend, [fixed(RED), dashed, plain, Property(id_val="custom.lineWidth", value=2)])


def coloured(panel: sdk.timeseries.Panel, colours: Mapping[str, str]) -> sdk.timeseries.Panel:
    """Draw series in the colours of their names."""
    for name, colour in colours.items():
        panel = panel.override_by_name(name, [fixed(colour)])
    return panel


def timeline(
    title: str, text: str, query: Query, mappings: list[models.ValueMapping], *, width: int = WHOLE, height: int = 8
) -> sdk.statetimeline.Panel:
    """States over time, one strip for each series."""
    made = drawn(sdk.statetimeline.Panel(), title, text, [query], "short", (width, height))
    made = made.mappings(mappings).merge_values(merge_values=True).row_height(0.85).fill_opacity(80)
    return made.show_value(sdk.common_models.VisibilityMode.NEVER).thresholds(steps(CALM))


def heat(title: str, text: str, query: Query, *, width: int = 12) -> sdk.heatmap.Panel:
    """A histogram over time."""
    form = sdk.prometheus_models.PromQueryFormat.HEATMAP
    made = drawn(sdk.heatmap.Panel(), title, text, [query], "short", (width, 8), form=form)
    colours = sdk.heatmap.HeatmapColorOptions().mode(sdk.heatmap_models.HeatmapColorMode.SCHEME).scheme("Oranges")
    axis = sdk.heatmap.YAxisConfig().unit("s")
    return made.color(colours.exponent(0.5).steps(64)).y_axis(axis).calculate(calculate=False)
