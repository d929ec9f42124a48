"""The bonds of a carrier's site: which atoms are its nearest neighbours, and what a carrier did to their distances."""

from __future__ import annotations

import numpy as np
from ase import Atoms

SHELL = 1.15  # atoms nearer than this times the shortest bond are the nearest neighbours


def neighbours(atoms: Atoms, site: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours of `site`: their indices (k,) and the vectors (k, 3) to them, Angstrom."""
    vectors = atoms.get_distances(site, range(len(atoms)), mic=True, vector=True)
    lengths = np.linalg.norm(vectors, axis=1)
    lengths[site] = np.inf
    near = np.flatnonzero(lengths < SHELL * lengths.min())
    return near, vectors[near]


def bond_changes(host: Atoms, now: Atoms, site: int) -> dict:
    """Lengths (Angstrom, ascending) of the host's bonds of `site`, in the host and `now`, and their mean relative
    change."""
    near, vectors = neighbours(host, site)
    before, after = np.linalg.norm(vectors, axis=1), now.get_distances(site, near, mic=True)
    return {
        "site": int(site),
        "host": sorted(round(float(r), 4) for r in before),
        "now": sorted(round(float(r), 4) for r in after),
        "mean_change": float(np.mean(after / before)) - 1.0,
    }
