"""Integrators on a crystal of springs: what each conserves, and the temperature it keeps, against theory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leopold_model.config import MDConfig
from leopold_model.md_block import Fixed, State, candidates, make_block, usual_distances
from leopold_model.md_integrators import ACCELERATION, KB, degrees_of_freedom, maxwell_boltzmann
from leopold_model.md_simulation import make_integrator
from tests.model import spring_crystal

TARGET = 60.0  # K: small amplitudes, so that the springs are harmonic


def trajectory(ensemble, steps=400, timestep=4.0, dtype=jnp.float64, seed=0, start=None, target=TARGET, **kwargs):
    """End state, rows and masses; `start` (positions, velocities) in place of the lattice and random velocities."""
    frame = spring_crystal.frame()
    n = len(frame)
    config = MDConfig(ensemble=ensemble, timestep=timestep, **kwargs)
    masses = np.full(n, 39.95)
    integrator = make_integrator(config, masses)
    field = spring_crystal.force_field(frame)
    free = ~np.isin(np.arange(n), config.fixed)
    block = make_block(
        field.potential, integrator, field.species, masses,
        cutoff=field.cutoff, margin=0.0, length=steps, n_tracked=3, dtype=dtype, free=free,
    )  # fmt: skip
    usual = usual_distances([frame], field.species, field.cutoff)
    listed = candidates(frame.positions, frame.cell, frame.pbc, field.cutoff, 2.0, field.species, usual)
    drawn = maxwell_boltzmann(masses, target, np.random.default_rng(seed), free)
    positions, velocities = start or (frame.positions, drawn)
    state = State(positions, velocities, np.zeros(1, np.int32), integrator.bath, np.int64(0))
    key = np.asarray(jax.random.key_data(jax.random.key(seed)))
    fixed = Fixed(frame.cell, np.float64(KB * target), key, np.float64(0))
    batch = jax.tree.map(lambda x: np.asarray(x)[None], (fixed, state, listed))
    end, rows = jax.tree.map(lambda x: np.asarray(x)[0], block(field.params, *batch, 12 * n))
    assert rows.moved.max() < 1, "the test's own pair list became stale"
    return end, rows, masses


def test_velocity_verlet_conserves_energy_and_its_error_is_second_order():
    spans = [np.ptp(trajectory("nve", steps=int(800 / dt), timestep=dt)[1].conserved) for dt in (8.0, 4.0)]
    assert spans[0] < 0.05 * KB * TARGET * 90, "energy error is not small against the thermal energy"
    assert 3.3 < spans[0] / spans[1] < 4.8, f"halving the step divided the error by {spans[0] / spans[1]:.2f}, not 4"


def test_velocity_verlet_follows_newton_against_ase():
    from ase import Atoms, units
    from ase.calculators.calculator import Calculator
    from ase.md.verlet import VelocityVerlet

    frame = spring_crystal.frame()
    _, rows, masses = trajectory("nve", steps=50, timestep=4.0)

    class Springs(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms, properties, changes):
            d = atoms.positions[None] - atoms.positions[:, None]
            d -= np.round(d / atoms.cell.lengths()) * atoms.cell.lengths()
            r = np.linalg.norm(d, axis=2) + 10 * np.eye(len(d)) * spring_crystal.R0
            bonded = r < 1.2 * spring_crystal.R0
            k = spring_crystal.SPRING
            self.results["energy"] = 0.25 * k * ((r - spring_crystal.R0) ** 2 * bonded).sum()
            self.results["forces"] = (k * (bonded * (r - spring_crystal.R0) / r)[..., None] * d).sum(axis=1)

    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    atoms.set_masses(masses)
    atoms.set_velocities(maxwell_boltzmann(masses, TARGET, np.random.default_rng(0)) / units.fs)
    atoms.calc = Springs()
    VelocityVerlet(atoms, timestep=4.0 * units.fs).run(49)
    np.testing.assert_allclose(rows.positions[49], atoms.positions, atol=2e-6)
    np.testing.assert_allclose(rows.potential[49], atoms.get_potential_energy(), rtol=1e-9)


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "nose-hoover"])
def test_total_momentum_stays_zero(ensemble):
    end, _, masses = trajectory(ensemble, steps=300, dtype=jnp.float32, friction=0.01)
    momentum = masses @ end.velocities
    assert np.abs(momentum).max() < 1e-12 * masses.sum()


def error_of_mean(x):
    """From blocks of 1000 correlated steps."""
    blocks = x[: len(x) // 1000 * 1000].reshape(-1, 1000).mean(axis=1)
    return blocks.std(ddof=1) / np.sqrt(len(blocks))


def test_langevin_keeps_kinetic_and_potential_temperature():
    _, rows, masses = trajectory("langevin", steps=12000, timestep=5.0, friction=0.01)
    dof = degrees_of_freedom(np.ones(len(masses), bool))
    kinetic = rows.temperature[2000:]
    potential = 2 * rows.potential[2000:] / (dof * KB)  # equipartition of a harmonic crystal
    for name, x in (("kinetic", kinetic), ("potential", potential)):
        assert error_of_mean(x) < 0.02 * TARGET, f"{name}: the test has too little statistics"
        miss = abs(x.mean() - TARGET)
        assert miss < 4 * error_of_mean(x) + 0.01 * TARGET, f"{name}: {x.mean():.2f} K, wanted {TARGET} K"
    # canonical fluctuations of the kinetic energy: var T = 2 T^2 / dof
    assert kinetic.std() == pytest.approx(TARGET * np.sqrt(2 / dof), rel=0.1)


def test_nose_hoover_chain_keeps_the_temperature_and_its_canonical_fluctuations():
    # on harmonic springs a deterministic thermostat rings for ever: start equilibrated, and hot enough to be anharmonic
    target = 600.0
    warm, _, masses = trajectory("langevin", steps=2000, timestep=5.0, friction=0.02, target=target)
    start = (warm.positions, warm.velocities)
    _, rows, _ = trajectory("nose-hoover", steps=9000, timestep=5.0, thermostat_time=150.0, start=start, target=target)
    kinetic = rows.temperature
    assert error_of_mean(kinetic) < 0.02 * target, "the test has too little statistics"
    assert abs(kinetic.mean() - target) < 4 * error_of_mean(kinetic)
    assert kinetic.std() == pytest.approx(target * np.sqrt(2 / degrees_of_freedom(np.ones(len(masses), bool))), rel=0.2)


@pytest.mark.parametrize(
    ("ensemble", "options"), [("langevin", {"friction": 0.01}), ("nose-hoover", {"thermostat_time": 50.0})]
)
def test_extended_energy_is_conserved_while_the_energy_is_not(ensemble, options):
    _, rows, masses = trajectory(ensemble, steps=1500, timestep=3.0, **options)
    kinetic = rows.temperature * degrees_of_freedom(np.ones(len(masses), bool)) * KB / 2
    energy = rows.potential + kinetic
    assert np.ptp(energy) > 20 * np.ptp(rows.conserved), "the conserved quantity moves as the energy does"


@pytest.mark.parametrize(
    ("ensemble", "options"), [("nve", {}), ("langevin", {"friction": 0.02}), ("nose-hoover", {"thermostat_time": 50.0})]
)
def test_held_atoms_stay_and_the_others_have_three_degrees_of_freedom_each(ensemble, options):
    held = tuple(range(8))
    steps = 9000 if ensemble == "langevin" else 1500  # the mean temperature takes more of them
    end, rows, masses = trajectory(ensemble, steps=steps, timestep=3.0, fixed=held, **options)
    start = spring_crystal.frame().positions
    np.testing.assert_array_equal(end.positions[:8], start[:8])
    assert not end.velocities[:8].any() and (np.abs(end.positions[8:] - start[8:]).max(axis=1) > 1e-4).all()
    # the momentum that the held atoms take up is not put back
    assert np.abs((masses[:, None] * end.velocities).sum(axis=0)).max() > 1e-3
    free = np.arange(32) >= 8
    assert degrees_of_freedom(free) == 72
    kinetic = 0.5 * np.sum(masses[:, None] * end.velocities**2) / ACCELERATION
    assert rows.temperature[-1] == pytest.approx(2 * kinetic / (72 * KB), rel=0.2)  # half a step apart
    spread = np.ptp(rows.conserved) / np.ptp(rows.potential)
    assert spread < 0.1, f"what is conserved moves by {spread:.2f} of what the energy does"
    if ensemble == "langevin":
        kinetic = rows.temperature[1000:]
        assert error_of_mean(kinetic) < 0.05 * TARGET, "the test has too little statistics"
        assert abs(kinetic.mean() - TARGET) < 4 * error_of_mean(kinetic)


def test_langevin_noise_is_drawn_from_the_seed():
    a, b, c = (trajectory("langevin", steps=20, seed=s)[0].positions for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-4
