"""The fleet: every model's state at a glance, and what is open."""

from __future__ import annotations

from grafana import frame, panels, series, tables
from grafana.panels import Query
from grafana.sdk import models
from grafana.series import fleet
from grafana.tables import Column, as_bar, as_colour, as_words, in_unit

_LOOK = frame.Look(
    frame.FLEET,
    "Driftwarden / Fleet",
    "Which models have drifted, are attacked or get bad data, and who is on it. Start here.",
    "24h",
    "1m",
)


def build() -> models.Dashboard:
    """The whole dashboard."""
    rows = [("Now", _now()), ("Models and incidents", _which()), ("Over time", _over_time())]
    return frame.dashboard(_LOOK, frame.of_models(), frame.marks(fleet), rows)


def _open(severity: str, *matchers: str) -> str:
    return fleet("findings_open", f'severity="{severity}"', *matchers)


def _now() -> list[panels.Panel]:
    stale = (
        f"(time() - {series.largest(fleet('last_evaluation_timestamp_seconds'), 'model')})"
        f" > 3 * ({series.largest(fleet('evaluation_interval_seconds'), 'model')} > 0)"
    )
    return [
        panels.number(
            "Models watched",
            "Models that the chosen agents have a reference for.",
            [Query(f"count(count by (model) ({fleet('streams')}))")],
        ),
        panels.number(
            "Pages open",
            "Findings that ask for somebody now and that nobody has acknowledged or muted.",
            [Query(f"sum({_open('page')})")],
            look=panels.ANY_IS_BAD,
        ),
        panels.number(
            "Tickets open",
            "Findings to be looked at in working hours that nobody has acknowledged or muted.",
            [Query(f"sum({_open('ticket')})")],
            look=panels.ANY_IS_WORK,
        ),
        panels.number(
            "Somebody is on it",
            "Findings that are acknowledged or muted and not over.",
            [
                Query(f"sum by (state) ({fleet('findings_attended')})", "{{state}}"),
                Query(f"sum({fleet('mutes_active')})", "mutes that hold"),
            ],
        ),
        panels.number(
            "Models not judged in time",
            "Models with panes by time whose newest pane is three panes old: no rows come, or the agent is stuck.",
            [Query(f"count({stale}) or vector(0)")],
            look=panels.ANY_IS_BAD,
        ),
        panels.number(
            "Agents ready",
            "Agents that accept and judge rows. Silence of an agent is not health of its models.",
            [Query(f"sum({series.agent('ready')}) or vector(0)")],
            look=panels.NONE_IS_BAD,
        ),
    ]


def _which() -> list[panels.Panel]:
    return [_models(), _incidents()]


def _models() -> panels.Panel:
    return tables.table(
        "Models",
        "One row for each model. State is the worst of what is open. Evidence is that of its strongest stream as a "
        "share of the alarm threshold: 100 % while an alarm is open. Click a name for the model's dashboard or page.",
        {"model": "Model", "url": ""},
        [*_states(), *_figures()],
        looks={
            "Model": (panels.links(frame.to_model(), frame.MODEL_PAGE, frame.to_performance(), frame.to_security()),)
        },
        sort="State",
        height=9,
    )


def _states() -> list[Column]:
    pages, tickets = (f"sum by (model) ({_open(severity)})" for severity in ("page", "ticket"))
    return [
        Column("State", series.state(fleet), as_words(panels.STATE_WORDS)),
        Column("Pages", pages, as_colour(panels.ANY_IS_BAD)),
        Column("Tickets", tickets, as_colour(panels.ANY_IS_WORK)),
        Column("Evidence", series.share_of_threshold(fleet, "model"), _evidence()),
    ]


def _figures() -> list[Column]:
    reference = series.largest(fleet("reference_created_timestamp_seconds"), "model")
    page = series.linked(fleet("streams"), "model")
    return [
        Column("Rows/s", series.rate(fleet("processed_rows_total"), "model"), in_unit("short", 1)),
        Column("Since last judged", f"time() - {series.largest(_judged(), 'model')}", in_unit("s", 0)),
        Column("Reference age", f"time() - {reference}", in_unit("s", 0)),
        Column("Streams", series.largest(page, "model", "url"), in_unit("short", 0)),
    ]


def _judged() -> str:
    return f"({fleet('last_evaluation_timestamp_seconds')} > 0)"


def _evidence() -> tables.Properties:
    return (*in_unit("percentunit", 0), *as_bar(panels.NEAR_ONE, 1))


def _incidents() -> panels.Panel:
    labels = {
        "model": "Model",
        "severity": "Severity",
        "triage": "Triage",
        "failure_mode": "Failure mode",
        "finding": "Finding",
        "url": "",
    }
    opened = Column("Opened", f"({series.incidents(fleet)}) * 1000", in_unit("dateTimeFromNow"))
    return tables.table(
        "Open incidents",
        "The newest 20 of each model that nobody has acknowledged or muted. What joins an incident is on its page: 300 "
        "columns that drift together are one row here. Click a finding for its page with the evidence.",
        labels,
        [opened],
        looks={
            "Finding": (panels.links(frame.INCIDENT),),
            "Model": (panels.links(frame.to_model(), frame.MODEL_PAGE),),
            "Severity": as_words(panels.painted(panels.SEVERITY_COLOURS)),
            "Triage": as_words(panels.painted(panels.TRIAGE_COLOURS)),
        },
        sort="Opened",
    )


def _over_time() -> list[panels.Panel]:
    evidence = panels.lines(
        "Evidence against the threshold",
        "Evidence of each model's strongest stream as a share of the alarm threshold; 100 % while an alarm is open.",
        [Query(series.share_of_threshold(fleet, "model"), "{{model}}"), Query("vector(1)", "alarm")],
        "percentunit",
    )
    found = series.news(fleet("findings_total"), "triage")
    return [
        panels.timeline(
            "State by model",
            "The worst that was open: quiet, noted (info only), attended (acknowledged or muted), ticket, page.",
            Query(series.state(fleet), "{{model}}"),
            panels.STATE_WORDS,
        ),
        panels.limit(evidence, "alarm"),
        panels.coloured(
            panels.counts(
                "Findings opened",
                "By triage: a shift of the world, an attack, a fault of the data, or not to be told apart.",
                [Query(found, "{{triage}}")],
            ),
            panels.TRIAGE_COLOURS,
        ),
        panels.lines(
            "Rows judged",
            "Rows a second that entered a pane, by model. A model without rows cannot be judged.",
            [Query(series.rate(fleet("processed_rows_total"), "model"), "{{model}}")],
            axis="rows/s",
        ),
        panels.counts(
            "What became of findings",
            "Interventions by kind, and findings that ended because the stream is back to normal.",
            [
                Query(series.news(fleet("interventions_total"), "kind"), "{{kind}}"),
                Query(series.news(fleet("findings_recovered_total")), "recovered"),
            ],
        ),
    ]
