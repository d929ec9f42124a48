"""OUTCAR, one ionic step at a time, in VASP 6.4's order: electronic iterations, charge and moment tables, stress,
positions and forces, free energy, and the ion-electron-thermostat energies of a molecular dynamics step."""

from __future__ import annotations

import resource
import time

import numpy as np

from leopold_model.standin.fortran import e_format
from leopold_model.standin.onsite_blocks import OnsiteBlocks
from leopold_model.standin.outcar_header import RULE, header, lattice
from leopold_model.standin.settings import Job
from leopold_model.standin.step import Step

BANNER = "--------------------------------------- Ionic step {:8d}  -------------------------------------------\n"
ITERATION = "--------------------------------------- Iteration {:6d}({:4d})  ---------------------------------------\n"
REACHED = "------------------------ aborting loop because EDIFF is reached ----------------------------------------\n"
UNCONVERGED = (
    "------------------------ aborting loop EDIFF was not reached (unconverged)  ----------------------------\n"
)
FREE_ENERGY = """\
  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  = {0:18.8f} eV

  energy  without entropy= {0:17.8f}  energy(sigma->0) = {0:17.8f}



"""
ELECTRONIC = """\
 total energy-change (2. order) :{change}  ({residual})
 number of electron {electrons:15.7f} magnetization {magnetization}
 augmentation part  {electrons:15.7f} magnetization {magnetization}

 Free energy of the ion-electron system (eV)
  ---------------------------------------------------
  entropy T*S    EENTRO =         0.00000000
  free energy    TOTEN  = {energy:18.8f} eV

  energy without entropy = {energy:17.8f}  energy(sigma->0) = {energy:17.8f}


"""
DYNAMICS = """\
  ENERGY OF THE ELECTRON-ION-THERMOSTAT SYSTEM (eV)
  ---------------------------------------------------
% ion-electron   TOTEN  = {energy:17.6f}  see above
  kinetic energy EKIN   = {kinetic:17.6f}
  kin. lattice  EKIN_LAT=          0.000000  (temperature {temperature:7.2f} K)
  nose potential ES     = {potential:17.6f}
  nose kinetic   EPS    = {thermostat:17.6f}
  ---------------------------------------------------
  total energy   ETOTAL = {total:17.6f} eV

"""
POSITIONS = """\
 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
"""
EV_PER_A3_IN_KB = 1602.1766208


