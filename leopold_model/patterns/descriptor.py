"""What a defect sees around it, as numbers: a linear map from the occupation of the sites near it to features.

A *slot* is a site relative to a defect: a parent site and an integer cell offset. A descriptor lists the slots of one
representative site per symmetry orbit and the weight of every species in every slot in every feature. Three kinds:

`grid`  the paper's: every site label and species has its own density on a grid of half the parent vectors; eight times
        u += 0.1 Laplacian(u) (5-point, periodic) smears it, the defect itself included; the features are u on the grid
        points of that label in a window around the corner of the defect's cell (on TiO2(110), 6 and 4 half units:
        35 + 30 + 28 = 93 of them). For sites on half-integer coordinates only.
`free`  one feature per slot and species within a cutoff: any lattice, every direction apart.
`shell` slots that the site's symmetry exchanges share a feature: fewer numbers, no directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from leopold_model.config import _Section
from leopold_model.patterns import PatternError
from leopold_model.patterns.lattice import NEAR, Lattice, Operation
from leopold_model.patterns.supercell import Supercell

_Steps = Annotated[int, Field(ge=0, le=40)]
SMEARING = 0.1
ITERATIONS = 8


class DescriptorConfig(_Section):
    """Which descriptor: `window` (grid) in half parent vectors along each axis, `cutoff` (free, shell) in Angstrom."""

    kind: Literal["grid", "free", "shell"] = "grid"
    window: tuple[_Steps, _Steps, _Steps] = (6, 4, 4)
    cutoff: float = Field(9.0, gt=0, le=50)


@dataclass(frozen=True)
class Surroundings:
    """Slots of one representative site: `basis` (k,) and `cells` (k, 3), and `weights` (k, s, f): what one of species
    s + 1 in slot k adds to feature f."""

    basis: np.ndarray
    cells: np.ndarray
    weights: np.ndarray

    @property
    def n_features(self) -> int:
        """Length of the descriptor."""
        return self.weights.shape[2]


@dataclass(frozen=True)
class Descriptor:
    """The descriptor of every site of a lattice."""

    lattice: Lattice
    config: DescriptorConfig

    @cached_property
    def types(self) -> list[tuple[int, int]]:
        """(representative site, occupation number) of every type of defect; each has a network of its own."""
        allowed = self.lattice.can_hold
        return [
            (int(b), s)
            for b in np.unique(self.lattice.orbits)
            for s in range(1, allowed.shape[1])
            if allowed[b, s]
        ]  # fmt: skip

    def type_name(self, t: int) -> str:
        """Such as `S0A polaron`."""
        b, s = self.types[t]
        return f"{self.lattice.site_labels[b]} {self.lattice.species[s - 1].name}"

    @cached_property
    def surroundings(self) -> dict[int, Surroundings]:
        """Of each representative site."""
        make = {"grid": _grid, "free": _free, "shell": _shell}[self.config.kind]
        return {int(b): make(self.lattice, int(b), self.config) for b in np.unique(self.lattice.orbits)}

    def images(self, b: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For every operation that takes site b to its representative: basis (k,) and cell offsets (k, 3) from b of
        what lands in the representative's slots, and their weights (k, s, f)."""
        around = self.surroundings[int(self.lattice.orbits[b])]
        for operation in self.lattice.operations:
            if operation.to[b] == self.lattice.orbits[b]:
                yield *_backwards(operation, b, around), around.weights

    def check(self, supercell: Supercell) -> None:
        """Refuse a supercell in which a defect sees its own periodic image inside the window."""
        pbc = self.lattice.pbc
        steps = [range(-3, 4) if p else (0,) for p in pbc]
        vectors = np.array([n for n in product(*steps) if any(n)]) @ supercell.matrix
        if self.config.kind == "grid":
            reach = np.array(self.config.window) / 2
            inside = (np.abs(vectors[:, pbc]) < reach[pbc]).all(axis=1)
            size = f"{' x '.join(f'{w / 2:g}' for w, p in zip(self.config.window, pbc, strict=True) if p)} parent cells"
        else:
            inside = np.linalg.norm(vectors @ self.lattice.cell, axis=1) < self.config.cutoff - 1e-6
            size = f"{self.config.cutoff:g} A"
        if inside.any():
            raise PatternError(
                f"supercell {supercell.matrix.tolist()} is too small: it repeats within the reach of the descriptor "
                f"({size} to each side); take a larger supercell or a shorter window"
            )

    def cell_weights(self, supercell: Supercell) -> dict[int, np.ndarray]:
        """For every parent site b, (g, n_sites, s, f): the weights on the sites of a supercell for b in cell 0; slots
        that fall on one site add up."""
        found = {}
        for b in range(self.lattice.n_sites):
            maps = []
            for basis, cells, weights in self.images(b):
                table = np.zeros((supercell.n_sites, *weights.shape[1:]))
                np.add.at(table, supercell.wrap(cells) * self.lattice.n_sites + basis, weights)
                maps.append(table)
            found[b] = np.array(maps)
        return found

    def features(self, supercell: Supercell, occupations: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per type, of configurations (n, n_sites): the configuration (r,) each defect of that type belongs to, and its
        descriptor under every operation of the site (r, g, f)."""
        self.check(supercell)
        weights = self.cell_weights(supercell)
        n_basis, n_species = self.lattice.n_sites, len(self.lattice.species)
        # site of cell c seen from cell 0
        seen = np.array([supercell.translation(cell) for cell in supercell.cells])
        found = []
        for orbit, s in self.types:
            rows, values = [], []
            for b in np.flatnonzero(self.lattice.orbits == orbit):
                which, cell = np.nonzero(occupations[:, b::n_basis] == s)
                table = weights[int(b)].reshape(len(weights[int(b)]), supercell.n_sites * n_species, -1)
                made = np.zeros((len(which), len(table), table.shape[-1]))
                for start in range(0, len(which), 20_000):
                    part = slice(start, start + 20_000)
                    around = occupations[which[part, None], seen[cell[part]]]
                    there = (around[..., None] == np.arange(1, n_species + 1)).reshape(len(around), -1).astype(float)
                    made[part] = np.stack([there @ image for image in table], axis=1)
                rows.append(which)
                values.append(made)
            order = np.argsort(np.concatenate(rows), kind="stable")
            found.append((np.concatenate(rows)[order], np.concatenate(values)[order]))
        return found


def _backwards(operation: Operation, b: int, around: Surroundings) -> tuple[np.ndarray, np.ndarray]:
    """The slots of the representative, taken back to the frame of b in cell 0."""
    inverse = np.argsort(operation.to)
    basis = inverse[around.basis]
    cells = (operation.shift[b] + around.cells - operation.shift[basis]) @ np.linalg.inv(operation.rotation).T
    return basis, np.rint(cells).astype(int)


def _kernel(n_axes: int) -> np.ndarray:
    """A point density after smearing, on a box of 2 ITERATIONS + 1 grid points along each axis."""
    u = np.zeros((2 * ITERATIONS + 3,) * n_axes)
    u[(ITERATIONS + 1,) * n_axes] = 1.0
    for _ in range(ITERATIONS):
        neighbours = [np.roll(u, step, axis) for axis in range(n_axes) for step in (1, -1)]
        u = u + SMEARING * (sum(neighbours) - 2 * n_axes * u)
    return u[(slice(1, -1),) * n_axes]


def _grid(lattice: Lattice, b: int, config: DescriptorConfig) -> Surroundings:
    axes = np.flatnonzero(lattice.pbc)
    half = 2 * lattice.site_positions[:, axes]
    if np.abs(half - np.rint(half)).max() > 2 * NEAR:
        off = int(np.abs(half - np.rint(half)).max(axis=1).argmax())
        raise PatternError(
            f"descriptor.kind = 'grid': site {off} ({lattice.site_labels[off]}) of {lattice.name} lies at "
            f"{np.round(lattice.site_positions[off], 3).tolist()}, not on a grid of half the parent vectors: "
            "choose 'free'"
        )
    kernel, window = _kernel(len(axes)), np.array(config.window)[axes]
    reach = window + ITERATIONS
    own = np.rint(half).astype(int)
    basis, cells, blocks, n_species = [], [], [], len(lattice.species)
    for c in range(lattice.n_sites):  # the label whose density it is
        points = np.array(list(product(*(range(-r, r + 1) for r in reach))))
        points = points[((points - own[c]) % 2 == 0).all(axis=1)]
        inside = points[(np.abs(points) <= window).all(axis=1)]
        difference = points[:, None] - inside[None]
        near = (np.abs(difference) <= ITERATIONS).all(axis=2)
        index = tuple(np.where(near[..., None], difference + ITERATIONS, 0).transpose(2, 0, 1))
        values = np.where(near, kernel[index], 0.0)
        kept = values.any(axis=1)
        where = np.zeros((kept.sum(), 3), dtype=int)
        where[:, axes] = (points[kept] - own[c]) // 2
        basis.append(np.full(len(where), c))
        cells.append(where)
        species = np.flatnonzero(lattice.can_hold[c, 1:])
        block = np.zeros((len(where), n_species, len(inside) * len(species)))
        for k, s in enumerate(species):
            block[:, s, k * len(inside) : (k + 1) * len(inside)] = values[kept]
        blocks.append(block)
    return _joined(basis, cells, blocks)


def _joined(basis: list, cells: list, blocks: list) -> Surroundings:
    """Slots of several labels, each with features of its own, one after the other."""
    n_features = sum(block.shape[2] for block in blocks)
    weights = np.zeros((sum(len(b) for b in basis), blocks[0].shape[1], n_features))
    row = column = 0
    for block in blocks:
        weights[row : row + len(block), :, column : column + block.shape[2]] = block
        row, column = row + len(block), column + block.shape[2]
    return Surroundings(np.concatenate(basis), np.concatenate(cells), weights)


def neighbours(lattice: Lattice, b: int, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Slots (basis (k,), cells (k, 3)) within `cutoff` (Angstrom) of site b, itself left out, nearest first."""
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice.cell), axis=0)
    steps = [
        range(-int(cutoff / h) - 1, int(cutoff / h) + 2) if p else (0,)
        for h, p in zip(heights, lattice.pbc, strict=True)
    ]
    offsets = np.array(list(product(*steps)))
    vectors = (offsets[:, None] + lattice.site_positions[None] - lattice.site_positions[b]) @ lattice.cell
    distance = np.linalg.norm(vectors, axis=2)
    cell, basis = np.nonzero((distance < cutoff) & (distance > 1e-6))
    order = np.argsort(np.round(distance[cell, basis], 5), kind="stable")
    return basis[order], offsets[cell[order]]


