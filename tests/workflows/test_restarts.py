"""The handlers around one training: what each changes before the next job, and what it leaves alone."""

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage.manager import get_manager

from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.workchains.train import TrainBaseWorkChain
from tests.workflows.processes import node, start


@pytest.fixture
def training(leopold_code, make_frames):
    builder = TrainBaseWorkChain.get_builder_from_protocol(leopold_code, protocol="fast")
    builder.training.frames = FrameSetData.from_frames(make_frames(2))
    return start(builder)


def test_training_out_of_walltime_is_resumed(training, aiida_localhost):
    folder = orm.RemoteData(computer=aiida_localhost, remote_path="/somewhere").store()
    report = training.continue_from_checkpoint(node(410, remote_folder=folder))
    assert report.do_break and report.exit_code.status == 0
    assert training.ctx.inputs.restart_folder.get_remote_path() == "/somewhere"


def test_diverged_training_starts_again_with_smaller_steps(training, aiida_localhost):
    training.ctx.inputs.restart_folder = orm.RemoteData(computer=aiida_localhost, remote_path="/somewhere")
    failed = node(430)
    failed.inputs.parameters = training.ctx.inputs.parameters
    before = training.ctx.inputs.parameters["learning_rate"]
    training.lower_the_learning_rate(failed)
    assert training.ctx.inputs.parameters["learning_rate"] == pytest.approx(0.3 * before)
    assert training.ctx.inputs.parameters.creator.process_label == "lower_learning_rate"
    assert "restart_folder" not in training.ctx.inputs


def test_frames_of_several_levels_of_theory_train_nothing(leopold_code, make_frames):
    def trained(frames, **more):
        builder = TrainBaseWorkChain.get_builder_from_protocol(leopold_code, protocol="fast")
        builder.training.frames = FrameSetData.from_frames(frames)
        for name, settings in more.items():
            builder.training[name] = FrameSetData.from_frames(make_frames(1, seed=9, settings=settings))
        return builder

    _, refused = run_get_node(trained([*make_frames(1), *make_frames(1, seed=1, settings="u9")]))
    assert refused.exit_status == 203 and "s, u9" in refused.exit_message and not refused.called
    setup = lambda builder: instantiate_process(get_manager().get_runner(), builder).setup()  # noqa: E731
    assert setup(trained(make_frames(1), test="u9")).status == 203
    assert "unknown" in setup(trained([*make_frames(1), *make_frames(1, seed=1, settings="")])).message
    assert setup(trained(make_frames(1), test="s")) is None


def test_training_that_ran_out_of_memory_starts_again_with_smaller_batches(training, aiida_localhost):
    training.ctx.inputs.restart_folder = orm.RemoteData(computer=aiida_localhost, remote_path="/somewhere")
    for frames in (4, 2, 1):
        failed = node(421)
        failed.inputs.parameters = orm.Dict({"batch_size": 2 * frames, "epochs": 3})
        assert training.train_in_smaller_batches(failed).exit_code.status == 0
        assert training.ctx.inputs.parameters.get_dict() == {"batch_size": frames, "epochs": 3}
    assert training.ctx.inputs.parameters.creator.process_label == "smaller_batches"
    assert "restart_folder" not in training.ctx.inputs
    failed.inputs.parameters = orm.Dict({"batch_size": 1})
    assert training.train_in_smaller_batches(failed) is None


def test_a_checkpoint_that_serves_nobody_is_left_behind(training, aiida_localhost):
    assert training.start_over(node(310)) is None  # it was none that was continued
    training.ctx.inputs.restart_folder = orm.RemoteData(computer=aiida_localhost, remote_path="/cleaned")
    assert training.start_over(node(310)).exit_code.status == 0
    assert "restart_folder" not in training.ctx.inputs


@pytest.mark.parametrize(("action", "code"), [("abort", 402), ("pause", None)])
def test_a_failure_that_no_handler_knows_ends_or_waits_for_a_person(leopold_code, make_frames, action, code):
    builder = TrainBaseWorkChain.get_builder_from_protocol(
        leopold_code, protocol="fast", overrides={"on_unhandled_failure": action}
    )
    builder.training.frames = FrameSetData.from_frames(make_frames(2))
    process = start(builder)
    process.ctx.children, process.ctx.iteration = [node(311)], 1
    process.paused_with = []
    process.pause = process.paused_with.append
    ended = process.inspect_process()
    assert getattr(ended, "status", None) == code
    assert len(process.paused_with) == (action == "pause")
    if action == "pause":  # played on, it runs the job once more
        assert process.should_run_process()


def test_handlers_leave_other_failures_alone(training):
    assert training.train_in_smaller_batches(node(311)) is None
    assert training.start_over(node(311)) is None
    assert training.continue_from_checkpoint(node(311)) is None
    assert training.lower_the_learning_rate(node(311)) is None
