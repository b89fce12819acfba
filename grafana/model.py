"""One model: is it drifting, how sure is that, what moved, where, and against which reference."""

from __future__ import annotations

from grafana import frame, panels, series, tables
from grafana.panels import Query
from grafana.sdk import models
from grafana.series import model, stream
from grafana.tables import Column, as_bar, as_words, in_unit

_LOOK = frame.Look(
    frame.MODEL,
    "Driftwarden / Model",
    "One model: evidence against the alarm threshold, what moved and by how much, segments, joint tests, and what the "
    "promise of few false alarms is worth.",
    "24h",
    "1m",
)
_LINE = "alarm threshold"
_NOT_YET = "It is empty until a first window is full."
_MEASURES = {
    "total_variation": "Moved share",
    "ks_distance": "KS distance",
    "wasserstein_distance": "Wasserstein",
    "psi": "PSI",
    "jensen_shannon": "Jensen-Shannon",
    "mean_difference": "Mean moved by",
    "standard_deviation_ratio": "Spread ratio",
}


def build() -> models.Dashboard:
    """The whole dashboard."""
    rows = [
        ("Is it drifting?", _now()),
        ("How sure is that?", _evidence()),
        ("What moved, and by how much?", _moved()),
        ("Where: versions, segments and their mix", _segments()),
        ("All columns together", _joint()),
        ("Reference and data", _data()),
        ("Can the alarms be believed?", _promise()),
    ]
    return frame.dashboard(_LOOK, frame.of_streams(), frame.marks(model), rows)


def _now() -> list[panels.Panel]:
    reference = series.largest(model("reference_created_timestamp_seconds"))
    judged = series.largest(f"({stream('last_evaluation_timestamp_seconds')} > 0)")
    found = f"sum by (severity) ({model('findings_open')})"
    return [
        panels.word(
            "State",
            "The worst that is open, or attended where all that is open is acknowledged or muted.",
            Query(series.state(model), "{{model}}"),
        ),
        panels.dial(
            "Evidence",
            "The strongest stream's evidence as a share of its alarm threshold; 100 % while an alarm is open.",
            Query(series.share_of_threshold(stream), "evidence"),
            "percentunit",
            panels.NEAR_ONE,
        ),
        panels.number(
            "Findings open",
            "By severity; neither acknowledged nor muted.",
            [Query(found, "{{severity}}")],
            look=panels.ANY_IS_WORK,
        ),
        panels.number(
            "Since last judged",
            "Time since the newest pane of any chosen stream was judged.",
            [Query(f"time() - {judged}", "ago")],
            "s",
        ),
        panels.number(
            "Reference age",
            "Time since the reference was measured. An old one compares with a world gone by.",
            [Query(f"time() - {reference}", "age")],
            "s",
        ),
        panels.number(
            "Pages against the budget",
            "In this time range: how many false pages the budget allows for the panes "
            "judged, and how many pages there were, true and false.",
            _allowance(),
        ).decimals(2),
    ]


def _allowance() -> list[Query]:
    budget = series.largest(model("alarm_budget_panes"))
    panes = f"sum(increase({model('panes_closed_total')}[$__range]))"
    pages = model("findings_total", 'severity="page"')
    return [Query(f"{panes} / {budget}", "false ones allowed"), Query(series.within(pages), "opened")]


def _evidence() -> list[panels.Panel]:
    strongest = series.largest(f"clamp_min({stream('evidence_log_e')}, 0)", "stream")
    queries = [Query(strongest, "{{stream}}"), Query(series.largest(stream("alarm_threshold_log_e")), _LINE)]
    text = (
        "Natural logarithm of each stream's evidence that the rows differ from the reference by more than matters. It "
        "alarms at the red line, and starts anew after an alarm. Below 0 it speaks for nothing and is drawn as 0."
    )
    columns = {"severity": "Severity", "triage": "Triage", "failure_mode": "Failure mode", "finding": "Finding"}
    opened = Column("Opened", f"({series.incidents(model)}) * 1000", in_unit("dateTimeFromNow"))
    looks = {
        "Finding": (panels.links(frame.INCIDENT),),
        "Severity": as_words(panels.painted(panels.SEVERITY_COLOURS)),
        "Triage": as_words(panels.painted(panels.TRIAGE_COLOURS)),
    }
    return [
        panels.limit(panels.lines("Evidence against the threshold", text, queries, width=24, height=9), _LINE),
        panels.timeline(
            "Alarms by stream",
            "While an alarm of a stream is open.",
            Query(series.largest(stream("alarm_active"), "stream"), "{{stream}}"),
            panels.words(("quiet", "alarm"), (panels.GREEN, panels.RED)),
            width=12,
        ),
        tables.table(
            "Open incidents",
            "The newest 20 that nobody has acknowledged or muted; click a finding for its page.",
            columns | {"model": "", "url": ""},
            [opened],
            looks=looks,
            sort="Opened",
            width=12,
        ),
    ]