class OutcarWriter:
    """Texts of one run; the caller writes them, so that a step reaches the disk in one piece."""

    def __init__(self, job: Job):
        self.job = job
        self.started = time.time()
        n = len(job.masses)
        self.table_rows = "".join(f"{i + 1:5d}     " + "%8.3f" * 4 + "\n" for i in range(n))
        self.force_rows = ("%13.5f" * 3 + "  " + "%14.6f" * 3 + "\n") * n
        self.volume = "".join(f"{line}\n" for line in lattice(job.poscar.cell))
        species = np.repeat(range(len(job.poscar.counts)), job.poscar.counts)
        self.onsite = None
        if job.ldau and job.ldauprint > 0:
            self.onsite = OnsiteBlocks(species + 1, np.array(job.ldaul)[species], job.ispin)
        self.last = b""

    def header(self) -> bytes:
        return header(self.job).encode()

    def step(self, step: Step) -> bytes:
        """One ionic step, complete."""
        parts = [("\n" + BANNER + "\n\n\n\n").format(step.index).encode(), *self._iterations(step)]
        parts.append(("\n" + (REACHED if step.converged else UNCONVERGED) + "\n\n\n\n").encode())
        self.last = self._tables(step)
        parts += [self.last, self._stress(step).encode(), self._volume()]
        if self.job.nwrite > 0 or step.index in (1, self.job.steps):
            rows = self.force_rows % tuple(np.hstack([step.positions, step.forces]).ravel())
            drift = "".join(f"{x:14.6f}" for x in step.forces.sum(axis=0))
            line = " " + "-" * 83 + "\n"
            parts.append(
                f"{POSITIONS}{rows}{line}    total drift:                         {drift}\n\n\n{RULE}\n\n\n\n".encode()
            )
        parts.append(FREE_ENERGY.format(step.energy).encode() + f"{RULE}\n\n\n".encode())
        if step.temperature is not None:
            text = DYNAMICS.format(
                energy=step.energy,
                kinetic=step.kinetic,
                temperature=step.temperature,
                potential=step.nose_potential,
                thermostat=step.nose_kinetic,
                total=step.total,
            )
            parts.append(text.encode())
        elif step.index > 1 or step.relaxed:
            largest = np.linalg.norm(step.forces, axis=1)
            rms = np.sqrt((largest**2).mean())
            parts.append(f"  FORCES: max atom, RMS {largest.max():12.6f}{rms:12.6f}\n".encode())
        if step.relaxed:
            parts.append(b" reached required accuracy - stopping structural energy minimisation\n")
        parts.append(f"     LOOP+:  cpu time{step.seconds:10.4f}: real time{step.seconds:10.4f}\n\n".encode())
        return b"".join(parts)

    def finish(self, stopped: bool) -> bytes:
        """The tables once more, as VASP prints them after the last step, and the timing that marks a finished run."""
        elapsed, memory = time.time() - self.started, resource.getrusage(resource.RUSAGE_SELF)
        soft = " soft stop encountered!  aborting job ...\n\n" if stopped else ""
        text = f"""
 General timing and accounting informations for this job:
 ========================================================

                  Total CPU time used (sec): {memory.ru_utime + memory.ru_stime:12.3f}
                            User time (sec): {memory.ru_utime:12.3f}
                          System time (sec): {memory.ru_stime:12.3f}
                         Elapsed time (sec): {elapsed:12.3f}

                   Maximum memory used (kb): {memory.ru_maxrss:12d}.
                   Average memory used (kb):          N/A
"""
        return soft.encode() + self.last + text.encode()

    def _iterations(self, step: Step) -> list[bytes]:
        """Every electronic iteration; onsite sets in the first (the input state) and the last (the converged one)."""
        job, parts = self.job, []
        magnetization = f"{step.magnetization:15.7f}" if job.ispin == 2 else ""
        last = len(step.iterations)
        for k, (energy, change, residual) in enumerate(step.iterations, start=1):
            parts.append(
                (ITERATION + "\n\n    POTLOK:  cpu time    0.0000: real time    0.0000\n")
                .format(step.index, k)
                .encode()
            )
            if self.onsite is not None and k in (1, last):
                parts.append(self.onsite.text(*(step.onsite if k == last else step.onsite_before)))
            text = ELECTRONIC.format(
                change=e_format(change, 14, 7),
                residual=e_format(residual, 14, 7),
                electrons=job.nelect,
                magnetization=magnetization,
                energy=energy,
            )
            parts.append((text + RULE + "\n\n\n\n\n").encode())
        return parts

    def _tables(self, step: Step) -> bytes:
        if self.job.lorbit < 10:
            return b""
        text = self._table(" total charge", step.charges)
        if self.job.ispin == 2:
            text += self._table(" magnetization (x)", step.moments)
        return text.encode()

    def _table(self, title: str, values: np.ndarray) -> str:
        columns = np.column_stack([values, values.sum(axis=1)])
        head = f"{title}\n\n# of ion       s       p       d       tot\n{'-' * 42}\n"
        text = head + self.table_rows % tuple(columns.ravel())
        if len(values) > 1:
            total = "".join(f"{x:8.3f}" for x in columns.sum(axis=0))
            text += f"{'-' * 50}\ntot       {total}\n"
        return text + "\n\n\n"

    def _stress(self, step: Step) -> str:
        """Minus the stress (kB), in the order xx yy zz xy yz zx; nothing with ISIF=0."""
        if step.stress is None:
            return ""
        s = -step.stress
        six = np.array([s[0, 0], s[1, 1], s[2, 2], s[0, 1], s[1, 2], s[2, 0]])
        volume = abs(np.linalg.det(self.job.poscar.cell))
        return (
            "  FORCE on cell =-STRESS in cart. coord.  units (eV):\n"
            "  Direction    XX          YY          ZZ          XY          YZ          ZX\n"
            f"  {'-' * 86}\n"
            f"  Total{''.join(f'{x:12.5f}' for x in six * volume)}\n"
            f"  in kB{''.join(f'{x:12.5f}' for x in six * EV_PER_A3_IN_KB)}\n"
            f"  external pressure = {six[:3].mean() * EV_PER_A3_IN_KB:11.2f} kB  Pullay stress =        0.00 kB\n\n\n"
        )

    def _volume(self) -> bytes:
        return f" VOLUME and BASIS-vectors are now :\n {'-' * 77}\n{self.volume}\n\n".encode()
