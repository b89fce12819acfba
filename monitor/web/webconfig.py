"""``web.config.yml`` in the form of Prometheus' exporter-toolkit: TLS, client certificates, passwords, headers.

One file serves Prometheus, its exporters and this agent. What Python cannot do, or what protects nobody, is refused
with the fix instead of being passed over: certificates that are asked for but not verified, TLS before 1.2, several
curves at once. HTTP/2 is not spoken; ``http2: true`` is harmless because clients negotiate it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, SecretStr, ValidationError

from monitor.errors import ConfigError
from monitor.strict import Duration, Fault, Names, RelativePath, Strict, faults_of
from monitor.web.people import SHARED
from monitor.yaml_text import read_yaml

FILE_LIMIT = 1 << 20
"""Bytes of the file; more is a mistake."""
HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
"""Headers that the file may set -> the values allowed, any if none is named."""
SUITES: Final = {
    f"TLS_ECDHE_{key}_WITH_{long}": f"ECDHE-{key}-{short}"
    for key in ("ECDSA", "RSA")
    for long, short in (
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
    )
}
"""Go's name -> OpenSSL's."""
_ALWAYS: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""TLS 1.3 brings these by itself."""
CURVES: Final = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
"""Same for curves."""
_HASH = re.compile(r"\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")


def _secret(value: object) -> SecretStr:
    """Text that no message may repeat."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be text (put it in quotes)")
    return SecretStr(value)


def _hash(value: object) -> SecretStr:
    """A bcrypt hash; what is none may be a password, so it is not shown."""
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise ValueError('is not a bcrypt hash; make one with: htpasswd -nBC 10 "" | tr -d ":\\n"')
    return SecretStr(value)


def _version(value: object) -> object:
    if value in ("TLS10", "TLS11"):
        raise ValueError("is broken and not offered; use TLS12 or TLS13")
    return value


def _client_auth(value: object) -> object:
    if value in _UNVERIFIED:
        message = f"{value} takes any certificate unread and so protects nobody; use RequireAndVerifyClientCert"
        raise ValueError(message)
    return value


def _listed(value: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        if name not in known:
            message = f'"{name[:60]}" is not offered; use any of {", ".join(known)}'
            raise ValueError(message)
    return value


def _suites(value: tuple[str, ...]) -> tuple[str, ...]:
    return _listed(value, (*SUITES, *_ALWAYS))


def _mapping(value: object) -> object:
    """A key with nothing after it is an empty mapping; what is none is not shown, it may be a password."""
    if value is not None and not isinstance(value, Mapping):
        raise ValueError("must be a mapping from names to bcrypt hashes")
    return value or {}


def _one_curve(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(value) > 1:
        raise ValueError("names several curves, and Python can set only one; name one, or none for OpenSSL's choice")
    return _listed(value, tuple(CURVES))


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if name not in HEADERS:
            message = f'the header "{name[:60]}" cannot be configured; only {", ".join(HEADERS)}'
            raise ValueError(message)
        if HEADERS[name] and text not in HEADERS[name]:
            message = f"{name} must be {' or '.join(HEADERS[name])}"
            raise ValueError(message)
        if not text.isascii() or not text.isprintable():
            message = f"{name} must be printable ASCII on one line"
            raise ValueError(message)
    return value


def _users(value: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name in value:
        if not name or ":" in name or name in SHARED:
            message = f'"{name[:60]}" cannot name a user: not empty, no colon, and not {" or ".join(sorted(SHARED))}'
            raise ValueError(message)
    return value


_Secret = Annotated[SecretStr, PlainValidator(_secret)]
_Version = Annotated[Literal["TLS12", "TLS13"], BeforeValidator(_version)]
_Policy = Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"]


class TlsServer(Strict):
    """``tls_server_config``."""

    cert: _Secret | None = None
    key: _Secret | None = None
    client_ca: _Secret | None = None
    cert_file: RelativePath | None = None
    key_file: RelativePath | None = None
    client_ca_file: RelativePath | None = None
    client_auth_type: Annotated[_Policy, BeforeValidator(_client_auth)] = "NoClientCert"
    client_allowed_sans: Names = ()
    min_version: _Version = "TLS12"
    max_version: _Version = "TLS13"
    cipher_suites: Annotated[Names, AfterValidator(_suites)] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: Annotated[Names, AfterValidator(_one_curve)] = ()

    @property
    def enabled(self) -> bool:
        """Whether TLS is spoken."""
        return self.cert is not None or self.cert_file is not None

    @property
    def demands(self) -> bool:
        """Whether a connection without a good client certificate fails."""
        return self.enabled and self.client_auth_type == "RequireAndVerifyClientCert"

    @property
    def files(self) -> list[Path]:
        """What else is to be read anew when it changes."""
        return [path for path in (self.cert_file, self.key_file, self.client_ca_file) if path is not None]

    @property
    def ciphers(self) -> list[str]:
        """The chosen cipher suites of TLS 1.2 in OpenSSL's names."""
        return [SUITES[name] for name in self.cipher_suites if name in SUITES]

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """A certificate with its key, and client certificates with what they are verified by."""
        policy = raw.get("client_auth_type") or ""
        told = ("cert", "key", "client_ca")
        for key in told:
            if raw.get(key) and raw.get(f"{key}_file"):
                yield (key,), f"{key}_file is given too; keep one of the two"
        if not policy and not any(raw.get(key) or raw.get(f"{key}_file") for key in told):
            return
        for key in ("cert", "key"):
            if not raw.get(key) and not raw.get(f"{key}_file"):
                yield (f"{key}_file",), "missing; TLS needs a certificate and its key"
        yield from _client_faults(raw, "" if policy == "NoClientCert" else str(policy))


