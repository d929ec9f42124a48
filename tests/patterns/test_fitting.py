"""A training that stops and goes on ends as one that never stopped."""

import json

import numpy as np
import pytest

from leopold_model.patterns import PatternError, fitting
from leopold_model.patterns.composition import random_configuration
from leopold_model.patterns.descriptor import DescriptorConfig
from leopold_model.patterns.labels import write_labels
from leopold_model.patterns.learning import learn
from leopold_model.patterns.settings import PatternTrainConfig
from tests.patterns.exact_lattice import ExactLattice
from tests.patterns.test_command import leopold

SETTINGS = {"members": 2, "epochs": 4, "batch_size": 8, "descriptor": {"kind": "free", "cutoff": 5.0}}


@pytest.fixture(scope="module")
def labels():
    exact, rng = ExactLattice(), np.random.default_rng(0)
    drawn = [random_configuration(exact.cell, exact.instance.composition("4x3"), rng) for _ in range(40)]
    return exact.labels(np.array(drawn))


@pytest.fixture(scope="module")
def config():
    return PatternTrainConfig(**SETTINGS | {"descriptor": DescriptorConfig(**SETTINGS["descriptor"])})


@pytest.fixture(scope="module")
def whole(labels, config):
    return learn(labels, config)


def test_a_training_out_of_time_gives_the_model_of_one_that_was_never_stopped(labels, config, whole, tmp_path):
    checkpoint, stops = tmp_path / "patterns.checkpoint", 0
    while True:
        try:
            model = learn(labels, config, checkpoint=checkpoint, max_seconds=1e-9)
            break
        except fitting.OutOfTime:
            stops += 1
            assert checkpoint.exists()
    assert stops == 3 and not checkpoint.exists()
    assert model.fingerprint == whole.fingerprint
    assert model.report == whole.report


def test_a_training_that_was_killed_goes_on_from_the_last_epoch_written(labels, config, whole, tmp_path, monkeypatch):
    checkpoint, epochs = tmp_path / "patterns.checkpoint", []
    monkeypatch.setattr(fitting, "SAVE_EVERY", -1.0)

    def killed(run, error, settings, note=fitting._note):
        if len(run.history) == 2 and len(epochs) == 2:
            raise KeyboardInterrupt
        epochs.append(len(run.history))
        note(run, error, settings)

    monkeypatch.setattr(fitting, "_note", killed)
    with pytest.raises(KeyboardInterrupt):
        learn(labels, config, checkpoint=checkpoint)
    epochs.append(-1)
    assert learn(labels, config, checkpoint=checkpoint).fingerprint == whole.fingerprint
    assert epochs == [0, 1, -1, 2, 3], "the first two epochs are not trained again"


def test_a_checkpoint_of_something_else_is_refused(labels, config, tmp_path):
    checkpoint = tmp_path / "patterns.checkpoint"
    with pytest.raises(fitting.OutOfTime, match="epoch 1 of at most 4"):
        learn(labels, config, checkpoint=checkpoint, max_seconds=1e-9)
    for other in (labels, labels.take(np.arange(len(labels)) < 30)):
        changed = config.model_copy(update={"learning_rate": 0.02}) if other is labels else config
        with pytest.raises(PatternError, match="other labels or settings: delete it"):
            learn(other, changed, checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:200])
    with pytest.raises(PatternError, match=r"no readable .*delete it to start afresh"):
        learn(labels, config, checkpoint=checkpoint)


def test_the_command_stops_and_goes_on(labels, whole, tmp_path):
    write_labels(tmp_path / "labels.h5", labels)
    (tmp_path / "train.yaml").write_text(json.dumps(SETTINGS))
    out = tmp_path / "patterns.npz"
    command = ("train", tmp_path / "labels.h5", "--config", tmp_path / "train.yaml", "-o", out, "--json")
    stopped = leopold(*command, "--max-seconds", 1e-9)
    assert stopped.exit_code == 10 and not out.exists()
    assert json.loads(stopped.stdout) == {"status": "out_of_walltime"}
    report = json.loads(leopold(*command).stdout)
    assert report["status"] == "finished" and report["test"] == whole.report["test"]
