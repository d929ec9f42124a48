"""vasprun.xml in the manner of VASP 6.4: inputs, one `<calculation>` per ionic step, the final structure."""

from __future__ import annotations

import re
import time
from xml.sax.saxutils import escape

import numpy as np

from leopold_model.standin.outcar_header import VERSION, subversion
from leopold_model.standin.outcar_writer import EV_PER_A3_IN_KB
from leopold_model.standin.settings import Job
from leopold_model.standin.step import Step

ENERGY = """{pad}<energy>
{pad} <i name="e_fr_energy">{energy:16.8f} </i>
{pad} <i name="e_wo_entrp">{energy:16.8f} </i>
{pad} <i name="e_0_energy">{energy:16.8f} </i>
"""
SCSTEP = (
    '  <scstep>\n   <time name="total">    0.00    0.00</time>\n'
    + ENERGY.replace("{pad}", "   ")
    + "   </energy>\n  </scstep>\n"
)
DYNAMICS = """   <i name="kinetic">{kinetic:16.8f} </i>
   <i name="lattice kinetic">      0.00000000 </i>
   <i name="nosepot">{potential:16.8f} </i>
   <i name="nosekinetic">{thermostat:16.8f} </i>
   <i name="total">{total:16.8f} </i>
"""


class VasprunWriter:
    """Texts of one run; the caller writes them."""

    def __init__(self, job: Job):
        self.job = job
        self.rows = ("   <v>" + "%17.8f" * 3 + " </v>\n") * len(job.masses)
        self.crystal = _crystal(job.poscar.cell)
        self.last = b""

    def header(self) -> bytes:
        job = self.job
        atoms = "".join(
            f"    <rc><c>{t:2s}</c><c>{k:4d}</c></rc>\n"
            for k, (t, n) in enumerate(zip(job.poscar.types, job.poscar.counts, strict=True), start=1)
            for _ in range(n)
        )
        types = "".join(
            f"    <rc><c>{n:4d}</c><c>{p.element:2s}</c><c>{p.mass:16.8f}</c><c>{p.valence:16.8f}</c>"
            f"<c>  {escape(p.title)}</c></rc>\n"
            for n, p in zip(job.poscar.counts, job.potentials, strict=True)
        )
        return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">{VERSION}  </i>
  <i name="subversion" type="string">{subversion(job)} gamma-only </i>
  <i name="platform" type="string">LinuxGNU </i>
  <i name="date" type="string">{time.strftime("%Y %m %d")} </i>
  <i name="time" type="string">{time.strftime("%H:%M:%S")} </i>
 </generator>
 <incar>
{"".join(_tag(tag, value) for tag, value in job.incar.items())} </incar>
 <kpoints>
  <generation param="Gamma">
   <v type="int" name="divisions">       1        1        1 </v>
   <v name="usershift">      0.00000000       0.00000000       0.00000000 </v>
   <v name="genvec1">      1.00000000       0.00000000       0.00000000 </v>
   <v name="genvec2">      0.00000000       1.00000000       0.00000000 </v>
   <v name="genvec3">      0.00000000       0.00000000       1.00000000 </v>
   <v name="shift">      0.00000000       0.00000000       0.00000000 </v>
  </generation>
  <varray name="kpointlist" >
   <v>       0.00000000       0.00000000       0.00000000 </v>
  </varray>
  <varray name="weights" >
   <v>       1.00000000 </v>
  </varray>
 </kpoints>
{_parameters(job)} <atominfo>
  <atoms>{len(job.masses):8d} </atoms>
  <types>{len(job.poscar.types):8d} </types>
  <array name="atoms" >
   <dimension dim="1">ion</dimension>
   <field type="string">element</field>
   <field type="int">atomtype</field>
   <set>
{atoms}   </set>
  </array>
  <array name="atomtypes" >
   <dimension dim="1">type</dimension>
   <field type="int">atomspertype</field>
   <field type="string">element</field>
   <field>mass</field>
   <field>valence</field>
   <field type="string">pseudopotential</field>
   <set>
{types}   </set>
  </array>
 </atominfo>
{self._structure("initialpos", job.poscar.fractional)}""".encode()

    def step(self, step: Step) -> bytes:
        """One `<calculation>`, complete."""
        parts = [" <calculation>\n", *[SCSTEP.format(energy=energy) for energy, _, _ in step.iterations]]
        structure = self._structure("", step.fractional)
        parts += [structure, '  <varray name="forces" >\n', self.rows % tuple(step.forces.ravel()), "  </varray>\n"]
        if step.stress is not None:
            rows = "".join("   <v>" + "%17.8f" * 3 % tuple(row) + " </v>\n" for row in -step.stress * EV_PER_A3_IN_KB)
            parts.append(f'  <varray name="stress" >\n{rows}  </varray>\n')
        parts.append(ENERGY.format(pad="  ", energy=step.energy))
        if step.temperature is not None:
            text = DYNAMICS.format(
                kinetic=step.kinetic, potential=step.nose_potential, thermostat=step.nose_kinetic, total=step.total
            )
            parts.append(text)
        parts.append(
            f'  </energy>\n  <time name="totalsc">{step.seconds:8.2f}{step.seconds:8.2f}</time>\n </calculation>\n'
        )
        self.last = self._structure("finalpos", step.fractional).encode()
        return "".join(parts).encode()

    def finish(self) -> bytes:
        return self.last + b"</modeling>\n"

    def _structure(self, name: str, fractional: np.ndarray) -> str:
        pad, label = (" ", f' name="{name}" ') if name else ("  ", "")
        rows = self.rows % tuple(fractional.ravel())
        positions = f'   <varray name="positions" >\n{rows}   </varray>\n'
        return f"{pad}<structure{label}>\n{self.crystal}{positions}{pad}</structure>\n"


def _crystal(cell: np.ndarray) -> str:
    def rows(matrix: np.ndarray) -> str:
        return "".join(f"     <v>{a:17.8f}{b:17.8f}{c:17.8f} </v>\n" for a, b, c in matrix)

    return (
        f'   <crystal>\n    <varray name="basis" >\n{rows(cell)}    </varray>\n'
        f'    <i name="volume">{abs(np.linalg.det(cell)):16.8f} </i>\n'
        f'    <varray name="rec_basis" >\n{rows(np.linalg.inv(cell).T)}    </varray>\n   </crystal>\n'
    )


def _tag(name: str, value: str | int | float | bool | list) -> str:
    """One parameter with its XML type; text of an INCAR is typed by what it looks like."""
    if isinstance(value, str):
        words = value.split()
        if re.fullmatch(r"\.?(TRUE|FALSE|T|F)\.?", value.strip(), re.IGNORECASE):
            value = value.strip(" .")[0].upper() == "T"
        elif words and all(re.fullmatch(r"[-+]?\d+", w) for w in words):
            value = [int(w) for w in words] if len(words) > 1 else int(words[0])
        elif len(words) == 1 and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?", words[0]):
            value = float(re.sub("[dD]", "e", words[0]))
        else:
            return f'  <i type="string" name="{name}">{escape(value)}</i>\n'
    if isinstance(value, bool):
        return f'  <i type="logical" name="{name}"> {"T" if value else "F"}  </i>\n'
    if isinstance(value, int):
        return f'  <i type="int" name="{name}">{value:6d}</i>\n'
    if isinstance(value, float):
        return f'  <i name="{name}">{value:16.8f}</i>\n'
    if all(isinstance(x, int) for x in value):
        return f'  <v type="int" name="{name}">{"".join(f"{x:12d}" for x in value)}</v>\n'
    return f'  <v name="{name}">{"".join(f"{x:16.8f}" for x in value)}</v>\n'


def _parameters(job: Job) -> str:
    """The resolved settings, grouped as VASP groups them; readers take NELM, NSW, IBRION and the rest from here."""
    incar = job.incar
    groups: dict[str, dict[str, str | int | float | bool | list]] = {
        "general": {"SYSTEM": incar.get("SYSTEM", "unknown system")},
        "electronic": {
            "PREC": incar.word("PREC", "normal"),
            "ENMAX": incar.real("ENCUT", max(p.cutoff for p in job.potentials)),
            "EDIFF": job.ediff,
            "NELECT": job.nelect,
            "ISMEAR": incar.integer("ISMEAR", 1),
            "SIGMA": incar.real("SIGMA", 0.2),
            "ISTART": int(job.restart),
            "ISPIN": job.ispin,
            "LNONCOLLINEAR": False,
            "MAGMOM": [float(m) for m in job.magmom] if job.ispin == 2 else [],
            "NUPDOWN": incar.real("NUPDOWN", -1.0),
            "LSORBIT": False,
            "NELM": job.nelm,
            "NELMIN": incar.integer("NELMIN", 2),
            "NELMDL": 0 if job.restart else -5,
        },
        "ionic": {
            "NSW": incar.integer("NSW", 0),
            "IBRION": job.ibrion,
            "MDALGO": incar.integer("MDALGO", 0),
            "ISIF": job.isif,
            "PSTRESS": 0.0,
            "EDIFFG": job.ediffg,
            "POTIM": job.potim,
            "SMASS": incar.real("SMASS", -3.0),
            "TEBEG": job.tebeg,
            "TEEND": job.teend,
            "NBLOCK": job.nblock,
        },
        "symmetry": {"ISYM": incar.integer("ISYM", 2)},
        "dos": {"LORBIT": job.lorbit},
        "writing": {"NWRITE": job.nwrite, "LWAVE": job.lwave, "LCHARG": job.lcharg},
        "electronic exchange-correlation": {"LDAU": job.ldau, "LHFCALC": False, "GGA": "--"},
    }
    if job.ldau:
        groups["electronic exchange-correlation"] |= {
            "LDAUTYPE": incar.integer("LDAUTYPE", 2),
            "LDAUL": job.ldaul,
            "LDAUU": job.ldauu,
            "LDAUJ": job.ldauj,
            "LDAUPRINT": job.ldauprint,
        }
    blocks = "".join(
        f'  <separator name="{name}" >\n'
        + "".join(" " + _tag(tag, value) for tag, value in entries.items() if value != [])
        + "  </separator>\n"
        for name, entries in groups.items()
    )
    return f" <parameters>\n{blocks} </parameters>\n"
