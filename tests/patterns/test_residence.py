"""Dynamics against the lattice: a walk with known weights falls on the diagonal, another one does not."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase.units import kB

from leopold_model.patterns import PatternError
from leopold_model.patterns.composition import Composition, all_configurations
from leopold_model.patterns.descriptor import DescriptorConfig
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.residence import residence
from leopold_model.patterns.structures import to_structure
from leopold_model.tracks import ReplicaTrack, TrackFile, write_track
from tests.patterns.random_models import random_model
from tests.patterns.test_command import leopold

TIO2 = load_lattice("tio2_110")
CELL = TIO2.supercell("3x2")
VACANCY, POLARON = TIO2.lattice.code("VO"), TIO2.lattice.code("polaron")
KELVIN = 1200.0


@pytest.fixture(scope="module")
def model():
    return random_model(TIO2, DescriptorConfig(kind="free", cutoff=5.0), seed=3, scale=0.35)


@pytest.fixture(scope="module")
def states(model):
    """The 66 places of two carriers around one vacancy, and their energies."""
    everything = all_configurations(CELL, Composition(TIO2.lattice, {"VO": 1, "polaron": 2}))
    vacancy = np.flatnonzero(CELL.labels == "Obr")[3]
    here = everything[everything[:, vacancy] == VACANCY]
    return here, model.energies(CELL, here)[0]


def walk(states, kelvin, steps, seed, elsewhere=()):
    """Track of a Metropolis walk over the states in which one carrier at a time jumps anywhere: it knows the energies
    and nothing else of the package. `elsewhere`: steps in which a carrier is put on an oxygen atom."""
    rng, (rows, energies) = np.random.default_rng(seed), states
    index = {row.tobytes(): k for k, row in enumerate(rows)}
    at, visited = 0, []
    for _ in range(steps):
        new = rows[at].copy()
        a = rng.choice(np.flatnonzero(new == POLARON))
        b = rng.choice(np.flatnonzero((new == 0) & (CELL.labels != "Obr")))
        new[a], new[b] = 0, POLARON
        to = index[new.tobytes()]
        if rng.random() < np.exp(min(0.0, (energies[at] - energies[to]) / (kB * kelvin))):
            at = to
        visited.append(at)
    made = to_structure(CELL, rows[0])
    atoms = made.atoms
    carrier = np.array([made.atom_of_site[np.flatnonzero(row == POLARON)] for row in rows])[visited]
    carrier[list(elsewhere), 0] = np.flatnonzero(atoms.numbers == 8)[0]
    return atoms.numbers, ReplicaTrack(
        temperature=KELVIN, replica=seed, timestep=1.0, seed=seed, sites=carrier, moments=np.ones(carrier.shape),
        carrier=carrier, cell=atoms.cell.array, positions=atoms.positions,
    )  # fmt: skip


def track_of(states, kelvin=KELVIN, steps=3000, replicas=6, **more):
    made = [walk(states, kelvin, steps, seed, **more) for seed in range(replicas)]
    return TrackFile(made[0][0], "electron", 2, tuple(replica for _, replica in made))


@pytest.fixture(scope="module")
def track(states):
    return track_of(states)


def test_a_walk_with_known_weights_falls_on_the_diagonal(model, states, track):
    rows, energies = states
    found = residence(model, CELL, track, seed=1, moves=20_000)
    assert found.sites.sum() == 12 and found.elsewhere == 0 and found.replicas == 6
    assert found.dynamics.sum() == pytest.approx(1) and found.lattice.sum() == pytest.approx(1)
    # the lattice is the exact sum over states
    weight = np.exp(-(energies - energies.min()) / (kB * KELVIN))
    per_site = weight / weight.sum() @ (rows == POLARON) / 2
    exact: dict[str, float] = {}
    for site in np.flatnonzero(CELL.labels != "Obr"):
        marked = CELL.without_carriers(rows[0])
        marked[site] = POLARON
        exact[CELL.key(marked)] = exact.get(CELL.key(marked), 0) + per_site[site]
    assert len(found.labels) == len(exact) < 12, "mirror images are one kind of site"
    truth = np.sort(list(exact.values()))[::-1]
    assert np.abs((found.lattice - truth) / found.lattice_errors).max() < 5
    assert found.lattice.max() > 5 * found.lattice.min()
    # and the walk lies on it within its errors
    error = np.hypot(found.dynamics_errors, found.lattice_errors)
    assert np.abs((found.dynamics - found.lattice) / error).max() < 4.5
    assert np.abs(found.deviations).max() < 0.02


def test_a_walk_at_another_temperature_does_not(model, states):
    found = residence(model, CELL, track_of(states, kelvin=500.0, replicas=3), seed=1, moves=20_000)
    assert np.abs(found.deviations).max() > 0.1


def test_time_away_from_the_sites_is_told(model, states):
    away = track_of(states, steps=200, replicas=2, elsewhere=range(100))
    assert residence(model, CELL, away, moves=1000).elsewhere == pytest.approx(0.25)


def test_the_command_tells_and_draws_it(model, track, tmp_path):
    model.save(tmp_path / "patterns.npz")
    write_track(tmp_path / "track.h5", track)
    options = ("--supercell", "3x2", "--moves", 2000, "--plot", tmp_path / "residence")
    told = leopold("residence", tmp_path / "patterns.npz", tmp_path / "track.h5", *options, "--json")
    found = json.loads(told.stdout)
    assert found["temperature"] == KELVIN and len(found["deviations_eV"]) == len(found["labels"])
    rows = (tmp_path / "residence.csv").read_text().splitlines()
    assert len(rows) == 1 + len(found["labels"]) and (tmp_path / "residence.png").exists()
    assert "6 replicas at 1200 K" in leopold("residence", *(tmp_path / n for n in ("patterns.npz", "track.h5")),
                                             "--supercell", "3x2", "--moves", 2000).stdout  # fmt: skip


@pytest.mark.parametrize(
    ("change", "temperature", "words"),
    [
        (lambda r, k: replace(r, temperature=600.0 + 600 * k), None, "give the `temperature`"),
        (lambda r, k: r, 300.0, "the replicas are at 1200, 1200"),
        (lambda r, k: replace(r, sites=r.sites[:0], moments=r.moments[:0], carrier=r.carrier[:0]), None, "is empty"),
        (lambda r, k: replace(r, positions=r.positions + 0.3 * k), None, None),
        (lambda r, k: replace(r, cell=1.2 * r.cell), None, "is not the supercell"),
    ],
)
def test_tracks_that_cannot_be_compared_are_refused(model, states, change, temperature, words):
    track = track_of(states, steps=5, replicas=2)
    track = replace(track, replicas=tuple(change(r, k) for k, r in enumerate(track.replicas)))
    if words is None:  # a rigid shift is none of the lattice's business
        assert residence(model, CELL, track, moves=1000).replicas == 2
        return
    with pytest.raises(PatternError, match=words):
        residence(model, CELL, track, temperature=temperature, moves=1000)


def test_dynamics_of_different_patterns_are_refused(model):
    obr, ti = np.flatnonzero(CELL.labels == "Obr"), np.flatnonzero(CELL.labels != "Obr")
    replicas = []
    for k, pair in enumerate(([0, 2], [0, 1])):
        row = np.zeros(CELL.n_sites, dtype=np.int8)
        row[obr[pair]], row[ti[:2]] = VACANCY, POLARON
        made = to_structure(CELL, row)
        carrier = np.array([made.carrier_sites])
        replicas.append(
            ReplicaTrack(
                KELVIN, k, 1.0, 0, carrier, np.ones((1, 2)), carrier, made.atoms.cell.array, made.atoms.positions
            )
        )
    with pytest.raises(PatternError, match="replica 1 has another arrangement of defects than replica 0"):
        residence(model, CELL, TrackFile(made.atoms.numbers, "electron", 2, tuple(replicas)), moves=1000)
