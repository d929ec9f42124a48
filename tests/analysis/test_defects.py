"""Shells around defects, and the classes of hops near them, against sites counted by hand."""

import json
from collections import Counter

import numpy as np
import pytest

from leopold_model.analysis.catalogue import Catalogue, build_catalogue, merge
from leopold_model.analysis.defects import defect_distances, defect_shells, without_shells
from leopold_model.analysis.doped_walk import supercell_network
from leopold_model.analysis.pathways import enumerate_pathways, near_defects
from leopold_model.analysis.transport import _diffusion, diffusion_from_rates, transport
from leopold_model.tracks import ReplicaTrack, TrackFile

from .crystals import host, mgo, rutile, site_map, track_of


def doped(repeat=(2, 2, 4), *where):
    """Rutile with F on the oxygens of these numbers (default the first); atoms and site map."""
    atoms = rutile(repeat)
    h = host(rutile(), "Ti")
    oxygen = np.flatnonzero(atoms.numbers == 8)
    atoms.numbers[oxygen[list(where or (0,))]] = 9
    return atoms, site_map(atoms, h)


def counted(sites):
    """Carrier sites in each shell."""
    return Counter(defect_shells(sites)[sites.carrier_atoms].tolist())


@pytest.mark.parametrize("repeat", [(2, 2, 4), (3, 3, 4)])
def test_shells_of_a_dopant_are_those_of_the_crystal_in_any_cell(repeat):
    """F has three Ti at 2.0 A, then two at 3.5 and two at 3.6, then four at 4.1."""
    found = counted(doped(repeat)[1])
    assert (found[1], found[2], found[3]) == (3, 4, 4) and found[4] == 2 * np.prod(repeat) - 11


def test_with_several_dopants_the_nearest_one_counts():
    sites = doped((3, 3, 4), 0, 71)[1]
    shells, distances = defect_shells(sites), defect_distances(sites)
    assert counted(sites)[1] == 6
    alone = defect_shells(doped((3, 3, 4), 0)[1])
    assert (shells <= alone).all() and (shells < alone).any()
    ti = sites.carrier_atoms
    assert (distances.min(axis=0)[ti][shells[ti] == 1] < 2.0).all()
    assert set(np.flatnonzero(shells == 0)) == set(sites.substitutions)


def test_vacancies_have_shells_too():
    atoms = mgo((2, 2, 2))
    del atoms[int(np.flatnonzero(atoms.numbers == 12)[5])]
    found = counted(site_map(atoms, host(mgo(), "O")))
    assert found[1] == 6 and found[2] == 8


def test_rows_and_planes_are_measured_across_the_boundary_of_the_cell():
    atoms, sites = doped((2, 2, 4))
    ti = sites.carrier_atoms
    rows = np.round(defect_distances(sites, along=np.array([0, 0, 1.0]))[0, ti], 2)
    # the first O lies on the diagonal of its cell: rows at 0.305 and 0.195 of it, and so on; four Ti in each row
    diagonal = 4.594 * np.sqrt(2)
    assert rows.min() == pytest.approx(0.195 * diagonal, abs=0.01)
    assert all(n % 4 == 0 for n in Counter(rows.tolist()).values())
    planes = defect_distances(sites, across=np.array([1.0, -1.0, 0]))[0, ti]
    assert set(np.round(planes, 2)) == {0.0, round(diagonal / 2, 2)}
    assert planes.max() < 0.51 * diagonal < np.linalg.norm(atoms.cell.array[0]), "to the nearest image"


@pytest.fixture(scope="module")
def run():
    """A carrier that leaves the first shell of F along [001], goes on there, and one that does the same far away."""
    atoms, sites = doped((2, 2, 4))
    shells = defect_shells(sites)

    def row(start):
        return [start, *sorted((j for j in sites.carrier_atoms if j != start and in_row(start, j)), key=height(start))]

    in_row = lambda i, j: np.linalg.norm((sites.positions[i] - sites.positions[j])[:2]) < 0.1  # noqa: E731
    height = lambda i: lambda j: (sites.positions[j] - sites.positions[i])[2] % atoms.cell[2, 2]  # noqa: E731
    by_shell = {k: next(i for i in sites.carrier_atoms if shells[i] == k) for k in (1, 4)}
    tracks = [track_of([(i, 250) for i in row(by_shell[k])[:3]], n_sites=96) for k in (1, 4)]
    replicas = tuple(
        ReplicaTrack(
            temperature=600.0, replica=k, timestep=1.0, seed=k, sites=t.sites, moments=t.moments,
            carrier=t.sites[:, :1], cell=atoms.cell.array, positions=atoms.positions,
        )
        for k, t in enumerate(tracks)
    )  # fmt: skip
    return TrackFile(atoms.numbers, "electron", 1, replicas), shells


