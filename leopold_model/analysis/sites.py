"""Ideal lattice sites: the primitive host crystal, and which of its sites each supercell atom is.

A site is (sublattice, integer cell): atom `sublattice` of the primitive host in the cell at integer coordinates
`cell`. Every atom is mapped once, by index, so that a carrier's path is a sum of exact lattice vectors, free of
vibrations and of drift. The supercell must have the orientation of the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import spglib
from ase.data import chemical_symbols
from scipy.spatial import cKDTree

from leopold_model.analysis import AnalysisError

TIE = 1e-3  # Angstrom: two periodic images closer in length than this are equally short


@dataclass(frozen=True)
class Host:
    """The perfect crystal without carrier: `lattice` (3, 3) rows in Angstrom, `basis` (n, 3) fractional, `numbers`
    (n,), collinear `moments` (n,) in mu_B or None, and the `species` whose sites the carrier may occupy."""

    lattice: np.ndarray
    basis: np.ndarray
    numbers: np.ndarray
    species: str
    moments: np.ndarray | None = None
    symprec: float = 1e-3

    @cached_property
    def sites(self) -> np.ndarray:
        """Indices into `basis` of the sites a carrier may occupy."""
        return np.flatnonzero(self.numbers == chemical_symbols.index(self.species))

    @property
    def _cell(self) -> Any:
        return self.lattice, self.basis, self.numbers

    @cached_property
    def _dataset(self) -> Any:
        """Symmetry of the chemical structure, moments ignored."""
        return spglib.get_symmetry_dataset(self._cell, symprec=self.symprec)

    @cached_property
    def symmetry(self) -> dict:
        """`rotations` (o, 3, 3) and `translations` (o, 3) in fractional coordinates: the magnetic group with moments
        (time reversal included), the space group without."""
        if self.moments is None or not np.any(self.moments):
            found = spglib.get_symmetry(self._cell, symprec=self.symprec)
        else:
            magnetic: Any = (*self._cell, self.moments)
            found = spglib.get_magnetic_symmetry(magnetic, symprec=self.symprec, mag_symprec=0.1)
        if found is None:
            raise AnalysisError(f"no symmetry found in the host at symprec = {self.symprec} A: check its structure")
        return {"rotations": found["rotations"], "translations": found["translations"]}

    @cached_property
    def conventional(self) -> np.ndarray:
        """(3, 3) matrix from fractional coordinates of the primitive lattice to those along the conventional axes of
        the crystal (moments ignored), in which directions are printed."""
        return np.asarray(self._dataset.transformation_matrix)

    @cached_property
    def space_group(self) -> str:
        """Space group of the chemical structure, like `Fm-3m (225)`."""
        return f"{self._dataset.international} ({self._dataset.number})"

    @cached_property
    def point_group(self) -> np.ndarray:
        """Cartesian rotations (o, 3, 3) of the host's group."""
        to_cartesian = self.lattice.T
        return np.array([to_cartesian @ r @ np.linalg.inv(to_cartesian) for r in self.symmetry["rotations"]])

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {
            "lattice": self.lattice.tolist(),
            "basis": self.basis.tolist(),
            "numbers": self.numbers.tolist(),
            "species": self.species,
            "moments": None if self.moments is None else self.moments.tolist(),
            "symprec": self.symprec,
        }

    @classmethod
    def from_dict(cls, data: dict) -> Host:
        """Inverse of `to_dict`."""
        moments = data["moments"]
        return cls(
            np.array(data["lattice"]),
            np.array(data["basis"]),
            np.array(data["numbers"], dtype=int),
            data["species"],
            None if moments is None else np.array(moments),
            data["symprec"],
        )