def _effect(measure: str, *by: str) -> str:
    return series.largest(stream("feature_effect", f'measure="{measure}"'), *by)


def _columns() -> str:
    return series.largest(f"clamp_min({stream('feature_log_e')}, 0)", "feature")


def _leading_columns() -> str:
    return series.leading(10, _columns(), series.peak(stream("feature_log_e"), "feature"), "feature")


def _leading(measure: str) -> str:
    weight = series.peak(stream("feature_effect", f'measure="{measure}"'), "feature")
    return series.leading(10, _effect(measure, "feature"), weight, "feature")


def _moved() -> list[panels.Panel]:
    share = _effect("total_variation", "feature")
    wanted = Query(series.largest(model("smallest_shift")), "smallest that matters")
    moved = panels.lines(
        "Moved share by column",
        "Share of the rows that would have to be changed for the column to look like the reference (total variation "
        "of the window). Some is chance: see the smallest detectable shift in the table below.",
        [Query(_leading("total_variation"), "{{feature}}"), wanted],
        "percentunit",
    )
    return [
        panels.lines(
            "Evidence by column",
            "The ten columns with most evidence, each by its strongest detector.",
            [Query(_leading_columns(), "{{feature}}")],
        ),
        panels.limit(moved, wanted.legend),
        _sizes(),
        tables.ends(
            "Before and after, in this time range",
            "Moved share of each column in the first and in the last "
            "window of the time range, and at most in between. Distributions before and after are on the "
            "incident's page.",
            Query(share, "{{feature}}"),
            "percentunit",
            "Column",
        ),
        panels.bars(
            "Columns with most evidence now",
            "Natural logarithm of the evidence; the strongest detector counts.",
            Query(f"sort_desc(topk(10, {_columns()}))", "{{feature}}"),
            "short",
            panels.PLAIN,
            width=12,
        ),
        panels.lines(
            "Stability index by column",
            "Population stability index of the window, the ten largest. By custom 0.1 is worth a look, 0.25 a change; "
            "unlike evidence it takes no account of chance.",
            [Query(_leading("psi"), "{{feature}}")],
        ),
        panels.lines(
            "Spread against the reference",
            "Standard deviation of the window as a multiple of the reference's.",
            [Query(_effect("standard_deviation_ratio", "feature"), "{{feature}}")],
        ),
    ]


def _sizes() -> panels.Panel:
    by = ("stream", "feature")
    detectable = series.largest(stream("feature_smallest_detectable_shift"), *by)
    share = in_unit("percentunit", 1)
    columns = [
        Column(
            "Evidence",
            series.largest(f"clamp_min({stream('feature_log_e')}, 0)", *by),
            (*in_unit("short", 1), *as_bar(panels.PLAIN)),
        )
    ]
    for measure, heading in _MEASURES.items():
        columns.append(
            Column(heading, _effect(measure, *by), share if heading == "Moved share" else in_unit("short", 3))
        )
    columns.insert(2, Column("Detectable", detectable, share))
    return tables.table(
        "How far columns have moved",
        "The columns with most evidence, in several measures. Detectable is the smallest shift that a window of this "
        "size tells from chance: a share below says nothing. Wasserstein and mean are in the column's own unit.",
        {"feature": "Column", "stream": "Stream"},
        columns,
        sort="Evidence",
        height=10,
    )


def _segments() -> list[panels.Panel]:
    behind = series.largest(f"({stream('watermark_timestamp_seconds')} > 0)", "stream")
    return [
        tables.table(
            "Streams",
            "Each model version, and each segment of it, is judged on its own and compared with its own rows of the "
            "reference. Click a stream's evidence above to single it out.",
            {"stream": "Stream"},
            [
                Column(
                    "Evidence",
                    series.share_of_threshold(stream, "stream"),
                    (*in_unit("percentunit", 0), *as_bar(panels.NEAR_ONE, 1)),
                ),
                Column(
                    "Alarm",
                    series.largest(stream("alarm_active"), "stream"),
                    as_words(panels.words(("quiet", "alarm"), (panels.GREEN, panels.RED))),
                ),
                Column("Rows in window", series.largest(stream("window_rows"), "stream"), in_unit("short", 0)),
                Column("Panes judged", series.within(stream("panes_closed_total"), "stream"), in_unit("short", 0)),
                Column("Event time behind", f"time() - {behind}", in_unit("s", 0)),
                Column("Late rows", series.within(stream("late_rows_total"), "stream"), in_unit("short", 0)),
            ],
            sort="Evidence",
            width=12,
        ),
        panels.lines(
            "Mix of the traffic",
            "How surprising the window's mix of segments is: 3 is one in a thousand, 6 "
            "one in a million. A changed mix can look like drift of the columns. There is one only where "
            "there are segments.",
            [Query(series.strength(stream("mix_log_p"), "stream"), "{{stream}}")],
            width=12,
            axis="-log10 p",
        ),
    ]


