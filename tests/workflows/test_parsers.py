"""Parsers on files made by hand: good, cut off, not numbers, missing."""

import io
import json

import numpy as np
import pytest
from aiida.plugins import CalculationFactory

from leopold_model.tracks import ReplicaTrack, TrackFile, write_track

ERRORS = {"forces": {"rmse": 0.05, "max": 0.2}, "carrier_site_accuracy": 1.0, "n_frames": 3}
MODEL = json.dumps({"format": "leopold-model", "spec": {"elements": [8, 12]}}).encode() + b"\n" + bytes(8)


def train_result(status="finished", **changes):
    return json.dumps({"status": status, "epochs": 3, "errors": {"train": ERRORS, "test": ERRORS}} | changes)


@pytest.fixture
def track(tmp_path):
    def make(steps=20, status="finished"):
        replica = ReplicaTrack(
            temperature=600.0,
            replica=0,
            timestep=1.0,
            seed=1,
            status=status,
            cell=np.eye(3),
            positions=np.zeros((2, 3)),
            sites=np.tile([0, 1], (steps, 1)),
            moments=np.tile([0.8, 0.1], (steps, 1)),
            carrier=np.zeros((steps, 1), int),
        )
        path = tmp_path / "track.h5"
        write_track(path, TrackFile(np.array([12, 8]), "hole", 1, (replica,)))
        return path.read_bytes()

    return make


def md_result(status="finished", replicas=("finished",)):
    return json.dumps({"status": status, "replicas": [{"replica": k, "status": s} for k, s in enumerate(replicas)]})


def test_finished_training(parse_job):
    outputs, node = parse_job("leopold.train", {"result.json": train_result(), "model.leopold": MODEL})
    assert node.is_finished_ok
    assert outputs["model"].base.attributes.get("elements") == ["O", "Mg"]
    assert outputs["results"]["errors"]["test"]["forces"]["rmse"] == 0.05


@pytest.mark.parametrize(
    ("files", "status", "message"),
    [
        ({}, 310, "result.json"),
        ({"leopold.err": "loading\nError: species F not in this model\n"}, 310, "species F not in this model"),
        (
            {"leopold.err": "jaxlib: RESOURCE_EXHAUSTED: Out of memory allocating\nin jit\n"},
            421,
            "memory: jaxlib: RESOURCE",
        ),
        ({"_scheduler-stderr.txt": "slurmstepd: error: Detected 1 oom_kill event\n"}, 421, "oom_kill"),
        ({"result.json": ""}, 311, "empty"),
        ({"result.json": train_result()[:40]}, 311, "not valid JSON"),
        ({"result.json": "[1]"}, 311, "JSON object"),
        ({"result.json": train_result("asleep")}, 311, "asleep"),
        ({"result.json": train_result()}, 310, "model.leopold"),
        ({"result.json": train_result(), "model.leopold": bytes(30)}, 311, "header of a LEOPOLD model"),
        ({"result.json": train_result("out_of_walltime")}, 410, "checkpoint"),
        ({"result.json": train_result("diverged", best_epoch=0), "model.leopold": MODEL}, 430, "diverged"),
        (
            {"result.json": train_result(errors={"train": {"forces": {"rmse": float("nan")}}}), "model.leopold": MODEL},
            430,
            "train.forces.rmse is not a number",
        ),
    ],
)
def test_training_that_did_not_end_well(parse_job, files, status, message):
    outputs, node = parse_job("leopold.train", files)
    assert node.exit_status == status and message in node.exit_message
    assert "model" not in outputs


def test_a_diverged_training_hands_on_the_best_model_it_had(parse_job):
    files = {"result.json": train_result("diverged", best_epoch=2), "model.leopold": MODEL}
    outputs, node = parse_job("leopold.train", files)
    assert node.exit_status == 430 and outputs["model"].elements == ["O", "Mg"]


def test_numbers_that_are_not_finite_become_null(parse_job):
    text = train_result(errors={"train": {"forces": {"rmse": float("inf")}}})
    outputs, _ = parse_job("leopold.train", {"result.json": text, "model.leopold": MODEL})
    assert outputs["results"]["errors"]["train"]["forces"]["rmse"] is None


@pytest.mark.parametrize(
    ("replicas", "status"),
    [
        (("finished", "finished"), 0),
        (("finished", "unstable"), 510),
        (("carrier_lost",), 504),
        (("carriers_merged", "finished"), 507),
        (("carrier_lost", "unstable"), 510),
        (("carrier_lost", "carriers_merged"), 510),
    ],
)
def test_dynamics_keeps_the_track_however_it_stopped(parse_job, track, replicas, status):
    overall = "finished" if status == 0 else "unstable"
    outputs, node = parse_job("leopold.md", {"result.json": md_result(overall, replicas), "track.h5": track()})
    assert node.exit_status == status
    assert outputs["track"].base.attributes.get("duration") == 20.0


def test_dynamics_without_a_track(parse_job, track):
    assert parse_job("leopold.md", {"result.json": md_result()})[1].exit_status == 310
    assert parse_job("leopold.md", {"result.json": md_result(), "track.h5": track()[:100]})[1].exit_status == 311
    assert parse_job("leopold.md", {"result.json": md_result("out_of_walltime")})[1].exit_status == 410


def test_evaluation(parse_job):
    stream = io.BytesIO()
    np.savez(stream, n_atoms=np.array([2, 2]), moments=np.zeros(4))
    files = {"result.json": json.dumps(ERRORS), "predictions.npz": stream.getvalue()}
    outputs, node = parse_job("leopold.evaluate", files)
    assert node.is_finished_ok and outputs["predictions"].get_array("moments").shape == (4,)
    assert parse_job("leopold.evaluate", {"result.json": json.dumps(ERRORS)})[1].exit_status == 310
    files["result.json"] = json.dumps(ERRORS | {"carrier_site_accuracy": float("nan")})
    assert parse_job("leopold.evaluate", files)[1].exit_status == 311
    files = {"result.json": json.dumps(ERRORS), "predictions.npz": b"PK half of a zip"}
    assert parse_job("leopold.evaluate", files)[1].exit_status == 311


@pytest.mark.parametrize("entry_point", ["leopold.train", "leopold.md", "leopold.evaluate"])
def test_failures_are_no_cache_source(entry_point):
    codes = CalculationFactory(entry_point).exit_codes
    for code in codes.values():
        if 300 <= code.status < 400 or code.status == 410:
            assert code.invalidates_cache, code
