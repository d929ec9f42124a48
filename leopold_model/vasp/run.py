"""What a VASP run is here, whichever file it was read from: steps, problems in words, and the frames to learn from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from ase.data import atomic_numbers

from leopold_model.frames import Frame, carrier_sites
from leopold_model.vasp.header import Header

# a site carries a carrier if its moment is above both: half of the largest moment in the cell, and this many mu_B
LOCALISED_MOMENT = 0.3


class VaspError(ValueError):
    """A VASP file or setting that cannot serve; the message names the tag or file, its value and the remedy."""


@dataclass
class Step:
    """One ionic step of n atoms; `index` is VASP's own number, from 1. Absent quantities are None, energies NaN.

    `energy` is the force-consistent one (eV), `forces` (n, 3) eV/Angstrom, `stress` (3, 3) eV/Angstrom^3 with ASE's
    sign, `cell` (3, 3) and `positions` (n, 3) Angstrom. `moments` and `charges` (n,) are the sphere totals, `*_by_l`
    (n, l) their s, p, d (f) parts, `cell_moment` n_up - n_down of the whole cell. `occupations` (n, 2) are the traces
    (up, down) of the onsite matrices, zero on atoms without one; `onsite` the matrices themselves,
    {atom: (l, up, down)}, atoms from 0; `from_spheres` says that the occupations were made from `charges` and `moments`
    because there are no matrices. Dynamics has `temperature` (K), the kinetic energies of the ions and of the lattice,
    the potential and kinetic energies of the thermostat, and `conserved`, the sum with `energy` (eV). `unphysical`
    lists atoms with impossible occupations.
    """

    index: int
    complete: bool = False
    converged: bool = False
    n_electronic: int = 0
    energy: float = float("nan")
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    cell: np.ndarray | None = None
    positions: np.ndarray | None = None
    moments: np.ndarray | None = None
    moments_by_l: np.ndarray | None = None
    charges: np.ndarray | None = None
    charges_by_l: np.ndarray | None = None
    cell_moment: float | None = None
    occupations: np.ndarray | None = None
    onsite: dict[int, tuple[int, np.ndarray, np.ndarray]] | None = None
    from_spheres: bool = False
    temperature: float = float("nan")
    kinetic: float = float("nan")
    kinetic_lattice: float = float("nan")
    thermostat_potential: float = float("nan")
    thermostat_kinetic: float = float("nan")
    conserved: float = float("nan")
    unphysical: tuple[int, ...] = ()

    @property
    def max_force(self) -> float | None:
        """Largest force on an atom, eV/Angstrom."""
        return None if self.forces is None else float(np.linalg.norm(self.forces, axis=1).max())


@dataclass
class Run(Header):
    """A run: its resolved settings, its steps, what is wrong with it in words, and whether it ended by itself.

    Only the last complete step keeps its onsite matrices (the traces stay in all), so that long runs fit in memory.
    `has_moments` is False for a kind of file that never holds site moments or onsite matrices. `n_runs` counts the runs
    put end to end in one file; reading stops where one of `other_atoms` follows.
    """

    path: str = ""
    steps: list[Step] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    finished: bool = False
    has_moments: bool = True
    n_runs: int = 1
    other_atoms: bool = False

    @property
    def complete_steps(self) -> list[Step]:
        """The steps that can be used."""
        return [step for step in self.steps if step.complete]


def n_carriers(run: Run, step: Step) -> int:
    """Carriers in the cell: the electrons added or taken by NELECT, or, in a neutral cell, the rounded cell moment.

    The second case covers dopants and vacancies, which bring their carriers with them. 0 if neither is known.
    """
    if run.excess_electrons:
        return abs(run.excess_electrons)
    return abs(round(step.cell_moment)) if step.cell_moment is not None else 0


def localised_sites(moments: np.ndarray | None, n: int) -> tuple[int, ...]:
    """Atoms (0-based, ascending) that carry one of `n` carriers: the largest |moments| (n_atoms,), and only those above
    0.3 mu_B and above half of the largest. A delocalised carrier gives fewer than `n`, usually none.

    The sphere holds less than the whole carrier (0.75 to 0.87 of 1 mu_B for Ti 3d), so no sum is tested.
    """
    if moments is None or n == 0:
        return ()
    size = np.abs(moments)
    largest = np.argsort(-size, kind="stable")[:n]
    return tuple(sorted(int(i) for i in largest if size[i] > max(LOCALISED_MOMENT, 0.5 * size.max())))


def spin_sign(step: Step) -> int:
    """-1 if the cell's moment points down (VASP's choice of axis is arbitrary), else 1."""
    total = step.cell_moment
    if total is None:
        total = 0.0 if step.moments is None else float(step.moments.sum())
    return -1 if total < 0 else 1


def frames(
    run: Run, *, carrier: str, n_carriers: int, run_name: str = "", source: str = "", settings: str = ""
) -> list[Frame]:
    """The complete steps of `run` as frames, spin turned so that the carrier's is positive; `converged` is kept.

    Left out, and named in `run.problems`: steps without forces, and steps with impossible occupations.
    Raises VaspError where moments are needed (`n_carriers` > 0) and the run cannot have printed them.
    """
    if n_carriers:
        refuse_without_moments(run)
    if len(run.symbols) != run.n_atoms or "X" in run.symbols:
        raise VaspError(f"{run.path}: the species of the atoms cannot be read from the POTCAR titles; use vasprun.xml")
    numbers = np.array([atomic_numbers[s] for s in run.symbols])
    made = []
    for step in run.complete_steps:
        if step.positions is None or step.forces is None or step.cell is None or step.unphysical:
            continue
        if n_carriers and step.moments is None:
            continue
        sign = spin_sign(step)
        moments = None if step.moments is None else sign * step.moments
        occupations = step.occupations
        if occupations is not None and sign < 0:
            occupations = occupations[:, ::-1]
        made.append(
            Frame(
                numbers=numbers,
                positions=step.positions,
                cell=step.cell,
                energy=step.energy,
                forces=step.forces,
                stress=step.stress,
                occupations=occupations,
                moments=moments,
                carrier=carrier,
                carrier_sites=carrier_sites(moments, n_carriers) if moments is not None and n_carriers else (),
                source=source,
                run=run_name,
                step=step.index,
                temperature=step.temperature,
                converged=step.converged,
                settings=settings,
            )
        )
    return made


def at_thermostat(made: list[Frame], run: Run) -> list[Frame]:
    """Frames of dynamics at one temperature with that of the thermostat, by which runs are told apart and rates belong
    together; of a ramp they keep that of their step, and without dynamics they have none."""
    if run.ibrion != 0:
        return [replace(frame, temperature=math.nan) for frame in made]
    if run.tebeg is None or run.tebeg != run.teend:
        return made
    return [replace(frame, temperature=run.tebeg) for frame in made]


def refuse_without_moments(run: Run) -> None:
    """Raise VaspError if site moments cannot exist in this run, naming the tag to change."""
    reason = _no_moments(run)
    if reason:
        raise VaspError(f"{run.path}: {reason}")


def _no_moments(run: Run) -> str:
    if not run.has_moments:
        return "vasprun.xml holds no site moments and no onsite matrices: give OUTCAR to see where the carriers sit"
    if any(step.moments is not None for step in run.steps):
        return ""
    if run.noncollinear:
        return "LNONCOLLINEAR = T: site moments are vectors here, only collinear runs can be used; set ISPIN = 2"
    if run.ispin != 2:
        return f"ISPIN = {run.ispin}: no site moments; set ISPIN = 2"
    if run.lorbit < 10:
        return f"LORBIT = {run.lorbit}: no site moments; set LORBIT = 11"
    return ""


def problems(run: Run) -> list[str]:
    """What keeps steps of `run` from being used, in words: tag or step, value, remedy."""
    said = []
    if not run.version:
        said.append(f"{run.path}: no VASP version found: this is no VASP output, or its head is missing")
    elif run.steps and not run.symbols:
        said.append(f"{run.path}: the species of the atoms are not told by the head of the file")
    if run.n_runs > 1:
        said.append(f"{run.path}: {run.n_runs} runs put end to end: their steps are numbered on")
    if run.other_atoms:
        said.append(f"{run.path}: a run of other atoms follows and is not read: give each run a file of its own")
    if run.force_field:
        said.append("ML_LMLFF = T: steps taken by the machine-learned force field are no DFT and are not read")
    if not run.finished:
        said.append("the run did not end by itself (killed, crashed or the file was cut): only complete steps are used")
    said += [f"step {s.index} is incomplete and not used" for s in run.steps if not s.complete]
    if not run.complete_steps:
        said.append("no complete ionic step: nothing to use; look at the end of the file for the reason")
        return said
    reason = _no_moments(run)
    if reason:
        said.append(reason)
    used = run.complete_steps
    ediff = f", EDIFF = {run.ediff:g}" if run.ediff else ""  # vasprun.xml has eight decimals of it
    _say(
        said,
        [s for s in used if not s.converged],
        f"electronic loop not converged (NELM = {run.nelm}{ediff}): raise NELM or change ALGO",
    )
    _say(
        said,
        [s for s in used if s.forces is None],
        f"no forces (NWRITE = {run.nwrite}; 0 prints them in the first and last step only, and **** stands for those "
        "that overflow): set NWRITE = 2, or keep vasprun.xml in the folder of the run",
    )
    if not reason:
        _say(said, [s for s in used if s.moments is None], "no table of site moments")
    _say(
        said,
        [s for s in used if s.from_spheres],
        "no onsite density matrices: spin occupations are those of the LORBIT tables of charge and moment"
        + ("; set LDAUPRINT = 2 for the matrices" if any(shell >= 0 for shell in run.ldau_l) else ""),
    )
    for step in used:
        for atom in step.unphysical:
            up, down = step.occupations[atom]  # type: ignore[index]
            said.append(
                f"step {step.index}: onsite occupations of atom {atom} (from 0) are impossible (traces {up:.4f} up, "
                f"{down:.4f} down): not used as a frame; check U, l and the POTCAR of that species"
            )
    if run.occ_banner and run.occ_banner.imposed:
        said.append(
            f"occupations were imposed in this run ({', '.join(run.occ_banner.tags)}): its energies and forces "
            "carry the constraint and must not be trained on"
        )
    return said


def _say(said: list[str], steps: list[Step], what: str) -> None:
    if steps:
        said.append(f"{steps_named([s.index for s in steps])}: {what}")


def steps_named(indices: list[int]) -> str:
    """Step numbers with neighbours joined: 'steps 1-3, 7'."""
    parts: list[list[int]] = []
    for i in indices:
        if parts and i == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], i]
        else:
            parts.append([i])
    text = ", ".join("-".join(str(i) for i in part) for part in parts)
    return f"step {text}" if len(indices) == 1 else f"steps {text}"
