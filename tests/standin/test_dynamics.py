"""Ionic motion: conservation, exact oscillators, the temperature thermostats sample, restarts, relaxation."""

from __future__ import annotations

import numpy as np
import pytest

from leopold_model.standin import dynamics
from leopold_model.standin.relaxation import Relaxation, relaxed


class Springs:
    """Atoms in anisotropic quadratic wells around random sites: an exact answer for everything below."""

    def __init__(self, n=40, seed=3):
        rng = np.random.default_rng(seed)
        self.masses = rng.uniform(10, 50, n)
        self.stiffness = rng.uniform(2, 12, (n, 3))
        self.home = rng.uniform(0, 8, (n, 3))

    def energy(self, positions):
        return float(0.5 * (self.stiffness * (positions - self.home) ** 2).sum())

    def forces(self, positions):
        return -self.stiffness * (positions - self.home)


class Bonds:
    """A ring of atoms joined by springs: no outside force, so that the centre of mass stays where it is."""

    def __init__(self, n=50, seed=4):
        rng = np.random.default_rng(seed)
        self.masses = np.where(np.arange(n) % 2, 16.0, 24.3)
        self.stiffness = rng.uniform(4, 8, (n, 1))

    def forces(self, positions):
        pull = self.stiffness * (np.roll(positions, -1, axis=0) - positions)
        return pull - np.roll(pull, 1, axis=0)

    def energy(self, positions):
        return float(0.5 * (self.stiffness * (np.roll(positions, -1, axis=0) - positions) ** 2).sum())


def drive(mover, system, positions, velocities, steps, temperature=300.0, complete=True):
    """Positions, velocities to continue from, and (total energy, temperature) of each step."""
    record = []
    for _ in range(steps):
        forces = system.forces(positions)
        velocities = velocities if complete else mover.arrive(velocities, forces, temperature)
        complete = False
        kinetic = dynamics.kinetic_energy(mover.masses, velocities)
        total = system.energy(positions) + kinetic + mover.potential + mover.kinetic
        record.append((total, mover.temperature(velocities)))
        positions, velocities = mover.leave(positions, velocities, forces, temperature)
    return positions, velocities, np.array(record)


def free(system):
    return np.ones((len(system.masses), 3), dtype=bool)


def test_maxwell_velocities_have_the_wanted_temperature_and_no_drift():
    system = Springs()
    mover = dynamics.NVE(system.masses, free(system), 1.0)
    velocities = dynamics.maxwell(system.masses, free(system), 432.0, np.random.default_rng(0))
    assert mover.temperature(velocities) == pytest.approx(432.0, rel=1e-12)
    assert np.abs(system.masses @ velocities).max() < 1e-12


def test_nve_follows_the_exact_oscillator_to_second_order():
    system = Springs(n=1)
    held = np.zeros((1, 3), dtype=bool) | [[True, False, False]]
    omega = np.sqrt(system.stiffness[0, 0] / system.masses[0] * dynamics.ACCELERATION)
    errors = []
    for timestep in (1.0, 0.5):
        mover = dynamics.NVE(system.masses, held, timestep)
        start = system.home + np.array([0.3, 0.0, 0.0])
        steps = round(200 / timestep)
        positions, _, _ = drive(mover, system, start, np.zeros((1, 3)), steps)
        errors.append(abs(positions[0, 0] - system.home[0, 0] - 0.3 * np.cos(omega * 200.0)))
        assert np.array_equal(positions[0, 1:], system.home[0, 1:]), "held coordinates moved"
    assert errors[0] < 5e-3 and errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)


def test_nve_does_not_drift():
    system, rng = Bonds(), np.random.default_rng(1)
    positions = rng.normal(scale=0.1, size=(50, 3))
    velocities = dynamics.maxwell(system.masses, free(system), 300.0, rng)
    mover = dynamics.NVE(system.masses, free(system), 1.0)
    _, _, record = drive(mover, system, positions, velocities, 4000)
    drift = abs(record[2000:, 0].mean() - record[:2000, 0].mean()) / 50
    assert drift < 5e-6, f"NVE drifts by {drift * 1e3:.4f} meV/atom between the halves of 4 ps"


def test_nose_hoover_conserves_its_energy_to_second_order():
    system, mask = Bonds(), free(Bonds())
    inertia = dynamics.nose_inertia(0.0, 1.0, dynamics.degrees_of_freedom(mask), 300.0, 8.0)
    spread = []
    for timestep in (1.0, 0.5):
        rng = np.random.default_rng(1)
        positions = rng.normal(scale=0.1, size=(50, 3))
        velocities = dynamics.maxwell(system.masses, mask, 300.0, rng)
        mover = dynamics.NoseHoover(system.masses, mask, timestep, inertia)
        _, _, record = drive(mover, system, positions, velocities, round(2000 / timestep))
        spread.append(np.ptp(record[:, 0]) / 50)
    assert spread[0] < 1e-3, f"the conserved energy moves by {spread[0] * 1e3:.3f} meV/atom"
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.25)


