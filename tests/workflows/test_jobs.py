"""The jobs that call `leopold`: what they write, what they refuse, and that what they write is what `leopold`
reads."""

import shlex
import subprocess
from pathlib import Path

import pytest
from aiida import orm
from aiida.common.folders import SandboxFolder
from aiida.engine.utils import instantiate_process
from aiida.manage.manager import get_manager
from aiida.plugins import CalculationFactory

from leopold_model import __version__
from leopold_model.config import load
from leopold_model.patterns.descriptor import DescriptorConfig
from leopold_model.patterns.lattice_file import load_lattice
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.patterns import PatternModelData
from tests.patterns.random_models import random_model

OPTIONS = {"resources": {"num_machines": 1, "num_mpiprocs_per_machine": 1}}


@pytest.fixture
def frames(make_frames):
    return FrameSetData.from_frames(make_frames(3))


@pytest.fixture
def prepare(leopold_code, tmp_path):
    """Folder content (name: text) and CalcInfo of a job, as it would be sent."""

    def run(entry_point, options=None, **inputs):
        runner = get_manager().get_runner()
        inputs = {"code": leopold_code, "metadata": {"options": OPTIONS | (options or {})}, **inputs}
        process = instantiate_process(runner, CalculationFactory(entry_point), **inputs)
        with SandboxFolder() as folder:
            calcinfo = process.prepare_for_submission(folder)
            path = tmp_path / "job"
            path.mkdir(exist_ok=True)
            for name in folder.get_content_list():
                (path / name).write_text(Path(folder.get_abs_path(name)).read_text())
        return path, calcinfo, process

    return run


def test_train_writes_what_leopold_train_reads(prepare, frames, make_model, make_frames):
    test = FrameSetData.from_frames(make_frames(2, run="held", seed=5))
    path, calcinfo, process = prepare(
        "leopold.train",
        frames=frames,
        test=test,
        initial_model=make_model(),
        parameters=orm.Dict({"epochs": 7, "seed": 3}),
        options={"max_wallclock_seconds": 1000},
    )
    config = load(path / "train.yaml", "train")
    assert (config.frames, config.test, config.validation) == ("frames.h5", "test.h5", None)
    assert (config.initial_model, config.output, config.epochs) == ("initial.leopold", "model.leopold", 7)
    assert config.max_wall_seconds == 900.0
    assert {name for _, _, name in calcinfo.local_copy_list} == {"frames.h5", "test.h5", "initial.leopold"}
    assert calcinfo.codes_info[0].cmdline_params == ["train", "train.yaml"]
    assert {"model.leopold", "result.json", "log.csv"} <= set(calcinfo.retrieve_list)
    assert process.inputs.version.value == __version__


def test_train_continues_from_the_checkpoint_of_a_remote_folder(prepare, frames, aiida_localhost, tmp_path):
    folder = orm.RemoteData(computer=aiida_localhost, remote_path=str(tmp_path)).store()
    _, calcinfo, _ = prepare("leopold.train", frames=frames, parameters=orm.Dict({}), restart_folder=folder)
    assert (aiida_localhost.uuid, f"{tmp_path}/checkpoint.msgpack", "checkpoint.msgpack") in calcinfo.remote_copy_list


def test_md_keeps_the_trajectory_remote(prepare, frames, make_model):
    parameters = orm.Dict({"temperatures": [600.0, 900.0], "steps": 50})
    path, calcinfo, _ = prepare("leopold.md", model=make_model(), start=frames, parameters=parameters, seed=orm.Int(11))
    config = load(path / "md.yaml", "md")
    assert (config.seed, config.steps, config.temperatures) == (11, 50, (600.0, 900.0))
    assert "track.h5" in calcinfo.retrieve_list and "trajectory.h5" not in calcinfo.retrieve_list


