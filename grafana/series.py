"""PromQL in pieces: selectors that keep to the dashboard's variables, and the expressions that several panels share.

Evidence is a logarithm and begins at minus infinity, which no axis can show; below 0 it speaks for nothing. So every
panel shows it from 0 on.
"""

from __future__ import annotations

from collections.abc import Callable

Selector = Callable[..., str]

_AGENT = 'job=~"$job", instance=~"$instance"'
_LOG_10 = 2.302585092994046
STATES: tuple[str, ...] = ("quiet", "noted", "attended", "ticket", "page")
"""What the numbers of `state` mean, from 0."""


def _selector(scope: str) -> Selector:
    def select(metric: str, *matchers: str) -> str:
        return f"driftwarden_{metric}{{{', '.join((scope, *matchers))}}}"

    return select


agent = _selector(_AGENT)
"""A metric of the chosen agents, its name without the prefix, and further matchers."""
fleet = _selector(f'{_AGENT}, model=~"$model"')
"""The same for the chosen models."""
model = _selector(f'{_AGENT}, model="$model"')
"""The same for the one chosen model."""
stream = _selector(f'{_AGENT}, model="$model", stream=~"$stream"')
"""The same for streams of the one chosen model."""
figures = _selector(f'{_AGENT}, model="$model", metric=~"$metric"')
"""The same for the chosen metric of performance of the one chosen model."""
figure = _selector(f'{_AGENT}, model="$model", stream=~"$stream", metric=~"$metric"')
"""The same for its streams."""


def rate(series: str, *by: str) -> str:
    """Per second, summed by labels."""
    return f"sum by ({', '.join(by)}) (rate({series}[$__rate_interval]))"


def news(series: str, *by: str) -> str:
    """How often since the last point of the plot, in whole numbers, summed by labels."""
    return f"round(sum by ({', '.join(by)}) (increase({series}[$__rate_interval])))"


def within(series: str, *by: str) -> str:
    """How often in the time range of the dashboard, in whole numbers, summed by labels."""
    return f"round(sum by ({', '.join(by)}) (increase({series}[$__range])))"


def largest(series: str, *by: str) -> str:
    """The greatest by labels; of agents that judge the same, the one that says most."""
    return f"max by ({', '.join(by)}) ({series})"


def leading(number: int, expr: str, weight: str, *on: str) -> str:
    """The series of ``expr`` that weigh most in the whole time range: the same ones at every point of a plot."""
    return f"{expr} and on ({', '.join(on)}) topk({number}, {weight})"


def total(series: str, *by: str) -> str:
    """A counter's increase over the whole time range, as the weight of a series."""
    return f"sum by ({', '.join(by)}) (increase({series}[$__range] @ end()))"


def peak(series: str, *by: str) -> str:
    """A gauge's largest value in the whole time range, as the weight of a series."""
    return largest(f"max_over_time({series}[$__range] @ end())", *by)


def quantile(share: float, buckets: str, *by: str) -> str:
    """A quantile of a histogram, by labels."""
    return f"histogram_quantile({share:g}, {rate(buckets, 'le', *by)})"


def share_of_threshold(select: Selector, *by: str) -> str:
    """Evidence as a share of the alarm threshold, the greatest by labels; 1 while an alarm is open.

    Evidence starts anew after an alarm: without the second half a model in alarm would look like one at peace.
    """
    share, alarm = (
        f"clamp_min({select('evidence_log_e')}, 0) / {select('alarm_threshold_log_e')}",
        select("alarm_active"),
    )
    return largest(f"{share} * (1 - {alarm}) + {alarm}", *by)


def strength(log_p: str, *by: str) -> str:
    """Minus the decimal logarithm of the smallest p-value by labels: 3 is one in a thousand; cut at 300."""
    return f"clamp_max(-min by ({', '.join(by)}) ({log_p}) / {_LOG_10:.6f}, 300)"


def state(select: Selector) -> str:
    """The worst that is open of each model, as a place in `STATES`."""
    found = [f"({select('findings_attended')} > bool 0) * {STATES.index('attended')}"]
    for severity, name in (("page", "page"), ("ticket", "ticket"), ("info", "noted")):
        matcher = f'severity="{severity}"'
        found.append(f"({select('findings_open', matcher)} > bool 0) * {STATES.index(name)}")
    return f"max by (model) ({' or '.join(found)})"


def linked(series: str, *on: str) -> str:
    """The series with the address of the pages in label ``url``, where the agent serves pages.

    ``on`` are labels that tell its series apart.
    """
    labels = ", ".join(("job", "instance", *on))
    return f"({series} * on (job, instance) group_left (url) {agent('web_info')}) or on ({labels}) {series}"


def incidents(select: Selector) -> str:
    """When each open incident was opened, with all that a link to it needs."""
    found = linked(select("finding_opened_timestamp_seconds"), "finding")
    return largest(found, "model", "severity", "triage", "failure_mode", "finding", "url")
