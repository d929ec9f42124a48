"""Handlers and decisions of the WorkChains around one job, and of the study, with stand-ins for what they call."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage.manager import get_manager

from leopold_model.analysis.sites import Host
from leopold_model.frames import Frame
from leopold_model.tracks import ReplicaTrack, TrackFile, write_track
from leopold_model.vasp.template import Template
from leopold_workflows.calculations.functions_hops import catalogue_of
from leopold_workflows.calculations.functions_transport import transport_of
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.track import TrackData
from leopold_workflows.protocols import material
from leopold_workflows.vasp.study import supercell
from leopold_workflows.workchains.dynamics import PolaronDynamicsWorkChain
from leopold_workflows.workchains.explore import ExploreWorkChain
from leopold_workflows.workchains.label import label_settings
from leopold_workflows.workchains.md import MDBaseWorkChain
from leopold_workflows.workchains.train import TrainBaseWorkChain
from leopold_workflows.workchains.transport import TransportWorkChain


def node(status=0, **outputs):
    return SimpleNamespace(
        pk=1, is_finished_ok=status == 0, is_failed=status != 0, is_excepted=False, is_killed=False,
        exit_status=status, exit_message="because", outputs=AttributeDict(outputs), inputs=AttributeDict(),
    )  # fmt: skip


def start(builder):
    """The process of `builder`, set up, with `calls` in place of submissions."""
    process = instantiate_process(get_manager().get_runner(), builder)
    process.calls = []
    process.submit = lambda cls, **inputs: process.calls.append((cls.__name__, inputs)) or node()
    process.to_context = lambda **nodes: process.ctx.update(nodes)
    if hasattr(process, "setup"):
        process.setup()
    return process


@pytest.fixture
def host():
    return orm.StructureData(ase=supercell(material("mgo")["lattice"]))


@pytest.fixture
def make_track(host, tmp_path):
    """A track of the supercell with `hops` nearest-neighbour hops (one number, or one per temperature), `stay` steps on
    each site."""
    atoms = host.get_ase()
    oxygen = np.flatnonzero(atoms.numbers == 8)
    near = oxygen[np.argsort(atoms.get_distances(oxygen[0], oxygen, mic=True))[1]]

    def replica(k, temperature, hops, stay):
        carrier = np.repeat([oxygen[0], near] * (hops + 1), stay)[: stay * (hops + 1)]
        sites = np.stack([carrier, np.where(carrier == near, oxygen[0], near)], 1)
        return ReplicaTrack(
            temperature=temperature, replica=k, timestep=1.0, seed=1, cell=atoms.cell.array, positions=atoms.positions,
            sites=sites, moments=np.tile([0.7, 0.05], (len(sites), 1)), carrier=carrier[:, None],
        )  # fmt: skip

    def make(hops=2, stay=150, temperatures=(600.0,)):
        counts = np.broadcast_to(hops, len(temperatures))
        replicas = [replica(k, t, n, stay) for k, (t, n) in enumerate(zip(temperatures, counts, strict=True))]
        path = tmp_path / "track.h5"
        write_track(path, TrackFile(atoms.numbers, "hole", 1, tuple(replicas)))
        return TrackData(path).store()

    return make


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


def explore_builder(cls, code, make_model, make_frames, host, **kwargs):
    builder = cls.get_builder_from_protocol(
        code, make_model(), FrameSetData.from_frames(make_frames(4)), host, material="mgo", protocol="fast", **kwargs
    )
    return builder


@pytest.fixture
def explore(leopold_code, make_model, make_frames, host):
    overrides = {"parameters": {"temperatures": [600.0], "replicas": 1, "steps": 450}}
    return start(explore_builder(ExploreWorkChain, leopold_code, make_model, make_frames, host, overrides=overrides))


def test_dynamics_continues_from_its_checkpoint_and_keeps_what_was_good(
    leopold_code, make_model, make_frames, aiida_localhost, make_track
):
    builder = MDBaseWorkChain.get_builder()
    builder.md.code, builder.md.model = leopold_code, make_model()
    builder.md.start, builder.md.seed = FrameSetData.from_frames(make_frames(1)), orm.Int(1)
    builder.md.parameters = orm.Dict({})
    process = start(builder)
    folder = orm.RemoteData(computer=aiida_localhost, remote_path="/somewhere").store()
    process.continue_from_checkpoint(node(410, remote_folder=folder))
    assert process.ctx.inputs.restart_folder.get_remote_path() == "/somewhere"
    stopped = node(510, track=make_track(), results=orm.Dict({}).store(), remote_folder=folder)
    process.ctx.children, process.ctx.iteration = [stopped], 1
    process.exposed_outputs = lambda child, cls: child.outputs
    report = process.keep_what_was_good(stopped)
    assert report.exit_code.status == 510 and process.ctx.is_finished and "track" in process.outputs


@pytest.fixture
def dynamics_of(aiida_localhost):
    """Dynamics that left this track and ended with this status."""
    folder = orm.RemoteData(computer=aiida_localhost, remote_path="/somewhere").store()
    return lambda track, status=0: node(status, track=track, results=orm.Dict({}).store(), remote_folder=folder)


def test_exploration_deals_out_starts_and_finds_hops(explore, make_track, dynamics_of):
    explore.run_dynamics()
    name, inputs = explore.calls[0]
    assert name == "MDBaseWorkChain" and len(inputs["md"]["start"]) == 1
    explore.ctx.dynamics = dynamics_of(make_track(hops=2))
    assert explore.inspect_dynamics() is None and explore.find_hops() is None
    assert explore.outputs["catalogue"].catalogue["n_hops"] == 2


def test_exploration_without_a_hop_is_a_result(explore, make_track, dynamics_of):
    explore.run_dynamics()
    explore.ctx.dynamics = dynamics_of(make_track(hops=0, stay=450))
    assert explore.inspect_dynamics() is None and explore.find_hops() is None
    assert explore.outputs["catalogue"].catalogue["n_hops"] == 0


def test_stopped_replicas_are_data_if_there_is_enough_of_them(explore, make_track, dynamics_of):
    explore.run_dynamics()
    explore.ctx.dynamics = dynamics_of(make_track(hops=1), 510)
    assert explore.inspect_dynamics() is None and explore.find_hops() is None and explore.judge() is None
    explore.ctx.dynamics = dynamics_of(make_track(hops=0, stay=20), 510)
    assert explore.inspect_dynamics() is None and explore.find_hops() is None
    code = explore.judge()
    assert code.status == 510 and "4.4%" in code.message and {"track", "catalogue"} <= set(explore.outputs)
    explore.ctx.dynamics = node(310)
    assert explore.inspect_dynamics().status == 403


@pytest.fixture
def production(leopold_code, make_model, make_frames, host):
    """A TransportWorkChain at 600 and 900 K whose instalments have 400 steps: `production(**settings)`."""

    def make(parameters=None, **settings):
        dynamics = {"temperatures": [600.0, 900.0], "replicas": 1, "steps": 400} | (parameters or {})
        return start(
            explore_builder(
                TransportWorkChain, leopold_code, make_model, make_frames, host,
                overrides={"parameters": dynamics, **settings},
            )
        )  # fmt: skip

    return make


@pytest.fixture
def instalment(host, make_track, aiida_localhost):
    """An exploration that ended well, with `hops` at both temperatures."""
    hops = orm.Dict({"species": "O"})

    def make(*counts, status=0):
        track = make_track(hops=counts, temperatures=(600.0, 900.0))
        folder = orm.RemoteData(computer=aiida_localhost, remote_path=f"/after/{counts}").store()
        catalogue = catalogue_of(track, host, hops, orm.Str("production"))
        return node(
            status, track=track, results=orm.Dict({}).store(), remote_folder=folder, catalogue=catalogue
        )  # fmt: skip

    return make


def advance(process, exploration):
    process.exposed_outputs = lambda child, cls: child.outputs
    process.run_instalment()
    process.ctx.instalment = exploration
    return process.inspect_instalment()


def test_transport_with_enough_hops_has_rates(production, instalment):
    process = production(min_hops=5, max_steps=400)
    assert process.needs_more_hops()
    assert advance(process, instalment(8, 8)) is None
    assert not process.needs_more_hops() and process.results() is None
    rows = process.outputs["transport"]["temperatures"]
    assert [(row["temperature_K"], row["n_hops"]) for row in rows] == [(600.0, 8), (900.0, 8)]
    mobility = rows[0]["mobility_isotropic_cm2_per_Vs"]
    assert mobility["low"] <= mobility["value"] <= mobility["high"] and mobility["value"] > 0
    assert process.outputs["transport"]["unverified_pathways"] is None
    learned = process.outputs["catalogue"]
    again = transport_of(learned, process.inputs.settings, orm.Int(1), learned)
    assert again["unverified_pathways"] == learned.base.attributes.get("seen"), "seen, but never labelled"


def test_production_goes_on_from_its_checkpoint_where_hops_are_missing(production, instalment):
    process = production(min_hops=8, max_steps=4000)
    first = instalment(2, 9)
    assert advance(process, first) is None and process.needs_more_hops()
    assert advance(process, instalment(9, 9)) is None and not process.needs_more_hops()
    (_, one), (name, two) = process.calls
    assert name == "ExploreWorkChain" and "restart_folder" not in one["dynamics"]["md"]
    assert two["dynamics"]["md"]["restart_folder"] is first.outputs.remote_folder
    parameters = two["dynamics"]["md"]["parameters"]
    assert parameters["more_steps"] == [1200, 0], "four times what was done, and no step where there are enough hops"
    assert parameters["keep_checkpoint"] and parameters.creator.process_label == "prolonged"
    assert [c["metadata"]["call_link_label"] for c in (one, two)] == ["instalment_01", "instalment_02"]
    assert process.results() is None


def test_production_out_of_budget_is_told_with_its_result(production, instalment):
    process = production(min_hops=9, max_steps=1000)
    assert advance(process, instalment(0, 12)) is None and process.needs_more_hops()
    assert advance(process, instalment(0, 12)) is None and not process.needs_more_hops()
    code = process.results()
    assert code.status == 602 and "0 hops at 600 K, 12 hops at 900 K in 800 steps" in code.message
    assert "raise `settings.max_steps`" in code.message and "no hop at all, the temperature" in code.message
    cold, _ = process.outputs["transport"]["temperatures"]
    assert cold["mobility_isotropic_cm2_per_Vs"]["value"] == 0 < cold["mobility_isotropic_cm2_per_Vs"]["high"]
    assert {"track", "catalogue", "remote_folder"} <= set(process.outputs)


def test_a_failed_instalment_loses_nothing(production, instalment):
    process = production(min_hops=8, max_steps=4000)
    advance(process, instalment(2, 9))
    code = advance(process, node(510))
    assert code.status == 403 and "instalment 2" in code.message
    assert [r["n_hops"] for r in process.outputs["transport"]["temperatures"]] == [2, 9]
    process = production()
    code = advance(process, node(510, track=instalment(1, 1).outputs.track))
    assert code.status == 403 and "track" in process.outputs and "transport" not in process.outputs


def test_instalments_must_end_with_a_block(production):
    with pytest.raises(ValueError, match=r"steps = 450: .*multiples of block = 100.*max_steps = 450"):
        production({"steps": 450}, max_steps=1000)
    production({"steps": 450}, max_steps=450)


def test_bad_exploration_is_refused_before_anything_runs(leopold_code, make_model, make_frames, host):
    def build(model=None, species=None, **overrides):
        builder = explore_builder(ExploreWorkChain, leopold_code, make_model, make_frames, host, overrides=overrides)
        builder.model = model or builder.model
        if species:
            builder.hops = orm.Dict({"species": species})
        return start(builder)

    with pytest.raises(ValueError, match="did you mean 'tau_min'"):
        build(hops={"tau_mni": 3})
    with pytest.raises(ValueError, match="species = 'Ti' is not in the host"):
        build(species="Ti")
    with pytest.raises(ValueError, match="host_moments has 2 numbers for the 64 atoms"):
        build(hops={"host_moments": [1.0, -1.0]})
    with pytest.raises(ValueError, match="species O of the frames are not in the model"):
        build(model=make_model(elements=["Mg"]))
    with pytest.raises(ValueError, match="did you mean 'replicas'"):
        build(parameters={"replica": 3})


@pytest.fixture
def dynamics(leopold_code, aiida_localhost):
    vasp = orm.InstalledCode(
        label="vasp", computer=aiida_localhost, filepath_executable="/nowhere/leopold-vasp-standin"
    ).store()

    def make(overrides=None, **given):
        builder = PolaronDynamicsWorkChain.get_builder_from_protocol(
            vasp, leopold_code, material="mgo", overrides=overrides, frames=given.get("frames")
        )
        for name, value in given.items():
            builder[name] = value
        return start(builder)

    return make


@pytest.fixture
def study_frames(dynamics):
    """Frames of the study's own supercell and level of theory, or of another."""
    inputs = dynamics().inputs
    host, settings = inputs.host.get_ase(), label_settings(inputs.learn.label, inputs.host)

    def make(**changes):
        fields = {"cell": host.cell.array, "settings": settings} | changes
        frame = Frame(host.numbers, host.positions, carrier="hole", carrier_sites=(32,), energy=-1.0, **fields)
        return FrameSetData.from_frames([frame])

    return make


