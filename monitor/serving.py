"""Which HTTP routes the agent serves at which address: rows, operations, and the pages with their interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from starlette.routing import Route

from monitor.agent import Agent
from monitor.archive import Archive
from monitor.config import Config, limits_of
from monitor.intake import Intake
from monitor.listeners import HttpListener
from monitor.sources import http
from monitor.web import api, exporting, ops, pages
from monitor.web.desk import Desk, Hands
from monitor.web.doors import Doors
from monitor.web.live import Live


@dataclass(frozen=True, slots=True)
class Behind:
    """What the routes ask of the agent: see `ops.Operations` and `Hands`."""

    agent: Agent
    intake: Intake
    archive: Archive
    hands: Hands
    scrape: ops.Scrape
    ready: Callable[[], str | None]
    reload: Callable[[], None]
    version: str


class Served(NamedTuple):
    """``close`` ends what is being made; ``sound`` is whether every web configuration in force is the one on disk."""

    close: Callable[[], None]
    sound: Callable[[], bool]


def serve(config: Config, behind: Behind, servers: dict[str, http.Server]) -> Served:
    """Open every door of the configuration.

    Servers that run are in ``servers``, also when another cannot be opened and `DriftwardenError` is raised.
    """
    doors = Doors()
    address, token = config.endpoint.address, config.endpoint.token
    file, hosts = doors.of(_operator(config), address)
    operations = ops.Operations(behind.scrape, behind.ready, behind.reload, behind.version, token, file, hosts)
    doors.serve(address, ops.routes(operations))
    for source in config.sources:
        if source.http is not None:
            file, hosts = doors.of(source.http, source.http.listen)
            settings = http.Settings(
                source.http.token, limits_of(config), source.http.when_full, file=file, hosts=hosts
            )
            doors.serve(source.http.listen, http.routes(behind.intake, settings))
    exports = exporting.Exporting(lambda: behind.agent.config, behind.archive, lambda: behind.scrape.read("")[0])
    if config.web.enabled:
        doors.pages(config.web, _pages(config, behind, exports))
    doors.open(servers)
    return Served(exports.close, lambda: all(doors.sound().values()))


def _operator(config: Config) -> HttpListener:
    """The section that says how the operator's routes are guarded."""
    first = next((source.http for source in config.sources if source.http is not None), None)
    return config.telemetry if config.telemetry.listen is not None or first is None else first


def _pages(config: Config, behind: Behind, exports: exporting.Exporting) -> Sequence[Route]:
    desk = Desk(behind.archive, Live(lambda: behind.agent.models), behind.hands, behind.agent.clock.now)
    links = pages.Links(dashboards=config.web.dashboards or "")
    shown = pages.routes(desk, version=behind.version, links=links, exports=exporting.links)
    return [*api.routes(desk), *exports.routes(), *shown]