def test_classes_near_a_dopant_carry_the_shells_of_both_ends(run):
    tracks, shells = run
    catalogue = build_catalogue(tracks, host(rutile(), "Ti"))
    base = "Ti-Ti 2.96 A [001] x2"
    for replica in catalogue.replicas:
        for hop in replica.table.hops:
            ends = sorted((shells[hop.i], shells[hop.j]))
            suffix = "" if ends[0] > 3 else f" @{ends[0]}-{'far' if ends[1] > 3 else ends[1]}"
            assert hop.pathway == base + suffix
    assert {without_shells(name) for name in catalogue.seen} == {base} and len(catalogue.seen) > 1
    # what there is but was not seen is enumerated: of the row beside F no site is in shell 2 and its neighbour in 1
    names = {p.name for p in catalogue.pathways}
    assert base in names and {n for n in names if n.startswith(base + " @1")} >= {f"{base} @1-1"}
    assert sum(p.hops for p in catalogue.pathways) == 4


def walk(times):
    """Network of the walk in doped rutile over four classes, the counts that make every directed hop as frequent as
    any other of its class, and the pristine walk with the same rates."""
    _, sites = doped((2, 2, 4))
    classes = enumerate_pathways(host(rutile(), "Ti"), 5.0)
    shells, in_shell = defect_shells(sites)[sites.carrier_atoms], counted(sites)
    names = [name for p in classes for name in {p.name, *near_defects(sites, classes)[p.name]}]
    spent = {k: times.get(k, 1.0) * n for k, n in in_shell.items()}
    network = supercell_network(classes, sites, names, spent)
    stay = np.array([spent[k] / in_shell[k] for k in shells]) / sum(spent.values())  # equilibrium, by site
    return classes, names, network, stay


def test_without_a_difference_between_shells_the_walk_is_that_of_the_perfect_crystal():
    classes, names, network, _ = walk({})
    rates = {p.name: 1.0 + k for k, p in enumerate(classes)}
    members = np.bincount(network[0], minlength=len(names)) / 32
    multiplicity = {p.name: p.multiplicity for p in classes}
    counts = np.array([rates[without_shells(n)] / multiplicity[without_shells(n)] for n in names]) * members
    found = _diffusion(network, counts[None], 32)[0]
    expected = diffusion_from_rates(classes, {(name, 0): rate for name, rate in rates.items()})
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_trap_is_in_the_diffusion_tensor_and_detailed_balance_is_exact():
    """Against the dispersion of the walk: its slowest mode of wave vector q decays with q.D.q."""
    _, names, network, stay = walk({1: 40.0, 2: 3.0})
    rng = np.random.default_rng(1)
    counts = rng.uniform(1.0, 30.0, len(names))
    number, start, end, vectors, share = network
    rate = counts[number] * share
    flux = np.zeros((len(names), 32, 32))
    np.add.at(flux, (number, start, end), stay[start] * rate)
    np.testing.assert_allclose(flux, flux.transpose(0, 2, 1), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(flux.sum(axis=(1, 2)), counts, rtol=1e-9)  # as many hops of the class as were counted
    found = _diffusion(network, counts[None], 32)[0]
    for direction in np.eye(3):
        q = 1e-3 * direction
        generator = np.zeros((32, 32), dtype=complex)
        np.add.at(generator, (start, end), rate * np.exp(1j * vectors @ q))
        np.add.at(generator, (start, start), -rate)
        slowest = -np.linalg.eigvals(generator).real.max()
        assert slowest / 1e-6 == pytest.approx(direction @ found @ direction, rel=1e-4)


def test_a_bound_carrier_moves_less(run):
    """Most of the time in the first shell: the same hops carry it less far than in the perfect crystal."""
    tracks, _ = run
    h = host(rutile(), "Ti")
    bound, free = (
        transport(build_catalogue(t, h), 600.0, n_samples=50)
        for t in (tracks, TrackFile(np.where(tracks.numbers == 9, 8, tracks.numbers), "electron", 1, tracks.replicas))
    )
    assert sum(r.count for r in bound.rates.values()) == sum(r.count for r in free.rates.values()) == 4
    assert 0 < bound.diffusion.value[2, 2] < free.diffusion.value[2, 2]


def test_a_catalogue_with_defects_survives_json_and_merging(run):
    catalogue = build_catalogue(run[0], host(rutile(), "Ti"))
    text = json.dumps(catalogue.to_dict())
    again = Catalogue.from_dict(json.loads(text))
    assert json.dumps(again.to_dict()) == text
    both = merge([catalogue, again])
    assert both.n_hops == 8 and both.seen == catalogue.seen
    np.testing.assert_array_equal(defect_shells(again.replicas[0].sites), run[1])