def test_study_begins_with_a_seed(dynamics):
    process = dynamics()
    assert process.needs_seed() and process.needs_learning() and process.wants_transport()
    process.run_seed()
    assert process.calls[0][0] == "SeedWorkChain" and len(process.calls[0][1]["structure"].sites) == 64


def test_study_begins_with_several_configurations(dynamics, study_frames):
    frames = study_frames()
    process = dynamics(configurations=frames)
    assert process.needs_seed()
    process.run_seed()
    ((name, inputs),) = process.calls
    assert name == "SeedConfigurationsWorkChain" and inputs["configurations"].content == frames.content
    assert not {"structure", "sites", "prefix"} & set(inputs) and inputs["quorum"].value > 0
    with pytest.raises(ValueError, match=r"configurations: configuration-1: sites: \[\] for 1 carriers"):
        dynamics(configurations=FrameSetData.from_frames([replace(f, carrier_sites=()) for f in frames.get_frames()]))
    with pytest.raises(ValueError, match=r"configurations: cell of 8\.4000.*host has 8\.3620"):
        dynamics(configurations=study_frames(cell=8.4 * np.eye(3)))
    process.ctx.seed = node(
        frames=frames,
        validation=frames,
        starts=frames,
        verdicts={"configuration_001": orm.Dict({"outcome": "verified"})},
    )
    process.exposed_outputs = lambda *_: {}
    assert process.inspect_seed() is None and process.ctx.frames is frames


