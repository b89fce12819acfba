"""Measure a reference in a process of its own, so that what it needs for that goes back to the system.

The child reads a model's section as JSON from standard input and writes the artefact to the folder that it is given.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from monitor.config import Model
from monitor.errors import ConfigError, DriftwardenError, ReferenceError_

REFUSED = 3
"""Exit code of a child that says on standard output, as JSON, what is wrong."""


def in_child(model: Model, place: Path) -> None:
    """Measure the model's stored reference and leave the artefact at ``place``; raise here what the child raised."""
    command = [sys.executable, "-m", "monitor.measuring", str(place)]
    section = model.model_dump_json()
    done = subprocess.run(command, input=section, capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
    if done.returncode == REFUSED:
        told = json.loads(done.stdout.splitlines()[-1])
        raise ConfigError(told["faults"]) if "faults" in told else ReferenceError_(told["message"])
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ReferenceError_(f"models.{model.name}.reference: measuring it failed: {reason[0]}")


def main(place: str) -> int:
    """The child's side."""
    from monitor import artefact
    from monitor.loading import measure
    from monitor.prepared import prepared
    from monitor.reader import Tables

    model = Model.model_validate_json(sys.stdin.read())
    try:
        artefact.write(prepared(measure(Tables(model.reference.paths), model), model), Path(place))
    except ConfigError as error:
        sys.stdout.write(json.dumps({"faults": error.faults}) + "\n")
        return REFUSED
    except DriftwardenError as error:
        sys.stdout.write(json.dumps({"message": str(error)}) + "\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
