"""The classical streaming detectors by name, with their papers' (river's, MOA's) parameters."""

from __future__ import annotations

from collections.abc import Callable

from detectors.streaming.adwin import Adwin
from detectors.streaming.cusum import Cusum
from detectors.streaming.ddm import Ddm
from detectors.streaming.eddm import Eddm
from detectors.streaming.ewma import Ewma
from detectors.streaming.hddm_a import HddmA
from detectors.streaming.hddm_w import HddmW
from detectors.streaming.kswin import Kswin
from detectors.streaming.page_hinkley import PageHinkley
from detectors.streaming.protocol import Streaming

CLASSICAL: dict[str, Callable[[], Streaming]] = {
    "adwin": Adwin,
    "page_hinkley": PageHinkley,
    "cusum": Cusum,
    "ewma": Ewma,
    "kswin": Kswin,
    "ddm": Ddm,
    "eddm": Eddm,
    "hddm_a": HddmA,
    "hddm_w": HddmW,
}
"""``values`` detectors first, then those of ``errors``, which take the 0/1 stream of a model's errors."""

VALUES = tuple(name for name, make in CLASSICAL.items() if make().kind == "values")
"""Those that take real values; the others need the outcome stream of a model's errors."""

ERRORS = tuple(name for name in CLASSICAL if name not in VALUES)
"""Those that take the errors of a model, 0 or 1, row by row."""

ONLINE = "online_mmd"
"""The one that looks at all columns together: `detectors.streaming.online_mmd`."""
