"""What may not matter: orientation, origin, order of atoms, periodic images, which equivalent site, cell size."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from leopold_model.standin.crystals import ideal_cell
from leopold_model.standin.engine import Engine, State
from tests.standin.physics_case import host, localise, polaron

KINDS = ["mgo", "fluorine"]
thermal = cache(polaron)


@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_rotation_translation_and_lattice_vectors(kind, seed):
    case, rng = thermal(kind), np.random.default_rng(seed)
    before = case.evaluate()
    turn = Rotation.random(random_state=seed).as_matrix()
    hops = rng.integers(-1, 2, size=(len(case.positions), 3))
    positions = (case.positions + hops @ case.cell + rng.normal(size=3)) @ turn.T
    after = case.evaluate(positions, case.cell @ turn.T)
    assert after.energy == pytest.approx(before.energy, abs=1e-9)
    assert np.allclose(after.forces, before.forces @ turn.T, atol=1e-8)
    assert np.allclose(after.stress, turn @ before.stress @ turn.T, atol=1e-10)
    assert np.allclose(after.populations, before.populations, atol=1e-8)


@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_order_of_atoms(kind, seed):
    case = thermal(kind)
    before = case.evaluate()
    order = np.random.default_rng(seed).permutation(len(case.positions))
    engine = Engine([case.engine.symbols[i] for i in order])
    # the same orbital, its sites in the new order
    place = {int(site): k for k, site in enumerate(case.engine.sites)}
    columns = [place[int(order[site])] for site in engine.sites]
    state = State(case.state.orbitals[:, columns])
    after = engine.evaluate(case.positions[order], case.cell, state, tolerance=1e-10)
    assert after.energy == pytest.approx(before.energy, abs=1e-9)
    assert np.allclose(after.forces, before.forces[order], atol=1e-8)
    assert np.allclose(after.populations, before.populations[order], atol=1e-8)


@pytest.mark.parametrize("kind", ["mgo", "tio2"])
def test_every_equivalent_site_gives_the_same_polaron(kind):
    atoms = host(kind)
    engine = Engine(atoms.get_chemical_symbols())
    energies, populations = [], []
    for site in engine.sites:
        _, result = localise(engine, atoms, site)
        assert result.populations.argmax() == site
        energies.append(result.energy)
        populations.append(result.populations.max())
    assert np.ptp(energies) < 1e-8
    assert np.ptp(populations) < 1e-4


def test_the_pair_list_does_not_matter():
    """An engine that has walked here and a fresh one agree, whatever list the walk left behind."""
    case = thermal("fluorine")
    fresh = case.evaluate()
    rng = np.random.default_rng(3)
    for scale in (0.3, 0.1, 0.02):
        case.evaluate(case.positions + rng.normal(scale=scale / 3, size=case.positions.shape))
        again = case.evaluate()
        assert again.energy == pytest.approx(fresh.energy, abs=1e-9)
        assert np.allclose(again.forces, fresh.forces, atol=1e-8)


@pytest.mark.parametrize("name", ["mgo", "tio2", "anatase"])
def test_the_neutral_lattice_is_extensive(name):
    """A primitive cell, much smaller than the cutoff, and supercells of it have the same energy per atom and stress."""
    answers = []
    for repeat in [(1, 1, 1), (2, 1, 1), (2, 2, 3)]:
        atoms = ideal_cell(name, repeat)
        result = Engine(atoms.get_chemical_symbols(), n_carriers=0).evaluate(atoms.positions, atoms.cell.array)
        answers.append((result.energy / len(atoms), result.stress))
        assert np.abs(result.forces).max() < 1e-3  # the ideal cells are the model's own equilibrium, to 4 digits
        assert np.abs(result.stress).max() < 3e-4
    for energy, stress in answers[1:]:
        assert energy == pytest.approx(answers[0][0], abs=1e-10)
        assert np.allclose(stress, answers[0][1], atol=1e-10)


def test_two_cells_with_a_hole_each_are_twice_one_cell():
    """Holes 8.4 A apart, beyond every cutoff, only meet through their tails: 5 meV is what those leave."""
    small = ideal_cell("mgo", (2, 2, 2))
    one = Engine(small.get_chemical_symbols())
    x, alone = localise(one, small, int(one.sites[0]))
    double = Atoms(small.symbols, positions=x, cell=small.cell, pbc=True).repeat((2, 1, 1))
    two = Engine(double.get_chemical_symbols(), n_carriers=2)
    both = two.evaluate(double.positions, double.cell.array, two.start(np.tile(alone.populations, 2)))
    assert both.converged
    assert both.energy == pytest.approx(2 * alone.energy, abs=0.005)
    assert np.allclose(both.populations, np.tile(alone.populations, 2), atol=0.01)
