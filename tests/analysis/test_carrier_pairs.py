"""Time by the distance of two carriers, against a walk whose answer is known."""

from itertools import combinations

import numpy as np
import pytest

from leopold_model.analysis.carrier_pairs import carrier_pairs
from leopold_model.analysis.catalogue import build_catalogue
from leopold_model.analysis.production import transport_summary
from leopold_model.tracks import ReplicaTrack, TrackFile

from .crystals import host, rutile, site_map


def vacant():
    atoms = rutile((2, 2, 4))
    del atoms[int(np.flatnonzero(atoms.numbers == 8)[0])]
    return atoms, site_map(atoms, host(rutile(), "Ti"))


def two_carriers(atoms, first, second, n_carriers=2):
    """One carrier on each atom of `first` in turn, the other on `second`: [(atom, fs), ...]."""
    lanes = [np.concatenate([np.full(time, atom) for atom, time in lane]) for lane in (first, second)]
    elsewhere = np.full(len(lanes[0]), len(atoms) - 1)
    sites = np.stack([*lanes, elsewhere], axis=1)
    moments = np.tile([0.9, 0.85, 0.03], (len(sites), 1))
    replica = ReplicaTrack(
        temperature=500.0, replica=0, timestep=1.0, seed=0, sites=sites, moments=moments, carrier=sites[:, :n_carriers],
        cell=atoms.cell.array, positions=atoms.positions,
    )  # fmt: skip
    return build_catalogue(TrackFile(atoms.numbers, "electron", n_carriers, (replica,)), host(rutile(), "Ti"))


def test_time_by_distance_is_that_of_the_walk():
    atoms, sites = vacant()
    a, b, c = (int(i) for i in sites.carrier_atoms[[0, 1, 10]])
    catalogue = two_carriers(atoms, [(a, 1000)], [(b, 700), (c, 300)])
    (found,) = transport_summary(catalogue, n_samples=50)["carrier_pairs"]
    share = dict(zip(found["distance_Angstrom"], found["population"], strict=True))
    near, far = (round(sites.distance(a, other), 2) for other in (b, c))
    assert near != far
    assert share[near] == pytest.approx(0.7, abs=2e-3) and share[far] == pytest.approx(0.3, abs=2e-3)
    assert sum(share.values()) == pytest.approx(1.0) and found["error"][0] is None
    # random placement counts every pair of the 32 titanium sites once
    every = [round(sites.distance(i, j), 2) for i, j in combinations(sites.carrier_atoms.tolist(), 2)]
    assert len(every) == 496 == sum(found["sites"])
    k = found["distance_Angstrom"].index(near)
    assert found["random"][k] == pytest.approx(every.count(near) / 496)
    assert found["g"][k] == pytest.approx(0.7 / found["random"][k], rel=3e-3)


def test_carriers_that_trade_places_are_as_far_apart_as_before():
    atoms, sites = vacant()
    a, b = (int(i) for i in sites.carrier_atoms[[0, 1]])
    found = carrier_pairs(two_carriers(atoms, [(a, 400), (b, 600)], [(b, 400), (a, 600)]), 500.0)
    assert max(found["population"]) == pytest.approx(1.0)


def test_one_carrier_makes_no_pair():
    atoms, sites = vacant()
    a, b = (int(i) for i in sites.carrier_atoms[[0, 1]])
    assert carrier_pairs(two_carriers(atoms, [(a, 400)], [(b, 400)], n_carriers=1), 500.0) is None
