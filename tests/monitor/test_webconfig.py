"""web.config.yml: what Prometheus' own tool accepts is accepted, what it refuses is refused, and no secret is shown."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import ConfigError
from monitor.web.standing import WebConfigFile
from monitor.web.tls import server_context
from monitor.web.webconfig import read
from tests.monitor.certificates import HASH, Authority, followed, write

PAIR = {"cert_file": "server.pem", "key_file": "server.key"}
MUTUAL = {**PAIR, "client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}


def tls(**more: Any) -> dict[str, Any]:
    return {"tls_server_config": {**PAIR, **more}}


def headers(**given: str) -> dict[str, Any]:
    return {"http_server_config": {"headers": {name.replace("_", "-"): value for name, value in given.items()}}}


GOOD: dict[str, Any] = {
    "empty": "",
    "keys with nothing": "tls_server_config:\nbasic_auth_users:\n",
    "tls": tls(),
    "tls 1.3 alone": tls(min_version="TLS13"),
    "tls 1.2 alone": tls(max_version="TLS12"),
    "no http2": {**tls(), "http_server_config": {"http2": False}},
    "suites": tls(cipher_suites=["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"]),
    "suites of the client's order": tls(
        cipher_suites=["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"], prefer_server_cipher_suites=False
    ),
    "a curve": tls(curve_preferences=["CurveP256"]),
    "clients": {"tls_server_config": MUTUAL},
    "clients if they like": {"tls_server_config": {**MUTUAL, "client_auth_type": "VerifyClientCertIfGiven"}},
    "no clients": tls(client_auth_type="NoClientCert"),
    "names of clients": {"tls_server_config": {**MUTUAL, "client_allowed_sans": ["scraper", "10.0.0.1"]}},
    "users without tls": {"basic_auth_users": {"anna": HASH}},
    "users of htpasswd": {**tls(), "basic_auth_users": {"anna": HASH.replace("$2b$", "$2y$")}},
    "headers": headers(
        X_Frame_Options="deny", X_Content_Type_Options="nosniff", Strict_Transport_Security="max-age=31536000"
    ),
}
BAD: dict[str, tuple[Any, str]] = {
    "unknown key": ({"tls_config": {}}, 'tls_config: unknown key; did you mean "tls_server_config"?'),
    "unknown key inside": (tls(cert_fil="x"), 'cert_fil: unknown key; did you mean "cert_file"?'),
    "a key twice": ("basic_auth_users:\n  a: x\n  a: y\n", "given twice"),
    "no yaml": ("{", "fix the YAML"),
    "a list": ("- 1\n", "must be a mapping"),
    "certificate without key": ({"tls_server_config": {"cert_file": "server.pem"}}, "key_file: missing"),
    "key without certificate": ({"tls_server_config": {"key_file": "server.key"}}, "cert_file: missing"),
    "clients but no certificate": ({"tls_server_config": {"client_auth_type": "NoClientCert"}}, "cert_file: missing"),
    "certificate that is not there": (tls(cert_file="gone.pem"), "No such file"),
    "key that is not there": (tls(key_file="gone.key"), "No such file"),
    "certificate that is none": (tls(cert_file="web.config.yml"), "PEM"),
    "key of another": (tls(key_file="other.key"), "belongs to it"),
    "authority that is not there": ({"tls_server_config": {**MUTUAL, "client_ca_file": "gone.pem"}}, "No such file"),
    "authority without policy": (tls(client_ca_file="ca.pem"), "RequireAndVerifyClientCert"),
    "authority and no clients": (tls(client_ca_file="ca.pem", client_auth_type="NoClientCert"), "does nothing"),
    "invented policy": (tls(client_auth_type="Require"), "client_auth_type: must be"),
    "names without certificates": (tls(client_allowed_sans=["a"]), "client_allowed_sans: needs"),
    "invented version": (tls(min_version="TLS14"), "min_version: must be"),
    "invented suite": (tls(cipher_suites=["TLS_ROT13"]), "not offered"),
    "broken suite": (tls(cipher_suites=["TLS_RSA_WITH_RC4_128_SHA"]), "not offered"),
    "invented curve": (tls(curve_preferences=["CurveP257"]), "not offered"),
    "plain password": ({"basic_auth_users": {"anna": "geheim"}}, "is not a bcrypt hash"),
    "invented frame option": (headers(X_Frame_Options="yes"), "deny or sameorigin"),
    "invented type option": (headers(X_Content_Type_Options="sniff"), "nosniff"),
    "other header": (headers(Server="x"), "cannot be configured"),
}
STRICTER: dict[str, tuple[Any, str]] = {
    "a certificate that nobody verifies": (tls(client_auth_type="RequireAnyClientCert"), "protects nobody"),
    "a certificate that is asked for": (tls(client_auth_type="RequestClientCert"), "protects nobody"),
    "policy without authority": (tls(client_auth_type="RequireAndVerifyClientCert"), "client_ca_file: missing"),
    "old tls": (tls(min_version="TLS10"), "broken"),
    "versions turned round": (tls(min_version="TLS13", max_version="TLS12"), "older than min_version"),
    "several curves": (tls(curve_preferences=["X25519", "CurveP256"]), "name one"),
    "a user with a colon": ({"basic_auth_users": {"a:b": HASH}}, "colon"),
    "a user called as nobody": ({"basic_auth_users": {"anonymous": HASH}}, "cannot name a user"),
    "a header of two lines": (headers(Content_Security_Policy="a\r\nset-cookie: b"), "on one line"),
}
"""What Go takes and we do not: it protects nobody, or Python cannot do it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of one authority, and a key that belongs to none."""
    made = tmp_path_factory.mktemp("web")
    authority = Authority(made)
    authority.server()
    authority.server("other")
    return made


@pytest.mark.parametrize("case", GOOD)
def test_a_good_file_is_taken(folder: Path, case: str) -> None:
    assert WebConfigFile(write(folder, GOOD[case])).sound


@pytest.mark.parametrize("case", [*BAD, *STRICTER])
def test_a_bad_file_is_refused_with_its_fix(folder: Path, case: str) -> None:
    document, told = {**BAD, **STRICTER}[case]
    with pytest.raises(ConfigError) as caught:
        WebConfigFile(write(folder, document))
    assert told in str(caught.value)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("case", [*GOOD, *BAD])
def test_the_tool_of_prometheus_says_the_same(folder: Path, case: str) -> None:
    document = GOOD[case] if case in GOOD else BAD[case][0]
    told = subprocess.run(
        ["promtool", "check", "web-config", write(folder, document)], capture_output=True, check=False, cwd=folder
    )
    newer = {"names without certificates", "names of clients"}  # later than some versions of the tool
    if case not in newer:
        assert (told.returncode == 0) == (case in GOOD), told.stderr.decode()


@pytest.mark.parametrize(
    "document",
    [
        {"basic_auth_users": {"anna": "pa55word"}},
        {"basic_auth_users": {"anna": 550055}},
        {"basic_auth_users": ["pa55word"]},
        {"basic_auth_users": "pa55word"},
        {"tls_server_config": {"key": 550055, "cert_file": "server.pem"}},
        {"tls_server_config": {"key": "pa55word", "cert_file": "server.pem"}},
        {"tls_server_config": {"key": ["pa55word"], "cert_file": "server.pem"}},
    ],
)
def test_no_message_repeats_what_may_be_a_secret(folder: Path, document: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        WebConfigFile(write(folder, document))
    assert "55" not in str(caught.value)
    assert "55" not in repr(caught.value.__cause__)


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(Path("/nowhere/web.config.yml"))


def test_an_encrypted_key_is_refused_instead_of_asking_on_the_terminal(folder: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((folder / "server.key").read_bytes(), None)
    kept = serialization.BestAvailableEncryption(b"x")
    form = serialization.PrivateFormat.TraditionalOpenSSL
    (folder / "locked.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, kept))
    with pytest.raises(ConfigError, match="encrypted"):
        WebConfigFile(write(folder, tls(key_file="locked.key")))


def test_certificates_may_stand_in_the_file_itself(folder: Path) -> None:
    inside = {
        "cert": (folder / "server.pem").read_text(),
        "key": (folder / "server.key").read_text(),
        "client_ca": (folder / "ca.pem").read_text(),
        "client_auth_type": "RequireAndVerifyClientCert",
    }
    file = followed(folder, {"tls_server_config": inside})
    assert file.tls is not None
    assert "PRIVATE" not in repr(file.current)
    with pytest.raises(ConfigError, match="keep one"):
        followed(folder, {"tls_server_config": {**inside, "cert_file": "server.pem"}})


def test_versions_suites_and_clients_reach_openssl(folder: Path) -> None:
    suites = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]
    told = {**MUTUAL, "cipher_suites": suites, "max_version": "TLS12"}
    context = server_context(read(write(folder, {"tls_server_config": told})).tls_server_config)
    old = [one["name"] for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"]
    assert old == ["ECDHE-RSA-AES128-GCM-SHA256"]
    assert context.maximum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    newest = server_context(read(write(folder, tls(cipher_suites=["TLS_AES_128_GCM_SHA256"]))).tls_server_config)
    assert newest.minimum_version == ssl.TLSVersion.TLSv1_3


def test_a_changed_file_applies_at_once_even_within_a_tick_of_the_clock(tmp_path: Path) -> None:
    file = followed(tmp_path, {"basic_auth_users": {"anna": HASH}})
    told = file.path.stat()
    write(tmp_path, {"basic_auth_users": {"bert": HASH}})  # as long as before
    os.utime(file.path, ns=(told.st_atime_ns, told.st_mtime_ns))
    deadline = time.monotonic() + 10
    while "bert" not in file.current.basic_auth_users and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set(file.current.basic_auth_users) == {"bert"}


def test_a_broken_change_leaves_the_last_good_file_in_force(tmp_path: Path) -> None:
    file = followed(tmp_path, {"basic_auth_users": {"anna": HASH}})
    for broken in ("basic_auth_users: {anna: geheim}\n", "{", ""):
        write(tmp_path, broken)
        assert set(file.current.basic_auth_users) == {"anna"}
        assert not file.sound
    file.path.unlink()
    assert set(file.current.basic_auth_users) == {"anna"}
    write(tmp_path, {"basic_auth_users": {"anna": HASH, "bert": HASH}})
    assert set(file.current.basic_auth_users) == {"anna", "bert"}
    assert file.sound


def test_passwords_that_are_lost_with_an_edit_open_no_door(tmp_path: Path) -> None:
    file = followed(tmp_path, {"basic_auth_users": {"anna": HASH}})
    write(tmp_path, "http_server_config: {http2: false}\n")
    assert file.current.authenticates
    with pytest.raises(ConfigError, match="asks nobody who they are"):
        WebConfigFile(file.path, demand=True)


def test_tls_is_not_switched_off_under_a_running_server(folder: Path) -> None:
    file = followed(folder, tls())
    write(folder, "")
    assert file.current.tls_server_config.enabled
    assert not file.sound


def test_half_of_a_rotation_waits_for_the_other_half(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    file = followed(tmp_path, {"tls_server_config": authority.server()})
    old = (tmp_path / "server.key").read_bytes()
    authority.server()
    new = (tmp_path / "server.key").read_bytes()
    (tmp_path / "server.key").write_bytes(old)
    assert file.current.tls_server_config.enabled
    assert not file.sound
    (tmp_path / "server.key").write_bytes(new)
    assert file.current.tls_server_config.enabled
    assert file.sound
