from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Thread

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics_parser
from starlette.applications import Starlette

from monitor.errors import ConfigError, ReferenceError_
from monitor.exposition import OPENMETRICS_TYPE, TEXT_TYPE, Exposition
from monitor.web.ops import Operations, Scrape, routes

HEALTHY = ["/healthz", "/livez", "/-/healthy"]
READY = ["/readyz", "/-/ready"]


def nothing() -> None:
    """A reload that is good."""


def application(
    *,
    scrape: Scrape | None = None,
    missing: str | None = None,
    reload: Callable[[], None] = nothing,
    token: str | None = None,
) -> Starlette:
    operations = Operations(scrape or Scrape(), lambda: missing, reload, "1.2.3", token)
    return Starlette(routes=routes(operations))


async def ask(app: Starlette, method: str, path: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
        return await client.request(method, path, headers=headers)


pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("path", HEALTHY)
async def test_the_agent_is_alive_even_when_it_is_not_ready(path: str) -> None:
    assert (await ask(application(missing="learning"), "GET", path)).status_code == 200


@pytest.mark.parametrize("path", READY)
async def test_readiness_says_what_is_missing(path: str) -> None:
    assert (await ask(application(), "GET", path)).status_code == 200
    answer = await ask(application(missing="the reference is being learned"), "GET", path)
    assert answer.status_code == 503
    assert "the reference is being learned" in answer.text


async def test_the_landing_page_links_to_the_metrics() -> None:
    answer = await ask(application(), "GET", "/")
    assert answer.status_code == 200
    assert 'href="metrics"' in answer.text
    assert "1.2.3" in answer.text


async def test_a_scrape_is_answered_in_the_format_it_asks_for() -> None:
    scrape = Scrape()
    scrape.publish(*Exposition().render({"driftwarden_ready": [((), 1.0)]}))
    app = application(scrape=scrape)
    text = await ask(app, "GET", "/metrics", accept="text/plain")
    assert text.headers["content-type"] == TEXT_TYPE
    assert "driftwarden_ready 1\n" in text.text
    opened = await ask(app, "GET", "/metrics", accept="application/openmetrics-text;version=1.0.0")
    assert opened.headers["content-type"] == OPENMETRICS_TYPE
    assert opened.text.endswith("# EOF\n")


async def test_before_the_first_snapshot_a_scrape_is_valid_and_empty() -> None:
    assert (await ask(application(), "GET", "/metrics")).text == ""
    opened = await ask(application(), "GET", "/metrics", accept="application/openmetrics-text")
    assert list(openmetrics_parser.text_string_to_metric_families(opened.text)) == []  # type: ignore[no-untyped-call]


def test_a_scrape_never_sees_half_of_a_snapshot() -> None:
    scrape, start = Scrape(), Barrier(2)
    scrape.publish(b"0", b"0")

    def publish() -> None:
        start.wait()
        for number in range(2000):
            scrape.publish(str(number).encode(), str(number).encode())

    writer = Thread(target=publish)
    writer.start()
    start.wait()
    seen = [int(scrape.read("")[0]) for _ in range(2000)]
    writer.join()
    assert seen == sorted(seen)
    assert scrape.read("application/openmetrics-text")[0] == b"1999"


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_good_reload_is_confirmed(method: str) -> None:
    calls: list[int] = []
    answer = await ask(application(reload=lambda: calls.append(1)), method, "/-/reload")
    assert (answer.status_code, calls) == (200, [1])


async def test_a_get_does_not_reload() -> None:
    def reload() -> None:
        raise AssertionError

    assert (await ask(application(reload=reload), "GET", "/-/reload")).status_code == 405


async def test_a_bad_reload_lists_every_fault() -> None:
    def reload() -> None:
        raise ConfigError(["models.0.pane: one", "log.format: two"])

    answer = await ask(application(reload=reload), "POST", "/-/reload")
    assert answer.status_code == 400
    assert answer.text.splitlines()[1:] == ["models.0.pane: one", "log.format: two"]


async def test_a_reload_that_fails_on_the_reference_keeps_the_old_one_too() -> None:
    def reload() -> None:
        raise ReferenceError_("reference.parquet: damaged; fit it again")

    answer = await ask(application(reload=reload), "POST", "/-/reload")
    assert answer.status_code == 400
    assert "fit it again" in answer.text


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/metrics"), ("POST", "/-/reload")])
async def test_the_token_is_asked_for(method: str, path: str) -> None:
    app = application(token="geheim")
    for wrong in ("", "Bearer", "Bearer geheim2", "Basic geheim", "geheim"):
        answer = await ask(app, method, path, **({"authorization": wrong} if wrong else {}))
        assert answer.status_code == 401
        assert answer.headers.get_list("www-authenticate")[1] == "Bearer"
        assert "geheim" not in answer.text
    for right in ("Bearer geheim", "bearer geheim"):
        assert (await ask(app, method, path, authorization=right)).status_code == 200


@pytest.mark.parametrize("path", [*HEALTHY, *READY])
async def test_probes_need_no_token(path: str) -> None:
    assert (await ask(application(token="geheim"), "GET", path)).status_code == 200


async def post(app: Starlette, path: str, body: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
        return await client.post(path, content=body, headers=headers)


async def test_a_body_that_no_act_needs_is_not_read() -> None:
    assert (await post(application(), "/-/reload", '"' + "x" * 100_000 + '"')).status_code == 413
