"""Defects of a supercell and the shells of carrier sites around them.

Defects are found, never named: atoms of another element than the host's on their site, and sites without an atom. A
shell is a group of carrier sites at nearly the same distance from a defect of its kind in the perfect crystal, so that
it means the same in every supercell and in every arrangement of several defects.
"""

from __future__ import annotations

import numpy as np

from leopold_model.analysis.sites import TIE, Host, SiteMap

SHELLS = 3  # told apart; carrier sites farther from every defect are `far` and count as the crystal's
GAP = 0.3  # Angstrom between distances, from which they are of different shells
REACH = 12.0  # Angstrom within which shells are looked for


def defect_positions(sites: SiteMap) -> np.ndarray:
    """Ideal positions (d, 3) of all defects, Angstrom: substituted atoms first, then vacancies."""
    return np.concatenate([sites.positions[list(sites.substitutions)], _vacancies(sites)])


def has_defects(sites: SiteMap) -> bool:
    """Whether the supercell differs from the host in any site."""
    return bool(len(sites.substitutions) or len(_vacancies(sites)))


def defect_distances(
    sites: SiteMap, *, across: np.ndarray | None = None, along: np.ndarray | None = None
) -> np.ndarray:
    """Distances (d, n), Angstrom, of the ideal sites of all atoms from every defect, to its nearest image.

    With a Cartesian `across` (3,) only the part of the distance along it: how far the plane of an atom is from that of
    the defect. With `along` (3,) the part perpendicular to it: how far the rows are apart.
    """
    grid = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    cell = sites.matrix @ sites.lattice
    return np.array(
        [_nearest(sites.positions - p, cell, grid, across, along) for p in defect_positions(sites)]
    ).reshape(-1, len(sites.positions))


def _nearest(vectors, cell, grid, across, along) -> np.ndarray:
    fractional = vectors @ np.linalg.inv(cell)
    every = ((fractional - np.rint(fractional))[:, None] + grid) @ cell  # (n, 27, 3)
    if across is not None:
        every = (every @ (across / np.linalg.norm(across)))[..., None]
    if along is not None:
        unit = along / np.linalg.norm(along)
        every = every - (every @ unit)[..., None] * unit
    return np.linalg.norm(every, axis=-1).min(axis=1)


def defect_shells(sites: SiteMap) -> np.ndarray:
    """Shell (n_atoms,) of every atom around its nearest defect: 0 on it, 1 to `SHELLS` outwards, then `SHELLS` + 1.

    Zeros do not occur on carrier sites but where the defect took one.
    """
    shell = np.full(len(sites.sublattice), SHELLS + 1)
    for sublattice, distances in zip(_sublattices(sites), defect_distances(sites), strict=True):
        found = np.searchsorted(shell_radii(sites.host, sublattice), distances) + 1
        shell = np.minimum(shell, np.where(distances < TIE, 0, found))
    return shell


def shell_radii(host: Host, sublattice: int) -> np.ndarray:
    """Outer radii (SHELLS,), Angstrom, of the shells of carrier sites around a defect on that site of the host."""
    heights = 1 / np.linalg.norm(np.linalg.inv(host.lattice), axis=0)
    reach = np.ceil(REACH / heights).astype(int) + 1
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), axis=-1).reshape(-1, 1, 3)
    vectors = (host.basis[host.sites] - host.basis[sublattice] + grid).reshape(-1, 3) @ host.lattice
    distances = np.unique(np.linalg.norm(vectors, axis=1))
    distances = distances[(distances > TIE) & (distances < REACH)]
    ends = np.flatnonzero(np.diff(distances) > GAP)[:SHELLS]
    # a host without such gaps has its remaining sites in the last shell
    radii = (distances[ends] + distances[ends + 1]) / 2
    return np.append(radii, np.full(SHELLS - len(radii), REACH))


def with_shells(name: str, first: int, second: int) -> str:
    """The class `name` of a hop between sites of these shells, like `Ti-Ti 2.96 A [001] x2 @1-2` or `... @3-far`. A
    class holds both directions, so the nearer shell stands first; hops between far sites are the crystal's own."""
    near, other = sorted((int(first), int(second)))
    if near > SHELLS:
        return name
    return f"{name} @{near}-{'far' if other > SHELLS else other}"


def without_shells(name: str) -> str:
    """The class of the perfect crystal behind a name of `with_shells`."""
    return name.partition(" @")[0]


def _vacancies(sites: SiteMap) -> np.ndarray:
    if sites.vacancies is None:
        return np.zeros((0, 3))
    return sites.vacancies @ sites.matrix @ sites.lattice


def _sublattices(sites: SiteMap) -> list[int]:
    """Index into the host's basis of every defect, in the order of `defect_positions`."""
    empty = []
    for position in _vacancies(sites):
        offset = position @ np.linalg.inv(sites.lattice) - sites.host.basis
        empty.append(int(np.argmin(np.linalg.norm((offset - np.rint(offset)) @ sites.lattice, axis=1))))
    return [*(int(sites.sublattice[k]) for k in sites.substitutions), *empty]
