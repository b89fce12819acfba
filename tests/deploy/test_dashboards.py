"""Dashboards: the committed files are what the Python makes, and what they name exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import promql_parser as promql
import pytest
import yaml

from grafana import __main__ as command
from grafana import frame, rendered, sdk
from grafana.series import STATES, state
from monitor.metrics import FATES, PROBES, SCHEMA_KINDS, SEVERITIES, TRIAGES, VERDICTS, Metric, table
from tests.deploy.dashboard_lint import parsed, selectors

DASHBOARDS = rendered.committed()
FOLDER = rendered.DASHBOARDS.parent
HISTOGRAM = re.compile("_(bucket|sum|count)$")
OF_TARGETS = {"job", "instance"}
VALUES = {
    "severity": SEVERITIES,
    "triage": TRIAGES,
    "fate": (*FATES, *PROBES),
    "verdict": VERDICTS,
    "kind": SCHEMA_KINDS,
}
NOT_SHOWN = {
    "driftwarden_process_virtual_memory_bytes": "resident memory is what is scarce",
    "driftwarden_detector_runs_total": "failures and seconds are shown; runs are for alerts",
}
"""Metrics on no dashboard, and why."""
Json = dict[str, Any]


def everything() -> Iterator[tuple[str, str]]:
    for dashboard in DASHBOARDS.values():
        yield from rendered.expressions(dashboard)


def metric_of(name: str) -> Metric | None:
    known = table()
    return known.get(name) or known.get(HISTOGRAM.sub("", name))


def labels_of(metric: Metric) -> set[str]:
    return {*metric.labels, *OF_TARGETS, *(["le"] if metric.kind == "histogram" else [])}


def test_committed_files_are_what_the_python_makes() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in rendered.DASHBOARDS.glob("*.json")}
    assert found == rendered.rendered(), "run: python -m grafana"


def test_check_tells_a_stale_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "DASHBOARDS", tmp_path)
    assert command.main(["--check"]) == 1
    assert command.main([]) == 0
    assert command.main(["--check"]) == 0
    (tmp_path / "fleet.json").write_text("{}")
    assert command.main(["--check"]) == 1


def test_reads_back_into_the_sdk_without_loss() -> None:
    """The SDK is generated from Grafana's own schema: a field that it does not know would be gone."""
    for dashboard in DASHBOARDS.values():
        again = sdk.models.Dashboard.from_json(dashboard)
        assert json.loads(json.dumps(again, cls=sdk.JSONEncoder)) == dashboard


