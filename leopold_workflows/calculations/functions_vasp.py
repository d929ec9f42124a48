"""Calcfunctions of the VASP half: where frames, structures, velocities and verdicts of labels are made.

Every one is a pure function of its input nodes; randomness comes from a seed that is an input.
"""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, calcfunction
from ase.data import atomic_masses

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.sites import map_sites
from leopold_model.frames import Frame, FrameError
from leopold_model.vasp.occmatrix import distinct_orbital, occmatrix_text, omc_matrices, orbital_share
from leopold_model.vasp.run import VaspError
from leopold_model.vasp.template import Shell, Template, perfect_crystal, shells_from_list
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp.verdict import judge, judge_released, shortest

BOLTZMANN = 8.617333262e-5  # eV/K
ACCELERATION = 9.648533212e-3  # Angstrom/fs^2 of 1 eV/Angstrom on 1 amu
NEAR_MOVE = 3  # steps before and after a move of the carrier that are kept whatever the stride


@calcfunction
def initial_velocities(structure: orm.StructureData, temperature: orm.Float, seed: orm.Int) -> orm.ArrayData:
    """Maxwell-Boltzmann velocities (Angstrom/fs) without net momentum, scaled to `temperature` with 3N - 3 modes."""
    masses = atomic_masses[structure.get_ase().numbers][:, None]
    spread = np.sqrt(BOLTZMANN * temperature.value * ACCELERATION / masses)
    velocities = spread * np.random.default_rng(seed.value).normal(size=(len(masses), 3))
    velocities -= (masses * velocities).sum(axis=0) / masses.sum()
    kinetic = 0.5 * float((masses * velocities**2).sum()) / ACCELERATION
    wanted = 0.5 * (3 * len(masses) - 3) * BOLTZMANN * temperature.value
    return orm.ArrayData({"velocities": velocities * np.sqrt(wanted / kinetic)})


@calcfunction
def occupation_matrix(
    structure: orm.StructureData, carrier: orm.Dict, hubbard: orm.Dict, sites: orm.List
) -> orm.SinglefileData:
    """OCCMATRIX that puts one carrier on each of `sites`, in the orbital `carrier['orbital']` if it names one."""
    return imposed_occupations(structure, carrier, hubbard, sites.get_list())[0]


def imposed_occupations(
    structure, carrier, hubbard, sites, template: Template | None = None
) -> tuple[orm.SinglefileData, dict[str, list[float]]]:
    """OCCMATRIX of `sites`, whose description says where the occupations of each are from, and by site the orbital
    that these single out. Only those of a template: nominal ones are a first guess, from which VASP finds its own."""
    matrices, origins, orbitals = {}, [], {}
    for site in sites:
        degree = hubbard[structure.sites[site].kind_name]["l"]
        try:
            matrices[site] = _harvested(structure, site, degree, template)
            origins.append(f"atom {site} harvested")
            wanted = distinct_orbital(*matrices[site][1:])
            orbitals |= {} if wanted is None else {str(site): wanted.tolist()}
        except ValueError as error:
            orbital = carrier.get_dict().get("orbitals", {}).get(str(site), carrier.get_dict().get("orbital"))
            matrices |= omc_matrices({}, site, carrier=carrier["kind"], angular=degree, orbital=orbital)
            origins.append(f"atom {site} nominal: {error}")
    node = orm.SinglefileData(io.StringIO(occmatrix_text(matrices)), filename="OCCMATRIX")
    node.description = "; ".join(origins)
    return node, orbitals


def _harvested(structure, site: int, degree: int, template: Template | None) -> Shell:
    """The template on `site`, in the orientation that fits the structure; VaspError or AnalysisError if it has none."""
    if template is None:
        raise VaspError("no template")
    atoms = structure.get_ase()
    shell = template.onto(site, map_sites(template.host, atoms.numbers, atoms.positions, atoms.cell.array))[0]
    if shell[0] != degree:
        raise VaspError(f"the template has l = {shell[0]}, hubbard l = {degree}")
    return shell


