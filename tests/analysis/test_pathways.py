"""Pathway classes against known crystals, and against brute-force neighbour counts."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from leopold_model.analysis.hops import Hop
from leopold_model.analysis.pathways import (
    classify,
    enumerate_pathways,
    longest,
    resolvable,
)

from .crystals import host, mgo, nio_af2, rutile, site_map


@pytest.mark.parametrize("repeat", [(1, 1, 1), (1, 1, 2), (1, 2, 3), (2, 2, 2)])
def test_mgo_neighbours_are_one_class_in_any_supercell(repeat):
    classes = enumerate_pathways(host(mgo(repeat), "O"), 4.0)
    assert classes.names == ("O-O 2.97 A <110> x12",)


def test_nio_af2_splits_six_and_six():
    atoms, moments = nio_af2()
    for species in ("Ni", "O"):
        magnetic = enumerate_pathways(host(atoms, species, moments), 3.5)
        assert [p.multiplicity for p in magnetic] == [6, 6]
        assert len(set(magnetic.names)) == 2
        chemical = enumerate_pathways(host(atoms, species), 3.5)
        assert [p.multiplicity for p in chemical] == [12]


def test_nio_classes_are_within_and_between_planes():
    atoms, moments = nio_af2()
    h = host(atoms, "Ni", moments)
    for pathway in enumerate_pathways(h, 3.5):
        signs = {np.sign(h.moments[a] * h.moments[b]) for a, b, *_ in pathway.members}
        assert len(signs) == 1, "a class must not mix like and unlike moments"


def test_rutile_known_classes():
    classes = enumerate_pathways(host(rutile((2, 2, 4)), "Ti"), 7.0)
    assert classes.names == (
        "Ti-Ti 2.96 A [001] x2",
        "Ti-Ti 3.57 A <111> x8",
        "Ti-Ti 4.59 A <100> x4",
        "Ti-Ti 5.46 A <101> x8",
        "Ti-Ti 5.50 A <113> x8",
        "Ti-Ti 5.92 A [001] x2",
        "Ti-Ti 6.50 A <110> x2 a",
        "Ti-Ti 6.50 A <110> x2 b",
    )
    # both Ti are one kind of site, so the 3.57 A class holds 8 hops from each
    members = classes.by_name["Ti-Ti 3.57 A <111> x8"].members
    assert sorted(key[0] for key in members) == [members[0][0]] * 8 + [members[-1][0]] * 8


def test_rutile_111_splits_four_and_four_without_reversal():
    h = host(rutile(), "Ti")
    members = set(enumerate_pathways(h, 4.0).by_name["Ti-Ti 3.57 A <111> x8"].members)
    key = min(members)
    from leopold_model.analysis.pathways import _operations

    directed = {
        (int(image[key[0]]), int(image[key[1]]), *map(int, w @ key[2:] + shift[key[1]] - shift[key[0]]))
        for w, image, shift in _operations(h)
    }
    assert directed < members
    assert sum(k[0] == key[0] for k in directed) == 4


@pytest.mark.parametrize(("atoms", "species"), [(mgo(), "O"), (mgo(), "Mg"), (rutile(), "Ti"), (rutile(), "O")])
def test_classes_count_every_neighbour_once(atoms, species):
    h = host(atoms, species)
    classes = enumerate_pathways(h, 6.0)
    sites = atoms[[a.symbol == species for a in atoms]]
    pairs = len(neighbor_list("i", sites, 6.0 + 1e-3)) / len(sites)
    assert sum(len(p.members) for p in classes) / len(h.sites) == pairs
    assert len(classes.by_key) == sum(len(p.members) for p in classes), "classes overlap"
    for p in classes:
        assert np.allclose(np.linalg.norm(p.vectors, axis=1), p.distance)


def test_class_tensor_has_the_symmetry_of_the_crystal():
    assert np.allclose(
        enumerate_pathways(host(mgo(), "O"), 3.5).pathways[0].tensor, np.eye(3) * 2.9698**2 / 3, atol=1e-3
    )
    tensor = enumerate_pathways(host(rutile(), "Ti"), 4.0).by_name["Ti-Ti 3.57 A <111> x8"].tensor
    assert np.allclose(tensor, np.diag(np.diag(tensor)))
    assert tensor[0, 0] == pytest.approx(tensor[1, 1])


def test_folded_classes_are_told():
    h = host(mgo(), "O")
    classes = enumerate_pathways(h, 7.0)
    fractions = {}
    for repeat in [(1, 1, 2), (2, 2, 2), (4, 4, 4)]:
        sites = site_map(mgo(repeat), h)
        fractions[repeat] = {p.direction + f"{p.distance:.1f}": resolvable(p, sites) for p in classes}
    assert set(fractions[4, 4, 4].values()) == {1.0}
    assert fractions[2, 2, 2]["<310>6.6"] == 0, "6.6 A along an axis of 8.4 A folds back"
    assert fractions[2, 2, 2]["<110>3.0"] == 1
    assert fractions[1, 1, 2]["<100>4.2"] == pytest.approx(1 / 3), "a is its own image along the short axes"


def _hop(i, j, **kwargs):
    return Hop(
        time=0.0, i=i, j=j, carrier=0, dwell=100.0, duration=5.0, max_sharing=0.9, adiabatic=True, flickers=0, **kwargs
    )


def test_classify_names_and_vectors():
    atoms = rutile((3, 3, 4))
    sites = site_map(atoms, host(atoms, "Ti"))
    titanium = np.flatnonzero(atoms.numbers == 22)
    hops = [_hop(titanium[0], j) for j in titanium[1:]]
    classes = enumerate_pathways(sites.host, longest(hops, sites))
    for hop in classify(hops, sites, classes):
        expected = atoms.get_distance(hop.i, hop.j, mic=True)
        assert np.linalg.norm(hop.vector) == pytest.approx(expected)
        assert f" {expected:.2f} A " in hop.pathway
    single = [h for h in classify(hops, sites, classes) if not h.ambiguous]
    for hop in single:
        vector = atoms.get_distance(hop.i, hop.j, mic=True, vector=True)
        assert np.allclose(hop.vector, vector)


def test_relay_counts_its_legs_and_a_detour_does_not():
    atoms = mgo((3, 3, 3))
    sites = site_map(atoms, host(atoms, "O"))
    oxygen = np.flatnonzero(atoms.numbers == 8)
    start = oxygen[0]
    far = next(j for j in oxygen if sites.distance(start, j) == pytest.approx(5.94, abs=0.01))
    middle = next(k for k in oxygen if sites.distance(start, k) < 3 and sites.distance(k, far) < 3)
    near = next(j for j in oxygen if sites.distance(start, j) < 3 and sites.distance(j, middle) < 3)
    hops = [_hop(start, far, via=(middle,)), _hop(start, middle, via=(near,)), _hop(start, far)]
    relay, detour, direct = classify(hops, sites, enumerate_pathways(sites.host, longest(hops, sites)))
    assert relay.pathway == "O-O 2.97 A <110> x12 + O-O 2.97 A <110> x12"
    assert np.allclose(relay.vector, direct.vector)
    assert detour.pathway == "O-O 2.97 A <110> x12"
    assert direct.pathway == "O-O 5.94 A <110> x12"


def test_ambiguous_image_is_drawn_and_back_hops_return():
    atoms = mgo((2, 2, 2))
    sites = site_map(atoms, host(atoms, "O"))
    oxygen = np.flatnonzero(atoms.numbers == 8)
    far = next(j for j in oxygen if sites.distance(oxygen[0], j) == pytest.approx(4.2))
    hops = [_hop(oxygen[0], far), _hop(far, oxygen[0], back=True)] * 20
    classified = classify(hops, sites, enumerate_pathways(sites.host, 5.0), seed=1)
    assert all(hop.ambiguous for hop in classified)
    steps = np.array([hop.vector for hop in classified])
    assert np.allclose(steps[0::2] + steps[1::2], 0), "a back-hop returns the way it came"
    assert len({tuple(v) for v in np.round(steps[0::2], 6)}) == 2, "both images occur"
