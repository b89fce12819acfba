"""The ``web`` section of the configuration: where the pages are served, under which address, and who may do what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from monitor.listeners import WEB_ADDRESS, Bearer, HttpListener
from monitor.quantities import Address
from monitor.strict import Fault, Listen, Names, unknown
from monitor.web.people import ANONYMOUS, SHARED, TOKEN, Person


class Rights(Bearer):
    """One person: a user of ``basic_auth_users``, the holder of a token of their own, or a shared name."""

    name: str = Field(
        min_length=1,
        max_length=100,
        description=f"user of config_file, common name of a client certificate, or `{ANONYMOUS}` or `{TOKEN}`",
    )
    models: Names | None = Field(default=None, description="models that they see; all unless given")
    values: bool = Field(default=False, description="may see feature values")
    act: bool = Field(default=False, description="may acknowledge, mute, quarantine and accept a new normal")

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """Shared names bring no token of their own."""
        yield from super().cross(raw, context)
        if raw.get("name") in SHARED and (raw.get("token_file") or raw.get("token_env")):
            yield ("name",), f'"{raw["name"]}" is shared and has no token of its own; choose another name'

    @property
    def person(self) -> Person:
        """As the gate knows them."""
        models = None if self.models is None else frozenset(self.models)
        return Person(self.name, models, self.values, self.act)


def outside(value: str) -> str:
    """``https://HOST[:PORT]`` without anything after it."""
    parts = urlsplit(value)
    plain = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or value.rstrip("/") != plain:
        message = f'"{value}" is not an outside address; write "https://HOST" or "https://HOST:PORT" and no path'
        raise ValueError(message)
    return plain


class Web(HttpListener):
    """The pages and their interface for programs."""

    default_address: ClassVar[Address | None] = WEB_ADDRESS

    enabled: bool = Field(default=True, description="serve the pages at all")
    listen: Listen = Field(default=WEB_ADDRESS, description="address to bind")
    url: Annotated[str, AfterValidator(outside)] | None = Field(
        default=None, description="outside address of the pages, for links in alerts; the bound one unless given"
    )
    dashboards: Annotated[str, AfterValidator(outside)] | None = Field(
        default=None, description="address of Grafana, for links from findings to their dashboard"
    )
    show_values: bool = Field(default=False, description="show feature values to those who are not listed under people")
    people: tuple[Rights, ...] = Field(
        default=(), description="who may see and do what; all who are let in see everything and act unless given"
    )

    @property
    def opened(self) -> bool:
        """Tokens of people guard it too."""
        return super().opened or any(one.token for one in self.people)

    @property
    def address_text(self) -> str:
        """The outside address, for links."""
        return self.url or f"{'https' if self.secure else 'http'}://{self.listen}"

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """Each person once, known by something."""
        yield from super().cross(raw, context)
        told: list[str] = []
        for index, entry in enumerate(_entries(raw)):
            name = str(entry.get("name", ""))
            if name and name in told:
                yield ("people", index, "name"), f'"{name}" is listed already; choose another name or join the two'
            told.append(name)
        shared = raw.get("token_file") or raw.get("token_env")
        if told and shared and TOKEN not in told:
            yield ("people",), f'says nothing about those who bring the shared token; list "{TOKEN}" with its rights'
        if set(told) - {ANONYMOUS} and not shared and not raw.get("config_file") and not _own_tokens(raw):
            yield ("people",), "names people, but nobody can show who they are; give them tokens, or add config_file"

    @classmethod
    def unlocked(cls, raw: Mapping[str, Any]) -> bool:
        """Tokens of people guard it too."""
        return super().unlocked(raw) or _own_tokens(raw)


def _entries(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The people of a raw section, in place."""
    given = raw.get("people")
    return [one if isinstance(one, Mapping) else {} for one in (given if isinstance(given, list) else [])]


def _own_tokens(raw: Mapping[str, Any]) -> bool:
    return any(one.get("token_file") or one.get("token_env") for one in _entries(raw))


def people_faults(raw: Any, models: list[str]) -> Iterator[Fault]:
    """People of a raw section whose models are not configured."""
    for index, entry in enumerate(_entries(raw) if isinstance(raw, Mapping) else []):
        given = entry.get("models")
        for name in [given] if isinstance(given, str) else given if isinstance(given, list) else []:
            if name not in models:
                where = ("web", "people", index, "models")
                yield where, f'"{name}" is not configured: {unknown("model", str(name), models)}'
