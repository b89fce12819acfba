"""Questions to a live Prometheus, over its HTTP API."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SECONDS = 30.0
Labels = dict[str, str]


class RefusedError(Exception):
    """Prometheus did not take the question; the message is its own."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: its labels and its points (seconds, value)."""

    labels: Labels
    points: tuple[tuple[float, float], ...]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A Prometheus by its address, for example http://127.0.0.1:9090."""

    url: str

    def now(self, expr: str, at: float | None = None) -> list[Series]:
        """Values at one time; by default now."""
        data = self._data("query", {"query": expr, **({} if at is None else {"time": f"{at:.3f}"})})
        if data["resultType"] == "scalar":
            return [_series({"metric": {}, "values": [data["result"]]})]
        return [_series({"metric": one["metric"], "values": [one["value"]]}) for one in data["result"]]

    def over(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Values over time."""
        asked = {"query": expr, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        return [_series(one) for one in self._data("query_range", asked)["result"]]

    def _data(self, path: str, asked: Mapping[str, str]) -> Any:
        body = urllib.parse.urlencode(asked).encode()
        try:
            with urllib.request.urlopen(f"{self.url.rstrip('/')}/api/v1/{path}", body, _SECONDS) as answer:  # noqa: S310 - the operator names it
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise RefusedError(json.load(error).get("error", str(error))) from error


def _series(one: Mapping[str, Any]) -> Series:
    return Series(one["metric"], tuple((float(at), float(value)) for at, value in one["values"]))
