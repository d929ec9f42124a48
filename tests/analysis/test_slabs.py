"""Slabs: recognised by their vacuum, refused where that is none, and walks on layers whose answer is known."""

from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.catalogue import Catalogue, ReplicaHops, build_catalogue
from leopold_model.analysis.hops import HopTable
from leopold_model.analysis.pathways import enumerate_pathways
from leopold_model.analysis.production import transport_summary
from leopold_model.analysis.sites import host_from_structure
from leopold_model.analysis.slabs import slab_of
from leopold_model.analysis.transport import transport
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.tracks import ReplicaTrack, TrackFile

from .walks import walk

A, LAYER = 3.0, 2.5  # Angstrom: the square lattice of the plane, the distance of layers


def square(n_layers=2, vacuum=12.0, repeat=(1, 1), tilt=0.0, axis=2):
    """Titanium layers, one above the other, under a layer of oxygen: no two are equivalent."""
    height = n_layers * LAYER + vacuum
    positions = [[0, 0, 1 + k * LAYER] for k in range(n_layers)] + [[0, 0, 1 + (n_layers - 1) * LAYER + 1.9]]
    cell = np.array([[A, 0, 0], [0, A, 0], [tilt, 0, height]])
    order = np.roll(np.arange(3), axis - 2)
    atoms = Atoms(f"Ti{n_layers}O", positions=np.array(positions)[:, order], cell=cell[order][:, order], pbc=True)
    return atoms.repeat(np.array([*repeat, 1])[order])


def host_of(atoms):
    return host_from_structure(atoms.numbers, atoms.positions, atoms.cell.array, sublattice="Ti")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slab_is_known_by_its_vacuum_along_any_axis(axis):
    slab = slab_of(host_of(square(3, axis=axis, repeat=(2, 3))))
    assert np.abs(slab.normal[axis]) == pytest.approx(1.0)
    assert (
        np.abs(slab.plane @ slab.plane.T - np.eye(2)).max() < 1e-12 and np.abs(slab.plane @ slab.normal).max() < 1e-12
    )
    heights = slab.host.basis @ slab.host.lattice @ slab.normal
    top_down = sorted(slab.layer, key=slab.layer.get)
    assert [slab.layer[s] for s in top_down] == [0, 1, 2]
    steps = [(heights[a] - heights[b]) % np.linalg.norm(slab.host.lattice[slab.axis]) for a, b in pairwise(top_down)]
    assert steps == pytest.approx([LAYER, LAYER]), "S0 is the uppermost, and no layer lies across the vacuum"


def test_a_crystal_is_no_slab_and_a_doubtful_gap_is_refused():
    assert slab_of(host_of(square(2, vacuum=0.5))) is None
    with pytest.raises(AnalysisError, match=r"5\.1 A without atoms along lattice vector .: too much for a crystal"):
        slab_of(host_of(square(2, vacuum=4.5)))
    with pytest.raises(AnalysisError, match="the slab is tilted: lattice vector"):
        slab_of(host_of(square(2, tilt=1.0)))


def test_the_group_of_a_slab_is_that_of_its_layers():
    """Rutile (110): pmmm, eight operations, none of which exchanges a terrace with what lies below it."""
    lattice = load_lattice("tio2_110_thin").lattice
    host = host_from_structure(
        lattice.numbers, lattice.positions @ lattice.cell, np.array(lattice.cell), sublattice="Ti"
    )
    assert host.space_group == "Pmmm (47)" and len(host.point_group) == 8
    slab = slab_of(host)
    assert sorted(slab.layer.values()) == [0, 0, 1, 1, 2, 2]
    kinds = enumerate_pathways(host, 4.0).site_kinds
    assert {s for s in kinds if slab.layer[s] == 1}.isdisjoint({s for s in kinds if slab.layer[s] != 1})
    assert len({kinds[s] for s in kinds if slab.layer[s] == 1}) == 2, "below Ti5c and below Ti6c"


