"""Exploration and production with a learned model: what they go on from, and when it was enough."""

import numpy as np
import pytest
from aiida import orm

from leopold_model.tracks import ReplicaTrack, TrackFile, write_track
from leopold_workflows.calculations.functions_hops import catalogue_of
from leopold_workflows.calculations.functions_transport import transport_of
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.track import TrackData
from leopold_workflows.protocols import material
from leopold_workflows.vasp.study import supercell
from leopold_workflows.workchains.explore import ExploreWorkChain
from leopold_workflows.workchains.md import MDBaseWorkChain
from leopold_workflows.workchains.transport import TransportWorkChain
from tests.workflows.processes import node, start


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
