"""Energies of defects as screened point charges: labels to try everything with, and a ranking before any exist.

    E = sum_i e(label_i) + 1/2 sum_ij q_i q_j e^2 / (4 pi eps0 eps r_ij) exp(-r_ij / lambda),

over all pairs and periodic images; charges are those of the lattice's species. A model, not a first-principles result.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from leopold_model.patterns.supercell import Supercell

COULOMB = 14.399645  # e^2 / (4 pi eps0), eV Angstrom
NEGLECT = 12.0  # screening lengths


def point_charge_energies(
    supercell: Supercell,
    occupations: np.ndarray,
    *,
    permittivity: float = 12.0,
    screening: float = 6.0,
    onsite: Mapping[str, float] | None = None,
) -> np.ndarray:
    """(n,) eV for configurations (n, n_sites); `screening` in Angstrom, `onsite` eV per label of any defect there."""
    charges = np.array([0.0, *(s.charge for s in supercell.lattice.species)])[np.atleast_2d(occupations)]
    energy = 0.5 * np.einsum("ni,ij,nj->n", charges, _pairs(supercell, permittivity, screening), charges)
    own = np.array([(onsite or {}).get(str(label), 0.0) for label in supercell.labels])
    return energy + (np.atleast_2d(occupations) > 0) @ own


def _pairs(supercell: Supercell, permittivity: float, screening: float) -> np.ndarray:
    """(n_sites, n_sites) eV of two unit charges and all images."""
    reach = NEGLECT * screening
    heights = 1 / np.linalg.norm(np.linalg.inv(supercell.vectors), axis=0)
    steps = [
        range(-int(reach / h) - 1, int(reach / h) + 2) if p else (0,)
        for h, p in zip(heights, supercell.lattice.pbc, strict=True)
    ]
    n_basis = supercell.lattice.n_sites
    offset = supercell.positions[None] - supercell.positions[:n_basis, None]
    first = np.zeros(offset.shape[:2])
    for shift in product(*steps):
        r = np.linalg.norm(offset + np.array(shift) @ supercell.vectors, axis=2)
        near = (r > 1e-6) & (r < reach)
        first[near] += COULOMB / (permittivity * r[near]) * np.exp(-r[near] / screening)
    # translations give the rest
    full = np.empty((supercell.n_sites, supercell.n_sites))
    for c, cell in enumerate(supercell.cells):
        full[c * n_basis : (c + 1) * n_basis, supercell.translation(cell)] = first
    return full
