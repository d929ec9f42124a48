"""Slabs: crystals in two directions, with vacuum along the third.

The host of a slab is the perfect slab, its vacuum kept: spglib then finds its layer group (as the space group of the
periodic cell), sites of different layers are of different kinds, and so are hops. Nothing diffuses along the normal, so
that diffusion and mobility are tensors of the plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.populations import LAYER
from leopold_model.analysis.sites import Host

VACUUM = 8.0  # Angstrom between atoms along an axis, from which it is vacuum
CRYSTAL = 4.5  # up to which it may be the gap between layers of a crystal; what lies between the two is refused
UPRIGHT = 1e-3  # cosine of the angle between the vector across the vacuum and the plane, above which it is tilted


@dataclass(frozen=True)
class Slab:
    """`axis` of the host lattice that crosses the vacuum; unit vector `normal` (3,), out of the side on which heights
    end; orthonormal `plane` (2, 3), its first row along a lattice vector."""

    host: Host
    axis: int
    normal: np.ndarray
    plane: np.ndarray

    @cached_property
    def layer(self) -> dict[int, int]:
        """Layer of every carrier sublattice of the host: 0 the uppermost, S0, 1 the one below it."""
        own = _heights(self.host, self.axis)[self.host.sites] * (self.host.lattice[self.axis] @ self.normal)
        order = np.argsort(-own, kind="stable")
        number = np.concatenate([[0], np.cumsum(-np.diff(own[order]) > LAYER)])
        return {int(self.host.sites[k]): int(n) for k, n in zip(order, number, strict=True)}


def slab_of(host: Host) -> Slab | None:
    """The slab that a host is; None for a crystal. AnalysisError where the gap is neither of the two, where there are
    several, or where the cell is tilted."""
    gaps = np.array([_gap(host, axis) for axis in range(3)])
    doubtful = np.flatnonzero((gaps > CRYSTAL) & (gaps < VACUUM))
    if len(doubtful):
        raise AnalysisError(
            f"there are {gaps[doubtful[0]]:.1f} A without atoms along lattice vector {'abc'[doubtful[0]]}: too much "
            "for a crystal and too little for a slab, whose images must not feel each other; give "
            f"{VACUUM:g} A of vacuum"
        )
    open_axes = np.flatnonzero(gaps >= VACUUM)
    if not len(open_axes):
        return None
    if len(open_axes) > 1:
        raise AnalysisError("vacuum along more than one lattice vector: a slab is periodic in two directions")
    axis = int(open_axes[0])
    first, second = np.delete(host.lattice, axis, axis=0)
    normal = np.cross(first, second)
    normal *= np.sign(normal @ host.lattice[axis]) / np.linalg.norm(normal)
    cosine = np.abs(np.array([first, second]) @ host.lattice[axis]) / np.linalg.norm(host.lattice[axis])
    if (cosine > UPRIGHT * np.linalg.norm([first, second], axis=1)).any():
        raise AnalysisError(
            f"the slab is tilted: lattice vector {'abc'[axis]} crosses the vacuum and is not along the normal of the "
            "other two; give it along the normal, which changes nothing but the cell"
        )
    x = first / np.linalg.norm(first)
    return Slab(host, axis, normal, np.array([x, np.cross(normal, x)]))


def _heights(host: Host, axis: int) -> np.ndarray:
    """Fractional heights (n,) along a lattice vector, counted from above the widest gap."""
    height = np.sort(host.basis[:, axis] % 1.0)
    steps = np.diff(height, append=height[0] + 1.0)
    bottom = height[(int(np.argmax(steps)) + 1) % len(height)]
    return (host.basis[:, axis] - bottom + 1e-9) % 1.0


def _gap(host: Host, axis: int) -> float:
    """The widest gap (Angstrom) between atoms along the normal of the other two lattice vectors."""
    height = np.sort(host.basis[:, axis] % 1.0)
    period = 1 / np.linalg.norm(np.linalg.inv(host.lattice)[:, axis])
    return float(np.diff(height, append=height[0] + 1.0).max() * period)