def test_frames_of_another_cell_or_level_of_theory_are_refused_at_launch(dynamics, study_frames, make_frames):
    with pytest.raises(ValueError, match="frames: Mg4O4, but the host is Mg32O32"):
        dynamics(frames=FrameSetData.from_frames(make_frames(2)))
    with pytest.raises(ValueError, match=r"frames: cell of 8\.4000.*host has 8\.3620"):
        dynamics(frames=study_frames(cell=8.4 * np.eye(3)))
    with pytest.raises(ValueError, match=r"frames: level of theory unknown.*--settings [0-9a-f]{16}"):
        dynamics(frames=study_frames(settings=""))
    with pytest.raises(ValueError, match="test: level of theory other, but"):
        dynamics(frames=study_frames(), test=study_frames(settings="other"))
    stages = {"fpmd": {"incar": {"encut": 300}}}
    with pytest.raises(ValueError, match=r"seed and learn\.label: levels of theory differ"):
        dynamics(overrides=stages)


def test_given_results_replace_their_stage(dynamics, study_frames, make_model):
    frames = study_frames()
    process = dynamics(frames=frames)
    assert not process.needs_seed() and process.needs_learning()
    process.run_learning()
    assert process.calls[0][1]["frames"].content == frames.content and "model" not in process.calls[0][1]
    process = dynamics(frames=frames, model=make_model())
    process.run_learning()
    assert "model" in process.calls[0][1]


