"""OUTCAR before the first ionic step, in the manner of VASP 6.4, with the engine named in its first lines."""

from __future__ import annotations

import time

import numpy as np

from leopold_model import __version__
from leopold_model.standin.fortran import e_format
from leopold_model.standin.settings import Job

RULE = "-" * 104
VERSION = "6.4.3"


def disclaimer(job: Job) -> str:
    """That this is no VASP, with the parameter set."""
    return (
        f"leopold-vasp-standin {__version__}, parameter set {job.parameters.name}: "
        "a model Hamiltonian on a classical lattice. These numbers are NOT DFT+U results."
    )


def subversion(job: Job) -> str:
    """The line in which VASP names its version."""
    return f"leopold-vasp-standin {__version__} parameter set {job.parameters.name} (model, not DFT+U)"


def header(job: Job) -> str:
    """Everything down to the line before the first step."""
    poscar, incar = job.poscar, job.incar
    titles = [p.title for p in job.potentials]
    lines = [
        f" vasp.{VERSION} {subversion(job)} gamma-only",
        f" executed on             LinuxGNU date {time.strftime('%Y.%m.%d  %H:%M:%S')}",
        " running on    1 total cores",
        f" {disclaimer(job)}",
        "",
        "",
        RULE,
        "",
        "",
        " INCAR:",
        *[f"   {tag} = {value}" for tag, value in incar.items()],
        "",
        f" tags without effect in this engine: {' '.join(job.without_effect) or 'none'}",
        " of LDAUU and LDAUJ only the sign of U-J on the carrier's species has an effect: it switches localisation on",
        f" KPOINTS asks for {job.kpoints.points} k-points; the model has no k dependence and uses Gamma",
        f" RANDOM_SEED = {' '.join(str(s) for s in job.seed)}   (with POSCAR, decides velocities and noise)",
        "",
        *[f" POTCAR:    {title}" for title in titles],
    ]
    for p in job.potentials:
        lines += [
            f" POTCAR:    {p.title}",
            f"   TITEL  = {p.title}",
            f"   POMASS ={p.mass:9.3f}; ZVAL   ={p.valence:9.3f}    mass and valenz",
            f"   ENMAX  ={p.cutoff:9.3f}; ENMIN  ={0.75 * p.cutoff:9.3f} eV",
        ]
    if job.ldau and not job.unpatched:
        lines += _occupation_control(job)
    velocities = (
        "velocities in cartesian coordinates" if poscar.velocities is not None else "No initial velocities read in"
    )
    lines += [
        "",
        f" POSCAR: {poscar.comment}",
        "  positions in direct lattice",
        f"  {velocities}",
        "",
        RULE,
        "",
        *_dimensions(job),
        *_parameters(job),
        "",
        RULE,
        "",
        "  energy-cutoff  : " + f"{_cutoff(job):11.2f}",
        *lattice(poscar.cell),
        "",
        " k-points in units of 2pi/SCALE and weight: " + job.kpoints.comment,
        "   0.00000000  0.00000000  0.00000000       1.000",
        "",
        " k-points in reciprocal lattice and weights: " + job.kpoints.comment,
        "   0.00000000  0.00000000  0.00000000       1.000",
        "",
        " position of ions in fractional coordinates (direct lattice) ",
        *[f"  {x:11.8f} {y:11.8f} {z:11.8f}" for x, y, z in poscar.fractional],
        "",
        " position of ions in cartesian coordinates  (Angst):",
        *[f"  {x:11.8f} {y:11.8f} {z:11.8f}" for x, y, z in poscar.fractional @ poscar.cell],
        *("", "", "", RULE, "", ""),
        " k-point   1 :   0.0000 0.0000 0.0000  plane waves:       0",
        "",
        " maximum and minimum number of plane-waves per node :         0        0",
        *("", "", RULE, "", ""),
    ]
    return "\n".join(lines) + "\n"


def _cutoff(job: Job) -> float:
    return job.incar.real("ENCUT", max(p.cutoff for p in job.potentials))


