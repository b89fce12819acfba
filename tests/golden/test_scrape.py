"""What Prometheus sees of a small run, to the letter, and what promtool says about it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.golden import run

PARSERS: Final[dict[str, Callable[[str], Iterable[Metric]]]] = {
    "scrape.txt": text_string_to_metric_families,
    "scrape.openmetrics": openmetrics.text_string_to_metric_families,
}


def golden(name: str) -> dict[str, Metric]:
    """The families of a golden file, as a client reads them."""
    return {one.name: one for one in PARSERS[name]((run.FOLDER / name).read_text("utf-8"))}


def test_the_scrape_is_the_golden_one_to_the_letter() -> None:
    wanted = [(run.FOLDER / name).read_text("utf-8").splitlines() for name in run.FILES]
    assert [written.decode().splitlines() for written in run.scrape()] == wanted


def test_the_golden_scrape_shows_the_drift_and_names_its_columns() -> None:
    families = golden("scrape.txt")
    pages = {
        one.labels["triage"]: one.value
        for one in families["driftwarden_findings"].samples
        if one.labels["severity"] == "page"
    }
    assert pages["shift"] + pages["data_fault"] >= 1
    assert pages["unknown"] + pages["attack"] == 0
    threshold = families["driftwarden_alarm_threshold_log_e"].samples[0].value
    strong = {
        (one.labels["feature"], one.labels["detector"])
        for one in families["driftwarden_feature_log_e"].samples
        if one.labels["stream"] == "v1" and one.value > threshold
    }
    assert {("age", "e_ks"), ("country", "e_missing")} <= strong


def test_both_formats_carry_the_same_samples() -> None:
    both = [
        sorted(
            (sample.name, sorted(sample.labels.items()), sample.value)
            for family in golden(name).values()
            for sample in family.samples
        )
        for name in run.FILES
    ]
    assert len(both[0]) > 100
    assert both[0] == both[1]


def test_promtool_has_nothing_to_say_about_the_golden_scrape() -> None:
    text = (run.FOLDER / run.FILES[0]).read_bytes()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
