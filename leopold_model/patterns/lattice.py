"""The parent of all configurations: a primitive crystal or slab, its labelled sites and what may occupy them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import spglib
from ase import Atoms
from ase.data import chemical_symbols

from leopold_model.patterns import PatternError

NEAR = 1e-2  # fractional: what counts as the same position in the ideal parent


@dataclass(frozen=True)
class Species:
    """What a site can hold in place of its host atom.

    `charge` is relative to the perfect host, in units of e: -1 for an electron polaron, +2 for an oxygen vacancy.
    `moment` (mu_B) is the initial moment of a carrier, `element` what a dopant or adatom is. `reach` counts parent
    lattice vectors along each axis: how far a sampling move may take it; zero along every axis means it never moves.
    """

    name: str
    kind: Literal["carrier", "vacancy", "dopant", "adatom"]
    charge: int
    element: str | None = None
    moment: float = 0.0
    reach: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self):
        if self.kind in ("dopant", "adatom") and self.element not in chemical_symbols[1:]:
            raise PatternError(
                f"species {self.name}: element = {self.element!r}: a {self.kind} needs an element symbol"
            )
        if self.kind == "carrier" and not (self.charge and self.moment):
            raise PatternError(
                f"species {self.name}: charge = {self.charge}, moment = {self.moment}: a carrier has both, "
                "-1 and 1.0 for an electron polaron"
            )


@dataclass(frozen=True)
class Operation:
    """A symmetry operation on the sites: rotation (3, 3) in fractional coordinates; site b of cell n goes to site
    `to[b]` of cell `rotation @ n + shift[b]`."""

    rotation: np.ndarray
    to: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True)
class Lattice:
    """A parent cell: `cell` (3, 3) rows in Angstrom, `numbers` (n,) and `positions` (n, 3) fractional of its atoms,
    `pbc` (3,) the periodic axes; `site_positions` (b, 3) fractional in [0, 1), `site_labels` (b,) and `site_atoms` (b,)
    the atom at each site, -1 where an adatom goes; `allowed` names for each label the species its sites may hold;
    `fixed` are atoms that relaxations leave in place.

    An occupation is an integer per site: 0 for the host, k + 1 for `species[k]`.
    """

    name: str
    cell: np.ndarray
    numbers: np.ndarray
    positions: np.ndarray
    pbc: np.ndarray
    species: tuple[Species, ...]
    site_positions: np.ndarray
    site_labels: tuple[str, ...]
    site_atoms: np.ndarray
    allowed: Mapping[str, tuple[str, ...]]
    fixed: tuple[int, ...] = ()
    symprec: float = field(default=1e-3)

    def __post_init__(self):
        for label, names in self.allowed.items():
            known = [s.name for s in self.species]
            unknown = [name for name in names if name not in known]
            if unknown:
                raise PatternError(f"sites {label}: species {unknown[0]!r} is not among {', '.join(known)}")
        for label, atom in zip(self.site_labels, self.site_atoms, strict=True):
            for name in self.allowed[label]:
                kind = self.species[self.code(name) - 1].kind
                if (kind == "adatom") != (atom < 0):
                    raise PatternError(
                        f"sites {label}: a {kind} ({name}) "
                        + ("goes to an empty position, not to an atom" if atom >= 0 else "needs an atom to sit on")
                    )

    @property
    def n_sites(self) -> int:
        """Sites per parent cell."""
        return len(self.site_labels)

    def code(self, name: str) -> int:
        """The occupation number of a species."""
        for k, species in enumerate(self.species):
            if species.name == name:
                return k + 1
        raise PatternError(f"species {name!r} is not among {', '.join(s.name for s in self.species)} of {self.name}")

    @cached_property
    def can_hold(self) -> np.ndarray:
        """(b, s + 1) bool: whether a site may hold an occupation number; the host always."""
        table = np.zeros((self.n_sites, len(self.species) + 1), dtype=bool)
        table[:, 0] = True
        for b, label in enumerate(self.site_labels):
            for name in self.allowed[label]:
                table[b, self.code(name)] = True
        return table

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The space or layer group, modulo parent translations: all operations that take sites to sites of the same
        label. Those that would exchange the two sides of a slab drop out unless both sides are labelled."""
        crystal = (self.cell, self.positions, self.numbers)
        found = spglib.get_symmetry(crystal, symprec=self.symprec)  # type: ignore[arg-type]
        if found is None:
            raise PatternError(f"lattice {self.name}: no symmetry found; are two of its atoms at one position?")
        kept = []
        for rotation, translation in zip(found["rotations"], found["translations"], strict=True):
            images = self.site_positions @ rotation.T + translation
            offset = images[:, None] - self.site_positions[None]
            cells = np.rint(offset)
            near = np.abs(offset - cells).max(axis=2) < NEAR
            same = np.array([[p == q for q in self.site_labels] for p in self.site_labels])
            near &= same & (np.abs(cells[:, :, ~self.pbc]) < 0.5).all(axis=2)
            if (near.sum(axis=1) == 1).all():
                to = near.argmax(axis=1)
                kept.append(Operation(rotation, to, cells[np.arange(len(to)), to].astype(int)))
        return tuple(kept)

    @cached_property
    def orbits(self) -> np.ndarray:
        """(b,) the first site that symmetry makes equivalent to each one."""
        return np.min([operation.to for operation in self.operations], axis=0)

    @cached_property
    def site_symmetry(self) -> tuple[str, ...]:
        """(b,) point group symbol of each site."""
        return tuple(
            _symbol(np.array([o.rotation for o in self.operations if o.to[b] == b])) for b in range(self.n_sites)
        )

    @cached_property
    def site_table(self) -> list[dict]:
        """One row per site: label, position, host, species, point group; JSON-ready."""
        return [
            {
                "site": b,
                "label": label,
                "position": [round(float(x), 6) for x in self.site_positions[b]],
                "host": chemical_symbols[self.numbers[self.site_atoms[b]]] if self.site_atoms[b] >= 0 else None,
                "species": list(self.allowed[label]),
                "point_group": self.site_symmetry[b],
            }
            for b, label in enumerate(self.site_labels)
        ]


