"""Placeholder potentials for `leopold-vasp-standin`: the POTCAR header VASP's files need and nothing of VASP's data.

The stand-in reads the element, the number of valence electrons and the mass. Names, titles and the family say
that these are placeholders; VASP itself cannot run with them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from aiida_vasp.data.potcar import PotcarData

FAMILY = "leopold-standin"
# POTCAR folder name -> (valence electrons, atomic mass in amu); the names are those of the material protocols
POTENTIALS = {
    "Mg_pv": (8, 24.305), "O": (6, 16.000), "Ti_pv": (10, 47.880), "F": (7, 18.998), "V_pv": (11, 50.942),
    "N": (5, 14.007),
}  # fmt: skip


def potcar_text(name: str) -> str:
    """The placeholder POTCAR called `name` (a key of `POTENTIALS`)."""
    valence, mass = POTENTIALS[name]
    element = name.split("_")[0]
    return (
        f"  PAW_PBE {name} PLACEHOLDER\n"
        f"   {valence:.14f}\n"
        " parameters from PSCTR are:\n"
        f"   VRHFIN ={element}: placeholder of leopold-vasp-standin, not a VASP potential\n"
        "   LEXCH  = PE\n"
        f"   TITEL  = PAW_PBE {name} PLACEHOLDER\n"
        f"   POMASS = {mass:8.3f}; ZVAL   = {valence:8.3f}    mass and valenz\n"
        "   ENMAX  =  400.000; ENMIN  =  300.000 eV\n"
        " END of PSCTR-controll parameters\n"
        " End of Dataset\n"
    )


def write(folder: Path) -> None:
    """Write `<folder>/<name>/POTCAR` for every placeholder, the layout `aiida-vasp potcar uploadfamily` reads."""
    for name in POTENTIALS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "POTCAR").write_text(potcar_text(name))


def install() -> str:
    """Create the placeholder family in the loaded profile, or what is missing of it; returns its label."""
    group = PotcarData.get_potcar_group(FAMILY)
    if group is None or not set(POTENTIALS) <= {potcar.full_name for potcar in group.nodes}:
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / FAMILY
            write(folder)
            PotcarData.upload_potcar_family(
                folder, FAMILY, "placeholders for leopold-vasp-standin, not VASP potentials", stop_if_existing=False
            )
    return FAMILY


if __name__ == "__main__":  # python -m leopold_workflows.vasp.standin_potcar FOLDER
    write(Path(sys.argv[1]))
