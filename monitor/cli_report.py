"""What leaves the agent for people and other programs: the report of a period, exports, the support bundle."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monitor.cli_act import ENVIRONMENT
from monitor.moments import MOMENT, SPAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from monitor.config import Config, Model

_WEEK = 7 * 86_400.0
_ABOUT = ("kind", "model", "finding", "since", "until", "made", "reference", "config", "version", "values")
"""What an export says about itself in the file alone: who asked knows it."""
_CONFIG = click.option(
    "--config", "-c", "config", required=True, type=click.Path(path_type=Path), help="Configuration file (YAML)."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
_SINCE = click.option("--since", type=MOMENT, help="From when, such as 2026-11-21 or 2026-11-21T10:30Z.")
_UNTIL = click.option("--until", type=MOMENT, help="Until when; now unless given.")
_LAST = click.option("--last", type=SPAN, help="The last so long, such as 24h, instead of --since.")


@click.command()
@_CONFIG
@_JSON
@_SINCE
@_UNTIL
@_LAST
@click.option("--model", help="Only this model of the configuration.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the report there, as one HTML file.")
@click.option("--coverage", is_flag=True, help="Which of the 17 failure modes are watched, and how; nothing else.")
def report(
    config: Path,
    since: float | None,
    until: float | None,
    last: float | None,
    model: str | None,
    out: Path | None,
    *,
    coverage: bool,
    as_json: bool,
) -> None:
    """Report a period, the last seven days unless given: what changed, was alarmed and done; calibration; coverage.

    It is told from the store, beside a running agent or without one. With --coverage it reads no data: columns are
    told from the measured reference where there is one, else from the configuration.
    """
    from monitor.config import load

    loaded = load(config, secrets=not coverage)
    models = _chosen(loaded, model)
    if coverage:
        _coverage(loaded, models, as_json=as_json)
        return
    document = _gathered(loaded, models, _span(since, until, last))
    if out is not None:
        from monitor.period.page import html

        with _written(out) as file:
            file.write(html(document).encode())
    if as_json:
        click.echo(json.dumps(document))
    else:
        _summary(document, out)


@click.command()
@click.argument("kind")
@_CONFIG
@_JSON
@_SINCE
@_UNTIL
@_LAST
@click.option("--finding", help="The finding that it is about; the span begins with it unless given.")
@click.option("--model", help="Of this model, if the configuration has several.")
@click.option("--rows", default=500, show_default=True, type=click.IntRange(min=1), help="How many rows at most.")
@click.option("--values/--no-values", default=True, show_default=True, help="With the rows' values, or ids and times.")
@click.option("--names", is_flag=True, help="With names of senders beside their pseudonyms, as far as known.")
@click.option("--out", required=True, type=click.Path(path_type=Path, allow_dash=True), help="Parquet file, or -.")
def export(
    kind: str,
    config: Path,
    since: float | None,
    until: float | None,
    last: float | None,
    out: Path,
    *,
    as_json: bool,
    **asked: Any,
) -> None:
    """Write rows as Parquet: telling, labelling, drawn, weights, clients or rows.

    telling: rows kept with a finding. labelling: kept rows worth a label, the most informative first, with reasons.
    drawn: kept rows to be labelled for `driftwarden estimate`, drawn by known odds.
    weights: importance weights of the reference's and of recent rows. clients and rows: what no training should use,
    because it is in quarantine or because --finding names its sender. It works beside a running agent.
    """
    from monitor.archive import reading
    from monitor.config import load
    from monitor.exports.asked import Asked
    from monitor.exports.export import write

    loaded = load(config, secrets=False)
    ends = _ends(since, until, last)
    with reading(loaded.store.path) as archive, _written(out) as file:
        facts = write(loaded, archive, Asked(kind, since=ends[0], until=ends[1], **asked), file)
    told = sys.stderr if str(out) == "-" else sys.stdout
    if as_json:
        click.echo(json.dumps(facts | {"out": str(out)}), file=told)
    else:
        _facts(facts, out, told)


@click.command()
@click.argument("labelled", type=click.Path(path_type=Path))
@_JSON
@click.option("--label", default="driftwarden_label", show_default=True, help="Column with the labels.")
@click.option("--answer", default="driftwarden_answer", show_default=True, help="Column with the model's answers.")
@click.option("--by", help="Column by which the rows are parted, such as the model's version.")
def estimate(labelled: Path, label: str, answer: str, by: str | None, *, as_json: bool) -> None:
    """Say how often the model is wrong, from a labelled file of `driftwarden export drawn`.

    Unbiased for all rows that could have been drawn, with a 95 % interval. It needs no configuration.
    """
    from monitor.exports.estimated import estimated

    document = estimated(labelled, label, answer, by)
    if as_json:
        click.echo(json.dumps(document))
        return
    click.echo(f"{document['labelled']} labels of {document['drawn']} rows drawn from {document['rows']}")
    told = document["unbiased"] if document["unbiased"]["value"] is not None else document["ratio"]
    for name, one in [(document["loss_is"], told), *document.get("by", {}).items()]:
        click.echo(f"{name!r:>24}: {_interval(one)}" if name in document.get("by", {}) else f"{name}: {_interval(one)}")


def _interval(one: Mapping[str, Any]) -> str:
    if one["value"] is None:
        return str(one["why"])
    return f"{one['value']:.4g}, 95 % from {one['low']:.4g} to {one['high']:.4g}, by {one['labels']} labels"


@click.command("support-bundle", epilog=ENVIRONMENT)
@_CONFIG
@click.option("--url", help="Address of the agent's pages, if it is not the one that they bind.")
@click.option(
    "--out", default="driftwarden-support.zip", show_default=True, type=click.Path(path_type=Path), help="Archive."
)
def support_bundle(config: Path, url: str | None, out: Path) -> None:
    """Write an archive that tells how the agent does: no feature values, no names, no secrets.

    The running agent makes it; where none answers it is made from the state folder, without metrics and log.
    """
    from monitor.asking import pages
    from monitor.config import load
    from monitor.errors import DriftwardenError

    loaded = load(config)
    try:
        content = pages(loaded, url).fetch("/api/v1/support-bundle")
    except DriftwardenError as error:
        click.echo(f"driftwarden: {error}", err=True)
        click.echo("so the bundle is made from the state folder alone: no metrics, log or threads in it", err=True)
        content = _of_folder(loaded)
    with _written(out) as file:
        file.write(content)
    click.echo(f"written to {out}; look through it before you give it away")


def _of_folder(loaded: Config) -> bytes:
    from monitor.archive import DATABASE, reading
    from monitor.bundle import bundle

    if not (loaded.store.path / DATABASE).is_file():
        return bundle(loaded, None)
    with reading(loaded.store.path) as archive:
        return bundle(loaded, archive)


def _chosen(loaded: Config, name: str | None) -> list[Model]:
    from monitor.errors import ConfigError

    chosen = [one for one in loaded.models if name in (None, one.name)]
    if not chosen:
        raise ConfigError([f"--model: no model is called {name!r}"])
    return chosen


def _coverage(loaded: Config, models: list[Model], *, as_json: bool) -> None:
    """Which failure modes are watched."""
    from monitor.coverage import coverage as covered
    from monitor.coverage import measured
    from monitor.tables import print_coverage

    found = [covered(one, measured(one, loaded.store.path)) for one in models]
    if as_json:
        click.echo(json.dumps([one.document() for one in found]))
        return
    for one in found:
        print_coverage(one)


def _ends(since: float | None, until: float | None, last: float | None) -> tuple[float | None, float | None]:
    if last is None:
        return since, until
    if since is not None:
        raise click.UsageError("say either --since or --last")
    return (time.time() if until is None else until) - last, until


def _span(since: float | None, until: float | None, last: float | None) -> tuple[float, float]:
    start, end = _ends(since, until, _WEEK if since is None and last is None else last)
    found = (start or 0.0, time.time() if end is None else end)
    if not found[0] < found[1]:
        raise click.UsageError("the period is empty: --since must lie before --until")
    return found


def _gathered(loaded: Config, models: list[Model], ends: tuple[float, float]) -> dict[str, Any]:
    from monitor.archive import reading
    from monitor.period.figures import figures_of
    from monitor.period.gather import Span, gather

    with reading(loaded.store.path) as archive:
        return gather(loaded, archive, Span(*ends, made=time.time()), models, figures_of(loaded))


def _summary(document: dict[str, Any], out: Path | None) -> None:
    """A report in a few lines."""
    from monitor.period.page import headline
    from monitor.web.wording import instant

    click.echo(f"{instant(document['since'])} to {instant(document['until'])}")
    for model in document["models"]:
        click.echo(f"{model['model']}: {headline(model)}")
    click.echo("--out FILE.html writes all of it" if out is None else f"written to {out}")


def _facts(facts: dict[str, Any], out: Path, told: Any) -> None:
    """What an export says about itself, in a few lines."""
    plain = {
        name: value for name, value in facts.items() if name not in _ABOUT and isinstance(value, int | float | str)
    }
    for name in ("verdict", *(name for name in plain if name != "verdict")):
        if name in plain:
            click.echo(f"{name.replace('_', ' ')}: {plain[name]}", file=told)
    for one in facts.get("balance", [])[:5]:
        click.echo(f"{one['column']}: means {one['apart']:.2f} sd apart, weighted {one['weighted']:.2f}", file=told)
    click.echo(f"written to {out}", file=told)


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file that is there whole or not at all; standard output for ``-``."""
    from monitor.errors import DriftwardenError

    if str(path) == "-":
        yield sys.stdout.buffer
        return
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            yield file
        fresh.replace(path)
    except OSError as error:
        raise DriftwardenError(f"--out: {path}: cannot be written: {error.strerror}; choose another place") from None
    finally:
        fresh.unlink(missing_ok=True)