def track(atoms, stays):
    """One carrier on the atoms in turn, [(atom, fs), ...]."""
    lane = np.concatenate([np.full(time, atom) for atom, time in stays])
    sites = np.stack([lane, np.full(len(lane), len(atoms) - 1)], axis=1)
    replica = ReplicaTrack(
        temperature=500.0, replica=0, timestep=1.0, seed=0, sites=sites, moments=np.tile([0.9, 0.03], (len(lane), 1)),
        carrier=sites[:, :1], cell=atoms.cell.array, positions=atoms.positions,
    )  # fmt: skip
    return TrackFile(atoms.numbers, "electron", 1, (replica,))


def test_time_and_hops_are_told_layer_by_layer():
    atoms = square(2, repeat=(4, 4))
    heights = atoms.positions[:, 2]
    top = np.flatnonzero(np.isclose(heights, 1 + LAYER))
    bottom = np.flatnonzero(np.isclose(heights, 1))
    on_top = [top[0], top[np.argsort(atoms.get_distances(top[0], top, mic=True))[1]]]
    below = bottom[np.argmin(atoms.get_distances(on_top[1], bottom, mic=True))]
    stays = [(on_top[0], 300), (on_top[1], 200), (on_top[0], 100), (on_top[1], 100), (below, 300)]
    catalogue = build_catalogue(track(atoms, stays), host_of(square(2)))
    (found,) = transport_summary(catalogue, n_samples=50)["layers"]
    assert found["layers"]["layer"] == ["S0", "S1"]
    assert found["layers"]["population"] == pytest.approx([0.7, 0.3], abs=2e-3)
    assert found["layers"]["random"] == [0.5, 0.5]
    assert {name: rate["count"] for name, rate in found["hops"].items()} == {"S0": 3, "S0-S1": 1, "S1": 0}
    assert found["layers"]["residence_ps"] == [pytest.approx(0.7, abs=2e-3), None]
    # a catalogue read back says the same
    again = Catalogue.from_dict(catalogue.to_dict())
    assert transport_summary(again, n_samples=50)["layers"] == [found]


def test_the_in_plane_tensor_of_a_walk_on_two_layers_is_the_exact_one():
    """On a square lattice a hop rate of 4 G per site gives D = G a^2; S0 hops four times as often as S1, and as both
    exchange their carrier at equal rates the walk spends half of its time on each."""
    host = host_of(square(2))
    classes, slab = enumerate_pathways(host, 3.1), slab_of(host)
    lateral = [p for p in classes if abs(p.distance - A) < 1e-6]
    within = {slab.layer[p.representative[0]]: p.name for p in lateral}
    (across,) = (p.name for p in classes if abs(p.distance - LAYER) < 1e-6)
    rates = {within[0]: 4e-3, within[1]: 1e-3, across: 2e-3}  # per fs and site
    rng, replicas = np.random.default_rng(1), []
    for k in range(4):
        hops, _ = walk(classes, rates, 4e5, rng)
        table = HopTable(tuple(hops), 4e5, (0,), (0,), 0, 0, 50.0, 0.7, 200.0)
        replicas.append(ReplicaHops("", k, 500.0, k, 1, np.diag([9, 9, 1]), host.lattice, 162, table))
    found = transport(Catalogue(host, "electron", 3.1, 50.0, 0.7, 200.0, tuple(replicas)), 500.0, n_samples=200)
    expected = (4e-3 + 1e-3) / 2 / 4 * A**2  # Angstrom^2/fs
    told = found.to_dict()
    plane = told["in_plane"]["diffusion_cm2_per_s"]
    assert np.shape(plane["value"]) == (2, 2) == np.shape(told["in_plane"]["mobility_cm2_per_Vs"]["value"])
    assert np.array(plane["value"]) == pytest.approx(0.1 * expected * np.eye(2), rel=0.05, abs=1e-9)
    mean = told["diffusion_isotropic_cm2_per_s"]
    assert mean["low"] < 0.1 * expected < mean["high"] and mean["value"] == pytest.approx(0.1 * expected, rel=0.05)
    assert np.abs(np.array(told["diffusion_cm2_per_s"]["value"]) @ slab.normal).max() == 0.0
    assert told["principal"]["anisotropy"] == pytest.approx(1.0, abs=0.05)
    assert told["msd"]["diffusion_isotropic_cm2_per_s"]["value"] == pytest.approx(0.1 * expected, rel=0.1)
