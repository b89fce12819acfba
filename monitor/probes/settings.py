"""What a prober is told: where the model is, what it may be asked, and how much of it."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from monitor.errors import ConfigError
from monitor.outgoing import Endpoint, endpoint, exposed

FLOATS: Final = ("FP16", "FP32", "FP64", "BF16")
"""Datatypes whose values may be moved by noise."""
DATATYPES: Final = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", *FLOATS, "BYTES",
)  # fmt: skip

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input of the model, made of ``columns`` of a row; ``shape`` is that of one row.

    Without a shape one column is a number a row, and several stand beside each other. A column that holds a vector
    needs one.
    """

    name: str
    columns: tuple[str, ...]
    datatype: str = "FP32"
    shape: tuple[int, ...] = ()

    @property
    def laid_out(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.shape or ((len(self.columns),) if len(self.columns) > 1 else ())


@dataclass(frozen=True, slots=True)
class Settings:
    """One endpoint of the Open Inference Protocol v2 and the limits of what is asked of it.

    ``scales`` is what one standard deviation means in each column that noise may move (its spread in the reference);
    ``image`` names the column that holds an image, of ``(height, width, channels)``, which is moved instead. Limits
    count every row that is sent, copies too. ``draws`` noisy copies tell how often the answer is kept; ``choosing`` and
    ``counting`` draws certify a radius, none where 0. Times are in seconds.
    """

    url: str
    model: str
    inputs: tuple[Tensor, ...]
    version: str = ""
    output: str = ""
    scales: Mapping[str, float] = field(default_factory=dict)
    image: str = ""
    image_shape: tuple[int, int, int] = (0, 0, 0)
    token: str | None = field(default=None, repr=False)
    key: bytes = field(default=b"", repr=False)
    client: str = "driftwarden-probe"
    client_header: str = "X-Client-Id"
    allowed: tuple[str, ...] = ()
    sigma: float = 0.05
    draws: int = 16
    choosing: int = 0
    counting: int = 0
    alpha: float = 0.001
    rows_per_second: float = 1.0
    share: float = 0.01
    rows_per_day: int = 20_000
    rows_per_call: int = 64
    timeout: float = 2.0
    most_bytes: int = 4 << 20
    slow: float = 2.0

    @property
    def endpoint(self) -> Endpoint:
        """Where it is."""
        return endpoint(self.url)

    @property
    def path(self) -> str:
        """Path of the model: what is configured and nothing from outside is ever part of it."""
        prefix = self.endpoint.path.rstrip("/")
        version = f"/versions/{urllib.parse.quote(self.version, safe='')}" if self.version else ""
        return f"{prefix}/v2/models/{urllib.parse.quote(self.model, safe='')}{version}"

    @property
    def cost(self) -> int:
        """Rows that are sent for one row at most."""
        copies = 8 if self.image else self.draws + self.choosing + self.counting
        return 1 + copies


def check(settings: Settings) -> None:
    """Raise `ConfigError` with every fault and its fix."""
    if faults := faults_of(settings):
        raise ConfigError([f"probes.{fault}" for fault in faults])


def faults_of(settings: Settings) -> list[str]:
    """Every fault as ``name, name: sentence``."""
    return [*_place(settings), *_shape(settings), *_limits(settings)]


def _place(settings: Settings) -> list[str]:
    faults = []
    try:
        if exposed(settings.endpoint) and settings.token:
            faults.append("url: the token would be sent in clear text to another machine; use https")
    except ValueError as error:
        faults += [f"url: {problem}" for problem in str(error).splitlines()]
    if settings.model not in settings.allowed:
        faults.append(f'model: "{settings.model}" is not in `allowed`; name the models there that may be asked')
    if not _HEADER.fullmatch(settings.client_header):
        faults.append("client_header: must be the name of an HTTP header")
    return faults


def _shape(settings: Settings) -> list[str]:
    faults = []
    if not settings.inputs or not all(tensor.columns for tensor in settings.inputs):
        faults.append("inputs: name each input tensor of the model and the columns that it is made of")
    unknown = sorted({tensor.datatype for tensor in settings.inputs} - set(DATATYPES))
    if unknown:
        faults.append(f"inputs: unknown datatype {', '.join(unknown)}; known: {', '.join(DATATYPES)}")
    if any(size < 1 for tensor in settings.inputs for size in tensor.shape):
        faults.append("inputs: a shape has a size below 1; give that of one row, without the batch")
    columns = {column for tensor in settings.inputs for column in tensor.columns}
    if settings.image and (settings.image not in columns or min(settings.image_shape) < 1):
        faults.append("image: must be a column of an input, with height, width and channels of at least 1")
    moved = {column for tensor in settings.inputs if tensor.datatype in FLOATS for column in tensor.columns}
    if not settings.image and not any(settings.scales.get(column, 0) > 0 for column in moved):
        faults.append("scales: no column of a floating-point input has a scale, so that there is nothing to move")
    return faults


def _limits(settings: Settings) -> list[str]:
    faults = []
    for name, least in (("rows_per_second", 0), ("share", 0), ("sigma", 0), ("timeout", 0), ("slow", 1), ("alpha", 0)):
        if not getattr(settings, name) > least:
            faults.append(f"{name}: must be greater than {least}")
    if settings.share > 1 or settings.alpha >= 1:
        faults.append("share, alpha: must not be greater than 1")
    if settings.rows_per_day < settings.cost:
        faults.append(f"rows_per_day: one probe takes {settings.cost} rows; raise it or ask for fewer draws")
    if min(settings.rows_per_call, settings.most_bytes) < 1:
        faults.append("rows_per_call, most_bytes: must be at least 1")
    if min(settings.draws, settings.choosing, settings.counting) < 0:
        faults.append("draws, choosing, counting: must not be negative")
    if (settings.choosing > 0) != (settings.counting > 0):
        faults.append("choosing, counting: a radius needs both, or neither")
    return faults
