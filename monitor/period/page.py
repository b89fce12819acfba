"""The report as one HTML page that needs nothing else, for people who were not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from monitor import paper
from monitor.period.plots import Evidence
from monitor.period.right import Over
from monitor.web.wording import (
    KINDS,
    SEVERITIES,
    STATES,
    TRIAGES,
    clean,
    fold,
    foremost,
    instant,
    metric,
    number,
    percent,
    span,
    targets,
)

STREAMS: Final = 6
"""Streams that are drawn."""
_NAMES: Final = 8
_STYLE = """
:root { --evidence: #0067a8; --page: #b3261e; --ticket: #a86100; --info: #5c6675; }
@media (prefers-color-scheme: dark) { :root { --evidence: #5cb8f0; --page: #ff8a80; --ticket: #ffb74d;
  --info: #9aa4b2; } }
h2 { border-top: 1px solid var(--rule); padding-top: 1.2rem; } h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
.evidence { stroke: var(--evidence); }
.strongest { stroke: var(--evidence); stroke-width: 1; opacity: .55; }
.bar.page { fill: var(--page); } .bar.ticket { fill: var(--ticket); }
.bar.info { fill: var(--info); } figure { margin: .6rem 0; } .tiles { display: flex; flex-wrap: wrap; gap: .6rem;
  padding: 0; list-style: none; } .tiles li { background: var(--card); border-radius: .5rem; padding: .5rem .9rem; }
.tiles b { display: block; font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; }
details { margin: .6rem 0; } summary { cursor: pointer; }
.told { stroke: var(--ink); } .guessed { stroke: var(--evidence); }
.band { stroke: none; fill-opacity: .12; } .band.told { fill: var(--ink); }
.band.guessed { fill: var(--evidence); fill-opacity: .05; }
@media print { body { max-width: none; } details > * { display: revert; } }
"""


def html(report: Mapping[str, Any]) -> str:
    """The whole page."""
    period = f"{instant(report['since'])} to {instant(report['until'])}"
    body = [f"<h1>Driftwarden: {escape(period)}</h1>", f'<p class="faint">{escape(_about(report))}</p>']
    for model in report["models"]:
        body += _model(report, model)
    return paper.page(f"Driftwarden: {period}", "".join(body), _STYLE)


def _about(report: Mapping[str, Any]) -> str:
    days, by = span(report["until"] - report["since"]), f"driftwarden {report['version']}"
    return f"{days}; written {instant(report['made'])} by {by}, configuration {report['config']}"


def _model(report: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>{escape(model['model'])}</h2>"
    yield f"<p>{escape(headline(model))}</p>"
    yield from _tiles(model)
    yield from _streams(report, model)
    yield from _right(report, model["right"])
    yield from _changed(model["changed"])
    yield from _alarmed(model["alarmed"])
    yield from _done(model["done"])
    yield from _calibration(model["calibration"])
    yield from _coverage(model["coverage"])


def headline(model: Mapping[str, Any]) -> str:
    """The period in a sentence or two."""
    told, streams = model["alarmed"], model["streams"]
    if not streams and not told["list"]:
        return "Nothing was judged in this period: no rows came, or the agent did not run."
    begun = told["incidents"]
    if not begun:
        first = "Nothing was alarmed."
    else:
        kinds = ", ".join(f"{count} {_severity(name, count)}" for name, count in told["severity"].items())
        first = f"{begun} {'incident' if begun == 1 else 'incidents'} began ({kinds})."
    carried = f" {told['carried_in']} went on from before." if told["carried_in"] else ""
    left = told["open_at_the_end"]
    still = f" {left} {'was' if left == 1 else 'were'} still going on at the end." if left else ""
    units = [clean(one["unit"]) for one in model["changed"][:3]]
    most = f" What changed most: {', '.join(units)}." if units else ""
    return first + carried + still + most


def _severity(name: str, count: int) -> str:
    word = SEVERITIES.get(name, name).lower()
    return word if count == 1 else f"{word}s"


def _tiles(model: Mapping[str, Any]) -> Iterator[str]:
    told = model["alarmed"]
    times = [told[f"median_seconds_to_{what}"] for what in ("acknowledge", "recover")]
    shown = {
        "rows judged": f"{model['rows']:,}",
        "panes": f"{model['panes']:,}",
        "incidents": f"{told['incidents']:,}",
        "findings": f"{told['findings']:,}",
        "until acted upon (median)": "" if times[0] is None else span(times[0]),
        "until recovered (median)": "" if times[1] is None else span(times[1]),
    }
    items = (f"<li><b>{escape(value)}</b>{escape(name)}</li>" for name, value in shown.items() if value)
    yield f'<ul class="tiles">{"".join(items)}</ul>'


def _streams(report: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[str]:
    for stream in model["streams"][:STREAMS]:
        mine = [one for one in model["alarmed"]["list"] if one["stream"] == stream["stream"]]
        plot = Evidence(stream["stream"], report["since"], report["until"], stream["evidence"], mine)
        alarm = f" An alarm was open in {stream['panes_in_alarm']:,} of {stream['panes']:,} panes."
        caption = f"<b>{escape(clean(stream['stream']))}</b>: {escape(plot.says())}.{alarm}"
        yield f"<figure>{plot.svg()}<figcaption>{caption}</figcaption></figure>"
    more = model["streams_in_all"] - STREAMS
    others = f" {more} more streams had less evidence." if more > 0 else ""
    if model["streams"]:
        first = "The line is evidence against chance in all columns; what was alarmed no longer counts in it."
        first += " The thin one is the strongest column's own. The bars are incidents."
        yield f'<p class="faint">{first}{others}</p>'


def _right(report: Mapping[str, Any], told: Mapping[str, Any] | None) -> Iterator[str]:
    if told is None:
        return
    yield "<h3>Was it right?</h3>"
    known = {one["metric"]: one for one in told["metrics"]}
    one = known[foremost(list(known))]
    plot = Over(metric(one["metric"]), report["since"], report["until"], one["by_labels"], one["windows"])
    caption = "Steps: by labels, as soon as they are as good as all there. Line: as estimated without. Shaded: 95 %."
    yield f"<figure>{plot.svg()}<figcaption><b>{escape(plot.name)}</b>: {caption}</figcaption></figure>"
    heads = ["metric", "by labels", "lowest", "highest", "labels", "estimated (mean)"]
    yield from _table(heads, (_metric(one) for one in told["metrics"]))


def _metric(one: Mapping[str, Any]) -> list[str]:
    figures = [number(one[key]) for key in ("realised", "lowest", "highest")]
    return [metric(one["metric"]), *figures, f"{one['labels']:,}", number(one["estimated"])]


def _changed(units: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "<h3>What changed</h3>"
    if not units:
        yield "<p>No incident that began in this period names anything.</p>"
        return
    heads = ["what", "how large", "evidence", "since", "kind", "incidents"]
    yield from _table(
        heads,
        (
            [
                clean(one["unit"]),
                one["size"],
                "" if one["log_e"] is None else fold(one["log_e"]),
                instant(one["since"]),
                TRIAGES.get(one["triage"], one["triage"]),
                f"{len(one['incidents'])}",
            ]
            for one in units
        ),
    )


def _alarmed(told: Mapping[str, Any]) -> Iterator[str]:
    yield "<h3>What was alarmed</h3>"
    if not told["list"]:
        yield "<p>Nothing.</p>"
        return
    heads = ["when", "severity", "what", "stream", "lasted", "state", "acted upon after", "id"]
    yield from _table(heads, (_incident(one) for one in told["list"]))
    if told["left_out"]:
        yield f'<p class="faint">{told["left_out"]} older incidents are counted but not listed.</p>'


def _incident(one: Mapping[str, Any]) -> list[str]:
    joined = f" (and {one['joined']} more findings)" if one["joined"] else ""
    muted = ", muted" if one["muted"] else ""
    waited = "" if one["acknowledged"] is None else span(max(one["acknowledged"] - one["opened"], 0.0))
    return [
        instant(one["opened"]),
        SEVERITIES.get(one["severity"], one["severity"]),
        one["title"] + joined,
        clean(one["stream"]),
        "" if one["closed"] is None else span(max(one["closed"] - one["opened"], 0.0)),
        STATES.get(one["state"], one["state"]) + muted,
        waited,
        one["id"],
    ]


def _done(acts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "<h3>What was done</h3>"
    if not acts:
        yield "<p>Nobody acknowledged, muted, quarantined or accepted anything.</p>"
        return
    heads = ["when", "what", "to what", "why", "who", "taken back"]
    yield from _table(heads, (_act(one) for one in acts))


def _act(one: Mapping[str, Any]) -> list[str]:
    finding = one["target"].get("finding")
    target = ", ".join([*targets(one["target"]), *([f"finding {clean(finding)}"] if finding else [])])
    until = "" if one["until"] is None else f", until {instant(one['until'])}"
    back = ""
    if one["undone"] is not None:
        back = f"{instant(one['undone'])} by {clean(one['undone_by'])}: {clean(one['undone_because'], 500)}"
    why, who = clean(one["because"], 500), clean(one["by"])
    return [instant(one["time"]), KINDS.get(one["kind"], one["kind"]), target + until, why, who, back]


def _calibration(told: Mapping[str, Any]) -> Iterator[str]:
    yield "<h3>Calibration: can the alarms be believed?</h3>"
    allowed = number(told["false_pages_allowed"], 2)
    yield (
        f"<p>Promised: {escape(told['promised'])}, shifts of less than {percent(told['smallest_shift'])} of the rows "
        f"tolerated. Over {told['panes']:,} panes that allows {allowed} false pages; {told['pages']} "
        f"{'page was' if told['pages'] == 1 else 'pages were'} raised.</p>"
    )
    check = told["selfcheck"]
    if check is None:
        yield '<p class="faint">The agent\'s own figures are not here: it is not running, or began just now.</p>'
        return
    yield f"<p>{escape(selfcheck(check))}</p>"


def selfcheck(check: Mapping[str, float]) -> str:
    """What the agent measured on itself since its start."""
    panes, false = check.get("panes", 0.0), check.get("false_alarms", 0.0)
    first = f"On itself, since its start: {false:g} false pages in {panes:,.0f} resampled panes without a shift."
    injected = check.get("injected", 0.0)
    if not injected:
        return first
    found, delay = check.get("found", 0.0), check.get("delay_panes")
    after = "" if delay is None else f", half of them within {delay:g} panes"
    return f"{first} Of {injected:g} shifts of twice the smallest one that matters, {found:g} were found{after}."


def _coverage(told: Mapping[str, Any]) -> Iterator[str]:
    modes = told["modes"]
    watched = sum(one["status"] in ("watched", "in part") for one in modes)
    yield f"<h3>Coverage</h3><details><summary>{watched} of {len(modes)} failure modes are watched"
    yield f" (told from the {escape(told['source'])})</summary>"
    heads = ["", "failure mode", "watched", "by", "missing to watch more"]
    yield from _table(heads, (_mode(one) for one in modes))
    yield "</details>"


def _mode(one: Mapping[str, Any]) -> list[str]:
    by = [detector["detector"] for detector in one["detectors"]]
    more = f" and {len(by) - _NAMES} more" if len(by) > _NAMES else ""
    missing = [gap["key"] or gap["name"].replace("_", " ") for gap in one["missing"]]
    return [str(one["number"]), one["title"], one["status"], ", ".join(by[:_NAMES]) + more, ", ".join(missing)]


def _table(heads: Sequence[str], rows: Iterator[list[str]]) -> Iterator[str]:
    yield f'<div class="scroll"><table><thead>{paper.line("th", list(heads))}</thead><tbody>'
    for row in rows:
        yield paper.line("td", row)
    yield "</tbody></table></div>"
