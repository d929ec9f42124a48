"""What stops a replica, and what is kept of it."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from leopold_model import md_simulation
from leopold_model.config import GuardConfig
from leopold_model.hop_frames import before_stop
from leopold_model.md_block import Rows
from leopold_model.md_replica import judge
from tests.model import spring_crystal
from tests.model.md_runs import QUIET, compiled_once, run  # noqa: F401


@pytest.mark.parametrize(
    ("guards", "status", "word"),
    [
        ({"max_temperature_factor": 1.01}, "unstable", "temperature"),
        ({"min_distance": 3.3}, "unstable", "Angstrom"),
        ({"min_approach": 0.97}, "unstable", "of the shortest distance of their species"),
        ({"min_moment": 5.0}, "carrier_lost", "moment"),
    ],
)
def test_each_guard_stops_with_its_status(tmp_path, guards, status, word):
    result, track = run(tmp_path, temperatures=[300.0], guards={**QUIET, **guards}, steps=300)
    assert result["status"] == result["replicas"][0]["status"] == track.replicas[0].status == status
    assert word in result["replicas"][0]["reason"]
    assert result["replicas"][0]["steps"] == len(track.replicas[0]) < 300


@pytest.mark.parametrize(
    ("largest", "least", "n", "status"),
    [
        ((0.8, 0.8), (0.7, 0.7), 2, None),
        ((1.7, 1.6), (0.05, 0.04), 2, "carriers_merged"),
        ((0.8, 0.9), (0.05, 0.04), 2, "carrier_lost"),
        ((1.7, 0.9), (0.05, 0.7), 2, None),  # back within the block
        ((0.05, 0.04), (0.01, 0.01), 1, "carrier_lost"),
    ],
)
def test_a_merger_is_told_from_a_loss(largest, least, n, status):
    """Two steps of two of the largest moments; the guard judges that of the last of n carriers."""
    zeros, ones = np.zeros(2), np.ones(2)
    rows = Rows(
        positions=np.zeros((2, 4, 3)), occupations=np.zeros((2, 4, 2)), carriers=np.zeros((2, n), int),
        sites=np.zeros((2, 2), int), moments=np.stack([largest, least], axis=1), potential=zeros,
        temperature=zeros, conserved=zeros, distance=3 * ones, approach=ones, spread=np.zeros((2, 3)),
        pairs=ones.astype(int), moved=zeros, missing=zeros.astype(bool),
    )  # fmt: skip
    verdict = judge(rows, GuardConfig(), 300.0, 10)
    assert (verdict.status if verdict else None) == status


def test_two_carriers_that_merge_stop_the_run_with_its_status(tmp_path):
    """A potential that gives both moments to one of the two sites it is told, once it is compressed."""
    frame = spring_crystal.frame(carriers=(3, 17))
    field = spring_crystal.force_field(frame)

    def merges(params, vectors, senders, receivers, mask, species, charge):
        energy, _ = spring_crystal.potential(params, vectors, senders, receivers, mask, species, charge)
        moments = 0.02 + 1.6 * charge * (jnp.arange(len(charge)) == 3)
        return energy, jnp.stack([0.5 + moments / 2, 0.5 - moments / 2], axis=1)[None]

    field = replace(field, potential=merges)
    result, track = run(tmp_path, frames=[frame], field=field, guards=QUIET | {"min_moment": 0.1}, steps=60)
    assert result["status"] == track.replicas[0].status == "carriers_merged"
    assert "one atom has 1.62 mu_B" in result["replicas"][0]["reason"] and len(track.replicas[0]) == 0


def test_nan_stops_one_replica_at_its_last_good_block_and_the_other_goes_on(tmp_path):
    field = spring_crystal.force_field(spring_crystal.frame())
    inner = field.potential

    def breaks(params, vectors, senders, receivers, mask, species, charge):
        energy, occupations = inner(params, vectors, senders, receivers, mask, species, charge)
        r2 = (vectors**2).sum(axis=1)
        return energy + 0 * (r2.min() - params["nan_below"] ** 2) ** 0.5, occupations

    params = {**field.params, "nan_below": 3.2}
    field = md_simulation.ForceField(breaks, params, field.cutoff, field.species)
    result, track = run(tmp_path, field=field, temperatures=[20.0, 600.0], steps=300, block=10)
    cold, hot = result["replicas"]
    assert cold["status"] == "finished" and cold["steps"] == 300
    assert hot["status"] == "unstable" and "NaN" in hot["reason"]
    assert hot["steps"] % 10 == 0 and 0 < hot["steps"] < 300
    replica = track.replicas[1]
    assert len(replica) == hot["steps"]
    for name in ("moments", "energy", "kinetic_temperature", "conserved", "mean_positions"):
        assert np.isfinite(getattr(replica, name)).all(), f"{name} kept garbage"
    assert track.replicas[0].ending is None
    rows, positions = replica.ending.step[0], replica.ending.positions
    assert len(rows) > 1 and 0 <= rows[-1] - hot["steps"] < 10, "it ends inside the block that was not kept"
    assert np.isfinite(positions).all() and np.diff(rows).tolist() == [1] * (len(rows) - 1)
    # nothing broken yet in the last of them, and it goes on from the rows that were kept
    assert np.linalg.norm(np.diff(positions[0], axis=0), axis=2).max() < 0.5
    frame = before_stop(track, replica, [4.0], run="explore-01")[0]
    assert frame.step == rows[-1] - 1 and frame.temperature == 600.0
    assert frame.carrier_sites == (replica.carrier[-1, 0],)


def test_what_led_to_a_stop_survives_the_walltime(tmp_path, monkeypatch):
    """One replica is stopped early; the other goes on over several pieces."""
    options = {"temperatures": [300.0, 20.0], "steps": 240, "guards": {**QUIET, "min_distance": 3.3}}
    _, whole = run(tmp_path / "whole", **options)
    ticks = iter(range(10**6))
    monkeypatch.setattr(md_simulation.time, "monotonic", lambda: float(next(ticks)))
    for _ in range(20):
        result, track = run(tmp_path / "cut", max_wall_seconds=9.0, **options)
        if result["status"] != "out_of_walltime":
            break
    hot, same = whole.replicas[0], track.replicas[0]
    assert hot.status == same.status == "unstable" and whole.replicas[1].status == "finished"
    np.testing.assert_array_equal(hot.ending.positions, same.ending.positions)
    np.testing.assert_array_equal(hot.ending.step, same.ending.step)
