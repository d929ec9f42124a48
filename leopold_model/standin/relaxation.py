"""Structural relaxation at fixed cell: limited-memory BFGS with a step cap."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Relaxation:
    """Two-loop L-BFGS (Nocedal, Math. Comput. 35, 773 (1980)) on Cartesian positions (n, 3), Angstrom and eV.

    No line search: one force evaluation a step, the largest atomic displacement capped. Pairs that break the curvature
    condition (the carrier moved to another site in between) empty the memory.
    """

    free: np.ndarray
    stiffness: float = 20.0  # eV/Angstrom^2, of the first step: soft against the oxides' 5-40
    cap: float = 0.15  # Angstrom
    memory: int = 12
    pairs: list[tuple[np.ndarray, np.ndarray, float]] = field(default_factory=list, init=False)
    last: tuple[np.ndarray, np.ndarray] | None = field(default=None, init=False)

    def advance(self, positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
        """The next positions to try."""
        gradient = -np.where(self.free, forces, 0.0).ravel()
        x = positions.ravel()
        if self.last is not None:
            step, change = x - self.last[0], gradient - self.last[1]
            curvature = float(step @ change)
            if curvature > 1e-3 * float(step @ step):
                self.pairs = [*self.pairs[1 - self.memory :], (step, change, curvature)]
            else:
                self.pairs = []
        self.last = (x.copy(), gradient)
        direction = -self._inverse(gradient).reshape(-1, 3)
        longest = np.linalg.norm(direction, axis=1).max()
        return positions + direction * min(1.0, self.cap / max(longest, 1e-12))

    def _inverse(self, vector: np.ndarray) -> np.ndarray:
        """The inverse Hessian's estimate applied to `vector`."""
        weights = []
        for step, change, curvature in reversed(self.pairs):
            weights.append(step @ vector / curvature)
            vector = vector - weights[-1] * change
        if self.pairs:
            _, change, curvature = self.pairs[-1]
            vector = vector * curvature / (change @ change)
        else:
            vector = vector / self.stiffness
        for (step, change, curvature), weight in zip(self.pairs, reversed(weights), strict=True):
            vector = vector + (weight - change @ vector / curvature) * step
        return vector


def relaxed(ediffg: float, forces: np.ndarray, free: np.ndarray, energy_change: float | None) -> bool:
    """VASP's criterion: EDIFFG < 0 bounds the largest force (eV/Angstrom), EDIFFG > 0 the last energy change (eV)."""
    if ediffg < 0:
        return bool(np.linalg.norm(np.where(free, forces, 0.0), axis=1).max() < -ediffg)
    return energy_change is not None and abs(energy_change) < ediffg