def host_from_structure(
    numbers: np.ndarray,
    positions: np.ndarray,
    cell: np.ndarray,
    *,
    sublattice: str,
    moments: np.ndarray | None = None,
    symprec: float = 1e-3,
) -> Host:
    """The primitive host behind a perfect unit cell or supercell, in the orientation given.

    `numbers` (n,), `positions` (n, 3) and `cell` (3, 3) in Angstrom, `sublattice` the symbol of the carrier's
    species, collinear host `moments` (n,) in mu_B or None. `symprec` (Angstrom) is how far atoms may lie from their
    ideal sites; with a value of some tenths a thermally averaged structure is symmetrised. Without carrier, always.
    """
    numbers, cell = np.asarray(numbers, dtype=int), np.asarray(cell, dtype=float)
    if sublattice not in chemical_symbols or chemical_symbols.index(sublattice) not in numbers:
        present = ", ".join(sorted({chemical_symbols[z] for z in numbers}))
        raise AnalysisError(f"carrier species {sublattice!r} is not in the host: choose one of {present}")
    kinds, representatives = _kinds(numbers, moments)
    structure: Any = (cell, np.asarray(positions) @ np.linalg.inv(cell), kinds)
    found = spglib.get_symmetry_dataset(structure, symprec=symprec)
    if found is None:
        raise AnalysisError(f"no crystal symmetry found at symprec = {symprec} A: give the perfect host structure")
    # spglib turns the idealised crystal into its standard orientation: turn it back
    standard: Any = (found.std_lattice @ found.std_rotation_matrix, found.std_positions, found.std_types)
    primitive: Any = spglib.standardize_cell(standard, to_primitive=True, no_idealize=True, symprec=1e-4)
    lattice, basis, kinds = primitive
    return Host(
        lattice=lattice,
        basis=basis,
        numbers=np.array([representatives[k][0] for k in kinds]),
        species=sublattice,
        moments=None if moments is None else np.array([representatives[k][1] for k in kinds]),
        symprec=1e-3,
    )


def host_from_dynamics(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, *, sublattice: str, tolerance: float = 0.5
) -> Host:
    """The non-magnetic host behind a thermally averaged (or single) structure of a supercell, carrier included.

    The structure is averaged over every translation that maps it onto itself within `tolerance` (Angstrom, root mean
    square), then symmetrised. An error if there is none: then the perfect crystal has to be given.
    """
    numbers, cell = np.asarray(numbers, dtype=int), np.asarray(cell, dtype=float)
    fractional = np.asarray(positions) @ np.linalg.inv(cell)
    species, counts = np.unique(numbers, return_counts=True)
    rarest = np.flatnonzero(numbers == species[np.argmin(counts)])
    moved = [_translated(numbers, fractional, cell, fractional[rarest[0]] - fractional[k], tolerance) for k in rarest]
    copies = [copy for copy in moved if copy is not None]
    if len(copies) < 2:  # the first is the structure itself
        raise AnalysisError(
            "the structures of the run are too far from a perfect crystal to tell its symmetry: give the host structure"
        )
    mean = np.mean(copies, axis=0) @ cell
    return host_from_structure(numbers, mean, cell, sublattice=sublattice, symprec=0.2)


def _translated(numbers, fractional, cell, translation, tolerance: float) -> np.ndarray | None:
    """The structure (n, 3) translated, its atoms renamed and folded so that each lies nearest to the one it replaces;
    None if that is no permutation within the tolerance. Over a permutation the offsets average to nothing: so does
    the result, which makes the translation exact."""
    lengths = np.linalg.norm(cell, axis=1)
    offset = np.zeros_like(fractional)
    for number in np.unique(numbers):
        atoms = np.flatnonzero(numbers == number)
        moved = (fractional[atoms] + translation) % 1.0 % 1.0
        nearest = cKDTree(moved * lengths, boxsize=lengths).query(fractional[atoms] % 1.0 % 1.0 * lengths)[1]
        if len(set(nearest)) < len(atoms):
            return None
        offset[atoms] = moved[nearest] - fractional[atoms]
    offset -= np.rint(offset)
    offset -= offset.mean(axis=0)
    return fractional + offset if np.sqrt(np.mean(np.sum((offset @ cell) ** 2, axis=1))) < tolerance else None


