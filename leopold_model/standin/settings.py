"""What INCAR, POSCAR, POTCAR and OCCMATRIX together ask for: checked, with VASP's defaults, before the first step."""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from leopold_model.standin import dynamics
from leopold_model.standin.parameters import ParameterSet, choose
from leopold_model.standin.vasp_input import (
    Imposed,
    Incar,
    InputError,
    Kpoints,
    Poscar,
    Potential,
    parse_incar,
    parse_kpoints,
    parse_occdir,
    parse_occmatrix,
    parse_poscar,
    parse_potcar,
    read_text,
)

# closed shells: an electron count away from these charges is a carrier
FORMAL_CHARGE = {"Mg": 2, "Ti": 4, "O": -2, "F": -1, "V": 5, "N": -3}
DEFAULT_SEED = (20260101, 0, 0)

# tags that decide something; every other tag of an INCAR is listed in OUTCAR as without effect
EFFECTIVE = {
    *("SYSTEM", "NSW", "IBRION", "ISIF", "EDIFF", "NELM", "NELECT", "NUPDOWN", "MAGMOM", "ISPIN"),
    *("LDAU", "LDAUL", "LDAUU", "LDAUJ", "LDAUPRINT", "LORBIT", "NWRITE", "ISTART", "LWAVE", "LCHARG", "OCCEXT"),
}
EFFECTIVE_IN_MD = {
    *("POTIM", "MDALGO", "SMASS", "LANGEVIN_GAMMA", "ANDERSEN_PROB", "TEBEG", "TEEND", "NBLOCK", "RANDOM_SEED"),
}
# tags whose requests no engine without them could honour: refused rather than ignored
REFUSED = {
    "LNONCOLLINEAR": "the model has one spin axis; remove it or set .FALSE.",
    "LSORBIT": "the model has no spin-orbit coupling; remove it or set .FALSE.",
    "LHFCALC": "the model has no exact exchange; remove it or set .FALSE.",
    "ML_LMLFF": "the model has no on-the-fly force field; remove it or set .FALSE.",
}


@dataclass(frozen=True)
class Job:
    """One run, ready to start. Per-species lists follow POSCAR's order; `magmom` has one entry per atom."""

    incar: Incar
    poscar: Poscar
    kpoints: Kpoints
    potentials: list[Potential]
    parameters: ParameterSet
    n_carriers: int
    nelect: float
    steps: int
    ibrion: int
    ispin: int
    isif: int
    nelm: int
    ediff: float
    ediffg: float
    potim: float
    tebeg: float
    teend: float
    nwrite: int
    nblock: int
    lorbit: int
    ldau: bool
    ldaul: list[int]
    ldauu: list[float]
    ldauj: list[float]
    ldauprint: int
    magmom: np.ndarray
    restart: bool
    unpatched: bool
    lwave: bool
    lcharg: bool
    occext: bool
    occdir: list[str]
    imposed: list[Imposed]
    seed: tuple[int, ...]
    rng: np.random.Generator = field(repr=False)
    without_effect: list[str]

    @property
    def localising(self) -> bool:
        """A carrier self-traps only in a spin-polarised run with a U on its sites, as with a semilocal functional."""
        on = [
            u > j and momentum >= 0
            for t, momentum, u, j in zip(self.poscar.types, self.ldaul, self.ldauu, self.ldauj, strict=True)
            if t in self.parameters.sublattice
        ]
        return self.ispin == 2 and self.ldau and any(on)

    @property
    def masses(self) -> np.ndarray:
        return np.repeat([p.mass for p in self.potentials], self.poscar.counts)

    @property
    def valences(self) -> np.ndarray:
        return np.repeat([p.valence for p in self.potentials], self.poscar.counts)

    def temperature(self, step: int) -> float:
        """Thermostat temperature at a 1-based step: linear from TEBEG to TEEND."""
        return self.tebeg + (self.teend - self.tebeg) * (step - 1) / max(self.steps - 1, 1)


