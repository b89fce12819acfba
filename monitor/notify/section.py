"""The ``notify`` section of the configuration: receivers, what each is told, and the secrets that they ask for.

A secret never stands in the configuration: neither a token nor a key, nor an address that is a secret by itself, as
those of Slack-compatible receivers are.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr

from monitor.listeners import Bearer, kept_secret, secret_faults
from monitor.outgoing import Endpoint, endpoint, exposed
from monitor.strict import Duration, Fault, Names, RelativePath, Strict, unknown

Format = Literal["cloudevents", "slack", "pagerduty"]
Severity = Literal["page", "ticket", "info"]
PAGERDUTY: Final = "https://events.pagerduty.com/v2/enqueue"
OWN_LABELS: Final = ("alertname", "model", "severity", "triage")
"""Labels of an alert that the agent gives itself."""
KEY_BYTES: Final = 24
"""Least length of a signing key."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL: Final = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")
_PREFIX: Final = "whsec_"
_SECONDS: Final = 5.0
_URLS: Final = ("url", "url_file", "url_env")


def _label(value: str) -> str:
    if not _LABEL.fullmatch(value) or value in OWN_LABELS:
        raise ValueError(
            f"{value!r} cannot be a label: letters, digits and underscores, none of {', '.join(OWN_LABELS)}"
        )
    return value


def _receiver_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 64 letters, digits, dots, dashes and underscores: it becomes a label")
    return value


class Receiver(Bearer):
    """What all receivers share."""

    query: ClassVar[bool] = True

    name: Annotated[str, AfterValidator(_receiver_name)] = Field(description="name in metrics, log and state")
    url: str | None = Field(default=None, description="http://HOST:PORT/PATH or https://HOST/PATH")
    url_file: RelativePath | None = Field(default=None, description="file whose content is the URL")
    url_env: str | None = Field(default=None, description="environment variable that holds the URL")
    ca_file: RelativePath | None = Field(default=None, description="PEM file of the authorities to trust instead")
    username: str | None = Field(default=None, description="user whose password the token is")
    timeout: Duration = Field(default=_SECONDS, gt=0, le=30, description="how long one attempt may take")
    severities: tuple[Severity, ...] = Field(
        default=("page", "ticket"), description="severities of the findings to tell of"
    )
    models: Names | None = Field(default=None, description="models to tell of; all unless given")
    _url: SecretStr | None = PrivateAttr(None)

    def model_post_init(self, context: Any) -> None:
        """Keep the address apart from the fields where it is a secret."""
        super().model_post_init(context)
        self._url = kept_secret({"url_file": self.url_file, "url_env": self.url_env}, context, "url")

    @property
    def endpoint(self) -> Endpoint:
        """Where it is."""
        url = self._url.get_secret_value() if self._url is not None else self.url or self.default_url
        if not url:
            raise ValueError("the address is a secret that was not read")
        return endpoint(url, query=self.query)

    @property
    def default_url(self) -> str:
        """Where it is when nothing is said."""
        return ""

    def wants(self, severity: str, model: str) -> bool:
        """Whether it is told of a model's findings of a severity."""
        return severity in self.severities and (self.models is None or model in self.models)

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """One address that can be called, and no secret that could be read on the way to it."""
        yield from super().cross(raw, context)
        yield from secret_faults(raw, context, "url")
        given = [key for key in _URLS if raw.get(key)]
        if not given:
            yield ("url",), "missing; add url, or url_file or url_env where the address is a secret"
        elif "url" in given and len(given) > 1:
            yield (given[1],), "url is given too; keep one of the two"
        else:
            yield from cls._place(raw, context, given[0])
        yield from _trust_faults(raw, context)
        if raw.get("severities") in ([], ()):
            yield ("severities",), "is empty, so that it is told of nothing; name page, ticket or info, or remove it"
        if raw.get("username") and not any(raw.get(key) for key in ("token_file", "token_env")):
            yield ("username",), "needs the password in token_file or token_env"

    @classmethod
    def _place(cls, raw: Mapping[str, Any], context: Mapping[str, Any], key: str) -> Iterator[Fault]:
        url = raw["url"] if key == "url" else kept_secret(raw, context, "url")
        if url is None:  # told already, or a machine that does not hold the secrets
            return
        try:
            where = endpoint(url.get_secret_value() if isinstance(url, SecretStr) else str(url), query=cls.query)
        except ValueError as error:
            yield (key,), " and ".join(str(error).splitlines())
            return
        if exposed(where) and cls.secret(raw):
            yield (key,), "a secret would be sent in clear text to another machine; use https"

    @classmethod
    def secret(cls, raw: Mapping[str, Any]) -> bool:
        """Whether a raw section sends a secret along."""
        return any(raw.get(key) for key in ("token_file", "token_env", "url_file", "url_env"))


