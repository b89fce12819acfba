"""The command. The only place that prints; everything heavy is imported by the command that needs it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from monitor.cli_act import ENVIRONMENT, acknowledge, interventions, mute, quarantine, rebaseline, undo
from monitor.cli_audit import audit
from monitor.cli_report import estimate, export, report, support_bundle

if TYPE_CHECKING:
    from monitor.loading import Progress

_CONFIG = click.option(
    "--config", "-c", "config", required=True, type=click.Path(path_type=Path), help="Configuration file (YAML)."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


def main() -> None:
    """Entry point: exit 0 good, 2 usage, 78 bad configuration, 1 other failure."""
    from monitor.errors import DriftwardenError

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # a sidecar takes one core; spinning BLAS threads would take the model's
    try:
        command(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except DriftwardenError as error:
        print(f"driftwarden: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=ENVIRONMENT)
def command() -> None:
    """Watch a deployed model's inputs for drift, with alarms that keep to a budget."""


@command.command()
@_JSON
def version(*, as_json: bool) -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    number = installed("driftwarden")
    print(json.dumps({"version": number}) if as_json else f"driftwarden {number}")


@command.command()
@_CONFIG
@_JSON
@click.option("--no-environment", is_flag=True, help="Check the file alone: no tokens, references or folders.")
def validate(config: Path, *, as_json: bool, no_environment: bool) -> None:
    """Check a configuration and print the effective one. Exit 78 with all faults if it cannot be used."""
    from monitor.config import describe, fingerprint, load
    from monitor.errors import ConfigError

    try:
        loaded = load(config, secrets=not no_environment)
        if not no_environment:
            from monitor.environment import check

            check(loaded)
    except ConfigError as error:
        if as_json:
            print(json.dumps({"valid": False, "faults": error.faults}))
            sys.exit(error.exit_code)
        raise
    if as_json:
        print(json.dumps({"valid": True, "fingerprint": fingerprint(loaded)}))
    else:
        print(describe(loaded), end="")


@command.command()
@_CONFIG
@_JSON
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the artefact.")
@click.option("--model", help="Only this model of the configuration.")
def fit(config: Path, out: Path, model: str | None, *, as_json: bool) -> None:
    """Measure the reference and write a portable artefact.

    With one model OUT is the artefact; with several, OUT/NAME.
    """
    from monitor import artefact
    from monitor.config import load
    from monitor.errors import ConfigError
    from monitor.loading import fitted_of
    from monitor.prepared import prepared
    from monitor.tables import document_of, print_fitted

    chosen = [one for one in load(config).models if model in (None, one.name)]
    if not chosen:
        raise ConfigError([f"--model: no model is called {model!r}"])
    documents = []
    for one in chosen:
        with _progress() as progress:
            fitted = fitted_of(one, progress=progress)
        place = out if len(chosen) == 1 else out / one.name
        artefact.write(prepared(fitted, one), place)
        if as_json:
            documents.append({"model": one.name, "artefact": str(place), **document_of(fitted)})
        else:
            print_fitted(one.name, fitted, place)
    if as_json:
        print(json.dumps(documents))


@command.command()
@_CONFIG
@_JSON
@click.option("--model", help="Only this model of the configuration.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Rows that come in a second.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for calibration.json and calibration.html.")
@click.option(
    "--streams", type=click.IntRange(min=1), help="Simulated streams a shift: all of them, however long it takes."
)
@click.option("--panes", default=100, show_default=True, type=click.IntRange(min=1), help="How far to look, in panes.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="The same seed, the same answer."
)
def calibrate(
    config: Path,
    model: str | None,
    rate: float | None,
    out: Path | None,
    streams: int | None,
    panes: int,
    seed: int,
    *,
    as_json: bool,
) -> None:
    """Say before it runs what the alarms will do: false alarms, smallest shifts found, and after how long.

    Replays resampled reference rows and injected shifts through the engine that `run` uses, for about a minute. With
    several models the files go to OUT/NAME.
    """
    from monitor.calibration.calibrate import calibrate as study
    from monitor.calibration.files import write
    from monitor.calibration.study import Plan
    from monitor.calibration.table import print_result
    from monitor.config import load
    from monitor.errors import ConfigError
    from monitor.loading import fitted_of

    chosen = [one for one in load(config).models if model in (None, one.name)]
    if not chosen:
        raise ConfigError([f"--model: no model is called {model!r}"])
    plan = Plan(horizon=panes, seed=seed) if streams is None else Plan(streams, panes, seed, float("inf"))
    documents = []
    for one in chosen:
        with _progress() as progress:
            fitted = fitted_of(one, progress=progress)
        with _progress("streams") as progress:
            result = study(one, fitted, rate=rate, plan=plan, tell=_counted(progress, one.name))
        if out is not None:
            write(result, out if len(chosen) == 1 else out / one.name)
        if as_json:
            documents.append(result.document())
        else:
            print_result(result)
    if as_json:
        print(json.dumps(documents))


