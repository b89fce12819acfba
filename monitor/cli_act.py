"""What people do about findings, from the command line: the running agent does it, and records who, when and why."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click

from monitor.moments import MOMENT, SPAN

if TYPE_CHECKING:
    from monitor.asking import Door

NEXT_ROWS = 20_000
"""Rows of a new reference when nobody says how many."""

ENVIRONMENT = """\b
Environment of the commands that ask a running agent:
  DRIFTWARDEN_USER, DRIFTWARDEN_PASSWORD  who asks, where the pages want a password
  SSL_CERT_FILE                           authority of their certificate, if the system does not know it"""
"""Stands below the help of each of these commands, and of the whole."""

F = TypeVar("F", bound=Callable[..., Any])
_WHERE = (
    click.option(
        "--config", "-c", "config", required=True, type=click.Path(path_type=Path), help="Configuration file (YAML)."
    ),
    click.option("--url", help="Address of the agent's pages, if it is not the one that they bind."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text."),
)
_WHO = (
    click.option("--because", required=True, help="Why; it is kept."),
    click.option("--by", default=lambda: os.environ.get("USER", "operator"), show_default="you", help="Who says so."),
)


def _with(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options at once, in the order in which they are shown."""

    def put(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return put


@click.command(epilog=ENVIRONMENT)
@_with(*_WHERE, *_WHO)
@click.argument("findings", nargs=-1, required=True)
def acknowledge(
    config: Path, url: str | None, findings: tuple[str, ...], because: str, by: str, *, as_json: bool
) -> None:
    """Say that somebody attends to findings: they page nobody any more, and stay until they recover."""
    door = _door(config, url)
    wishes = [{"kind": "acknowledge", "target": {"finding": one}, "because": because, "by": by} for one in findings]
    _said([door.act("/api/v1/interventions", wish) for wish in wishes], as_json=as_json)


@click.command(epilog=ENVIRONMENT)
@_with(*_WHERE, *_WHO)
@click.option("--model", required=True, help="Of which model.")
@click.option("--column", help="Findings about this column alone.")
@click.option("--segment", help="Findings in this segment, written COLUMN=VALUE.")
@click.option("--failure-mode", "failure_mode", help="Findings of this failure mode.")
@click.option("--for", "seconds", type=SPAN, help="How long, such as 4h.")
@click.option("--until", type=MOMENT, help="Until when, such as 2026-11-21T10:30Z.")
def mute(
    config: Path,
    url: str | None,
    model: str,
    because: str,
    by: str,
    seconds: float | None,
    until: float | None,
    *,
    as_json: bool,
    **what: str | None,
) -> None:
    """Keep findings about a column, a segment or a failure mode from paging anybody, until a time."""
    target = {name: value for name, value in what.items() if value}
    if len(target) != 1:
        raise click.UsageError("say what to mute: one of --column, --segment and --failure-mode")
    if (seconds is None) == (until is None):
        raise click.UsageError("say how long: either --for or --until")
    end = until if until is not None else time.time() + (seconds or 0.0)
    wish = {"kind": "mute", "model": model, "target": target, "because": because, "by": by, "until": end}
    _said([_door(config, url).act("/api/v1/interventions", wish)], as_json=as_json)


@click.command(epilog=ENVIRONMENT)
@_with(*_WHERE, *_WHO)
@click.option("--finding", help="The finding that speaks against them; all whom it names, unless some are given.")
@click.option("--model", help="Of which model; that of the finding unless given.")
@click.option("--client", "clients", multiple=True, help="Pseudonym of a sender; may be repeated.")
@click.option(
    "--name", "names", multiple=True, help="Name of a sender, where this machine has the key; may be repeated."
)
@click.option("--row", "rows", multiple=True, help="Id of a row; may be repeated.")
def quarantine(  # noqa: PLR0913 - options
    config: Path,
    url: str | None,
    because: str,
    by: str,
    finding: str | None,
    model: str | None,
    clients: tuple[str, ...],
    names: tuple[str, ...],
    rows: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """List senders and rows that no training may use; `driftwarden export clients` and `rows` give the list away.

    Their queries are answered and judged as before: nobody is told.
    """
    door, wanted = _door(config, url), [*clients, *_pseudonyms(config, names)]
    if finding is not None and not (wanted or rows):
        wanted = _named(config, door.get(f"/api/v1/findings/{quote(finding, safe='')}"))
    if not (wanted or rows):
        raise click.UsageError("name whom: --finding with senders in it, --client, --name or --row")
    target: dict[str, Any] = {"clients": wanted, "rows": list(rows)} | ({"finding": finding} if finding else {})
    wish = {"kind": "quarantine", "model": model or "", "target": target, "because": because, "by": by}
    _said([door.act("/api/v1/interventions", wish)], as_json=as_json)


@click.command(epilog=ENVIRONMENT)
@_with(*_WHERE, *_WHO)
@click.option("--model", required=True, help="Model whose reference is to be replaced.")
@click.option("--rows", type=click.IntRange(1_000), help="Take so many of the next rows; 20000 unless a span is given.")
@click.option("--since", type=MOMENT, help="Take the kept rows from then on.")
@click.option("--until", type=MOMENT, help="Until when; until now unless given.")
def rebaseline(
    config: Path,
    url: str | None,
    model: str,
    because: str,
    by: str,
    rows: int | None,
    since: float | None,
    until: float | None,
    *,
    as_json: bool,
) -> None:
    """Accept a new normal: the next rows of a model, or those of a span that are kept, become its reference.

    The old reference is kept, and judges until the new one is there; `driftwarden undo` puts it back.
    """
    if rows is not None and since is not None:
        raise click.UsageError("say which rows: --rows for the next ones, or --since for those of a span")
    if since is None and until is not None:
        raise click.UsageError("--until needs --since")
    span = None if since is None else {"since": since, "until": until if until is not None else time.time()}
    target = span or {"rows": rows or NEXT_ROWS}
    wish = {"kind": "rebaseline", "model": model, "target": target, "because": because, "by": by}
    _said([_door(config, url).act("/api/v1/interventions", wish)], as_json=as_json)


@click.command(epilog=ENVIRONMENT)
@_with(*_WHERE, *_WHO)
@click.argument("intervention")
def undo(config: Path, url: str | None, intervention: str, because: str, by: str, *, as_json: bool) -> None:
    """Take an intervention back: what it did ends, and the record of it stays."""
    wish = {"because": because, "by": by}
    _said([_door(config, url).act(f"/api/v1/interventions/{quote(intervention, safe='')}/undo", wish)], as_json=as_json)


@click.command(epilog=ENVIRONMENT)
@_with(*_WHERE)
@click.option("--model", help="Of this model only.")
@click.option("--finding", help="About this finding only.")
@click.option("--active", is_flag=True, help="Only what still holds.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many, newest first.")
def interventions(
    config: Path, url: str | None, model: str | None, finding: str | None, limit: int, *, active: bool, as_json: bool
) -> None:
    """Print what people did about findings, who and why, the newest first."""
    asked = {"model": model, "finding": finding, "limit": limit, "active": "true" if active else None}
    found = _door(config, url).get("/api/v1/interventions", **asked)["interventions"]
    _said(found, as_json=as_json, none="nobody has done anything yet")


def _door(config: Path, url: str | None) -> Door:
    from monitor.asking import pages
    from monitor.config import load

    return pages(load(config), url)


def _pseudonyms(config: Path, names: tuple[str, ...]) -> list[str]:
    """Pseudonyms of names, by the key of the state folder."""
    if not names:
        return []
    from monitor.config import load
    from monitor.errors import StoreError
    from monitor.security.pseudonyms import KEY_FILE, Pseudonyms, known_key

    folder = load(config, secrets=False).store.path
    key = known_key(folder)
    if key is None:
        raise StoreError(f"{folder / KEY_FILE}: is not here; name senders by their pseudonyms, with --client")
    return [f"{Pseudonyms(key).of_name(name):016x}" for name in names]


def _named(config: Path, document: dict[str, Any]) -> list[str]:
    """Pseudonyms of the senders whom a finding names."""
    from monitor.config import load
    from monitor.exports.senders import suspects

    models = {model.name: model for model in load(config, secrets=False).models}
    found = suspects(document)
    plain = models[document["model"]].security.client_names == "plain" if document["model"] in models else False
    return _pseudonyms(config, tuple(found)) if plain else found


def _said(done: list[dict[str, Any]], *, as_json: bool, none: str = "") -> None:
    """Print interventions."""
    if as_json:
        click.echo(json.dumps(done))
        return
    from monitor.tables import intervention_line

    for one in done:
        click.echo(intervention_line(one))
    if not done and none:
        click.echo(none)
