"""Image-explicit half pair list with a Verlet skin, sorted so that every pair function acts on one contiguous slice.

Cells are smaller than twice the cutoff, so each periodic image is a pair of its own: i < j with all images, and i = j
with one of each pair of opposite images.
"""

from __future__ import annotations

import itertools

import numpy as np

SKIN = 0.9  # Angstrom


class PairList:
    """Pairs within cutoff + skin of the positions it was built for.

    `kind` (n,) is 0 for ions of the carrier's sublattice and 1 for the others. Pairs come in three blocks, site-site,
    site-other and other-other (`blocks`, slices), each sorted by distance. In site-other pairs `first` is the site.
    """

    def __init__(self, positions: np.ndarray, cell: np.ndarray, kind: np.ndarray, cutoff: float, skin: float = SKIN):
        self.positions, self.cell, self.skin = positions.copy(), cell.copy(), skin
        reach = cutoff + skin
        i, j = np.triu_indices(len(positions))
        vector = positions[j] - positions[i]
        # nearest image in fractional coordinates, then every lattice vector that can still reach the sphere
        nearest = -np.round(vector @ np.linalg.inv(cell))
        vector += nearest @ cell
        heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        extent = [range(-m, m + 1) for m in np.floor(reach / heights + 0.5).astype(int)]
        offsets = np.array(list(itertools.product(*extent)), dtype=float)
        squared = np.zeros((len(offsets), len(i)))
        for axis, shift in enumerate((offsets @ cell).T):
            squared += (vector[:, axis] + shift[:, None]) ** 2
        keep = squared < reach**2
        own = i == j
        positive = _positive(offsets)
        keep[:, own] &= positive[:, None]
        image, pair = np.nonzero(keep)
        distance = np.sqrt(squared[image, pair])
        first, second, shift = i[pair], j[pair], nearest[pair] + offsets[image]
        swap = kind[first] > kind[second]
        first, second = np.where(swap, second, first), np.where(swap, first, second)
        shift[swap] *= -1
        block = kind[first] + kind[second]
        order = np.lexsort((distance, block))
        self.first, self.second = first[order], second[order]
        self.shift, self.distance = shift[order], distance[order]
        edges = np.searchsorted(block[order], [0, 1, 2, 3])
        self.blocks = [slice(a, b) for a, b in itertools.pairwise(edges)]
        self.offset = np.ascontiguousarray((self.shift @ cell).T)

    def valid(self, positions: np.ndarray, cell: np.ndarray) -> bool:
        """Whether no pair can have come into the cutoff since the list was built."""
        if positions.shape != self.positions.shape or not np.array_equal(cell, self.cell):
            return False
        moved = positions - self.positions
        return float(np.einsum("ij,ij->i", moved, moved).max()) < (0.5 * self.skin) ** 2

    def within(self, block: int, cutoff: float) -> slice:
        """The pairs of a block that can come closer than `cutoff` while the list is valid."""
        part = self.blocks[block]
        count = np.searchsorted(self.distance[part], cutoff + self.skin)
        return slice(part.start, part.start + int(count))

    def vectors(self, positions: np.ndarray) -> np.ndarray:
        """Vectors from first to second, shape (3, pairs)."""
        columns = np.ascontiguousarray(positions.T)
        return columns[:, self.second] - columns[:, self.first] + self.offset


def _positive(offsets: np.ndarray) -> np.ndarray:
    """One of each pair of opposite lattice vectors: the first non-zero component is positive."""
    a, b, c = offsets.T
    return (a > 0) | ((a == 0) & ((b > 0) | ((b == 0) & (c > 0))))
