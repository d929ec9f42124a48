"""Local minimisation of the carriers' energy over orthonormal orbitals, from the orbitals of the previous step.

Conjugate gradients on the Grassmann manifold (Edelman, Arias and Smith, SIAM J. Matrix Anal. Appl. 20, 303 (1998)): a
sphere for one carrier, where a geodesic is a great circle. Polak-Ribiere directions, a diagonal preconditioner, and a
line search for the first minimum with at most 0.3 rad of rotation: the branch of the previous step is followed, not the
lowest one. No randomness: the same start gives the same state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_ROTATION = 0.3  # rad, per iteration


@dataclass(frozen=True)
class Minimum:
    """`orbitals` (carriers, sites) reached, their electronic energy (eV) and the history (energy, change, residual)."""

    orbitals: np.ndarray
    energy: float
    converged: bool
    iterations: list[tuple[float, float, float]]


class _Functional:
    """E(C) = C.HC - 1/2 sum W rho^2 + 1/2 n V n with W = K + V, and its gradient h C with respect to the orbitals."""

    def __init__(self, hopping: np.ndarray, kernel: np.ndarray, coulomb: np.ndarray, n_carriers: int):
        self.hopping = hopping
        # Hartree and exchange cancel exactly for one carrier
        self.coulomb = coulomb if n_carriers > 1 else None
        self.pair = kernel + coulomb if n_carriers > 1 else kernel

    def __call__(self, orbitals: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Energy, h C, and rho."""
        density = orbitals.T @ orbitals
        dressed = self.pair * density
        band = orbitals @ self.hopping
        pull = orbitals @ dressed
        energy = float(np.vdot(band, orbitals) - 0.5 * np.vdot(dressed, density))
        gradient = band - pull
        if self.coulomb is not None:
            n = density.diagonal()
            field = self.coulomb @ n
            energy += 0.5 * float(n @ field)
            gradient += orbitals * field
        return energy, gradient, density

    def curvature(self, orbitals, direction, gradient, density) -> float:
        """Second derivative of the energy along the geodesic, at its start."""
        change = orbitals.T @ direction
        change = change + change.T
        h_direction = direction @ self.hopping - direction @ (self.pair * density)
        value = -float(np.vdot(self.pair * change, change))
        if self.coulomb is not None:
            h_direction += direction * (self.coulomb @ density.diagonal())
            value += float(change.diagonal() @ self.coulomb @ change.diagonal())
        value += 2.0 * float(np.vdot(direction, h_direction))
        value -= 2.0 * float(np.vdot(gradient @ orbitals.T, direction @ direction.T))
        return value


class _Geodesic:
    """C(t) for the horizontal direction D at C; t = 1 rotates by the singular values of D."""

    def __init__(self, orbitals: np.ndarray, direction: np.ndarray):
        if len(orbitals) == 1:
            self.u, self.s = np.ones((1, 1)), np.array([[np.sqrt(np.vdot(direction, direction))]])
            self.z = direction / self.s
        else:
            self.u, s, self.z = np.linalg.svd(direction, full_matrices=False)
            self.s = s[:, None]
        self.y = self.u.T @ orbitals
        self.longest = MAX_ROTATION / float(self.s.max())

    def __call__(self, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Orbitals and their derivative with respect to t (the transported direction)."""
        cos, sin = np.cos(self.s * t), np.sin(self.s * t)
        return self.u @ (cos * self.y + sin * self.z), self.u @ (self.s * (cos * self.z - sin * self.y))


def minimise(
    hopping: np.ndarray,
    kernel: np.ndarray,
    coulomb: np.ndarray,
    orbitals: np.ndarray,
    tolerance: float,
    max_iterations: int,
) -> Minimum:
    """The local minimum downhill of `orbitals` (carriers, sites), converged to max|residual| < `tolerance` (eV)."""
    functional = _Functional(hopping, kernel, coulomb, len(orbitals))
    energy, gradient, density = functional(orbitals)
    iterations: list[tuple[float, float, float]] = []
    direction: np.ndarray | None = None
    old_residual, old_scaled = gradient, 1.0
    change = energy
    while True:
        levels = gradient @ orbitals.T
        residual = gradient - levels @ orbitals
        size = float(np.abs(residual).max())
        iterations.append((energy, change, size))
        if size < tolerance or len(iterations) > max_iterations:
            return Minimum(orbitals, energy, size < tolerance, iterations)
        diagonal = (hopping - functional.pair * density).diagonal()
        scaled = residual / (np.abs(diagonal - levels.diagonal()[:, None]) + 0.5)
        scaled = scaled - (scaled @ orbitals.T) @ orbitals
        descent = float(np.vdot(scaled, residual))
        if direction is not None:
            beta = max(0.0, (descent - float(np.vdot(scaled, old_residual))) / old_scaled)
            direction = beta * (direction - (direction @ orbitals.T) @ orbitals) - scaled
        if direction is None or np.vdot(direction, residual) >= 0.0:
            direction = -scaled
        old_residual, old_scaled = residual, descent
        step = _line_search(functional, orbitals, direction, gradient, density)
        orbitals, direction, new_energy, gradient, density = step
        change, energy = new_energy - energy, new_energy


def _line_search(functional, orbitals, direction, gradient, density):
    """First minimum along the geodesic: Newton step with the exact curvature, then safeguarded secants."""
    path = _Geodesic(orbitals, direction)
    slope = 2.0 * float(np.vdot(direction, gradient))
    curvature = functional.curvature(orbitals, direction, gradient, density)
    t = min(path.longest, -slope / curvature) if curvature > 0.0 else path.longest
    low, low_slope, high, high_slope = 0.0, slope, None, 0.0
    for _ in range(20):
        point, tangent = path(t)
        energy, new_gradient, new_density = functional(point)
        new_slope = 2.0 * float(np.vdot(tangent, new_gradient))
        if abs(new_slope) <= 0.3 * abs(slope) or (new_slope < 0.0 and t >= path.longest):
            break
        if new_slope > 0.0:
            high, high_slope = t, new_slope
        else:
            low, low_slope = t, new_slope
        if high is None:
            t = min(2.0 * t, path.longest)
        else:
            secant = low - low_slope * (high - low) / (high_slope - low_slope)
            margin = 0.1 * (high - low)
            t = min(max(secant, low + margin), high - margin)
    return point, tangent, energy, new_gradient, new_density
