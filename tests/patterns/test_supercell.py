"""Sites by index, equivalent configurations, counts, and enumeration."""

import numpy as np
import pytest

from leopold_model.patterns import PatternError
from leopold_model.patterns.composition import (
    Composition,
    all_configurations,
    n_configurations,
    random_configuration,
)
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.supercell import Supercell

TIO2 = load_lattice("tio2_110")


@pytest.mark.parametrize("matrix", [[6, 4, 1], [[2, 1, 0], [-1, 3, 0], [0, 0, 1]], [[0, 3, 0], [2, 5, 0], [0, 0, 1]]])
def test_cells_are_counted_once_and_wrapped_by_the_supercell(matrix):
    cell = Supercell(TIO2.lattice, np.array(matrix))
    assert cell.n_cells == round(abs(np.linalg.det(cell.matrix)))
    np.testing.assert_array_equal(cell.wrap(cell.cells), np.arange(cell.n_cells))
    shifts = np.array([[1, 0, 0], [3, -2, 0], [-4, 7, 0]]) @ cell.matrix
    for shift in shifts:
        np.testing.assert_array_equal(cell.wrap(cell.cells + shift), np.arange(cell.n_cells))


def test_equivalent_configurations_share_a_key_and_others_do_not():
    cell = TIO2.supercell("4x3")
    rng = np.random.default_rng(1)
    base = random_configuration(cell, TIO2.composition("4x3"), rng)
    images = cell.images(base)
    assert len(images) == 4 * 12
    assert {cell.key(image) for image in images[::5]} == {cell.key(base)}
    other = base.copy()
    polarons = np.flatnonzero(base == 1)
    free = np.flatnonzero((base == 0) & cell.lattice.can_hold[cell.basis, 1])
    other[polarons[0]], other[free[0]] = 0, 1
    assert (cell.key(other) == cell.key(base)) == any((image == other).all() for image in images)


def test_the_number_of_orbits_follows_burnside():
    """2x2 cell, one vacancy and two polarons: orbits counted by keys against the fixed points of every operation."""
    cell = TIO2.supercell("2x2")
    everything = all_configurations(cell, Composition(TIO2.lattice, {"VO": 1, "polaron": 2}))
    assert len(everything) == 4 * 28
    keys = {cell.key(row) for row in everything}
    known = {row.tobytes() for row in everything}
    fixed = sum((cell.images(row) == row).all(axis=1).sum() for row in everything)
    assert len(keys) == fixed / len(cell.images(everything[0]))
    first = {cell.key(row): row for row in everything}
    assert sum(cell.degeneracy(row) for row in first.values()) == len(known)


def test_a_cell_that_breaks_the_fourfold_axis_keeps_four_operations():
    srtio3 = load_lattice("srtio3_001")
    assert len(srtio3.supercell("4x4").moves) == 8
    assert len(srtio3.supercell("4x3").moves) == 4


def test_symmetry_takes_distances_along():
    cell = load_lattice("rutile_f").supercell("2x2x3")
    rng = np.random.default_rng(0)
    pairs = rng.integers(cell.n_sites, size=(20, 2))
    for move in cell.moves:
        before = _distance(cell, pairs[:, 0], pairs[:, 1])
        np.testing.assert_allclose(_distance(cell, move[pairs[:, 0]], move[pairs[:, 1]]), before, atol=1e-4)


def _distance(cell, i, j):
    from ase.geometry import find_mic

    return find_mic(cell.positions[i] - cell.positions[j], cell.vectors, cell.lattice.pbc)[1]


def test_the_enumerable_lattice_of_the_design_has_its_701316_configurations():
    assert n_configurations(TIO2.supercell("4x3"), TIO2.composition("4x3")) == 701_316


def test_random_configurations_are_uniform():
    cell, composition = TIO2.supercell("2x1"), Composition(TIO2.lattice, {"VO": 1, "polaron": 2})
    rng = np.random.default_rng(3)
    seen = [random_configuration(cell, composition, rng).tobytes() for _ in range(4000)]
    counts = np.unique(seen, return_counts=True)[1]
    assert len(counts) == 2 * 6
    expected = 4000 / 12
    assert ((counts - expected) ** 2 / expected).sum() < 31.3  # chi-squared, 11 degrees of freedom, p = 0.001


@pytest.mark.parametrize(
    ("counts", "delocalised", "message"),
    [
        ({"VO": 4, "polaron": 7}, 0, "need 8 polaron"),
        ({"VO": 4}, 0, "charge of \\+8 e"),
        ({"VO": 4, "polaron": 8}, 2, "charge of -2 e"),
        ({"VO": -1}, 0, "give 0 or more"),
        ({"vacancy": 1}, 0, "'vacancy' is not among"),
    ],
)
def test_counts_that_do_not_balance_are_refused(counts, delocalised, message):
    with pytest.raises(PatternError, match=message):
        Composition(TIO2.lattice, counts, delocalised)


def test_a_run_without_polarons_balances_by_delocalised_carriers():
    composition = Composition(TIO2.lattice, {"VO": 4}, delocalised=8)
    found = random_configuration(TIO2.supercell("6x4"), composition, np.random.default_rng(0))
    assert Composition.of(TIO2.supercell("6x4"), found).delocalised == 8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TIO2.supercell("6by4"), "like 6x4"),
        (lambda: TIO2.supercell("6x4x2"), "axis 2 of tio2_110 is not periodic"),
        (lambda: Supercell(TIO2.lattice, np.diag([2, 0, 1])), "determinant 0"),
        (lambda: TIO2.supercell("2x2").check(np.full(12, 2)), r"site 0 \(S0A\) holds 2"),
        (lambda: TIO2.supercell("2x2").check(np.zeros(5)), "has 12 sites"),
        (
            lambda: random_configuration(
                TIO2.supercell("2x2"),
                Composition(TIO2.lattice, {"VO": 5, "polaron": 10}),
                np.random.default_rng(0),
            ),
            "has room for",
        ),
    ],
)
def test_bad_supercells_and_occupations_are_refused(make, message):
    with pytest.raises(PatternError, match=message):
        make()


def test_configurations_that_share_a_pattern_are_brought_to_one_setting_of_it():
    cell, rng = TIO2.supercell("4x3"), np.random.default_rng(2)
    base = random_configuration(cell, TIO2.composition("4x3"), rng)
    bare = cell.without_carriers(base)
    assert set(np.unique(bare)) == {0, TIO2.lattice.code("VO")} and (bare == base)[bare > 0].all()
    for image in cell.images(base)[::7]:
        aligned = cell.aligned(image)
        assert cell.key(aligned) == cell.key(base)
        np.testing.assert_array_equal(cell.without_carriers(aligned), cell.canonical(bare))
    np.testing.assert_array_equal(cell.aligned(cell.images(base)[3]), cell.aligned(base))
