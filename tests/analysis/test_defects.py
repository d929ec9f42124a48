"""Shells around defects, and the classes of hops near them, against sites counted by hand."""

import json
from collections import Counter

import numpy as np
import pytest

from leopold_model.analysis.catalogue import Catalogue, build_catalogue, merge
from leopold_model.analysis.defects import defect_distances, defect_shells, without_shells
from leopold_model.analysis.transport import transport
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


def test_shells_change_names_and_nothing_that_moves(run):
    tracks, _ = run
    h = host(rutile(), "Ti")
    doped_, pristine = (
        transport(build_catalogue(t, h), 600.0, n_samples=50)
        for t in (tracks, TrackFile(np.where(tracks.numbers == 9, 8, tracks.numbers), "electron", 1, tracks.replicas))
    )
    np.testing.assert_array_equal(doped_.diffusion.value, pristine.diffusion.value)
    assert sum(r.count for r in doped_.rates.values()) == sum(r.count for r in pristine.rates.values()) == 4


def test_a_catalogue_with_defects_survives_json_and_merging(run):
    catalogue = build_catalogue(run[0], host(rutile(), "Ti"))
    text = json.dumps(catalogue.to_dict())
    again = Catalogue.from_dict(json.loads(text))
    assert json.dumps(again.to_dict()) == text
    both = merge([catalogue, again])
    assert both.n_hops == 8 and both.seen == catalogue.seen
    np.testing.assert_array_equal(defect_shells(again.replicas[0].sites), run[1])
