"""A structure from a file of anyone: what ASE reads, and phonopy's YAML, which it does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import read
from ase.units import Bohr

from leopold_model.config import read_yaml

# cells of phonopy.yaml and phonopy_disp.yaml, that of a study first
CELLS = ("supercell", "unit_cell", "primitive_cell")
LENGTHS = {"angstrom": 1.0, "au": Bohr}


class StructureError(ValueError):
    """A file that holds no structure."""


def read_structure(path: str | Path) -> Atoms:
    """The structure in a file; of phonopy the perfect supercell, or the unit cell where there is none.

    Initial moments come along where the file has them. StructureError names the file that cannot be read.
    """
    path = Path(path)
    try:
        if path.suffix in (".yaml", ".yml"):
            return from_phonopy(read_yaml(path.read_bytes(), "its content"))
        atoms: Atoms = read(path)  # type: ignore[assignment]
        return atoms
    except Exception as error:  # ASE raises a dozen kinds on files it does not know
        raise StructureError(f"{path}: not a readable structure file ({error})") from None


def from_phonopy(document: Any) -> Atoms:
    """The structure in the content of `phonopy.yaml` or `phonopy_disp.yaml`, Angstrom; ValueError if it has none."""
    held = document if isinstance(document, Mapping) else {}
    cell = next((held[name] for name in CELLS if name in held), None)
    if not isinstance(cell, Mapping) or not {"lattice", "points"} <= set(cell):
        raise ValueError(f"no {' or '.join(CELLS)} with `lattice` and `points`, as phonopy writes them")
    unit = held.get("physical_unit", {}).get("length", "angstrom")
    if unit not in LENGTHS:
        raise ValueError(f"physical_unit: length = {unit!r}: known are {', '.join(LENGTHS)}")
    points = cell["points"]
    atoms = Atoms(
        [point["symbol"] for point in points],
        scaled_positions=[point["coordinates"] for point in points],
        cell=[[LENGTHS[unit] * x for x in vector] for vector in cell["lattice"]],
        pbc=True,
    )
    if all("magnetic_moment" in point for point in points):
        atoms.set_initial_magnetic_moments([point["magnetic_moment"] for point in points])
    return atoms
