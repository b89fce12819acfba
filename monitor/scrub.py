"""What leaves a machine for support is made of here: facts that are ours, and marks for what belongs to others.

Values of features, of segments and of labels, names of senders and of people, free text and secrets do not pass. What
must be told apart gets a mark, `Marks`: the same one wherever it occurs in a bundle, and another one in the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

COMPONENTS: Final = frozenset(
    {"agent", "app", "directory", "estimates", "findings", "guard", "notify", "outcomes", "probes", "references"}
    | {"replay", "scheduler", "slices", "spool", "stdin", "web"}
)
"""Parts of the agent that log; what libraries log may quote anything."""
PLAIN: Final = ("rows", "sequence", "reason", "kind", "task", "status", "attempts", "detector", "heuristic", "triage")
"""Keys of log lines whose values are ours."""
_MARKED_LABELS: Final = ("stream", "segment", "suspect", "class")
"""Labels of metrics that hold values of segments, versions, classes, or names of senders."""
_MARKED_KEYS: Final = frozenset({"classes", "releases", "username"})
"""Keys of the configuration that hold values of columns, or somebody's name."""
_QUOTED: Final = ("error", "why")
"""Keys of log lines that quote errors, of which the type passes."""
_TYPE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:Error|Exception|Invalid|Interrupt)(?=\W|$)")
_LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_URL: Final = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s\"']+", re.IGNORECASE)
_WHOLE: Final = "all"
"""The stream of all rows."""


class Marks:
    """Gives each thing a mark of its kind: ``stream#2``."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: dict[tuple[str, str], str] = {}

    def __call__(self, kind: str, value: str) -> str:
        """The mark; that of all rows, and of nothing, is itself."""
        if value in ("", _WHOLE):
            return value
        key = (kind, value)
        if key not in self._known:
            self._known[key] = f"{kind}#{1 + sum(one == kind for one, _ in self._known)}"
        return self._known[key]


def metrics(text: str, marks: Marks) -> Iterator[str]:
    """Lines of an exposition, with marks for streams and suspects; without exemplars, which quote rows."""

    def marked(found: re.Match[str]) -> str:
        name, value = found.groups()
        return f'{name}="{marks(name, value)}"' if name in _MARKED_LABELS else found.group(0)

    for line in text.splitlines():
        yield line if line.startswith("#") else _LABEL.sub(marked, line.partition(" # ")[0])


def log_lines(events: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Lines of the log: time, level, part, and the sentence where it cannot quote anything."""
    for event in events:
        component = str(event.get("component", ""))
        ours = component in COMPONENTS
        line = {key: event.get(key) for key in ("time", "level", "model") if key in event}
        line["component"] = component if ours else "library"
        line["msg"] = str(event.get("event", "")) if ours and component != "findings" else f"({line['component']})"
        line |= {key: event[key] for key in PLAIN if isinstance(event.get(key), int | float | str)}
        for key in _QUOTED:
            if key in event and (kind := _TYPE.match(str(event[key]))):
                line[key] = kind.group(0)
        yield line


def configuration(value: Any, marks: Marks, key: str = "") -> Any:
    """An effective configuration without values of columns, names of people and what addresses may hide."""
    if isinstance(value, Mapping):
        return {name: configuration(one, marks, str(name)) for name, one in value.items()}
    if isinstance(value, list | tuple):
        people = key == "people"
        return [_person(one, marks) if people else configuration(one, marks, key) for one in value]
    if not isinstance(value, str):
        return value
    return marks(key, value) if key in _MARKED_KEYS else address(value)


def address(text: str) -> str:
    """Text with addresses cut to their scheme, for a path, a query or a user may be a secret, and home called so.

    >>> address("https://hooks.example.com/T0/B0/key")
    'https://(left out)'
    """
    return _URL.sub(lambda found: f"{found.group(1)}://(left out)", text.replace(str(Path.home()), "~"))


def _person(one: Any, marks: Marks) -> Any:
    if not isinstance(one, Mapping):
        return one
    return {name: marks("person", str(value)) if name == "name" else value for name, value in one.items()}
