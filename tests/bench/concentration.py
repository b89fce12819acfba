"""Attack or drift: how often the concentration test suspects somebody under fleet-wide drift, and an attacker in it.

``python -m tests.bench concentration [windows]``. Clients' sizes follow a Pareto law (shape 1.5); their rates a Beta
law whose coefficient of variation is given (0: all alike). The attacker has 1 % of the rows, 90 % of them flagged.
"""

from __future__ import annotations

import numpy as np

from detectors.decide.concentration import Verdict, concentration
from detectors.types import IntArray
from tests.bench.common import cpu, table

_ROWS = 20_000


def fleet(rng: np.random.Generator, clients: int, rate: float, variation: float) -> tuple[IntArray, IntArray]:
    """Flagged rows and rows of benign clients in one window."""
    weight = rng.pareto(1.5, clients) + 1
    rows = rng.multinomial(_ROWS, weight / weight.sum())
    shape = max(1 / max(variation, 1e-9) ** 2 * (1 - rate) - rate, 0.05)
    rates = rng.beta(shape, shape * (1 - rate) / rate, clients) if variation else np.full(clients, rate)
    return rng.binomial(rows, rates), rows


def shares(
    rng: np.random.Generator, setting: tuple[int, float, float], names: int, windows: int
) -> tuple[float, float, float]:
    """Share of windows in which anybody is suspected, anybody benign is, and one of the attacker's names is."""
    found = np.zeros(3)
    for _ in range(windows):
        flagged, rows = fleet(rng, *setting)
        if names:
            mine = rng.multinomial(_ROWS // 100, np.full(names, 1 / names))
            flagged, rows = np.append(flagged, rng.binomial(mine, 0.9)), np.append(rows, mine)
        told = concentration(flagged, rows)
        attack = np.arange(len(rows)) >= setting[0]
        guilty = (told.suspects[~attack].any(), told.suspects[attack].any())
        found += np.array([told.verdict is Verdict.CONCENTRATED, *guilty], np.float64)
    anybody, benign, attacker = (found / windows).tolist()
    return anybody, benign, attacker


def run(windows: str = "300") -> None:
    """Print the tables."""
    rng, number, rows = np.random.default_rng(0), int(windows), []
    for clients in (10, 50, 200):
        for rate in (0.01, 0.05, 0.2):
            for variation in (0.0, 0.3, 0.7):
                setting = (clients, rate, variation)
                alone = shares(rng, setting, 0, number)
                attacked = shares(rng, setting, 1, number)
                rows.append((*setting, f"{alone[0]:.3f}", f"{attacked[2]:.3f}", f"{attacked[1]:.3f}"))
    headings = (
        "clients",
        "fleet's rate",
        "variation",
        "attack verdicts, drift alone",
        "attacker found",
        "others suspected",
    )
    table(f"Concentration, {number} windows of {_ROWS:,} rows", headings, rows)
    sybil = [(names, f"{shares(rng, (200, 0.05, 0.3), names, number)[2]:.3f}") for names in (1, 5, 9, 10, 20)]
    table("The same attacker under more names (200 clients, rate 0.05)", ("names", "found"), sybil)
    flagged, counted = fleet(rng, 10_000, 0.05, 0.3)
    spent = cpu(lambda: concentration(flagged, counted), 10)
    table("CPU", ("clients", "ms"), [(10_000, f"{spent * 1e3:.1f}")])
