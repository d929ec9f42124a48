"""`leopold convert`: the published models to the last digit, and nothing else out of a pickle."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_masses
from click.testing import CliRunner

from leopold_model.calculator import LeopoldCalculator
from leopold_model.checkpoint import ModelError, load_model
from leopold_model.cli import main
from leopold_model.convert_command import convert
from leopold_model.frames import read_frames, write_frames
from leopold_model.md import EXIT_ALL_STOPPED
from leopold_model.md_integrators import maxwell_boltzmann
from leopold_model.published_pickle import read_pickle
from tests.model import published_model

DATA = Path(__file__).parents[3] / "shared" / "data" / "leopold"
NAMES = ("MgO", "TiO2", "TiO2+F")


def frames_of(name: str) -> Path:
    return DATA / "exact" / f"exact_{name.replace('+', '_')}.xyz"


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Name -> model file of each published model."""
    if not DATA.is_dir():
        pytest.skip(f"the published models are not here ({DATA})")
    folder = tmp_path_factory.mktemp("published")
    for name in NAMES:
        done = CliRunner().invoke(
            main, ["convert", str(DATA / "models" / f"{name}.pkl"), str(folder / f"{name}.leopold")]
        )
        assert done.exit_code == 0, done.output
    return {name: folder / f"{name}.leopold" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", (1e-7, 1e-7, 1e-7)), ("float32", (1e-3, 1e-4, 1e-5))])
def test_published_models_give_their_published_numbers(converted, name, dtype, tolerance):
    outcome = CliRunner().invoke(
        main, ["evaluate", str(converted[name]), str(frames_of(name)), "--json", "--dtype", dtype]
    )
    assert outcome.exit_code == 0, outcome.output
    report = json.loads(outcome.stdout)
    for quantity, limit in zip(("energy", "forces", "occupations"), tolerance, strict=True):
        assert report[quantity]["max"] < limit, quantity
    assert report["carrier_site_accuracy"] == 1.0


def test_the_calculator_gives_the_published_forces(converted):
    frame = read_frames(frames_of("MgO"))[0]
    atoms = frame.to_atoms()
    atoms.calc = LeopoldCalculator(converted["MgO"], frame.carrier_sites, dtype="float64")
    assert atoms.get_potential_energy() == pytest.approx(frame.energy, abs=1e-7)
    np.testing.assert_allclose(atoms.get_forces(), frame.forces, atol=1e-7)
    atoms.set_cell(atoms.cell.array * 1.01, scale_atoms=True)
    with pytest.raises(ModelError, match="images: nearest"):
        atoms.get_potential_energy()


def test_a_published_model_runs_in_dynamics(converted, tmp_path):
    write_frames(tmp_path / "start.h5", read_frames(frames_of("MgO"))[:1])
    options = {"kind": "md", "model": str(converted["MgO"]), "steps": 60, "block": 20, "ensemble": "nve"}
    (tmp_path / "md.yaml").write_text(json.dumps(options))
    outcome = CliRunner().invoke(main, ["md", str(tmp_path / "md.yaml"), "--json"])
    assert outcome.exit_code == 0, outcome.output
    replica = json.loads(outcome.stdout.splitlines()[-1])["replicas"][0]
    assert replica["status"] == "finished" and replica["steps"] == 60


@pytest.mark.slow
def test_the_collapse_of_the_published_mgo_is_stopped_at_the_last_good_block(converted, tmp_path):
    """At 900 K, with these velocities, two oxygen atoms fall into each other after 1.1 ps (without guards they are
    1.7 Angstrom apart at 1.3 ps, and atoms 0.04 soon after); float64, so that other machines see the same."""
    frame = read_frames(frames_of("MgO"))[0]
    velocities = maxwell_boltzmann(atomic_masses[frame.numbers], 900.0, np.random.default_rng([7, 2]))
    write_frames(tmp_path / "start.h5", [replace(frame, velocities=velocities)])
    options = {
        "kind": "md", "model": str(converted["MgO"]), "structures": "start.h5", "ensemble": "nose-hoover",
        "temperatures": [900.0], "charge_update": "published", "dtype": "float64", "steps": 1600, "stride": 50,
    }  # fmt: skip
    (tmp_path / "md.yaml").write_text(json.dumps(options))
    outcome = CliRunner().invoke(main, ["md", str(tmp_path / "md.yaml"), "--json"])
    assert outcome.exit_code == EXIT_ALL_STOPPED, outcome.output
    replica = json.loads(outcome.stdout.splitlines()[-1])["replicas"][0]
    assert replica["status"] == "unstable" and "guards.min_approach" in replica["reason"]
    assert 1000 <= replica["steps"] < 1400
    with h5py.File(tmp_path / "trajectory.h5") as h5:
        last = h5["particles/replica_000/position/value"][-1]
    oxygen = Atoms(frame.numbers, last, cell=frame.cell, pbc=True)[frame.numbers == 8]
    closest = np.sort(oxygen.get_all_distances(mic=True), axis=1)[:, 1].min()
    assert closest > 1.9, "what was kept is not the last good block"


# ------------------------------------------------------------------------------------------------ models of one's own


def test_a_model_of_ones_own_is_converted_when_it_is_said_what_it_is(tmp_path):
    path = published_model.pickled(tmp_path)
    outcome = CliRunner().invoke(main, ["convert", str(path), str(tmp_path / "own.leopold")])
    assert outcome.exit_code == 1 and "--elements and --carrier" in outcome.output
    said = ["--elements", "Ti O", "--carrier", "electron", "--cube", "8.5"]
    outcome = CliRunner().invoke(main, ["convert", str(path), str(tmp_path / "own.leopold"), *said])
    assert outcome.exit_code == 0, outcome.output
    model = load_model(tmp_path / "own.leopold")
    assert model.spec.elements == (8, 22) and model.carrier == "electron" and model.images == "nearest"
    assert model.references.tolist() == [-2.5, -2.5] and model.dtype == "float64"
    positions, cell = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0.5]]), np.eye(3) * 8.5
    edges = model.neighbours(positions, cell, True)
    energy, forces, occupations = model.energy_forces(positions, cell, edges, [0, 1, 1], [0.0, 1, 0])
    assert np.isfinite(energy) and np.isfinite(forces).all() and occupations.shape == (3, 2)
    assert json.loads((tmp_path / "own.leopold").read_bytes().split(b"\n")[0])["variant"] == "published"


