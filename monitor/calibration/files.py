"""A study as files: one for programs, one for people."""

from __future__ import annotations

import json
from pathlib import Path

from monitor.calibration.page import html
from monitor.calibration.result import Result
from monitor.errors import DriftwardenError

DOCUMENT, PAGE = "calibration.json", "calibration.html"


def write(result: Result, folder: Path) -> None:
    """Write or replace both; `DriftwardenError` if the folder cannot be written."""
    contents = {DOCUMENT: json.dumps(result.document(), indent=1, allow_nan=False) + "\n", PAGE: html(result)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DriftwardenError(f"--out: {folder}: cannot be written: {error.strerror}; choose another folder") from None