class Webhook(Receiver):
    """One that is told of events, one POST each, in the order in which they happened."""

    format: Format = Field(default="cloudevents", description="cloudevents, slack or pagerduty")
    secret_file: RelativePath | None = Field(
        default=None, description="file with the signing keys, whsec_..., a line each"
    )
    secret_env: str | None = Field(default=None, description="environment variable with the signing keys")
    all: bool = Field(default=False, description="also findings that are muted and those that join an incident")
    interventions: bool = Field(default=False, description="also what people did, and what they took back")
    give_up: Duration = Field(default=86_400.0, gt=0, description="how long an event is tried at most")
    _keys: tuple[bytes, ...] = PrivateAttr(())

    def model_post_init(self, context: Any) -> None:
        """Keep the signing keys apart from the fields."""
        super().model_post_init(context)
        text = kept_secret({"secret_file": self.secret_file, "secret_env": self.secret_env}, context, "secret")
        with contextlib.suppress(ValueError):  # `cross` tells it
            self._keys = signing_keys(text.get_secret_value()) if text is not None else ()

    @property
    def default_url(self) -> str:
        """PagerDuty has one for all."""
        return PAGERDUTY if self.format == "pagerduty" else ""

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Keys that each message is signed with; none where it goes unsigned."""
        return self._keys

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """What each format asks for and what it has no use for."""
        form = raw.get("format", "cloudevents")
        if form == "pagerduty" and not any(raw.get(key) for key in _URLS):
            raw = {**raw, "url": PAGERDUTY}
        yield from super().cross(raw, context)
        yield from secret_faults(raw, context, "secret")
        yield from _key_faults(raw, context)
        if form == "slack" and raw.get("url"):
            yield ("url",), "who knows such an address may post there; move it into url_file or url_env"
        if form == "pagerduty":
            yield from _pagerduty_faults(raw)
        for key in ("secret_file", "secret_env"):
            if raw.get(key) and form in ("slack", "pagerduty"):
                yield (key,), f"receivers of the format {form} check no signature; remove it"


class Alertmanager(Receiver):
    """One that is told, again and again, which incidents are open: for those without Prometheus rules."""

    query: ClassVar[bool] = False

    interval: Duration = Field(default=30.0, ge=1, le=600, description="how often it is told what is open")
    labels: dict[Annotated[str, AfterValidator(_label)], str] = Field(
        default={}, description="labels of every alert, beside those of the rules: {cluster: eu}"
    )
    dashboards: str | None = Field(default=None, description="address of Grafana, for links")
    watchdog: bool = Field(
        default=False, description="also an alert that always fires: when it stops, so has the agent"
    )


def _or_nothing(value: object) -> object:
    """``- webhook:`` with nothing after it: its own faults are told."""
    return {} if value is None else value


_Given = BeforeValidator(_or_nothing)
RECEIVER_KINDS: Final = ("webhook", "alertmanager")


class Notify(Strict):
    """One entry of ``notify``: exactly one kind of receiver with its settings."""

    webhook: Annotated[Webhook | None, _Given] = None
    alertmanager: Annotated[Alertmanager | None, _Given] = None

    @property
    def settings(self) -> Webhook | Alertmanager:
        """The settings of that kind."""
        found: Webhook | Alertmanager | None = self.webhook or self.alertmanager
        assert found is not None  # noqa: S101 - `cross` has seen to it
        return found

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """One receiver an entry."""
        kinds = [name for name in RECEIVER_KINDS if name in raw]
        if not kinds and not set(raw) - set(RECEIVER_KINDS):
            yield (), f"names no receiver; use one of {', '.join(RECEIVER_KINDS)}"
        if len(kinds) > 1:
            yield (), f"names {' and '.join(kinds)} at once; give each a list entry of its own"


def receiver_faults(raw: Any, models: Sequence[str]) -> Iterator[Fault]:
    """Names given twice, and models that are not configured, in the raw list of receivers."""
    told: list[str] = []
    for index, entry in enumerate(raw if isinstance(raw, list) else []):
        for kind in RECEIVER_KINDS:
            settings = entry.get(kind) if isinstance(entry, Mapping) else None
            if not isinstance(settings, Mapping):
                continue
            where, name, given = ("notify", index, kind), settings.get("name"), settings.get("models")
            if isinstance(name, str) and name in told:
                yield (*where, "name"), f'"{name}" is the name of another receiver already; choose another'
            told += [name] if isinstance(name, str) else []
            for model in [given] if isinstance(given, str) else given if isinstance(given, list) else []:
                if model not in models:
                    text = f'"{model}" is not configured: {unknown("model", str(model), models)}'
                    yield (*where, "models"), text


def signing_keys(text: str) -> tuple[bytes, ...]:
    """Keys in the form of Standard Webhooks, the newest first; `ValueError` with the fix."""
    return tuple(_key(word) for word in text.split())


def _trust_faults(raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
    """Authorities that cannot be read where the agent is to run."""
    if raw.get("ca_file") and context.get("secrets", False):
        path = Path(context.get("base", Path())) / Path(str(raw["ca_file"])).expanduser()
        try:
            ssl.create_default_context(cafile=str(path))
        except OSError as error:  # an `ssl.SSLError` is one too
            yield ("ca_file",), f'the file "{path}" cannot be used: {error.strerror or error}; give certificates in PEM'


def _key(word: str) -> bytes:
    fix = f"write {_PREFIX} and {KEY_BYTES} bytes or more in base64: echo {_PREFIX}$(openssl rand -base64 32)"
    if not word.startswith(_PREFIX):
        raise ValueError(f"a signing key does not begin with {_PREFIX}; {fix}")
    try:
        key = base64.b64decode(word.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"a signing key is not base64; {fix}") from None
    if len(key) < KEY_BYTES:
        raise ValueError(f"a signing key is too short; {fix}")
    return key


def _key_faults(raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
    """Keys that were read and cannot be used."""
    text = kept_secret(raw, context, "secret")
    try:
        signing_keys(text.get_secret_value() if text is not None else "")
    except ValueError as error:
        yield ("secret_file" if raw.get("secret_file") else "secret_env",), str(error)


def _pagerduty_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """The routing key goes where the token stands, and nothing goes there but findings."""
    if not any(raw.get(key) for key in ("token_file", "token_env")):
        yield (
            ("token_file",),
            "missing; PagerDuty asks for the routing key of the service: put it there or in token_env",
        )
    if raw.get("username"):
        yield ("username",), "PagerDuty knows the sender by the routing key alone; remove it"
    for key, why in (("interventions", "has no place for them"), ("all", "is told of incidents, not of their parts")):
        if raw.get(key):
            yield (key,), f"PagerDuty {why}; remove it, or tell another receiver"
