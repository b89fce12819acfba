"""What the command asks of the agent's pages, as whom, and what it makes of the answer."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner, Result

from monitor import asking, cli, cli_act
from monitor.config import load
from monitor.errors import DriftwardenError
from monitor.exports.senders import suspects
from monitor.moments import moment
from tests.monitor.certificates import Authority, write
from tests.monitor.exports_bench import pseudonym

DONE = {
    "id": "i1",
    "kind": "mute",
    "model": "m",
    "target": {"column": "age\x1b[31m"},
    "because": "a known\nmigration",
    "by": "ana",
    "time": 1_790_000_000.0,
    "until": 1_790_003_600.0,
    "undone": None,
    "undone_by": "",
    "undone_because": "",
}


class Pages(ThreadingHTTPServer):
    """Answers as the pages would, and remembers what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: dict[str, Any] = {}
        self.status = 200

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Pages
    plain: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _answer(self, document: Any) -> None:
        self.server.asked.append((self.command, self.path, document))
        self.server.headers.append({key.lower(): value for key, value in self.headers.items()})
        content = self.server.answers.get(self.path.partition("?")[0], DONE)
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def pages() -> Iterator[Pages]:
    server = Pages()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def settings(folder: Path, pages: Pages, more: str = "", model: str = "") -> Path:
    file = folder / "c.yaml"
    web = f"{{listen: '{pages.address}'{more}}}"
    file.write_text(
        f"models: [{{name: m, reference: r.parquet{model}}}]\nstore: {{path: state}}\nweb: {web}\n", "utf-8"
    )
    return file


def run(command: Any, file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["-c", str(file), *arguments], catch_exceptions=False)


def test_findings_are_acknowledged_one_by_one(tmp_path: Path, pages: Pages) -> None:
    found = run(cli_act.acknowledge, settings(tmp_path, pages), "f1", "f2", "--because", "on it", "--by", "ana")
    assert found.exit_code == 0
    bodies = [document for _, _, document in pages.asked]
    assert {path for _, path, _ in pages.asked} == {"/api/v1/interventions"}
    assert bodies == [
        {"kind": "acknowledge", "target": {"finding": one}, "because": "on it", "by": "ana"} for one in ("f1", "f2")
    ]
    assert pages.headers[0]["content-type"] == "application/json"
    assert "authorization" not in pages.headers[0]


def test_what_is_printed_holds_no_control_characters(tmp_path: Path, pages: Pages) -> None:
    line = run(cli_act.acknowledge, settings(tmp_path, pages), "f1", "--because", "on it").output
    assert line.startswith("i1  ")
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert "\\u001b" in line
    as_json = run(cli_act.acknowledge, settings(tmp_path, pages), "f1", "--because", "on it", "--json").output
    assert json.loads(as_json) == [DONE]


def test_a_mute_has_one_target_and_one_end(tmp_path: Path, pages: Pages) -> None:
    file, said = settings(tmp_path, pages), ("--model", "m", "--because", "migration", "--by", "ana")
    assert run(cli_act.mute, file, *said, "--column", "age", "--until", "2026-11-22T10:00Z").exit_code == 0
    assert pages.asked[-1][2] == {
        "kind": "mute",
        "model": "m",
        "target": {"column": "age"},
        "because": "migration",
        "by": "ana",
        "until": moment("2026-11-22T10:00+00:00"),
    }
    for wrong in (("--for", "4h"), ("--column", "a"), ("--column", "a", "--segment", "b=c", "--for", "4h")):
        assert run(cli_act.mute, file, *said, *wrong).exit_code == 2
    assert "is not a duration" in run(cli_act.mute, file, *said, "--column", "a", "--for", "long").output
    assert "is no time" in run(cli_act.mute, file, *said, "--column", "a", "--until", "later").output
    assert len(pages.asked) == 1


def test_quarantine_takes_pseudonyms_names_rows_or_all_whom_a_finding_names(tmp_path: Path, pages: Pages) -> None:
    file = settings(tmp_path, pages)
    eve = pseudonym(load(file), "eve")
    document = {"model": "m", "units": [{"unit": f"client {eve}"}, {"unit": "source 00000000000000ff"}], "evidence": {}}
    pages.answers["/api/v1/findings/f1"] = document
    said = ("--because", "she poisons")
    assert run(cli_act.quarantine, file, *said, "--finding", "f1").exit_code == 0
    assert pages.asked[-1][2]["target"] == {"clients": [eve, "00000000000000ff"], "rows": [], "finding": "f1"}
    assert run(cli_act.quarantine, file, *said, "--model", "m", "--name", "eve", "--row", "r7").exit_code == 0
    assert pages.asked[-1][2]["target"] == {"clients": [eve], "rows": ["r7"]}
    assert run(cli_act.quarantine, file, *said, "--model", "m").exit_code == 2
    pages.answers["/api/v1/findings/f1"] = document | {"units": []}
    assert run(cli_act.quarantine, file, *said, "--finding", "f1").exit_code == 2


def test_names_in_findings_become_pseudonyms_before_they_leave(tmp_path: Path, pages: Pages) -> None:
    file = settings(tmp_path, pages, model=", security: {client_names: plain}")
    document = {"model": "m", "units": [{"unit": "client eve"}], "evidence": {}}
    assert suspects(document) == ["eve"]
    pages.answers["/api/v1/findings/f1"] = document
    eve = pseudonym(load(file), "eve")
    assert run(cli_act.quarantine, file, "--because", "she poisons", "--finding", "f1").exit_code == 0
    assert pages.asked[-1][2]["target"]["clients"] == [eve]


