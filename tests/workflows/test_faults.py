"""Faults of machines: full disks, cleaned scratch, labels that fail by the dozen; what was done is kept."""

from types import SimpleNamespace

import numpy as np
import pytest
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage.manager import get_manager

from leopold_model.frames import Frame
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.workchains.label_frames import LabelFramesWorkChain
from leopold_workflows.workchains.train import TrainBaseWorkChain
from tests.called import called
from tests.workflows.test_fpmd import chain  # noqa: F401

# stands in for `leopold train`: at first it runs out of time; then it stops at a checkpoint that it cannot read
TRAIN = """#!/bin/sh
if [ ! -e {folder}/began ]; then
  touch {folder}/began
  echo '{{"status": "out_of_walltime"}}' > result.json
  {checkpoint}
  exit 10
elif [ -e checkpoint.msgpack ]; then
  echo 'Error: checkpoint.msgpack is not a readable checkpoint' >&2; exit 1
else
  echo '{{"spec": {{"elements": [8, 12]}}}}' > model.leopold
  echo '{{"status": "finished", "errors": {{}}}}' > result.json
fi
"""


@pytest.fixture
def training_with(aiida_localhost, make_frames, tmp_path):
    """`training_with(script)`: a training by a shell script in place of `leopold`."""

    def make(content):
        script = tmp_path / "train"
        script.write_text(content)
        script.chmod(0o755)
        code = orm.InstalledCode(label="train", computer=aiida_localhost, filepath_executable=str(script)).store()
        builder = TrainBaseWorkChain.get_builder_from_protocol(code, protocol="fast")
        builder.training.frames = FrameSetData.from_frames(make_frames(2))
        return builder

    return make


@pytest.mark.parametrize(
    ("checkpoint", "statuses"),
    [("printf half > checkpoint.msgpack", [410, 310, 0]), (": cleaned", [410, 0])],
    ids=["damaged", "cleaned away"],
)
def test_a_training_whose_checkpoint_is_lost_starts_over(training_with, tmp_path, checkpoint, statuses):
    outputs, node = run_get_node(training_with(TRAIN.format(folder=tmp_path, checkpoint=checkpoint)))
    assert node.is_finished_ok and "model" in outputs
    assert [job.exit_status for job in called(node, "TrainCalculation")] == statuses


# stands in for `leopold train`: it diverges, until it is given a model to begin at
DIVERGES = """#!/bin/sh
echo '{"spec": {"elements": [8, 12]}}' > model.leopold
if [ -e initial.leopold ]; then status=finished; else status=diverged; fi
echo '{"status": "'$status'", "best_epoch": 4, "errors": {}}' > result.json
"""


def test_a_training_that_diverged_goes_on_from_its_best_model(training_with):
    outputs, node = run_get_node(training_with(DIVERGES))
    first, second = called(node, "TrainCalculation")
    assert node.is_finished_ok and first.exit_status == 430
    assert second.inputs.initial_model.uuid == first.outputs.model.uuid != outputs["model"].uuid
    assert second.inputs.parameters["learning_rate"] < first.inputs.parameters["learning_rate"]


@pytest.mark.parametrize(("kilobytes", "done"), [(150, True), (20, False)])
def test_a_full_disk_costs_the_steps_that_were_not_written(chain, tmp_path, kilobytes, done):  # noqa: F811
    """Files end at that size, the first time or always: inside of the trajectory, or of its first step."""
    once = f"test -e {tmp_path}/began || ulimit -f {kilobytes}; touch {tmp_path}/began"
    outputs, node = chain(6, 6, once if done else f"ulimit -f {kilobytes}")
    statuses = [job.exit_status for job in called(node, "LeopoldVaspCalculation")]
    if not done:
        assert node.exit_status == 405 and len(statuses) == 2 and set(statuses) <= {311, 312, 410}, statuses
        return
    assert node.is_finished_ok and statuses == [410, 0], (node.exit_message, statuses)
    assert [frame.step for frame in outputs["frames"].get_frames()] == list(range(1, 7))


@pytest.fixture
def labelling(standin, mgo):
    """`labelling(n)`: a WorkChain that labels n frames, before its first step, with `submit` to be given."""
    atoms = mgo.structure.get_ase()
    random = np.random.default_rng(0)

    def make(n, **inputs):
        frames = [
            Frame(atoms.numbers, atoms.positions + 0.01 * random.normal(size=(64, 3)), atoms.cell.array,
                  carrier="hole", carrier_sites=(32,))
            for _ in range(n)
        ]  # fmt: skip
        builder = LabelFramesWorkChain.get_builder_from_protocol(
            standin, FrameSetData.from_frames(frames), material="mgo", protocol="fast", overrides={"label": inputs}
        )
        process = instantiate_process(get_manager().get_runner(), LabelFramesWorkChain, **builder._inputs(prune=True))
        process.to_context = lambda **nodes: process.ctx.update(nodes)
        return process

    return make


@pytest.mark.parametrize(("total", "every", "status"), [(200, 5, None), (20, 4, 411)])
def test_two_hundred_labels_are_bounded_and_a_fifth_of_them_may_fail(labelling, make_frames, total, every, status):
    process = labelling(total, max_concurrent=7)
    frames = FrameSetData.from_frames(make_frames(1)).store()
    verdict = orm.Dict({"outcome": "verified", "pathway": ""}).store()
    in_flight, most, asked = 0, 0, []

    def submit(_, frame, **inputs):
        nonlocal in_flight, most
        asked.append(frame.value)
        in_flight += 1
        most = max(most, in_flight)
        failed = len(asked) % every == 0
        outputs = {} if failed else {"frames": frames, "verdict": verdict}
        return SimpleNamespace(
            pk=1, outputs=AttributeDict(outputs), exit_status=404 * failed, exit_message="no", is_excepted=False,
            is_killed=False,
        )  # fmt: skip

    process.submit = submit
    process.setup()
    while process.frames_remain():
        process.run_labels()
        in_flight = 0  # the engine goes on to the next step once all of these have ended
        process.inspect_labels()
    process.results()
    ended = process.check_quorum()
    assert (most, len(asked), len(set(asked))) == (7, total, total)
    counts = process.outputs["outcomes"]["counts"]
    assert (counts["verified"], counts["failed"]) == (total - total // every, total // every)
    assert getattr(ended, "status", None) == status