def _client_faults(raw: Mapping[str, Any], policy: str) -> Iterator[Fault]:
    """What is wrong with client certificates, and with the order of versions."""
    authority = raw.get("client_ca") or raw.get("client_ca_file")
    if authority and not policy:
        yield ("client_auth_type",), "missing; a client CA does nothing without it: say RequireAndVerifyClientCert"
    if policy and not authority:
        yield ("client_ca_file",), f"missing; {policy} verifies certificates by it"
    if raw.get("client_allowed_sans") and policy != "RequireAndVerifyClientCert":
        yield ("client_allowed_sans",), "needs client_auth_type: RequireAndVerifyClientCert"
    if (raw.get("min_version"), raw.get("max_version")) == ("TLS13", "TLS12"):
        yield ("max_version",), "is older than min_version; raise it"


class HttpServer(Strict):
    """``http_server_config``."""

    http2: bool = True
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = {}  # noqa: RUF012 - pydantic copies it


class RateLimit(Strict):
    """``rate_limit``: a token bucket over all requests; an interval of 0 means none."""

    interval: Duration = 0.0
    burst: int = Field(default=0, ge=0)

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """A bucket that holds nothing lets nothing through."""
        if raw.get("interval") and not raw.get("burst"):
            yield ("burst",), "missing; with 0 every request would be refused"


class WebConfig(Strict):
    """The whole file."""

    tls_server_config: TlsServer = TlsServer()
    http_server_config: HttpServer = HttpServer()
    rate_limit: RateLimit = RateLimit()
    basic_auth_users: Annotated[
        dict[str, Annotated[SecretStr, PlainValidator(_hash)]], AfterValidator(_users), BeforeValidator(_mapping)
    ] = {}  # noqa: RUF012 - pydantic copies it

    @property
    def authenticates(self) -> bool:
        """Whether nobody comes in who does not show who they are."""
        return bool(self.basic_auth_users) or self.tls_server_config.demands


def read(path: Path) -> WebConfig:
    """The file; `ConfigError` lists every fault, none with a secret in it."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_LIMIT + 1)
        text = raw.decode("utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}; create it, or mend its permissions"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 text; save it as UTF-8"]) from error
    if len(raw) > FILE_LIMIT:
        raise ConfigError([f"{path}: larger than {FILE_LIMIT} bytes; this cannot be a web.config.yml"])
    try:
        return WebConfig.model_validate(read_yaml(text, str(path)), context={"base": path.parent})
    except ValidationError as error:
        raise ConfigError([f"{path}: {fault}" for fault in faults_of(error)]) from error
