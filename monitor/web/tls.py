"""TLS as ``tls_server_config`` wants it, and a context that hands each new connection the latest certificate."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from monitor.errors import ConfigError
from monitor.web.webconfig import CURVES, TlsServer

_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_POLICIES: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


def server_context(settings: TlsServer) -> ssl.SSLContext:
    """A context for a server; `ConfigError` says which file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.min_version]
    context.maximum_version = _VERSIONS[settings.max_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if not settings.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    _choose(context, settings)
    _identify(context, settings)
    _demand(context, settings)
    return context


def _choose(context: ssl.SSLContext, settings: TlsServer) -> None:
    """Cipher suites of TLS 1.2 and the curve."""
    if settings.ciphers:
        context.set_ciphers(":".join(settings.ciphers))
    elif settings.cipher_suites:  # only such of TLS 1.3 are named
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    for name in settings.curve_preferences:
        context.set_ecdh_curve(CURVES[name])


def _identify(context: ssl.SSLContext, settings: TlsServer) -> None:
    """Certificate and key."""
    with _file(settings.cert, settings.cert_file) as cert, _file(settings.key, settings.key_file) as key:
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except OSError as error:  # an SSLError is one
            where = settings.cert_file or "cert"
            problem = f"tls_server_config: {where} and its key cannot be used: {_reason(error)}"
            raise ConfigError([f"{problem}; give the PEM chain and the unencrypted key that belongs to it"]) from error
        except ValueError as error:
            problem = f"tls_server_config: {settings.key_file or 'key'} is encrypted"
            raise ConfigError([f"{problem}; give it without a passphrase, readable by the agent only"]) from error


def _demand(context: ssl.SSLContext, settings: TlsServer) -> None:
    """Whose client certificates are good."""
    if settings.client_auth_type == "NoClientCert":
        return
    with _file(settings.client_ca, settings.client_ca_file) as authority:
        try:
            context.load_verify_locations(authority)
        except OSError as error:
            where = settings.client_ca_file or "client_ca"
            problem = f"tls_server_config: {where} cannot be used: {_reason(error)}"
            raise ConfigError([f"{problem}; give the PEM certificates of the clients' authority"]) from error
    context.verify_mode = _POLICIES[settings.client_auth_type]


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is not PEM"
    return error.strerror or "it cannot be read"


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("encrypted")


@contextmanager
def _file(text: SecretStr | None, path: Path | None) -> Iterator[str]:
    """A path to what is given as a file or as text: OpenSSL reads nothing else."""
    if text is None:
        yield str(path)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem", encoding="utf-8") as file:  # readable by this user only
        file.write(text.get_secret_value())
        file.flush()
        yield file.name


class Latest(ssl.SSLContext):
    """Wraps each new connection with the context that is current at that moment; running ones keep theirs."""

    _current: Callable[[], ssl.SSLContext]

    @classmethod
    def of(cls, current: Callable[[], ssl.SSLContext]) -> Latest:
        """Ask ``current`` at every connection."""
        made = cls(ssl.PROTOCOL_TLS_SERVER)
        made._current = current
        return made

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """What asyncio calls for every connection."""
        return self._current().wrap_bio(*args, **options)


Certificate = Mapping[str, Any]
"""A verified client certificate as `ssl.SSLSocket.getpeercert` gives it; empty where there is none."""


def alternative_names(certificate: Certificate) -> set[str]:
    """DNS names, addresses of mail, IP addresses and URIs that a certificate is issued for."""
    names = set()
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "IP Address":
            names.add(str(ipaddress.ip_address(value)))
        elif kind in {"DNS", "email", "URI"}:
            names.add(value)
    return names


def common_name(certificate: Certificate) -> str:
    """The subject's common name, or nothing unless there is exactly one."""
    found = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName" and value]
    return found[0] if len(found) == 1 else ""
