"""Periodic pair lists: every image inside the cutoff, so a cell may be smaller than the cutoff.

A model trained on one image of each pair (`images` "nearest", a published one) is served such lists instead.

Words: a *pair* is an unordered couple of atoms (one of them possibly an image) closer than the cutoff, listed once; an
atom pairs with its own images too. Each pair is one row of `Edges`; the network sends a message both ways along it.
Lists are padded to a capacity so that compiled code keeps its shapes; padded rows have `mask` False.
"""

from __future__ import annotations

import jax
import numpy as np
from flax import struct
from vesin import NeighborList


class NeighbourOverflow(ValueError):
    """More pairs than the capacity holds; `needed` is the number found."""

    def __init__(self, needed: int, capacity: int):
        super().__init__(f"{needed} pairs do not fit a list of capacity {capacity}: make it larger")
        self.needed = needed


@struct.dataclass
class Edges:
    """Pairs of one structure; `P` rows, each pair once.

    `senders`, `receivers` (P,) int32 atom indices; `shifts` (P, 3) int32 lattice translations of the receiver's image;
    `mask` (P,) bool, False on padding.
    """

    senders: jax.Array | np.ndarray
    receivers: jax.Array | np.ndarray
    shifts: jax.Array | np.ndarray
    mask: jax.Array | np.ndarray

    @property
    def capacity(self) -> int:
        return self.senders.shape[0]


def neighbours(positions, cell, pbc, cutoff: float, capacity: int | None = None, images: str = "all") -> Edges:
    """All pairs closer than `cutoff` (Angstrom); padded to `capacity` rows when one is given.

    `positions` (n, 3), `cell` (3, 3), `pbc` (3,) bool; `images` "all", or "nearest" for one image of each pair (see
    `is_nearest`), which needs a cell periodic along all three vectors. Raises NeighbourOverflow when `capacity` is too
    small, ValueError for a cell without volume along a periodic direction or positions that are not finite.
    """
    positions, cell = np.asarray(positions, dtype=float), np.asarray(cell, dtype=float)
    periodic = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,))
    if not np.isfinite(positions).all():
        raise ValueError("positions hold NaN or infinity: no pair list can be made of them")
    if periodic.any() and abs(np.linalg.det(_completed(cell, periodic))) < 1e-8:
        raise ValueError(f"cell {cell.tolist()} has no volume: give three independent vectors, in Angstrom")
    finder = NeighborList(cutoff=float(cutoff), full_list=False)
    i, j, shifts = finder.compute(points=positions, box=cell, periodic=periodic, quantities="ijS")
    if images == "nearest":
        near = is_nearest(positions[j] - positions[i] + shifts @ cell, np.linalg.inv(cell))
        i, j, shifts = i[near], j[near], shifts[near]
    found = len(i)
    size = found if capacity is None else capacity
    if found > size:
        raise NeighbourOverflow(found, size)

    def padded(array):
        return np.concatenate([array, np.zeros((size - found, *array.shape[1:]))]).astype(np.int32)

    return Edges(padded(i), padded(j), padded(shifts), np.arange(size) < found)


def edge_vectors(positions, cell, edges: Edges):
    """Receiver minus sender with its image, (P, 3) Angstrom; works on numpy and jax arrays, differentiable."""
    return positions[edges.receivers] - positions[edges.senders] + edges.shifts.astype(positions.dtype) @ cell


def is_nearest(vectors, inverse_cell):
    """Which pair vectors (P, 3) are the one of their pair with fractional coordinates in [-1/2, 1/2); (P,) bool.

    That is the image published codes keep: the nearest one in an orthorhombic cell. Works on numpy and jax arrays.
    """
    fractional = vectors @ inverse_cell
    return ((fractional >= -0.5) & (fractional < 0.5)).all(axis=1)


def _completed(cell: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    # along open directions the cell vector may be zero; any independent vector serves the volume check
    return np.where(periodic[:, None], cell, np.eye(3))
