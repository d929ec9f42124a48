"""Populations against answers counted by hand."""

import numpy as np
import pytest

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.defects import defect_distances
from leopold_model.analysis.hops import find_hops
from leopold_model.analysis.populations import (
    layer_populations,
    layers_of,
    leaving_rates,
    occupancy,
    pair_correlation,
)
from tests.analysis import crystals


def doped(repeat=(2, 2, 3)):
    """Rutile with the first O as F: site map of the supercell against the perfect host."""
    atoms = crystals.rutile(repeat)
    host = crystals.host(atoms, "Ti")
    atoms.symbols[int(np.flatnonzero(atoms.symbols == "O")[0])] = "F"
    return atoms, crystals.site_map(atoms, host)


def test_occupancy_counts_steps_of_all_carriers():
    np.testing.assert_allclose(occupancy(np.array([[0, 2], [1, 2], [0, 2]]), 4), [1 / 3, 1 / 6, 1 / 2, 0])
    with pytest.raises(AnalysisError, match="0 steps"):
        occupancy(np.zeros((0, 1), dtype=int), 4)


def test_a_carrier_that_does_not_feel_the_dopant_has_no_correlation_with_it():
    """Whatever the shape of the cell does to the number of sites per shell."""
    atoms, sites = doped()
    even = np.where(atoms.symbols == "Ti", 1 / 24, 0.0)
    found = pair_correlation(even, defect_distances(sites), sites.carrier_atoms)
    np.testing.assert_allclose(found.g, 1.0)
    assert found.sites.sum() == 24 and np.isnan(found.error).all()
    # F has two Ti at 1.95 A and one at 1.98 A
    np.testing.assert_allclose(found.distance[:2], [1.95, 1.98], atol=0.011)
    assert sorted(found.sites[:2]) == [1, 2]


def test_a_bound_carrier_has_the_correlation_that_is_counted():
    atoms, sites = doped()
    distances = defect_distances(sites)
    ti = sites.carrier_atoms
    nearest, farthest = ti[np.argmin(distances[0, ti])], ti[np.argmax(distances[0, ti])]
    runs = np.zeros((2, len(atoms)))
    runs[0, nearest] = 1.0
    runs[1, [nearest, farthest]] = 0.5
    found = pair_correlation(runs, distances, ti)
    first = np.argmin(found.distance)
    # three quarters of the time in a shell that holds n of 24 sites; half a shell more in one run than in the other
    assert found.g[first] == pytest.approx(0.75 * 24 / found.sites[first])
    assert found.g[-1] == pytest.approx(0.25 * 24 / found.sites[-1])
    assert found.error[first] == pytest.approx(0.25) and found.g[1:-1].max() == 0.0


def test_two_defects_and_vacancies_are_counted_as_pairs():
    atoms = crystals.mgo((2, 2, 2))
    host = crystals.host(atoms, "O")
    mg = np.flatnonzero(atoms.symbols == "Mg")
    one, other = int(mg[0]), int(mg[np.argmax(atoms.get_distances(mg[0], mg, mic=True))])
    atoms.symbols[one] = "Li"
    del atoms[other]
    sites = crystals.site_map(atoms, host)
    distances = defect_distances(sites)
    assert distances.shape == (2, 63)
    even = np.where(atoms.symbols == "O", 1 / 32, 0.0)
    found = pair_correlation(even, distances, sites.carrier_atoms)
    # each has six O at a/2, and every O has both at some distance
    assert found.distance[0] == pytest.approx(2.1) and found.sites[0] == 12 and found.random[0] == 12 / 32
    assert found.sites.sum() == 64 and found.found.sum() == pytest.approx(2.0)
    with pytest.raises(AnalysisError, match="no defect in the cell"):
        perfect = crystals.mgo((2, 2, 2))
        pair_correlation(np.ones(64) / 64, defect_distances(crystals.site_map(perfect, host)), sites.carrier_atoms)


@pytest.mark.parametrize(("axis", "n_layers", "spacing"), [(0, 4, 2.297), (2, 6, 1.4795)])
def test_layers_of_rutile(axis, n_layers, spacing):
    atoms = crystals.rutile((2, 2, 3))
    sites = crystals.site_map(atoms, crystals.host(atoms, "Ti"))
    height, layer = layers_of(sites, axis)
    np.testing.assert_allclose(height, spacing * np.arange(n_layers), atol=1e-3)
    assert set(np.bincount(layer)) == {24 // n_layers}
    # every layer is a plane of the crystal, whatever the origin
    along = atoms.positions[sites.carrier_atoms][:, axis]
    assert all(np.ptp(np.exp(2j * np.pi * along[layer == k] / atoms.cell[axis, axis])) < 1e-6 for k in range(n_layers))


def test_a_slab_is_in_one_piece_and_its_layers_in_order():
    """Five layers of MgO that reach across the boundary of the cell, with vacuum."""
    atoms = crystals.mgo((1, 1, 4))
    host = crystals.host(atoms, "O")
    depth = np.rint(atoms.positions[:, 2] / 2.1).astype(int) % 8
    del atoms[[k for k in range(len(atoms)) if depth[k] in (2, 3, 4)]]
    sites = crystals.site_map(atoms, host)
    height, layer = layers_of(sites, 2)
    np.testing.assert_allclose(height, 2.1 * np.arange(5), atol=1e-6)
    occupancies = np.zeros((1, len(atoms)))
    lowest = sites.carrier_atoms[layer == 0]
    occupancies[0, lowest] = 1 / len(lowest)
    found = layer_populations(occupancies, sites, 2)
    np.testing.assert_allclose(found.population, [1, 0, 0, 0, 0])
    np.testing.assert_allclose(found.random, 0.2)
    ideal = atoms.positions[lowest, 2]
    assert set(np.rint(ideal / 2.1).astype(int)) == {5}


def test_residence_ends_with_the_group_and_not_with_the_hop():
    # on 0 and 1 (one group) for 300 fs, on 2 for 200 fs, back on 0 for 400 fs until the end
    table = find_hops(crystals.track_of([(0, 200), (1, 100), (2, 200), (0, 400)], ramp=0), tau_min=50.0)
    found = leaving_rates([table, table], [0, 0, 1, 2])
    assert set(found) == {0, 1} and (found[0].count, found[1].count) == (2, 2)
    assert 1 / found[0].rate == pytest.approx(700.0, abs=2.0), "700 fs in the group, left once, in each of two runs"
    assert 1 / found[1].rate == pytest.approx(200.0, abs=2.0)
    stayed = find_hops(crystals.track_of([(0, 500)], ramp=0), tau_min=50.0)
    assert leaving_rates([stayed], [7, 0])[7].count == 0
