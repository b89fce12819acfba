"""What the outcome side leaves on disk of models that have none any more."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

FOLDER: Final = "outcomes"
"""Below the state folder: a folder for each model whose labels are joined."""


def forget_others(folder: Path, joining: Collection[str]) -> None:
    """Delete the indexes of all but these models, once a checkpoint is on disk that does without them."""
    place = folder / FOLDER
    for one in place.iterdir() if place.is_dir() else ():
        if one.name not in joining:
            shutil.rmtree(one, ignore_errors=True)
