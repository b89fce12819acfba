"""The prober against a server that fails, lies, dawdles or redirects: nothing of it is believed, all of it counted."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.outgoing import CallError
from monitor.probes.client import Client, Marks
from monitor.probes.results import GOLDEN
from tests.monitor.endpoint import Document, Endpoint, Handler, running
from tests.monitor.probing import ROW, changed, late, probed, prober_for, raw, settings_for


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running(Endpoint()) as server:
        yield server


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (raw(b"not json"), "malformed"),
        (raw(b"[" * 100_000), "malformed"),
        (raw(b"\xff\xfe"), "malformed"),
        (raw(b"[]"), "malformed"),
        (raw(b'{"outputs": [{"name": "p", "shape": [1, 2], "datatype": "FP32", "data": [NaN, 1]}]}'), "malformed"),
        (raw(b'{"outputs": 3}'), "malformed"),
        (raw(b"{}", Content_Encoding="gzip"), "malformed"),
        (raw(b" " * 300_000), "too_large"),
        (raw(b"{}", 302, Location="http://127.0.0.1:1/v2"), "redirect"),
        (raw(b"{}", 307, Location="/elsewhere"), "redirect"),
        (raw(b"{}", 500), "status"),
        (raw(b"{}", 404), "status"),
        (raw(b"{}", 204), "status"),
        (lambda handler, _: handler.drip(b" " * 400, 0.02), "timeout"),
        (late(0.8), "timeout"),
        (lambda handler, _: handler.connection.close(), "connection"),
        (changed(model_name="other"), "mismatch"),
        (changed(id="another request"), "mismatch"),
        (changed(output={"shape": [2, 2], "data": [0.5] * 4}), "mismatch"),
        (changed(output={"shape": [1, 10**9]}), "mismatch"),
        (changed(output={"shape": [1, -2]}), "mismatch"),
        (changed(output={"data": [0.5]}), "mismatch"),
        (changed(output={"data": [[0.5, 0.5], [0.5, 0.5]]}), "mismatch"),
        (changed(output={"data": ["0.5", "0.5"]}), "mismatch"),
        (changed(output={"data": [0.9, 0.9]}), "mismatch"),
        (changed(output={"data": [-3.0, 4.0]}), "mismatch"),
        (changed(output={"data": [10**400, 0]}), "mismatch"),
        (changed(output={"data": {"a": 1}}), "mismatch"),
        (changed(output={"name": "other"}), "mismatch"),
    ],
)
def test_a_bad_answer_is_counted_by_its_reason_and_gives_no_result(
    endpoint: Endpoint, behave: Any, reason: str
) -> None:
    endpoint.behave = behave
    prober = prober_for(endpoint, timeout=0.3, most_bytes=200_000, output="p")
    begun = time.perf_counter()
    assert probed(prober, ROW) == []
    assert time.perf_counter() - begun < 5
    assert prober.counts().failures == {reason: 1}
    assert [path for path in endpoint.paths if "elsewhere" in path] == []


def test_class_names_codes_and_a_single_chance_are_understood(endpoint: Endpoint) -> None:
    def names(handler: Handler, body: Document) -> None:
        n = body["inputs"][0]["shape"][0]
        output = {"name": "label", "datatype": "BYTES", "shape": [n], "data": ["yes"] * (n - 1) + ["no"]}
        handler.send(json.dumps({"outputs": [output]}).encode())

    endpoint.behave = names
    found = probed(prober_for(endpoint, draws=10), ROW)[0]
    assert (found.kept, found.names) == (0.1, ("no",))
    endpoint.behave = changed(output={"shape": [1], "datatype": "INT64", "data": [2]})
    assert probed(prober_for(endpoint), ROW, why=GOLDEN)[0].names == ("2",)
    endpoint.behave = changed(output={"shape": [1, 1], "data": [0.25]})
    assert probed(prober_for(endpoint), ROW, why=GOLDEN)[0].probabilities.tolist() == [0.75, 0.25]


def test_a_model_that_is_not_ready_or_not_as_configured_is_not_asked(endpoint: Endpoint) -> None:
    endpoint.ready = False
    prober = prober_for(endpoint)
    assert probed(prober, ROW) == []
    assert prober.counts().failures == {"not_ready": 1}
    endpoint.ready, endpoint.described = True, {"name": "credit", "inputs": [{"name": "x", "datatype": "FP32"}]}
    prober = prober_for(endpoint)
    assert probed(prober, ROW) == []
    assert prober.counts().failures == {"mismatch": 1}
    assert endpoint.bodies == []


def test_an_endpoint_that_is_not_there_is_a_failure_and_no_more(endpoint: Endpoint) -> None:
    settings = settings_for(endpoint, url="http://127.0.0.1:9")
    with pytest.raises(CallError, match="cannot be asked"):
        Client(settings, Marks(settings)).get("")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate can be made for the test")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make, *name, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


def test_tls_is_checked_and_its_calls_end_in_time_too(
    endpoint: Endpoint, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    endpoint.socket = server.wrap_socket(endpoint.socket, server_side=True)
    changes: dict[str, Any] = {"url": endpoint.url.replace("http", "https"), "token": "hush", "timeout": 1.0}
    stranger = prober_for(endpoint, **changes)
    assert probed(stranger, ROW) == []
    assert stranger.counts().failures == {"connection": 1}
    assert endpoint.paths == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    trusting = prober_for(endpoint, **changes)
    assert len(probed(trusting, ROW)) == 1
    endpoint.behave = lambda handler, _: handler.drip(b" " * 400, 0.02)
    begun = time.perf_counter()
    assert probed(trusting, ROW) == []
    assert time.perf_counter() - begun < 4
    assert trusting.counts().failures == {"timeout": 1}
