"""`leopold md` end to end on small systems: charge updates, lists, windows, files, restart, bad input."""

import json
from dataclasses import replace

import h5py
import MDAnalysis
import numpy as np
import pytest
from click.testing import CliRunner
from MDAnalysis.lib.mdamath import triclinic_vectors

from leopold_model import md_simulation
from leopold_model.cli import main
from leopold_model.frames import Frame, write_frames
from leopold_model.md import MDError, check_fixed, check_start
from leopold_model.tracks import read_track
from tests.model import spring_crystal
from tests.model.md_runs import QUIET, compiled_once, run, same  # noqa: F401

# ------------------------------------------------------------------------------------------------------ what comes out


def test_track_trajectory_and_result_agree(tmp_path):
    result, track = run(tmp_path, temperatures=[100.0, 200.0], replicas=2, steps=95, equilibration=35)
    assert result["status"] == "finished"
    assert [r["temperature"] for r in result["replicas"]] == [100.0, 100.0, 200.0, 200.0]
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert not (tmp_path / "checkpoint.h5").exists(), "a finished run leaves no checkpoint"
    for replica, summary in zip(track.replicas, result["replicas"], strict=True):
        assert len(replica) == summary["steps"] == 95
        assert replica.sites.shape == (95, 6) and replica.carrier.shape == (95, 1)
        assert (np.diff(replica.moments, axis=1) <= 0).all(), "moments are not in descending order"
        assert len(replica.energy) == len(replica.conserved) == 10
    energies = [r.energy for r in track.replicas]
    assert not np.allclose(energies[0], energies[1]), "two replicas ran the same trajectory"
    with h5py.File(tmp_path / "trajectory.h5") as h5:
        assert h5["h5md"].attrs["version"].tolist() == [1, 1]
        group = h5["particles/replica_001"]
        assert group["position/step"][:].tolist() == list(range(0, 95, 10))
        assert group["position/time"][3] == pytest.approx(30 * 4.0)
        assert group["position/value"].shape == (10, 32, 3)
        assert group["box/edges/value"].shape == (10, 3, 3)
        assert group["position/value"].attrs["unit"] == "Angstrom"
        np.testing.assert_allclose(group["position/value"][0], track.replicas[1].positions, atol=1e-6)
        assert h5["leopold_track"].attrs["format"] == "leopold-track"
    np.testing.assert_array_equal(read_track(tmp_path / "trajectory.h5").replicas[0].sites, track.replicas[0].sites)


def test_mdanalysis_reads_the_trajectory(tmp_path):
    _, track = run(tmp_path, temperatures=[100.0], replicas=2, steps=40, stride=10)
    universe = MDAnalysis.Universe.empty(32)
    universe.load_new(str(tmp_path / "trajectory.h5"), format="H5MD", group="replica_001")
    assert len(universe.trajectory) == 4
    first = universe.trajectory[0]
    np.testing.assert_allclose(first.positions, track.replicas[1].positions, atol=1e-5)
    np.testing.assert_allclose(triclinic_vectors(first.dimensions), track.replicas[1].cell, atol=1e-4)
    assert universe.trajectory[2].time == pytest.approx(20 * track.replicas[1].timestep * 1e-3), "MDAnalysis counts ps"


def test_energy_and_moments_are_those_of_the_frames(tmp_path):
    _, track = run(tmp_path, steps=40, dtype="float64", ensemble="nve")
    with h5py.File(tmp_path / "trajectory.h5") as h5:
        frames = h5["particles/replica_000/position/value"][:]
    cell = np.diag(spring_crystal.frame().cell)
    for k, positions in enumerate(frames):
        d = positions[None] - positions[:, None]
        d -= np.round(d / cell) * cell
        r = np.linalg.norm(d, axis=2) + 100 * np.eye(len(d))
        bonded = r < 1.2 * spring_crystal.R0
        energy = 0.25 * spring_crystal.SPRING * ((r - spring_crystal.R0) ** 2 * bonded).sum()
        assert track.replicas[0].energy[k] == pytest.approx(energy, abs=2e-5)
        moments = 0.3 - ((r - spring_crystal.R0) * bonded).sum(axis=1)
        moments[track.replicas[0].carrier[10 * k, 0]] += 0.3
        assert track.replicas[0].sites[10 * k, 0] == np.argmax(moments)
        assert track.replicas[0].moments[10 * k, 0] == pytest.approx(moments.max(), abs=1e-5)


