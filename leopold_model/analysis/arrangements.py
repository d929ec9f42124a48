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
from leopold_model.analysis.defects import defect_distances, has_defects
from leopold_model.analysis.sites import SiteMap

SYMPREC = 1e-3  # Angstrom, of ideal structures
MOST = 20000  # sets of sites that are looked at one by one


def carrier_arrangements(sites: SiteMap, numbers: np.ndarray, n: int = 1) -> list[tuple[int, ...]]:
    """Sets of `n` carrier atoms, one of every symmetry orbit of the cell, those nearest to the defects first.

    `numbers` (n_atoms,) are the elements on `sites`; atoms count as being on their ideal sites. Ranked by the mean
    distance of the carriers from their nearest defects; in a perfect crystal, by their own mean distance.
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
    found = [tuple(int(i) for i in row) for row in every[first]]
    if has_defects(sites):
        nearest = defect_distances(sites).min(axis=0)
        return sorted(found, key=lambda chosen: (round(float(nearest[list(chosen)].mean()), 3), chosen))
    return sorted(found, key=lambda chosen: (round(_mean_distance(sites, chosen), 3), chosen))


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
    places = np.rint(np.geomspace(1, len(ranked), count)).astype(int) - 1
    for k in range(1, count):  # no place twice
        places[k] = max(places[k], places[k - 1] + 1)
    return [ranked[k] for k in places]


def _mean_distance(sites: SiteMap, chosen: Sequence[int]) -> float:
    return float(np.mean([sites.distance(i, j) for i, j in combinations(chosen, 2)] or [0.0]))
