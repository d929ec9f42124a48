"""Lattices as YAML: those shipped with the package by name (`instances/`), others by path."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import yaml
from ase import Atoms
from pydantic import Field, model_validator

from leopold_model.config import ConfigError, _Section, parse, read_yaml
from leopold_model.patterns import PatternError
from leopold_model.patterns.composition import Composition
from leopold_model.patterns.lattice import Lattice, Species, lattice_from_structure
from leopold_model.patterns.supercell import Supercell
from leopold_model.structures import StructureError, read_structure

SHIPPED = files("leopold_model.patterns") / "instances"
SHORTEST = 0.5  # Angstrom, between lattice planes
Vector = Annotated[tuple[float, float, float], Field(description="Angstrom")]


class SpeciesConfig(_Section):
    """One species; see `lattice.Species`."""

    kind: Literal["carrier", "vacancy", "dopant", "adatom"]
    charge: int
    element: str | None = None
    moment: float = 0.0
    reach: tuple[float, float, float] = (1.0, 1.0, 1.0)


class SitesConfig(_Section):
    """Sites of one label: atoms of the structure, or fractional positions of adatoms; and what they may hold."""

    atoms: tuple[int, ...] = ()
    positions: tuple[Vector, ...] = ()
    species: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _either(self):
        if bool(self.atoms) == bool(self.positions):
            raise ValueError("give either atoms or positions")
        return self


class StructureConfig(_Section):
    """The primitive cell, written out or in a `file` that ASE reads, beside the YAML."""

    cell: tuple[Vector, Vector, Vector] | None = None
    atoms: tuple[tuple[str, float, float, float], ...] = ()
    file: str | None = None
    fixed: tuple[int, ...] = Field((), description="atoms that relaxations leave in place")

    @model_validator(mode="after")
    def _either(self):
        if (self.file is None) != bool(self.cell and self.atoms):
            raise ValueError("give either file, or cell and atoms")
        return self


class SupercellConfig(_Section):
    """A supercell worth a name: a diagonal of repeats or a 3x3 integer matrix, and its usual composition."""

    matrix: tuple[int, int, int] | tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]
    counts: dict[str, int] = Field(default_factory=dict)


class LatticeConfig(_Section):
    """A lattice file."""

    kind: Literal["lattice"] = "lattice"
    name: str
    pbc: tuple[bool, bool, bool]
    structure: StructureConfig
    species: dict[str, SpeciesConfig] = Field(min_length=1)
    sites: dict[str, SitesConfig] = Field(min_length=1)
    supercells: dict[str, SupercellConfig] = Field(default_factory=dict)


@dataclass(frozen=True)
class Instance:
    """A lattice with its named supercells; `text` is the file it came from, kept with everything learned on it."""

    lattice: Lattice
    supercells: dict[str, SupercellConfig]
    text: str

    def supercell(self, name: str) -> Supercell:
        """A named supercell, or any other as repeats: `6x4`, `3x3x4`."""
        if name in self.supercells:
            return Supercell(self.lattice, np.array(self.supercells[name].matrix))
        repeats = name.split("x")
        if len(repeats) not in (2, 3) or not all(r.isdigit() and int(r) for r in repeats):
            raise PatternError(
                f"supercell {name!r}: choose {', '.join(self.supercells)} or give repeats of the parent cell, like 6x4"
            )
        return Supercell(self.lattice, np.array([int(r) for r in [*repeats, "1"][:3]]))

    def composition(self, name: str) -> Composition:
        """The usual composition of a named supercell."""
        if name not in self.supercells or not self.supercells[name].counts:
            raise PatternError(f"supercell {name!r} of {self.lattice.name} has no usual composition: give the counts")
        return Composition(self.lattice, self.supercells[name].counts)


def shipped() -> list[str]:
    """Names of the lattices that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in SHIPPED.iterdir() if entry.name.endswith(".yaml"))


def load_lattice(name: str | Path) -> Instance:
    """The lattice in a YAML file, or one shipped with the package by its name."""
    if str(name) in shipped():
        return lattice_from_text((SHIPPED / f"{name}.yaml").read_text(), str(name))
    path = Path(name)
    if not path.is_file():
        raise PatternError(f"lattice {str(name)!r}: no such file, and none of {', '.join(shipped())}")
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise PatternError(f"{path} is not valid YAML: {error}") from None
    return lattice_from_text(text, str(path), path.parent)


def lattice_from_text(text: str, where: str = "lattice", folder: Path | None = None) -> Instance:
    """The lattice written in YAML `text`; a structure file in it lies in `folder`, and without one is refused."""
    try:
        data = read_yaml(text, where)
        config: LatticeConfig = parse(data, LatticeConfig, where=where)
    except ConfigError as error:
        raise PatternError(str(error)) from None
    try:
        return _instance(text, data, config, folder)
    except PatternError as error:
        raise PatternError(f"{where}: {error}") from None
    except Exception as error:  # spglib and numpy raise their own on cells without a volume, positions that are none
        raise PatternError(f"{where}: no lattice can be made of it ({error})") from error


def _instance(text: str, data: dict, config: LatticeConfig, folder: Path | None) -> Instance:
    atoms = _structure(config, folder)
    _check(atoms, config)
    if config.structure.file:  # the text has to stand alone
        cell, fractional = atoms.cell.array.tolist(), atoms.get_scaled_positions(wrap=False)
        rows = [[s, *map(float, x)] for s, x in zip(atoms.get_chemical_symbols(), fractional, strict=True)]
        data["structure"] = {"cell": cell, "atoms": rows, "fixed": list(config.structure.fixed)}
        text = yaml.safe_dump(data, sort_keys=False, default_flow_style=None)
    lattice = lattice_from_structure(
        atoms,
        [Species(name, **species.model_dump()) for name, species in config.species.items()],
        {label: np.array(sites.atoms or sites.positions) for label, sites in config.sites.items()},
        {label: sites.species for label, sites in config.sites.items()},
        name=config.name,
        fixed=config.structure.fixed,
    )
    return Instance(lattice, dict(config.supercells), text)


def _check(atoms: Atoms, config: LatticeConfig) -> None:
    """Refuse a cell in which nothing has room: what is within some Angstrom could be any number of sites."""
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    if not (heights > SHORTEST).all():
        raise PatternError(f"structure.cell: planes {heights.min():.2g} A apart, at least {SHORTEST} A are needed")
    outside = [i for i in config.structure.fixed if not 0 <= i < len(atoms)]
    if outside:
        raise PatternError(f"structure.fixed: atom {outside[0]}, but the cell has atoms 0 to {len(atoms) - 1}")


def _structure(config: LatticeConfig, folder: Path | None) -> Atoms:
    given = config.structure
    if given.file is None:
        symbols, positions = [row[0] for row in given.atoms], [row[1:] for row in given.atoms]
        try:
            return Atoms(symbols, scaled_positions=positions, cell=given.cell, pbc=config.pbc)
        except KeyError as error:
            raise PatternError(f"{config.name}: structure.atoms: {error} is no element symbol") from None
    if folder is None:
        raise PatternError(f"structure.file = {given.file!r} has no folder here: write cell and atoms out")
    try:
        atoms = read_structure(folder / given.file)
    except StructureError as error:
        raise PatternError(f"{config.name}: structure.file = {error}") from None
    atoms.pbc = config.pbc
    return atoms