def test_the_charge_state_follows_the_moments_one_step_later(tmp_path):
    _, track = run(tmp_path, steps=400, block=100, charge_update="published", temperatures=[400.0])
    replica = track.replicas[0]
    assert (replica.carrier[0] == 0).all(), "the first step uses the charge state of the start frame"
    np.testing.assert_array_equal(replica.carrier[1:, 0], replica.sites[:-1, 0])
    assert len(np.unique(replica.carrier)) > 3, "the carrier never moved: the test shows nothing"


def test_hysteresis_flips_less_than_the_published_rule(tmp_path):
    field = spring_crystal.force_field(spring_crystal.frame(), told=-0.1)  # a told site loses moment: chatter by design
    options = {"temperatures": [200.0], "steps": 300, "block": 100, "timestep": 1.0, "field": field}
    published, _ = run(tmp_path / "a", charge_update="published", **options)
    lazy, track = run(tmp_path / "b", charge_update="hysteresis", hysteresis=0.9, **options)
    a, b = published["replicas"][0], lazy["replicas"][0]
    assert a["flips"] > 100 and a["chatter"] > 0.5 * a["flips"], f"{a['flips']} flips, {a['chatter']} chatter"
    assert b["flips"] < 0.2 * a["flips"]
    replica = track.replicas[0]
    moved = np.flatnonzero(np.diff(replica.carrier[:, 0]))
    assert len(moved) == b["flips"]
    for t in moved:
        old, new = replica.carrier[t, 0], replica.carrier[t + 1, 0]
        held = replica.moments[t][replica.sites[t] == old]
        lead = replica.moments[t, 0]
        assert replica.sites[t, 0] == new
        assert len(held) == 0 or lead > 1.9 * held[0] * (1 - 1e-6), "a site took the carrier without the lead"


@pytest.mark.parametrize("at_once", [1, 2])
def test_energies_say_where_a_missing_carrier_went(tmp_path, monkeypatch, at_once):
    """Moments that never add up to a carrier, and a lead no site can have: the site of lowest energy takes it."""
    monkeypatch.setattr(md_simulation, "together", lambda n: at_once)
    # a told site is bound by its squeeze: lowest in energy is the largest moment, but for what the told one gains
    field = spring_crystal.force_field(spring_crystal.frame(), binding=0.05, told=0.9)
    options = {"replicas": 2, "temperatures": [200.0], "hysteresis": 0.99, "n_tracked": 32}
    _, kept = run(tmp_path / "a", field=field, **options)
    assert all((r.carrier == 0).all() for r in kept.replicas)
    _, never = run(tmp_path / "b", field=replace(field, total_moment=1e9), missing_moment=None, **options)
    same(kept, never)
    result, track = run(tmp_path / "c", field=replace(field, total_moment=1e9), **options)
    assert [r["missing_moment_steps"] for r in result["replicas"]] == [120, 120]
    for replica in track.replicas:
        bound = replica.moments - 0.9 * (replica.sites == replica.carrier)
        lowest = np.take_along_axis(replica.sites, bound.argmax(axis=1)[:, None], 1)
        np.testing.assert_array_equal(replica.carrier[1:], lowest[:-1])
        assert len(np.unique(replica.carrier)) > 3, "the carrier never moved: the test shows nothing"


def test_energy_released_is_what_the_new_charge_state_is_bound_by(tmp_path):
    # binding = told-site energy per squeeze: the jump of one change is known from the moments on both sites
    frame = spring_crystal.frame()
    field = spring_crystal.force_field(frame, binding=0.05, told=0.0)
    result, track = run(
        tmp_path, field=field, ensemble="nve", dtype="float64", timestep=0.5, steps=600, block=200,
        charge_update="published", temperatures=[300.0], n_tracked=32,
    )  # fmt: skip
    replica = track.replicas[0]
    moved = np.flatnonzero(np.diff(replica.carrier[:, 0]))
    expected = []
    for t in moved:
        # binding energies are 0.05 eV x (moment - 0.3); half the change falls on either side of the step
        gap = 0.0
        for row in (t, t + 1):
            moment = dict(zip(replica.sites[row], replica.moments[row], strict=True))
            gap += 0.5 * 0.05 * (moment[replica.carrier[t + 1, 0]] - moment[replica.carrier[t, 0]])
        expected.append(gap)
    summary = result["replicas"][0]["energy_released_eV"]
    assert len(moved) >= 3
    assert summary["mean"] == pytest.approx(np.mean(expected), rel=0.1, abs=2 * summary["rms_of_quiet_steps"])
    drift = result["replicas"][0]["conserved_drift_meV_per_atom_ps"]
    assert abs(drift) < 0.5, "jumps of the charge state are counted as drift"


# ----------------------------------------------------------------------------------------------------------- windows