@pytest.mark.parametrize(
    ("changes", "elements", "message"),
    [
        ({"r_max": 6.0}, "O Ti", "r_max is 6.0, but only 5.0 can be converted"),
        ({"sh_irreps": "1x0e + 1x1o"}, "O Ti", "sh_irreps is '1x0e"),
        ({"hidden_irreps": "6x0e + 3x1o"}, "O Ti", "not scalars and vectors, both even"),
        ({"num_basis": 8}, "O Ti", r"shape \(4,\), where one of \(8,\)"),
        ({"scale": np.inf}, "O Ti", "finite is due"),
        ({}, "O F Ti", "trained on 2 elements, 3 were named"),
        ({}, "O Tt", "'Tt' is no chemical symbol"),
    ],
)
def test_other_architectures_are_refused(tmp_path, changes, elements, message):
    with pytest.raises(ModelError, match=message):
        convert(published_model.pickled(tmp_path, **changes), elements, "electron")


# ------------------------------------------------------------------------------------------------------ hostile files


class Malicious:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    path, mark = tmp_path / "bad.pkl", tmp_path / "was_run"
    path.write_bytes(published_model.dumps({"r_max": 5.0}, {"params": Malicious(mark)}))
    with pytest.raises(ModelError, match=r"names posix\.system, .* refused"):
        read_pickle(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["builtins\neval", "numpy\nndarray.tofile", "numpy\nload", "functools\npartial"])
def test_names_beyond_the_few_needed_are_refused(tmp_path, name):
    path = tmp_path / "bad.pkl"
    path.write_bytes(b"\x80\x04c" + name.encode() + b"\n.")
    with pytest.raises(ModelError, match=name.replace("\n", r"\.")):
        read_pickle(path)


def test_foreign_and_damaged_files_are_explained(tmp_path):
    whole = published_model.pickled(tmp_path).read_bytes()
    path = tmp_path / "bad.pkl"
    objects = pickle.dumps(np.array([{}, None], dtype=object))
    for content in (b"", b"plain text", whole[:1000], whole[:-300], pickle.dumps([1, 2, 3]), pickle.dumps({}), objects):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"bad\.pkl is not a published LEOPOLD model, or damaged"):
            convert(path, "O Ti", "electron")
    path.write_bytes(published_model.dumps({"r_max": 5.0}, {"params": {}}))
    with pytest.raises(ModelError, match="'sh_irreps' is missing"):
        convert(path, "O Ti", "electron")
    with pytest.raises(ModelError, match="does not exist"):
        convert(tmp_path / "none.pkl")
