"""A finding for tests of what becomes of findings."""

from __future__ import annotations

import dataclasses
from typing import Any

from monitor.report import Culprit, Finding


def culprit(unit: str = "a", index: int = 0) -> Culprit:
    return Culprit(unit, index, "e_ks", 12.0, "ks_distance", 0.2, 0.1, 0.3, 0.1, 0.3, (index,))


def finding(**changes: Any) -> Finding:
    plain = Finding(
        model="m",
        stream="all",
        time=50.0,
        pane=5,
        failure_mode="distributional_shift",
        triage="shift",
        severity="page",
        detector="e_ks",
        units=(culprit(),),
        log_e=12.0,
        threshold=7.0,
        since_pane=4,
        since_time=40.0,
        rows=400,
        grid_id="g",
        config_id="c",
    )
    return dataclasses.replace(plain, **changes)
