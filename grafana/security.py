"""What people do to models: queries, their senders, odd rows, labels, and what was made of all that."""

from __future__ import annotations

from detectors.heuristics import HEURISTICS, LABEL
from grafana import frame, panels, series, tables
from grafana.panels import Query
from grafana.sdk import models
from grafana.series import fleet
from grafana.tables import Column, as_bar, as_words, in_unit

_LOOK = frame.Look(
    frame.SECURITY,
    "Driftwarden / Security",
    "Who asks what of the models: clusters of near-duplicate queries, suspect senders, odd rows and labels, and the "
    "verdicts of arbitration. Senders stand under pseudonyms; those who hold the key can resolve them.",
    "24h",
    "1m",
)
_LABELS = "|".join(one.name for one in HEURISTICS.values() if one.about == LABEL)
_VERDICTS = {
    "attack": panels.RED,
    "data_fault": panels.PURPLE,
    "shift": panels.ORANGE,
    "unknown": panels.GREY,
    "benign": panels.GREEN,
}
_WATCHED = panels.words(("off: the log lacks what it needs", "watching"), (panels.GREY, panels.GREEN))


def build() -> models.Dashboard:
    """The whole dashboard."""
    rows = [
        ("Is anybody up to something?", _now()),
        ("Who?", _suspects()),
        ("What was made of it", _verdicts()),
        ("Rows, queries and senders", _queries()),
        ("What can be seen at all", _watch()),
    ]
    return frame.dashboard(_LOOK, frame.of_models(), frame.marks(fleet), rows)


def _now() -> list[panels.Panel]:
    attack = 'triage="attack"'
    looked, passed = (
        f"sum(increase({fleet('security_rows_total', f'fate={fate}')}[$__range]))"
        for fate in ('"looked_at"', '"passed_over"')
    )
    return [
        panels.number(
            "Attacks open",
            "Findings that arbitration calls an attack, and that nobody has acknowledged or muted.",
            [Query(f"sum({fleet('findings_open', attack)})", "attacks")],
            look=panels.ANY_IS_BAD,
        ),
        panels.number(
            "Attacks found",
            "In this time range.",
            [Query(series.within(fleet("findings_total", attack)), "attacks")],
            look=panels.ANY_IS_WORK,
        ),
        panels.number(
            "Suspicions",
            "Suspicions beyond their threshold in this time range, also benign ones.",
            [Query(series.within(fleet("suspicions_total")), "suspicions")],
        ),
        panels.number(
            "Query clusters",
            "Clusters of near-duplicate queries among those remembered.",
            [Query(f"sum({fleet('query_clusters')})", "clusters")],
        ),
        panels.number(
            "Senders tracked",
            "Senders that counters are kept for.",
            [Query(f"sum({fleet('clients_tracked')})", "senders")],
        ),
        panels.dial(
            "Rows looked at",
            "Share of the rows that were looked at one by one; the rest came faster than security.rows_per_second.",
            Query(f"{looked} / ({looked} + {passed})", "looked at"),
            "percentunit",
            panels.Steps(panels.RED, ((0.1, panels.ORANGE), (0.5, panels.GREEN))),
        ),
    ]


def _suspects() -> list[panels.Panel]:
    labels = {"model": "Model", "suspect": "Suspect", "heuristic": "Heuristic", "url": ""}
    against = series.largest(series.linked(fleet("suspect_log_e"), "model", "suspect", "heuristic"), *labels)
    evidence = Column("Evidence", f"clamp_min({against}, 0)", (*in_unit("short", 1), *as_bar(panels.PLAIN)))
    over_time = series.largest(f"clamp_min({fleet('suspect_log_e')}, 0)", "model", "suspect")
    incidents = ("Open the incidents", "${__data.fields.url}/?model=${__data.fields.Model}")
    return [
        tables.table(
            "Most suspect senders",
            "Evidence against the most suspect senders, as a natural logarithm, by "
            "heuristic. The name of a suspect is a pseudonym: `driftwarden pseudonym` tells, to those who "
            "hold the key, which sender it is. One heuristic is no proof.",
            labels,
            [evidence],
            looks={"Suspect": (panels.links(incidents, frame.MODEL_PAGE),)},
            sort="Evidence",
            width=12,
            height=9,
        ),
        panels.lines(
            "Evidence against senders",
            "The strongest heuristic of each suspect, over time.",
            [Query(over_time, "{{model}}: {{suspect}}")],
            height=9,
        ),
    ]


