"""The sections of the configuration that open a door: sources and telemetry, with their tokens.

A door that others than this machine can reach must have a bearer token, from a file or an environment variable, or
say in so many words that it wants none. A token itself never stands in the configuration and never in its print.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr

from monitor.errors import ConfigError
from monitor.quantities import Address, address
from monitor.strict import Duration, Fault, Listen, Location, Names, RelativePath, Strict

WhenFull = Literal["reject", "drop_oldest"]
FLIGHT_ADDRESS = Address("127.0.0.1", 8815)
HTTP_ADDRESS = Address("127.0.0.1", 9710)
WEB_ADDRESS = Address("127.0.0.1", 9711)


def kept_secret(raw: Mapping[str, Any], context: Any, kind: str = "token") -> SecretStr | None:
    """The secret of a section, None where there is none; what is wrong with it `secret_faults` tells."""
    try:
        text = read_secret(raw, context or {}, kind)
    except ValueError:
        return None
    return SecretStr(text) if text else None


def secret_faults(raw: Mapping[str, Any], context: Mapping[str, Any], kind: str = "token") -> Iterator[Fault]:
    """A secret given twice, or one that cannot be read; ``kind`` begins the names of its two keys."""
    file, variable = f"{kind}_file", f"{kind}_env"
    given = [key for key in (file, variable) if raw.get(key)]
    if len(given) > 1:
        yield (variable,), f"{file} is given too; keep one of the two"
    elif given:
        try:
            read_secret(raw, context, kind)
        except ValueError as error:
            yield (given[0],), str(error)


def read_secret(raw: Mapping[str, Any], context: Mapping[str, Any], kind: str = "token") -> str | None:
    """The secret from its file or variable; `ValueError` when it is not there."""
    if not context.get("secrets", False):
        return None
    if raw.get(f"{kind}_env"):
        name = str(raw[f"{kind}_env"])
        text = str(context.get("environ", {}).get(name, "")).strip()
        problem = f'the environment variable "{name}" is not set or empty; set it before the start'
    elif raw.get(f"{kind}_file"):
        path = Path(context.get("base", Path())) / Path(str(raw[f"{kind}_file"])).expanduser()
        problem = f'the file "{path}" is empty; write the {kind} into it'
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            message = f'the file "{path}" cannot be read: {reason}; create it with the {kind} as its only line'
            raise ValueError(message) from error
    else:
        return None
    if not text:
        raise ValueError(problem)
    return text


class Bearer(Strict):
    """A bearer token from a file or a variable, never from the configuration itself."""

    token_file: RelativePath | None = Field(default=None, description="file whose content is the bearer token")
    token_env: str | None = Field(default=None, description="environment variable that holds the bearer token")
    _token: SecretStr | None = PrivateAttr(None)

    def model_post_init(self, context: Any) -> None:
        """Keep the token apart from the fields, so that no print can show it."""
        self._token = kept_secret({"token_file": self.token_file, "token_env": self.token_env}, context)

    @property
    def token(self) -> str | None:
        """The bearer token, or None when none is asked for."""
        return self._token.get_secret_value() if self._token is not None else None

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """One token at most, readable."""
        yield from secret_faults(raw, context)


class Listener(Bearer):
    """What all doors share."""

    default_address: ClassVar[Address | None] = None
    guards: ClassVar[str] = "token_file or token_env"

    allow_unauthenticated: bool = Field(default=False, description="serve other machines without a token")

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """A token at least where strangers can knock."""
        yield from super().cross(raw, context)
        if not cls.guarded(raw) and (listen := cls.exposed(raw)) is not None:
            fix = f"add {cls.guards}, listen on 127.0.0.1, or say allow_unauthenticated: true"
            yield ("listen",), f"{listen} can be reached by other machines and no token is asked for; {fix}"

    @classmethod
    def guarded(cls, raw: Mapping[str, Any]) -> bool:
        """Whether the raw section asks for something, or says that it wants nothing."""
        return any(raw.get(key) for key in ("token_file", "token_env", "allow_unauthenticated"))

    @classmethod
    def exposed(cls, raw: Mapping[str, Any]) -> Address | None:
        """The address of the raw section if others than this machine can reach it."""
        try:
            listen = address(raw.get("listen", cls.default_address))
        except ValueError:  # the field itself tells it, or there is no address of its own
            return None
        return None if listen.loopback else listen


class Flight(Listener):
    """Arrow Flight, DoPut."""

    default_address: ClassVar[Address | None] = FLIGHT_ADDRESS

    listen: Listen = Field(default=FLIGHT_ADDRESS, description="address to bind")
    tls_cert: RelativePath | None = Field(default=None, description="PEM file with the certificate chain")
    tls_key: RelativePath | None = Field(default=None, description="PEM file with the private key")
    when_full: WhenFull = Field(default="reject", description="what to do with rows when the queue is full")

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """TLS needs both files."""
        yield from super().cross(raw, context)
        for have, lack in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
            if raw.get(have) and not raw.get(lack):
                yield (lack,), f"missing; {have} is given, and TLS needs both"


class HttpListener(Listener):
    """A door that speaks HTTP: TLS and passwords as in Prometheus, and the names under which it may be called."""

    guards: ClassVar[str] = "token_file or token_env, or a config_file with basic_auth_users"

    config_file: RelativePath | None = Field(
        default=None, description="web.config.yml of Prometheus' exporter-toolkit: TLS, client certificates, passwords"
    )
    hosts: Names = Field(
        default=(), description="names by which others call it, beside its own address; against DNS rebinding"
    )
    _secure: bool = PrivateAttr(default=False)

    def model_post_init(self, context: Any) -> None:
        """Look once whether TLS is spoken: that does not change while the agent runs."""
        super().model_post_init(context)
        if self.config_file is None or not (context or {}).get("secrets", False):
            return
        from monitor.web.webconfig import read

        with contextlib.suppress(ConfigError):  # `cross` tells it
            self._secure = read(self.config_file).tls_server_config.enabled

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken there."""
        return self._secure

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """A file that can be used, and asks who knocks where nothing else does and strangers can."""
        yield from super().cross(raw, context)
        given = raw.get("config_file")
        if not isinstance(given, (str, Path)) or not str(given) or not context.get("secrets", False):
            return
        from monitor.web.standing import WebConfigFile

        try:
            path = Path(context.get("base", Path())) / Path(given).expanduser()
            WebConfigFile(path, demand=cls.exposed(raw) is not None and not cls.unlocked(raw))
        except ConfigError as error:
            for fault in error.faults:
                yield ("config_file",), fault

    @property
    def opened(self) -> bool:
        """Whether a token guards it, or it is left open on purpose, whatever the file says."""
        return self.token is not None or self.allow_unauthenticated

    @classmethod
    def guarded(cls, raw: Mapping[str, Any]) -> bool:
        """A file may guard it as well; `cross` looks into it."""
        return bool(raw.get("config_file")) or cls.unlocked(raw)

    @classmethod
    def unlocked(cls, raw: Mapping[str, Any]) -> bool:
        """Whether it is guarded, or left open on purpose, without the file."""
        return super().guarded(raw)


