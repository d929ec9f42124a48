"""What is said of carriers around a defect, against walks whose answer is known."""

import numpy as np
import pytest

from leopold_model.analysis.around_defects import BOLTZMANN, around_defects, binding
from leopold_model.analysis.catalogue import build_catalogue
from leopold_model.analysis.defects import defect_distances, defect_shells
from leopold_model.analysis.production import transport_summary
from leopold_model.tracks import ReplicaTrack, TrackFile

from .crystals import host, rutile, track_of
from .test_defects import doped

SHARE = {1: 0.6, 4: 0.4}  # of the time, in the first shell and far from F


def bound(near=600, far=400, seeds=(0, 1)):
    """Replicas of a carrier that is `near` fs on a site of the first shell and `far` fs on a far one."""
    atoms, sites = doped((2, 2, 4))
    shells = defect_shells(sites)
    first, last = (next(int(i) for i in sites.carrier_atoms if shells[i] == k) for k in SHARE)
    track = track_of([(first, near), (last, far)], n_sites=96, ramp=0)
    replicas = tuple(
        ReplicaTrack(
            temperature=500.0, replica=k, timestep=1.0, seed=k, sites=track.sites, moments=track.moments,
            carrier=track.sites[:, :1], cell=atoms.cell.array, positions=atoms.positions,
        )
        for k in seeds
    )  # fmt: skip
    return (
        build_catalogue(TrackFile(atoms.numbers, "electron", 1, replicas), host(rutile(), "Ti")),
        sites,
        (first, last),
    )


def test_populations_and_binding_are_those_of_the_walk():
    catalogue, sites, _ = bound()
    found = around_defects(catalogue, 500.0)
    shells = dict(zip(found["shells"]["shell"], found["shells"]["population"], strict=True))
    assert shells == pytest.approx({"1": 0.6, "2": 0.0, "3": 0.0, "far": 0.4}, abs=2e-3)
    assert found["shells"]["sites"] == [3, 4, 4, 21] and sum(found["shells"]["random"]) == pytest.approx(1.0)
    # 0.6 on three sites against 0.4 on twenty-one
    expected = BOLTZMANN * 500 * np.log(0.6 / 3 * 21 / 0.4)
    values, errors = found["shells"]["binding_eV"], found["shells"]["binding_error_eV"]
    assert values[0] == pytest.approx(expected, abs=2e-4) and values[1:] == [None, None, 0.0]
    assert errors[0] == pytest.approx(0.0, abs=1e-12)
    g = dict(zip(found["distances"]["distance_Angstrom"], found["distances"]["g"], strict=True))
    at = round(float(defect_distances(sites)[0, bound()[2][0]]), 2)
    n_there = np.count_nonzero(np.round(defect_distances(sites)[0, sites.carrier_atoms], 2) == at)
    assert g[at] == pytest.approx(0.6 / (n_there / 32), rel=5e-3)
    # left the first shell once in each of two runs of 600 fs there
    assert found["shells"]["residence"]["time_ps"][0] == pytest.approx(0.6, abs=2e-3)


def test_rows_and_planes_are_named_by_their_distance_from_the_defect():
    catalogue, sites, (first, _) = bound()
    (found,) = transport_summary(catalogue, n_samples=50, rows=(0, 0, 1), planes=(1, -1, 0))["around_defects"]
    rows, planes = found["rows"], found["planes"]
    assert sum(rows["population"]) == pytest.approx(1.0) == sum(planes["population"])
    assert all(n % 4 == 0 for n in rows["sites"]) and sum(rows["sites"]) == 32
    row = round(float(defect_distances(sites, along=np.array([0, 0, 1.0]))[0, first]), 2)
    assert rows["population"][rows["distance_Angstrom"].index(row)] >= 0.59
    # F and its three Ti share a plane, which holds half of the sites of this cell
    assert planes["distance_Angstrom"][0] == 0.0 and planes["sites"] == [16.0, 16.0]
    assert planes["population"][0] >= 0.59


def test_the_error_of_binding_is_that_of_many_repetitions():
    rng = np.random.default_rng(0)
    near = rng.beta(12, 8, size=(2000, 6))
    found = np.array([binding(x, 1 - x, (3, 21), 300.0) for x in near])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.1)
    assert binding(near[0], np.zeros(6), (3, 21), 300.0) == (None, None)
    assert binding(near[0, :1], 1 - near[0, :1], (3, 21), 300.0)[1] is None


def test_a_carrier_that_a_defect_holds_has_no_diffusion_but_an_upper_limit():
    """It hops within the first shell and never away: a rounding error is no mobility, nor an activation energy."""
    atoms, sites = doped((2, 2, 4))
    first = [int(i) for i in sites.carrier_atoms if defect_shells(sites)[i] == 1]
    track = track_of([(first[k % 2], 200) for k in range(10)], n_sites=96, ramp=0)
    replicas = tuple(
        ReplicaTrack(
            temperature=t, replica=k, timestep=1.0, seed=k, sites=track.sites, moments=track.moments,
            carrier=track.sites[:, :1], cell=atoms.cell.array, positions=atoms.positions,
        )
        for k, t in enumerate((400.0, 500.0))
    )  # fmt: skip
    catalogue = build_catalogue(TrackFile(atoms.numbers, "electron", 1, replicas), host(rutile(), "Ti"))
    found = transport_summary(catalogue, n_samples=200)
    for row in found["temperatures"]:
        diffusion = row["diffusion_isotropic_cm2_per_s"]
        assert row["n_hops"] == 9 and diffusion["value"] == 0.0
        # the hop along c, not seen in 2 ps: at most 3.7 in that time (97.5 %) of 2.99 A, and one axis of three
        assert diffusion["high"] == pytest.approx(0.1 * 3.69 / 2000 * 2.993**2 / 2 / 3, rel=0.3)
    assert found["arrhenius"] is None and "hops at 0 of 400, 500 K" in found["arrhenius_missing"]


def test_a_perfect_crystal_has_nothing_to_say():
    atoms = rutile((2, 2, 4))
    ti = np.flatnonzero(atoms.numbers == 22)
    track = track_of([(ti[0], 300)], n_sites=96)
    replica = ReplicaTrack(
        temperature=500.0, replica=0, timestep=1.0, seed=0, sites=track.sites, moments=track.moments,
        carrier=track.sites[:, :1], cell=atoms.cell.array, positions=atoms.positions,
    )  # fmt: skip
    catalogue = build_catalogue(TrackFile(atoms.numbers, "electron", 1, (replica,)), host(rutile(), "Ti"))
    assert around_defects(catalogue, 500.0) is None
    assert transport_summary(catalogue, n_samples=50)["around_defects"] == []
