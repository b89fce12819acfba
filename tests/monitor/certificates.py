"""Certificates for tests: an authority, what it issues, and the web.config.yml that names them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import trustme
import yaml

from monitor.web.standing import WebConfigFile

HASH = "$2b$04$dQkW/QFH4hif7M1jFlyufOz1nKmYXPvVITWPJ4JOPdDR6Bp8Qc6SW"
"""bcrypt of "geheim" at the least cost."""


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))

    def server(self, name: str = "server", *hosts: str) -> dict[str, str]:
        """Write NAME.pem and NAME.key; what tls_server_config says of them, relative to the folder."""
        issued = self.ca.issue_cert(*(hosts or ("localhost", "127.0.0.1")))
        (self.folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(self.folder / f"{name}.key"))
        return {"cert_file": f"{name}.pem", "key_file": f"{name}.key"}

    def client(self, *names: str, common_name: str | None = None) -> ssl.SSLContext:
        """A client that trusts the authority, with a certificate of its own if it is named."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if names:
            self.ca.issue_cert(*names, common_name=common_name).configure_cert(context)
        return context


def write(folder: Path, document: dict[str, Any] | str, name: str = "web.config.yml") -> Path:
    """A web configuration."""
    path = folder / name
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document), encoding="utf-8")
    return path


def followed(folder: Path, document: dict[str, Any] | str) -> WebConfigFile:
    """The same, read."""
    return WebConfigFile(write(folder, document))
