"""The README's tables, written from the code that they describe: ``python -m monitor.docs`` puts them in place.

Each table stands between ``<!-- name:begin -->`` and ``<!-- name:end -->``. It needs the source tree: an installed
agent has no README.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args

import click
import numpy as np
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from detectors import parts, simulate
from detectors.compare import Baseline, Comparison
from detectors.heuristics import ALARMS, HEURISTICS
from detectors.performance.errors import Errors
from detectors.registry import CATALOG, JOINT, SEQUENTIAL, WITNESS, Tolerances
from detectors.streaming.catalog import CLASSICAL, ERRORS, ONLINE
from detectors.streaming.online_mmd import OnlineMMD
from detectors.taxonomy import MODES, TELEMETRY
from detectors.types import Detector, Window
from monitor.cli import command
from monitor.config import Config
from monitor.ledger import REASONS, REFUSALS
from monitor.metrics import METRICS
from monitor.yaml_text import write_yaml

ROOT: Final = Path(__file__).resolve().parent.parent
WHY: Final = {
    "apscheduler": "the clockwork: watermarks without data, checkpoints, retention, with missed runs reported",
    "bcrypt": "passwords of web.config.yml",
    "click": "the command line",
    "httptools": "parses HTTP in C; uvicorn picks it up by itself",
    "jinja2": "the pages, written on the server with every value escaped",
    "markdown-it-py": "the runbooks as a page",
    "numpy": "all statistics work on its arrays",
    "prometheus-client": "the process collector; the exposition itself is written by monitor/exposition.py",
    "pyarrow": "Arrow batches, Flight, Parquet, and file systems behind URIs",
    "pydantic": "the configuration: types and all faults at once",
    "pyyaml": "reads the configuration",
    "rich": "tables, progress bars and the demo's live view",
    "scipy": "special functions of the null laws (special, linalg and spatial only)",
    "starlette": "HTTP routes, requests and responses",
    "structlog": "the agent's own log as logfmt or JSON",
    "uvicorn": "the HTTP server",
}
"""Runtime dependency -> what it is for."""

_SECTION: Final = re.compile(r"\b(Question|Statistic|Null law|Effect|Sees / blind to|Cost|Source): ")
_MARKED: Final = re.compile(r"(<!-- ([a-z]+):begin -->\n).*?(<!-- \2:end -->)", re.DOTALL)
_NOTES: Final = re.compile(r" \(methods\.md[^)]*\)")
"""References to the research notes, which are not part of the tree."""
_ROWS: Final = 256


def main(arguments: Sequence[str]) -> int:
    """Write the tables into the README; with ``--check`` only say whether they are current."""
    readme = ROOT / "README.md"
    if not readme.is_file():
        sys.stderr.write(f"{readme} is not there; run this in a checkout of the source tree\n")
        return 1
    before = readme.read_text(encoding="utf-8")
    after = render(before)
    if "--check" in arguments:
        sys.stderr.write("" if before == after else "README.md is out of date; run python -m monitor.docs\n")
        return int(before != after)
    readme.write_text(after, encoding="utf-8")
    return 0


def render(text: str) -> str:
    """The README's text with each table of `TABLES` written anew; other markers are left alone."""

    def fresh(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        return begin + TABLES[name]() + end if name in TABLES else found.group(0)

    return _MARKED.sub(fresh, text)


def commands() -> str:
    """Every command with its options."""
    rows = []
    for name, one in command.commands.items():
        options = [_option(given) for given in one.params if isinstance(given, click.Option)]
        rows.append((f"`driftwarden {name}`", (one.help or "").partition("\n\n")[0], "<br>".join(options)))
    return _table(("Command", "What it does", "Options"), rows)


def _option(option: click.Option) -> str:
    names = "`" + "`, `".join(sorted(option.opts)) + "`"
    needed = " (required)" if option.required else ""
    return f"{names}{needed}: {option.help}"


def configuration() -> str:
    """Every key of the configuration file; ``[]`` is an entry of a list."""
    rows = [
        (f"`{path}`", f"`{default}`" if default else "required" if field.is_required() else "", field.description or "")
        for path, field, default in keys(Config)
    ]
    return _table(("Key", "Default", "Meaning"), rows)


def keys(
    section: type[BaseModel], prefix: str = "", given: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[tuple[str, FieldInfo, str]]:
    """Path, field and default of every key below a section; ``given`` is what the section's own default says."""
    for name, field in section.model_fields.items():
        inner = _section(field.annotation)
        if inner is None:
            yield prefix + name, field, str(given.get(name) or _default(section, name, field))
        else:
            several = "tuple" in str(field.annotation)
            inside = field.default if isinstance(field.default, dict) else {}
            yield from keys(inner, f"{prefix}{name}{'[]' if several else ''}.", inside)


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, alone, optional or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_section(one) for one in get_args(annotation))
    return next((one for one in inner if one is not None), None)


def _default(section: type[BaseModel], name: str, field: FieldInfo) -> str:
    """The default as it would be written in the file; nothing where the key is required or stands for nothing."""
    if field.is_required() or field.default in (None, ()):
        return ""
    written = section.model_construct().model_dump(mode="json", include={name})
    return write_yaml(written).partition(":")[2].strip()


def detectors() -> str:
    """Every detector by family, in the words of the family's own file."""
    families: dict[str, list[str]] = {}
    made = {name: make(Tolerances()) for name, make in CATALOG.items()}
    for name, detector in made.items():
        families.setdefault(type(detector).__module__, []).append(name)
    effects = _effects(made)
    rows = []
    for module, names in families.items():
        words = sections(sys.modules[module].__doc__ or "")
        shown = "<br>".join(f"`{name}` ({effects[name]})" for name in names)
        layer = "columns, sequential: pages" if names[0] in SEQUENTIAL else "columns, window: explains, opens tickets"
        rows.append((shown, layer, words))
    rows.append(("`e_witness` (ks distance)", "joint, sequential: pages", _words(WITNESS(Tolerances()))))
    for name, test in JOINT.items():
        rows.append((f"`{name}`", "joint, window: explains, opens tickets", _words(test(Tolerances()))))
    rows.append(("`e_errors` (error change)", "answers and labels, sequential: pages", _words(Errors())))
    for name, classical in CLASSICAL.items():
        over = "answers and labels" if name in ERRORS else "columns"
        rows.append((f"`{name}`", f"{over}, by name only: notes", _words(classical())))
    rows.append((f"`{ONLINE}`", "joint, by name only: notes", _words(OnlineMMD())))
    head = ("Detector (its effect)", "Layer", "Question", "Null law", "Sees / blind to")
    return _table(head, [(shown, layer, *(words[key] for key in head[2:])) for shown, layer, words in rows])


def _words(detector: object) -> dict[str, str]:
    """What the file of a detector says."""
    return sections(sys.modules[type(detector).__module__].__doc__ or "")


def sections(docstring: str) -> dict[str, str]:
    """Heading -> text of a detector's docstring."""
    _, *found = _SECTION.split(_NOTES.sub("", " ".join(docstring.split())))
    return dict(zip(found[::2], (text.strip() for text in found[1::2]), strict=True))


def _effects(made: dict[str, Detector]) -> dict[str, str]:
    """What each detector calls its effect, asked of it on a few rows."""
    steps = np.arange(_ROWS)
    block = simulate.block_of(steps[:, None].astype(np.float64), (steps[:, None] % 3).astype(np.int32))
    reference = simulate.reference_of(block)
    summary = parts.summarise(reference.grid, block)
    names = {}
    for name, one in made.items():
        fixed = one.fit(reference)
        window = Window(0.0, 1.0, Comparison(Baseline(reference), summary), summary)
        with np.errstate(all="ignore"):
            names[name] = one.score(fixed, one.start(fixed), window)[1].effect_name.replace("_", " ")
    return names


def modes() -> str:
    """Every failure mode, with what speaks to it."""
    tolerances = Tolerances()
    speaks = {name: make(tolerances).failure_modes for name, make in CATALOG.items()}
    speaks |= {name: make(tolerances).failure_modes for name, make in JOINT.items()}
    pages = {name: speaks[name] for name in SEQUENTIAL} | {"e_witness": WITNESS(tolerances).failure_modes}
    pages["e_errors"] = Errors().failure_modes
    rows = []
    for mode in MODES.values():
        named = [f"`{name}`" for name, told in pages.items() if mode.name in told]
        tests = sum(mode.name in told for name, told in speaks.items() if name not in pages)
        ids = [f"`{one}`" for name, tags in mode.tags.items() if name != "misp" for one in tags]
        named += [f"`{name}`" for name, one in HEURISTICS.items() if mode.name in one.modes and one.does == ALARMS]
        detectors = ", ".join([*named, *([f"{tests} window tests"] if tests else [])])
        rows.append(
            (str(mode.number), f"`{mode.name}`", f"`{mode.misp}`", ", ".join(ids), detectors, mode.not_observable)
        )
    head = ("", "Failure mode", "MISP's value", "ATLAS, OWASP ML, NIST", "Detectors", "What no log shows")
    return _table(head, rows)


def heuristics() -> str:
    """Every heuristic about rows, senders, labels and versions, with what it needs and what defeats it."""
    rows = []
    for name, one in HEURISTICS.items():
        needs = "; ".join(
            " or ".join(TELEMETRY[key].key or key.replace("_", " ") for key in keys) for keys in one.needs
        )
        speaks = ", ".join(str(MODES[mode].number) for mode in one.modes)
        rows.append((f"`{name}`", one.number, one.does, one.question, needs, speaks, one.defeated_by))
    return _table(("Heuristic", "", "Does", "Question", "Needs", "Modes", "Defeated by"), rows)


def metrics() -> str:
    """Every metric."""
    rows = [(f"`{one.name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), one.help) for one in METRICS]
    return _table(("Metric", "Kind", "Labels", "Meaning"), rows)


def reasons() -> str:
    """Every reason for which rows are discarded or refused."""
    return (
        f"- discarded (received, not judged): {', '.join(f'`{reason}`' for reason in REASONS)}\n"
        f"- refused (never received, the sender was told): {', '.join(f'`{reason}`' for reason in REFUSALS)}\n"
    )


def dependencies() -> str:
    """Every runtime dependency with its reason."""
    return _table(("Package", "Why"), [(f"`{wanted}`", WHY[name]) for name, wanted in required().items()])


def required() -> dict[str, str]:
    """Name -> requirement of the runtime dependencies in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {re.split(r"[<>=!~\[ ]", wanted, maxsplit=1)[0]: wanted for wanted in project["dependencies"]}


TABLES: Final[dict[str, Callable[[], str]]] = {
    "commands": commands,
    "configuration": configuration,
    "detectors": detectors,
    "modes": modes,
    "heuristics": heuristics,
    "metrics": metrics,
    "reasons": reasons,
    "dependencies": dependencies,
}
"""Marker in the README -> what writes the text between."""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, each row on one line."""
    lines = [head, ["---"] * len(head), *([" ".join(cell.replace("|", r"\|").split()) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
