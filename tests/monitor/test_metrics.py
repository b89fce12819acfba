from __future__ import annotations

import doctest
import math
import re
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families as parse_text

from monitor import exposition, metrics
from monitor.exposition import Exposition, escape, number_text, wants_openmetrics
from monitor.metrics import METRICS, Distribution, Histogram, Snapshot, complete, zeros

KNOWN = {
    "model": ["credit", "fraud"],
    "source": ["http"],
    "stream": ["all"],
    "detector": ["eks"],
    "task": ["checkpoint"],
    "reason": ["late"],
    "heuristic": ["near_duplicates"],
    "receiver": ["pager"],
    "kind": ["mute"],
}
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
COLLIDES = {
    *("type", "le", "quantile", "job", "instance", "namespace", "pod", "region", "zone", "cluster", "az"),
    *("datacenter", "owner", "customer", "stage", "service", "environment", "env"),
}


def full() -> Snapshot:
    """A value for every metric of the table."""
    snapshot = zeros(KNOWN)
    for metric in METRICS:
        if metric.kind == "gauge":
            snapshot[metric.name] = [(tuple("x" for _ in metric.labels), 1.5)]
    return snapshot


def parse_openmetrics(text: str) -> list[Family]:
    return list(openmetrics_parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def family_values(snapshot: Snapshot) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    _, openmetrics = Exposition().render(snapshot)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_openmetrics(openmetrics.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize("module", [metrics, exposition])
def test_examples_in_the_documentation_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_promtool_has_nothing_to_say_about_a_full_exposition() -> None:
    text, _ = Exposition().render(full())
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_metric_can_be_exported_and_is_read_back_in_both_formats() -> None:
    snapshot = full()
    assert set(snapshot) == {metric.name for metric in METRICS}
    text, openmetrics = Exposition().render(snapshot)
    families = {family.name: family for family in parse_openmetrics(openmetrics.decode())}
    assert set(families) == {metric.family for metric in METRICS}
    for metric in METRICS:
        assert (families[metric.family].type, families[metric.family].unit) == (metric.kind, metric.unit)
        assert families[metric.family].documentation == metric.help
    assert {family.name for family in parse_text(text.decode())} == set(families)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_and_labels_keep_to_the_conventions(metric: metrics.Metric) -> None:
    assert re.fullmatch(r"driftwarden_[a-z][a-z0-9_]*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not COLLIDES & set(metric.labels)
    assert metric.help.endswith(".")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_no_name_is_given_twice() -> None:
    assert len({metric.family for metric in METRICS}) == len(METRICS)


def test_zeros_cover_every_counter_whose_labels_are_known() -> None:
    made = zeros(KNOWN)
    assert set(made) == {metric.name for metric in METRICS if metric.kind != "gauge"}
    assert (("http", "fraud", "late"), 0.0) in made["driftwarden_discarded_rows_total"]
    assert len(made["driftwarden_findings_total"]) == 2 * len(metrics.SEVERITIES) * len(metrics.TRIAGES)
    assert "driftwarden_discarded_rows_total" not in zeros({"model": ["credit"]})


def test_fates_of_probes_are_others_than_those_of_rows() -> None:
    made = zeros(KNOWN)
    fates = {
        name: [labels[1] for labels, _ in made[name][: len(made[name]) // 2]]
        for name in made
        if "fate" in metrics.table()[name].labels
    }
    assert fates["driftwarden_probes_total"] == ["answered", "unfit", "left_out", "failed"]
    assert fates["driftwarden_security_rows_total"] == ["looked_at", "passed_over"]


def test_a_metric_may_have_a_set_of_its_own_for_a_label() -> None:
    made = zeros({**KNOWN, "driftwarden_ingest_refused_rows_total.reason": ["too_large"]})
    assert made["driftwarden_ingest_refused_rows_total"] == [(("http", "too_large"), 0.0)]
    assert made["driftwarden_ingest_refused_requests_total"] == [(("http", "late"), 0.0)]


def test_complete_fills_gaps_and_keeps_what_is_there() -> None:
    given: Snapshot = {"driftwarden_scheduler_runs_total": [(("prune",), 2.0)]}
    done = complete(given, zeros(KNOWN))
    assert done["driftwarden_scheduler_runs_total"] == [(("prune",), 2.0), (("checkpoint",), 0.0)]
    assert given == {"driftwarden_scheduler_runs_total": [(("prune",), 2.0)]}
    assert complete(done, zeros(KNOWN)) == done


def test_a_histogram_is_cumulative_and_its_bounds_are_inclusive() -> None:
    recorder = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        recorder.observe(value)
    frozen = recorder.freeze()
    assert frozen == Distribution((2, 1, 1), 7.65)
    name = "driftwarden_checkpoint_duration_seconds"
    filled = metrics.histogram(name)
    filled.observe(0.003)
    filled.observe(99.0)
    values = family_values({name: [((), filled.freeze())]})
    assert values[name + "_bucket", (("le", "0.0025"),)] == 0
    assert values[name + "_bucket", (("le", "0.005"),)] == 1
    assert values[name + "_bucket", (("le", "+Inf"),)] == values[name + "_count", ()] == 2
    assert values[name + "_sum", ()] == pytest.approx(99.003)


@given(st.text(max_size=20))
def test_any_label_value_survives_both_formats(value: str) -> None:
    name = "driftwarden_reference_rows"
    text, openmetrics = Exposition().render({name: [((value,), 1.0)]})
    expected = escape(value).replace(r"\\", "\0").replace(r"\"", '"').replace(r"\n", "\n").replace("\0", "\\")
    for parse, body in ((parse_text, text), (parse_openmetrics, openmetrics)):
        (family,) = parse(body.decode())
        assert [sample.labels["model"] for sample in family.samples] == [expected]
    if value.isprintable():
        assert expected == value


def test_promtool_reads_hostile_label_values() -> None:
    hostile = ["a\nb", 'c"d', "e\\f", "g\x00h", "i\rj", "\udc80", "{}=,", " ", "", "é\u2028"]
    text, _ = Exposition().render({"driftwarden_reference_rows": [((value,), 1.0) for value in hostile]})
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@given(st.floats() | st.integers(-(2**52), 2**52))
def test_a_value_survives_to_the_last_bit(value: float) -> None:
    back = float(number_text(value).replace("Inf", "inf"))
    assert back == value or (math.isnan(back) and math.isnan(value))


def test_numpy_values_are_written_like_pythons() -> None:
    assert number_text(float(np.float64(0.1))) == number_text(np.float64(0.1)) == "0.1\n"
    assert number_text(float(np.int64(3))) == number_text(3.0) == "3\n"


def test_what_the_table_does_not_know_is_refused_by_name() -> None:
    writer = Exposition()
    with pytest.raises(ValueError, match="driftwarden_invented"):
        writer.render({"driftwarden_invented": [((), 1.0)]})
    with pytest.raises(ValueError, match="driftwarden_ready has the labels"):
        writer.render({"driftwarden_ready": [(("x",), 1.0)]})
    with pytest.raises(ValueError, match="buckets"):
        writer.render({"driftwarden_checkpoint_duration_seconds": [((), Distribution((1,), 1.0))]})


def test_a_series_given_twice_is_written_once_with_its_last_value() -> None:
    text, _ = Exposition().render({"driftwarden_ready": [((), 0.0), ((), 1.0)]})
    assert text.decode().splitlines()[2:] == ["driftwarden_ready 1"]


def test_the_cache_changes_nothing_and_forgets_what_is_gone() -> None:
    writer = Exposition()
    first = writer.render(full())
    assert writer.render(full()) == first
    writer.render({"driftwarden_ready": [((), 1.0)]})
    assert len(writer._cache) == 1
    assert writer.render(full()) == first


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (PROMETHEUS_2, True),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.5", True),
        ("application/openmetrics-text", True),
        ("text/plain;version=0.0.4", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("*/*", False),
        ("", False),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.9", False),
        ("application/openmetrics-text;q=nonsense", False),
    ],
)
def test_the_format_follows_the_accept_header(accept: str, expected: bool) -> None:  # noqa: FBT001 - a table
    assert wants_openmetrics(accept) is expected


def test_the_process_is_measured_under_the_agents_prefix() -> None:
    series = metrics.process_series(metrics.process_collector())
    names = {metric.name for metric in METRICS if metric.name.startswith("driftwarden_process_")}
    assert set(series) == names
    assert series["driftwarden_process_resident_memory_bytes"][0][1] > 1e6  # type: ignore[operator]
