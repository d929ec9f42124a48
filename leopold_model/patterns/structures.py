"""Configurations as atoms, and atoms as configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.data import atomic_numbers, chemical_symbols
from ase.geometry import find_mic

from leopold_model.patterns import PatternError
from leopold_model.patterns.supercell import Supercell

LOCALISED = 0.5  # mu_B: a moment from which on a carrier counts as localised on its site
DISPLACED = 1.2  # Angstrom: how far an atom may lie from its ideal site
STRAIN = 0.05  # largest difference between the cell of a structure and the supercell, relative


@dataclass(frozen=True)
class PatternStructure:
    """Atoms in blocks of species, with the initial moments of the carriers, and what occupation control has to impose:
    `carrier_sites` are the atoms that hold a carrier, `carrier_labels` the labels of their sites (one template each).
    `atom_of_site` (n_sites,) is -1 where there is no atom."""

    atoms: Atoms
    carrier_sites: tuple[int, ...]
    carrier_labels: tuple[str, ...]
    atom_of_site: np.ndarray


def to_structure(supercell: Supercell, occupations: np.ndarray) -> PatternStructure:
    """The ideal structure of a configuration: vacancies removed, dopants in place of their host, adatoms added."""
    lattice, occupations = supercell.lattice, supercell.check(occupations)
    n_atoms = len(lattice.numbers)
    numbers = np.tile(lattice.numbers, supercell.n_cells)
    positions = ((supercell.cells[:, None] + lattice.positions[None]).reshape(-1, 3)) @ lattice.cell
    moments = np.zeros(len(numbers))
    fixed = np.tile(np.isin(np.arange(n_atoms), lattice.fixed), supercell.n_cells)
    hosts = lattice.site_atoms[supercell.basis]
    atom_of_site = np.where(hosts >= 0, np.arange(supercell.n_sites) // lattice.n_sites * n_atoms + hosts, -1)
    keep, added = np.ones(len(numbers), dtype=bool), []
    for site in np.flatnonzero(occupations):
        species, atom = lattice.species[occupations[site] - 1], atom_of_site[site]
        if species.kind == "vacancy":
            keep[atom], atom_of_site[site] = False, -1
        elif species.kind == "carrier":
            moments[atom] = species.moment
        elif species.kind == "dopant":
            numbers[atom] = atomic_numbers[str(species.element)]
        else:
            added.append((site, atomic_numbers[str(species.element)]))
    for site, number in added:
        atom_of_site[site] = len(numbers)
        numbers = np.append(numbers, number)
        positions = np.vstack([positions, supercell.positions[site]])
        moments, fixed, keep = np.append(moments, 0.0), np.append(fixed, False), np.append(keep, True)
    # species in the order they first appear in the parent, dopants and adatoms last
    parent = list(dict.fromkeys(lattice.numbers.tolist()))
    rank = {z: k for k, z in enumerate(dict.fromkeys([*parent, *numbers.tolist()]))}
    order = np.array([i for i in np.argsort([rank[z] for z in numbers], kind="stable") if keep[i]])
    atoms = Atoms(numbers[order], positions=positions[order], cell=supercell.vectors, pbc=lattice.pbc)
    atoms.wrap()
    atoms.set_initial_magnetic_moments(moments[order])
    if fixed.any():
        atoms.set_constraint(FixAtoms(mask=fixed[order]))
    new = np.full(len(numbers) + 1, -1)
    new[order] = np.arange(len(order))
    atom_of_site = new[atom_of_site]
    carriers = [s for s in np.flatnonzero(occupations) if lattice.species[occupations[s] - 1].kind == "carrier"]
    return PatternStructure(
        atoms,
        tuple(int(atom_of_site[s]) for s in carriers),
        tuple(str(supercell.labels[s]) for s in carriers),
        atom_of_site,
    )


def from_structure(
    supercell: Supercell, atoms: Atoms, carrier_sites: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The configuration (n_sites,) a structure stands for, and the atom (n_sites,) on each site (-1: none).

    Carriers sit on `carrier_sites` (indices of atoms), or else where the moment of an atom on a site that may hold one
    is above 0.5 mu_B; moments are those of the atoms' calculator, or their initial ones. Any order of atoms and any
    relaxation of less than 1.2 Angstrom will do; a rigid drift is taken out.
    """
    lattice = supercell.lattice
    if not np.allclose(atoms.cell.array, supercell.vectors, atol=STRAIN * np.abs(supercell.vectors).max()):
        raise PatternError(
            f"cell {np.round(atoms.cell.array, 3).tolist()} is not the supercell "
            f"{np.round(supercell.vectors, 3).tolist()} of {lattice.name}: give the structure in this setting"
        )
    ideal_atoms = ((supercell.cells[:, None] + lattice.positions[None]).reshape(-1, 3)) @ lattice.cell
    ideal_numbers = np.tile(lattice.numbers, supercell.n_cells)
    adatom_sites = np.flatnonzero(lattice.site_atoms[supercell.basis] < 0)
    targets = np.vstack([ideal_atoms, supercell.positions[adatom_sites]]) @ np.linalg.inv(supercell.vectors)
    nearest, distance = _nearest(atoms.get_scaled_positions(wrap=False), targets, supercell.vectors, lattice.pbc)
    far = int(np.argmax(distance))
    if distance[far] > DISPLACED:
        raise PatternError(
            f"atom {far} ({atoms.symbols[far]}) lies {distance[far]:.2f} A from the nearest site of {lattice.name}: "
            "not a configuration of this lattice"
        )
    at = np.full(len(targets), -1)
    for atom, target in enumerate(nearest):
        if at[target] >= 0:
            raise PatternError(f"atoms {at[target]} and {atom} lie on the same site of {lattice.name}")
        at[target] = atom
    n_atoms = len(lattice.numbers)
    hosts = lattice.site_atoms[supercell.basis]
    target_of_site = np.arange(supercell.n_sites) // lattice.n_sites * n_atoms + hosts
    target_of_site[adatom_sites] = len(ideal_atoms) + np.arange(len(adatom_sites))
    atom_of_site = at[target_of_site]
    unlabelled = np.setdiff1d(np.arange(len(ideal_atoms)), target_of_site)
    for target in unlabelled:
        if at[target] < 0 or atoms.numbers[at[target]] != ideal_numbers[target]:
            raise PatternError(
                f"the {chemical_symbols[ideal_numbers[target]]} at {np.round(ideal_atoms[target], 2).tolist()} A is "
                f"missing or replaced, and this site of {lattice.name} has no label: a defect here is not part of it"
            )
    occupations = np.zeros(supercell.n_sites, dtype=np.int8)
    for site, atom in enumerate(atom_of_site):
        host = ideal_numbers[target_of_site[site]] if hosts[site] >= 0 else 0
        number = atoms.numbers[atom] if atom >= 0 else 0
        if number != host:
            occupations[site] = _species(supercell, site, number)
    for site in _carriers(supercell, atoms, atom_of_site, carrier_sites):
        occupations[site] = _species(supercell, site, None)
    return supercell.check(occupations), atom_of_site


