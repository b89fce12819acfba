"""The rules of Grafana's dashboard-linter that a dashboard of Prometheus data can break, under that linter's names.

The linter is written in Go and is not to be had here, so its rules are told again. Two of the 17 are about Loki; they
are one here: there is no other source of data than Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import promql_parser as promql

from grafana.rendered import Json, Panel, filled, panels_of

VALUES = {"job": "J", "instance": "I", "model": "M", "stream": "S", "metric": "T", "__rate_interval": "59s",
          "__range": "58m"}  # fmt: skip
"""What variables are filled with to parse an expression; the times are told apart from all others by being odd."""
UNITS = {"short", "s", "bytes", "Bps", "reqps", "percentunit", "dateTimeFromNow"}
"""Units of Grafana that the dashboards use; a misspelt one would be shown as text after the number."""
Rule = Callable[[Json], Iterator[str]]


def variables(dashboard: Json) -> dict[str, Json]:
    """Variables by name."""
    return {one["name"]: one for one in dashboard["templating"]["list"]}


def queries(dashboard: Json) -> Iterator[tuple[str, str]]:
    """Queries of panels, and where they stand."""
    for panel in panels_of(dashboard):
        for target in panel.targets:
            yield f"{panel.title}: {target['refId']}", target["expr"]


def parsed(expr: str) -> promql.Expr:
    """A filled expression; ValueError when it is no PromQL."""
    return promql.parse(filled(expr, VALUES))


def nodes(
    expr: promql.Expr, above: tuple[promql.Expr, ...] = ()
) -> Iterator[tuple[promql.Expr, tuple[promql.Expr, ...]]]:
    """All parts of an expression, each with those that it is inside of."""
    yield expr, above
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        inside = getattr(expr, name, None)
        if inside is not None:
            yield from nodes(inside, (*above, expr))
    for inside in getattr(expr, "args", []):
        yield from nodes(inside, (*above, expr))


def selectors(expr: promql.Expr) -> Iterator[promql.VectorSelector]:
    """Every selector of a metric."""
    return (node for node, _ in nodes(expr) if isinstance(node, promql.VectorSelector))


def template_datasource(dashboard: Json) -> Iterator[str]:
    """The source of data is a variable, labelled as the linter wants it."""
    one = variables(dashboard).get("datasource")
    if one is None or (one["type"], one["query"], one["label"]) != ("datasource", "prometheus", "Data source"):
        yield "no variable datasource of type prometheus with the label Data source"


def _template(name: str) -> Rule:
    def rule(dashboard: Json) -> Iterator[str]:
        one = variables(dashboard).get(name, {})
        wanted: Mapping[str, Any] = {
            "type": "query",
            "label": name.capitalize(),
            "multi": True,
            "allValue": ".+",
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
        }
        yield from (f"variable {name}: {key} is not {value}" for key, value in wanted.items() if one.get(key) != value)

    return rule


def template_label_promql(dashboard: Json) -> Iterator[str]:
    """Queries of variables are label_values of good PromQL."""
    for name, one in variables(dashboard).items():
        if one["type"] != "query":
            continue
        head, _, rest = one["query"]["query"].partition("label_values(")
        selector, _, label = rest.rpartition(", ")
        if head or not label.removesuffix(")").isidentifier() or one["definition"] != one["query"]["query"]:
            yield f"variable {name} is not label_values(selector, label)"
            continue
        yield from (f"variable {name}: {fault}" for fault in _faults(selector))


def template_on_time_change_reload(dashboard: Json) -> Iterator[str]:
    """Variables are looked up again when the time range changes."""
    for name, one in variables(dashboard).items():
        if one["type"] == "query" and one["refresh"] != 2:
            yield f"variable {name} is not refreshed on change of the time range"


def panel_datasource(dashboard: Json) -> Iterator[str]:
    """Panels use the variable."""
    for panel in panels_of(dashboard):
        given = [panel.document.get("datasource"), *(target.get("datasource") for target in panel.targets)]
        if any(one != {"type": "prometheus", "uid": "${datasource}"} for one in given):
            yield f"{panel.title} has a source of data of its own"


def panel_title_description(dashboard: Json) -> Iterator[str]:
    """Panels say what they show."""
    for panel in panels_of(dashboard):
        if not panel.document.get("title") or not panel.document.get("description"):
            yield f"panel {panel.document['id']} lacks a title or a description"


def panel_units(dashboard: Json) -> Iterator[str]:
    """Values have units that Grafana knows."""
    for panel in panels_of(dashboard):
        given = [panel.document["fieldConfig"]["defaults"].get("unit"), *_override_units(panel)]
        yield from (f"{panel.title}: unit {unit}" for unit in given if unit not in UNITS)


def _override_units(panel: Panel) -> Iterator[str]:
    for one in panel.document["fieldConfig"]["overrides"]:
        yield from (each["value"] for each in one["properties"] if each["id"] == "unit")


def panel_no_targets(dashboard: Json) -> Iterator[str]:
    """Panels ask something."""
    yield from (panel.title for panel in panels_of(dashboard) if not panel.targets)


def _faults(expr: str) -> Iterator[str]:
    try:
        parsed(expr)
    except ValueError as error:
        yield f"{expr}: {error}"


def target_promql(dashboard: Json) -> Iterator[str]:
    """Queries are PromQL."""
    for where, expr in queries(dashboard):
        yield from (f"{where}: {fault}" for fault in _faults(expr))


def target_rate_interval(dashboard: Json) -> Iterator[str]:
    """Rates are taken over $__rate_interval, all else over that or the dashboard's range."""
    for where, expr in queries(dashboard):
        for node, above in nodes(parsed(expr)):
            if isinstance(node, promql.MatrixSelector):
                asked, call = promql.display_duration(node.range), above[-1]
                rate = isinstance(call, promql.Call) and call.func.name in {"rate", "irate"}
                if asked not in ({"59s"} if rate else {"59s", "58m"}):
                    yield f"{where}: [{asked}]"