def test_the_default_nose_mass_swings_with_a_period_of_forty_steps():
    # a very stiff thermostat-only system: temperature of free particles against the bath, small departure
    masses = np.full(400, 20.0)
    held = np.ones((400, 3), dtype=bool)
    dof = dynamics.degrees_of_freedom(held)
    mover = dynamics.NoseHoover(masses, held, 1.0, dynamics.nose_inertia(0.0, 1.0, dof, 300.0, 8.0))
    velocities = dynamics.maxwell(masses, held, 315.0, np.random.default_rng(2))

    class Free:
        forces = staticmethod(np.zeros_like)
        energy = staticmethod(lambda positions: 0.0)

    _, _, record = drive(mover, Free, np.zeros((400, 3)), velocities, 200)
    signs = np.sign(record[:, 1] - 300.0)
    crossings = np.flatnonzero(signs[1:] != signs[:-1])
    assert 2 * np.diff(crossings).mean() == pytest.approx(40.0, abs=1.0)


@pytest.mark.parametrize("name", ["langevin", "nose", "andersen"])
def test_thermostats_sample_the_temperature(name):
    """Mean of the kinetic and of the configurational temperature within four standard errors of 300 K."""
    system, rng = Bonds(), np.random.default_rng(5)
    mask, target = free(system), 300.0
    dof = dynamics.degrees_of_freedom(mask)
    mover = {
        "langevin": lambda: dynamics.Langevin(system.masses, mask, 1.0, np.full(50, 10.0), rng),
        "andersen": lambda: dynamics.Andersen(system.masses, mask, 1.0, 0.02, rng),
        "nose": lambda: dynamics.NoseHoover(
            system.masses, mask, 1.0, dynamics.nose_inertia(0.0, 1.0, dof, target, 8.0)
        ),
    }[name]()
    positions = np.zeros((50, 3))
    velocities = dynamics.maxwell(system.masses, mask, 2 * target, rng)
    positions, velocities, _ = drive(mover, system, positions, velocities, 2000)
    kinetic, potential = [], []
    for _ in range(40):
        positions, velocities, record = drive(mover, system, positions, velocities, 500, complete=False)
        kinetic.append(record[:, 1].mean())
        potential.append(2 * system.energy(positions) / (dof * dynamics.KB))
    for what, blocks in (("kinetic", kinetic), ("configurational", potential)):
        mean, error = np.mean(blocks), np.std(blocks, ddof=1) / np.sqrt(len(blocks))
        if name == "nose":
            # one thermostat does not make a harmonic ring ergodic: only the kinetic energy is thermalised
            if what == "kinetic":
                assert mean == pytest.approx(target, abs=max(4 * error, 1.0))
            continue
        assert error < 8.0, "too few samples for a statement"
        assert abs(mean - target) < 4 * error, f"{what} temperature {mean:.1f} +- {error:.1f} K, wanted {target} K"


def test_rescaling_holds_the_temperature_every_interval():
    system, rng = Bonds(), np.random.default_rng(6)
    mover = dynamics.Rescaling(system.masses, free(system), 1.0, 10)
    velocities = dynamics.maxwell(system.masses, free(system), 600.0, rng)
    _, _, record = drive(mover, system, np.zeros((50, 3)), velocities, 500)
    assert record[100:, 1].mean() == pytest.approx(300.0, rel=0.1)


def test_a_run_cut_in_two_equals_the_uncut_one():
    system, rng = Bonds(), np.random.default_rng(7)
    positions = rng.normal(scale=0.1, size=(50, 3))
    velocities = dynamics.maxwell(system.masses, free(system), 300.0, rng)
    long, _, record = drive(dynamics.NVE(system.masses, free(system), 1.0), system, positions, velocities, 200)
    middle, carried, first = drive(dynamics.NVE(system.masses, free(system), 1.0), system, positions, velocities, 120)
    end, _, second = drive(dynamics.NVE(system.masses, free(system), 1.0), system, middle, carried, 80, complete=False)
    assert np.array_equal(end, long)
    assert np.array_equal(np.vstack([first, second]), record)


def test_relaxation_finds_the_minimum_and_holds_what_is_held():
    system = Springs()
    mask = free(system)
    mask[3] = False
    start = system.home + np.random.default_rng(8).normal(scale=0.2, size=system.home.shape)
    positions, relaxation = start.copy(), Relaxation(mask)
    for _ in range(60):  # more than a quadratic bowl should need
        positions = relaxation.advance(positions, system.forces(positions))
    assert relaxed(-1e-4, system.forces(positions), mask, None)
    assert np.array_equal(positions[3], start[3])
    moved = np.delete(positions - system.home, 3, axis=0)
    assert np.abs(moved).max() < 1e-4


def test_both_stopping_criteria():
    forces = np.array([[0.0, 0.0, 0.02]])
    mask = np.ones((1, 3), dtype=bool)
    assert relaxed(-0.03, forces, mask, None) and not relaxed(-0.01, forces, mask, None)
    assert relaxed(1e-3, forces, mask, -5e-4) and not relaxed(1e-3, forces, mask, None)
    assert relaxed(-0.01, forces, ~mask, None), "held coordinates do not count"
