"""VASP on a computer reached through SSH, its jobs in the queue there."""

import pytest


@pytest.fixture
def trajectory(cluster):
    """`trajectory(steps, segment_steps, prepend)` submits an FPMDWorkChain of the MgO hole on the remote computer,
    which reduces its OUTCARs."""
    from aiida import orm
    from aiida.engine import submit

    from leopold_workflows.calculations.functions_localisation import distort_around
    from leopold_workflows.calculations.functions_vasp import initial_velocities
    from leopold_workflows.vasp.study import study
    from leopold_workflows.workchains.fpmd import FPMDWorkChain

    def begin(steps, segment_steps, prepend=""):
        shared = study(
            orm.load_code("vasp@remote"), material_name="mgo", level="fast",
            overrides={"vasp": {"reducer": "leopold@remote"}}, options={"queue_name": "cpu", "prepend_text": prepend},
        )  # fmt: skip
        start = (shared.structure, shared.carrier, orm.List([32]))
        return submit(
            FPMDWorkChain,
            vasp=shared.vasp,
            structure=distort_around(*start, orm.Float(0.05), orm.Float(0.0), orm.Int(1)),
            carrier=shared.carrier,
            sites=orm.List([32]),
            velocities=initial_velocities(shared.structure, orm.Float(600.0), orm.Int(1)),
            temperature=orm.Float(600.0),
            steps=orm.Int(steps),
            segment_steps=orm.Int(segment_steps),
            seed=orm.Int(1),
            run=orm.Str("run"),
        )

    return begin


def calculations(node):
    """The VASP jobs of `node`, the first one first; `called` has no order."""
    found = [n for n in node.called if n.process_label == "LeopoldVaspCalculation"]
    return sorted(found, key=lambda n: n.ctime)


def test_dynamics_through_ssh_leaves_outcar_there(trajectory, wait):
    node = trajectory(6, 3)
    wait(lambda: node.is_terminated, 300)
    assert node.is_finished_ok, node.exit_message
    assert [f.step for f in node.outputs.frames.get_frames()] == [1, 2, 3, 4, 5, 6]
    assert len(calculations(node)) == 2
    for job in calculations(node):
        assert job.computer.transport_type == "core.ssh" and "OUTCAR" not in job.outputs.retrieved.list_object_names()
        assert {"OUTCAR.reduced", "run.h5", "WAVECAR"} <= set(job.outputs.remote_folder.listdir())


def test_a_job_that_vanishes_from_the_queue_loses_its_own_steps_only(trajectory, cluster, wait):
    """The second segment is cancelled while it runs, as when its node fails; the chain goes on from what is whole."""
    marker = cluster.services.folder / "slow"
    # the second job of the two waits a minute for its end: long enough to be cancelled
    prepend = f'[ -e "{marker}" ] && [ ! -e "{marker}.done" ] && touch "{marker}.done" && sleep 120; touch "{marker}"'
    node = trajectory(6, 3, prepend)
    second = wait(lambda: calculations(node)[1:2], 240)[0]
    wait(lambda: (marker.parent / "slow.done").exists() and second.get_job_id(), 120)
    cluster.services.run("scancel", str(second.get_job_id()))
    wait(lambda: node.is_terminated, 300)
    assert node.is_finished_ok, node.exit_message
    assert [f.step for f in node.outputs.frames.get_frames()] == [1, 2, 3, 4, 5, 6]
    assert [job.is_finished_ok for job in calculations(node)] == [True, False, True]
