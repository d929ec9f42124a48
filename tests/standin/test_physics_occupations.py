"""Sphere moments and onsite matrices: physical range, traces, covariance, shape of the carrier's orbital."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from leopold_model.standin.engine import Engine
from leopold_model.standin.occupations import onsite
from tests.standin.physics_case import host, localise, polaron


def harmonics(points: np.ndarray, l: int) -> np.ndarray:  # noqa: E741
    """Real harmonics in VASP's order, up to one factor per l, on points (k, 3)."""
    x, y, z = points.T
    if l == 1:
        return np.stack([y, z, x], axis=1)
    return np.stack(
        [x * y, y * z, (2 * z**2 - x**2 - y**2) / np.sqrt(12), x * z, (x**2 - y**2) / 2],
        axis=1,
    )


def rotation_of(turn: np.ndarray, l: int) -> np.ndarray:  # noqa: E741
    """D with Y(R u) = D Y(u), from a fit on random points rather than from a formula."""
    points = np.random.default_rng(0).normal(size=(40, 3))
    solution, *_ = np.linalg.lstsq(harmonics(points, l), harmonics(points @ turn.T, l), rcond=None)
    return solution.T


@pytest.mark.parametrize(("kind", "n"), [("mgo", 1), ("mgo", 2), ("tio2", 2), ("fluorine", 1), ("vacancy", 2)])
@pytest.mark.parametrize("rattle", [0.0, 0.1, 0.2])
def test_eigenvalues_are_occupations_and_traces_differ_by_the_moment(kind, n, rattle):
    case = polaron(kind, n, rattle=rattle)
    answer = onsite(case.engine, case.positions, case.cell, case.evaluate(tolerance=1e-7).populations)
    for atom, (up, down) in enumerate(zip(answer.up, answer.down, strict=True)):
        assert np.allclose(up, up.T) and np.allclose(down, down.T)
        levels = np.concatenate([np.linalg.eigvalsh(up), np.linalg.eigvalsh(down)])
        assert levels.min() >= 0.0 and levels.max() <= 1.0
        assert np.trace(up) - np.trace(down) == pytest.approx(answer.moments[atom].sum(), abs=1e-12)
    assert 0.5 * n < answer.moments.sum() <= n + 1e-9  # the rest lies between the spheres


@pytest.mark.parametrize(("kind", "moment"), [("mgo", 0.71), ("tio2", 0.86)])
def test_moments_of_relaxed_polarons(kind, moment):
    """About 0.7 on the O of a hole and 0.86 on the Ti of an electron, little on their neighbours."""
    atoms = host(kind)
    engine = Engine(atoms.get_chemical_symbols())
    site = int(engine.sites[3])
    x, result = localise(engine, atoms, site)
    moments = onsite(engine, x, atoms.cell.array, result.populations).moments.sum(axis=1)
    assert moments.argmax() == site
    assert moments[site] == pytest.approx(moment, abs=0.03)
    assert np.delete(moments, site).max() < 0.08


@pytest.mark.parametrize("kind", ["mgo", "fluorine"])
def test_matrices_turn_with_the_crystal(kind):
    case = polaron(kind)
    populations = case.evaluate().populations
    turn = Rotation.random(random_state=4).as_matrix()
    before = onsite(case.engine, case.positions, case.cell, populations)
    turned = Engine(case.engine.symbols)
    after = onsite(turned, case.positions @ turn.T, case.cell @ turn.T, populations)
    for spin in ("up", "down"):
        for one, two in zip(getattr(before, spin), getattr(after, spin), strict=True):
            d = rotation_of(turn, (len(one) - 1) // 2)
            assert np.allclose(two, d @ one @ d.T, atol=1e-10)


def test_an_electron_sits_in_the_orbital_that_points_along_the_chain():
    """The carrier's matrix has one orbital above the rest, with most weight in the plane that holds the c axis."""
    atoms = host("tio2")
    engine = Engine(atoms.get_chemical_symbols())
    site = int(engine.sites[0])
    x, result = localise(engine, atoms, site)
    answer = onsite(engine, x, atoms.cell.array, result.populations)
    spin = answer.up[site] - answer.down[site]
    levels, orbitals = np.linalg.eigh(spin)
    assert levels[-1] > 1.5 * levels[-2]
    # density of that orbital along the c axis, relative to its maximum over directions
    directions = np.random.default_rng(1).normal(size=(4000, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    density = (harmonics(directions, 2) @ orbitals[:, -1]) ** 2
    along = float((harmonics(np.array([[0.0, 0.0, 1.0]]), 2) @ orbitals[:, -1])[0] ** 2)
    assert along > 0.5 * density.max()
