"""Spreads over an ensemble: honest when its members are, and no worse than their errors when a model is trained."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from scipy.stats import norm

from leopold_model import uncertainty
from leopold_model.checkpoint import load_model, save_model
from leopold_model.cli import main
from leopold_model.config import LossWeights, TrainConfig
from leopold_model.dataset import buckets
from leopold_model.evaluate import predictions
from leopold_model.frames import read_frames, write_frames
from leopold_model.loss import loss, predict
from leopold_model.network import member
from leopold_model.train import read_sets
from leopold_model.training import TrainState, make_optimiser, run_batches

from .conftest import random_model, teacher_frames

NETWORK = {"cutoff": 3.0, "layers": 1, "scalars": 8, "vectors": 2, "n_radial": 4, "head_hidden": 8, "ensemble": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    write_frames(folder / "frames.h5", teacher_frames(24, stride=100))
    write_frames(folder / "test.h5", teacher_frames(8, stride=100, run="b", seed=7))
    options = {"kind": "train", "epochs": 40, "batch_size": 4, "network": NETWORK, "learning_rate": 0.02,
               "optimiser": "adamw", "test": "test.h5", "validation_fraction": 0.3}  # fmt: skip
    (folder / "train.yaml").write_text(yaml.safe_dump(options))
    result = CliRunner().invoke(main, ["train", str(folder / "train.yaml")])
    assert result.exit_code == 0, result.output
    return folder


@pytest.mark.parametrize("stretch", [1.0, 3.0])
def test_gaussian_errors_of_known_width_are_recognised(stretch):
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 2.0, size=20_000)
    error = rng.normal(size=20_000) * spread * stretch
    assert uncertainty.factors({"forces": (error, spread)})["forces"] == pytest.approx(stretch, rel=0.02)
    told = uncertainty.report({"forces": (error, stretch * spread)})["forces"]
    assert told["expected_calibration_error"] < 0.01 and 0.2 < told["rank_correlation"] < 0.5
    # three times too narrow: the 95 % interval is a 1.96 / 3 sigma one
    narrow = uncertainty.inside(error, spread)[-1]
    assert narrow == pytest.approx(2 * norm.cdf(norm.ppf(0.975) / stretch) - 1, abs=0.01)


def test_spreads_are_those_of_the_heads(folder):
    model = load_model(folder / "model.leopold").astype("float64")
    frame = read_frames(folder / "test.h5")[0]
    spread = predictions(model, [frame])[0].spread
    data, _ = buckets([frame], [model.species_index(frame.numbers)], model.references, model.cutoff, model.dtype)[0]
    ask = jax.jit(lambda share: predict(model.params, model.spec, data, share))
    heads = [ask(jnp.eye(4)[k]) for k in range(4)]
    forces = np.sqrt(np.var([h.forces[0, : len(frame)] for h in heads], axis=0, ddof=1).mean(axis=1))
    np.testing.assert_allclose(spread.forces[:, 0], forces * model.calibration["forces"], rtol=1e-8)
    energies = np.std([h.member_energies[k, 0] for k, h in enumerate(heads)], ddof=1)
    assert spread.energy == pytest.approx(energies * model.calibration["energy"])
    # a head's forces are the slope of that head's energy, and their mean is the force of the mean
    mean = predictions(model, [frame])[0].forces
    np.testing.assert_allclose(np.mean([h.forces[0, : len(frame)] for h in heads], axis=0), mean, atol=1e-12)


def test_spreads_are_calibrated_and_tell_the_error(folder):
    result = json.loads((folder / "result.json").read_text())
    told = result["errors"]["validation"]["uncertainty"]
    # fitted there, so that one sigma holds 68 % of the errors
    pairs = uncertainty.errors_and_spreads(*_answers(folder, "validation"))
    assert uncertainty.factors(pairs)["forces"] == pytest.approx(1.0, rel=1e-3)
    assert set(told) == {"energy", "forces", "occupations"}
    unseen = result["errors"]["test"]["uncertainty"]
    assert unseen["forces"]["expected_calibration_error"] < 0.15
    assert unseen["occupations"]["rank_correlation"] > 0.2
    assert (folder / "calibration.png").stat().st_size > 5000


def _answers(folder, name):
    options = yaml.safe_load((folder / "train.yaml").read_text())
    frames = read_sets(TrainConfig.model_validate(options), folder)[0][name]
    return frames, predictions(load_model(folder / "model.leopold"), frames)


def test_far_from_the_training_set_the_spread_grows(folder):
    model = load_model(folder / "model.leopold")
    near = read_frames(folder / "test.h5")
    far = [replace(f, positions=f.positions + 3 * (f.positions - near[0].positions)) for f in near]
    rms = [np.sqrt(np.mean([np.mean(p.spread.forces**2) for p in predictions(model, s)])) for s in (near[1:], far[1:])]
    assert rms[1] > 1.5 * rms[0]


def test_every_head_learns_every_label(folder):
    """The terms are means over the heads, and the heads take turns at the forces."""
    model = random_model(ensemble=3)
    frames = teacher_frames(2, stride=100)
    species = [model.species_index(f.numbers) for f in frames]
    data, _ = buckets(frames, species, np.zeros(2), model.cutoff, model.dtype)[0]
    weights = LossWeights(energy=1, forces=1, occupations=1)
    ask = jax.jit(lambda params, step: loss(params, model.spec, weights, data, step))
    terms = [ask(model.params, step)[1] for step in range(4)]
    assert terms[0]["energy"] == terms[1]["energy"] and terms[0]["forces"] != terms[1]["forces"]
    assert terms[0]["forces"] == terms[3]["forces"]
    gradient = jax.jit(jax.grad(lambda p: ask(p, 0)[0]))(model.params)["heads"]
    for head in ("energy", "occupations"):
        assert (np.abs(gradient[head]["out"]).max(axis=(1, 2)) > 0).all()


def committee(n: int):
    """A committee and its networks, each alone."""
    together = random_model(committee=n)
    alone = [member(together.params, together.spec, k) for k in range(n)]
    return together, [replace(together, params=params, spec=spec) for params, spec in alone]


def test_a_committee_is_the_mean_of_its_networks():
    together, alone = committee(3)
    frames = teacher_frames(2, stride=100)
    each = [predictions(model, frames) for model in alone]
    for k, answer in enumerate(predictions(together, frames)):
        for name in ("energy", "forces", "occupations", "stress"):
            own = np.array([getattr(answers[k], name) for answers in each])
            np.testing.assert_allclose(getattr(answer, name), own.mean(axis=0), rtol=1e-10, atol=1e-12)
        forces = np.array([answers[k].forces for answers in each]).var(axis=0, ddof=1).mean(axis=1)
        np.testing.assert_allclose(answer.spread.forces[:, 0], np.sqrt(forces), rtol=1e-8)


def test_networks_of_a_committee_learn_as_if_each_were_alone():
    together, alone = committee(2)
    frames = teacher_frames(4, stride=100)
    species = [together.species_index(f.numbers) for f in frames]
    data, rows = buckets(frames, species, np.zeros(2), together.cutoff, together.dtype)[0]
    order, weights = np.array(rows).reshape(2, 2), LossWeights()

    def two_steps(model, n):
        params = {name: jax.tree.map(jnp.copy, a) for name, a in model.params.items() if name != "scales"}
        rule = make_optimiser("muon", 0.02, 0.0, 0.0, 1e-3, 2, n)  # a clip that bites
        state = TrainState(params, jax.tree.map(jnp.copy, params), rule.init(params), jnp.zeros((), jnp.int32))
        return run_batches(rule, model.spec, weights, 0.9, state, model.params["scales"], data, order)

    state, terms = two_steps(together, 2)
    others = [two_steps(model, 1) for model in alone]
    for k, (own, _) in enumerate(others):
        ours = jax.tree.map(lambda a, k=k: a[k], state.params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9), ours, own.params)
    for name in terms:
        assert terms[name] == pytest.approx(np.mean([t[name] for _, t in others]), rel=1e-6)


def test_a_committee_is_trained_stored_and_told_apart(tmp_path):
    write_frames(tmp_path / "frames.h5", teacher_frames(12, stride=100))
    network = {k: v for k, v in NETWORK.items() if k != "ensemble"} | {"committee": 2}
    options = {"kind": "train", "epochs": 4, "network": network, "validation_fraction": 0.3}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(options))
    result = CliRunner().invoke(main, ["train", str(tmp_path / "train.yaml")])
    assert result.exit_code == 0, result.output
    model = load_model(tmp_path / "model.leopold")
    first, second = (member(model.params, model.spec, k)[0]["embedding"] for k in range(2))
    assert model.spec.committee == 2 and np.abs(first - second).max() > 0.1
    assert set(model.calibration) == {"energy", "forces", "occupations"} and model.header["calibration"]


def test_evaluate_tells_the_uncertainty(folder):
    arguments = ["evaluate", str(folder / "model.leopold"), str(folder / "test.h5")]
    told = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)["uncertainty"]["forces"]
    assert told["spread"] > 0 and told["unit"] == "eV/Angstrom"
    assert "expected calibration error" in CliRunner().invoke(main, arguments).output


def test_dynamics_stops_where_the_heads_disagree(folder):
    write_frames(folder / "start.h5", read_frames(folder / "test.h5")[:1])
    base = {"kind": "md", "steps": 40, "block": 10, "temperatures": [300.0], "ensemble": "nve"}

    def run(**guards):
        (folder / "md.yaml").write_text(yaml.safe_dump(base | {"guards": guards}))
        CliRunner().invoke(main, ["md", str(folder / "md.yaml")])
        return json.loads((folder / "result.json").read_text())["replicas"][0]

    free = run()
    assert free["status"] == "finished" and free["max_energy_spread"] > 0 and free["max_moment_spread"] > 0
    stopped = run(max_moment_spread=0.5 * free["max_moment_spread"])
    assert stopped["status"] == "unstable" and "members of the model disagree" in stopped["reason"]
    assert stopped["steps"] < 40


def test_a_model_with_one_head_has_no_spread(tmp_path):
    save_model(tmp_path / "model.leopold", random_model())
    write_frames(tmp_path / "start.h5", teacher_frames(1))
    (tmp_path / "md.yaml").write_text("kind: md\nguards: {max_energy_spread: 0.01}\n")
    result = CliRunner().invoke(main, ["md", str(tmp_path / "md.yaml")])
    assert result.exit_code == 1
    assert "guards.max_energy_spread = 0.01" in result.output and "network.committee" in result.output
