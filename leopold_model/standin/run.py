"""One run of the stand-in: the ionic loop, its files, and how it ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO

import numpy as np

from leopold_model.standin.electrons import Electrons, Observed
from leopold_model.standin.engine import Engine
from leopold_model.standin.failures import Failures, halfway, kill
from leopold_model.standin.ions import Ions, ions
from leopold_model.standin.outcar_header import VERSION, disclaimer, subversion
from leopold_model.standin.outcar_writer import OutcarWriter
from leopold_model.standin.settings import Job, read_job
from leopold_model.standin.small_writers import ContcarWriter, XdatcarWriter, chgcar, oszicar, wrap
from leopold_model.standin.step import Step
from leopold_model.standin.vasp_input import InputError
from leopold_model.standin.vasprun_writer import VasprunWriter
from leopold_model.standin.wavecar import write_wavecar


class Crash(Exception):
    """A run that ends before its first step because it was asked to."""


def run(directory: Path, stdout: IO[str]) -> None:
    """Read the inputs in `directory`, compute, and leave VASP's output files there."""
    job = read_job(directory)
    failures = Failures.from_environment(job.steps)
    try:
        engine = Engine(job.poscar.symbols, parameters=job.parameters.name, n_carriers=job.n_carriers)
    except ValueError as error:
        raise InputError(f"POSCAR: {error}") from None
    moving = ions(job)
    stdout.write(_greeting(job))
    electrons = Electrons(job, engine, failures, directory)
    with Files(directory, job, failures, stdout) as files:
        if "crash" in failures:
            raise Crash("LAPACK: Routine ZPOTRF failed! (crash requested by LEOPOLD_STANDIN_FAIL)")
        last = _ionic_loop(job, electrons, moving, files)
        files.finish(last)
        if job.lwave:
            stdout.write(" writing wavefunctions\n")
            write_wavecar(directory / "WAVECAR", electrons.state, job.parameters.name)
        if job.lcharg:
            (directory / "CHGCAR").write_text(chgcar(job, last))
    if "truncate" in failures:
        files.truncate()


def _ionic_loop(job: Job, electrons: Electrons, moving: Ions, files: Files) -> Step:
    inverse = np.linalg.inv(job.poscar.cell)
    previous = 0.0
    for index in range(1, job.steps + 1):
        started = time.perf_counter()
        observed = electrons.solve(moving.positions, index)
        fractional = wrap(moving.positions @ inverse)
        step = _step(job, index, observed, fractional, started, **moving.measure(observed.result, index))
        moving.move(observed.result, index)
        files.write(step, moving.positions @ inverse, moving.velocities, previous)
        previous = step.energy
        if step.relaxed or files.stop_requested():
            break
    return step


def _step(job: Job, index: int, observed: Observed, fractional: np.ndarray, started: float, **motion) -> Step:
    result = observed.result
    return Step(
        index=index,
        positions=fractional @ job.poscar.cell,
        fractional=fractional,
        energy=result.energy,
        forces=result.forces,
        stress=result.stress if job.isif > 0 else None,
        iterations=result.iterations,
        converged=result.converged,
        magnetization=observed.magnetization,
        moments=observed.moments,
        charges=observed.charges,
        onsite_before=observed.onsite_before,
        onsite=observed.onsite,
        seconds=time.perf_counter() - started,
        **motion,
    )


def _greeting(job: Job) -> str:
    return (
        f" running on    1 total cores\n vasp.{VERSION} {subversion(job)} gamma-only\n {disclaimer(job)}\n"
        f" POSCAR found type information on POSCAR: {' '.join(job.poscar.names)}\n"
        f" POSCAR found : {len(job.poscar.types):2d} types and {len(job.masses):7d} ions\n"
        f" entering main loop\n"
    )


class Files:
    """The growing output files: each step is written and flushed whole, so a killed run leaves what VASP leaves."""

    def __init__(self, directory: Path, job: Job, failures: Failures, stdout: IO[str]):
        self.directory, self.job, self.failures, self.stdout = directory, job, failures, stdout
        self.outcar, self.vasprun = OutcarWriter(job), VasprunWriter(job)
        self.contcar, self.xdatcar = ContcarWriter(job), XdatcarWriter(job)
        self.stopped = False
        self.cuts: dict[str, int] = {}

    def __enter__(self) -> Files:
        names = ("OUTCAR", "vasprun.xml", "OSZICAR", "XDATCAR")
        self.open = {name: (self.directory / name).open("wb") for name in names}
        head = {
            "OUTCAR": self.outcar.header(),
            "vasprun.xml": self.vasprun.header(),
            "XDATCAR": self.xdatcar.head.encode(),
        }
        self._append(head)
        return self

    def __exit__(self, *_):
        for file in self.open.values():
            file.close()

    def write(self, step: Step, fractional: np.ndarray, velocities: np.ndarray | None, previous: float) -> None:
        """All of one step; `fractional` and `velocities` are the ones to continue from."""
        log = oszicar(step, self.job.ispin, previous).encode()
        outcar, vasprun = self.outcar.step(step), self.vasprun.step(step)
        if self.failures.at("kill", step.index):
            table = b"magnetization (x)" if b"magnetization (x)" in outcar else b"TOTAL-FORCE"
            outcar = outcar[: outcar.index(table) + 80 + 25 * len(self.job.masses)]
            self._append({"OUTCAR": outcar, "OSZICAR": log[:-90], "vasprun.xml": halfway(vasprun, b"<scstep>")})
            self.stdout.flush()
            kill()
        if self.failures.at("truncate", step.index):
            for name, text, mark in (("OUTCAR", outcar, b"TOTAL-FORCE"), ("vasprun.xml", vasprun, b'name="forces"')):
                self.cuts[name] = self.open[name].tell() + text.index(mark) + 40 * len(self.job.masses)
        self._append({"OUTCAR": outcar, "OSZICAR": log, "vasprun.xml": vasprun})
        if step.index % self.job.nblock == 0:
            self._append({"XDATCAR": self.xdatcar.text(step).encode()})
        # rewritten in place, always with the same length: truncating a file takes longer than the rest of the step
        if "CONTCAR" not in self.open:
            self.open["CONTCAR"] = (self.directory / "CONTCAR").open("wb")
        self.open["CONTCAR"].seek(0)
        self._append({"CONTCAR": self.contcar.text(fractional, velocities).encode()})
        self.stdout.write(log.decode())
        self.stdout.flush()

    def stop_requested(self) -> bool:
        """LSTOP or LABORT in STOPCAR; the model's electronic loop is too short to be left in the middle."""
        stopcar = self.directory / "STOPCAR"
        if stopcar.is_file():
            text = stopcar.read_text().upper().replace(" ", "")
            self.stopped = any(f"{tag}={value}" in text for tag in ("LSTOP", "LABORT") for value in (".T", "T"))
        return self.stopped

    def finish(self, last: Step) -> None:
        self._append({"OUTCAR": self.outcar.finish(self.stopped), "vasprun.xml": self.vasprun.finish()})

    def truncate(self) -> None:
        for name, length in self.cuts.items():
            with (self.directory / name).open("r+b") as file:
                file.truncate(length)

    def _append(self, texts: dict[str, bytes]) -> None:
        for name, text in texts.items():
            self.open[name].write(text)
            self.open[name].flush()
