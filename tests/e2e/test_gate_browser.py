"""A real browser, logged in, opens the page of an attacker: it reads nothing of the agent and changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from monitor.sources.http import Server
from monitor.web import csrf
from monitor.web.gate import gate, settings_of
from monitor.web.section import Web

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
]
EVIL = """<!doctype html><title>cats</title>
<iframe id="frame" src="{home}/"></iframe><img id="image" src="{home}/">
<form id="form" method="post" action="{home}/act" target="hidden"><input name="because" value="x"></form>
<form id="plain" method="post" action="{home}/act" target="hidden" enctype="text/plain"><input name='{{"a":1}}'></form>
<iframe name="hidden"></iframe>
<script>
async function attack() {{
  const told = [];
  const asked = [
    ["GET", {{}}], ["POST", {{}}], ["POST", {{"content-type": "application/json"}}], ["DELETE", {{}}],
  ];
  for (const mode of ["cors", "no-cors"]) for (const [method, headers] of asked) {{
    try {{
      const body = method === "POST" ? "{{}}" : undefined;
      const path = method === "GET" ? "/" : "/act";
      const answer = await fetch("{home}" + path, {{method, mode, headers, body, credentials: "include"}});
      told.push(answer.type + answer.status + await answer.text());
    }} catch (error) {{ told.push("refused"); }}
  }}
  document.getElementById("form").submit();
  document.getElementById("plain").submit();
  return told;
}}
</script>"""


class Agent:
    """Pages behind the gate, and what was done there."""

    def __init__(self, folder: Path) -> None:
        (folder / "token").write_text("s3cret")
        self.done: list[str] = []
        routes = [Route("/", self._show), Route("/act", self._act, methods=["POST", "DELETE"])]
        web = Web.model_validate({"token_file": "token"}, context={"base": folder, "secrets": True, "environ": {}})
        self.server = Server(gate(Starlette(routes=routes), settings_of(web)), "127.0.0.1", 0)
        self.server.start()

    def _show(self, request: Request) -> Response:
        token = csrf.csrf_token(request)
        fields = f'<input type="hidden" name="csrf_token" value="{token}"><button>Acknowledge</button>'
        return HTMLResponse(f'<h1>secret</h1><form method="post" action="/act">{fields}</form>')

    def _act(self, _: Request) -> Response:
        self.done.append("act")
        return HTMLResponse("<h1>done</h1>")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    found = Agent(tmp_path)
    yield found
    found.server.stop()


@pytest.fixture
def evil(agent: Agent) -> Iterator[int]:
    """The port of the attacker's site."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(EVIL.format(home=f"http://127.0.0.1:{agent.server.port}").encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def page() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        context = browser.new_context(http_credentials={"username": "anna", "password": "s3cret"})
        yield context.new_page()
        browser.close()


def test_a_page_of_an_attacker_gets_nothing_from_a_browser_that_is_logged_in(
    agent: Agent, evil: int, page: Any
) -> None:
    home = f"http://127.0.0.1:{agent.server.port}/"
    assert page.goto(home).status == 200
    page.click("button")
    assert page.text_content("h1") == "done"
    assert agent.done == ["act"], "our own page acts"
    for site in (f"http://localhost:{evil}/", f"http://evil.example:{evil}/", f"http://127.0.0.1:{evil}/"):
        page.goto(site)
        told = page.evaluate("attack()")
        page.wait_for_timeout(300)
        assert not any("secret" in one for one in told), told
        assert page.evaluate("document.getElementById('image').naturalWidth") == 0
        assert not any("secret" in frame.content() for frame in page.frames if frame != page.main_frame)
    assert agent.done == ["act"]


def test_a_name_that_is_rebound_to_the_agent_reads_nothing(agent: Agent, page: Any) -> None:
    answer = page.goto(f"http://evil.example:{agent.server.port}/")
    assert answer.status == 421
    assert "secret" not in answer.text()


def test_a_link_from_elsewhere_opens_the_page(agent: Agent, evil: int, page: Any) -> None:
    home = f"http://127.0.0.1:{agent.server.port}/"
    page.goto(f"http://localhost:{evil}/")
    page.evaluate(f"location.href = {home!r}")
    page.wait_for_url(home)
    assert page.text_content("h1") == "secret"
