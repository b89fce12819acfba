"""YAML in and out: safe tags only, a key given twice is an error, and faults name their line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from monitor.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """The safe loader, minus its habit of letting the last of two equal keys win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001 FBT002
        """Refuse a key that stands twice in one mapping."""
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                problem = f'the key "{name}" is given twice; keep one'
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def read_yaml(text: str, name: str) -> Any:
    """The document in ``text``; `ConfigError` with file, line and column when it is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name
        raise ConfigError([f"{where}: {error.problem or error}; fix the YAML at that place"]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([f"{name}: not readable as YAML: {error}; save it as UTF-8 text"]) from error


def write_yaml(document: Mapping[str, Any]) -> str:
    """A document as text, keys in their own order."""
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=100)
