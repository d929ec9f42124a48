"""`leopold patterns` from labels to correlation functions, as a user runs it."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from leopold_model.cli import main
from leopold_model.frames import Frame, read_frames, write_frames
from leopold_model.patterns.annealing import read_patterns
from leopold_model.patterns.composition import random_configuration
from leopold_model.patterns.descriptor import DescriptorConfig
from leopold_model.patterns.labels import read_labels
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.point_charges import point_charge_energies
from leopold_model.patterns.structures import from_structure, to_structure
from tests.patterns.exact_lattice import ExactLattice
from tests.patterns.random_models import random_model


def leopold(*arguments):
    return CliRunner().invoke(main, ["patterns", *map(str, arguments)], catch_exceptions=False)


def test_from_labels_to_a_trained_model(tmp_path):
    labels, model = tmp_path / "labels.h5", tmp_path / "model.npz"
    made = leopold("charges", "tio2_110", "--supercell", "4x3", "--configurations", 60, "-o", labels)
    assert made.exit_code == 0, made.output
    settings = (
        "--set",
        "members=1",
        "--set",
        "epochs=2",
        "--set",
        "descriptor.kind=free",
        "--set",
        "descriptor.cutoff=5",
    )
    trained = leopold("train", labels, *settings, "-o", model, "--json")
    assert trained.exit_code == 0, trained.output
    report = json.loads(trained.stdout)
    assert report["epochs"] == 2 and report["settings"]["descriptor"]["kind"] == "free"
    assert report["pair_expansion"]["test"]["mae"] >= 0
    assert model.exists()


def test_collecting_labels_from_relaxed_structures(tmp_path):
    tio2 = load_lattice("tio2_110")
    cell = tio2.supercell("4x3")
    frames = []
    for k in range(3):
        made = to_structure(cell, random_configuration(cell, tio2.composition("4x3"), np.random.default_rng(k)))
        atoms = made.atoms
        frames.append(
            Frame(atoms.numbers, atoms.positions, atoms.cell.array, -1.0 * k, carrier_sites=made.carrier_sites)
        )
    write_frames(tmp_path / "frames.h5", frames)
    out = tmp_path / "labels.h5"
    found = leopold(
        "collect", tmp_path / "frames.h5", "--lattice", "tio2_110", "--supercell", "4x3", "-o", out, "--json"
    )
    assert json.loads(found.stdout) == {"labels": 3, "distinct": 3, "refused": {}}
    assert read_labels(out).energies.tolist() == [0.0, -1.0, -2.0]


def test_annealing_and_what_follows_from_it(tmp_path):
    model, out = tmp_path / "model.npz", tmp_path / "anneal.h5"
    random_model(load_lattice("tio2_110")).save(model)
    options = (
        "--supercell",
        "6x4",
        "--moves",
        400,
        "--blocks",
        4,
        "--chains",
        3,
        "--reach",
        "VO=1,0,0",
        "--members",
        1,
    )
    found = leopold("anneal", model, *options, "-o", out, "--json")
    assert found.exit_code == 0, found.output
    summary = json.loads(found.stdout)
    assert summary["chains"] == 3 and summary["moves"] == 400
    assert read_patterns(out).last.shape == (3, 72)
    again = leopold("anneal", model, *options, "-o", out, "--json")
    assert json.loads(again.stdout) == summary
    for which, runs in (("lowest", read_patterns(out).lowest), ("last", read_patterns(out).last)):
        made = leopold("starts", out, "--which", which, "-o", tmp_path / "starts.h5", "--json")
        assert made.exit_code == 0, made.output
        supercell, frames = read_patterns(out).supercell, read_frames(tmp_path / "starts.h5")
        keys = {supercell.key(from_structure(supercell, f.to_atoms(), f.carrier_sites)[0]) for f in frames}
        assert len(keys) == len(frames) and keys == {supercell.key(run) for run in runs}
        assert len({f.run for f in frames}) == len(frames) and {len(f.carrier_sites) for f in frames} == {8}
    acf = leopold("correlate", out, "--map", tmp_path / "map", "--plot", tmp_path / "acf", "--json")
    assert json.loads(acf.stdout)["anneal"]["values"][0][0] == pytest.approx(6.0)
    assert "same row" in leopold("correlate", out).output
    assert (tmp_path / "map.csv").exists() and (tmp_path / "acf.png").exists()


def test_sites_of_a_lattice():
    found = json.loads(leopold("lattice", "tio2_110", "--json").stdout)
    assert [row["label"] for row in found["sites"]] == ["S0A", "S1A", "Obr"]
    assert leopold("lattice").output.split() == ["rutile_f", "srtio3_001", "tio2_110", "tio2_110_thin"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lattice", "anatase"), "none of rutile_f"),
        (("train", "nothing.h5"), "nothing.h5"),
        (("anneal", "nothing.npz", "--supercell", "6x4"), "does not exist"),
        (("correlate", "nothing.h5"), "does not exist"),
        (("charges", "tio2_110", "--supercell", "6x4", "--counts", "VO=4,polaron=7"), "need 8 polaron"),
        (("charges", "tio2_110", "--supercell", "5x5"), "no usual composition"),
        (("suggest", "model.npz", "--supercell", "6x4", "--max-seconds", "9"), "name a --checkpoint"),
    ],
)
def test_bad_input_ends_with_a_message(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random_model(load_lattice("tio2_110")).save("model.npz")
    found = leopold(*arguments)
    assert found.exit_code == 1
    assert message in str(found.exception) + found.output


def test_point_charges_are_those_of_the_exact_lattice():
    exact = ExactLattice(bridge=0.0)
    rng = np.random.default_rng(0)
    drawn = np.array([random_configuration(exact.cell, exact.instance.composition("4x3"), rng) for _ in range(20)])
    onsite = {"S0A": -0.10, "S1A": -0.25}
    found = point_charge_energies(exact.cell, drawn, onsite=onsite)
    np.testing.assert_allclose(found, exact.energies(drawn), atol=2e-3)
    images = exact.cell.images(drawn[0])
    assert np.ptp(point_charge_energies(exact.cell, images)) < 1e-9


def test_settings_of_patterns_are_validated(tmp_path):
    def validate(kind, text):
        (tmp_path / "settings.yaml").write_text(text)
        return CliRunner().invoke(main, ["validate", str(tmp_path / "settings.yaml"), "--kind", kind])

    assert validate("patterns-train", "epochs: 20\ndescriptor: {kind: free}\n").exit_code == 0
    assert validate("patterns-anneal", "temperature: 900\nexplore: defects\n").exit_code == 0
    assert "did you mean 'members'" in validate("patterns-train", "member: 3\n").output
    assert "explore" in validate("patterns-anneal", "explore: nothing\n").output
    assert "species" in validate("lattice", "name: nowhere\n").output


def test_suggestions_are_low_new_and_distinct(tmp_path):
    model = random_model(load_lattice("tio2_110"), DescriptorConfig(kind="free", cutoff=5.0), members=2, scale=0.3)
    model.save(tmp_path / "patterns.npz")
    options = ["--supercell", "3x2", "--counts", "VO=1,polaron=2", "--moves", 100, "--chains", 4, "--json"]
    first = json.loads(leopold("suggest", tmp_path / "patterns.npz", *options, "-n", 5).stdout)["suggestions"]
    keys = [row["key"] for row in first]
    assert len(set(keys)) == 5
    scores = [row["energy_eV"] - row["spread_eV"] for row in first]
    assert scores == sorted(scores)
    (tmp_path / "known.json").write_text(json.dumps(keys[:3]))
    more = leopold("suggest", tmp_path / "patterns.npz", *options, "-n", 2, "--known", tmp_path / "known.json")
    assert [row["key"] for row in json.loads(more.stdout)["suggestions"]] == keys[3:]
    # stopped behind every block, it suggests the same
    checkpoint = ["--checkpoint", tmp_path / "chains.h5", "--max-seconds", 1e-9]
    parts = [leopold("suggest", tmp_path / "patterns.npz", *options, "-n", 5, *checkpoint) for _ in range(10)]
    assert [part.exit_code for part in parts] == [10] * 9 + [0]
    assert {json.loads(part.stdout)["status"] for part in parts[:9]} == {"out_of_walltime"}
    assert json.loads(parts[9].stdout)["suggestions"] == first


def test_an_annealing_out_of_time_ends_like_a_training_and_goes_on(tmp_path):
    model = random_model(load_lattice("tio2_110"), DescriptorConfig(kind="free", cutoff=5.0), members=1, scale=0.3)
    model.save(tmp_path / "patterns.npz")
    command = ("anneal", tmp_path / "patterns.npz", "--supercell", "3x2", "--counts", "VO=1,polaron=2", "--chains", 1)
    command += ("--moves", 100, "--blocks", 2, "--output", tmp_path / "anneal.h5", "--max-seconds", 1e-9)
    stopped = leopold(*command)
    assert stopped.exit_code == 10 and stopped.stdout == "stopped behind block 1 of 2: the same command goes on\n"
    assert leopold(*command, "--json").exit_code == 0
    assert read_patterns(tmp_path / "anneal.h5").energies.shape == (2, 1)