def test_evaluate_calls_the_documented_command(prepare, frames, make_model):
    _, calcinfo, _ = prepare("leopold.evaluate", model=make_model(), frames=frames, dtype=orm.Str("float64"))
    code = calcinfo.codes_info[0]
    assert code.cmdline_params[:3] == ["evaluate", "model.leopold", "frames.h5"]
    assert "--json" in code.cmdline_params and code.stdout_name == "result.json"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"network": {"cutof": 3.0}}, "did you mean 'cutoff'"),
        ({"learning_rate": -1.0}, "greater than 0"),
        ({"frames": "mine.h5"}, "set by the ports"),
    ],
)
def test_bad_training_parameters_never_reach_a_job(prepare, frames, parameters, message):
    with pytest.raises(ValueError, match=message):
        prepare("leopold.train", frames=frames, parameters=orm.Dict(parameters))


def test_bad_dynamics_never_reaches_a_job(prepare, frames, make_model, make_frames):
    good = {"model": make_model(), "start": frames, "parameters": orm.Dict({}), "seed": orm.Int(1)}
    with pytest.raises(ValueError, match=r"temperatures.*-5"):
        prepare("leopold.md", **good | {"parameters": orm.Dict({"temperatures": [300.0, -5.0]})})
    with pytest.raises(ValueError, match="seed = -1"):
        prepare("leopold.md", **good | {"seed": orm.Int(-1)})
    with pytest.raises(ValueError, match="seed"):
        prepare("leopold.md", **{k: v for k, v in good.items() if k != "seed"})
    with pytest.raises(ValueError, match=r"species Mg of the frames are not in the model"):
        prepare("leopold.md", **good | {"model": make_model(elements=["O", "Ti"])})
    with pytest.raises(ValueError, match="carrier_sites"):
        bare = FrameSetData.from_frames(make_frames(1, carrier_sites=()))
        prepare("leopold.md", **good | {"start": bare})


def test_no_frames_is_said_before_submission(prepare, make_model):
    empty = FrameSetData.from_frames([])
    with pytest.raises(ValueError, match="holds no frame"):
        prepare("leopold.train", frames=empty, parameters=orm.Dict({}))
    with pytest.raises(ValueError, match="nothing to evaluate"):
        prepare("leopold.evaluate", model=make_model(), frames=empty)


def test_version_and_content_decide_the_hash(prepare, make_frames):
    def job_hash(version, seed):
        frames = FrameSetData.from_frames(make_frames(2, seed=seed))
        _, _, process = prepare(
            "leopold.train", frames=frames, parameters=orm.Dict({"epochs": 2}), version=orm.Str(version)
        )
        return process.node.base.caching.compute_hash()

    assert job_hash("1", 0) == job_hash("1", 0)
    assert len({job_hash("1", 0), job_hash("2", 0), job_hash("1", 1)}) == 3


def test_walltime_limit_is_no_part_of_the_hash(prepare, frames):
    hashes = {
        prepare("leopold.train", frames=frames, parameters=orm.Dict({}), options={"max_wallclock_seconds": seconds})[
            2
        ].node.base.caching.compute_hash()
        for seconds in (100, 200)
    }
    assert len(hashes) == 1


def test_names_reach_the_job_as_one_word_each(leopold_code, aiida_localhost, tmp_path):
    """What a user or a stranger's file calls a supercell or a species is no line of the script that runs."""
    lattice = load_lattice("tio2_110")
    model = PatternModelData(_saved(random_model(lattice, DescriptorConfig(window=(1, 1, 1))), tmp_path))
    evil = "6x4'; touch ran; echo '$(touch ran)`touch ran`\n#SBATCH --wrap=evil"
    process = instantiate_process(
        get_manager().get_runner(),
        CalculationFactory("leopold.patterns.anneal"),
        code=leopold_code, model=model.store(), supercell=orm.Str(evil), counts=orm.Dict({evil: 1}),
        parameters=orm.Dict({"temperature": 300.0}), seed=orm.Int(1), metadata={"options": OPTIONS},
    )  # fmt: skip
    with SandboxFolder() as folder:
        process.presubmit(folder)
        script = Path(folder.get_abs_path("_aiidasubmit.sh")).read_text()
    words = shlex.split(script, comments=True)
    assert f"--supercell={evil}" in words and f"--counts={evil}=1" in words
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=False, capture_output=True)
    assert not (tmp_path / "ran").exists()


def _saved(model, folder):
    model.save(folder / "patterns.npz")
    return folder / "patterns.npz"
