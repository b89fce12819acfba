"""Which reference stands in for the configured one: learnt from first traffic, or chosen in a re-baseline.

Re-baselines lie on a stack, the newest on top, so that each can be taken back; the configured reference lies below. The
stack holds until the configuration asks for another reference. Files in the state folder's ``references``:

- ``NAME-learned`` and ``NAME-learned.json``: an artefact, and what it was made for;
- ``NAME-rebaselined.json``: the stack; ``NAME-rebaselined-ID``: the artefact of each;
- ``history.jsonl``: every re-baseline and every one taken back; it only grows.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from monitor import artefact
from monitor.config import Model
from monitor.errors import ConfigError

HISTORY = "history.jsonl"
DEEPEST = 10
"""Re-baselines that can be taken back; the artefacts of earlier ones are deleted."""


class Standing:
    """The references of one model's own making."""

    def __init__(self, folder: Path, model: Model) -> None:
        """``folder`` is the agent's state folder."""
        self._folder, self._model = folder / "references", model

    @property
    def place(self) -> Path | None:
        """The artefact in force, None where it is the configured reference."""
        stack = self.stack
        if stack:
            return self._folder / str(stack[-1]["artefact"])
        learned = self.learned
        mine = bool(self._model.reference.learn_rows) and (learned / artefact.MANIFEST).is_file()
        return learned if mine and _facts(_beside(learned)).get("replaces") == identity(self._model) else None

    @property
    def learned(self) -> Path:
        """Where the reference from first traffic is kept."""
        return self._folder / f"{self._model.name}-learned"

    @property
    def stack(self) -> list[dict[str, Any]]:
        """The re-baselines in force for what the configuration asks for now, the newest last."""
        facts = _facts(self._pointer)
        if facts.get("replaces") != identity(self._model):
            return []
        return [one for one in facts["stack"] if (self._folder / one["artefact"] / artefact.MANIFEST).is_file()]

    def made_for(self, id: str) -> Path:  # noqa: A002 - the act's
        """Where the artefact of a re-baseline is to be written."""
        return self._folder / f"{self._model.name}-rebaselined-{id}"

    def keep_learned(self) -> None:
        """The artefact at `learned` is complete: it stands in from now on."""
        write(_beside(self.learned), json.dumps({"replaces": identity(self._model)}))

    def push(self, facts: Mapping[str, Any]) -> None:
        """A re-baseline with the ``id`` in ``facts``, whose artefact is complete, stands in from now on."""
        stack = [*self.stack, {**facts, "artefact": self.made_for(str(facts["id"])).name}]
        self._write(stack[-DEEPEST:])
        for one in stack[:-DEEPEST]:
            shutil.rmtree(self._folder / one["artefact"], ignore_errors=True)
        self._note({**facts, "replaces": identity(self._model)})

    def pop(self, id: str, facts: Mapping[str, Any]) -> None:  # noqa: A002 - the act's
        """Take the newest re-baseline back; `ConfigError` if it is not that one."""
        stack = self.stack
        if not stack or stack[-1]["id"] != id:
            lies = id in [one["id"] for one in stack]
            why = "take back the later ones first" if lies else "the reference before it is not kept any more"
            raise ConfigError([f"id: the re-baseline {id} cannot be taken back: {why}"])
        self._write(stack[:-1])
        shutil.rmtree(self._folder / stack[-1]["artefact"], ignore_errors=True)
        self._note({**facts, "id": id, "model": self._model.name})

    @property
    def _pointer(self) -> Path:
        return self._folder / f"{self._model.name}-rebaselined.json"

    def _write(self, stack: list[dict[str, Any]]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write(self._pointer, json.dumps({"replaces": identity(self._model), "stack": stack}))

    def _note(self, facts: Mapping[str, Any]) -> None:
        with (self._folder / HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(facts)) + "\n")


_LATER: Final = ("quantile", "lower", "upper", "set", "query", "places")
"""Keys that came after references were kept by this: one that is not set changes nothing."""


def identity(model: Model) -> str:
    """Changes when the configuration asks for another reference."""
    columns = model.columns.model_dump(exclude={"importance"})
    columns = {name: one for name, one in columns.items() if one or name not in _LATER}
    told = json.dumps([model.reference.document(), columns, model.season.model_dump()])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def write(path: Path, text: str) -> None:
    """All or nothing."""
    fresh = path.with_name(path.name + ".tmp")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


def _beside(place: Path) -> Path:
    """Where it stands what an artefact was made for; models' names may have dots."""
    return place.with_name(place.name + ".json")


def _facts(path: Path) -> dict[str, Any]:
    """What was written down; nothing if that cannot be read."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
