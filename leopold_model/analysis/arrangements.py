"""Where carriers can sit in a cell with defects, each arrangement once up to symmetry, and with which to begin."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import spglib
from scipy.spatial import cKDTree

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.defects import defect_distances
from leopold_model.analysis.sites import SiteMap

SYMPREC = 1e-3  # Angstrom, of ideal structures
MOST = 20000  # sets of sites that are looked at one by one
TOUCHING = 1.0  # Angstrom, the least distance between charges


def carrier_arrangements(sites: SiteMap, numbers: np.ndarray, n: int = 1) -> list[tuple[int, ...]]:
    """Sets of `n` carrier atoms, one of every symmetry orbit of the cell, those that point charges prefer first.

    `numbers` (n_atoms,) are the elements on `sites`; atoms count as being on their ideal sites. Ranked by
    `point_charge_energies`: near the defects and apart from each other first; one carrier, by its distance.
    """
    allowed = sites.carrier_atoms
    if n > len(allowed):
        raise AnalysisError(f"{n} carriers, but the cell has {len(allowed)} sites that can take one: give fewer")
    if comb(len(allowed), n) > MOST:
        raise AnalysisError(
            f"{n} carriers on {len(allowed)} sites are {comb(len(allowed), n)} arrangements, too many to list: search "
            "them with `leopold patterns` and give what `leopold patterns starts` writes"
        )
    permutations = symmetry_permutations(sites, numbers)
    every = np.array(list(combinations(allowed.tolist(), n)))  # (c, n)
    images = np.sort(permutations[:, every], axis=2)  # (o, c, n)
    # the first of its orbit in the order of the combinations stands for it
    code = images @ (len(numbers) ** np.arange(n - 1, -1, -1))
    first = code.min(axis=0) == every @ (len(numbers) ** np.arange(n - 1, -1, -1))
    energies = point_charge_energies(sites, every[first])
    order = sorted(range(len(energies)), key=lambda k: (round(float(energies[k]), 4), *every[first][k]))
    return [tuple(int(i) for i in every[first][k]) for k in order]


def point_charge_energies(sites: SiteMap, arrangements: np.ndarray) -> np.ndarray:
    """Coulomb energy (c,) of each arrangement (c, n) of carriers, in units of e^2 / (4 pi epsilon Angstrom): unit
    charges that repel each other and are drawn to the defects, which together have as much of the other sign. Nearest
    images only: it ranks arrangements, it is no energy of any."""
    defects, n = defect_distances(sites), arrangements.shape[1]
    energy = np.zeros(len(arrangements))
    if len(defects):
        energy -= n / len(defects) * (1 / np.maximum(defects, TOUCHING)).sum(axis=0)[arrangements].sum(axis=1)
    distance = {(i, j): sites.distance(i, j) for i, j in combinations(np.unique(arrangements).tolist(), 2)}
    energy += [sum(1 / distance[pair] for pair in combinations(chosen, 2)) for chosen in arrangements.tolist()]
    return energy


def symmetry_permutations(sites: SiteMap, numbers: np.ndarray) -> np.ndarray:
    """(o, n_atoms): the atom that each atom is taken to, by every operation of the cell's group with its defects."""
    cell = sites.matrix @ sites.lattice
    fractional = sites.positions @ np.linalg.inv(cell) % 1.0 % 1.0
    structure: Any = (cell, fractional, numbers)
    found = spglib.get_symmetry(structure, symprec=SYMPREC)
    if found is None:
        raise AnalysisError(f"no symmetry found in the cell at symprec = {SYMPREC} A: check its structure")
    lengths = np.linalg.norm(cell, axis=1)
    tree = cKDTree(fractional * lengths, boxsize=lengths)
    return np.array(
        [
            tree.query((fractional @ rotation.T + translation) % 1.0 % 1.0 * lengths)[1]
            for rotation, translation in zip(found["rotations"], found["translations"], strict=True)
        ]
    )


def spread(ranked: Sequence, count: int) -> list:
    """At most `count` of `ranked`, the first and the last among them, ever farther apart: most of what is different is
    near the defects."""
    if count >= len(ranked):
        return list(ranked)
    return [ranked[k] for k in _places(len(ranked), count)]


def starting_arrangements(sites: SiteMap, numbers: np.ndarray, n: int, count: int) -> list[tuple[int, ...]]:
    """At most `count` of `carrier_arrangements` to begin from: those of `spread`, or the next in rank that puts no
    carrier on a site equivalent to one that was chosen before, as long as there are such. Otherwise the best site would
    be in most sets of several carriers, and if it holds none all of them would be lost."""
    ranked = carrier_arrangements(sites, numbers, n)
    if count >= len(ranked) or n == 1:
        return spread(ranked, count)
    orbit = symmetry_permutations(sites, numbers).min(axis=0)
    chosen: list[tuple[int, ...]] = []
    used: set[int] = set()
    for k in _places(len(ranked), count):
        later = [a for a in ranked[k:] if a not in chosen]
        fresh = [a for a in later if used.isdisjoint(orbit[list(a)].tolist())]
        chosen.append((fresh or later or [a for a in ranked if a not in chosen])[0])
        used |= set(orbit[list(chosen[-1])].tolist())
    return chosen


def _places(length: int, count: int) -> list[int]:
    """`count` numbers below `length`, 0 and the last among them, in a geometric series as far as that goes."""
    places = np.rint(np.geomspace(1, length, count)).astype(int) - 1
    for k in range(1, count):  # no place twice
        places[k] = max(places[k], places[k - 1] + 1)
    return places.tolist()
