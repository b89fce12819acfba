"""A real agent: its pages over TLS with passwords, which change while it runs; its rows and metrics with a token."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest

from tests.e2e.conftest import Agent, free_port
from tests.monitor.certificates import HASH, Authority, write

pytestmark = pytest.mark.slow


def test_certificates_and_passwords_change_while_the_agent_runs(
    make_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    authority, port = Authority(tmp_path), free_port()
    told: dict[str, Any] = {"tls_server_config": authority.server(), "basic_auth_users": {"anna": HASH}}
    file = write(tmp_path, told)
    web = {"listen": f"127.0.0.1:{port}", "config_file": str(file), "people": [{"name": "anna", "act": True}]}
    agent = make_agent(web=web)
    agent.start()

    def ask(context: ssl.SSLContext, password: str, path: str = "/api/v1/models") -> int:
        with httpx.Client(verify=context, trust_env=False) as client:
            return client.get(f"https://localhost:{port}{path}", auth=("anna", password)).status_code

    assert ask(authority.client(), "geheim") == 200
    assert ask(authority.client(), "geheim", "/") == 200
    assert ask(authority.client(), "falsch") == 401
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://localhost:{port}/", trust_env=False)
    moved = Authority(tmp_path)
    hashed = bcrypt.hashpw(b"neu", bcrypt.gensalt(4)).decode()
    write(tmp_path, {"tls_server_config": moved.server("moved"), "basic_auth_users": {"anna": hashed}})
    assert ask(moved.client(), "geheim") == 401
    assert ask(moved.client(), "neu") == 200
    file.write_text("basic_auth_users: {}\n")
    assert ask(moved.client(), "neu") == 200, "what cannot be used leaves the last good one in force"
    assert ask(moved.client(), "geheim") == 401
    assert agent.stop() == 0
    log = agent.log.read_text()
    assert "web configuration read anew" in log
    assert "web configuration refused" in log
    for secret in ("geheim", "falsch", HASH, hashed, "PRIVATE"):
        assert secret not in log
