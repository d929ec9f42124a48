"""Onsite occupation matrices turned with the crystal: how VASP's real harmonics transform under O(3).

A real harmonic of degree l is the value of a symmetric traceless tensor of rank l on l copies of the direction, and a
tensor turns by turning each of its indices. With the tensors of VASP's harmonics as orthonormal columns B (3^l, 2l+1),

    D(R) = B^T (R x ... x R) B,      Y(R r) = D(R) Y(r),

for proper and improper R alike. An orbital sum_m c_m Y_m turns into one with the components D(R) c, an occupation
matrix n into D(R) n D(R)^T. Order and signs are VASP's: p = y, z, x; d = xy, yz, z2, xz, x2-y2; f = y(3x2-y2), xyz,
yz2, z3, xz2, z(x2-y2), x(x2-3y2), all with a positive factor, along the Cartesian axes of the cell.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations

import numpy as np

from leopold_model.vasp.run import VaspError

ORTHOGONAL = 1e-6  # largest error of R R^T that rounding explains

# homogeneous and harmonic polynomials: {monomial: coefficient}; z2 is 2zz - xx - yy, and so on
_POLYNOMIALS: dict[int, tuple[dict[str, float], ...]] = {
    0: ({"": 1},),
    1: ({"y": 1}, {"z": 1}, {"x": 1}),
    2: ({"xy": 1}, {"yz": 1}, {"zz": 2, "xx": -1, "yy": -1}, {"xz": 1}, {"xx": 1, "yy": -1}),
    3: (
        {"xxy": 3, "yyy": -1},
        {"xyz": 1},
        {"yzz": 4, "xxy": -1, "yyy": -1},
        {"zzz": 2, "xxz": -3, "yyz": -3},
        {"xzz": 4, "xxx": -1, "xyy": -1},
        {"xxz": 1, "yyz": -1},
        {"xxx": 1, "xyy": -3},
    ),
}


@cache
def _tensors(degree: int) -> np.ndarray:
    """The harmonics of `degree` as orthonormal symmetric tensors, columns of (3^degree, 2 degree + 1)."""
    columns = np.zeros((len(_POLYNOMIALS[degree]), *(3,) * degree))
    for k, polynomial in enumerate(_POLYNOMIALS[degree]):
        for monomial, coefficient in polynomial.items():
            places = set(permutations("xyz".index(axis) for axis in monomial))
            for place in places:
                columns[(k, *place)] = coefficient / len(places)
    flat = columns.reshape(len(columns), -1)
    return (flat / np.linalg.norm(flat, axis=1, keepdims=True)).T


def harmonic_rotation(degree: int, rotation: np.ndarray) -> np.ndarray:
    """D (2l+1, 2l+1), orthogonal, with Y(R r) = D Y(r) for the real harmonics of `degree` l = 0 to 3 in VASP's order.

    `rotation` R (3, 3) is Cartesian and orthogonal, proper or improper, acting on column vectors. D is a
    representation: D(R S) = D(R) D(S). Raises VaspError for another l and for a matrix that is not orthogonal, as
    that of a symmetry operation in fractional coordinates usually is not.
    """
    rotation = np.asarray(rotation, dtype=float)
    if degree not in _POLYNOMIALS:
        raise VaspError(f"l = {degree}: harmonics are turned for l = 0 to 3 (s, p, d, f)")
    if rotation.shape != (3, 3) or not np.abs(rotation @ rotation.T - np.eye(3)).max() < ORTHOGONAL:
        raise VaspError(f"rotation {rotation.tolist()}: expected a Cartesian orthogonal matrix (3, 3)")
    turn_every_index = np.eye(1)
    for _ in range(degree):
        turn_every_index = np.kron(turn_every_index, rotation)
    tensors = _tensors(degree)
    return tensors.T @ turn_every_index @ tensors


def rotate_occupations(matrix: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """The occupation matrix (2l+1, 2l+1) of a shell after turning the crystal by `rotation` (see `harmonic_rotation`);
    l follows from the shape."""
    matrix = np.asarray(matrix, dtype=float)
    turn = harmonic_rotation((len(matrix) - 1) // 2, rotation)
    return turn @ matrix @ turn.T