def test_without_the_key_names_are_refused(tmp_path: Path, pages: Pages) -> None:
    with pytest.raises(DriftwardenError, match="by their pseudonyms"):
        run(cli_act.quarantine, settings(tmp_path, pages), "--because", "why not", "--model", "m", "--name", "eve")


def test_an_intervention_is_taken_back_and_all_are_listed(tmp_path: Path, pages: Pages) -> None:
    file = settings(tmp_path, pages)
    pages.answers["/api/v1/interventions/i1/undo"] = DONE | {"undone": 1.0, "undone_by": "bo", "undone_because": "no"}
    back = run(cli_act.undo, file, "i1", "--because", "it was wrong", "--by", "bo")
    assert "taken back by bo: no" in back.output
    assert pages.asked == [("POST", "/api/v1/interventions/i1/undo", {"because": "it was wrong", "by": "bo"})]
    pages.answers["/api/v1/interventions"] = {"interventions": [DONE, DONE]}
    assert run(cli_act.interventions, file, "--model", "m", "--active").output.count("i1") == 2
    assert pages.asked[-1][1] == "/api/v1/interventions?model=m&limit=50&active=true"
    pages.answers["/api/v1/interventions"] = {"interventions": []}
    assert "nobody has done anything" in run(cli_act.interventions, file).output


def test_who_asks_shows_the_token_or_a_password(tmp_path: Path, pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("sesame\n", "utf-8")
    file = settings(tmp_path, pages, ", token_file: token")
    pages.answers["/api/v1/interventions"] = {"interventions": []}
    run(cli_act.interventions, file)
    assert pages.headers[-1]["authorization"] == "Bearer sesame"
    monkeypatch.setenv(asking.USER_ENV, "ana")
    monkeypatch.setenv(asking.PASSWORD_ENV, "pass:word")
    run(cli_act.interventions, file)
    assert pages.headers[-1]["authorization"] == "Basic YW5hOnBhc3M6d29yZA=="


def test_refusals_are_told_in_the_agents_words_without_control_characters(tmp_path: Path, pages: Pages) -> None:
    file = settings(tmp_path, pages)
    pages.status, pages.answers["/api/v1/interventions"] = 400, {"faults": ["until: \x1b[2Jis over", "by: who?"]}
    with pytest.raises(DriftwardenError) as told:
        run(cli_act.interventions, file)
    assert str(told.value) == "until: [2Jis over\nby: who?"
    pages.status, pages.answers["/api/v1/interventions"] = 401, b"Who are you?"
    with pytest.raises(
        DriftwardenError, match=rf"{asking.USER_ENV} and {asking.PASSWORD_ENV}, or (.|\n)*Who are you\?"
    ):
        run(cli_act.interventions, file)
    pages.status, pages.answers["/api/v1/interventions"] = 302, b""
    with pytest.raises(DriftwardenError, match="the agent answers 302"):  # and is not followed
        run(cli_act.interventions, file)
    pages.status, pages.answers["/api/v1/interventions"] = 200, b"<html>"
    with pytest.raises(DriftwardenError, match="something else than JSON"):
        run(cli_act.interventions, file)


def test_nobody_there_is_told_with_the_address(tmp_path: Path, pages: Pages) -> None:
    file = settings(tmp_path, pages)
    with pytest.raises(DriftwardenError, match="no agent answers"):
        run(cli_act.interventions, file, "--url", "http://127.0.0.1:1")
    with pytest.raises(DriftwardenError, match="must be http"):
        run(cli_act.interventions, file, "--url", "ftp://here")
    off = tmp_path / "off.yaml"
    off.write_text("models: [{name: m, reference: r}]\nweb: {enabled: false}\n", "utf-8")
    with pytest.raises(DriftwardenError, match=r"web\.enabled"):
        run(cli_act.interventions, off)


def test_a_certificate_that_cannot_be_verified_is_told_with_the_fix(
    tmp_path: Path, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made = authority.server("server", "localhost", "127.0.0.1")
    context.load_cert_chain(tmp_path / made["cert_file"], tmp_path / made["key_file"])
    pages.socket = context.wrap_socket(pages.socket, server_side=True)
    write(tmp_path, {"tls_server_config": made})
    file = settings(tmp_path, pages, ", config_file: web.config.yml")
    pages.answers["/api/v1/interventions"] = {"interventions": []}
    with pytest.raises(DriftwardenError, match=r"cannot be verified: .*; set SSL_CERT_FILE=FILE\.pem") as told:
        run(cli_act.interventions, file)
    assert "no agent answers" not in str(told.value)
    monkeypatch.setenv(asking.TRUST_ENV, str(authority.ca_file))
    assert "nobody has done anything" in run(cli_act.interventions, file).output


@pytest.mark.parametrize("words", [[], ["mute"], ["interventions"], ["support-bundle"]])
def test_help_names_the_environment_of_who_asks(words: list[str]) -> None:
    told = CliRunner().invoke(cli.command, [*words, "--help"]).output
    assert {asking.USER_ENV, asking.PASSWORD_ENV, asking.TRUST_ENV} <= set(re.findall(r"[A-Z_]{6,}", told))


def test_targets_are_told_in_dates_and_words(tmp_path: Path, pages: Pages) -> None:
    span = {"since": 1795263170.002, "until": 1795266770.5}
    pages.answers["/api/v1/interventions"] = {
        "interventions": [
            DONE | {"kind": "rebaseline", "target": span, "until": None},
            DONE | {"kind": "acknowledge", "target": {"finding": "f1"}, "until": None},
        ]
    }
    first, second = run(cli_act.interventions, settings(tmp_path, pages)).output.splitlines()
    assert "rows from 21 Nov 2026, 12:12 UTC to 21 Nov 2026, 13:12 UTC" in first
    assert "1795" not in first
    assert "finding f1" in second