def _kinds(numbers: np.ndarray, moments: np.ndarray | None) -> tuple[np.ndarray, dict[int, tuple[int, float]]]:
    """Atoms of one element and one moment (within 0.1 mu_B) are of one kind: (n,) kinds, kind -> (number, moment)."""
    moments = np.zeros(len(numbers)) if moments is None else np.asarray(moments, dtype=float)
    if moments.shape != numbers.shape:
        raise AnalysisError(f"host moments have shape {moments.shape} for {len(numbers)} atoms: give one per atom")
    kinds = np.zeros(len(numbers), dtype=int)
    representatives: dict[int, tuple[int, float]] = {}
    for number in np.unique(numbers):
        atoms = np.flatnonzero(numbers == number)
        atoms = atoms[np.argsort(moments[atoms], kind="stable")]
        for group in np.split(atoms, np.flatnonzero(np.diff(moments[atoms]) > 0.1) + 1):
            kinds[group] = kind = len(representatives) + 1
            representatives[kind] = (int(number), float(moments[group].mean()))
    return kinds, representatives


@dataclass(frozen=True)
class SiteMap:
    """Which host site each of n supercell atoms is.

    `matrix` (3, 3) integers: supercell vectors = matrix @ host lattice. `sublattice` (n,) index into the host's
    basis, `cell` (n, 3) integers, `displacement` (n, 3) Angstrom from the ideal site. `substitutions` are atoms of
    another element than the host's on their site, `vacancies` (v, 3) the fractional supercell coordinates of empty
    sites. `lattice` (3, 3) is the host lattice as strained to the supercell.
    """

    host: Host
    matrix: np.ndarray
    lattice: np.ndarray
    sublattice: np.ndarray
    cell: np.ndarray
    displacement: np.ndarray
    substitutions: tuple[int, ...] = ()
    vacancies: np.ndarray | None = None

    @cached_property
    def positions(self) -> np.ndarray:
        """Ideal positions (n, 3) of the atoms' sites, Angstrom, in the host's origin."""
        return (self.host.basis[self.sublattice] + self.cell) @ self.lattice

    @cached_property
    def carrier_atoms(self) -> np.ndarray:
        """Atoms a carrier may occupy: of the host's carrier species, on its sites."""
        allowed = np.isin(self.sublattice, self.host.sites)
        allowed[list(self.substitutions)] = False
        return np.flatnonzero(allowed)

    @cached_property
    def _images(self) -> np.ndarray:
        grid = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        return grid @ self.matrix  # in units of the host lattice

    def shortest(self, i: int, j: int) -> np.ndarray:
        """Host-lattice translations R (k, 3) of the k equally short hops from atom i to atom j, shortest image; k > 1
        means the image is ambiguous (the distance is half the cell). The vector is (b_j - b_i + R) @ lattice."""
        translations = self.cell[j] - self.cell[i] + self._images
        step = self.host.basis[self.sublattice[j]] - self.host.basis[self.sublattice[i]]
        lengths = np.linalg.norm((step + translations) @ self.lattice, axis=1)
        if i == j:
            lengths[np.all(translations == 0, axis=1)] = np.inf
        return translations[lengths < lengths.min() + TIE]

    def distance(self, i: int, j: int) -> float:
        """Shortest distance between the ideal sites of atoms i and j, Angstrom; 0 for i = j."""
        if i == j:
            return 0.0
        step = self.host.basis[self.sublattice[j]] - self.host.basis[self.sublattice[i]]
        return float(np.linalg.norm((step + self.shortest(i, j)[0]) @ self.lattice))


