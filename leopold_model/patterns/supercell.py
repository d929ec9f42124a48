"""Supercells of a lattice: sites by index, translations, symmetry, and the canonical key of a configuration.

Site s is site s % b of cell s // b, for b sites per parent cell. Cells are the integer points of the parent inside the
Hermite normal form of the supercell matrix, so any integer matrix is wrapped by the same three divisions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from leopold_model.patterns import PatternError
from leopold_model.patterns.lattice import Lattice

MAX_CELLS = 10**8  # in a supercell: more is a mistake, or a damaged file


@dataclass(frozen=True)
class Supercell:
    """`matrix` (3, 3) integer: rows are the supercell's vectors in parent lattice vectors; (3,) is read as repeats."""

    lattice: Lattice
    matrix: np.ndarray

    def __post_init__(self):
        matrix = np.asarray(self.matrix)
        matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
        if matrix.shape != (3, 3) or not np.array_equal(matrix, np.rint(matrix)):
            raise PatternError(f"supercell matrix {matrix.tolist()}: expected three integers or a 3x3 integer matrix")
        if not np.abs(matrix).max() <= MAX_CELLS or abs(np.linalg.det(matrix)) > MAX_CELLS:
            raise PatternError(f"supercell matrix {matrix.tolist()}: more than {MAX_CELLS:.0e} parent cells")
        if not round(abs(np.linalg.det(matrix))):
            raise PatternError(f"supercell matrix {matrix.tolist()} has determinant 0: its rows must be independent")
        for axis in np.flatnonzero(~self.lattice.pbc):
            unit = np.eye(3)[axis]
            if not (np.array_equal(matrix[axis], unit) and np.array_equal(matrix[:, axis], unit)):
                raise PatternError(
                    f"supercell matrix {matrix.tolist()}: axis {axis} of {self.lattice.name} is not periodic, repeat 1"
                )
        object.__setattr__(self, "matrix", matrix.astype(int))

    @cached_property
    def hermite(self) -> np.ndarray:
        """(3, 3) upper triangular basis of the same superlattice, positive diagonal, entries above it reduced."""
        h = self.matrix.copy()
        for i in range(3):
            while np.count_nonzero(h[i:, i]) > 1 or h[i, i] == 0:  # Euclid on the column
                rows = i + np.flatnonzero(h[i:, i])
                pivot = rows[np.argmin(np.abs(h[rows, i]))]
                h[[i, pivot]] = h[[pivot, i]]
                for r in range(i + 1, 3):
                    h[r] -= (h[r, i] // h[i, i]) * h[i]
            h[i] *= np.sign(h[i, i])
            for r in range(i):
                h[r] -= (h[r, i] // h[i, i]) * h[i]
        return h

    @property
    def n_cells(self) -> int:
        """Parent cells in it."""
        return int(np.prod(np.diag(self.hermite)))

    @property
    def n_sites(self) -> int:
        """Sites in it."""
        return self.n_cells * self.lattice.n_sites

    @cached_property
    def cells(self) -> np.ndarray:
        """(n_cells, 3) integer coordinates of the parent cells, in the order of their index."""
        return np.stack(np.unravel_index(np.arange(self.n_cells), np.diag(self.hermite)), axis=1)

    def wrap(self, cells: np.ndarray) -> np.ndarray:
        """Index (...) of the cell that integer coordinates (..., 3) fall on."""
        n = np.array(cells, dtype=int)
        for i in range(3):
            n = n - (n[..., i] // self.hermite[i, i])[..., None] * self.hermite[i]
        d = np.diag(self.hermite)
        return (n[..., 0] * d[1] + n[..., 1]) * d[2] + n[..., 2]

    @property
    def vectors(self) -> np.ndarray:
        """(3, 3) vectors of the supercell, Angstrom, as the matrix was given."""
        return self.matrix @ self.lattice.cell

    @property
    def basis(self) -> np.ndarray:
        """(n_sites,) which site of the parent each one is."""
        return np.tile(np.arange(self.lattice.n_sites), self.n_cells)

    @cached_property
    def labels(self) -> np.ndarray:
        """(n_sites,) label of each site."""
        return np.array(self.lattice.site_labels)[self.basis]

    @cached_property
    def positions(self) -> np.ndarray:
        """(n_sites, 3) ideal positions, Angstrom."""
        fractional = self.cells[:, None] + self.lattice.site_positions[None]
        return fractional.reshape(-1, 3) @ self.lattice.cell

    @cached_property
    def moves(self) -> list[np.ndarray]:
        """Where each symmetry operation of the parent that keeps the supercell takes the sites, (n_sites,) each."""
        kept = []
        for operation in self.lattice.operations:
            if self.wrap(self.matrix @ operation.rotation.T).any():
                continue
            cells = (self.cells @ operation.rotation.T)[:, None] + operation.shift[None]
            kept.append((self.wrap(cells) * self.lattice.n_sites + operation.to).ravel())
        return kept

    def translation(self, cell: np.ndarray) -> np.ndarray:
        """(n_sites,) where a translation by integer coordinates (3,) takes the sites."""
        shifted = self.wrap(self.cells + np.asarray(cell)) * self.lattice.n_sites
        return (shifted[:, None] + np.arange(self.lattice.n_sites)).ravel()

    @cached_property
    def _sources(self) -> np.ndarray:
        """(g, n_sites) for every operation times translation, the site whose occupation each site takes over."""
        translations = [self.translation(cell) for cell in self.cells]
        moved = np.array([t[m] for m in self.moves for t in translations], dtype=np.int32)
        return np.argsort(moved, axis=1).astype(np.int32)

    def images(self, occupations: np.ndarray) -> np.ndarray:
        """(g, n_sites) the configuration (n_sites,) under every symmetry operation and translation of the supercell."""
        return self.check(occupations)[self._sources]

    def canonical(self, occupations: np.ndarray) -> np.ndarray:
        """(n_sites,) the lexicographically smallest image: the same for all equivalent configurations."""
        images = np.ascontiguousarray(self.images(occupations))
        return images[min(range(len(images)), key=lambda k: images[k].tobytes())]

    def without_carriers(self, occupations: np.ndarray) -> np.ndarray:
        """Configurations (..., n_sites) without their carriers: the pattern of vacancies, dopants and adatoms."""
        species = self.lattice.species
        keep = np.array([0, *(0 if s.kind == "carrier" else k + 1 for k, s in enumerate(species))], dtype=np.int8)
        return keep[np.asarray(occupations)]

    def aligned(self, occupations: np.ndarray) -> np.ndarray:
        """(n_sites,) the image whose pattern without carriers is in its canonical setting, the smallest of those: what
        relaxes once for a pattern then serves all configurations that have it."""
        images = np.ascontiguousarray(self.images(occupations))
        bare = np.ascontiguousarray(self.without_carriers(images))
        return images[min(range(len(images)), key=lambda k: (bare[k].tobytes(), images[k].tobytes()))]

    def key(self, occupations: np.ndarray) -> str:
        """Hash of the supercell and the canonical image: equal exactly for symmetry-equivalent configurations."""
        text = self.hermite.astype("<i8").tobytes() + self.canonical(occupations).tobytes()
        return hashlib.sha256(text).hexdigest()[:20]

    def degeneracy(self, occupations: np.ndarray) -> int:
        """How many different configurations are symmetry-equivalent to this one, itself included."""
        return len({row.tobytes() for row in np.ascontiguousarray(self.images(occupations))})

    def check(self, occupations: np.ndarray) -> np.ndarray:
        """`occupations` as (n_sites,) int8, refused if a site holds what it cannot."""
        found = np.asarray(occupations)
        if found.shape != (self.n_sites,):
            raise PatternError(f"occupations have shape {found.shape}: this supercell has {self.n_sites} sites")
        if not np.array_equal(found, found.astype(np.int8)):
            raise PatternError("occupations: expected small integers, 0 for the host or the number of a species")
        found = found.astype(np.int8)
        known = (found >= 0) & (found <= len(self.lattice.species))
        bad = np.flatnonzero(~known | ~self.lattice.can_hold[self.basis, np.where(known, found, 0)])
        if len(bad):
            label = self.labels[bad[0]]
            raise PatternError(
                f"occupations: site {bad[0]} ({label}) holds {found[bad[0]]}: "
                f"it may be 0 (host) or that of {', '.join(self.lattice.allowed[label])}"
            )
        return found
