"""Integrators as two halves around one force evaluation, so that a step costs exactly one.

A step is [evaluate at x(t)] -> `second_half` (finishes the step that led to t) -> record -> `first_half` (leads on).
Velocities are in Angstrom/fs, masses in amu, energies in eV; accelerations are force * ACCELERATION / mass. All three
conserve total momentum, which is zero: there are 3n - 3 degrees of freedom. Where atoms are held (their velocity and
acceleration are zero), as in the lowest layers of a slab, momentum is not conserved and every free atom has three. Each
carries a `bath` vector, whose `bath_energy` added to potential and kinetic energy gives the quantity the exact dynamics
conserves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase import units

# positions, velocities and every sum over time are float64, whatever the network's dtype
jax.config.update("jax_enable_x64", True)

ACCELERATION = float(units.fs**2)  # eV/Angstrom/amu in Angstrom/fs^2
KB = float(units.kB)  # eV/K
CHAIN = 3  # thermostats in a Nose-Hoover chain


class Integrator(NamedTuple):
    """`bath` (k,) start value; `kT` eV. Arrays are float64, shapes (n, 3).

    `first_half(positions, velocities, bath, acceleration, kT, noise)` -> positions, velocities, bath
    `second_half(velocities, bath, acceleration, kT)` -> velocities, bath
    `bath_energy(bath, kT)` -> eV
    `noisy`: whether `noise` is (n, 3) standard normal numbers of the step, or None
    """

    bath: np.ndarray
    first_half: Callable
    second_half: Callable
    bath_energy: Callable
    noisy: bool = False


def kinetic_energy(velocities, masses):
    """Kinetic energy, eV."""
    return 0.5 * jnp.sum(masses[:, None] * velocities**2) / ACCELERATION


def degrees_of_freedom(free: np.ndarray) -> int:
    """3n - 3 where all atoms are `free` (n,): the centre of mass rests; else 3 of each free one. One atom alone keeps 1
    so that temperature stays defined (as 0)."""
    return max(3 * int(free.sum()) - 3 * bool(free.all()), 1)


def nve(masses, dt: float) -> Integrator:
    """Velocity Verlet."""

    def first(positions, velocities, bath, acceleration, kT, noise):
        velocities = velocities + 0.5 * dt * acceleration
        return positions + dt * velocities, velocities, bath

    def second(velocities, bath, acceleration, kT):
        return velocities + 0.5 * dt * acceleration, bath

    return Integrator(np.zeros(0), first, second, lambda bath, kT: 0.0)


def langevin(masses, dt: float, friction: float, free: np.ndarray) -> Integrator:
    """BAOAB (Leimkuhler and Matthews 2013): its configurations are right to fourth order in the time step.

    The noise leaves the centre of mass at rest where all atoms are `free` (n,). The bath holds the heat given to the
    atoms, negative: the energy the thermostat has taken out so far, so that potential + kinetic + bath is constant up
    to the integrator's error.
    """
    decay = float(np.exp(-friction * dt))
    masses = jnp.asarray(masses)
    spread = (free * jnp.sqrt(ACCELERATION * (1 - decay**2) / masses))[:, None]
    share = (masses / masses.sum() * free.all())[:, None]

    def first(positions, velocities, bath, acceleration, kT, noise):
        velocities = velocities + 0.5 * dt * acceleration
        positions = positions + 0.5 * dt * velocities
        new = decay * velocities + jnp.sqrt(kT) * spread * noise.astype(velocities.dtype)
        new = new - jnp.sum(share * new, axis=0)
        bath = bath + kinetic_energy(velocities, masses) - kinetic_energy(new, masses)
        return positions + 0.5 * dt * new, new, bath

    def second(velocities, bath, acceleration, kT):
        return velocities + 0.5 * dt * acceleration, bath

    return Integrator(np.zeros(1), first, second, lambda bath, kT: bath[0], noisy=True)


def nose_hoover(masses, dt: float, time: float, free: np.ndarray) -> Integrator:
    """Nose-Hoover chain of CHAIN thermostats with time constant `time`, fs (Martyna, Tuckerman et al. 1996)."""
    dof = degrees_of_freedom(free)
    # in units of kT: thermostat masses Q_k = (dof, 1, 1) kT time^2
    weight = np.array([float(dof), *[1.0] * (CHAIN - 1)])

    def chain(velocities, bath, kT):
        place, speed = [*bath[:CHAIN]], [*bath[CHAIN:]]
        mass = [w * kT * time**2 for w in weight]
        kinetic2 = 2.0 * kinetic_energy(velocities, masses)
        h = 0.5 * dt

        def push(k, scale=1.0):
            drive = kinetic2 * scale**2 - dof * kT if k == 0 else mass[k - 1] * speed[k - 1] ** 2 - kT
            return drive / mass[k]

        # a palindrome: from the far end of the chain to the atoms and back
        speed[-1] = speed[-1] + 0.5 * h * push(CHAIN - 1)
        for k in reversed(range(CHAIN - 1)):
            drag = jnp.exp(-0.25 * h * speed[k + 1])
            speed[k] = drag * (drag * speed[k] + 0.5 * h * push(k))
        scale = jnp.exp(-h * speed[0])
        place = [p + h * s for p, s in zip(place, speed, strict=True)]
        for k in range(CHAIN - 1):
            drag = jnp.exp(-0.25 * h * speed[k + 1])
            speed[k] = drag * (drag * speed[k] + 0.5 * h * push(k, scale))
        speed[-1] = speed[-1] + 0.5 * h * push(CHAIN - 1)
        return scale * velocities, jnp.stack([*place, *speed])

    def first(positions, velocities, bath, acceleration, kT, noise):
        velocities, bath = chain(velocities, bath, kT)
        velocities = velocities + 0.5 * dt * acceleration
        return positions + dt * velocities, velocities, bath

    def second(velocities, bath, acceleration, kT):
        return chain(velocities + 0.5 * dt * acceleration, bath, kT)

    def energy(bath, kT):
        return kT * jnp.sum(weight * (0.5 * time**2 * bath[CHAIN:] ** 2 + bath[:CHAIN]))

    return Integrator(np.zeros(2 * CHAIN), first, second, energy)


def maxwell_boltzmann(
    masses: np.ndarray, temperature: float, rng: np.random.Generator, free: np.ndarray | None = None
) -> np.ndarray:
    """Velocities (n, 3) in Angstrom/fs drawn at `temperature` (K), total momentum zero where all atoms are `free`."""
    spread = np.sqrt(KB * temperature * ACCELERATION / masses)[:, None]
    return at_rest(rng.standard_normal((len(masses), 3)) * spread, masses, free)


def at_rest(velocities: np.ndarray, masses: np.ndarray, free: np.ndarray | None = None) -> np.ndarray:
    """The same velocities with held atoms at rest, or else seen from the centre of mass."""
    if free is not None and not free.all():
        return velocities * free[:, None]
    return velocities - (masses[:, None] * velocities).sum(axis=0) / masses.sum()
