"""Arrangements of carriers around a defect, against orbits counted by hand and by Burnside's lemma."""

from itertools import combinations

import numpy as np
import pytest

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.arrangements import (
    carrier_arrangements,
    point_charge_energies,
    spread,
    starting_arrangements,
    symmetry_permutations,
)
from leopold_model.analysis.defects import defect_distances

from .crystals import host, mgo, rutile, site_map


def doped(repeat=(2, 2, 4)):
    atoms = rutile(repeat)
    atoms.numbers[np.flatnonzero(atoms.numbers == 8)[0]] = 9
    return atoms, site_map(atoms, host(rutile(), "Ti"))


def test_every_site_is_equivalent_to_exactly_one_that_is_listed():
    atoms, sites = doped()
    found = carrier_arrangements(sites, atoms.numbers)
    permutations = symmetry_permutations(sites, atoms.numbers)
    orbits = [set(permutations[:, i].tolist()) for (i,) in found]
    assert sum(map(len, orbits)) == len(set().union(*orbits)) == len(sites.carrier_atoms) == 32
    # equivalent sites are as far from F, which keeps the mirror across c: its three Ti are two orbits
    distance = defect_distances(sites)[0]
    assert all(np.ptp(distance[list(orbit)]) < 1e-6 for orbit in orbits)
    ranked = [distance[i] for (i,) in found]
    assert ranked == sorted(ranked) and [len(orbits[k]) for k in (0, 1)] == [2, 1]


def test_pairs_are_as_many_as_burnside_counts():
    """The number of orbits of a group is the mean number of sets that its operations leave alone."""
    atoms = mgo((2, 2, 2))
    del atoms[int(np.flatnonzero(atoms.numbers == 12)[3])]
    sites = site_map(atoms, host(mgo(), "O"))
    pairs = list(combinations(sites.carrier_atoms.tolist(), 2))
    permutations = symmetry_permutations(sites, atoms.numbers)
    fixed = [sum(tuple(sorted(p[list(pair)])) == pair for pair in pairs) for p in permutations]
    found = carrier_arrangements(sites, atoms.numbers, 2)
    assert len(found) == sum(fixed) / len(permutations)
    nearest = defect_distances(sites)[0]
    assert nearest[list(found[0])].tolist() == pytest.approx([2.1, 2.1])


def test_two_electrons_of_a_vacancy_are_drawn_to_it_and_repel_each_other():
    atoms = rutile((2, 2, 4))
    del atoms[int(np.flatnonzero(atoms.numbers == 8)[0])]
    sites = site_map(atoms, host(rutile(), "Ti"))
    ranked = carrier_arrangements(sites, atoms.numbers, 2)
    energies = point_charge_energies(sites, np.array(ranked))
    r, apart = defect_distances(sites)[0], [sites.distance(*pair) for pair in ranked]
    assert energies == pytest.approx([-2 / r[i] - 2 / r[j] + 1 / d for (i, j), d in zip(ranked, apart, strict=True)])
    assert (np.diff(energies) > -1e-4).all() and max(r[list(ranked[0])]) < 2.1 < min(r[list(ranked[-1])])
    # no site that holds no carrier, equivalent ones included, can spoil more than one start
    orbit = symmetry_permutations(sites, atoms.numbers).min(axis=0)
    starts = starting_arrangements(sites, atoms.numbers, 2, 6)
    assert starts[0] == ranked[0] and all(pair in ranked for pair in starts)
    kinds = [set(orbit[list(pair)].tolist()) for pair in starts]
    assert all(a.isdisjoint(b) for a, b in combinations(kinds, 2))
    assert len(set(starting_arrangements(sites, atoms.numbers, 2, 100))) == 100, "sites come again, pairs do not"


def test_a_perfect_crystal_has_one_site_and_pairs_by_distance():
    atoms = mgo((2, 2, 2))
    sites = site_map(atoms, host(mgo(), "O"))
    assert len(carrier_arrangements(sites, atoms.numbers)) == 1
    distances = [sites.distance(*pair) for pair in carrier_arrangements(sites, atoms.numbers, 2)]
    assert np.round(distances, 2).tolist() == [7.27, 5.94, 5.14, 4.2, 2.97], "they repel each other"


def test_what_cannot_be_listed_is_refused():
    atoms, sites = doped((2, 2, 2))
    with pytest.raises(AnalysisError, match="33 carriers, but the cell has 16 sites"):
        carrier_arrangements(sites, atoms.numbers, 33)
    with pytest.raises(AnalysisError, match="leopold patterns starts"):
        carrier_arrangements(doped()[1], doped()[0].numbers, 4)


def test_the_sample_keeps_both_ends_and_is_denser_near_the_defect():
    assert spread(range(11), 4) == [0, 1, 4, 10]
    assert spread(range(11), 10) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10] and spread(range(3), 5) == [0, 1, 2]
