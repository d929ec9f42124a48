"""Configurations of a search as structures to begin dynamics from."""

from __future__ import annotations

import numpy as np

from leopold_model.frames import Frame
from leopold_model.patterns.annealing import Patterns
from leopold_model.patterns.structures import to_structure


def starting_frames(patterns: Patterns, which: str = "lowest", limit: int | None = None) -> list[Frame]:
    """The distinct configurations of a search as ideal structures with `carrier_sites` and without labels.

    `which`: the "lowest" that each chain saw, in order of energy, or its "last", a draw at the temperature it was at.
    Images of one another under the symmetry of the lattice come once, the first `limit` of all. Each is a run of its
    own, called by the lattice and its number.
    """
    instance, supercell = patterns.instance, patterns.supercell
    configurations = getattr(patterns, which)
    order = np.argsort(patterns.lowest_energies, kind="stable") if which == "lowest" else range(len(configurations))
    distinct: dict[str, np.ndarray] = {}
    for k in order:
        distinct.setdefault(supercell.key(configurations[k]), configurations[k])
    carriers = [s for s in instance.lattice.species if s.kind == "carrier"]
    kind = "hole" if any(s.charge > 0 for s in carriers) else "electron"
    return [
        _frame(to_structure(supercell, found), kind, f"{instance.lattice.name}-{number:03d}")
        for number, found in enumerate(list(distinct.values())[:limit], start=1)
    ]


def _frame(structure, kind: str, name: str) -> Frame:
    atoms = structure.atoms
    return Frame(
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        carrier=kind,
        carrier_sites=tuple(sorted(structure.carrier_sites)),
        source="pattern",
        run=name,
    )
