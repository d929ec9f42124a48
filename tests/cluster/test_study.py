"""A whole study where it would really run: jobs through SLURM, the daemon on RabbitMQ, the data in PostgreSQL."""

import os
import signal
import time

import pytest

from tests.e2e.tiny import TINY

GPU = {"queue_name": "gpu", "custom_scheduler_commands": "#SBATCH --gres=gpu:1"}
MINUTES = 60.0


@pytest.fixture(scope="module")
def launch(cluster):
    """`launch()` submits a PolaronDynamicsWorkChain: VASP in the CPU partition, training and dynamics in that with a
    GPU; called again, the same inputs."""
    from aiida.engine import submit
    from aiida.orm import load_code
    from aiida.plugins import WorkflowFactory

    def begin():
        on_gpu = {name: TINY[name] | {"options": GPU} for name in ("train", "explore", "transport")}
        builder = WorkflowFactory("leopold.dynamics").get_builder_from_protocol(
            load_code("vasp@cpu"), load_code("leopold@gpu"), material="mgo", protocol="fast", overrides=TINY | on_gpu,
            options={"queue_name": "cpu", "max_wallclock_seconds": 600},
        )  # fmt: skip
        return submit(builder)

    return begin


@pytest.fixture(scope="module")
def study(launch):
    """One of them, undisturbed."""
    return launch()


def jobs(study):
    """Its calculations in a queue."""
    from aiida.orm import CalcJobNode

    return [node for node in study.called_descendants if isinstance(node, CalcJobNode)]


def result(study):
    """What a study is for, without what names its nodes."""
    frames, labels = study.outputs.frames.get_frames(), study.outputs.label_outcomes["counts"]
    return {f.id for f in frames}, labels, study.exit_status, study.outputs.transport["temperatures"]


def test_the_study_ends_with_every_output(study, wait):
    wait(lambda: study.is_terminated, 15 * MINUTES)
    assert study.exit_status in (0, 601, 602, 603), study.exit_message
    wanted = {"frames", "model", "catalogue", "convergence", "learning_curve", "label_outcomes", "transport"}
    assert wanted <= set(study.outputs)
    assert study.outputs.label_outcomes["counts"]["verified"] > 0
    assert study.outputs.transport["temperatures"][0]["n_hops"] > 0


def test_every_job_went_through_its_queue(study, cluster):
    assert len(jobs(study)) > 5 and all(job.get_job_id() for job in jobs(study))
    for job in jobs(study):
        script = job.base.repository.get_object_content("_aiidasubmit.sh")
        wanted = "cpu" if job.process_label == "LeopoldVaspCalculation" else "gpu"
        assert job.computer.label == wanted and f"#SBATCH --partition={wanted}" in script
        assert ("--gres=gpu:1" in script) == (wanted == "gpu")


def test_the_profile_is_the_one_of_a_cluster(cluster):
    status = cluster.verdi("status")
    assert "psql_dos" in status.lower() or "postgresql" in status.lower()
    assert "rabbitmq" in status.lower() or "amqp" in status.lower()


@pytest.fixture
def kill_workers(cluster, wait):
    """`kill_workers(study, stage)`: when the process `stage` has begun, all workers are killed; there are new ones
    when it returns."""

    def strike(study, stage):
        wait(lambda: stage in {n.process_label for n in study.called_descendants} or study.is_terminated, 10 * MINUTES)
        killed = set(cluster.workers())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait(lambda: len(set(cluster.workers()) - killed) == len(killed), MINUTES)

    return strike


def test_workers_killed_at_every_stage_change_nothing(study, launch, kill_workers, wait):
    again = launch()
    for stage in ("FPMDWorkChain", "TrainCalculation", "LabelWorkChain", "TransportWorkChain"):
        kill_workers(again, stage)
    wait(lambda: again.is_terminated, 15 * MINUTES)
    assert result(again) == result(study), again.exit_message


def test_two_studies_at_once_outlive_a_broker_that_is_gone_for_a_minute(study, launch, cluster, wait):
    """The daemon is stopped while it is gone: a broker that answers again gives tasks to workers that never let go."""
    both = [launch(), launch()]
    for one in both:  # while they train
        wait(lambda one=one: "TrainCalculation" in {n.process_label for n in one.called_descendants}, 10 * MINUTES)
    with cluster.services.no_broker():
        cluster.verdi("daemon", "stop")
        time.sleep(MINUTES)
    cluster.verdi("daemon", "start", 2)
    for one in (study, *both):
        wait(lambda one=one: one.is_terminated, 15 * MINUTES)
        assert result(one) == result(study), one.exit_message


def test_a_study_launched_again_computes_nothing(study, launch, cluster, wait):
    cluster.verdi("config", "set", "caching.enabled_for", "aiida.calculations:leopold.*")
    cluster.verdi("daemon", "restart")
    again = launch()
    wait(lambda: again.is_terminated, 10 * MINUTES)
    assert result(again) == result(study), again.exit_message
    assert len(jobs(again)) == len(jobs(study))
    assert all(job.base.caching.is_created_from_cache for job in jobs(again))
