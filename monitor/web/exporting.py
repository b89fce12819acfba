"""Exports and the support bundle over HTTP: ``/api/v1/exports/{kind}`` and ``/api/v1/support-bundle``.

One export at a time: each is made by a process of its own, into a file that nobody else sees.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from monitor.archive import Archive
from monitor.config import Config
from monitor.errors import ConfigError, DriftwardenError, NothingThere
from monitor.exports.asked import Asked
from monitor.exports.child import Child
from monitor.moments import moment
from monitor.naming import OUTCOME
from monitor.records import Brief
from monitor.web import wording
from monitor.web.people import Person

PARQUET: Final = "application/vnd.apache.parquet"
_NOTHING: Final = 409
"""Asked well, and there are no rows for it."""
_BEGIN, _END = ".export-", ".parquet"
OPTIONS: Final = ("model", "finding", "since", "until", "rows")
_LABELS: Final = {
    "telling": "Rows kept with this finding",
    "labelling": "Rows worth a label, most informative first",
    "drawn": "Rows drawn by known odds: their labels say how often the model is wrong",
    "weights": "Importance weights for retraining",
    "clients": "Senders named by this finding",
    "rows": "Rows of those senders, to leave out",
}
_FAULTY: Final = "Rows that have this fault, to leave out"


class Exporting:
    """The handlers; each runs in a thread of the server."""

    def __init__(self, config: Callable[[], Config], store: Archive, metrics: Callable[[], bytes]) -> None:
        """``config`` gives the one in force, ``metrics`` the last scrape as text."""
        self._config, self._store, self._metrics = config, store, metrics
        self._child = Child()
        for left in config().store.path.glob(f"{_BEGIN}*{_END}"):  # by a crash
            left.unlink(missing_ok=True)

    def routes(self) -> list[Route]:
        """To be put beside the pages, behind their gate."""
        return [
            Route("/api/v1/exports/{kind}", self.export, methods=["GET"]),
            Route("/api/v1/support-bundle", self.support, methods=["GET"]),
        ]

    def close(self) -> None:
        """End what is being made."""
        self._child.stop()

    def export(self, request: Request) -> Response:
        """One file; what it says about itself is in its metadata."""
        person: Person = request.state.person
        kind = request.path_params["kind"]
        try:
            options = _options(request.query_params)
            if (refusal := self._refusal(person, options)) is not None:
                return self._refuse(request, *refusal)
            file = self._made(Asked(kind, values=person.values, **options))
        except ConfigError as error:
            return self._refuse(request, error.faults, 400)
        except NothingThere as error:
            return self._refuse(request, [str(error)], _NOTHING)
        except DriftwardenError as error:
            return self._refuse(request, str(error).splitlines(), 503)
        name = "-".join(one for one in ("driftwarden", kind, options.get("finding"), options.get("model")) if one)
        headers = {
            "content-disposition": f'attachment; filename="{name}.parquet"',
            "content-length": str(os.fstat(file.fileno()).st_size),
        }
        return StreamingResponse(_chunks(file), media_type=PARQUET, headers=headers)

    def support(self, request: Request) -> Response:
        """The support bundle, for those who see all models and may act."""
        from monitor.bundle import bundle, live

        person: Person = request.state.person
        if person.models is not None or not person.act:
            why = "the support bundle is about all models: it is for those who see all and may act"
            return self._refuse(request, [why], 403)
        content = bundle(self._config(), self._store, live(self._metrics().decode(errors="replace")))
        headers = {"content-disposition": 'attachment; filename="driftwarden-support.zip"'}
        return Response(content, media_type="application/zip", headers=headers)

    def _refusal(self, person: Person, options: Mapping[str, Any]) -> tuple[list[str], int] | None:
        """What is not this person's to see is not there: why, and the status that says so."""
        row = self._store.finding(options["finding"]) if "finding" in options else None
        if "finding" in options and (row is None or not person.sees(row.model)):
            return ["finding: there is none of that name for you"], 404
        seen = [model.name for model in self._config().models if person.sees(model.name)]
        model = row.model if row is not None else options.get("model")
        if model is None and len(self._config().models) > 1:
            return [f"model: is missing; choose one of {', '.join(seen)}"], 400
        if not seen or (model is not None and model not in seen):
            return ["model: there is none of that name for you"], 404
        return None

    def _refuse(self, request: Request, lines: list[str], status: int) -> Response:
        """Say why there is no file: to programs as JSON, to a person who followed a link as a page."""
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"faults": lines}, status)
        from monitor.web.render import page

        row = self._store.finding(request.query_params.get("finding", ""))
        seen = row is not None and request.state.person.sees(row.model)
        context = {
            "heading": "There is nothing to export" if status == _NOTHING else "No file was made",
            "lines": [wording.capital(line) for line in lines],
            "back": f"/findings/{quote(row.id)}" if row is not None and seen else "/",
            "last": self._store.last_event(),
            "version": installed("driftwarden"),
        }
        return page(request, "message.html", status, **context)

    def _made(self, asked: Asked) -> BinaryIO:
        """The export as an open file that nobody else can see, and that is gone when it is closed."""
        folder = self._config().store.path
        handle, name = tempfile.mkstemp(_END, _BEGIN, folder)
        os.close(handle)
        place = Path(name)
        try:
            self._child.export(self._config(), asked, place)
            return place.open("rb")
        finally:
            place.unlink(missing_ok=True)


def links(row: Brief) -> list[tuple[str, str]]:
    """What can be exported of a finding: label and address."""
    faulty = row.subject == "data" and wording.is_rate(row.detector)
    kinds = ("telling", "labelling", "drawn", "weights", *(("rows",) if faulty else ()))
    kinds = ("telling", "clients", "rows") if row.subject == "sender" else kinds
    kinds = () if row.subject == OUTCOME else kinds
    query = urlencode({"finding": row.id})
    labels = _LABELS | ({"rows": _FAULTY} if faulty else {})
    return [(labels[kind], f"/api/v1/exports/{kind}?{query}") for kind in kinds]


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(1 << 18):
            yield chunk


def _options(query: Mapping[str, str]) -> dict[str, Any]:
    """Options of a query; `ConfigError` lists those that cannot be used."""
    faults = [
        f"{name}: there is no such option; there are {', '.join(OPTIONS)}" for name in query if name not in OPTIONS
    ]
    found: dict[str, Any] = {name: query[name] for name in ("model", "finding") if query.get(name)}
    for name, read in (("since", moment), ("until", moment), ("rows", int)):
        try:
            found |= {name: read(query[name])} if query.get(name) else {}
        except ValueError:
            faults.append(f"{name}: {query[name][:50]!r} cannot be read")
    if faults:
        raise ConfigError(faults)
    return found
