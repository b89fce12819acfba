"""What all dashboards have in common: variables, links to each other, annotations, and the grid of their panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana import sdk, series
from grafana.panels import BLUE, GREY, ORANGE, PURPLE, RED, SOURCE, Panel
from grafana.sdk import models

TAG = "driftwarden"
FLEET, MODEL, SECURITY, AGENT = "driftwarden-fleet", "driftwarden-model", "driftwarden-security", "driftwarden-agent"
PERFORMANCE = "driftwarden-performance"
"""Names of the dashboards in addresses: alerts and pages link to them, so they stay."""
_KEPT = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"
_JOB = "label_values(driftwarden_build_info, job)"
_INSTANCE = 'label_values(driftwarden_build_info{job=~"$job"}, instance)'
_OF_MODEL = f"label_values({series.agent('streams')}, model)"
_OF_METRIC = f"label_values({series.model('performance_reference')}, metric)"
_OF_STREAM = f"label_values({series.model('window_rows')}, stream)"
INCIDENT = ("Open the incident", "${__data.fields.url}/findings/${__data.fields.Finding}")
MODEL_PAGE = ("Open the model's page", "${__data.fields.url}/models/${__data.fields.Model}")


def to_model(name: str = "${__data.fields.Model}") -> tuple[str, str]:
    """A link to the dashboard of one model."""
    return "Open the model's dashboard", f"/d/{MODEL}?{_KEPT}&var-model={name}"


def to_security(name: str = "${__data.fields.Model}") -> tuple[str, str]:
    """A link to the security of one model."""
    return "Open the model's security", f"/d/{SECURITY}?{_KEPT}&var-model={name}"


def to_performance(name: str = "${__data.fields.Model}") -> tuple[str, str]:
    """A link to the performance of one model."""
    return "Open the model's performance", f"/d/{PERFORMANCE}?{_KEPT}&var-model={name}"


Row = tuple[str, Sequence[Panel]]


@dataclass(frozen=True, slots=True)
class Look:
    """What sets a dashboard apart, beside its panels."""

    uid: str
    title: str
    text: str
    since: str
    refresh: str


def dashboard(
    look: Look,
    variables: Sequence[sdk.Builder[models.VariableModel]],
    marks: Sequence[sdk.Builder[models.AnnotationQuery]],
    rows: Sequence[Row],
) -> models.Dashboard:
    """A dashboard whose panels stand in rows under headings."""
    made = sdk.dashboard.Dashboard(look.title).uid(look.uid).description(look.text).tags([TAG, "machine-learning"])
    made = made.time(f"now-{look.since}", "now").refresh(look.refresh).timezone("browser").readonly()
    made = made.tooltip(models.DashboardCursorSync.CROSSHAIR).links([_others()])
    made = made.variables([_datasource(), *variables]).annotations(list(marks))
    number = 0
    for heading, panels in rows:
        number += 1
        made = made.with_row(sdk.dashboard.Row(heading).id(number))
        for panel in panels:
            number += 1
            made = made.with_panel(_Numbered(panel, number))
    return made.build()


class _Numbered(sdk.Builder[models.Panel]):
    """A panel with the number that links to it use."""

    def __init__(self, panel: Panel, number: int) -> None:
        self._panel, self._number = panel, number

    def build(self) -> models.Panel:
        made = self._panel.build()
        made.id_val = self._number
        return made


def _others() -> sdk.Builder[models.DashboardLink]:
    """The other dashboards, with the same time and variables."""
    link = sdk.dashboard.DashboardLink("Driftwarden").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.include_vars(include_vars=True).keep_time(keep_time=True).as_dropdown(as_dropdown=False)


def _datasource() -> sdk.Builder[models.VariableModel]:
    return sdk.dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _many(name: str, label: str, query: str) -> sdk.dashboard.QueryVariable:
    """A variable of which several values may be chosen; all at first."""
    chosen = models.VariableOption(selected=True, text="All", value="$__all")
    made = _one(name, label, query).multi(multi=True).include_all(include_all=True).all_value(".+")
    return made.current(chosen)


def _one(name: str, label: str, query: str) -> sdk.dashboard.QueryVariable:
    """A variable with one value, looked up whenever the time range changes."""
    made = sdk.dashboard.QueryVariable(name).label(label).datasource(SOURCE).definition(query)
    made = made.query({"query": query, "refId": name}).sort(models.VariableSort.ALPHABETICAL_ASC)
    return made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)


def of_agents() -> list[sdk.Builder[models.VariableModel]]:
    """Which agents: the job that scrapes them, and the instance."""
    return [_many("job", "Job", _JOB), _many("instance", "Instance", _INSTANCE)]


def of_models() -> list[sdk.Builder[models.VariableModel]]:
    """Which agents and models."""
    return [*of_agents(), _many("model", "Model", _OF_MODEL)]


def of_streams() -> list[sdk.Builder[models.VariableModel]]:
    """Which agents, one model, and which of its streams."""
    return [*of_agents(), _one("model", "Model", _OF_MODEL), _many("stream", "Stream", _OF_STREAM)]


def of_metrics() -> list[sdk.Builder[models.VariableModel]]:
    """Which agents, one model, which of its streams, and one metric of its performance."""
    return [*of_streams(), _one("metric", "Metric", _OF_METRIC)]


def _annotation(name: str, colour: str, expr: str, title: str, text: str, tags: str) -> sdk.dashboard.AnnotationQuery:
    """Marks at the times that are an expression's values, in seconds."""
    made = sdk.dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(enable=True).icon_color(colour)
    made = made.expr(f"({expr}) * 1000").use_value_for_time(use_value_for_time=True).step("60s")
    return made.title_format(title).text_format(text).tag_keys(tags)


def marks(select: series.Selector) -> list[sdk.Builder[models.AnnotationQuery]]:
    """Findings by severity, new references, and versions of the model that came."""
    made: list[sdk.Builder[models.AnnotationQuery]] = []
    for name, severity, colour in (("Pages", "page", RED), ("Tickets", "ticket", ORANGE), ("Notes", "info", BLUE)):
        made.append(_incidents(select, name, severity, colour))
    reference = select("reference_created_timestamp_seconds")
    made.append(_annotation("References", PURPLE, reference, "New reference of {{model}}", "", "model"))
    made.append(_versions(select))
    return made


def _incidents(select: series.Selector, name: str, severity: str, colour: str) -> sdk.Builder[models.AnnotationQuery]:
    def chosen(metric: str, *matchers: str) -> str:
        return select(metric, f'severity="{severity}"', *matchers)

    text = '<a href="{{url}}/findings/{{finding}}" target="_blank" rel="noreferrer">Open the incident</a>'
    expr, title = series.incidents(chosen), "{{model}}: {{failure_mode}} ({{severity}})"
    return _annotation(name, colour, expr, title, text, "model,triage").enable(enable=severity != "info")


def _versions(select: series.Selector) -> sdk.Builder[models.AnnotationQuery]:
    """Streams that are judged now and were not a minute ago: a version's name stands before the slash of a segment."""
    seen = select("window_rows", 'stream!~".+/.+"')
    expr = f"timestamp(max by (model, stream) ({seen}) unless max by (model, stream) ({seen} offset 1m))"
    return _annotation("Versions", GREY, expr, "{{model}}: first judged: {{stream}}", "", "model,stream")


def restarts() -> sdk.Builder[models.AnnotationQuery]:
    """When processes of agents started."""
    started = series.agent("process_start_time_seconds")
    return _annotation("Restarts", GREY, started, "{{instance}} started", "", "instance")