def test_windows_hold_the_crossing(tmp_path):
    window = {"half_width": 40.0, "stride": 8.0, "max_windows": 4}
    result, track = run(tmp_path, steps=600, block=50, temperatures=[400.0], window=window)
    replica = track.replicas[0]
    windows = replica.windows
    assert len(windows) == 4 and windows.n_missed > 0
    assert result["replicas"][0]["windows_missed"] == windows.n_missed
    assert windows.positions.shape == (4, 11, 32, 3)
    changes = np.flatnonzero(np.diff(replica.carrier[:, 0])) + 1
    assert (np.diff(windows.step, axis=1) == 2).all()
    for w in range(4):
        assert windows.step[w, 0] >= 0 and windows.step[w, -1] < 600
        assert np.isin(np.arange(windows.step[w, 0], windows.step[w, -1] + 1), changes).any()
        np.testing.assert_array_equal(windows.carrier[w], replica.carrier[windows.step[w]])
        np.testing.assert_allclose(windows.moments[w].max(axis=1), replica.moments[windows.step[w], 0], atol=1e-6)
        spread = windows.occupations[w, ..., 0] - windows.occupations[w, ..., 1]
        np.testing.assert_array_equal(windows.moments[w], spread)
    # the first change far enough from the start sits in the middle
    first = next(c for c in changes if c >= 10)
    assert first in windows.step[:, 5]


def test_windows_of_full_resolution_equal_the_trajectory(tmp_path):
    options = {"steps": 200, "block": 40, "temperatures": [400.0], "stride": 1}
    _, track = run(tmp_path, window={"half_width": 20.0, "stride": 4.0}, **options)
    with h5py.File(tmp_path / "trajectory.h5") as h5:
        positions = h5["particles/replica_000/position/value"][:]
    windows = track.replicas[0].windows
    assert len(windows) > 2
    for w in range(len(windows)):
        np.testing.assert_array_equal(windows.positions[w], positions[windows.step[w]])


# ------------------------------------------------------------------------------------------------------- lists, redo


def test_a_stale_list_is_redone_and_changes_nothing(tmp_path):
    options = {"temperatures": [500.0], "steps": 200, "block": 50, "seed": 3}
    narrow, a = run(tmp_path / "narrow", skin=0.25, **options)
    wide, b = run(tmp_path / "wide", skin=2.0, **options)
    assert narrow["replicas"][0]["blocks_redone"] > 0, "the narrow skin never became stale: the test shows nothing"
    assert wide["replicas"][0]["blocks_redone"] == 0
    same(a, b)


def test_too_small_a_capacity_is_redone_and_changes_nothing(tmp_path, monkeypatch):
    # the ideal crystal has every second shell outside the cutoff; compressed, pairs come in
    options = {"temperatures": [1500.0], "steps": 40, "block": 40, "skin": 3.0}
    monkeypatch.setattr(md_simulation, "_ROOM", 1.0)
    tight, a = run(tmp_path / "tight", **options)
    monkeypatch.setattr(md_simulation, "_ROOM", 2.0)
    roomy, b = run(tmp_path / "roomy", **options)
    assert tight["replicas"][0]["blocks_redone"] > 0 and roomy["replicas"][0]["blocks_redone"] == 0
    same(a, b)


def test_replicas_together_equal_replicas_alone(tmp_path, monkeypatch):
    options = {"temperatures": [200.0, 300.0], "steps": 60, "block": 20, "dtype": "float64"}
    _, alone = run(tmp_path / "alone", **options)
    monkeypatch.setattr(md_simulation, "together", lambda n: n)
    _, joined = run(tmp_path / "joined", **options)
    for a, b in zip(alone.replicas, joined.replicas, strict=True):
        np.testing.assert_allclose(a.energy, b.energy, rtol=1e-9)
        np.testing.assert_array_equal(a.sites, b.sites)


