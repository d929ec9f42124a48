"""First-principles trajectories in segments: cut anywhere, they go on where they were."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from leopold_workflows.calculations.functions_localisation import distort_around
from leopold_workflows.calculations.functions_vasp import initial_velocities
from leopold_workflows.vasp.calculation import LeopoldVaspCalculation
from leopold_workflows.vasp.verdict import participation, shortest
from leopold_workflows.workchains.fpmd import FPMDWorkChain
from tests.called import called


@pytest.fixture
def chain(mgo):
    """A trajectory of the MgO hole, its neighbours pushed away: `chain(steps, segment_steps, prepend='')`."""
    start = distort_around(mgo.structure, mgo.carrier, orm.List([32]), orm.Float(0.05), orm.Float(0.0), orm.Int(1))

    def run(steps, segment_steps, prepend="", reducer=None, **inputs):
        given = {"reducer": reducer} if reducer else {}
        options = {**mgo.vasp["options"], "prepend_text": prepend}
        outputs, node = run_get_node(
            FPMDWorkChain,
            vasp={**mgo.vasp, "options": options, **given},
            structure=start,
            carrier=mgo.carrier,
            sites=orm.List([32]),
            velocities=initial_velocities(mgo.structure, orm.Float(600.0), orm.Int(1)),
            temperature=orm.Float(600.0),
            steps=orm.Int(steps),
            segment_steps=orm.Int(segment_steps),
            seed=orm.Int(1),
            run=orm.Str("run"),
            # constant energy: segments then must follow the uncut path exactly
            incar=orm.Dict({"potim": 1.0, "mdalgo": 0, "smass": -3, "ediff": 1e-8}),
            **inputs,
        )
        return outputs, node

    return run


def test_segments_follow_the_uncut_path(chain, tmp_path, monkeypatch):
    whole, node = chain(8, 8)
    assert node.is_finished_ok and len(node.called) == 2
    reference = whole["frames"].get_frames()
    assert [f.step for f in reference] == list(range(1, 9))
    assert {f.run for f in reference} == {"run"} and {f.temperature for f in reference} == {600.0}
    assert all(f.occupations is not None and f.converged and f.carrier_sites == (32,) for f in reference)

    # the first job is killed inside step 3: two steps are kept; the scratch is cleaned before the third
    marker = tmp_path / "marker"
    prepend = f"export LEOPOLD_STANDIN_FAIL=kill@3 LEOPOLD_STANDIN_FAIL_ONCE={marker}"
    copy = LeopoldVaspCalculation.remote_copy_restart_folder

    def copy_what_was_cleaned(self):
        shutil.rmtree(self.inputs.restart_folder.get_remote_path())
        return copy(self)

    monkeypatch.setattr(LeopoldVaspCalculation, "remote_copy_restart_folder", copy_what_was_cleaned)
    cut, node = chain(8, 3, prepend)
    jobs = called(node, "LeopoldVaspCalculation")
    assert [j.exit_status for j in jobs] == [410, 0, 0], [j.exit_message for j in jobs]
    assert [j.inputs.parameters["nsw"] for j in jobs] == [3, 3, 3]
    assert "restart_folder" not in jobs[1].inputs, "a killed run leaves no WAVECAR of its last step"
    assert not Path(jobs[2].inputs.restart_folder.get_remote_path()).exists()
    frames = cut["frames"].get_frames()
    assert [f.step for f in frames] == list(range(1, 9))
    for ours, theirs in zip(frames, reference, strict=True):
        assert np.abs(shortest(ours.positions - theirs.positions, ours.cell)).max() < 3e-5  # OUTCAR has five decimals
        assert ours.energy == pytest.approx(theirs.energy, abs=1e-4)


def reducer(computer, executable):
    return orm.InstalledCode(label="reducer", computer=computer, filepath_executable=str(executable)).store()


def test_outcar_stays_where_it_was_made_and_the_frames_are_the_same(chain, aiida_localhost):
    """Reduced by the job itself; where the reducer fails, OUTCAR is retrieved and read here."""
    made = {}
    for executable in (Path(sys.executable).parent / "leopold", Path("/bin/false")):
        outputs, node = chain(2, 2, reducer=reducer(aiida_localhost, executable))
        assert node.is_finished_ok, node.exit_message
        (job,) = (n for n in node.called if n.process_label == "LeopoldVaspCalculation")
        assert not {"OUTCAR", "run.h5"} & set(job.outputs.retrieved.list_object_names())
        made[executable.name] = outputs
    reduced, whole = made["leopold"], made["false"]
    remote = set(reduced["remote_folder"].listdir())
    assert {"OUTCAR.reduced", "run.h5"} <= remote and "OUTCAR" not in remote
    assert "OUTCAR" in whole["remote_folder"].listdir()
    ours, theirs = (found["frames"].base.attributes.get("content_hash") for found in (reduced, whole))
    assert ours == theirs and reduced["frames"].n_frames == 2
    ours, theirs = (found["velocities"].get_array("velocities") for found in (reduced, whole))
    assert np.array_equal(ours, theirs)


def test_a_job_that_never_starts_is_tried_again_and_then_given_up(chain):
    outputs, node = chain(4, 4, "export LEOPOLD_STANDIN_FAIL=crash")
    assert node.exit_status == FPMDWorkChain.exit_codes.ERROR_SEGMENT_FAILED.status
    assert "2 tries" in node.exit_message and "frames" not in outputs
    assert [n.exit_status for n in node.called] == [311, 311]


def test_a_run_that_lost_its_carrier_is_ended_while_it_runs(chain):
    outputs, node = chain(
        3000,
        3000,
        "export LEOPOLD_STANDIN_FAIL=delocalised@3",
        monitor=orm.Dict({"steps": 5, "minimum_poll_interval": 1}),
    )
    assert node.exit_status == FPMDWorkChain.exit_codes.ERROR_DYNAMICS_STOPPED.status
    assert "spread over" in node.exit_message and "last 5 steps" in node.exit_message
    frames = outputs["frames"].get_frames()
    assert 7 <= len(frames) < 3000
    assert participation(frames[1], ["O"], 1) < 2 and participation(frames[2], ["O"], 1) > 20
