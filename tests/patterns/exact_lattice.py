"""A lattice whose energies are known: TiO2(110) 4x3 with 2 vacancies and 4 polarons, all 701,316 configurations.

On-site energies, a screened Coulomb energy of all charges and their periodic images (relative permittivity 12,
screening length 6 Angstrom), and -0.35 eV, which no sum over pairs can give, for a surface polaron half-way between two
vacancies that lie along [1-12] of each other.
"""

from functools import cached_property
from itertools import product

import numpy as np

from leopold_model.patterns.composition import all_configurations
from leopold_model.patterns.labels import Labels, LabelSet
from leopold_model.patterns.lattice_file import load_lattice

COULOMB = 14.399645  # e^2 / (4 pi eps0), eV Angstrom
ONSITE = {"S0A": -0.10, "S1A": -0.25, "Obr": 0.0}
EPS, SCREENING, BRIDGE = 12.0, 6.0, -0.35


class ExactLattice:
    """Energies of any configuration of a supercell of TiO2(110)."""

    def __init__(self, size: str = "4x3", bridge: float = BRIDGE):
        self.instance = load_lattice("tio2_110")
        self.cell = self.instance.supercell(size)
        self.bridge = bridge
        nx, ny = self.cell.matrix[0, 0], self.cell.matrix[1, 1]
        self.bridges = []  # (S0, VO, VO)
        for i, j in product(range(nx), range(ny)):
            site = 3 * (i * ny + j)
            for sign in (1, -1):
                ends = [
                    ((i + d) % nx, (j + e) % ny) for d, e in ((1, 0 if sign > 0 else -1), (-1, -1 if sign > 0 else 0))
                ]
                self.bridges.append((site, *(3 * (p * ny + q) + 2 for p, q in ends)))

    @cached_property
    def pairs(self) -> np.ndarray:
        """(n_sites, n_sites) screened Coulomb energies of what the sites hold when occupied, images included."""
        charge = np.where(self.cell.labels == "Obr", 2.0, -1.0)
        shifts = np.array([[i, j, 0] for i in range(-4, 5) for j in range(-4, 5)]) @ self.cell.vectors
        offset = self.cell.positions[:, None] - self.cell.positions[None]
        total = np.zeros(offset.shape[:2])
        for shift in shifts:
            r = np.linalg.norm(offset + shift, axis=2)
            with np.errstate(divide="ignore"):
                total += np.where(r > 1e-6, COULOMB / (EPS * r) * np.exp(-r / SCREENING), 0.0)
        return total * charge[:, None] * charge[None]

    def energies(self, occupations: np.ndarray) -> np.ndarray:
        """(n,) eV."""
        there = (np.atleast_2d(occupations) > 0).astype(float)
        onsite = np.array([ONSITE[label] for label in self.cell.labels])
        energy = there @ onsite + 0.5 * np.einsum("ni,ni->n", there @ self.pairs, there)
        return energy + self.bridge * self.n_bridges(occupations)

    def n_bridges(self, occupations: np.ndarray) -> np.ndarray:
        """(n,) surface polarons between two [1-12]-aligned vacancies, counted by alignment."""
        there = np.atleast_2d(occupations) > 0
        return sum((there[:, s] & there[:, a] & there[:, b]).astype(float) for s, a, b in self.bridges)

    @cached_property
    def everything(self) -> np.ndarray:
        """(701316, 36) all configurations of the 4x3 cell."""
        return all_configurations(self.cell, self.instance.composition("4x3"))

    def labels(self, occupations: np.ndarray) -> LabelSet:
        """Labelled by the exact energy."""
        return LabelSet(self.instance, (Labels(self.cell, occupations, self.energies(occupations)),))
