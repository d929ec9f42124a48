"""Activation energies: ln y = ln A - Ea / (k_B T), with errors propagated from samples of y.

y may be a rate, D, mu or mu T; the slopes differ by about k_B T (mu T and D share theirs), so a result says which was
fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.msd import Estimate
from leopold_model.analysis.transport import BOLTZMANN

QUANTITIES = ("rate", "D", "mu", "mu*T")


@dataclass(frozen=True)
class Arrhenius:
    """Fit of ln `quantity`: `energy` Ea in eV, `ln_prefactor`, their `covariance` (2, 2); `curvature`, the
    coefficient of (1/k_B T)^2 in eV^2 of a parabola and whether it is `curved` (95 %), None below four temperatures;
    `chi2` per degree of freedom, None for two temperatures. `temperatures` used, K; `left_out` those without a
    hop."""

    quantity: str
    energy: Estimate
    ln_prefactor: Estimate
    covariance: np.ndarray
    temperatures: tuple[float, ...]
    left_out: tuple[float, ...]
    curvature: Estimate | None
    chi2: float | None

    @property
    def curved(self) -> bool | None:
        """Whether a straight line is excluded at 95 %."""
        if self.curvature is None:
            return None
        low, high = self.curvature.interval()
        return bool(low > 0 or high < 0)

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {
            "quantity": f"ln {self.quantity}",
            "energy_eV": self.energy.to_dict(),
            "ln_prefactor": self.ln_prefactor.to_dict(),
            "covariance": self.covariance.tolist(),
            "temperatures_K": list(self.temperatures),
            "left_out_K": list(self.left_out),
            "curvature_eV2": None if self.curvature is None else self.curvature.to_dict(),
            "curved": self.curved,
            "chi2_per_degree": self.chi2,
        }


def fit(temperatures: Sequence[float], values: Sequence[Estimate], quantity: str) -> Arrhenius:
    """Arrhenius fit of scalar estimates, weighted by the variance of their logarithms.

    `temperatures` K, `values` one Estimate each (equal numbers of samples, independent between temperatures),
    `quantity` one of 'rate', 'D', 'mu', 'mu*T'.
    """
    if quantity not in QUANTITIES:
        raise AnalysisError(f"quantity = {quantity!r}: choose one of {', '.join(QUANTITIES)}")
    used = [n for n, value in enumerate(values) if value.value > 0]
    left_out = tuple(float(t) for n, t in enumerate(temperatures) if n not in used)
    if len({temperatures[n] for n in used}) < 2:
        raise AnalysisError(
            f"an activation energy needs hops at two temperatures or more; there are hops at {len(used)} of "
            f"{', '.join(f'{t:g}' for t in temperatures)} K: add temperatures or run longer"
        )
    beta = 1 / (BOLTZMANN * np.array([temperatures[n] for n in used]))
    y = np.log([float(values[n].value) for n in used])
    samples = np.log(np.maximum([values[n].samples for n in used], 1e-300)).T  # (b, temperatures)
    samples += y - samples.mean(axis=0)  # samples scatter around their value
    weights = 1 / samples.std(axis=0)
    line = _solver(beta, weights, 1)
    slopes = (samples @ line.T) * [-1, 1]
    value = (line @ y) * [-1, 1]
    residual = (y - value[1] + value[0] * beta) * weights
    curvature = None
    if len(used) >= 4:
        parabola = _solver(beta, weights, 2)[0]
        curvature = Estimate(np.asarray(parabola @ y), samples @ parabola)
    return Arrhenius(
        quantity=quantity,
        energy=Estimate(np.asarray(value[0]), slopes[:, 0]),
        ln_prefactor=Estimate(np.asarray(value[1]), slopes[:, 1]),
        covariance=np.cov(slopes.T),
        temperatures=tuple(float(temperatures[n]) for n in used),
        left_out=left_out,
        curvature=curvature,
        chi2=float(residual @ residual / (len(used) - 2)) if len(used) > 2 else None,
    )


def _solver(beta: np.ndarray, weights: np.ndarray, degree: int) -> np.ndarray:
    """(degree + 1, t) matrix that turns ln y into the coefficients of the weighted fit, highest power first."""
    powers = np.vander(beta, degree + 1)
    return np.linalg.pinv(powers * weights[:, None]) * weights
