"""`leopold-vasp-standin`: a self-trapped carrier on a classical lattice, behind VASP's files.

Run it where vasp_std would be run: it reads INCAR, POSCAR, KPOINTS and POTCAR (and OCCMATRIX, WAVECAR) in the
working directory and writes OUTCAR, vasprun.xml, OSZICAR, CONTCAR, XDATCAR, WAVECAR and CHGCAR there. It knows MgO with
holes and TiO2 with electrons, fluorine on oxygen sites and oxygen vacancies included, and the impurities that hold such
a carrier (N on an oxygen, V on a titanium site). Its numbers come from a model Hamiltonian; they are never DFT+U
results. OUTCAR names the parameter set and lists the INCAR tags that have no effect.

INCAR decides: SYSTEM (a word of it may name another parameter set for the same species: `anatase` for TiO2 instead of
rutile, `mgo-sharp` for MgO with sudden hops), NSW, IBRION (-1, 0, 1, 2), ISIF (0-2), POTIM, MDALGO (0-3) with SMASS,
LANGEVIN_GAMMA or ANDERSEN_PROB, TEBEG, TEEND, NBLOCK, NELECT (against closed shells: the number of carriers) or
NUPDOWN, ISPIN, LDAU with LDAUL, LDAUU and LDAUJ (a carrier self-traps only with both), MAGMOM, LORBIT, LDAUPRINT,
EDIFF, EDIFFG, NELM, NWRITE, ISTART, LWAVE, LCHARG, RANDOM_SEED, and OCCEXT or OCCDIRn as in VASP with the occupation
matrix patch (LEOPOLD_STANDIN_UNPATCHED=1 ignores them without a word). STOPCAR is honoured.
"""

from __future__ import annotations

import sys
from pathlib import Path

from leopold_model.standin import failures
from leopold_model.standin.run import Crash, run
from leopold_model.standin.vasp_input import InputError


def main() -> None:
    """Run in the working directory; what cannot be run ends with one line on stderr and code 1."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(f"{__doc__}\n{failures.__doc__}")
        return
    try:
        run(Path.cwd(), sys.stdout)
    except (InputError, Crash) as error:
        sys.stdout.flush()
        sys.exit(f" ERROR: {error}")


if __name__ == "__main__":
    main()
