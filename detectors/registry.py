"""The catalogue: a new detector is one file and one line here; tests, metrics and tables follow from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from detectors.sequential.e_ks import EKS
from detectors.sequential.rates import COUNTERS, Rate
from detectors.types import Detector, EDetector
from detectors.univariate.distribution import AndersonDarling, CramerVonMises, KolmogorovSmirnov, Wasserstein
from detectors.univariate.divergence import INDICES, Divergence, TotalVariation
from detectors.univariate.location_scale import Location, Scale
from detectors.univariate.relevant import Relevant


class Tolerances(NamedTuple):
    """What the user calls too small to matter, in probability mass: a shift, and a rate of faults."""

    shift: float = 0.05
    fault: float = 0.01


WINDOWED: dict[str, Callable[[Tolerances], Detector]] = {
    "anderson_darling": lambda _: AndersonDarling(),
    "cramer_von_mises": lambda _: CramerVonMises(),
    "kolmogorov_smirnov": lambda _: KolmogorovSmirnov(),
    "wasserstein": lambda _: Wasserstein(),
    "psi": lambda _: Divergence("psi"),
    "jensen_shannon": lambda _: Divergence("jensen_shannon"),
    "hellinger": lambda _: Divergence("hellinger"),
    "kullback_leibler": lambda _: Divergence("kullback_leibler"),
    "g_test": lambda _: Divergence("g_test"),
    "chi_square": lambda _: Divergence("chi_square"),
    "total_variation": lambda _: TotalVariation(),
    "mean_change": lambda _: Location(),
    "scale_change": lambda _: Scale(),
    "relevant_drift": lambda tolerances: Relevant(tolerances.shift),
}
"""Two-sample tests on windows: they explain, and open tickets."""

SEQUENTIAL: dict[str, Callable[[Tolerances], EDetector]] = {
    "e_ks": lambda tolerances: EKS(tolerances.shift),
    "e_missing": lambda tolerances: Rate("missing", tolerances.fault),
    "e_nonfinite": lambda tolerances: Rate("nonfinite", tolerances.fault),
    "e_out_of_range": lambda tolerances: Rate("out_of_range", tolerances.fault),
    "e_new_category": lambda tolerances: Rate("new_category", tolerances.fault),
    "e_type_fault": lambda tolerances: Rate("type_fault", tolerances.fault),
}
"""E-detectors: they page."""

CATALOG: dict[str, Callable[[Tolerances], Detector]] = {**WINDOWED, **SEQUENTIAL}
"""Every detector by name."""

if set(WINDOWED) & set(SEQUENTIAL) or not set(INDICES) <= set(WINDOWED) or len(COUNTERS) != len(SEQUENTIAL) - 1:
    raise RuntimeError("`CATALOG` and the families it lists have fallen apart")