def _dimensions(job: Job) -> list[str]:
    grid = [chgcar_points(length) for length in np.linalg.norm(job.poscar.cell, axis=1)]
    bands = int(job.nelect / 2 + len(job.masses) / 2)
    return [
        " Dimension of arrays:",
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   "
        f"number of bands    NBANDS={bands:7d}",
        f"   number of dos      NEDOS =    301   number of ions     NIONS ={len(job.masses):7d}",
        f"   total plane-waves  NPLWV ={np.prod([g // 2 for g in grid]):7d}",
        f"   dimension x,y,z NGX ={grid[0] // 2:6d} NGY ={grid[1] // 2:5d} NGZ ={grid[2] // 2:5d}",
        f"   dimension x,y,z NGXF={grid[0]:6d} NGYF={grid[1]:5d} NGZF={grid[2]:5d}",
        f"   support grid    NGXF={grid[0]:6d} NGYF={grid[1]:5d} NGZF={grid[2]:5d}",
        "   ions per type =            " + "".join(f"{n:4d}" for n in job.poscar.counts),
        "",
        f" SYSTEM =  {job.incar.get('SYSTEM', 'unknown system')}",
        f" POSCAR =  {job.poscar.comment}",
        "",
    ]


def _parameters(job: Job) -> list[str]:
    incar = job.incar
    smass = incar.real("SMASS", -3.0)
    lines = [
        " Startparameter for this run:",
        f"   NWRITE ={job.nwrite:7d}    write-flag & timer",
        f"   PREC   = {incar.word('PREC', 'normal').lower():9s} normal or accurate (medium, high low)",
        f"   ISTART ={job.restart:7d}    job   : 0-new  1-cont  2-samecut",
        f"   ICHARG ={incar.integer('ICHARG', 0 if job.restart else 2):7d}    charge: 1-file 2-atom 10-const",
        f"   ISPIN  ={job.ispin:7d}    spin polarized calculation?",
        "   LNONCOLLINEAR =      F non collinear calculations",
        "   LSORBIT =      F    spin-orbit coupling",
        "",
        " Electronic Relaxation 1",
        f"   ENCUT  ={_cutoff(job):7.1f} eV  {_cutoff(job) / 13.605693:.2f} Ry",
        f"   NELM   ={job.nelm:7d};   NELMIN={incar.integer('NELMIN', 2):3d}; "
        f"NELMDL={0 if job.restart else -5:3d}     # of ELM steps",
        f"   EDIFF  ={e_format(job.ediff, 8, 1)}   stopping-criterion for ELM",
        f"   LREAL  ={incar.word('LREAL', 'F').lstrip('.')[:1]:>7s}    real-space projection",
        "",
        " Ionic relaxation",
        f"   EDIFFG ={e_format(job.ediffg, 8, 1)}   stopping-criterion for IOM",
        f"   NSW    ={incar.integer('NSW', 0):7d}    number of steps for IOM",
        f"   NBLOCK ={job.nblock:7d};   KBLOCK ={job.steps:7d}    inner block; outer block",
        f"   IBRION ={job.ibrion:7d}    ionic relax: 0-MD 1-quasi-New 2-CG",
        f"   ISIF   ={job.isif:7d}    stress and relaxation",
        f"   ISYM   ={incar.integer('ISYM', 2):7d}    0-nonsym 1-usesym 2-fastsym",
        "",
        f"   POTIM  ={job.potim:7.4f}    time-step for ionic-motion",
        f"   TEIN   ={job.tebeg:7.1f}    initial temperature",
        f"   TEBEG  ={job.tebeg:7.1f};   TEEND  ={job.teend:6.1f} temperature during run",
        f"   SMASS  ={smass:7.2f}    Nose mass-parameter (am)",
        f"   MDALGO ={incar.integer('MDALGO', 0):7d}    0-standard 1-Andersen 2-Nose-Hoover 3-Langevin",
        "   PSTRESS=    0.0 pullay stress",
        "",
        "  Mass of Ions in am",
        "   POMASS =" + "".join(f"{p.mass:7.2f}" for p in job.potentials),
        "  Ionic Valenz",
        "   ZVAL   =" + "".join(f"{p.valence:7.2f}" for p in job.potentials),
        f"   NELECT ={job.nelect:13.4f}    total number of electrons",
        f"   NUPDOWN={incar.real('NUPDOWN', -1.0):13.4f}    fix difference up-down",
        f"   excess carriers in this engine: {job.n_carriers} {job.parameters.carrier}(s)",
        "",
        " DOS related values:",
        "   EMIN   =  10.00;   EMAX   =-10.00  energy-range for DOS",
        "   EFERMI =   0.00",
        f"   ISMEAR ={incar.integer('ISMEAR', 1):6d};   SIGMA  ={incar.real('SIGMA', 0.2):7.2f}  "
        "broadening in eV -4-tet -1-fermi 0-gaus",
        "",
        " Write flags",
        f"   LWAVE        ={'FT'[job.lwave]:>7s}    write WAVECAR",
        f"   LCHARG       ={'FT'[job.lcharg]:>7s}    write CHGCAR",
        f"   LORBIT       ={job.lorbit:7d}    0 simple, 1 ext, 2 COOP (PROOUT), +10 PAW based schemes",
        "",
    ]
    if job.ldau:
        lines += [
            f" LDA+U is selected, type is set to LDAUTYPE ={incar.integer('LDAUTYPE', 2):3d}",
            "   angular momentum for each species LDAUL = " + "".join(f"{x:5d}" for x in job.ldaul),
            "   U (eV)           for each species LDAUU = " + "".join(f"{x:5.1f}" for x in job.ldauu),
            "   J (eV)           for each species LDAUJ = " + "".join(f"{x:5.1f}" for x in job.ldauj),
            "",
        ]
    return lines