def _nearest(fractional, targets, cell, pbc) -> tuple[np.ndarray, np.ndarray]:
    """Nearest target of each atom and the distance to it, once the common drift is removed."""
    drift = np.zeros(3)
    for _ in range(2):
        offset = fractional[:, None] - drift - targets[None]
        offset[..., pbc] -= np.rint(offset[..., pbc])
        nearest = np.linalg.norm(offset @ cell, axis=2).argmin(axis=1)
        closest = offset[np.arange(len(nearest)), nearest]
        drift = drift + np.median(closest, axis=0)
    _, distance = find_mic((closest - np.median(closest, axis=0)) @ cell, cell, pbc)
    return nearest, distance


def _species(supercell: Supercell, site: int, number: int | None) -> int:
    """Occupation of a site with another atom (`number`), none (0), or its host and a carrier (None)."""
    lattice, label = supercell.lattice, str(supercell.labels[site])
    for name in lattice.allowed[label]:
        species = lattice.species[lattice.code(name) - 1]
        if species.kind == "carrier" if number is None else _number(species) == number:
            return lattice.code(name)
    what = "a carrier" if number is None else "no atom" if number == 0 else chemical_symbols[number]
    raise PatternError(
        f"site {site} ({label}) holds {what}, but may hold {', '.join(lattice.allowed[label])}: "
        f"add the species to the sites of {lattice.name}, or check the structure"
    )


def _number(species) -> int | None:
    """Atomic number a species puts on its site; 0 none, None that of the host."""
    if species.kind == "carrier":
        return None
    return 0 if species.kind == "vacancy" else atomic_numbers[str(species.element)]


def _carriers(supercell: Supercell, atoms: Atoms, atom_of_site, carrier_sites) -> list[int]:
    """Sites with a carrier."""
    site_of_atom = {int(atom): site for site, atom in enumerate(atom_of_site) if atom >= 0}
    if carrier_sites is None:
        try:
            moments = atoms.get_magnetic_moments()
        except (RuntimeError, NotImplementedError):  # no calculator, or one without moments
            moments = atoms.get_initial_magnetic_moments()
        carrier_sites = [int(i) for i in np.flatnonzero(np.abs(moments) > LOCALISED)]
    for atom in carrier_sites:
        if atom not in site_of_atom:
            raise PatternError(
                f"atom {atom} ({atoms.symbols[atom]}) carries a moment or was named a carrier site, but its site "
                f"has no label in {supercell.lattice.name}"
            )
    return [site_of_atom[atom] for atom in carrier_sites]