def _symbol(rotations: np.ndarray) -> str:
    found: Any = spglib.get_pointgroup(rotations)
    return found[0].strip()


def lattice_from_structure(
    structure: Atoms,
    species: Sequence[Species],
    sites: Mapping[str, Sequence[int] | np.ndarray],
    allowed: Mapping[str, Sequence[str]],
    *,
    name: str = "lattice",
    fixed: Sequence[int] = (),
) -> Lattice:
    """A lattice from a primitive cell: ASE Atoms, or pymatgen's Structure or Slab.

    `sites` maps a label to indices of atoms, or to fractional positions (k, 3) of empty sites for adatoms; `allowed`
    maps it to the species its sites may hold. The periodic axes are those of the structure.
    """
    atoms: Atoms = structure if isinstance(structure, Atoms) else structure.to_ase_atoms()  # pymatgen knows the way
    positions, labels, hosts = [], [], []
    fractional = atoms.get_scaled_positions(wrap=False)
    for label, where in sites.items():
        chosen = np.asarray(where)
        if label not in allowed:
            raise PatternError(f"sites {label}: which species may they hold? Add {label!r} to `allowed`")
        if chosen.ndim == 1 and len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(atoms):
            raise PatternError(f"sites {label}: atoms {chosen.tolist()}, but the cell has atoms 0 to {len(atoms) - 1}")
        for entry in chosen:
            positions.append(fractional[entry] if chosen.ndim == 1 else entry)
            hosts.append(int(entry) if chosen.ndim == 1 else -1)
            labels.append(label)
    if not labels:
        raise PatternError("sites: none given; label at least one site that a defect or carrier may occupy")
    if len(set(hosts)) < len(hosts) and -1 not in hosts:
        raise PatternError(f"sites: atom {max(hosts, key=hosts.count)} has two labels; give it one")
    where = np.array(positions, dtype=float)
    where = np.round(where, 6) % 1.0
    return Lattice(
        name=name,
        cell=atoms.cell.array,
        numbers=atoms.numbers,
        positions=fractional,
        pbc=np.array(atoms.pbc, dtype=bool),
        species=tuple(species),
        site_positions=where,
        site_labels=tuple(labels),
        site_atoms=np.array(hosts),
        allowed={label: tuple(allowed[label]) for label in sites},
        fixed=tuple(int(i) for i in fixed),
    )
