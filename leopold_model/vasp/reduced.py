"""A run as one small HDF5 file: what frames, verdicts and restarts need of OUTCAR, to the printed digit.

OUTCAR of long dynamics is gigabytes, most of it the onsite matrices of every electronic iteration. Where the run was
made it is read once and reduced, and only the result travels: the settings, and of every complete step the energy,
forces, stress, cell, positions, moments, spin occupations, thermostat and convergence; the onsite matrices of the last
step. Not kept are the charges, and the parts of charges and moments by l.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from leopold_model.foreign import open_hdf5
from leopold_model.vasp.header import OccBanner
from leopold_model.vasp.run import Run, Step, VaspError
from leopold_model.vasp.template import shells_from_list, shells_to_list

REDUCED = "run.h5"
FORMAT = "leopold reduced VASP run 1"
_SCALARS = (
    "index", "converged", "n_electronic", "energy", "cell_moment", "from_spheres", "temperature", "kinetic",
    "kinetic_lattice", "thermostat_potential", "thermostat_kinetic", "conserved",
)  # fmt: skip
_ARRAYS = ("forces", "stress", "cell", "positions", "moments", "occupations")
_COMPRESSED = {"compression": "gzip", "shuffle": True}
_ELSEWHERE = ("steps", "cell", "occ_banner")  # attributes of a run that are no plain data


def write_reduced(path: str | Path, run: Run) -> None:
    """Write the complete steps of `run`; the file has its name only once it is whole."""
    path, steps = Path(path), run.complete_steps
    plain = {name: value for name, value in vars(run).items() if name not in _ELSEWHERE}
    plain["cell"] = None if run.cell is None else run.cell.tolist()
    plain["occ_banner"] = run.occ_banner and [run.occ_banner.tags, run.occ_banner.atoms]
    plain["unphysical"] = {k: step.unphysical for k, step in enumerate(steps) if step.unphysical}
    plain["onsite"] = shells_to_list(steps[-1].onsite) if steps and steps[-1].onsite else None
    part = path.with_name(path.name + ".part")
    with h5py.File(part, "w") as file:
        file.attrs["format"] = FORMAT
        file["run"] = json.dumps(plain)
        for name in _SCALARS:
            values = [getattr(step, name) for step in steps]
            file[f"steps/{name}"] = np.array([np.nan if value is None else value for value in values])
        for name in _ARRAYS:
            # absent in some steps, or in all
            having = [k for k, step in enumerate(steps) if getattr(step, name) is not None]
            if having:
                data = np.array([getattr(steps[k], name) for k in having])
                file.create_dataset(f"{name}/values", data=data, chunks=(1, *data.shape[1:]), **_COMPRESSED)
                file[f"{name}/steps"] = having
    part.replace(path)


def read_reduced(path: str | Path) -> Run:
    """Inverse of `write_reduced`; VaspError if the file is none of its results, or cut."""
    with open_hdf5(path, VaspError, "reduce OUTCAR again") as file:
        if file.attrs.get("format") != FORMAT:
            raise VaspError(f"{path}: not a reduced VASP run; make it with `leopold reduce-vasp OUTCAR`")
        plain = json.loads(file["run"][()])
        scalars = {name: file[f"steps/{name}"][:].tolist() for name in _SCALARS}
        arrays = {name: (file[f"{name}/steps"][:], file[f"{name}/values"][:]) for name in _ARRAYS if name in file}
        return _run(plain, scalars, arrays)


def _run(plain: dict, scalars: dict[str, list], arrays: dict[str, tuple[np.ndarray, np.ndarray]]) -> Run:
    steps = [
        Step(complete=True, **dict(zip(_SCALARS, row, strict=True))) for row in zip(*scalars.values(), strict=True)
    ]
    for name, (having, values) in arrays.items():
        for k, value in zip(having, values, strict=True):
            setattr(steps[k], name, value)
    for step, moment in zip(steps, scalars["cell_moment"], strict=True):
        step.cell_moment = None if np.isnan(moment) else moment
    for k, atoms in plain.pop("unphysical").items():
        steps[int(k)].unphysical = tuple(atoms)
    onsite, cell, banner = plain.pop("onsite"), plain.pop("cell"), plain.pop("occ_banner")
    if onsite:
        steps[-1].onsite = shells_from_list(onsite)
    return Run(
        **plain,
        steps=steps,
        cell=None if cell is None else np.array(cell),
        occ_banner=banner and OccBanner(*map(tuple, banner)),
    )