@calcfunction
def carrier_template(occupations: orm.Dict, relaxation: FrameSetData, host: orm.StructureData) -> orm.Dict:
    """The carrier's `occupations` in the last frame of `relaxation`, with what it takes to put them on other sites:
    that structure and the symmetry of the perfect crystal `host` (see `leopold_model.vasp.template.Template`)."""
    last, crystal = relaxation.get_frames()[-1], host.get_ase()
    shells = shells_from_list(occupations["shells"])
    try:
        perfect = perfect_crystal(crystal, crystal.symbols[min(shells)])
    except AnalysisError as error:
        return ExitCode(312, str(error))
    return orm.Dict(Template(perfect, last.numbers, last.positions, last.cell, shells).to_dict())


@calcfunction
def label_request(
    frames: FrameSetData, frame: orm.Str, carrier: orm.Dict, hubbard: orm.Dict, template: orm.Dict | None = None
) -> dict:
    """`structure` of the frame whose id is `frame`, and the `occmatrix` that puts the carriers on its sites: their
    occupations from `template`, turned onto the site and into the orientation that the frame's distortion asks for, and
    nominal ones where there is none for such a site. `orbitals` holds by site the orbital that this singles out."""
    wanted = find_frame(frames, frame.value)
    structure = orm.StructureData(ase=wanted.to_atoms())
    harvested = None if template is None else Template.from_dict(template.get_dict())
    occmatrix, orbitals = imposed_occupations(structure, carrier, hubbard, wanted.carrier_sites, harvested)
    return {"structure": structure, "occmatrix": occmatrix, "orbitals": orm.Dict(orbitals)}


@calcfunction
def structure_of(frames: FrameSetData, frame: orm.Str) -> orm.StructureData:
    """The structure of the frame whose id is `frame`."""
    return orm.StructureData(ase=find_frame(frames, frame.value).to_atoms())


@calcfunction
def chain_segments(**segments: FrameSetData) -> FrameSetData:
    """Segments of one run end to end, in the order of their names, steps numbered through from 1.

    A segment that begins by repeating the last structure of the one before it gives that structure once.
    """
    chain: list[Frame] = []
    for name in sorted(segments):
        frames = segments[name].get_frames()
        if (
            chain
            and frames
            and np.abs(shortest(frames[0].positions - chain[-1].positions, frames[0].cell)).max() < 5e-5
        ):
            frames = frames[1:]
        chain += frames
    return FrameSetData.from_frames([replace(frame, step=k) for k, frame in enumerate(chain, start=1)])


@calcfunction
def thin_runs(stride: orm.Int, moves: orm.Bool, **runs: FrameSetData) -> FrameSetData:
    """Every `stride`-th converged frame of each run, runs by name; with `moves` also every one next to a move.

    A held-out run goes without those, so that its errors are averages over time.
    """
    frames = [f for name in sorted(runs) for f in thinned(runs[name].get_frames(), stride.value, moves.value)]
    return FrameSetData.from_frames(frames)


def thinned(run: list[Frame], stride: int, moves: bool) -> list[Frame]:
    """Every `stride`-th converged frame of one run, and with `moves` every one around a move of the carrier.

    Steps around a move are rare and hold what a model must learn of hops, step by step.
    """
    moved = [b.step for a, b in pairwise(run) if moves and a.carrier_sites != b.carrier_sites]
    kept = {step + offset for step in moved for offset in range(-NEAR_MOVE, NEAR_MOVE)}
    return [f for f in run if f.converged and ((f.step - 1) % stride == 0 or f.step in kept)]


