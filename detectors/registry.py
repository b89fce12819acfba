"""The catalogue: a new detector is one file and one line here; tests, metrics and tables follow from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from detectors.multivariate.classifier import ClassifierTwoSample
from detectors.multivariate.conditional import ConditionalShift
from detectors.multivariate.correlation import CorrelationChange
from detectors.multivariate.cross_mmd import CrossMMD
from detectors.multivariate.energy import EnergyDistance
from detectors.multivariate.joint import JointDefault
from detectors.multivariate.mmd import ExactMMD
from detectors.multivariate.nystroem import SpectralNystroem
from detectors.multivariate.pca import PCAReconstruction
from detectors.multivariate.protocol import JointEDetector, JointTest
from detectors.multivariate.random_features import RandomFeatureMMD
from detectors.multivariate.witness import Witness
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

JOINT: dict[str, Callable[[Tolerances], JointTest]] = {
    "joint_min_p": lambda _: JointDefault(),
    "spectral_mmd": lambda _: SpectralNystroem(),
    "mmd_fuse": lambda _: ExactMMD(),
    "cross_mmd": lambda _: CrossMMD(),
    "random_feature_mmd": lambda _: RandomFeatureMMD(),
    "correlation_change": lambda _: CorrelationChange(),
    "energy_distance": lambda _: EnergyDistance(),
    "classifier_two_sample": lambda _: ClassifierTwoSample(),
    "pca_reconstruction": lambda _: PCAReconstruction(),
    "conditional_shift": lambda _: ConditionalShift(),
}
"""Two-sample tests on the views of a window: they see what only shows jointly, and open tickets."""


def WITNESS(tolerances: Tolerances) -> JointEDetector:  # noqa: N802 - an entry of the catalogue, like its neighbours
    """The joint e-detector: it pages."""
    return Witness(tolerances.shift)


CATALOG: dict[str, Callable[[Tolerances], Detector]] = {**WINDOWED, **SEQUENTIAL}
"""Every detector by name."""

if set(WINDOWED) & set(SEQUENTIAL) or not set(INDICES) <= set(WINDOWED) or len(COUNTERS) != len(SEQUENTIAL) - 1:
    raise RuntimeError("`CATALOG` and the families it lists have fallen apart")