def read_job(directory: Path) -> Job:
    """Read and check the input files of `directory`; `InputError` names what cannot be run."""
    incar = parse_incar(read_text(directory, "INCAR"))
    poscar_text = read_text(directory, "POSCAR")
    poscar = parse_poscar(poscar_text)
    kpoints = parse_kpoints(read_text(directory, "KPOINTS"))
    potentials = _potentials(parse_potcar(read_text(directory, "POTCAR")), poscar)
    for tag, remedy in REFUSED.items():
        if incar.logical(tag, False):
            raise InputError(f"INCAR: {tag} = {incar[tag]}: {remedy}")
    try:
        parameters = choose(poscar.symbols, title=incar.get("SYSTEM", ""))
    except ValueError as error:
        raise InputError(f"POSCAR: {error}") from None
    nelect, n_carriers = _carriers(incar, poscar, potentials, parameters)
    n_types, n_atoms = len(poscar.types), len(poscar.symbols)
    nsw = incar.integer("NSW", 0)
    ibrion = incar.integer("IBRION", -1 if nsw < 1 else 0)
    if ibrion not in (-1, 0, 1, 2):
        raise InputError(f"INCAR: IBRION = {ibrion} is not available; choose -1 (static), 0 (MD), 1 or 2 (relaxation)")
    isif = incar.integer("ISIF", 0 if ibrion == 0 else 2)
    if isif not in (0, 1, 2):
        raise InputError(f"INCAR: ISIF = {isif} changes the cell, which is not available; choose 0, 1 or 2")
    ispin = incar.integer("ISPIN", 1)
    if ispin not in (1, 2):
        raise InputError(f"INCAR: ISPIN = {ispin}; choose 1 or 2")
    potim = incar.real("POTIM", 0.0 if ibrion == 0 else 0.5)
    if ibrion == 0 and potim <= 0:
        raise InputError("INCAR: IBRION = 0 needs a time step; set POTIM in fs, e.g. POTIM = 1.0")
    magmom = incar.reals("MAGMOM", [1.0] * n_atoms, n_atoms)
    ediff = incar.real("EDIFF", 1e-4)
    tebeg = incar.real("TEBEG", 0.0)
    seed = tuple(int(x) for x in incar.reals("RANDOM_SEED", [float(x) for x in DEFAULT_SEED]))
    patched = not os.environ.get("LEOPOLD_STANDIN_UNPATCHED")
    occext = patched and incar.integer("OCCEXT", 0) == 1
    ldau = incar.logical("LDAU", False)
    if ldau and not all(tag in incar for tag in ("LDAUL", "LDAUU")):
        raise InputError("INCAR: LDAU = .TRUE. needs LDAUL and LDAUU, one value per species of POSCAR")
    occdir = [tag for tag in incar if re.fullmatch(r"OCCDIR\d{1,3}", tag)] if patched else []
    imposed = [entry for tag in occdir for entry in parse_occdir(tag, incar.reals(tag, []))]
    if occext:
        imposed = parse_occmatrix(read_text(directory, "OCCMATRIX"))  # the file's list replaces that of OCCDIR
    for entry in imposed:
        if not 0 <= entry.atom < n_atoms:
            raise InputError(f"imposed occupations: atom {entry.atom + 1} of a POSCAR with {n_atoms} atoms")
    wavecar = directory / "WAVECAR"
    effective = EFFECTIVE | {0: EFFECTIVE_IN_MD, 1: {"EDIFFG"}, 2: {"EDIFFG"}}.get(ibrion, set())
    effective = effective | set(occdir) if patched else effective - {"OCCEXT"}
    return Job(
        incar=incar,
        poscar=poscar,
        kpoints=kpoints,
        potentials=potentials,
        parameters=parameters,
        n_carriers=n_carriers,
        nelect=nelect,
        steps=1 if ibrion == -1 else max(nsw, 1),
        ibrion=ibrion if nsw > 0 else -1,
        ispin=ispin,
        isif=isif,
        nelm=incar.integer("NELM", 60),
        ediff=ediff,
        ediffg=incar.real("EDIFFG", 10 * ediff),
        potim=potim,
        tebeg=tebeg,
        teend=incar.real("TEEND", tebeg),
        nwrite=incar.integer("NWRITE", 2),
        nblock=max(incar.integer("NBLOCK", 1), 1),
        lorbit=incar.integer("LORBIT", 0),
        ldau=ldau,
        ldaul=[int(x) for x in incar.reals("LDAUL", [2.0] * n_types, n_types)],
        ldauu=incar.reals("LDAUU", [0.0] * n_types, n_types),
        ldauj=incar.reals("LDAUJ", [0.0] * n_types, n_types),
        ldauprint=incar.integer("LDAUPRINT", 0) if ldau else 0,
        magmom=np.array(magmom),
        restart=incar.integer("ISTART", 1) > 0 and wavecar.is_file() and wavecar.stat().st_size > 0,
        unpatched=not patched,
        lwave=incar.logical("LWAVE", True),
        lcharg=incar.logical("LCHARG", True),
        occext=occext,
        occdir=occdir,
        imposed=imposed,
        seed=seed,
        # the structure enters, so that the segments of a chained run do not repeat each other's noise
        rng=np.random.default_rng([*(abs(s) for s in seed), zlib.crc32(poscar_text.encode())]),
        without_effect=[tag for tag in incar if tag not in effective],
    )


