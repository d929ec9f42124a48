"""Training end to end on a teacher with known physics; resume, divergence, files, messages."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from flax import serialization

from leopold_model import train as train_module
from leopold_model.charge import charge_state
from leopold_model.checkpoint import load_model, save_model
from leopold_model.cli import main
from leopold_model.config import TrainConfig
from leopold_model.evaluate import predictions
from leopold_model.frames import read_frames, write_frames
from leopold_model.graph import neighbours
from leopold_model.training import Training

from .conftest import teacher_frames
from .published_model import random_model

NETWORK = {"cutoff": 3.0, "layers": 1, "scalars": 8, "vectors": 2, "n_radial": 4, "radial_hidden": [], "head_hidden": 8}


def uncorrelated_frames(n, **options):
    """So far apart in time that no frame is learned with its neighbour's charge state."""
    return teacher_frames(n, stride=100, **options)


def write_case(folder, *, labels=None, held_out=True, **settings):
    write_frames(folder / "frames.h5", labels or uncorrelated_frames(24))
    config = {"kind": "train", "epochs": 6, "batch_size": 4, "network": NETWORK, "learning_rate": 0.005}
    config["optimiser"] = "adamw"  # compiles in half the time
    if held_out:
        write_frames(folder / "test.h5", uncorrelated_frames(4, run="b", seed=7))
        config["test"] = "test.h5"
    (folder / "train.yaml").write_text(yaml.safe_dump(config | settings))
    return folder / "train.yaml"


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def leaves(training):
    return [np.asarray(x) for x in jax.tree.leaves((training.state, training.best))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    result = invoke("train", write_case(folder, epochs=60, learning_rate=0.02))
    assert result.exit_code == 0, result.output
    return folder


def test_learns_the_teacher(trained):
    """A few frames are fitted, unseen ones are predicted, and the carrier is found."""
    result = json.loads((trained / "result.json").read_text())
    assert result["status"] == "finished" and result["epochs"] == 60
    labels = np.concatenate([f.forces.ravel() for f in read_frames(trained / "frames.h5")])
    assert result["errors"]["train"]["forces"]["rmse"] < 0.15 * labels.std()
    assert result["errors"]["test"]["forces"]["rmse"] < 0.3 * labels.std()
    assert result["errors"]["test"]["carrier_site_accuracy"] == 1.0
    assert result["data"]["train"] == 22 and result["data"]["validation"] == 2


def test_no_constant_offset_is_left_in_the_energies(trained):
    frames, model = read_frames(trained / "frames.h5")[:22], load_model(trained / "model.leopold")
    residuals = [p.energy - f.energy for p, f in zip(predictions(model, frames), frames, strict=True)]
    assert abs(np.mean(residuals)) < 1e-4 < np.std(residuals)


def test_files(trained):
    assert not (trained / "checkpoint.msgpack").exists()
    for picture in ("learning_curve.png", "parity.png"):
        assert (trained / picture).read_bytes().startswith(b"\x89PNG")
    with open(trained / "log.csv") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 61))
    assert float(rows[-1]["loss"]) < 0.05 * float(rows[0]["loss"])
    assert rows[-1]["validation_forces"] and rows[-1]["seconds"]