def map_sites(
    host: Host, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, *, tolerance: float = 0.9
) -> SiteMap:
    """Map every supercell atom to its host site by nearest ideal site, after the best common shift.

    `numbers` (n,), `positions` (n, 3), `cell` (3, 3) of a supercell in the host's orientation, perfect or not:
    substituted atoms and vacancies are found. No atom may lie more than `tolerance` (Angstrom) from its site.
    """
    numbers, positions = np.asarray(numbers, dtype=int), np.asarray(positions, dtype=float)
    exact = np.asarray(cell, dtype=float) @ np.linalg.inv(host.lattice)
    matrix = np.rint(exact).astype(int)
    if round(abs(np.linalg.det(matrix))) == 0 or np.abs(exact - matrix).max() > 0.15:
        raise AnalysisError(
            f"the cell is not a supercell of the host: in host lattice vectors it is\n{np.round(exact, 3)}\n"
            "give the host in the supercell's orientation, with matching lattice constants"
        )
    lattice = np.linalg.inv(matrix) @ cell
    fractional = positions @ np.linalg.inv(lattice)
    sublattice, cells, shift = _align(host, numbers, fractional, lattice)
    displacement = (fractional + shift - host.basis[sublattice] - cells) @ lattice
    furthest = int(np.argmax(np.linalg.norm(displacement, axis=1)))
    if np.linalg.norm(displacement[furthest]) > tolerance:
        raise AnalysisError(
            f"atom {furthest} lies {np.linalg.norm(displacement[furthest]):.2f} A from the nearest host site (limit "
            f"{tolerance} A): map the sites from the perfect or the relaxed structure, not from a molten one"
        )
    # one key per site of the supercell
    inside = np.floor((cells @ np.linalg.inv(matrix)) + 1e-6).astype(int)
    folded = cells - inside @ matrix
    keys = [tuple(row) for row in np.column_stack([sublattice, folded])]
    if len(set(keys)) < len(keys):
        seen: dict = {}
        for atom, key in enumerate(keys):
            if key in seen:
                raise AnalysisError(
                    f"atoms {seen[key]} and {atom} fall on one host site: an interstitial or a diffused atom; "
                    "map the sites from the perfect structure"
                )
            seen[key] = atom
    return SiteMap(
        host=host,
        matrix=matrix,
        lattice=lattice,
        sublattice=sublattice,
        cell=cells,
        displacement=displacement,
        substitutions=tuple(int(i) for i in np.flatnonzero(host.numbers[sublattice] != numbers)),
        vacancies=_vacancies(host, matrix, keys),
    )


def _align(host, numbers, fractional, lattice):
    """The common shift (in fractional coordinates) under which most atoms fall on a site of their element,
    closest."""
    in_host = [z for z in np.unique(host.numbers) if z in numbers]
    if not in_host:
        raise AnalysisError("no element of the supercell is in the host: wrong host structure")
    rarest = min(in_host, key=lambda z: int(np.sum(host.numbers == z)))
    anchor = fractional[np.flatnonzero(numbers == rarest)[0]]
    best = None
    for candidate in host.basis[host.numbers == rarest] - anchor:
        shift = candidate
        for _ in range(3):  # the anchor may be displaced: refine by the mean
            sublattice, cells, offset = _nearest(host, fractional + shift, lattice)
            shift = shift - offset.mean(axis=0)
        sublattice, cells, offset = _nearest(host, fractional + shift, lattice)
        score = (np.sum(host.numbers[sublattice] == numbers), -np.sum((offset @ lattice) ** 2))
        if best is None or score > best[0]:
            best = (score, sublattice, cells, shift)
    return best[1:]


def _nearest(host, fractional, lattice):
    offset = fractional[:, None] - host.basis[None]
    cells = np.rint(offset).astype(int)
    offset = offset - cells
    sublattice = np.argmin(np.linalg.norm(offset @ lattice, axis=-1), axis=1)
    rows = np.arange(len(fractional))
    return sublattice, cells[rows, sublattice], offset[rows, sublattice]


def _vacancies(host, matrix, keys) -> np.ndarray:
    n_cells = round(abs(np.linalg.det(matrix)))
    if len(keys) == n_cells * len(host.numbers):
        return np.zeros((0, 3))
    span = np.abs(matrix).sum(axis=0)
    grid = np.stack(np.meshgrid(*[np.arange(-s, s + 1) for s in span], indexing="ij"), axis=-1).reshape(-1, 3)
    inside = np.floor(grid @ np.linalg.inv(matrix) + 1e-6).astype(int)
    cells = np.unique(grid - inside @ matrix, axis=0)
    taken = set(keys)
    empty = [(s, *c) for s in range(len(host.numbers)) for c in cells if (s, *c) not in taken]
    return np.array([(host.basis[s] + np.array(c)) @ np.linalg.inv(matrix) for s, *c in empty]).reshape(-1, 3)