def _potentials(potentials: list[Potential], poscar: Poscar) -> list[Potential]:
    if len(potentials) != len(poscar.types):
        titles = ", ".join(p.title for p in potentials)
        raise InputError(
            f"POTCAR holds {len(potentials)} species ({titles}), POSCAR {len(poscar.types)} ({' '.join(poscar.names)})"
        )
    for potential, name, element in zip(potentials, poscar.names, poscar.types, strict=True):
        if potential.element != element:
            raise InputError(
                f"POTCAR has {potential.title!r} where POSCAR has {name!r}: bring them into the same order"
            )
    return potentials


def _carriers(incar: Incar, poscar: Poscar, potentials: list[Potential], parameters: ParameterSet) -> tuple[float, int]:
    """Electron count and number of carriers: NELECT against closed shells, or NUPDOWN where NELECT is not given."""
    valence = sum(n * p.valence for n, p in zip(poscar.counts, potentials, strict=True))
    ionic = sum(n * FORMAL_CHARGE[t] for n, t in zip(poscar.counts, poscar.types, strict=True))
    closed = valence - ionic
    nelect = incar.real("NELECT", valence)
    excess = nelect - closed
    nupdown = incar.real("NUPDOWN", -1.0)
    sign = 1 if parameters.carrier == "electron" else -1
    if "NELECT" not in incar and excess == 0 and nupdown > 0:
        excess = sign * nupdown
    count = round(sign * excess)
    if abs(sign * excess - count) > 1e-6:
        raise InputError(
            f"INCAR: NELECT = {nelect:g} leaves {excess:g} excess electrons over {closed:g}; use a whole number"
        )
    if count < 0:
        raise InputError(
            f"INCAR: NELECT = {nelect:g} asks for {'hole' if sign > 0 else 'electron'}s (closed shells: {closed:g}); "
            f"parameter set {parameters.name} has {parameters.carrier}s: set NELECT = {closed + sign:g} for one"
        )
    sites = sum(n for n, t in zip(poscar.counts, poscar.types, strict=True) if t in parameters.sublattice)
    if count > sites:
        raise InputError(
            f"INCAR: NELECT = {nelect:g} asks for {count} carriers on {sites} {parameters.site_species} sites"
        )
    if "NELECT" in incar and nupdown >= 0 and incar.integer("ISPIN", 1) == 2 and nupdown != count:
        raise InputError(
            f"INCAR: NUPDOWN = {nupdown:g} but NELECT leaves {count} carriers of one spin; make them equal"
        )
    return nelect, count


def integrator(job: Job) -> dynamics.NVE:
    """The dynamics that MDALGO and SMASS ask for."""
    incar, masses, free = job.incar, job.masses, job.poscar.free
    mdalgo, smass = incar.integer("MDALGO", 0), incar.real("SMASS", -3.0)
    if mdalgo == 0 and smass == -3.0:
        return dynamics.NVE(masses, free, job.potim)
    if mdalgo == 0 and smass == -1.0:
        return dynamics.Rescaling(masses, free, job.potim, job.nblock)
    if mdalgo == 1:
        return dynamics.Andersen(masses, free, job.potim, incar.real("ANDERSEN_PROB", 0.0), job.rng)
    if mdalgo == 2 or (mdalgo == 0 and smass >= 0):
        return dynamics.NoseHoover(masses, free, job.potim, _inertia(job, max(smass, 0.0)))
    if mdalgo == 3:
        return dynamics.Langevin(masses, free, job.potim, _friction(job), job.rng)
    if mdalgo == 0:
        raise InputError(
            f"INCAR: SMASS = {smass:g} is not available; choose -3 (NVE), -1 (rescaling) or >= 0 (Nose-Hoover)"
        )
    raise InputError(
        f"INCAR: MDALGO = {mdalgo} is not available; choose 0, 1 (Andersen), 2 (Nose-Hoover) or 3 (Langevin)"
    )


def _friction(job: Job) -> np.ndarray:
    n_types = len(job.poscar.types)
    return np.repeat(job.incar.reals("LANGEVIN_GAMMA", [0.0] * n_types, n_types), job.poscar.counts)


def _inertia(job: Job, smass: float) -> float:
    temperature = max(job.tebeg, job.teend)
    if temperature <= 0:
        raise InputError("INCAR: a Nose-Hoover thermostat needs TEBEG > 0 K")
    dof = dynamics.degrees_of_freedom(job.poscar.free)
    return dynamics.nose_inertia(smass, job.potim, dof, temperature, float(np.linalg.norm(job.poscar.cell[0])))
