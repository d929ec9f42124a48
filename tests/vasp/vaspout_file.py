"""A small vaspout.h5 with the content of a hand-made OUTCAR, in the layouts of VASP 6.1 to 6.5."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tests.vasp.outcar_text import Sample

DYNAMICS = "intermediate/ion_dynamics"
MD_TAGS = (
    "ion-electron   TOTEN", "kinetic energy EKIN", "kin. lattice   EKIN_LAT", "temperature    TEIN",
    "nose potential ES", "nose kinetic   EPS", "total energy   ETOTAL",
)  # fmt: skip
MD_NAMES = (
    "energy", "kinetic", "kinetic_lattice", "temperature", "thermostat_potential", "thermostat_kinetic", "conserved",
)  # fmt: skip
OTHER_TAGS = ("free energy    TOTEN   ", "energy without entropy ", "energy(sigma->0)       ")


def write_vaspout(path: Path, sample: Sample, version: tuple[int, int] = (6, 5), scale: float = 1.0) -> None:
    """Write the steps of `sample` (whose `text` has been made) as VASP of `version` would."""
    steps = sample.steps
    cells = np.array([s["cell"] for s in steps])
    xx, yy, zz, xy, yz, zx = np.array([s["kilobar"] for s in steps]).T
    md = sample.ibrion == 0
    names = MD_NAMES if md else ("energy",) * 3
    tables = [[s["charge_by_l"], s["moment_by_l"]][: sample.ispin] for s in steps]
    with h5py.File(path, "w") as h5:
        for name, number in zip(("major", "minor", "patch"), (*version, 1), strict=True):
            h5[f"version/{name}"] = number
        incar = {
            "ISPIN": sample.ispin, "LORBIT": 11, "NELM": sample.nelm, "IBRION": sample.ibrion, "NSW": len(steps),
            "EDIFF": sample.ediff, "NELECT": 12.0 * sample.n_ti + 6.0 * sample.n_o + 1, "LDAU": b"T", "LDAUL": b"2 -1",
            "SYSTEM": b"a test",
        }  # fmt: skip
        for tag, value in incar.items():
            h5[f"input/incar/{tag}"] = value
        h5["input/potcar/content"] = b"   POMASS = 47.9; ZVAL   =   12.000\n   POMASS = 16.0; ZVAL   =    6.000\n"
        h5["results/positions/ion_types"] = np.array(["Ti_sv", "O "], dtype="S")
        h5["results/positions/number_ion_types"] = [sample.n_ti, sample.n_o]
        h5["results/electron_eigenvalues/ispin"] = sample.ispin
        h5[f"{DYNAMICS}/energies_tags"] = np.array(MD_TAGS if md else OTHER_TAGS, dtype="S23")
        h5[f"{DYNAMICS}/energies"] = np.array([[s[name] for name in names] for s in steps])
        h5[f"{DYNAMICS}/scale"] = scale
        h5[f"{DYNAMICS}/lattice_vectors"] = cells / scale
        h5[f"{DYNAMICS}/position_ions"] = [
            np.linalg.solve(c.T, s["positions"].T).T for c, s in zip(cells, steps, strict=True)
        ]
        h5[f"{DYNAMICS}/forces"] = [s["forces"] for s in steps]
        h5[f"{DYNAMICS}/stress"] = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]]).transpose(2, 0, 1)
        if version >= (6, 5):
            h5[f"{DYNAMICS}/magnetism/spin_moments/values"] = tables
            h5[f"{DYNAMICS}/electronic_step_converged"] = [
                float(k + 1 in sample.unconverged) for k in range(len(steps))
            ]
            h5[f"{DYNAMICS}/oszicar_label"] = np.array(["N", "E", "dE"], dtype="S")
            h5[f"{DYNAMICS}/oszicar"] = [[n + 1, -1.0, 0.1] for s in steps for n in range(s["n_electronic"])]
        else:
            group = f"{DYNAMICS}/magnetism" if version >= (6, 2) else "intermediate/history/magnetism"
            h5[f"{group}/moments"] = tables
            h5[f"{group}/component_tags"] = np.array(["total charge", "magnetization (x)"][: sample.ispin], dtype="S")
