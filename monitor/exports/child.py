"""Exports made by a process of its own: what they cost, the agent's threads and memory do not feel.

The child reads the configuration and what is asked as JSON from standard input, writes the file, and answers with what
the export says about itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Lock
from typing import Any, Final

from monitor.config import Config, describe, parse_config
from monitor.errors import ConfigError, DriftwardenError, NothingThere, StoreError
from monitor.exports.asked import Asked
from monitor.yaml_text import read_yaml

REFUSED: Final = 3
"""Exit code of a child that says on standard output, as JSON, what is wrong."""
SECONDS: Final = 300.0
"""An export that takes longer is given up."""
_NICE: Final = 10


class Child:
    """Makes one export at a time; another thread may stop it."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._busy, self._stopped = Lock(), False
        self._process: subprocess.Popen[str] | None = None

    def export(self, config: Config, asked: Asked, place: Path, seconds: float = SECONDS) -> dict[str, Any]:
        """Write the export to ``place``; what it says about itself, or raise here what the child raised."""
        if not self._busy.acquire(blocking=False):
            raise StoreError("another export is being made; try again in a minute")
        try:
            return _told(*self._run(config, asked, place, seconds))
        finally:
            self._process = None
            self._busy.release()

    def stop(self) -> None:
        """End the one that runs, and refuse others."""
        self._stopped = True
        if (running := self._process) is not None:
            running.kill()

    def _run(self, config: Config, asked: Asked, place: Path, seconds: float) -> tuple[int, str]:
        if self._stopped:
            raise StoreError("the agent is stopping; ask again when it is back")
        wanted = json.dumps({"config": describe(config), "asked": dataclasses.asdict(asked)})
        command, pipe = [sys.executable, "-m", "monitor.exports.child", str(place)], subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)  # noqa: S603 - ourselves
        self._process = process
        with process:
            try:
                said, _ = process.communicate(wanted, timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise StoreError(f"the export takes longer than {seconds:g} s; ask for a shorter span") from None
        return process.returncode, said


def _told(code: int, said: str) -> dict[str, Any]:
    """What the child said, or what it has against it, raised."""
    if code not in (0, REFUSED):
        raise StoreError(f"the export failed with exit code {code}; make it with `driftwarden export` to see why")
    told: dict[str, Any] = json.loads(said.splitlines()[-1])
    if code == REFUSED:
        if "faults" in told:
            raise ConfigError(told["faults"])
        raise NothingThere(told["nothing"]) if "nothing" in told else StoreError(told["message"])
    return told


def main(place: str) -> int:
    """The child's side."""
    from monitor.archive import reading
    from monitor.exports.export import write

    os.nice(_NICE)
    wanted = json.loads(sys.stdin.read())
    try:
        config = parse_config(read_yaml(wanted["config"], "config"), base=Path(), secrets=False)
        with reading(config.store.path) as archive, Path(place).open("wb") as out:
            told = write(config, archive, Asked(**wanted["asked"]), out)
    except ConfigError as error:
        told = {"faults": error.faults}
    except NothingThere as error:
        told = {"nothing": str(error)}
    except DriftwardenError as error:
        told = {"message": str(error)}
    sys.stdout.write(json.dumps(told) + "\n")
    return REFUSED if {"faults", "nothing", "message"} & set(told) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
