"""Ionic motion: velocity Verlet with the thermostats of VASP's MDALGO 0, 1, 2 and 3.

A step begins at positions whose velocity is still half a step behind (the leapfrog velocity, which is what CONTCAR and
POSCAR hold): `arrive` completes it with the forces there, so that kinetic energy belongs to the same instant as the
potential energy, and `leave` moves to the next positions. A run cut in two at CONTCAR therefore follows the path of the
uncut one. Units: Angstrom, fs, eV, amu, K.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

KB = 8.617333262e-5  # eV/K
ACCELERATION = 9.648533212e-3  # (Angstrom/fs^2) per (eV/Angstrom)/amu


def kinetic_energy(masses: np.ndarray, velocities: np.ndarray) -> float:
    """Kinetic energy in eV of `velocities` (n, 3) in Angstrom/fs with `masses` (n,) in amu."""
    return float(0.5 * (masses[:, None] * velocities**2).sum() / ACCELERATION)


def maxwell(masses: np.ndarray, free: np.ndarray, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Velocities (n, 3) at exactly `temperature`, without centre-of-mass motion."""
    velocities = (
        rng.normal(size=(len(masses), 3)) * np.sqrt(KB * max(temperature, 0.0) * ACCELERATION / masses)[:, None]
    )
    velocities = at_rest(masses, free, velocities)
    kinetic = kinetic_energy(masses, velocities)
    wanted = 0.5 * degrees_of_freedom(free) * KB * temperature
    return velocities * np.sqrt(wanted / kinetic) if kinetic > 0 else velocities


def at_rest(masses: np.ndarray, free: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """The same velocities with fixed coordinates held and, where nothing is fixed, without centre-of-mass motion."""
    if not free.all():
        return velocities * free
    return velocities - (masses @ velocities) / masses.sum()


def degrees_of_freedom(free: np.ndarray) -> int:
    """3N-3 of a free cell; the number of free coordinates where selective dynamics holds some."""
    return int(free.sum()) - 3 * bool(free.all())


@dataclass
class NVE:
    """Velocity Verlet at constant energy (MDALGO=0 with SMASS=-3); the thermostats below are variations of it."""

    masses: np.ndarray
    free: np.ndarray
    timestep: float
    potential: float = field(default=0.0, init=False)  # of the thermostat, eV
    kinetic: float = field(default=0.0, init=False)  # of the thermostat, eV

    def __post_init__(self):
        self.dof = degrees_of_freedom(self.free)

    def kick(self, velocities: np.ndarray, forces: np.ndarray) -> np.ndarray:
        half = 0.5 * self.timestep * ACCELERATION / self.masses[:, None]
        return velocities + half * np.where(self.free, forces, 0.0)

    def arrive(self, velocities: np.ndarray, forces: np.ndarray, temperature: float) -> np.ndarray:
        """The velocity at the positions of `forces`, from the one half a step before."""
        return self.kick(velocities, forces)

    def leave(self, positions, velocities, forces, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """The next positions and the velocity half a step before them."""
        velocities = self.kick(velocities, forces)
        return positions + self.timestep * velocities, velocities

    def temperature(self, velocities: np.ndarray) -> float:
        return 2.0 * kinetic_energy(self.masses, velocities) / (max(self.dof, 1) * KB)


@dataclass
class Rescaling(NVE):
    """Velocities scaled to the wanted temperature every `interval` steps (SMASS=-1 with NBLOCK)."""

    interval: int
    step: int = field(default=0, init=False)

    def leave(self, positions, velocities, forces, temperature):
        self.step += 1
        if self.step % self.interval == 0:
            velocities = velocities * np.sqrt(temperature / max(self.temperature(velocities), 1e-12))
        return super().leave(positions, velocities, forces, temperature)


@dataclass
class Andersen(NVE):
    """Each atom draws a new velocity with `probability` per step (MDALGO=1).

    Andersen, J. Chem. Phys. 72, 2384 (1980).
    """

    probability: float
    rng: np.random.Generator

    def leave(self, positions, velocities, forces, temperature):
        hit = self.rng.random(len(self.masses)) < self.probability
        if hit.any():
            scale = np.sqrt(KB * temperature * ACCELERATION / self.masses)[:, None]
            fresh = self.rng.normal(size=velocities.shape) * scale
            velocities = at_rest(self.masses, self.free, np.where(hit[:, None], fresh, velocities))
        return super().leave(positions, velocities, forces, temperature)


@dataclass
class Langevin(NVE):
    """Langevin dynamics with `friction` (n,) in 1/ps (MDALGO=3), in BAOAB splitting.

    Leimkuhler and Matthews, J. Chem. Phys. 138, 174102 (2013).
    """

    friction: np.ndarray
    rng: np.random.Generator

    def leave(self, positions, velocities, forces, temperature):
        velocities = self.kick(velocities, forces)
        middle = positions + 0.5 * self.timestep * velocities
        damping = np.exp(-self.friction * 1e-3 * self.timestep)
        noise = np.sqrt((1.0 - damping**2) * KB * temperature * ACCELERATION / self.masses)
        velocities = damping[:, None] * velocities + noise[:, None] * self.rng.normal(size=velocities.shape)
        velocities = at_rest(self.masses, self.free, velocities)
        return middle + 0.5 * self.timestep * velocities, velocities


@dataclass
class NoseHoover(NVE):
    """Nose-Hoover thermostat of mass `inertia` (eV fs^2), split symmetrically (MDALGO=2, or MDALGO=0 with SMASS>=0).

    Hoover, Phys. Rev. A 31, 1695 (1985); ETOTAL with `potential` and `kinetic` is conserved.
    """

    inertia: float
    xi: float = field(default=0.0, init=False)  # 1/fs
    eta: float = field(default=0.0, init=False)

    def arrive(self, velocities, forces, temperature):
        return self._thermostat(self.kick(velocities, forces), temperature)

    def leave(self, positions, velocities, forces, temperature):
        return super().leave(positions, self._thermostat(velocities, temperature), forces, temperature)

    def _thermostat(self, velocities, temperature):
        quarter, wanted = 0.25 * self.timestep, self.dof * KB * temperature
        self.xi += quarter * (2.0 * kinetic_energy(self.masses, velocities) - wanted) / self.inertia
        velocities = velocities * np.exp(-2.0 * quarter * self.xi)
        self.eta += 2.0 * quarter * self.xi
        self.xi += quarter * (2.0 * kinetic_energy(self.masses, velocities) - wanted) / self.inertia
        self.potential, self.kinetic = wanted * self.eta, 0.5 * self.inertia * self.xi**2
        return velocities


def nose_inertia(smass: float, timestep: float, dof: int, temperature: float, length: float) -> float:
    """Thermostat mass in eV fs^2: `smass` amu times the first lattice vector squared; 0 means a period of 40 steps.

    With omega^2 = 2 g k T / Q (Nose, Mol. Phys. 52, 255 (1984)).
    """
    if smass == 0.0:
        return 2.0 * dof * KB * temperature * (40.0 * timestep / (2.0 * np.pi)) ** 2
    return smass * length**2 / ACCELERATION
