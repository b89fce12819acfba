"""Calls to others: what a URL may be, how long a call may take, what Retry-After means."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from monitor.outgoing import Caller, CallError, endpoint, exposed, retry_after

NOW = 1.8e9


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("http://127.0.0.1:9093", "127.0.0.1", 9093, ""),
        ("https://hooks.example.org/services/T0/B0/x", "hooks.example.org", 443, "/services/T0/B0/x"),
        ("http://[::1]:80/a", "::1", 80, "/a"),
    ],
)
def test_an_endpoint_is_read_from_its_url(url: str, host: str, port: int, path: str) -> None:
    found = endpoint(url)
    assert (found.address.host, found.address.port, found.path) == (host, port, path)
    assert found.secure == url.startswith("https")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://h", "http://HOST:PORT"),
        ("http://", "http://HOST:PORT"),
        ("http://h:0", "http://HOST:PORT"),
        ("http://h/?a=b", "with a path at most"),
        ("http://h/#a", "with a path at most"),
        ("http://h/a b\n", "with a path at most"),
        ("http://h/\u00e9", "with a path at most"),
        ("http://me:secret@h", "token_file"),
        ("http://[::1", "cannot be read"),
    ],
)
def test_a_url_that_cannot_be_called_is_refused_with_the_fix(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        endpoint(url)
    assert "secret" not in str(caught.value)


def test_a_query_is_allowed_where_it_is_asked_for() -> None:
    assert endpoint("https://chat.example.org/v1?key=1&token=2", query=True).path == "/v1?key=1&token=2"


@pytest.mark.parametrize(
    ("url", "seen"), [("http://127.0.0.1:1", False), ("https://example.org", False), ("http://example.org", True)]
)
def test_a_secret_is_exposed_on_the_way_to_another_machine_without_tls(url: str, seen: bool) -> None:  # noqa: FBT001 - a case
    assert exposed(endpoint(url)) is seen


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("17", 17),
        (" 5 ", 5),
        ("-3", 0),
        ("1e9", 0),
        ("\u0661", 0),
        ("soon", 0),
        ("9" * 40, 999_999_999),
        (format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True), 90),
        (format_datetime(datetime.fromtimestamp(NOW - 90, UTC), usegmt=True), 0),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_nothing_else(header: str | None, seconds: float) -> None:
    assert retry_after(header, NOW) == seconds


def test_a_handshake_that_never_ends_is_over_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dripping = threading.Thread(target=_drip_records, args=(silent,), daemon=True)
        dripping.start()
        caller = Caller(endpoint(f"https://127.0.0.1:{silent.getsockname()[1]}"), 0.3, ssl.create_default_context())
        with pytest.raises(CallError) as caught:
            caller.call("GET", "/", {}, None, lambda answer: answer.status)
        assert caught.value.reason == "timeout"
        dripping.join(5)


def _drip_records(silent: socket.socket) -> None:
    """Bytes of a handshake message that is always longer: no single read of the client waits long."""
    peer, _ = silent.accept()
    with peer:
        peer.recv(1 << 16)
        try:
            peer.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
            while True:
                peer.sendall(b"\x00")
                time.sleep(0.02)
        except OSError:
            return