# ----------------------------------------------------------------------------------------------------------- restart


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "nose-hoover"])
def test_a_run_cut_by_the_walltime_continues_to_the_bit(tmp_path, ensemble, monkeypatch):
    window = {"half_width": 100.0, "stride": 4.0}
    options = {"ensemble": ensemble, "temperatures": [300.0, 500.0], "steps": 140, "window": window, "skin": 0.2}
    whole, a = run(tmp_path / "whole", **options)
    assert whole["replicas"][1]["windows"] > 0
    cut = tmp_path / "cut"
    pieces = 0
    while True:
        # time passes by the number of looks at the clock: a piece is three blocks
        ticks = iter(range(10**6))
        monkeypatch.setattr(md_simulation.time, "monotonic", lambda ticks=ticks: float(next(ticks)))
        result, b = run(cut, max_wall_seconds=9.0, **options)
        pieces += 1
        if result["status"] != "out_of_walltime":
            break
        assert (cut / "checkpoint.h5").is_file()
        assert pieces < 10
    assert pieces > 1, "the run was never cut"
    same(a, b)
    for key in ("flips", "chatter", "energy_released_eV", "mean_temperature", "blocks_redone", "windows"):
        assert [r[key] for r in whole["replicas"]] == [r[key] for r in result["replicas"]], key
    with h5py.File(tmp_path / "whole/trajectory.h5") as one, h5py.File(cut / "trajectory.h5") as other:
        for name in ("particles/replica_001/position/value", "particles/replica_001/position/step"):
            np.testing.assert_array_equal(one[name][:], other[name][:])


def test_a_finished_run_is_prolonged_to_the_bit_each_temperature_by_its_own_steps(tmp_path):
    window = {"half_width": 100.0, "stride": 4.0}
    options = {"temperatures": [300.0, 500.0], "steps": 60, "window": window, "keep_checkpoint": True}
    whole, a = run(tmp_path / "whole", **options, more_steps=[60, 120])
    assert [len(r) for r in a.replicas] == [120, 180] and whole["replicas"][1]["windows"] > 0
    for more in ([], [0, 60], [60, 120]):
        result, b = run(tmp_path / "pieces", **options, more_steps=more)
    same(a, b)
    for key in ("steps", "flips", "mean_temperature", "windows", "status"):
        assert [r[key] for r in whole["replicas"]] == [r[key] for r in result["replicas"]], key
    with pytest.raises(ValueError, match=r"holds 120 steps at 300 K, more than the 90 asked for"):
        run(tmp_path / "pieces", **options, more_steps=[30, 120])


def test_a_run_that_ended_inside_a_block_is_not_prolonged(tmp_path):
    run(tmp_path, steps=50, block=30, keep_checkpoint=True)
    with pytest.raises(ValueError, match=r"ends inside a block, after 50 steps.*multiples of block = 30"):
        run(tmp_path, steps=50, block=30, keep_checkpoint=True, more_steps=[30])


def test_a_checkpoint_of_another_run_is_refused(tmp_path, monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr(md_simulation.time, "monotonic", lambda: float(next(ticks)))
    result, _ = run(tmp_path, max_wall_seconds=4.0)
    assert result["status"] == "out_of_walltime"
    with pytest.raises(ValueError, match=r"checkpoint\.h5 was written by a run with another"):
        run(tmp_path, seed=5)


# --------------------------------------------------------------------------------------------------- start and command


def test_velocities_of_a_frame_are_used_once(tmp_path):
    rng = np.random.default_rng(0)
    frame = spring_crystal.frame(velocities=1e-3 * rng.standard_normal((32, 3)) + 0.01)
    _, track = run(tmp_path, frames=[frame], replicas=2, steps=20, stride=1, ensemble="nve", temperatures=[100.0])
    v = frame.velocities - frame.velocities.mean(axis=0)
    expected = 39.948 * (v**2).sum() / (9.64853e-3 * 8.617333e-5 * 93)
    assert track.replicas[0].kinetic_temperature[0] == pytest.approx(expected, rel=1e-3)
    assert track.replicas[1].kinetic_temperature[0] > 2 * expected


def test_two_carriers_keep_their_identity(tmp_path):
    frame = spring_crystal.frame(carriers=(3, 17))
    result, track = run(tmp_path, frames=[frame], steps=400, block=100, temperatures=[300.0])
    carrier = track.replicas[0].carrier
    assert carrier.shape == (400, 2)
    assert (carrier[:, 0] != carrier[:, 1]).all(), "two carriers on one site"
    swapped = (carrier[1:, 0] == carrier[:-1, 1]) & (carrier[1:, 1] == carrier[:-1, 0])
    assert not swapped.any(), "carriers exchanged names without moving"
    assert result["replicas"][0]["flips"] > 0


def test_held_atoms_that_are_not_there_are_refused():
    with pytest.raises(MDError, match="fixed: atom 40, but the structures have atoms 0 to 31"):
        check_fixed((3, 40), 32)
    with pytest.raises(MDError, match="fixed: all 32 atoms"):
        check_fixed(tuple(range(32)), 32)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "holds no frame"),
        ([spring_crystal.frame(carriers=())], "carrier_sites is empty"),
        ([spring_crystal.frame(carriers=(4, 4))], "repeats an atom"),
        ([spring_crystal.frame(), spring_crystal.frame(carriers=(1, 2))], r"frame 1: .*with 1 carrier\(s\)"),
        ([spring_crystal.frame(), spring_crystal.frame(repeat=1)], "differ from those of frame 0"),
        ([spring_crystal.frame(velocities=np.full((32, 3), np.nan))], "velocities holds NaN"),
    ],
)
def test_start_frames_that_cannot_be_used(frames, message):
    with pytest.raises(MDError, match=message):
        check_start(frames, "start.h5", "hole", 1)