def _free(lattice: Lattice, b: int, config: DescriptorConfig) -> Surroundings:
    basis, cells = neighbours(lattice, b, config.cutoff)
    return _numbered(lattice, basis, cells, np.arange(len(basis)))


def _shell(lattice: Lattice, b: int, config: DescriptorConfig) -> Surroundings:
    basis, cells = neighbours(lattice, b, config.cutoff)
    return _numbered(lattice, basis, cells, shells(lattice, b, basis, cells))


def shells(lattice: Lattice, b: int, basis: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(k,) number of the class of symmetry-equivalent slots each slot around site b belongs to."""
    index = {(int(c), *map(int, n)): k for k, (c, n) in enumerate(zip(basis, cells, strict=True))}
    shell = np.arange(len(basis))
    for operation in lattice.operations:
        if operation.to[b] == b:
            moved = cells @ operation.rotation.T + operation.shift[basis] - operation.shift[b]
            to = [index[(int(c), *map(int, n))] for c, n in zip(operation.to[basis], moved, strict=True)]
            shell = np.minimum(shell, np.array(to, dtype=int))
    return np.unique(shell, return_inverse=True)[1]


def _numbered(lattice: Lattice, basis: np.ndarray, cells: np.ndarray, number: np.ndarray) -> Surroundings:
    """One feature per number and species that its slots can hold."""
    allowed = lattice.can_hold[basis, 1:]
    names = sorted({(int(n), int(s)) for n, row in zip(number, allowed, strict=True) for s in np.flatnonzero(row)})
    feature = {name: f for f, name in enumerate(names)}
    weights = np.zeros((len(basis), allowed.shape[1], len(names)))
    for k, row in enumerate(allowed):
        for s in np.flatnonzero(row):
            weights[k, s, feature[int(number[k]), int(s)]] = 1.0
    return Surroundings(basis, cells, weights)