def test_the_occupations_of_the_seed_go_to_its_labels(dynamics, study_frames):
    frames = study_frames()
    process = dynamics()
    process.exposed_outputs = lambda *_: {}
    template = orm.Dict({"from": "the seed"})
    process.ctx.seed = node(frames=frames, validation=frames, starts=frames, template=template)
    assert process.inspect_seed() is None
    process.run_learning()
    assert process.calls[-1][1]["label"]["template"] is template
    # frames without a seed have those that come with them, if any
    process = dynamics(frames=frames)
    process.run_learning()
    assert "template" not in process.calls[-1][1]["label"]
    host = Host(np.eye(3), np.zeros((1, 3)), np.array([8]), "O")
    given = Template(host, np.array([8]), np.zeros((1, 3)), np.eye(3), {0: (1, np.eye(3), np.eye(3))}).to_dict()
    process = dynamics(frames=frames, template=orm.Dict(given))
    process.run_learning()
    assert process.calls[-1][1]["label"]["template"].get_dict() == given


def test_failed_stage_ends_the_study(dynamics):
    process = dynamics()
    process.exposed_outputs = lambda *_: {}
    process.ctx.seed = node(501)
    assert process.inspect_seed().status == 403
    process.ctx.learning = node(404)
    assert process.inspect_learning().status == 404


