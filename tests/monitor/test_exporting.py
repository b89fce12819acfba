"""Exports over HTTP: to whom they belong, one at a time, and nothing of them stays behind."""

from __future__ import annotations

import asyncio
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from monitor.archive import Archive, reading
from monitor.cli_report import export, support_bundle
from monitor.config import Config, describe
from monitor.errors import DriftwardenError, StoreError
from monitor.exports import table
from monitor.exports.asked import Asked
from monitor.exports.child import Child
from monitor.records import News
from monitor.web.exporting import Exporting, links
from monitor.web.people import Person
from tests.monitor.exports_bench import config, finding, keep, measured, rows, write

ANA = Person("ana", values=True, act=True)
BO = Person("bo", models=frozenset({"m"}))
CY = Person("cy", models=frozenset({"other"}), values=True, act=True)
ID = "f" * 16


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    made = config(tmp_path_factory.mktemp("exporting"))
    measured(made)
    keep(made, rows(300, 1, labelled=False))
    write(made, News(findings=(finding(ID),)))
    return made


@pytest.fixture
def archive(settings: Config) -> Iterator[Archive]:
    with reading(settings.store.path) as opened:
        yield opened


def get(settings: Config, archive: Archive, person: Person, path: str, accept: str = "*/*") -> httpx.Response:
    async def known(request: Any, call: Any) -> Any:
        request.state.person = person
        return await call(request)

    routes = Exporting(lambda: settings, archive, lambda: b"").routes()
    app = Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=known)])

    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agent") as client:
            return await client.get(f"/api/v1/{path}", headers={"accept": accept})

    return asyncio.run(asked())


def test_a_file_comes_with_what_it_says_about_itself_and_nothing_stays_behind(
    settings: Config, archive: Archive
) -> None:
    got = get(settings, archive, ANA, f"exports/telling?finding={ID}")
    assert got.status_code == 200
    assert got.headers["content-disposition"] == f'attachment; filename="driftwarden-telling-{ID}.parquet"'
    assert int(got.headers["content-length"]) == len(got.content)
    assert table.facts_of(io.BytesIO(got.content))["finding"] == ID
    assert "right" in pq.read_table(io.BytesIO(got.content)).column_names
    assert list(settings.store.path.glob(".export-*")) == []


def test_who_sees_no_values_gets_none(settings: Config, archive: Archive) -> None:
    got = get(settings, archive, BO, f"exports/telling?finding={ID}")
    assert set(pq.read_table(io.BytesIO(got.content)).column_names) == {"driftwarden_part", "row", "ts"}


@pytest.mark.parametrize("query", [f"finding={ID}", "finding=none", "model=m", "model=nobody", ""])
def test_what_is_not_ones_own_is_not_there(settings: Config, archive: Archive, query: str) -> None:
    assert get(settings, archive, CY, f"exports/labelling?{query}").status_code == 404


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("weigths", "did you mean"),
        ("labelling?rows=many", "rows: 'many' cannot be read"),
        ("labelling?since=later", "since: 'later' cannot be read"),
        ("labelling?values=true", "values: there is no such option"),
        ("telling", "finding: is missing"),
    ],
)
def test_what_cannot_be_made_is_told(settings: Config, archive: Archive, path: str, told: str) -> None:
    got = get(settings, archive, ANA, f"exports/{path}")
    assert got.status_code == 400
    assert any(told in fault for fault in got.json()["faults"])
    assert list(settings.store.path.glob(".export-*")) == []


def test_nothing_to_export_is_no_error_of_the_server_and_a_page_for_browsers(
    settings: Config, archive: Archive
) -> None:
    path = f"exports/labelling?finding={ID}&since=2030-01-01"
    got = get(settings, archive, ANA, path)
    assert got.status_code == 409
    assert got.json()["faults"] == [
        "no kept rows of this span are without a label; ask for another span, or keep more rows"
    ]
    read = get(settings, archive, ANA, path, "text/html,application/xhtml+xml,*/*;q=0.8")
    assert read.status_code == 409
    assert read.headers["content-type"].startswith("text/html")
    assert "<h1>There is nothing to export</h1>" in read.text
    assert "<p>No kept rows of this span are without a label;" in read.text
    assert f'<a href="/findings/{ID}">Go back</a>' in read.text


