"""What the ions do between two electronic minima: stay (static), relax, or move by dynamics."""

from __future__ import annotations

from typing import Any

import numpy as np

from leopold_model.standin import dynamics
from leopold_model.standin.engine import Result
from leopold_model.standin.relaxation import Relaxation, relaxed
from leopold_model.standin.settings import Job, integrator


class Ions:
    """Ions at rest; `positions` (n, 3) Angstrom are not wrapped, `velocities` (n, 3) Angstrom/fs are as on CONTCAR."""

    def __init__(self, job: Job):
        self.job = job
        self.positions = job.poscar.fractional @ job.poscar.cell
        self.velocities = job.poscar.velocities

    def measure(self, result: Result, step: int) -> dict[str, Any]:
        """What a `Step` says of the ions once the forces at their positions are known."""
        return {}

    def move(self, result: Result, step: int) -> None:
        """Go to the next positions."""


class RelaxingIons(Ions):
    """Ions that follow their forces (IBRION 1, 2)."""

    def __init__(self, job: Job):
        super().__init__(job)
        self.relaxation = Relaxation(job.poscar.free)
        self.energy: float | None = None
        self.done = False

    def measure(self, result, step):
        change = None if self.energy is None else result.energy - self.energy
        self.energy = result.energy
        self.done = relaxed(self.job.ediffg, result.forces, self.job.poscar.free, change)
        return {"relaxed": self.done}

    def move(self, result, step):
        if not self.done:
            self.positions = self.relaxation.advance(self.positions, result.forces)


class MovingIons(Ions):
    """Molecular dynamics. Velocities read from POSCAR lag half a step behind, drawn ones belong to the first step.

    They are drawn at TEBEG where POSCAR has none or zeros only, as after a relaxation.
    """

    velocities: np.ndarray

    def __init__(self, job: Job):
        super().__init__(job)
        self.mover = integrator(job)
        read, free = job.poscar.velocities, job.poscar.free
        self.lagging = read is not None and bool(read.any())
        if read is not None and self.lagging:
            self.velocities = np.where(free, read, 0.0)
        else:
            self.velocities = dynamics.maxwell(job.masses, free, job.tebeg, job.rng)

    def measure(self, result, step):
        if self.lagging:
            self.velocities = self.mover.arrive(self.velocities, result.forces, self.job.temperature(step))
        self.lagging = True
        return {
            "temperature": self.mover.temperature(self.velocities),
            "kinetic": dynamics.kinetic_energy(self.mover.masses, self.velocities),
            "nose_potential": self.mover.potential,
            "nose_kinetic": self.mover.kinetic,
        }

    def move(self, result, step):
        target = self.job.temperature(step)
        self.positions, self.velocities = self.mover.leave(self.positions, self.velocities, result.forces, target)


def ions(job: Job) -> Ions:
    """The kind of motion IBRION asks for."""
    return {-1: Ions, 0: MovingIons, 1: RelaxingIons, 2: RelaxingIons}[job.ibrion](job)
