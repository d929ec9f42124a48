"""Electronic states: the solver against exact diagonalisation, delocalised and neutral states, starts and refusals."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from leopold_model.standin.crystals import ideal_cell
from leopold_model.standin.engine import Engine
from leopold_model.standin.parameters import choose
from tests.standin.physics_case import host, localise, polaron


@pytest.mark.parametrize(("kind", "n"), [("mgo", 1), ("tio2", 1), ("tio2", 3), ("vacancy", 2)])
def test_the_minimum_fills_the_lowest_levels_of_its_own_mean_field(kind, n):
    """Independent of the solver: full diagonalisation of h[rho] must give rho back."""
    case = polaron(kind, n)
    result = case.evaluate(tolerance=1e-11)
    c = result.state.orbitals
    assert np.allclose(c @ c.T, np.eye(n), atol=1e-10)
    assert result.populations.sum() == pytest.approx(n)
    terms = case.engine.model.terms(case.positions, case.cell)
    rho = c.T @ c
    field = np.diag(terms.coulomb @ np.diag(rho)) - terms.coulomb * rho
    levels, vectors = np.linalg.eigh(terms.hopping - terms.kernel * rho + field)
    lowest = vectors[:, :n] @ vectors[:, :n].T
    assert levels[n] - levels[n - 1] > 0.1
    assert np.allclose(lowest, rho, atol=1e-8)


def test_the_energy_falls_in_every_iteration_and_is_reproducible():
    case = polaron("tio2", 2)
    sites = case.engine.sites[[3, 17]]
    weights = np.zeros(len(case.positions))
    weights[sites] = 1.0
    runs = [case.engine.evaluate(case.positions, case.cell, case.engine.start(weights)) for _ in range(2)]
    energies = [energy for energy, _, _ in runs[0].iterations]
    assert all(b <= a + 1e-11 for a, b in pairwise(energies))
    assert runs[0].iterations == runs[1].iterations
    assert runs[0].iterations[-1][0] == pytest.approx(runs[0].energy)
    assert runs[0].iterations[-1][2] < 1e-7


def test_iterations_run_out():
    case = polaron("mgo")
    result = case.engine.evaluate(
        case.positions, case.cell, case.engine.start(np.ones(len(case.positions))), max_iterations=2
    )
    assert not result.converged
    assert result.n_iterations == 3  # the start and two iterations


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("kind", ["mgo", "tio2"])
def test_a_perfect_crystal_without_a_start_stays_delocalised(kind, n):
    """fcc has a degenerate band bottom: the state must not depend on the order in which LAPACK returns it."""
    atoms = host(kind)
    order = np.random.default_rng(n).permutation(len(atoms))
    results = []
    for some in (atoms, atoms[order]):
        engine = Engine(some.get_chemical_symbols(), n_carriers=n)
        results.append(engine.evaluate(some.positions, some.cell.array))
    first, second = results
    assert np.allclose(first.populations[engine.model.kind[np.argsort(order)] == 0], n / len(engine.sites), atol=1e-8)
    assert second.energy == pytest.approx(first.energy, abs=1e-9)
    assert np.allclose(second.forces, first.forces[order], atol=1e-9)
    assert first.energy == pytest.approx(
        Engine(atoms.get_chemical_symbols(), n_carriers=n).delocalised(atoms.positions, atoms.cell.array).energy
    )
    if kind == "mgo":  # every atom is an inversion centre
        assert np.abs(first.forces).max() < 1e-10


def test_the_band_bottom_of_fcc_is_minus_four_t():
    """H of the perfect crystal against the textbook band of the frustrated fcc lattice (all shells but one are off)."""
    atoms = host("mgo")
    engine = Engine(atoms.get_chemical_symbols())
    terms = engine.model.terms(atoms.positions, atoms.cell.array)
    onsite = terms.hopping[0, 0]
    nearest = np.max(terms.hopping - np.diag(terms.hopping.diagonal()))
    assert np.linalg.eigvalsh(terms.hopping)[0] - onsite == pytest.approx(-4 * nearest, rel=1e-6)
    assert nearest == pytest.approx(engine.parameters.shells[0].transfer, rel=0.02)


def test_without_carriers_only_the_lattice_is_left():
    case = polaron("mgo", 0)
    result = case.evaluate()
    assert not result.populations.any()
    terms = case.engine.model.terms(case.positions, case.cell)
    assert result.energy == pytest.approx(terms.ionic_energy)


def test_a_bias_brings_the_carrier_and_it_stays_when_released():
    """Occupation-matrix control: imposed on another site, relaxed, released."""
    atoms = host("tio2")
    engine = Engine(atoms.get_chemical_symbols())
    x, first = localise(engine, atoms, int(engine.sites[0]))
    target = int(engine.sites[10])
    bias = np.zeros(len(atoms))
    bias[target] = 1.0
    atoms.positions = x
    _, moved = localise(engine, atoms, target)
    assert moved.populations.argmax() == target
    assert moved.energy == pytest.approx(first.energy, abs=1e-7)


def test_an_electron_is_bound_to_fluorine():
    """F in place of O attracts an electron by about 0.2 eV, measured against the farthest Ti."""
    atoms = host("fluorine")
    engine = Engine(atoms.get_chemical_symbols())
    fluorine = int(np.flatnonzero(atoms.numbers == 9)[0])
    apart = atoms.get_distances(fluorine, engine.sites, mic=True)
    near, far = (int(engine.sites[k]) for k in (apart.argmin(), apart.argmax()))
    energies = {}
    for site in (near, far):
        _, result = localise(engine, atoms, site)
        assert result.populations.argmax() == site
        energies[site] = result.energy
    assert -0.35 < energies[near] - energies[far] < -0.1


def test_a_vacancy_holds_its_two_electrons_apart():
    atoms = host("vacancy")
    engine = Engine(atoms.get_chemical_symbols(), n_carriers=2)
    weights = np.zeros(len(atoms))
    weights[engine.sites[[0, 13]]] = 1.0
    result = engine.evaluate(atoms.positions, atoms.cell.array, engine.start(weights), bias=weights)
    assert set(np.argsort(-result.populations)[:2]) == set(engine.sites[[0, 13]])
    assert result.populations.max() < 1.0 + 1e-9  # Pauli


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Engine(["Mg", "Cl"]), "Cl"),
        (lambda: Engine(["Mg", "Mg"]), "no O in the structure"),
        (lambda: Engine(["Mg", "O"], parameters="nio"), "'nio'"),
        (lambda: Engine(["Mg", "O"], n_carriers=2), "n_carriers = 2"),
        (lambda: Engine(["Mg", "O"]).start(np.array([1.0, 0.0])), "start weights"),
        (lambda: ideal_cell("nacl"), "'nacl'"),
    ],
)
def test_impossible_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_title_of_a_run_names_the_set_where_several_know_its_species():
    titania, magnesia = ["Ti", "O"], ["Mg", "O"]
    assert choose(titania).name == choose(titania, title="TiO2 + electron").name == "tio2"
    assert choose(titania, title="Anatase TiO2").name == "anatase"
    assert choose(magnesia, title="as in anatase, MgO").name == "mgo"  # a set of other species is never meant
    assert choose(titania, "tio2", title="anatase").name == "tio2"


def test_the_engine_starts_without_ase_and_jax():
    code = (
        "import sys, leopold_model.standin.engine; print([m for m in ('jax', 'ase', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
