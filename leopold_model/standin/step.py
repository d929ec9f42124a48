"""What one ionic step has to say, as the writers need it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Matrices = tuple[list[np.ndarray], list[np.ndarray]]  # onsite matrices per atom, spin up and down


@dataclass(frozen=True)
class Step:
    """One ionic step: n atoms, eV, Angstrom, fs, K.

    `positions` (n, 3) wrapped into the cell, `fractional` the same in lattice vectors, `moments` and `charges` (n, 3)
    s, p and d parts in the sphere, `onsite_before` the matrices that go into the first electronic iteration, `onsite`
    those of the last. `stress` (3, 3) eV/Angstrom^3 (tensile positive) or None, `temperature` None without dynamics.
    """

    index: int
    positions: np.ndarray
    fractional: np.ndarray
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    iterations: list[tuple[float, float, float]]
    converged: bool
    magnetization: float
    moments: np.ndarray
    charges: np.ndarray
    onsite_before: Matrices
    onsite: Matrices
    seconds: float
    relaxed: bool = False
    temperature: float | None = None
    kinetic: float = 0.0
    nose_potential: float = 0.0
    nose_kinetic: float = 0.0

    @property
    def total(self) -> float:
        """The conserved energy of the dynamics (VASP's ETOTAL)."""
        return self.energy + self.kinetic + self.nose_potential + self.nose_kinetic