def _joint() -> list[panels.Panel]:
    joint = series.largest(f"clamp_min({stream('joint_log_e')}, 0)", "view")
    return [
        panels.lines(
            "Joint evidence",
            "Evidence that the columns moved together, the scores, or an embedding: sees what no single column shows.",
            [Query(joint, "{{view}}")],
            width=8,
        ),
        panels.lines(
            "Joint tests",
            "How surprising the last full window is to each joint test: 3 is one in a thousand. " + _NOT_YET,
            [Query(series.strength(stream("joint_log_p"), "view", "detector"), "{{view}}, {{detector}}")],
            width=8,
            axis="-log10 p",
        ),
        panels.lines(
            "Joint effect",
            "Probability mass that moved jointly in the last full window, at least. " + _NOT_YET,
            [Query(series.largest(stream("joint_effect"), "view"), "{{view}}")],
            "percentunit",
            width=8,
        ),
    ]


def _data() -> list[panels.Panel]:
    return [
        panels.number(
            "Reference rows", "Rows of the reference.", [Query(series.largest(model("reference_rows")), "rows")]
        ),
        panels.number(
            "Columns watched",
            "Monitored columns by kind.",
            [Query(series.largest(model("reference_columns"), "kind"), "{{kind}}")],
        ),
        panels.number(
            "References replaced",
            "Re-baselines in this time range: each is recorded with who and why.",
            [Query(series.within(model("rebaselines_total")), "references")],
        ),
        panels.number(
            "Columns without series",
            "Series of columns left out because of top_features. They are judged "
            "all the same; only Prometheus does not get them.",
            [Query(f"sum({model('series_suppressed')})", "series")],
        ),
        panels.number(
            "Rows in window",
            "Rows in the windows of the chosen streams: few rows see only large shifts.",
            [Query(f"sum({stream('window_rows')})", "rows")],
        ),
        panels.number(
            "Segments not judged alone",
            "Values of segment columns beyond max_segments, or without rows in "
            "the reference: judged only in the whole.",
            [Query(f"sum({model('segments_suppressed')})", "segments")],
            look=panels.ANY_IS_WORK,
        ),
        panels.lines(
            "Rows received, judged and discarded",
            "Rows a second: received is judged plus discarded plus what waits.",
            [
                Query(series.rate(model("ingest_received_rows_total")), "received"),
                Query(series.rate(model("processed_rows_total")), "judged"),
                Query(series.rate(model("discarded_rows_total"), "reason"), "discarded: {{reason}}"),
            ],
            axis="rows/s",
        ),
        panels.counts(
            "Faults of the data",
            "Batches whose columns differ from the reference, by kind, and values of a wrong type.",
            [
                Query(series.news(model("schema_violations_total"), "kind"), "{{kind}}"),
                Query(series.news(model("type_faults_total")), "values of a wrong type"),
            ],
        ),
    ]


def _promise() -> list[panels.Panel]:
    budget = series.largest(model("alarm_budget_panes"))
    null = f"sum(increase({model('selfcheck_panes_total')}[$__range]))"
    false = series.within(model("selfcheck_false_alarms_total"))
    found, injected = (
        f"sum(increase({model(name)}[$__range]))"
        for name in ("selfcheck_found_shifts_total", "selfcheck_injected_shifts_total")
    )
    return [
        panels.number(
            "Budget left",
            "The agent judges rows resampled from the reference beside the traffic. Allowed: "
            "false pages that the budget allows for so many panes. Raised: those there were. Left: the "
            "difference; below 0 the promise is broken.",
            [
                Query(f"{null} / {budget}", "allowed"),
                Query(false, "raised"),
                Query(f"{null} / {budget} - {false}", "left"),
            ],
            "short",
            width=8,
        ).decimals(2),
        panels.dial(
            "Injected shifts found",
            "Shifts of twice the smallest one that matters, injected into resampled "
            "rows, that would have paged in time. 1 is all.",
            Query(f"{found} / {injected}", "found"),
            "percentunit",
            panels.Steps(panels.RED, ((0.5, panels.ORANGE), (0.9, panels.GREEN))),
        ),
        panels.number(
            "Panes to a page",
            "Median panes from an injected shift to its page.",
            [Query(series.largest(model("selfcheck_delay_panes")), "panes")],
        ),
        panels.number("Panes per false page", "The budget: panes per allowed false page.", [Query(budget, "panes")]),
        panels.number(
            "Smallest shift",
            "Share of the rows that must move before an alarm is wanted.",
            [Query(series.largest(model("smallest_shift")), "share")],
            "percentunit",
        ),
    ]