def test_evaluate_prints_one_json_object(trained, tmp_path):
    arrays = tmp_path / "p.npz"
    run = invoke("evaluate", trained / "model.leopold", trained / "test.h5", "--json", "--predictions", arrays)
    assert run.exit_code == 0, run.output
    report = json.loads(run.output)
    assert set(report) == {
        "energy", "energy_per_atom", "forces", "occupations", "moments", "carrier_site_accuracy", "n_frames"
    }  # fmt: skip
    expected = json.loads((trained / "result.json").read_text())["errors"]["test"]
    assert report == expected and report["n_frames"] == 4
    frames, found = read_frames(trained / "test.h5"), np.load(arrays)
    error = found["forces"] - np.concatenate([f.forces for f in frames])
    assert report["forces"]["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
    assert report["forces"]["max"] == pytest.approx(np.abs(error).max(), rel=1e-6)
    for name in ("occupations", "moments"):
        labels = [getattr(f, "spin_moments" if name == "moments" else name) for f in frames]
        error = found[name] - np.concatenate(labels)
        assert report[name]["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
        assert report[name]["max"] == pytest.approx(np.abs(error).max(), rel=1e-5)
    leading = [int(np.argmax(m)) for m in np.split(found["moments"], np.cumsum(found["n_atoms"])[:-1])]
    right = [site == int(np.argmax(f.spin_moments)) for site, f in zip(leading, frames, strict=True)]
    assert report["carrier_site_accuracy"] == np.mean(right)
    total = found["energy"] - [f.energy for f in frames]
    assert report["energy"]["max"] == pytest.approx(np.abs(total).max(), rel=1e-6)
    assert report["energy_per_atom"]["rmse"] == pytest.approx(report["energy"]["rmse"] / 8, rel=1e-6)
    up, down = found["occupations"].T
    np.testing.assert_allclose(found["moments"], up - down, atol=1e-6)


def test_evaluate_in_float64_differs_by_rounding_only(trained):
    reports = [
        json.loads(
            invoke("evaluate", trained / "model.leopold", trained / "test.h5", "--json", "--dtype", dtype).output
        )
        for dtype in ("float32", "float64")
    ]
    assert reports[0]["forces"]["rmse"] == pytest.approx(reports[1]["forces"]["rmse"], rel=1e-3)


def test_resumed_equals_uninterrupted(tmp_path):
    frames = teacher_frames(12)
    config = TrainConfig.model_validate({"network": NETWORK, "epochs": 5, "batch_size": 5})
    whole = Training(config, frames[:9], frames[9:])
    for _ in range(5):
        whole.step_epoch()
        whole.validate()
    first = Training(config, frames[:9], frames[9:])
    for _ in range(2):
        first.step_epoch()
        first.validate()
    first.save(tmp_path / "c.msgpack")
    second = Training(config, frames[:9], frames[9:])
    second.restore(tmp_path / "c.msgpack")
    for _ in range(3):
        second.step_epoch()
        second.validate()
    assert second.epoch == 5 and second.best_epoch == whole.best_epoch
    for a, b in zip(leaves(whole), leaves(second), strict=True):
        assert np.array_equal(a, b)


def test_walltime_writes_a_checkpoint_and_a_rerun_finishes(tmp_path, monkeypatch):
    config = write_case(tmp_path, held_out=False)
    monkeypatch.setattr(train_module, "_Terminated", lambda: _After(2))
    stopped = invoke("train", config)
    assert stopped.exit_code == 10
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "out_of_walltime" and result["epochs"] == 2
    checkpoint = tmp_path / "checkpoint.msgpack"
    whole = checkpoint.read_bytes()
    content = serialization.msgpack_restore(whole)
    for damaged in (whole[: len(whole) // 2], serialization.to_bytes(content | {"state": {}}), b""):
        checkpoint.write_bytes(damaged)
        refused = invoke("train", config)
        assert refused.exit_code == 1 and "delete it to start afresh" in refused.output
    checkpoint.write_bytes(whole)
    monkeypatch.undo()
    finished = invoke("train", config)
    assert finished.exit_code == 0, finished.output
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "finished" and result["epochs"] == 6
    assert not (tmp_path / "checkpoint.msgpack").exists()


class _After:
    """Says 'terminated' after being asked n times."""

    def __init__(self, n):
        self.n = n

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __bool__(self):
        self.n -= 1
        return self.n < 0


def test_no_epoch_starts_without_time_for_it(tmp_path):
    config = write_case(tmp_path, held_out=False, max_wall_seconds=1e-3, epochs=100_000)
    assert invoke("train", config).exit_code == 10


def test_checkpoint_of_other_data_is_refused(tmp_path):
    config = write_case(tmp_path, held_out=False)
    (tmp_path / "checkpoint.msgpack").write_bytes(b"junk")
    run = invoke("train", config)
    assert run.exit_code == 1 and "not a readable checkpoint" in run.output and "delete it" in run.output


def test_divergence_keeps_the_best_model(tmp_path):
    config = write_case(tmp_path, learning_rate=1e6, clip_norm=1e9, warmup_fraction=0.0, epochs=50)
    run = invoke("train", config)
    assert run.exit_code == 11, run.output
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "diverged" and result["epochs"] < 50
    assert np.isfinite(result["errors"]["test"]["forces"]["rmse"])


def test_initial_model_continues_where_it_was(trained, tmp_path):
    config = write_case(
        tmp_path, epochs=1, learning_rate=1e-6, initial_model=str(trained / "model.leopold"), warmup_fraction=0.0
    )
    assert invoke("train", config).exit_code == 0
    before, after = (json.loads((p / "result.json").read_text())["errors"]["test"] for p in (trained, tmp_path))
    assert after["forces"]["rmse"] == pytest.approx(before["forces"]["rmse"], rel=1e-3)


def test_a_network_other_than_the_initial_model_has_is_refused(trained, tmp_path):
    config = write_case(
        tmp_path, epochs=1, initial_model=str(trained / "model.leopold"), network={**NETWORK, "cutoff": 6.0}
    )
    result = invoke("train", config)
    assert result.exit_code == 1
    assert "network.cutoff = 6.0, but" in result.output and "leave it out" in result.output


def test_the_published_variant_is_trained_and_trained_on(tmp_path):
    network = {"variant": "published", "cutoff": 4.0, "layers": 2, "scalars": 8, "vectors": 4, "radial_hidden": [8]}
    config = write_case(tmp_path, epochs=12, network=network)
    assert invoke("train", config).exit_code == 0
    model = load_model(tmp_path / "model.leopold")
    assert model.spec.variant == "published" and model.spec.onset == pytest.approx(3.6)
    errors = json.loads((tmp_path / "result.json").read_text())["errors"]["test"]
    untrained = Training(TrainConfig.model_validate({"network": network}), *[teacher_frames(4)] * 2)
    start = untrained.validate()
    assert errors["forces"]["rmse"] < start["forces"]["rmse"]
    assert errors["occupations"]["rmse"] < start["occupations"]["rmse"]
    (tmp_path / "model.leopold").rename(tmp_path / "first.leopold")
    config = write_case(tmp_path, epochs=1, learning_rate=1e-6, initial_model="first.leopold", network={})
    assert invoke("train", config).exit_code == 0
    again = json.loads((tmp_path / "result.json").read_text())["errors"]["test"]
    assert again["forces"]["rmse"] == pytest.approx(errors["forces"]["rmse"], rel=1e-3)


def test_a_model_of_one_cell_trains_on_that_cell_alone(tmp_path):
    cell = teacher_frames(1)[0].cell
    model = random_model(elements=(8, 12), header={"images": "nearest", "cell": cell.tolist()})
    save_model(tmp_path / "one.leopold", model)
    options = {"epochs": 1, "initial_model": "one.leopold", "network": {}}
    assert invoke("train", write_case(tmp_path, **options)).exit_code == 0
    assert load_model(tmp_path / "model.leopold").must_serve(cell, True) is None
    big = teacher_frames(12, repeat=(1, 1, 3))
    result = invoke("train", write_case(tmp_path, labels=big, held_out=False, **options))
    assert result.exit_code == 1 and "images: nearest" in result.output


def test_mixed_sizes_train_together_and_padding_changes_nothing():
    frames = teacher_frames(6) + teacher_frames(3, run="big", repeat=(1, 1, 3))
    config = TrainConfig.model_validate(
        {"network": NETWORK, "epochs": 2, "batch_size": 4, "dtype": "float64", "optimiser": "adamw",
         "crossings": {"lag": 0, "sharing": 100}}
    )  # fmt: skip
    training = Training(config, frames, frames)
    assert [len(rows) for _, rows in training.train_data] == [6, 3]
    first, second = training.step_epoch(), training.step_epoch()
    assert second["loss"] < first["loss"]
    model = training.model(training.state.params)
    for frame, batched in zip(frames[4:8], predictions(model, frames)[4:8], strict=True):
        edges = neighbours(frame.positions, frame.cell, frame.pbc, model.cutoff, capacity=400)
        species, charge = model.species_index(frame.numbers), charge_state(len(frame), frame.carrier_sites)
        energy, forces, occupations = model.energy_forces(frame.positions, frame.cell, edges, species, charge)
        assert batched.energy == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(batched.forces, forces, atol=1e-9)
        np.testing.assert_allclose(batched.occupations, occupations, atol=1e-9)


def test_frames_told_otherwise_teach_their_moments_and_as_much_of_their_surface_as_asked():
    frames = teacher_frames(6)
    steps = []
    for surface, wrong in ((0.0, False), (0.0, True), (1.0, False), (1.0, True)):
        config = TrainConfig.model_validate(
            {"network": NETWORK, "dtype": "float64", "crossings": {"sharing": 1e-3, "surface": surface}}
        )
        training = Training(config, frames, frames)
        assert len(training.train) > len(frames)
        if wrong:  # labels of the copies alone
            (data, rows), told_otherwise = training.train_data[0], training.train_data[0][1] >= len(frames)
            energy = jnp.where(told_otherwise, data.energy + 10, data.energy)
            training.train_data[0] = (data.replace(energy=energy), rows)
        steps.append(training.step_epoch()["loss"])
    assert steps[0] == pytest.approx(steps[1], rel=1e-12)
    assert steps[3] > steps[2] * 1.01


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        ({"epoch": 3}, None, "unknown key 'epoch': did you mean 'epochs'?"),
        ({"frames": "none.h5"}, None, "does not exist"),
        ({"test": "none.h5", "validation_fraction": 0.5}, None, "does not exist"),
        ({}, lambda f: [replace(f[0], converged=False)], "no usable frame"),
        ({}, lambda f: [*f[:-1], replace(f[-1], energy=float("nan"))], "energy is nan"),
        ({"validation_fraction": 0.01}, None, "no run is long enough"),
    ],
)
def test_bad_input(tmp_path, settings, change, message):
    frames = teacher_frames(5)
    run = invoke("train", write_case(tmp_path, labels=change(frames) if change else frames, **settings))
    assert run.exit_code == 1 and message in run.output, run.output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: replace(f, numbers=np.where(f.numbers == 12, 22, f.numbers)), "species Ti not in this model"),
        (lambda f: replace(f, carrier="electron"), "1 electron(s), but the model was trained with 1 hole(s)"),
    ],
)
def test_training_on_from_a_model_refuses_what_it_has_not_seen(trained, tmp_path, change, words):
    shutil.copy(trained / "model.leopold", tmp_path / "old.leopold")
    labels = [change(f) for f in uncorrelated_frames(24)]
    result = invoke("train", write_case(tmp_path, labels=labels, held_out=False, initial_model="old.leopold", epochs=1))
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert words in result.output and not (tmp_path / "model.leopold").exists()


