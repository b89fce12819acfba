"""What an agent keeps is for its own user, whatever the machine's usual rights are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import Agent, ipc, table


def modes(folder: Path) -> dict[str, int]:
    """Rights of a folder and all that is in it."""
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}


def test_state_is_for_the_agent_s_user_alone(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    before = os.umask(0o022)
    try:
        agent.start()
    finally:
        os.umask(before)
    agent.post(ipc(table(2_000, seed=2)))
    agent.post(ipc(table(3_000, seed=3, shift=1.5)))
    agent.settled(5_000)
    assert agent.stop() == 0
    found = modes(agent.folder / "state")
    assert {"driftwarden.sqlite3", "findings.jsonl", "references", "kept"} <= set(found)
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}
    assert found["."] == 0o700
