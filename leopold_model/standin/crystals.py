"""Ideal host crystals at the equilibrium of the stand-in's own lattice model (not the experimental cells)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

MGO_A = 4.181  # Angstrom; experiment 4.212
RUTILE_A, RUTILE_C, RUTILE_U = 4.503, 2.993, 0.3028  # Angstrom; experiment 4.594, 2.959, 0.305
ANATASE_A, ANATASE_C, ANATASE_U = 3.7666, 9.5020, 0.20885  # Angstrom; experiment 3.785, 9.514, 0.2081


def ideal_cell(name: str, repeat: Sequence[int] = (1, 1, 1)) -> Atoms:
    """`name` 'mgo' (8-atom cubic cell), 'tio2' (6-atom rutile cell) or 'anatase' (12-atom cell), repeated.

    Cations first, as VASP wants.
    """
    from ase import Atoms  # imported here: the stand-in's ionic loop starts without ASE

    if name == "mgo":
        fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
        fractional, symbols, cell = np.vstack([fcc, fcc + np.array([0.5, 0, 0])]), "Mg4O4", [MGO_A] * 3
    elif name == "tio2":
        u = RUTILE_U
        oxygen = [[u, u, 0], [1 - u, 1 - u, 0], [0.5 + u, 0.5 - u, 0.5], [0.5 - u, 0.5 + u, 0.5]]
        fractional, symbols = np.array([[0, 0, 0], [0.5, 0.5, 0.5], *oxygen]), "Ti2O4"
        cell = [RUTILE_A, RUTILE_A, RUTILE_C]
    elif name == "anatase":
        titanium = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.25], [0.5, 0, 0.75]])
        apex = np.array([0, 0, ANATASE_U])
        fractional, symbols = np.vstack([titanium, titanium + apex, titanium - apex]), "Ti4O8"
        cell = [ANATASE_A, ANATASE_A, ANATASE_C]
    else:
        raise ValueError(f"crystal {name!r}: choose 'mgo', 'tio2' or 'anatase'")
    atoms = Atoms(symbols, scaled_positions=fractional % 1.0, cell=cell, pbc=True).repeat(tuple(repeat))
    return atoms[np.argsort(atoms.numbers == 8, kind="stable")]
