"""Pair lists against ASE's, and their faults."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from leopold_model.charge import charge_state, most_magnetised
from leopold_model.graph import NeighbourOverflow, edge_vectors, neighbours


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, False, False)])
@pytest.mark.parametrize("scale", [2.5, 9.0])
def test_pairs_equal_those_of_ase(pbc, scale):
    """Skewed cell, once smaller than the cutoff; each pair once, so twice the list is ASE's full one."""
    rng = np.random.default_rng(3)
    cell = scale * (np.eye(3) + 0.3 * rng.normal(size=(3, 3)))
    atoms = Atoms("H8", scaled_positions=rng.uniform(-0.5, 1.5, size=(8, 3)), cell=cell, pbc=pbc)
    edges = neighbours(atoms.positions, cell, pbc, 4.0)
    vectors = edge_vectors(atoms.positions, cell, edges)
    i, j, d = neighbor_list("ijD", atoms, 4.0)
    i2, j2 = edges.senders, edges.receivers
    ours = [*zip(i2, j2, vectors, strict=True), *zip(j2, i2, -vectors, strict=True)]
    assert len(ours) == len(i)

    def canonical(rows):
        return sorted((int(a), int(b), *np.round(v, 6) + 0.0) for a, b, v in rows)

    assert canonical(ours) == canonical(zip(i, j, d, strict=True))


def test_capacity_pads_or_overflows():
    x, cell = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.eye(3) * 20
    edges = neighbours(x, cell, True, 2.0, capacity=10)
    assert edges.capacity == 10 and edges.mask.sum() == 3
    with pytest.raises(NeighbourOverflow, match="3 pairs do not fit a list of capacity 2") as error:
        neighbours(x, cell, True, 2.0, capacity=2)
    assert error.value.needed == 3


def test_unusable_structures_are_refused():
    with pytest.raises(ValueError, match="NaN or infinity"):
        neighbours(np.array([[0.0, 0, np.nan]]), np.eye(3), True, 2.0)
    with pytest.raises(ValueError, match="has no volume"):
        neighbours(np.zeros((1, 3)), np.zeros((3, 3)), True, 2.0)


def test_charge_state():
    assert charge_state(4, [2]).tolist() == [0, 0, 1, 0]
    assert charge_state(3, []).tolist() == [0, 0, 0]
    for sites in ([4], [-1], [1, 1]):
        with pytest.raises(ValueError, match="distinct atom indices from 0 to 3"):
            charge_state(4, sites)
    assert most_magnetised(np.array([0.1, 0.9, -0.3, 0.8]), 2).tolist() == [1, 3]
