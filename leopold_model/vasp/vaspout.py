"""vaspout.h5 of VASP 6, if it was built with HDF5: every ionic step in full precision, with the moments of the spheres.

All quantities of all steps are arrays under `intermediate/ion_dynamics`, with a first axis that grows step by step:

    energies (n, m), energies_tags (m,)      eV, and K for the temperature; other tags in dynamics than else
    position_ions (n, atoms, 3)              fractional
    lattice_vectors (n, 3, 3), scale         Angstrom, rows
    forces (n, atoms, 3), stress (n, 3, 3)   eV/Angstrom, kB
    magnetism/moments                        (n, component, atoms, l) to 6.4; before 6.2 under `intermediate/history`
    magnetism/spin_moments/values            the same from 6.5; component 0 is the charge, 1 the moment
    electronic_step_converged (n,)           from 6.5, 0 for yes
    oszicar (rows, columns)                  from 6.5, one row per electronic iteration, counted from 1 in each step

There are no onsite matrices in it, before 6.5 nothing tells whether the electronic loop converged, and the steps of a
machine-learned force field cannot be told from those of DFT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from leopold_model.foreign import open_hdf5
from leopold_model.vasp.header import possible
from leopold_model.vasp.outcar import KILOBAR
from leopold_model.vasp.run import Run, Step, VaspError, problems
from leopold_model.vasp.spheres import occupations_from_spheres

_DYNAMICS = "intermediate/ion_dynamics"
_MOMENTS = (
    f"{_DYNAMICS}/magnetism/spin_moments/values", f"{_DYNAMICS}/magnetism/moments",
    "intermediate/history/magnetism/moments",
)  # fmt: skip
# the last word of a label in `energies_tags`: the field it fills
_ENERGIES = {
    "TOTEN": "energy", "TEIN": "temperature", "EKIN": "kinetic", "EKIN_LAT": "kinetic_lattice",
    "ES": "thermostat_potential", "EPS": "thermostat_kinetic", "ETOTAL": "conserved",
}  # fmt: skip
_SETTINGS = {
    "ISPIN": int, "LORBIT": int, "NWRITE": int, "NELM": int, "IBRION": int, "NSW": int, "ISYM": int,
    "EDIFF": float, "POTIM": float, "TEBEG": float, "TEEND": float, "ENCUT": float, "NELECT": float,
}  # fmt: skip


def read_vaspout(path: str | Path) -> Run:
    """The steps of a vaspout.h5, without onsite matrices; raises VaspError if it is none or was left open by a crash.

    `converged` is False where the file does not tell, which the problems then say.
    """
    if not Path(path).is_file():
        raise VaspError(f"{path} does not exist: give a run folder, or its OUTCAR, vaspout.h5 or vasprun.xml")
    with open_hdf5(path, VaspError, "this is no vaspout.h5: give OUTCAR or vasprun.xml") as h5:
        return _read(h5, Run(path=str(path)))


def _read(h5: h5py.File, run: Run) -> Run:
    _settings(h5, run)
    arrays = h5.get(_DYNAMICS, {})
    failed = _array(arrays, "electronic_step_converged")
    converged = None if failed is None else failed.ravel() == 0
    if "energies" in arrays and not run.force_field:
        moments = next((h5[name] for name in _MOMENTS if name in h5), None)
        iterations = _iterations(arrays)
        # a killed run may have written the arrays of its last step in part
        whole = min(len(arrays[name]) for name in ("energies", "position_ions", "forces") if name in arrays)
        for k in range(min(whole + 1, len(arrays["energies"]))):
            step = _step(run, arrays, moments, k)
            step.complete = bool(np.isfinite(step.energy)) and k < whole
            step.n_electronic = iterations[k] if k < len(iterations) else 0
            step.converged = step.complete and converged is not None and k < len(converged) and bool(converged[k])
            run.steps.append(step)
    run.finished = "results/electron_eigenvalues" in h5
    run.problems = problems(run)
    if run.complete_steps and converged is None:
        run.problems.append(f"{run.path}: before VASP 6.5 this file does not tell of convergence: give OUTCAR for that")
    return run


def _settings(h5: h5py.File, run: Run) -> None:
    version = h5.get("version", {})
    run.version = ".".join(str(int(version[name][()])) for name in ("major", "minor", "patch") if name in version)
    tags = {tag: _text(value[()]) for tag, value in h5.get("input/incar", {}).items()}
    for tag, convert in _SETTINGS.items():
        try:
            setattr(run, tag.lower(), convert(float(tags[tag])))
        except (KeyError, ValueError):
            continue
    run.noncollinear = any(_true(tags.get(tag, "")) for tag in ("LNONCOLLINEAR", "LSORBIT"))
    run.force_field = _true(tags.get("ML_LMLFF", ""))
    structure: Mapping = next((h5[name] for name in ("results/positions", "input/poscar") if name in h5), {})
    if "ion_types" in structure:
        run.counts = [int(n) for n in np.atleast_1d(structure["number_ion_types"][()])]
        if not possible(run.counts):
            raise VaspError(f"number_ion_types = {run.counts[:10]}: no number of atoms that a cell can have")
        positions = h5.get(f"{_DYNAMICS}/position_ions")
        if positions is not None and positions.shape[1] != run.n_atoms:
            raise VaspError(f"{run.n_atoms} atoms in number_ion_types, {positions.shape[1]} in position_ions")
        species = [re.split(r"[_/]", _text(s))[0].strip() for s in structure["ion_types"][()]]
        run.symbols = [s for s, n in zip(species, run.counts, strict=True) for _ in range(n)]
    if _true(tags.get("LDAU", "")):
        run.ldau_l = [int(shell) for shell in re.findall(r"-?\d+", tags.get("LDAUL", ""))]
    if "input/potcar/content" in h5:
        content = _text(h5["input/potcar/content"][()])
        run.valences = [float(z) for z in re.findall(r"ZVAL\s*=\s*([\d.]+)", content)]
    if "NELECT" not in tags:
        run.nelect = run.neutral


def _step(run: Run, arrays, moments, k: int) -> Step:
    step = Step(index=k + 1)
    for tag, value in zip(arrays["energies_tags"][()], arrays["energies"][k], strict=True):
        name = _ENERGIES.get(_text(tag).split()[-1])
        if name:
            setattr(step, name, float(value))
    scale = float(arrays["scale"][()]) if "scale" in arrays else 1.0
    cell, positions, stress = (_array(arrays, name, k) for name in ("lattice_vectors", "position_ions", "stress"))
    step.forces = _array(arrays, "forces", k)
    step.cell = None if cell is None else scale * cell
    step.positions = None if positions is None or step.cell is None else positions @ step.cell
    step.stress = None if stress is None else -KILOBAR * stress
    if moments is not None and k < len(moments):
        components = np.asarray(moments[k])  # (component, atoms, l)
        step.charges_by_l, step.charges = components[0], components[0].sum(axis=1)
        run.lorbit, run.noncollinear = max(run.lorbit, 10), len(components) == 4
        if len(components) == 2:
            run.ispin = 2
            step.moments_by_l, step.moments = components[1], components[1].sum(axis=1)
            step.occupations = occupations_from_spheres(run, step)
            step.from_spheres = step.occupations is not None
    return step


def _array(arrays, name: str, k: int | None = None) -> np.ndarray | None:
    """A dataset, or its entry `k`; None where it is not there or not a number throughout."""
    if name not in arrays or (k is not None and k >= len(arrays[name])):
        return None
    array = np.asarray(arrays[name][()] if k is None else arrays[name][k], dtype=float)
    return array if np.isfinite(array).all() else None


def _iterations(arrays) -> list[int]:
    """Electronic iterations of each step: the column N of `oszicar` counts from 1 in every one."""
    if "oszicar" not in arrays or "oszicar_label" not in arrays:
        return []
    labels = [_text(label).strip() for label in arrays["oszicar_label"][()]]
    if "N" not in labels:
        return []
    counted = np.asarray(arrays["oszicar"][()])[:, labels.index("N")].astype(int)
    return counted[[*(np.flatnonzero(counted[1:] <= counted[:-1])), -1]].tolist() if len(counted) else []


def _text(value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _true(text: str) -> bool:
    return text.strip(". ").upper()[:1] in ("T", "1")