@command.command()
@_CONFIG
@_JSON
@click.option(
    "--input", "paths", required=True, multiple=True, help="File, folder or URI of a stored log; may be repeated."
)
@click.option("--model", help="Model that the log belongs to, if the configuration has several.")
@click.option(
    "--jsonl", type=click.Path(path_type=Path, allow_dash=True), help="Write findings and performance as JSON lines."
)
@click.option(
    "--compare", "other", type=click.Path(path_type=Path), help="Replay with this configuration too, and compare."
)
def replay(
    config: Path, paths: tuple[str, ...], model: str | None, jsonl: Path | None, other: Path | None, *, as_json: bool
) -> None:
    """Send stored logs through the engine that `run` uses, in event time, as fast as it goes."""
    from monitor.config import load
    from monitor.replay import chosen_of
    from monitor.replay import replay as run_replay
    from monitor.tables import sentence

    if other is not None:
        _compare((config, other), paths, model, jsonl, as_json=as_json)
        return
    loaded = load(config)
    timed = chosen_of(loaded, model).columns.time is not None
    with _lines(jsonl) as write, _progress() as progress:

        def emit(line: dict[str, Any]) -> None:
            if write is not None:
                write(json.dumps(line))
            if not as_json and str(jsonl) != "-":
                print(sentence(line, timed=timed))

        outcomes = run_replay(loaded, paths, model=model, emit=emit, progress=progress)
    if as_json:
        print(json.dumps([one.as_dict() for one in outcomes]))


def _compare(
    configs: tuple[Path, Path], paths: tuple[str, ...], model: str | None, jsonl: Path | None, *, as_json: bool
) -> None:
    """Both configurations over the same log, side by side."""
    from monitor.compare_runs import compare, loaded
    from monitor.tables import print_comparison

    first, second = (loaded(one) for one in configs)
    with _lines(jsonl) as write, _progress() as progress:

        def emit(line: dict[str, Any]) -> None:
            if write is not None:
                write(json.dumps(line))

        found = compare((first, second), paths, model=model, emit=emit, progress=progress)
    if as_json:
        print(json.dumps(found.document()))
    elif str(jsonl) != "-":
        print_comparison(found, (first.name, second.name))


for _one in (
    audit,
    report,
    export,
    estimate,
    support_bundle,
    acknowledge,
    mute,
    quarantine,
    rebaseline,
    undo,
    interventions,
):
    command.add_command(_one)


@command.command()
@_CONFIG
def run(config: Path) -> None:
    """Serve until SIGTERM: take rows in, judge them, tell Prometheus. SIGHUP reloads the configuration.

    Files of the state folder are for the user whom it runs as; commands that read them run as the same user.
    """
    from monitor.memory import few_arenas
    from monitor.signals import Signals

    os.umask(0o077)  # what is kept of the traffic is for the agent's own user
    signals = Signals()
    signals.install()  # before the heavy imports below: they take about a second
    few_arenas()
    from monitor.app import serve

    sys.exit(serve(config, signals))


@command.command()
@click.option("--once", is_flag=True, help="Run the log through once, print what was found, and exit.")
@click.option("--stack", is_flag=True, help="With Prometheus, Alertmanager and a pager: `sh .ci/install stack`.")
@click.option("--port", default=0, help="Port of /metrics on 127.0.0.1; 0 takes a free one.")
def demo(port: int, *, once: bool, stack: bool) -> None:
    """Watch a real model's log with a documented drift: needs no configuration and no network."""
    from monitor.signals import Signals

    signals = Signals()
    signals.install()
    if stack:
        from monitor.demo.page import show
    else:
        from monitor.demo.show import show

    sys.exit(show(signals, once=once, port=port))


@command.command()
@_CONFIG
@click.argument("names", nargs=-1, required=True)
def pseudonym(config: Path, names: tuple[str, ...]) -> None:
    """Print the pseudonyms under which senders appear in findings and metrics, by the key of this store."""
    from monitor.config import load
    from monitor.security.pseudonyms import Pseudonyms, key_of

    known = Pseudonyms(key_of(load(config, secrets=False).store.path))
    for name in names:
        print(f"{known.of_name(name):016x}  {name}")


@contextmanager
def _lines(path: Path | None) -> Iterator[Callable[[str], None] | None]:
    """Writer of one line to a file, or to standard output for ``-``."""
    if path is None:
        yield None
    elif str(path) == "-":
        yield lambda line: _write(sys.stdout, line)
    else:
        with path.open("w", encoding="utf-8") as file:
            yield lambda line: _write(file, line)


def _write(file: TextIO, line: str) -> None:
    file.write(line + "\n")
    file.flush()


def _counted(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    """Progress in a number of things of which the total is known."""
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)


@contextmanager
def _progress(of: str = "rows") -> Iterator[Progress | None]:
    """A progress bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def tell(name: str, rows: int, total: int | None) -> None:
            task = tasks.setdefault(name, None)
            if task is None:
                task = tasks[name] = bar.add_task(f"{name} ({of})", total=total)
            bar.update(task, completed=rows)

        yield tell