def test_classic_and_uneditable_under_the_names_that_links_use() -> None:
    assert set(DASHBOARDS) == {frame.FLEET, frame.MODEL, frame.PERFORMANCE, frame.SECURITY, frame.AGENT}
    assert {one["schemaVersion"] for one in DASHBOARDS.values()} == {42}


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_have_numbers_and_titles_of_their_own_and_do_not_overlap(dashboard: Json) -> None:
    panels = dashboard["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    assert len({one["title"] for one in panels}) == len(panels)
    places = [one["gridPos"] for one in panels]
    assert all(one["x"] + one["w"] <= 24 for one in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_rows_of_the_grid_are_full(dashboard: Json) -> None:
    wide: dict[int, int] = {}
    for one in dashboard["panels"]:
        wide[one["gridPos"]["y"]] = wide.get(one["gridPos"]["y"], 0) + one["gridPos"]["w"]
    assert set(wide.values()) == {24}


def test_every_metric_and_label_exists() -> None:
    wrong = []
    for where, expr in everything():
        for selector in selectors(parsed(expr)):
            metric = metric_of(str(selector.name))
            given = {one.name for one in selector.matchers.matchers}
            if metric is None or not given <= labels_of(metric):
                wrong.append(f"{where}: {selector}")
    assert wrong == []


def test_values_that_are_asked_for_exist() -> None:
    for where, expr in everything():
        for selector in selectors(parsed(expr)):
            for one in selector.matchers.matchers:
                if one.name in VALUES and one.op == promql.MatchOp.Equal:
                    assert one.value in VALUES[one.name], where


def test_legends_name_labels_that_the_metrics_have() -> None:
    for dashboard in DASHBOARDS.values():
        for panel in rendered.panels_of(dashboard):
            for target in panel.targets:
                named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                metrics = (metric_of(str(one.name)) for one in selectors(parsed(target["expr"])))
                assert named <= set().union(*(labels_of(one) for one in metrics if one)), panel.title
                assert named == set() or all(re.search(rf"by \([^)]*\b{one}\b", target["expr"]) for one in named)


def test_every_metric_is_on_a_dashboard_or_left_out_for_a_reason() -> None:
    shown = {HISTOGRAM.sub("", str(one.name)) for _, expr in everything() for one in selectors(parsed(expr))}
    assert set(table()) - shown == set(NOT_SHOWN)


def test_annotations_show_findings_references_versions_and_restarts() -> None:
    for name, dashboard in DASHBOARDS.items():
        found = {one["name"]: one for one in dashboard["annotations"]["list"]}
        usual = {"Pages", "Tickets", "Notes", "References", "Versions"}
        assert set(found) == ({"Restarts"} if name == frame.AGENT else usual)
        assert all(one["useValueForTime"] and one["expr"].endswith("* 1000") for one in found.values())
        assert name == frame.AGENT or "{{url}}/findings/{{finding}}" in found["Pages"]["textFormat"]


def links(dashboard: Json) -> Iterator[tuple[rendered.Panel, str]]:
    for panel in rendered.panels_of(dashboard):
        for one in panel.document["fieldConfig"]["overrides"]:
            for given in one["properties"]:
                if given["id"] == "links":
                    yield from ((panel, link["url"]) for link in given["value"])


def test_links_go_to_dashboards_and_pages_that_exist_and_use_columns_of_their_table() -> None:
    seen = set()
    for dashboard in DASHBOARDS.values():
        for panel, url in links(dashboard):
            organise = next(one["options"] for one in panel.document["transformations"] if one["id"] == "organize")
            headings = {organise["renameByName"].get(name, name) for name in organise["indexByName"]}
            assert set(re.findall(r"\$\{__data\.fields\.(\w+)\}", url)) <= headings, panel.title
            seen.add(re.sub(r"\?.*", "", url))
    inside = (frame.MODEL, frame.PERFORMANCE, frame.SECURITY)
    pages = {
        "${__data.fields.url}/findings/${__data.fields.Finding}",
        "${__data.fields.url}/models/${__data.fields.Model}",
    }
    assert seen == {*(f"/d/{uid}" for uid in inside), "${__data.fields.url}/", *pages}


def test_the_worst_state_is_the_largest_number() -> None:
    assert STATES == ("quiet", "noted", "attended", "ticket", "page")
    expr = state(lambda metric, *matchers: f"{metric}{{{', '.join(matchers)}}}")
    assert re.findall(r'severity="(\w+)"\} > bool 0\) \* (\d)', expr) == [("page", "4"), ("ticket", "3"), ("info", "1")]


def read(path: str) -> Any:
    return yaml.safe_load((FOLDER / path).read_text(encoding="utf-8"))


def test_provisioning_is_of_version_1_and_keeps_to_the_files() -> None:
    (provider,) = read("provisioning/dashboards/driftwarden.yaml")["providers"]
    assert (provider["type"], provider["folder"], provider["allowUiUpdates"]) == ("file", "Driftwarden", False)
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    (source,) = read("provisioning/datasources/prometheus.yaml")["datasources"]
    assert (source["type"], source["isDefault"], source["editable"]) == ("prometheus", True, False)
    assert {
        read(f"provisioning/{path}")["apiVersion"]
        for path in ("dashboards/driftwarden.yaml", "datasources/prometheus.yaml")
    } == {1}


def test_every_dashboard_is_a_config_map_that_grafanas_sidecar_finds() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on PATH; its kustomize builds the ConfigMaps")
    built = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / "kubernetes")], check=True, capture_output=True, text=True
    ).stdout
    maps = list(yaml.safe_load_all(built))
    assert {one["kind"] for one in maps} == {"ConfigMap"}
    assert {one["metadata"]["labels"]["grafana_dashboard"] for one in maps} == {"1"}
    assert {one["metadata"]["annotations"]["grafana_folder"] for one in maps} == {"Driftwarden"}
    data = {name: text for one in maps for name, text in one["data"].items()}
    assert data == rendered.rendered()
    assert max(len(text) for text in data.values()) < 250_000, "kubectl apply keeps a copy in an annotation of 256 KiB"