def _occupation_control(job: Job) -> list[str]:
    """What VASP with the occupation matrix patch prints in every LDA+U run: its banner, and what is imposed."""
    lines = [line for tag in job.occdir for line in (" ", f" {tag:9s} found ")]
    if job.occext:
        lines += [" ", " OCCEXT found - reading occupation matrix from external file OCCMATRIX", " "]
    lines += [
        " ",
        " Occupation matrix control coded by Prof. Graeme Watson ",
        " at Trinity College Dublin",
        " ",
        " Occupation set for the following atoms ",
        " ",
    ]
    for entry in job.imposed:
        orbitals = range(entry.l**2 + 1, (entry.l + 1) ** 2 + 1)
        for spin, matrix in enumerate((entry.up, entry.down), start=1):
            lines += [
                " ",
                f" ATOM {entry.atom + 1:12d}  Spin {spin:12d}",
                "    " + "".join(f"   {j:2d}   " for j in orbitals),
            ]
            lines += [
                f"{i:2d}  " + "".join(f"{x:7.4f} " for x in row) + f"  {i:2d}"
                for i, row in zip(orbitals, matrix, strict=True)
            ]
    return lines


def lattice(cell: np.ndarray) -> list[str]:
    """Direct and reciprocal lattice vectors as OUTCAR has them."""
    reciprocal = np.linalg.inv(cell).T
    rows = [
        "".join(f"{x:13.9f}" for x in a) + "    " + "".join(f"{x:13.9f}" for x in b)
        for a, b in zip(cell, reciprocal, strict=True)
    ]
    return [
        f"  volume of cell :{abs(np.linalg.det(cell)):12.2f}",
        "      direct lattice vectors                 reciprocal lattice vectors",
        *[" " + row for row in rows],
        "",
        "  length of vectors",
        " "
        + "".join(f"{x:13.9f}" for x in np.linalg.norm(cell, axis=1))
        + "    "
        + "".join(f"{x:13.9f}" for x in np.linalg.norm(reciprocal, axis=1)),
        "",
    ]


def chgcar_points(length: float) -> int:
    """Even number of grid points along a lattice vector, about 0.3 Angstrom apart."""
    return 2 * max(round(length / 0.6), 4)