class Http(HttpListener):
    """POST /v1/ingest/{model}."""

    default_address: ClassVar[Address | None] = HTTP_ADDRESS

    listen: Listen = Field(default=HTTP_ADDRESS, description="address to bind")
    when_full: WhenFull = Field(default="reject", description="what to do with rows when the queue is full")


class Telemetry(HttpListener):
    """/metrics and health; without an address of its own it is served where the first HTTP source listens."""

    listen: Listen | None = Field(default=None, description="address to bind")

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """What belongs to an address stands with the address."""
        yield from super().cross(raw, context)
        for key in ("config_file", "hosts"):
            if raw.get(key) and not raw.get("listen"):
                yield (key,), "needs telemetry.listen; without it, say so at the HTTP source that serves the metrics"


class Directory(Strict):
    """A watched folder."""

    path: RelativePath = Field(description="folder to watch")
    model: str = Field(description="model that the files belong to")
    poll: Duration = Field(default=1.0, ge=0.05, description="how often to look for new files")
    when_full: WhenFull = Field(default="reject", description="reject: wait and read again; drop_oldest: make room")


class Stdin(Strict):
    """Standard input."""

    model: str = Field(description="model that the rows belong to")


def _or_defaults(value: object) -> object:
    """``- http:`` with nothing after it means the defaults."""
    return {} if value is None else value


_Default = BeforeValidator(_or_defaults)
SOURCE_KINDS = ("flight", "http", "directory", "stdin")


class Source(Strict):
    """One entry of ``sources``: exactly one kind with its settings."""

    flight: Annotated[Flight | None, _Default] = None
    http: Annotated[Http | None, _Default] = None
    directory: Annotated[Directory | None, _Default] = None
    stdin: Annotated[Stdin | None, _Default] = None

    @property
    def kind(self) -> str:
        """Which of the kinds it is."""
        return next(name for name in SOURCE_KINDS if getattr(self, name) is not None)

    @property
    def settings(self) -> Flight | Http | Directory | Stdin:
        """The settings of that kind."""
        found: Flight | Http | Directory | Stdin = getattr(self, self.kind)
        return found

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """One source an entry."""
        kinds = [name for name in SOURCE_KINDS if name in raw]
        if not kinds and not set(raw) - set(SOURCE_KINDS):
            yield (), f"names no source; use one of {', '.join(SOURCE_KINDS)}"
        if len(kinds) > 1:
            yield (), f"names {' and '.join(kinds)} at once; give each a list entry of its own"


def clashes(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """Two servers on one port, told from the raw configuration; HTTP and telemetry may share an address exactly."""
    doors: list[tuple[Location, str, Address]] = []
    entries = raw.get("sources")
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        for kind, section in (("flight", Flight), ("http", Http)):
            if isinstance(entry, Mapping) and kind in entry:
                where: Location = ("sources", index, kind, "listen")
                doors += [(where, kind, found) for found in _bound(entry[kind], section.default_address)]
    doors += [(("telemetry", "listen"), "telemetry", found) for found in _bound(raw.get("telemetry"), None)]
    web = {} if raw.get("web") is None else raw["web"]
    if not isinstance(web, Mapping) or web.get("enabled", True):
        doors += [(("web", "listen"), "web", found) for found in _bound(web, WEB_ADDRESS)]
    for later, (where, kind, mine) in enumerate(doors):
        for _, other, theirs in doors[:later]:
            shared = kind == "telemetry" and other == "http" and mine == theirs
            if mine.clashes(theirs) and not shared:
                yield where, f"{mine} is taken by the {other} source on {theirs}; give one of them another port"
                break


def _bound(section: Any, default: Address | None) -> list[Address]:
    """The address of a raw section in a list, or an empty list when it has none that can be read."""
    given = section.get("listen", default) if isinstance(section, Mapping) else default
    try:
        return [address(given)]
    except ValueError:
        return []
