"""The one way out: an export by its kind, as Parquet, with what it is about in the file's metadata."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from monitor.archive import Archive
from monitor.config import Config
from monitor.errors import ConfigError
from monitor.exports import drawing, labelling, quarantine, telling, weights
from monitor.exports.asked import Asked
from monitor.exports.ground import Ground, ground
from monitor.strict import unknown

Write = Callable[[Ground, BinaryIO], dict[str, Any]]
KINDS: Final[dict[str, tuple[Write, str]]] = {
    "telling": (telling.write, "rows kept with a finding: those that tell it and the nearest trusted ones"),
    "labelling": (labelling.write, "kept rows worth a label, the most informative first, with the reasons"),
    "drawn": (drawing.write, "kept rows drawn by known odds: their labels say how often the model is wrong"),
    "weights": (weights.write, "importance weights of the reference's and of recent rows, for training anew"),
    "clients": (quarantine.write_clients, "senders in quarantine, or those that a finding names"),
    "rows": (
        quarantine.write_rows,
        "kept rows to leave out of training: in quarantine, of a finding's senders, or with its fault",
    ),
}
"""What can be exported, and what it is."""


def write(config: Config, archive: Archive, asked: Asked, out: BinaryIO) -> dict[str, Any]:
    """Write an export; what it says about itself. `DriftwardenError` with the fix if it cannot be made."""
    if asked.kind not in KINDS:
        raise ConfigError([f"kind: {unknown('kind', asked.kind, KINDS)}"])
    return KINDS[asked.kind][0](ground(config, archive, asked), out)


def export(config: Config, archive: Archive, asked: Asked) -> bytes:
    """The same as bytes."""
    out = io.BytesIO()
    write(config, archive, asked, out)
    return out.getvalue()
