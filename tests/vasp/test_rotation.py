"""Harmonics on turned points, the group law, and the same rotations by another library."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from leopold_model.vasp.occmatrix import ORBITALS
from leopold_model.vasp.rotation import harmonic_rotation, rotate_occupations
from leopold_model.vasp.run import VaspError

DEGREES = (0, 1, 2, 3)


@st.composite
def operations(draw, proper=None):
    """Rotations, evenly spread, and half of them (or none, or all) times the inversion."""
    turn = Rotation.random(rng=np.random.default_rng(draw(st.integers(0, 2**32 - 1)))).as_matrix()
    inverted = draw(st.booleans()) if proper is None else not proper
    return -turn if inverted else turn


def harmonics(degree, points):
    """Textbook real harmonics (n, 2l+1) at unit vectors (n, 3), normalised on the sphere up to a common factor."""
    x, y, z = points.T
    if degree == 0:
        return np.ones((len(points), 1))
    if degree == 1:
        return np.sqrt(3) * np.stack([y, z, x], axis=1)
    if degree == 2:
        values = [x * y, y * z, (3 * z**2 - 1) / (2 * np.sqrt(3)), x * z, (x**2 - y**2) / 2]
        return np.sqrt(15) * np.stack(values, axis=1)
    values = [
        np.sqrt(35 / 8) * y * (3 * x**2 - y**2),
        np.sqrt(105) * x * y * z,
        np.sqrt(21 / 8) * y * (5 * z**2 - 1),
        np.sqrt(7 / 4) * z * (5 * z**2 - 3),
        np.sqrt(21 / 8) * x * (5 * z**2 - 1),
        np.sqrt(105 / 4) * z * (x**2 - y**2),
        np.sqrt(35 / 8) * x * (x**2 - 3 * y**2),
    ]
    return np.stack(values, axis=1)


def directions(n=40):
    points = np.random.default_rng(0).normal(size=(n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize("degree", DEGREES)
@given(turn=operations())
@settings(max_examples=50, deadline=None)
def test_the_harmonics_of_turned_points_are_the_turned_harmonics(degree, turn):
    points = directions()
    found = harmonics(degree, points) @ harmonic_rotation(degree, turn).T
    np.testing.assert_allclose(found, harmonics(degree, points @ turn.T), atol=1e-12)


@pytest.mark.parametrize("degree", DEGREES)
@given(first=operations(), second=operations())
@settings(max_examples=50, deadline=None)
def test_it_is_an_orthogonal_representation(degree, first, second):
    one, two = harmonic_rotation(degree, first), harmonic_rotation(degree, second)
    np.testing.assert_allclose(harmonic_rotation(degree, first @ second), one @ two, atol=1e-12)
    np.testing.assert_allclose(one @ one.T, np.eye(2 * degree + 1), atol=1e-12)
    np.testing.assert_allclose(harmonic_rotation(degree, first.T), one.T, atol=1e-12)
    # the character of a rotation by an angle, of an improper one times the parity
    proper = np.linalg.det(first) * first
    angle = Rotation.from_matrix(proper).magnitude()
    character = sum(np.cos(m * angle) for m in range(-degree, degree + 1))
    parity = np.linalg.det(first) ** degree
    assert np.trace(one) == pytest.approx(parity * character, abs=1e-10)
    assert np.linalg.det(one) == pytest.approx(parity)


@pytest.mark.parametrize("degree", DEGREES)
def test_inversion_and_parity(degree):
    """The inversion changes the sign of odd orbitals, and no occupation matrix."""
    size = 2 * degree + 1
    np.testing.assert_allclose(harmonic_rotation(degree, -np.eye(3)), (-1) ** degree * np.eye(size), atol=1e-15)
    matrix = np.random.default_rng(1).normal(size=(size, size))
    np.testing.assert_allclose(rotate_occupations(matrix, -np.eye(3)), matrix, atol=1e-14)


@pytest.mark.parametrize("degree", DEGREES)
def test_against_e3nn(degree):
    """e3nn's harmonics have y as their polar axis and count m upward, which in d and f is another order of axes."""
    e3nn = pytest.importorskip("e3nn_jax")
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    # e3nn's (x, y, z) are our (y, z, x): the harmonics then come in VASP's order
    cycle = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    theirs = e3nn.Irrep(degree, 1).D_from_matrix(cycle @ turn @ cycle.T)
    np.testing.assert_allclose(harmonic_rotation(degree, turn), theirs, atol=1e-5)


def test_known_turns():
    """A quarter turn about z takes x to y and y to -x, and changes x2-y2 into its negative."""
    quarter = Rotation.from_rotvec([0, 0, np.pi / 2]).as_matrix()

    def turned(orbital):
        degree = next(l for l, names in ORBITALS.items() if orbital in names)  # noqa: E741
        column = harmonic_rotation(degree, quarter)[:, ORBITALS[degree].index(orbital)]
        return {name: round(value) for name, value in zip(ORBITALS[degree], column, strict=True) if abs(value) > 1e-9}

    assert turned("x") == {"y": 1} and turned("y") == {"x": -1} and turned("z") == {"z": 1}
    assert turned("xz") == {"yz": 1} and turned("yz") == {"xz": -1}
    assert turned("xy") == {"xy": -1} and turned("x2-y2") == {"x2-y2": -1} and turned("z2") == {"z2": 1}
    assert turned("x(x2-3y2)") == {"y(3x2-y2)": -1} and turned("y(3x2-y2)") == {"x(x2-3y2)": 1}
    assert turned("xyz") == {"xyz": -1} and turned("z(x2-y2)") == {"z(x2-y2)": -1} and turned("z3") == {"z3": 1}
    assert turned("xz2") == {"yz2": 1} and turned("yz2") == {"xz2": -1}


@given(turn=operations())
@settings(max_examples=30, deadline=None)
def test_occupations_keep_their_eigenvalues_and_turn_their_orbitals(turn):
    rng = np.random.default_rng(2)
    for degree in (1, 2, 3):
        vectors = np.linalg.qr(rng.normal(size=(2 * degree + 1,) * 2))[0]
        filling = rng.uniform(0, 1, 2 * degree + 1)
        matrix = vectors @ np.diag(filling) @ vectors.T
        found = rotate_occupations(matrix, turn)
        np.testing.assert_allclose(np.linalg.eigvalsh(found), np.sort(filling), atol=1e-12)
        # the density of the shell at a turned point is that at the point before
        points = directions(10)
        before, after = harmonics(degree, points), harmonics(degree, points @ turn.T)
        np.testing.assert_allclose(
            np.einsum("pi,ij,pj->p", after, found, after), np.einsum("pi,ij,pj->p", before, matrix, before), atol=1e-10
        )


@pytest.mark.parametrize(
    ("degree", "rotation", "words"),
    [
        (4, np.eye(3), "l = 4"),
        (2, np.diag([1.0, 1.0, 1.1]), "orthogonal"),
        (1, np.full((3, 3), np.nan), "orthogonal"),
        (1, np.eye(2), r"\(3, 3\)"),
    ],
)
def test_what_is_no_rotation_is_refused(degree, rotation, words):
    with pytest.raises(VaspError, match=words):
        harmonic_rotation(degree, rotation)
