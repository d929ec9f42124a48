"""Input directories for the stand-in, and ways to run it in them."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from leopold_model.standin.crystals import ideal_cell
from leopold_model.standin.run import run

VALENCE = {"Mg": 8, "O": 6, "Ti": 10, "F": 7}
MASS = {"Mg": 24.305, "O": 16.0, "Ti": 47.88, "F": 18.998}
COMMON = {
    "ISPIN": 2,
    "LDAU": ".TRUE.",
    "LDAUTYPE": 2,
    "LDAUPRINT": 2,
    "LORBIT": 11,
    "EDIFF": "1E-5",
    "NELM": 200,
    "ENCUT": 400,
    "ISYM": 0,
}
MGO = {**COMMON, "LDAUL": "1 1", "LDAUU": "0 10", "LDAUJ": "0 0"}
TIO2 = {**COMMON, "LDAUL": "2 -1", "LDAUU": "4 0", "LDAUJ": "0.1 0"}
MD = {"IBRION": 0, "POTIM": 1.0, "ISIF": 2, "TEBEG": 300}


def crystal(name: str, repeat=(2, 2, 2), rattle: float = 0.02, around: int | None = None) -> Atoms:
    """The host, rattled (Angstrom), with the six neighbours of atom `around` pushed out as a polaron pushes them."""
    atoms = ideal_cell(name, repeat)
    if around is not None:
        offsets = atoms.get_distances(around, range(len(atoms)), mic=True, vector=True)
        lengths = np.linalg.norm(offsets, axis=1)
        near = np.argsort(lengths)[1:7]
        atoms.positions[near] += 0.08 * offsets[near] / lengths[near, None]
    atoms.positions += np.random.default_rng(1).normal(scale=rattle, size=atoms.positions.shape)
    return atoms


def electrons(atoms: Atoms) -> int:
    return sum(VALENCE[s] for s in atoms.get_chemical_symbols())


def potcar(symbols) -> str:
    return "".join(
        f"  PAW_PBE {s} PLACEHOLDER\n   {VALENCE[s]}.0\n parameters from PSCTR are:\n   LEXCH  = PE\n"
        f"   TITEL  = PAW_PBE {s} PLACEHOLDER\n   POMASS ={MASS[s]:9.3f}; ZVAL   ={VALENCE[s]:9.3f}\n"
        "   ENMAX  =  400.000; ENMIN  =  300.000 eV\n END of PSCTR-controll parameters\n End of Dataset\n"
        for s in symbols
    )


def prepare(directory: Path, atoms: Atoms, incar: dict, seed_site: int | None = None) -> Path:
    """A directory ready to run: one carrier of the crystal's kind unless `incar` has NELECT, MAGMOM on `seed_site`."""
    directory.mkdir(parents=True, exist_ok=True)
    symbols = atoms.get_chemical_symbols()
    tags = {"NELECT": electrons(atoms) + (1 if "Ti" in symbols else -1), **incar}
    if seed_site is not None:
        tags["MAGMOM"] = f"{seed_site}*0 1 {len(atoms) - seed_site - 1}*0"
    (directory / "INCAR").write_text("".join(f"{k} = {v}\n" for k, v in tags.items() if v is not None))
    (directory / "KPOINTS").write_text("Gamma only\n0\nGamma\n1 1 1\n0 0 0\n")
    (directory / "POTCAR").write_text(potcar(dict.fromkeys(symbols)))
    write(directory / "POSCAR", atoms, format="vasp", direct=True)
    return directory


def here(directory: Path) -> str:
    """Run in this process; returns stdout."""
    stdout = StringIO()
    run(directory, stdout)
    return stdout.getvalue()


def command(directory: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run the command as a user would, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "leopold_model.standin"],
        cwd=directory,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