def test_evaluate_refuses_what_it_cannot_judge(trained, tmp_path):
    frame = teacher_frames(1)[0]

    def message(frames):
        write_frames(tmp_path / "f.h5", frames)
        run = invoke("evaluate", trained / "model.leopold", tmp_path / "f.h5", "--json")
        assert run.exit_code == 1
        return run.output

    assert "no frames to evaluate" in message([])
    assert "carrier_sites ()" in message([replace(frame, carrier_sites=())])
    assert "electron" in message([replace(frame, carrier="electron")])
    assert "species Ti not in this model" in message([replace(frame, numbers=np.where(frame.numbers == 12, 22, 8))])
    assert "not a LEOPOLD model" in invoke("evaluate", tmp_path / "f.h5", tmp_path / "f.h5").output


def test_evaluate_tells_hop_frames_apart_by_pathway(trained, tmp_path):
    frames = [
        replace(f, pathway=name) for f, name in zip(teacher_frames(4), ("", "short", "long", "short"), strict=True)
    ]
    write_frames(tmp_path / "f.h5", frames)

    def alone(chosen):
        write_frames(tmp_path / "part.h5", [replace(f, pathway="") for f in chosen])
        told = json.loads(invoke("evaluate", trained / "model.leopold", tmp_path / "part.h5", "--json").output)
        assert "pathways" not in told and "hop_frames" not in told
        return told

    report = json.loads(invoke("evaluate", trained / "model.leopold", tmp_path / "f.h5", "--json").output)
    assert report["n_frames"] == 4
    assert report["hop_frames"]["n_frames"] == 3
    assert report["hop_frames"]["forces"]["rmse"] == pytest.approx(alone(frames[1:])["forces"]["rmse"], rel=1e-5)
    assert set(report["pathways"]) == {"short", "long"}
    short = report["pathways"]["short"]
    assert short["forces"]["rmse"] == pytest.approx(alone(frames[1::2])["forces"]["rmse"], rel=1e-5)
    assert "short: 2 frames" in invoke("evaluate", trained / "model.leopold", tmp_path / "f.h5").output


def test_evaluate_reports_on_the_labels_there_are(trained, tmp_path):
    frames = [replace(f, forces=None, energy=float("nan")) for f in teacher_frames(2)]
    write_frames(tmp_path / "f.h5", frames)
    report = json.loads(invoke("evaluate", trained / "model.leopold", tmp_path / "f.h5", "--json").output)
    assert report["forces"] is None and report["energy"] is None
    assert report["moments"]["rmse"] < 0.1 and report["n_frames"] == 2
