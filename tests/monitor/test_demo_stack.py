from __future__ import annotations

import http.client
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from monitor.demo import hurry, page, peers
from monitor.demo.processes import HOST
from monitor.demo.receiver import Alert, Notification, Receiver
from monitor.errors import DriftwardenError
from monitor.quantities import duration
from monitor.signals import Signals

# The programs.


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text("#!/bin/sh\n", "utf-8")
    file.chmod(0o755)
    return file


def test_programs_are_taken_from_path_first_and_under_debian_s_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = program(tmp_path / "bin", "prometheus-alertmanager")
    program(tmp_path / "prefix" / "peers" / "trixie" / "usr" / "bin", "alertmanager")
    monkeypatch.setattr("sys.prefix", str(tmp_path / "prefix"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert peers.find("alertmanager") == str(there)


def test_of_the_unpacked_programs_the_steadiest_suite_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = {suite: program(tmp_path / "peers" / suite / "usr" / "bin", "prometheus") for suite in ("bookworm", "forky")}
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert peers.find("prometheus") == str(made["bookworm"])
    made["trixie"] = program(tmp_path / "peers" / "trixie" / "usr" / "bin", "prometheus")
    assert peers.find("prometheus") == str(made["trixie"])


def test_a_program_that_is_not_there_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setattr(peers, "__file__", str(tmp_path / "site-packages" / "monitor" / "demo" / "peers.py"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DriftwardenError, match=r"prometheus is neither on PATH .* sh \.ci/peers"):
        peers.find("prometheus")


# The hurry.

RULES: dict[str, Any] = {
    "groups": [
        {
            "name": "g",
            "interval": "1m",
            "rules": [
                {"record": "a:b:min2m", "expr": "min_over_time(b[2m])"},
                {
                    "alert": "A",
                    "expr": "last_over_time(a:b:min2m[30m]) > 0 and increase(c[6h:1m] offset 15m) < 10 * 60",
                    "for": "5m",
                    "keep_firing_for": "1h30m",
                    "labels": {"severity": "page"},
                    "annotations": {"description": '{{ with query "rate(d[5m])" }}5m{{ end }}'},
                },
            ],
        }
    ]
}


def test_only_waits_and_ranges_of_the_rules_are_cut() -> None:
    (group,) = hurry.rules(RULES)["groups"]
    record, alert = group["rules"]
    assert "interval" not in group
    assert record == {"record": "a:b:min2m", "expr": "min_over_time(b[5s])"}, "a range holds a few scrapes"
    assert alert["expr"] == "last_over_time(a:b:min2m[30s]) > 0 and increase(c[360s:1m] offset 15s) < 10 * 60"
    assert (alert["for"], alert["keep_firing_for"], alert["labels"]) == ("10s", "90s", {"severity": "page"})
    assert alert["annotations"]["description"] == '{{ with query "rate(d[5s])" }}5m{{ end }}'
    assert RULES["groups"][0]["rules"][1]["for"] == "5m", "what was given is left alone"


def test_a_wait_of_nothing_stays_nothing() -> None:
    assert hurry.shorter("0s") == "0s"
    assert hurry.shorter("10s") == "1s"
    assert duration(hurry.shorter("1d")) == 1440


ROUTING: dict[str, Any] = {
    "global": {"resolve_timeout": "5m"},
    "route": {
        "receiver": "tickets",
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "4h",
        "routes": [{"matchers": ['severity="page"'], "receiver": "pager", "mute_time_intervals": ["retraining"]}],
    },
    "inhibit_rules": [{"source_matchers": ["a=b"], "target_matchers": ["c=d"]}],
    "receivers": [
        {"name": "pager", "webhook_configs": [{"url": "http://127.0.0.1:9712/pager", "send_resolved": True}]},
        {"name": "nobody"},
    ],
    "time_intervals": [{"name": "retraining", "time_intervals": [{"weekdays": ["sunday"]}]}],
}


def test_routes_stay_and_receivers_become_the_demo_s() -> None:
    made = hurry.routing(ROUTING, "http://127.0.0.1:1")
    route = made["route"]
    assert (route["group_wait"], route["group_interval"], route["repeat_interval"]) == ("1s", "5s", "4h")
    assert route["routes"] == [{"matchers": ['severity="page"'], "receiver": "pager"}]
    assert made["inhibit_rules"] == ROUTING["inhibit_rules"]
    assert made["receivers"] == [
        {"name": "pager", "webhook_configs": [{"url": "http://127.0.0.1:1/pager", "send_resolved": True}]},
        {"name": "nobody", "webhook_configs": []},
    ]


def test_the_example_of_prometheus_is_turned_to_the_demo_s_ports() -> None:
    given = {
        "global": {"scrape_interval": "15s", "external_labels": {"site": "here"}},
        "rule_files": ["driftwarden.rules.yaml"],
        "scrape_configs": [{"job_name": "driftwarden", "static_configs": [{"targets": ["127.0.0.1:9710"]}]}],
    }
    made = hurry.scraping(given, "127.0.0.1:1", "127.0.0.1:2", "rules.yaml")
    assert made["global"] == {
        "scrape_interval": "1s",
        "evaluation_interval": "1s",
        "external_labels": {"site": "here"},
    }
    assert made["scrape_configs"] == [{"job_name": "driftwarden", "static_configs": [{"targets": ["127.0.0.1:1"]}]}]
    assert made["alerting"] == {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:2"]}]}]}
    assert made["rule_files"] == ["rules.yaml"]


# The pager.


def webhook(status: str = "firing", link: str = "", severity: str = "page") -> dict[str, Any]:
    labels = {"alertname": "DriftwardenShift", "model": "employment", "severity": severity}
    alert = {"status": status, "labels": labels, "annotations": {"summary": "Shifted.", "incident_url": link}}
    return {"receiver": "pager", "status": status, "alerts": [alert]}


def post(receiver: Receiver, body: bytes) -> int:
    connection = http.client.HTTPConnection(HOST, int(receiver.url.rpartition(":")[2]), timeout=5)
    try:
        connection.request("POST", "/pager", body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_pager_keeps_what_came_in_order_and_refuses_what_is_no_webhook() -> None:
    receiver = Receiver()
    try:
        assert post(receiver, json.dumps(webhook()).encode()) == 200
        assert post(receiver, json.dumps(webhook("resolved")).encode()) == 200
        for wrong in (b"", b"x", b"[]", b'{"alerts": [1], "receiver": "a", "status": "firing"}'):
            assert post(receiver, wrong) == 400
        assert [one.status for one in receiver.news()] == ["firing", "resolved"]
        assert receiver.news() == []
    finally:
        receiver.close()


def test_a_notification_is_searched_by_status_severity_and_model() -> None:
    one = Notification.of(webhook())
    assert one.about("firing", "page", "employment") is one.alerts[0]
    assert one.about("resolved", "page", "employment") is None
    assert one.about("firing", "ticket", "employment") is None
    assert one.about("firing", "page", "other") is None


# The story.

PAGE = {
    "kind": "finding",
    "id": "f268",
    "pane": 268,
    "severity": "page",
    "units": [{"unit": "RELP", "effect": 0.6}, {"unit": "a<b", "effect": 0.2}],
    "time": 1.5e9,
}


def story(tmp_path: Path) -> tuple[page.Story, io.StringIO]:
    where = SimpleNamespace(
        findings=tmp_path / "findings.jsonl", pages="http://127.0.0.1:9", web_port=9, port=8, configuration=lambda: None
    )
    stack: Any = SimpleNamespace(where=where, receiver=SimpleNamespace(news=list), check=lambda: None)
    written = io.StringIO()
    return page.Story(stack, Signals(), Console(file=written, width=120)), written


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[page.Story, io.StringIO]:
    monkeypatch.setattr(page, "measure", lambda *_: SimpleNamespace(where=lambda _: "episode", span=lambda _: (0, 500)))
    made, written = story(tmp_path)
    made.lines.append(PAGE)
    return made, written


@pytest.mark.parametrize(
    ("link", "text", "fault"),
    [
        ("http://127.0.0.1:9/findings/f268", "RELP and a&lt;b", None),
        ("", "", "but to nothing"),
        ("http://127.0.0.1:9/findings/f160", "RELP a&lt;b", "does not link to the documented incident"),
        ("http://elsewhere/findings/f268", "RELP a&lt;b", "does not link to the documented incident"),
        ("http://127.0.0.1:9/findings/f268", None, "does not answer"),
        ("http://127.0.0.1:9/findings/f268", "RELP and a<b", "does not name a<b"),
    ],
)
def test_the_link_must_lead_to_the_incident_with_its_columns(
    monkeypatch: pytest.MonkeyPatch,
    told: tuple[page.Story, io.StringIO],
    link: str,
    text: str | None,
    fault: str | None,
) -> None:
    monkeypatch.setattr("monitor.demo.processes.get", lambda *_: text)
    found = told[0].follow_link(Alert("firing", {}, {"incident_url": link}))
    assert (found is None) if fault is None else (found is not None and fault in found)


def test_what_came_to_the_pager_is_told_with_its_link(told: tuple[page.Story, io.StringIO]) -> None:
    one, written = told
    stack: Any = one._stack
    stack.receiver.news = lambda: [Notification.of(webhook(link="http://127.0.0.1:9/findings/f268"))]
    one.look()
    assert len(one.pages("firing")) == 1
    assert one.pages("resolved") == []
    text = written.getvalue()
    assert "pager: firing DriftwardenShift employment: Shifted." in text
    assert "http://127.0.0.1:9/findings/f268" in text
    one.look()
    assert written.getvalue() == text, "what comes again is told once"


def test_a_signal_ends_the_demo_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in peers.NAMES:
        program(tmp_path / "bin", name)
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(state))
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]))
    signals = Signals()
    signals.wake.set()
    assert page.show(signals, once=True, port=0) == 1
    assert list(state.iterdir()) == []
