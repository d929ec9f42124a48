"""Symmetries, derivatives and extensivity of the network, at random parameters in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from leopold_model.charge import charge_state
from leopold_model.graph import neighbours
from leopold_model.network import member_outputs

from .conftest import random_model, rattled

CAPACITY = 800  # one size of pair list and few numbers of atoms: every new shape costs a compilation


def outputs(model, atoms, site=1, charge=None):
    edges = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff, capacity=CAPACITY)
    charge = charge_state(len(atoms), [site]) if charge is None else charge
    return model.evaluate(atoms.positions, atoms.cell.array, edges, model.species_index(atoms.numbers), charge)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), inversion=st.booleans())
def test_equivariance_under_rotation_inversion_and_translation(model, seed, inversion):
    rng = np.random.default_rng(seed)
    turn = Rotation.random(rng=rng).as_matrix() * (-1 if inversion else 1)
    atoms = rattled()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T)
    turned.positions = atoms.positions @ turn.T + rng.normal(size=3)
    a, b = outputs(model, atoms), outputs(model, turned)
    assert np.isclose(a.energy, b.energy, rtol=0, atol=1e-10)
    np.testing.assert_allclose(a.forces @ turn.T, b.forces, atol=1e-10)
    np.testing.assert_allclose(turn @ a.virial @ turn.T, b.virial, atol=1e-9)
    np.testing.assert_allclose(a.occupations, b.occupations, atol=1e-10)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_permutation_of_atoms(model, seed):
    atoms = rattled()
    order = np.random.default_rng(seed).permutation(len(atoms))
    a, b = outputs(model, atoms, site=5), outputs(model, atoms[order], site=int(np.flatnonzero(order == 5)[0]))
    assert np.isclose(a.energy, b.energy, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.asarray(a.forces)[order], b.forces, atol=1e-10)
    np.testing.assert_allclose(np.asarray(a.occupations)[order], b.occupations, atol=1e-10)


def test_atoms_moved_by_lattice_vectors_change_nothing(model):
    atoms = rattled()
    moved = atoms.copy()
    moved.positions += np.random.default_rng(1).integers(-2, 3, size=(len(atoms), 3)) @ atoms.cell.array
    assert np.isclose(outputs(model, atoms).energy, outputs(model, moved).energy, rtol=0, atol=1e-9)


def test_forces_are_the_derivative_of_the_energy(model):
    atoms, h = rattled(amplitude=0.2), 1e-4
    forces = np.asarray(outputs(model, atoms).forces)
    rng = np.random.default_rng(2)
    for atom, axis in zip(rng.integers(len(atoms), size=6), rng.integers(3, size=6), strict=True):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * h
            energies.append(float(outputs(model, moved).energy))
        assert np.isclose(forces[atom, axis], -(energies[0] - energies[1]) / (2 * h), rtol=0, atol=1e-6)


def test_stress_is_the_strain_derivative_of_the_energy(model):
    atoms, h = rattled(amplitude=0.2), 1e-5
    virial = np.asarray(outputs(model, atoms).virial)
    for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * h / 2
            strain[j, i] += sign * h / 2
            energies.append(float(outputs(model, _strained(atoms, strain)).energy))
        assert np.isclose(virial[i, j], (energies[0] - energies[1]) / (2 * h), rtol=0, atol=1e-6)


def _strained(atoms, strain):
    new = atoms.copy()
    new.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    return new


@pytest.mark.parametrize("axis", range(3))
def test_two_copies_give_twice_the_energy(model, axis):
    """Extensive, and right where the cell (4.18 Angstrom along two axes) is hardly longer than the cutoff."""
    atoms = rattled()
    repeat = [1, 1, 1]
    repeat[axis] = 2
    double = atoms * repeat
    charge = charge_state(len(atoms), [2])
    a, b = outputs(model, atoms, charge=charge), outputs(model, double, charge=np.tile(charge, 2))
    assert np.isclose(2 * a.energy, b.energy, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.tile(a.forces, (2, 1)), b.forces, atol=1e-10)
    np.testing.assert_allclose(np.tile(a.occupations, (2, 1)), b.occupations, atol=1e-10)


def test_cell_smaller_than_the_cutoff_sees_every_image(model):
    """The primitive cell (2.96 Angstrom, cutoff 4) against 2x2x4 of it."""
    atoms = bulk("MgO", "rocksalt", a=4.18)
    atoms.positions[0] += [0.1, 0.05, -0.07]
    a = outputs(model, atoms, charge=np.zeros(2))
    b = outputs(model, atoms * (2, 2, 4), charge=np.zeros(32))
    assert np.isclose(16 * a.energy, b.energy, rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.asarray(a.forces), np.asarray(b.forces)[:2], atol=1e-10)


def test_energy_is_smooth_where_a_pair_enters_the_cutoff(model):
    """Energy and force of a dimer vanish at the cutoff without a step."""
    edges = neighbours(np.array([[0.0, 0, 0], [3.9, 0, 0]]), np.eye(3) * 50, True, model.cutoff, CAPACITY)
    species, charge = np.array([0, 1]), np.zeros(2)

    def at(r):
        return model.evaluate(np.array([[0.0, 0, 0], [r, 0, 0]]), np.eye(3) * 50, edges, species, charge)

    apart = float(at(5.0).energy)
    for gap in (1e-1, 1e-2, 1e-3):
        out = at(model.cutoff - gap)
        assert abs(float(out.energy) - apart) < 10 * gap**3
        assert abs(float(out.forces[0, 0])) < 30 * gap**2
    assert float(at(4.0001).energy) == pytest.approx(apart, abs=1e-14)
    assert np.abs(at(5.0).forces).max() == 0


def test_padding_does_not_matter(model):
    atoms = rattled()
    species, charge = model.species_index(atoms.numbers), charge_state(len(atoms), [0])
    found = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff)
    padded = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff, capacity=CAPACITY)
    assert found.capacity < CAPACITY
    a, b = (model.evaluate(atoms.positions, atoms.cell.array, e, species, charge) for e in (found, padded))
    np.testing.assert_allclose(a.forces, b.forces, atol=1e-12)
    assert np.isfinite(b.forces).all() and np.isclose(a.energy, b.energy, rtol=0, atol=1e-12)


def test_charge_state_changes_energy_and_moments(model):
    atoms = rattled()
    a, b = outputs(model, atoms, site=1), outputs(model, atoms, site=3)
    assert abs(float(a.energy - b.energy)) > 1e-3
    assert np.abs(np.asarray(a.occupations - b.occupations)).max() > 1e-3


def test_moments_feel_atoms_beyond_one_cutoff(model):
    """Information travels layers x cutoff: in a chain it reaches the second neighbour and no further."""
    n = 16
    chain = np.zeros((n, 3))
    chain[:, 0] = np.arange(n) * 3.5
    edges = neighbours(chain, np.eye(3) * 100, True, model.cutoff, CAPACITY)
    species = np.zeros(n, int)

    def occupations(positions):
        return np.asarray(model.evaluate(positions, np.eye(3) * 100, edges, species, np.zeros(n)).occupations)

    moved = chain.copy()
    moved[0, 1] += 0.3
    change = np.abs(occupations(moved) - occupations(chain)).max(axis=1)
    assert (change[:3] > 1e-12).all()
    assert (change[3:] == 0).all()


def test_ensemble_mean_and_spread():
    model = random_model(ensemble=3)
    atoms = rattled()
    edges = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff)
    vectors = atoms.positions[edges.receivers] - atoms.positions[edges.senders] + edges.shifts @ atoms.cell.array
    args = (
        vectors,
        edges.senders,
        edges.receivers,
        edges.mask,
        model.species_index(atoms.numbers),
        np.zeros(len(atoms)),
    )
    energies, occupations = member_outputs(model.params, model.spec, *(jnp.asarray(a) for a in args))
    assert energies.shape == (3, len(atoms)) and occupations.shape == (3, len(atoms), 2)
    assert float(occupations.std(axis=0).max()) > 1e-3
    out = outputs(model, atoms, charge=np.zeros(len(atoms)))
    assert np.isclose(out.energy, energies.sum() / 3, rtol=0, atol=1e-10)


def test_float32_agrees_with_float64(model):
    atoms = rattled()
    a, b = outputs(model, atoms), outputs(model.astype("float32"), atoms)
    assert b.forces.dtype == jnp.float32
    np.testing.assert_allclose(a.forces, b.forces, atol=2e-4)


def test_parameters_depend_on_the_seed_alone():
    a, b, c = random_model(1).params, random_model(1).params, random_model(2).params
    assert all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    assert not np.array_equal(a["embedding"], c["embedding"])


def test_repulsion_acts_only_below_its_onset(model):
    edges = neighbours(np.array([[0.0, 0, 0], [1.0, 0, 0]]), np.eye(3) * 50, True, model.cutoff, CAPACITY)

    def energy(r, onset):
        params = {**model.params, "scales": {**model.params["scales"], "repulsion_onset": jnp.full((2, 2), onset)}}
        m = type(model)(model.spec, params, model.references)
        x = np.array([[0.0, 0, 0], [r, 0, 0]])
        return float(m.evaluate(x, np.eye(3) * 50, edges, np.array([0, 0]), np.zeros(2)).energy)

    assert energy(2.0, 1.9) == pytest.approx(energy(2.0, 1e-6), abs=1e-12)
    assert energy(1.41, 2.4) - energy(1.41, 1e-6) > 0.5  # O-O at the distance where unguarded models collapse
    # far inside, against the unscreened limit: Z1 Z2 e^2 / r, reached from below
    bare = 14.399645 * 64 / 0.02
    assert 0.8 * bare < energy(0.02, 2.4) - energy(0.02, 1e-6) < bare