def _verdicts() -> list[panels.Panel]:
    found = {"model": "Model", "severity": "Severity", "failure_mode": "Failure mode", "finding": "Finding", "url": ""}
    attacks = series.largest(
        series.linked(fleet("finding_opened_timestamp_seconds", 'triage="attack"'), "finding"), *found
    )
    poisoned = series.news(fleet("suspicions_total", f'heuristic=~"{_LABELS}"'), "heuristic")
    return [
        panels.coloured(
            panels.counts(
                "Verdicts",
                "Suspicions by what arbitration made of them: benign ones open no finding.",
                [Query(series.news(fleet("suspicions_total"), "verdict"), "{{verdict}}")],
                width=8,
            ),
            _VERDICTS,
        ),
        panels.counts(
            "Suspicions by heuristic",
            "Which heuristic went beyond its threshold.",
            [Query(series.news(fleet("suspicions_total"), "heuristic"), "{{heuristic}}")],
            width=8,
        ),
        panels.counts(
            "Poisoning",
            "Suspicions about labels: sources that mislabel, copies, backdoors, feedback. They need labels in the log.",
            [Query(poisoned, "{{heuristic}}")],
            width=8,
        ),
        tables.table(
            "Open attacks",
            "Incidents that arbitration calls an attack and that nobody has acknowledged or muted, the newest.",
            found,
            [Column("Opened", f"({attacks}) * 1000", in_unit("dateTimeFromNow"))],
            looks={
                "Finding": (panels.links(frame.INCIDENT),),
                "Model": (panels.links(frame.to_model()),),
                "Severity": as_words(panels.painted(panels.SEVERITY_COLOURS)),
            },
            sort="Opened",
            height=6,
        ),
    ]


def _queries() -> list[panels.Panel]:
    looked = fleet("security_rows_total", 'fate="looked_at"')
    repeats = f"{series.rate(fleet('exact_repeats_total'), 'model')} / {series.rate(looked, 'model')}"
    return [
        panels.lines(
            "Odd rows",
            "Rows a second that a heuristic found odd. Some of every traffic is odd.",
            [Query(series.rate(fleet("row_flags_total"), "heuristic"), "{{heuristic}}")],
            axis="rows/s",
        ),
        panels.lines(
            "Query clusters over time",
            "Clusters of near-duplicate queries among those remembered, by model.",
            [Query(f"sum by (model) ({fleet('query_clusters')})", "{{model}}")],
        ),
        panels.lines(
            "Exact repeats",
            "Share of the queries that came before, digest for digest.",
            [Query(repeats, "{{model}}")],
            "percentunit",
            width=8,
        ),
        panels.lines(
            "Senders",
            "Senders tracked, by model, and those a second that were forgotten to make room.",
            [
                Query(f"sum by (model) ({fleet('clients_tracked')})", "{{model}}: tracked"),
                Query(series.rate(fleet("clients_evicted_total"), "model"), "{{model}}: forgotten a second"),
            ],
            width=8,
        ),
        panels.lines(
            "Cost",
            "Seconds of CPU time a second spent on rows one by one, senders and labels.",
            [Query(series.rate(fleet("security_seconds_total"), "model"), "{{model}}")],
            "s",
            width=8,
        ),
    ]


def _watch() -> list[panels.Panel]:
    active = Column("Watching", series.largest(fleet("heuristic_active"), "model", "heuristic"), as_words(_WATCHED))
    labels = {"heuristic": "Heuristic", "model": "Model"}
    return [
        tables.table(
            "Heuristics",
            "What watches each model. One that is off lacks something in the log or in the "
            "reference: `driftwarden report --coverage` tells what.",
            labels,
            [active],
            sort="Watching",
            width=12,
            height=9,
        ),
        panels.lines(
            "Rows by fate",
            "Rows looked at one by one, and rows passed over because there were more than security.rows_per_second.",
            [Query(series.rate(fleet("security_rows_total"), "model", "fate"), "{{model}}: {{fate}}")],
            axis="rows/s",
            height=9,
        ),
        panels.lines(
            "Active probes",
            "Rows a second put forward to ask the model about again, by fate. None without security.probes.",
            [Query(series.rate(fleet("probes_total"), "model", "fate"), "{{model}}: {{fate}}")],
            width=8,
            axis="rows/s",
        ),
        panels.lines(
            "Rows sent by probes",
            "Rows a second that the agent itself sends to the model, copies too.",
            [Query(series.rate(fleet("probe_rows_total"), "model"), "{{model}}")],
            width=8,
            axis="rows/s",
        ),
        panels.timeline(
            "Probes leave the endpoint alone",
            "While the endpoint failed or was slow, probes leave it alone. Empty without security.probes.",
            Query(series.largest(fleet("probe_breaker_open"), "model"), "{{model}}"),
            panels.words(("asking", "left alone"), (panels.GREEN, panels.ORANGE)),
            width=8,
        ),
    ]