def _target_matcher(name: str) -> Rule:
    def rule(dashboard: Json) -> Iterator[str]:
        for where, expr in queries(dashboard):
            for selector in selectors(parsed(expr)):
                given = [(one.name, one.op, one.value) for one in selector.matchers.matchers]
                if (name, promql.MatchOp.Re, VALUES[name]) not in given:
                    yield f'{where}: {selector.name} without {name}=~"${name}"'

    return rule


def target_counter_agg(dashboard: Json) -> Iterator[str]:
    """Counters are shown as rates or increases."""
    for where, expr in queries(dashboard):
        for node, above in nodes(parsed(expr)):
            if isinstance(node, promql.VectorSelector) and str(node.name).endswith(
                ("_total", "_bucket", "_sum", "_count")
            ):
                call = above[-2] if len(above) > 1 else None
                if not isinstance(call, promql.Call) or call.func.name not in {"rate", "irate", "increase"}:
                    yield f"{where}: {node.name}"


def uneditable(dashboard: Json) -> Iterator[str]:
    """What is provisioned is not edited in place."""
    if dashboard["editable"]:
        yield "it is editable"


def target_logql(dashboard: Json) -> Iterator[str]:
    """Nothing is asked of Loki."""
    for panel in panels_of(dashboard):
        for target in panel.targets:
            if target.get("datasource", {}).get("type") != "prometheus":
                yield f"{panel.title} asks {target.get('datasource')}"


RULES: dict[str, Rule] = {
    "template-datasource-rule": template_datasource,
    "template-job-rule": _template("job"),
    "template-instance-rule": _template("instance"),
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_on_time_change_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-promql-rule": target_promql,
    "target-rate-interval-rule": target_rate_interval,
    "target-job-rule": _target_matcher("job"),
    "target-instance-rule": _target_matcher("instance"),
    "target-counter-agg-rule": target_counter_agg,
    "uneditable-dashboard": uneditable,
    "target-logql-rule, target-logql-auto-rule": target_logql,
}
