"""Calcfunctions of one hop: between which atoms, its other end by symmetry, its line as frames, and the two surfaces
side by side."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, calcfunction
from ase import Atoms

from leopold_model import barrier_report
from leopold_model.analysis import AnalysisError
from leopold_model.analysis.pathways import enumerate_pathways
from leopold_model.analysis.sites import SiteMap, host_from_structure, map_sites
from leopold_model.barrier import BarrierError, displacement, image_on
from leopold_model.barrier_frames import line_frames, line_of_labels
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.parsers.result import without_nan


@calcfunction
def sites_of_pathway(host: orm.StructureData, carrier: orm.Dict, pathway: orm.Str, cutoff: orm.Float) -> orm.List:
    """Two atoms of `host` between which there is a hop of the class `pathway`, enumerated to `cutoff` (Angstrom)."""
    return orm.List(list(hop_of_class(host.get_ase(), carrier["species"][0], pathway.value, cutoff.value)))


@calcfunction
def other_end(relaxed: orm.StructureData, host: orm.StructureData, sites: orm.List) -> orm.StructureData:
    """`relaxed`, distorted around the first of `sites`, turned by the host's symmetry onto the second."""
    atoms = relaxed.get_ase()
    step = turned(host.get_ase(), atoms, sites.get_list())
    if step is None:
        return ExitCode(314, "no operation of the host takes the first site to the second")
    atoms.positions += step
    return orm.StructureData(ase=atoms)


@calcfunction
def line_of_hop(
    initial: orm.StructureData,
    final: orm.StructureData,
    host: orm.StructureData,
    carrier: orm.Dict,
    sites: orm.List,
    images: orm.Int,
    branches: orm.Str,
) -> FrameSetData:
    """Frames of the straight line between the ends, the carrier told on either site as `branches` says."""
    pair = sites.get_list()
    name = barrier_report.between(host.get_ase(), _crystal(host.get_ase(), pair), tuple(pair))["pathway"]
    return FrameSetData.from_frames(
        line_frames(
            initial.get_ase(), final.get_ase(), tuple(pair), images.value, branches.value, carrier["kind"], name or ""
        )
    )


@calcfunction
def barrier_of(path: FrameSetData, host: orm.StructureData, carrier: orm.Dict, sites: orm.List, **found) -> orm.Dict:
    """What is known of the hop along `path`: the keys of `leopold barrier --json`, its `reference` the labels.

    `found` holds `model` (the `results` of that job) and the label sets `verified` and `rejected`, where they are
    there; without them the columns are missing, or `reference` is null with the reason in `reference_missing`.
    """
    pair, crystal = tuple(sites.get_list()), host.get_ase()
    asked = path.get_frames()
    first, last = asked[0].to_atoms(), asked[-1].to_atoms()
    result = {
        "carrier": carrier["kind"],
        **barrier_report.between(crystal, _crystal(crystal, pair), pair),
        "ends": "given",
        "path_length_Angstrom": float(np.linalg.norm(displacement(first, last))),
        "reference": None,
    }
    if "model" in found:
        model = found["model"].get_dict()
        result = model | result
    labels = [frame for name in ("verified", "rejected") if name in found for frame in found[name].get_frames()]
    try:
        result["reference"] = {"name": "VASP", **line_of_labels(asked, labels, pair)}
    except BarrierError as error:
        result["reference_missing"] = str(error)
    else:
        if "model" in found:
            result["deviation"] = barrier_report.deviation(result, result["reference"])
    return orm.Dict(without_nan(result))


def hop_of_class(host: Atoms, species: str, pathway: str, cutoff: float) -> tuple[int, int]:
    """Two atoms of `host` between which there is a hop of the class `pathway`; AnalysisError when there are none."""
    crystal = host_from_structure(host.numbers, host.positions, host.cell.array, sublattice=species)
    classes = enumerate_pathways(crystal, cutoff)
    if pathway not in classes.by_name:
        raise AnalysisError(
            f"pathway = {pathway!r}: no such class below {cutoff:g} A; there are {', '.join(classes.names)}"
        )
    sites = map_sites(crystal, host.numbers, host.positions, host.cell.array)
    members = set(classes.by_name[pathway].members)
    for i in sites.carrier_atoms:
        for j in sites.carrier_atoms:
            images = [(int(sites.sublattice[i]), int(sites.sublattice[j]), *map(int, r)) for r in sites.shortest(i, j)]
            if i != j and members.intersection(images):
                return int(i), int(j)
    raise AnalysisError(f"pathway = {pathway!r}: this supercell is too small to show it; give a larger host")


def turned(host: Atoms, relaxed: Atoms, sites: list[int]) -> np.ndarray | None:
    """Displacements (n, 3) that turn `relaxed` onto the second site (see `barrier.image_on`); None without symmetry."""
    i, j = sites
    try:
        crystal = host_from_structure(host.numbers, host.positions, host.cell.array, sublattice=host.symbols[i])
        return image_on(map_sites(crystal, host.numbers, relaxed.positions, host.cell.array), i, j)
    except AnalysisError:
        return None


def _crystal(host: Atoms, sites) -> SiteMap | None:
    try:
        crystal = host_from_structure(host.numbers, host.positions, host.cell.array, sublattice=host.symbols[sites[0]])
        return map_sites(crystal, host.numbers, host.positions, host.cell.array)
    except AnalysisError:
        return None
