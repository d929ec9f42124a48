"""What the structures of a study may differ by from its host: atoms of another element on a site, and empty sites.

The host, a perfect crystal, tells sites, symmetry and pathways apart. Where a structure differs from it is found by
mapping every atom to the nearest of its sites, so that defects need not be named; what cannot be mapped is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from aiida import orm
from ase import Atoms

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.arrangements import starting_arrangements
from leopold_model.analysis.defects import defect_distances, defect_positions
from leopold_model.analysis.sites import Host, SiteMap, host_from_structure, map_sites
from leopold_model.analysis.slabs import slab_of
from leopold_model.frames import Frame
from leopold_workflows.data.frames import FrameSetData

MOST_DEFECTS = 0.25  # of the host's sites; beyond it the structure is another crystal
SAME_CELL = 1e-3  # Angstrom


def arrangement_faults(frames: FrameSetData, host: orm.StructureData, carrier: orm.Dict) -> str | None:
    """Why structures of `frames` are none of the `host` with substitutions and vacancies, or do not bring as many
    carriers as they are said to hold; None when all are. One structure of every run is looked at."""
    firsts = {(frame.run, frame.numbers.tobytes()): frame for frame in reversed(frames.get_frames())}
    if not firsts:
        return "no frame: give at least one"
    perfect = host.get_ase()
    for message in (_cell_fault(frame, perfect) for frame in firsts.values()):
        if message:
            return message
    crystal = _crystal(perfect, carrier["species"][0])
    if isinstance(crystal, str):
        return crystal
    for frame in firsts.values():
        message = _mapping_fault(frame, perfect, crystal) or _charge_fault(frame, perfect, carrier)
        if message:
            return message
    return None


def start_faults(frames: FrameSetData, host: orm.StructureData | None = None, species: str = "") -> str | None:
    """Why dynamics cannot start from `frames`: one run moves one set of atoms, however they are arranged, and its hops
    are between `species` sites of the `host`, where that is given."""
    formulas = sorted({Atoms(frame.numbers).get_chemical_formula() for frame in compositions(frames)})
    if len(formulas) > 1:
        return (
            f"{' and '.join(formulas)}: dynamics moves one set of atoms; give as `starts` frames of one composition, "
            "the others are learned from as `frames`"
        )
    if len(compositions(frames)) > 1:
        return f"{formulas[0]} with its atoms in different orders: dynamics needs one; sort the atoms by element"
    if host is None:
        return None
    perfect = host.get_ase()
    crystal = _crystal(perfect, species)
    return crystal if isinstance(crystal, str) else _mapping_fault(compositions(frames)[0], perfect, crystal)


def compositions(frames: FrameSetData) -> list[Frame]:
    """The first frame of every list of atoms."""
    return list({frame.numbers.tobytes(): frame for frame in reversed(frames.get_frames())}.values())


def arrangements(host: Atoms, defect: Mapping, carrier: Mapping, count: int) -> FrameSetData:
    """Starts of a doped study: `host` with one `defect` (see `with_defect`) and its carriers on `count` of their
    inequivalent arrangements (see `starting_arrangements`), from near the defect to far from it."""
    atoms = with_defect(host, defect)
    sites = map_defects(atoms, host, carrier["species"][0])
    found = starting_arrangements(sites, atoms.numbers, carrier["n"], count)
    nearest = defect_distances(sites).min(axis=0)
    return FrameSetData.from_frames(
        [
            Frame(
                numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, carrier=carrier["kind"],
                carrier_sites=chosen, source="start", run=_name(k, nearest[list(chosen)]),
            )
            for k, chosen in enumerate(found, start=1)
        ]
    )  # fmt: skip


def with_defect(host: Atoms, defect: Mapping) -> Atoms:
    """`host` with a defect like {replace: O, by: F}: its first atom of that element becomes another one, whose block
    comes last, or is taken away (by: null)."""
    atoms = host.copy()
    site = atoms.symbols.search(defect["replace"])[0]
    taken = atoms[[site]]
    del atoms[site]
    if defect["by"] is not None:
        taken.symbols[0] = defect["by"]
        atoms += taken
    return atoms


def _name(number: int, distances: np.ndarray) -> str:
    return f"{number:02d}-at-" + "-".join(f"{d:.2f}A" for d in sorted(distances))


def map_defects(atoms: Atoms, host: Atoms, species: str) -> SiteMap:
    """Which site of the perfect crystal `host` each atom is, carriers being on `species`."""
    crystal = host_from_structure(host.numbers, host.positions, host.cell.array, sublattice=species)
    return map_sites(crystal, atoms.numbers, atoms.positions, atoms.cell.array)


def _crystal(host: Atoms, species: str) -> Host | str:
    """The primitive crystal behind `host`, or why there is none."""
    try:
        found = host_from_structure(host.numbers, host.positions, host.cell.array, sublattice=species)
        slab_of(found)  # refuses a gap that is no vacuum, and a tilted cell
        return found
    except AnalysisError as error:
        return f"the host {host.get_chemical_formula()} is no perfect crystal or slab: {error}"


def _cell_fault(frame: Frame, host: Atoms) -> str | None:
    formula, perfect = Atoms(frame.numbers).get_chemical_formula(), host.get_chemical_formula()
    if np.abs(frame.cell - host.cell.array).max() > SAME_CELL:
        lengths = [", ".join(f"{x:.4f}" for x in np.linalg.norm(cell, axis=1)) for cell in (frame.cell, host.cell)]
        what = "" if formula == perfect else f"{formula}, but the host is {perfect}: "
        return (
            f"{what}cell of {lengths[0]} A, but the host has {lengths[1]} A: give as host the crystal in that cell "
            "(--structure)"
        )
    return None


def _mapping_fault(frame: Frame, host: Atoms, crystal: Host) -> str | None:
    formula, perfect = Atoms(frame.numbers).get_chemical_formula(), host.get_chemical_formula()
    try:
        sites = map_sites(crystal, frame.numbers, frame.positions, frame.cell)
    except AnalysisError as error:
        return f"{formula} of run {frame.run!r} is not the host {perfect} with substitutions and vacancies: {error}"
    n_defects = len(defect_positions(sites))
    n_sites = round(abs(np.linalg.det(sites.matrix))) * len(sites.host.numbers)
    if n_defects > MOST_DEFECTS * n_sites:
        return (
            f"{formula}, but the host is {perfect}: they differ on {n_defects} of {n_sites} sites; give as host the "
            "perfect crystal behind these structures"
        )
    return None


def _charge_fault(frame: Frame, host: Atoms, carrier: orm.Dict) -> str | None:
    """The carriers of a cell with defects are those that its defects bring."""
    charges = carrier.get_dict().get("formal_charges") or {}
    symbols = frame.to_atoms().get_chemical_symbols()
    missing = sorted(set(symbols) - set(charges))
    if not charges or sorted(symbols) == sorted(host.get_chemical_symbols()):
        return None
    if missing:
        return f"carrier: formal_charges has none of {', '.join(missing)}, which the frames hold: add it"
    sign = -1 if carrier["kind"] == "electron" else 1
    brought = sum(charges[s] for s in symbols)
    if brought + sign * carrier["n"]:
        formula, kind = Atoms(frame.numbers).get_chemical_formula(), carrier["kind"]
        wanted = -sign * brought
        remedy = f"set carrier.n to {wanted:g}" if wanted > 0 else "choose other defects or the other kind of carrier"
        return (
            f"{formula} has the charge {brought:+g} by its formal charges and {carrier['n']} {kind}(s), which do not "
            f"balance: {remedy}, or correct carrier.formal_charges"
        )
    return None