def test_unconverged_learning_goes_on_to_transport_and_is_told_in_the_end(dynamics, make_model):
    process = dynamics()
    process.exposed_outputs = lambda *_: {}
    process.ctx.learning = node(601, model=make_model().store(), catalogue=None)
    assert process.inspect_learning() is None and process.ctx.model is not None
    process.ctx.production = node(0)
    assert process.inspect_transport() is None
    assert process.results().status == 601


def test_too_few_hops_in_production_is_told(dynamics):
    process = dynamics()
    process.exposed_outputs = lambda *_: {}
    process.ctx.production = node(602, transport=orm.Dict({"temperatures": []}).store())
    assert process.inspect_transport().status == 602 and "transport" in process.outputs
    process.ctx.production = node(403)
    assert process.inspect_transport().status == 405


def test_study_without_enough_to_begin_with_is_refused(dynamics, make_model):
    builder = PolaronDynamicsWorkChain.get_builder()
    builder.host = orm.StructureData(ase=supercell(material("mgo")["lattice"]))
    with pytest.raises(ValueError, match="neither `frames` nor `seed`"):
        start(builder)
    with pytest.raises(ValueError, match="model without frames"):
        dynamics(model=make_model())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"vasp": {"incar": {"ispin": 1}}}, "seed: vasp.parameters, relaxation_incar: ISPIN = 1"),
        ({"vasp": {"incar": {"lorbit": 5}}}, "LORBIT = 5: no table of site moments is printed; set LORBIT = 11"),
        ({"vasp": {"incar": {"nelect": 448}}}, "NELECT = 448: leaves no carrier; set NELECT = 447 for 1 hole"),
        ({"vasp": {"incar": {"encutt": 500}}}, "seed: vasp.parameters: ENCUTT is not an INCAR tag: did you mean ENCUT"),
        ({"fpmd": {"incar": {"pottim": 1}}}, "seed: dynamics_incar: POTTIM is not an INCAR tag: did you mean POTIM"),
        ({"label": {"incar": {"lorbit": 0}}}, "learn.label: vasp.parameters, incar: LORBIT = 0"),
        ({"label": {"incar": {"nelmm": 90}}}, "learn.label: incar: NELMM is not an INCAR tag: did you mean NELM"),
        ({"learn": {"retraining": {"epoch": 3}}}, "retraining: unknown key 'epoch': did you mean 'epochs'"),
        ({"train": {"parameters": {"network": {"cutof": 4}}}}, "unknown key 'network.cutof': did you mean 'cutoff'"),
        ({"explore": {"parameters": {"replica": 2}}}, "unknown key 'replica': did you mean 'replicas'"),
        ({"vasp": {"options": {"queue": "long"}}}, "unknown option 'queue': did you mean 'queue_name'"),
        ({"vasp": {"options": {"max_wallclock_seconds": "1h"}}}, "max_wallclock_seconds"),
        ({"material": {"carrier": {"kind": "hol"}}}, "carrier.kind = 'hol': input should be 'electron' or 'hole'"),
        ({"material": {"carrier": {"n": 0}}}, "material mgo: carrier.n = 0"),
        (
            {"material": {"carrier": {"species": ["Ti"]}}},
            "carrier.species: Ti is not in the crystal: choose from Mg, O",
        ),
        ({"seed": {"sites": [3]}}, "seed: sites: atom 3 is Mg; choose one of ['O']"),
        ({"fpmd": {"steps": 0}}, "seed: steps: 0; give at least 1"),
    ],
)
def test_a_study_with_a_fault_in_any_stage_is_refused_at_launch(leopold_code, aiida_localhost, overrides, words):
    vasp = orm.InstalledCode(
        label="vasp", computer=aiida_localhost, filepath_executable="/nowhere/leopold-vasp-standin"
    ).store()
    with pytest.raises(ValueError) as error:
        start(
            PolaronDynamicsWorkChain.get_builder_from_protocol(vasp, leopold_code, material="mgo", overrides=overrides)
        )
    assert words in str(error.value)


@pytest.mark.parametrize("level", ["fast", "balanced", "stringent"])
@pytest.mark.parametrize("name", ["mgo", "tio2"])
def test_builders_of_every_protocol_and_material_are_valid(leopold_code, aiida_localhost, name, level):
    vasp = orm.InstalledCode(
        label="vasp", computer=aiida_localhost, filepath_executable="/nowhere/leopold-vasp-standin"
    ).store()
    start(PolaronDynamicsWorkChain.get_builder_from_protocol(vasp, leopold_code, material=name, protocol=level))
