"""Forces and stress against central differences of the energy, in every situation the engine supports."""

from __future__ import annotations

import numpy as np
import pytest

from tests.standin.physics_case import polaron

CASES = {
    "mgo": ("mgo", 1, None),
    "mgo neutral": ("mgo", 0, None),
    "mgo two holes": ("mgo", 2, None),
    "mgo sharp": ("mgo", 1, "mgo-sharp"),
    "tio2": ("tio2", 1, None),
    "tio2 two electrons": ("tio2", 2, None),
    "anatase": ("anatase", 1, "anatase"),
    "tio2 three electrons": ("tio2", 3, None),
    "fluorine": ("fluorine", 1, None),
    "vacancy": ("vacancy", 2, None),
}


def slope(energy, step: float = 1e-4) -> float:
    """Central difference at 0. Pair functions are smooth to second order only at the cutoff, so steps must be small."""
    return (energy(step) - energy(-step)) / (2 * step)


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    return polaron(*CASES[request.param])


def test_forces_are_minus_the_slope_of_the_energy(case):
    result = case.evaluate()
    assert result.converged
    # the carriers' atoms and their surroundings feel every term of the model, random others the lattice
    busiest = np.argsort(-result.populations)[:3]
    atoms = np.r_[busiest, np.random.default_rng(0).integers(0, len(case.positions), 5)]
    for atom, axis in zip(atoms, [0, 1, 2, 0, 1, 2, 0, 1], strict=True):
        move = np.zeros_like(case.positions)
        move[atom, axis] = 1.0
        numeric = slope(lambda h, move=move: case.evaluate(case.positions + h * move).energy)
        assert numeric == pytest.approx(-result.forces[atom, axis], abs=1e-6)


def test_stress_is_the_slope_of_the_energy_with_strain(case):
    result = case.evaluate()
    assert np.allclose(result.stress, result.stress.T, atol=1e-12)
    volume = abs(np.linalg.det(case.cell))
    for a, b in [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]:
        strain = np.zeros((3, 3))
        strain[a, b] += 0.5
        strain[b, a] += 0.5

        def energy(h, strain=strain):
            stretch = np.eye(3) + h * strain
            return case.evaluate(case.positions @ stretch, case.cell @ stretch).energy

        assert slope(energy, step=1e-5) == pytest.approx(volume * result.stress[a, b], abs=1e-6)


def test_forces_sum_to_zero(case):
    assert np.abs(case.evaluate().forces.sum(axis=0)).max() < 1e-10


def test_a_bias_is_part_of_the_energy(case):
    if case.engine.n_carriers == 0:
        pytest.skip("no carrier to bias")
    result = case.evaluate()
    bias = np.zeros(len(case.positions))
    site = int(result.populations.argmax())
    bias[site] = 1e-4
    change = (case.evaluate(bias=bias).energy - case.evaluate(bias=-bias).energy) / 2e-4
    assert change == pytest.approx(-result.populations[site], abs=1e-6)


@pytest.mark.parametrize("kind", ["mgo", "tio2"])
def test_forces_of_the_delocalised_state(kind):
    case = polaron(kind)
    result = case.engine.delocalised(case.positions, case.cell)
    site = int(result.populations.argmax())
    for axis in range(3):
        move = np.zeros_like(case.positions)
        move[site, axis] = 1.0
        numeric = slope(lambda h, move=move: case.engine.delocalised(case.positions + h * move, case.cell).energy)
        assert numeric == pytest.approx(-result.forces[site, axis], abs=1e-6)