@calcfunction
def start_frames(**ends) -> FrameSetData:
    """Where runs ended, as starts of learned dynamics: structure, velocities and carrier sites, without labels.

    `ends` holds `frames_<name>`, `structure_<name>` and `velocities_<name>` of every run.
    """
    starts = []
    for key in sorted(k for k in ends if k.startswith("frames_")):
        name = key.removeprefix("frames_")
        last = ends[key].get_frames()[-1]
        starts.append(
            Frame(
                numbers=last.numbers,
                positions=ends[f"structure_{name}"].get_ase().positions,
                cell=last.cell,
                velocities=ends[f"velocities_{name}"].get_array("velocities"),
                carrier=last.carrier,
                carrier_sites=last.carrier_sites,
                source="start",
                run=last.run,
                temperature=last.temperature,
                settings=last.settings,
            )
        )
    return FrameSetData.from_frames(starts)


@calcfunction
def judge_last(
    relaxation: FrameSetData,
    seen: orm.Dict,
    host: orm.StructureData,
    requested: orm.List,
    carrier: orm.Dict,
    max_participation: orm.Float,
) -> orm.Dict:
    """Verdict on the last frame of a released `relaxation`: where the carrier sits, how clearly, and with what bonds.

    `seen` is the output `carrier` of that run, which knows the moment of the whole cell.
    """
    last = relaxation.get_frames()[-1]
    found = judge_released(
        last,
        host.get_ase(),
        seen.get("cell_moment"),
        requested.get_list(),
        carrier["species"],
        max_participation.value,
    )
    return orm.Dict(found.as_dict())


@calcfunction
def judge_label(
    released: FrameSetData,
    carrier: orm.Dict,
    max_participation: orm.Float,
    orbitals: orm.Dict | None = None,
    occupations: orm.Dict | None = None,
) -> orm.Dict:
    """Verdict on the last frame of a `released` run: is the carrier where its `requested_sites` say, and, where
    `orbitals` name one and the run printed its `occupations`, in that orbital?"""
    last = released.get_frames()[-1]
    return orm.Dict(
        judge(
            last,
            last.requested_sites,
            carrier["species"],
            max_participation.value,
            orbital_share=_least_share(orbitals, occupations),
        ).as_dict()
    )


def _least_share(orbitals: orm.Dict | None, occupations: orm.Dict | None) -> float | None:
    """The smallest share of a carrier's moment in the orbital asked for; None where nothing can be told."""
    if orbitals is None or occupations is None:
        return None
    found = shells_from_list(occupations["shells"])
    shares = [
        orbital_share(np.array(orbital), *found[int(site)][1:])
        for site, orbital in orbitals.get_dict().items()
        if int(site) in found
    ]
    return min(shares, default=None)


@calcfunction
def verified_steps(released: FrameSetData, carrier: orm.Dict, max_participation: orm.Float) -> FrameSetData:
    """The steps of a relaxation that are labels each: converged, the carrier localised on the requested sites."""
    return FrameSetData.from_frames(
        [
            frame
            for frame in released.get_frames()
            if judge(frame, frame.requested_sites, carrier["species"], max_participation.value).outcome == "verified"
        ]
    )


@calcfunction
def gather_outcomes(failed: orm.Dict, **verdicts: orm.Dict) -> orm.Dict:
    """Verdicts on labels and their counts, keyed by frame id.

    `verdicts` holds that of every label whose released run ended, as `label_<id>`; `failed` is {id: exit status} of
    the others, None for one that was refused before it was submitted.
    """
    labels = {key.removeprefix("label_"): verdicts[key].get_dict() for key in sorted(verdicts)}
    labels |= {key: {"outcome": "failed", "exit_status": status} for key, status in failed.get_dict().items()}
    names = ("verified", "moved", "delocalised", "merged", "wrong_orbital", "not_converged", "failed")
    counts = {name: sum(label["outcome"] == name for label in labels.values()) for name in names}
    return orm.Dict({"counts": counts, "total": len(labels), "labels": labels})


def find_frame(frames: FrameSetData, frame_id: str) -> Frame:
    """The frame of that id; the list may be in any order."""
    for frame in frames.get_frames():
        if frame.id == frame_id:
            return frame
    raise FrameError(f"no frame with id {frame_id!r} in FrameSetData<{frames.pk}> of {len(frames)} frames")