@pytest.mark.parametrize(("person", "finding"), [(CY, ID), (ANA, "%3Cscript%3E")])
def test_a_refusal_as_a_page_tells_nothing_of_others_and_is_escaped(
    settings: Config, archive: Archive, person: Person, finding: str
) -> None:
    got = get(settings, archive, person, f"exports/telling?finding={finding}", "text/html")
    assert got.status_code == 404
    assert "Finding: there is none of that name for you" in got.text
    assert '<a href="/">Go back</a>' in got.text
    assert finding not in got.text
    assert "<script>" not in got.text


def test_one_export_is_made_at_a_time_and_a_stop_ends_it(settings: Config, tmp_path: Path) -> None:
    child, told = Child(), []

    def make() -> None:
        try:
            child.export(settings, Asked("weights"), tmp_path / "a")
        except StoreError as error:
            told.append(str(error))

    thread = threading.Thread(target=make)
    thread.start()
    while child._process is None:
        time.sleep(0.001)
    with pytest.raises(StoreError, match="another export"):
        child.export(settings, Asked("weights"), tmp_path / "b")
    child.stop()
    thread.join()
    assert "exit code -9" in told[0]
    with pytest.raises(StoreError, match="is stopping"):
        child.export(settings, Asked("weights"), tmp_path / "b")


def test_an_export_that_takes_too_long_is_given_up(settings: Config, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"longer than 0\.001 s"):
        Child().export(settings, Asked("weights"), tmp_path / "a", seconds=0.001)


def test_the_bundle_is_for_those_who_see_all_and_may_act(settings: Config, archive: Archive) -> None:
    for person in (BO, CY, Person("dee", values=True)):
        assert get(settings, archive, person, "support-bundle").status_code == 403
    got = get(settings, archive, ANA, "support-bundle")
    assert "driftwarden-support/log.jsonl" in zipfile.ZipFile(io.BytesIO(got.content)).namelist()


def test_links_fit_the_finding() -> None:
    assert [href.split("/")[-1] for _, href in links(finding(ID))] == [
        f"telling?finding={ID}",
        f"labelling?finding={ID}",
        f"drawn?finding={ID}",
        f"weights?finding={ID}",
    ]
    (*_, (label, href)) = links(finding(ID, detector="e_missing"))
    assert (label, href) == ("Rows that have this fault, to leave out", f"/api/v1/exports/rows?finding={ID}")
    assert [href.split("/")[-1].partition("?")[0] for _, href in links(finding(ID, subject="sender"))] == [
        "telling",
        "clients",
        "rows",
    ]


def command(settings: Config, folder: Path, verb: Any, *arguments: str) -> Any:
    file = folder / "c.yaml"
    file.write_text(describe(settings), "utf-8")
    return CliRunner().invoke(verb, ["-c", str(file), *arguments], catch_exceptions=False)


def test_the_command_writes_the_file_and_says_what_it_is_worth(settings: Config, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    said = command(settings, tmp_path, export, "labelling", "--rows", "20", "--out", str(out))
    assert said.exit_code == 0
    assert "unlabelled rows: 300" in said.output
    assert pq.read_table(out).num_rows == 20
    with pytest.raises(DriftwardenError, match=r"ask for a longer span"):
        command(settings, tmp_path, export, "weights", "--since", "2030-01-01", "--out", str(tmp_path / "w"))
    assert not (tmp_path / "w").exists()
    with pytest.raises(DriftwardenError, match="--out: "):
        command(settings, tmp_path, export, "telling", "--finding", ID, "--out", str(tmp_path / "none" / "x"))


def test_without_an_agent_the_bundle_is_made_from_the_folder(settings: Config, tmp_path: Path) -> None:
    out = tmp_path / "s.zip"
    said = command(settings, tmp_path, support_bundle, "--url", "http://127.0.0.1:1", "--out", str(out))
    assert "from the state folder alone: no metrics, log or threads" in said.stderr
    names = zipfile.ZipFile(out).namelist()
    assert "driftwarden-support/findings.jsonl" in names
    assert "driftwarden-support/metrics.txt" not in names