def test_a_model_of_the_other_carrier_is_refused():
    with pytest.raises(MDError, match="trained for 'electron's"):
        check_start([spring_crystal.frame()], "start.h5", "electron", 1)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A random network for Ar, soft enough to run."""
    from leopold_model.checkpoint import Model, save_model
    from leopold_model.network import Spec, init

    path = tmp_path_factory.mktemp("model") / "model.leopold"
    spec = Spec(elements=(18,), cutoff=4.2, layers=2, scalars=4, vectors=2, mean_neighbours=12.0)
    params = init(0, spec)
    params["scales"]["energy"] = params["scales"]["energy"] * 0.02
    params["scales"]["occupation_scale"] = params["scales"]["occupation_scale"] * 0.1
    params["scales"]["occupation_shift"] = params["scales"]["occupation_shift"].at[:, 0].set(0.7)
    save_model(path, Model(spec, params, np.array([-3.0]), {"carrier": "hole", "n_carriers": 1}))
    return path


def write_run(directory, model, frames, **options):
    (directory / "model.leopold").write_bytes(model.read_bytes())
    write_frames(directory / "start.h5", frames)
    options = {"kind": "md", "steps": 60, "block": 20, "stride": 5, "guards": QUIET, **options}
    (directory / "md.yaml").write_text(json.dumps(options))
    return str(directory / "md.yaml")


def test_the_command_runs_a_model_file(tmp_path, tiny_model):
    config = write_run(tmp_path, tiny_model, [spring_crystal.frame()], ensemble="nve", temperatures=[50.0])
    outcome = CliRunner().invoke(main, ["md", config, "--json"])
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(outcome.stdout.splitlines()[-1])
    assert result["status"] == "finished" and result["replicas"][0]["steps"] == 60
    assert abs(result["replicas"][0]["conserved_drift_meV_per_atom_ps"]) < 0.5
    replica = read_track(tmp_path / "track.h5").replicas[0]
    # the same network through the model's own evaluation
    from leopold_model.charge import charge_state
    from leopold_model.checkpoint import load_model
    from leopold_model.graph import neighbours

    model = load_model(tiny_model).astype("float64")
    with h5py.File(tmp_path / "trajectory.h5") as h5:
        positions = h5["particles/replica_000/position/value"][-1].astype(float)
    frame = spring_crystal.frame()
    edges = neighbours(positions, frame.cell, frame.pbc, model.cutoff)
    charge = charge_state(len(frame), replica.carrier[55])
    energy, _, occupations = model.energy_forces(positions, frame.cell, edges, np.zeros(32, int), charge)
    assert replica.energy[-1] == pytest.approx(energy, abs=1e-5)
    np.testing.assert_allclose(replica.moments[55, 0], (occupations[:, 0] - occupations[:, 1]).max(), atol=1e-5)


def test_the_command_ends_with_10_when_the_walltime_is_reached(tmp_path, tiny_model):
    config = write_run(tmp_path, tiny_model, [spring_crystal.frame()], max_wall_seconds=1e-3)
    outcome = CliRunner().invoke(main, ["md", config])
    assert outcome.exit_code == 10, outcome.output
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "out_of_walltime"
    for name in ("checkpoint.h5", "track.h5", "trajectory.h5"):
        assert (tmp_path / name).is_file(), f"a run to be continued must leave {name}"


def test_the_command_refuses_a_species_the_model_has_not_seen(tmp_path, tiny_model):
    frame = spring_crystal.frame()
    numbers = frame.numbers.copy()
    numbers[0] = 10
    frame = Frame(numbers, frame.positions, frame.cell, carrier_sites=(0,), carrier="hole")
    outcome = CliRunner().invoke(main, ["md", write_run(tmp_path, tiny_model, [frame])])
    assert outcome.exit_code == 1
    assert "Ne" in outcome.output and "Ar" in outcome.output


def test_the_command_names_a_missing_file(tmp_path, tiny_model):
    config = write_run(tmp_path, tiny_model, [spring_crystal.frame()])
    (tmp_path / "start.h5").unlink()
    outcome = CliRunner().invoke(main, ["md", config])
    assert outcome.exit_code == 1 and "start.h5" in outcome.output
