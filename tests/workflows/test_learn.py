"""The decisions of LearnWorkChain, taken one by one with stand-ins for the processes it would call."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine.utils import instantiate_process
from aiida.manage.manager import get_manager
from aiida.schedulers.datastructures import JobInfo
from ase.build import bulk

from leopold_model.analysis.catalogue import Catalogue
from leopold_model.analysis.sites import host_from_structure
from leopold_model.evaluate import Prediction, errors
from leopold_workflows.calculations.functions_hops import catalogue_of
from leopold_workflows.calculations.functions_learn import (
    assess,
    gather_convergence,
    gather_label_outcomes,
    gather_learning_curve,
    hop_frame_errors,
)
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.queries import node_hours
from leopold_workflows.workchains.label import label_settings
from leopold_workflows.workchains.learn import LearnWorkChain
from tests.workflows.processes import node

NEAR, FAR = "O-O 2.96 A <110> x12", "O-O 4.18 A <100> x6"
ERRORS = {"forces": {"rmse": 0.05, "max": 0.3, "unit": "eV/Angstrom"}, "carrier_site_accuracy": 1.0}


def catalogue(hops: dict, labels: dict | None = None) -> PathwaySetData:
    """A catalogue with these numbers of hops and these outcomes of labels, by class."""
    atoms = bulk("MgO", "rocksalt", a=4.181, cubic=True)
    host = host_from_structure(atoms.numbers, atoms.positions, atoms.cell.array, sublattice="O")
    empty = Catalogue(
        host=host, carrier="hole", cutoff=5.0, tau_min=50.0, core=0.7, return_time=200.0, replicas=()
    ).to_dict()
    pathways = [
        {
            "name": name,
            "distance": float(name.split()[1]),
            "hops": hops.get(name, 0),
            "labels": (labels or {}).get(name, {}),
            "verified_labels": (labels or {}).get(name, {}).get("verified", 0),
            "first_seen": None,
        }
        for name in (NEAR, FAR)
    ]
    return PathwaySetData.from_catalogue(
        {
            "summary": "made by hand",
            "pathways": pathways,
            "rounds": [{"run": "explore-01", "hops": hops}],
            "hops": empty,
            "n_hops": sum(hops.values()),
        }
    )


@pytest.fixture
def learn(aiida_localhost, leopold_code, make_frames):
    """A LearnWorkChain that has been set up, with `calls` in place of submissions: `learn(**settings)`."""
    vasp = orm.InstalledCode(
        label="vasp", computer=aiida_localhost, filepath_executable="/nowhere/leopold-vasp-standin"
    ).store()

    def make(frames=None, **settings):
        ours = FrameSetData.from_frames(make_frames(4))
        overrides = {"learn": {"max_rounds": 3, "max_labels": 10, **settings}}
        builder = LearnWorkChain.get_builder_from_protocol(
            vasp, leopold_code, ours if frames is None else frames, material="mgo", protocol="fast", overrides=overrides
        )
        builder.host = orm.StructureData(ase=make_frames(1)[0].to_atoms())
        if frames is None:
            level = label_settings(builder.label, builder.host)
            builder.frames = FrameSetData.from_frames(make_frames(4, settings=level))
        process = instantiate_process(get_manager().get_runner(), builder)
        process.calls = []
        process.submit = lambda cls, **inputs: process.calls.append((cls.__name__, inputs)) or node()
        process.to_context = lambda **nodes: process.ctx.update(nodes)
        process.setup()
        return process

    return make


def trained(process, model):
    process.run_training()
    process.ctx.training = node(model=model, results=orm.Dict({"errors": {"train": ERRORS}, "data": {}, "epochs": 1}))
    return process.inspect_training()


def test_first_round_trains_from_nothing_and_the_second_from_the_model(learn, make_model):
    process = learn()
    assert process.should_run_iteration()
    assert trained(process, make_model().store()) is None
    name, inputs = process.calls[0]
    assert name == "TrainBaseWorkChain" and "initial_model" not in inputs["training"]
    process.ctx.needs_training = True
    trained(process, make_model(tag="second").store())
    again = process.calls[1][1]["training"]
    assert (
        again["initial_model"].header["tag"] == ""
        and again["parameters"]["epochs"] != inputs["training"]["parameters"]["epochs"]
    )
    assert process.ctx.model.header["tag"] == "second"


def test_a_round_without_new_frames_does_not_train(learn, make_model):
    process = learn()
    trained(process, make_model().store())
    process.run_training()
    assert process.ctx.round == 2 and len(process.calls) == 1


def test_a_given_model_is_explored_first(learn, make_model, make_frames):
    process = learn()
    process.ctx.model, process.ctx.needs_training = make_model().store(), False
    process.run_training()
    assert not process.calls
    process.run_exploration()
    name, inputs = process.calls[0]
    assert name == "ExploreWorkChain" and inputs["run"].value == "explore-01"
    seeds = {inputs["seed"].value}
    process.run_training()
    process.run_exploration()
    assert len(seeds | {process.calls[-1][1]["seed"].value}) == 2


@pytest.mark.parametrize(
    ("hops", "labels", "expected"),
    [
        ({}, {}, False),
        ({NEAR: 5}, {}, True),
        ({NEAR: 5}, {NEAR: {"verified": 2}}, False),
        ({NEAR: 5, FAR: 1}, {NEAR: {"verified": 9}, FAR: {"verified": 1}}, True),
        ({NEAR: 5, FAR: 1}, {NEAR: {"verified": 9}, FAR: {"moved": 40}}, False),
    ],
)
def test_what_is_new(learn, hops, labels, expected):
    process = learn()
    process.ctx.catalogue, process.ctx.exploration = catalogue(hops, labels), node()
    assert process.needs_labels() is expected
    process.ctx.n_labels = 10
    assert not process.needs_labels()


def evaluated(frames, *offs) -> orm.Dict:
    """`results` of leopold.evaluate for a model whose forces are off by `offs` (eV/Angstrom), one for each frame."""
    answers = [
        Prediction(f.energy, f.forces + off, np.zeros((3, 3)), np.stack([f.moments, 0 * f.moments], 1))
        for f, off in zip(frames, np.broadcast_to(offs, len(frames)), strict=True)
    ]
    return orm.Dict(errors(frames, answers))


def test_labels_become_frames_holdout_and_errors(learn, make_model, make_frames):
    process = learn(selection={"holdout": 0.5})
    trained(process, make_model().store())
    process.ctx.catalogue = catalogue({NEAR: 20})
    process.ctx.seed = orm.Int(1)
    asked = [f for k in range(4) for f in make_frames(2, run=f"hop{k}", seed=20 + k, pathway=NEAR, forces=None)]
    process.ctx.selected = FrameSetData.from_frames(asked).store()
    process.run_labelling()
    assert process.ctx.n_labels == 8 and process.calls[-1][0] == "LabelFramesWorkChain"
    answers = [f for k in range(4) for f in make_frames(2, run=f"hop{k}", seed=40 + k, pathway=NEAR, source="label")]
    verdicts = {f.id: {"outcome": "verified"} for f in asked}
    process.ctx.labelling = node(
        frames=FrameSetData.from_frames(answers).store(),
        rejected=FrameSetData.from_frames([]).store(),
        outcomes=orm.Dict({"labels": verdicts, "counts": {"verified": 8}, "total": 8}),
    )
    assert process.inspect_labelling() is None
    assert {p["name"]: p["labels"] for p in process.ctx.catalogue.pathways if p["labels"]} == {NEAR: {"verified": 8}}
    process.run_evaluation()
    assert process.calls[-1][0] == "EvaluateCalculation"
    process.ctx.evaluation = node(results=evaluated(answers, 0.1))
    assert process.inspect_evaluation() is None
    assert process.ctx.hop_errors["forces"] == pytest.approx(0.1)
    assert process.ctx.hop_errors["pathways"][NEAR]["carrier_site_accuracy"] == 1.0
    process.merge_frames()
    assert process.ctx.needs_training and len(process.ctx.frames) == 8 and len(process.ctx.holdout) == 4
    process.check_convergence()
    assert process.ctx.state == "continue", "frames that were not trained on keep the loop going"


def test_nothing_to_label_is_no_failure(learn):
    process = learn()
    process.ctx.round = 1
    process.ctx.selected = FrameSetData.from_frames([]).store()
    for step in ("run_labelling", "inspect_labelling", "run_evaluation", "inspect_evaluation", "merge_frames"):
        assert getattr(process, step)() is None
    assert not process.calls


def finish(process, hops, labels=None, errors=None, needs_training=False, n_labels=0, round_=1):
    process.ctx.update(
        round=round_, catalogue=catalogue(hops, labels).store(), needs_training=needs_training, n_labels=n_labels
    )
    if errors:
        process.ctx.hop_errors = orm.Dict(errors)
    process.check_convergence()
    return process.results()


GOOD = {"forces": 0.05, "occupations": 0.01}
SETTLED, BOTH = {NEAR: {"verified": 3}}, {NEAR: 30, FAR: 3}


def test_converged_ends_with_zero_and_every_output(learn, make_model):
    process = learn()
    trained(process, make_model().store())
    assert finish(process, {NEAR: 30}, {NEAR: {"verified": 3}}, GOOD) is None
    assert process.ctx.state == "converged" and not process.should_run_iteration()
    assert {"model", "frames", "catalogue", "convergence", "learning_curve"} <= set(process.outputs)
    assert process.outputs["convergence"]["converged"] is True


@pytest.mark.parametrize(
    ("state", "status", "step"),
    [
        ({"hops": {}}, 602, "raise the temperatures, steps or replicas of the exploration: 0 of 10 hops"),
        ({"hops": {NEAR: 3}, "labels": SETTLED, "errors": GOOD}, 602, "3 of 10 hops"),
        ({"hops": {NEAR: 30}, "labels": SETTLED, "errors": GOOD | {"forces": 9.0}}, 601, "label more frames along"),
        ({"hops": BOTH, "labels": SETTLED, "errors": GOOD}, 601, f"max_rounds, then label hop frames of {FAR}"),
        ({"hops": BOTH, "labels": SETTLED | {FAR: {"moved": 40}}, "errors": GOOD}, 601, FAR),
        ({"hops": BOTH, "labels": SETTLED, "errors": GOOD, "n_labels": 10}, 603, "raise max_labels, then label"),
        ({"hops": {NEAR: 30}, "labels": SETTLED, "errors": GOOD, "needs_training": True}, 601, "the last labels"),
    ],
)  # fmt: skip
def test_not_converged_says_why_and_keeps_everything(learn, make_model, state, status, step):
    process = learn()
    trained(process, make_model().store())
    code = finish(process, **state)
    assert code.status == status and "{" not in code.message and step in code.message
    assert {"model", "frames", "catalogue", "convergence", "learning_curve"} <= set(process.outputs)
    assert process.outputs["convergence"]["converged"] is False or state.get("needs_training")


def test_two_quiet_rounds_can_be_asked_for(learn, make_model):
    process = learn(criteria={"quiet_rounds": 2})
    trained(process, make_model().store())
    settled = {"hops": {NEAR: 30}, "labels": {NEAR: {"verified": 3}}, "errors": GOOD}
    assert finish(process, **settled).status == 601
    process.ctx.round = 2
    process.check_convergence()
    assert process.ctx.state == "converged"


def test_spent_node_hours_end_learning(learn, make_model, monkeypatch):
    process = learn(max_node_hours=2.0)
    trained(process, make_model().store())
    monkeypatch.setattr("leopold_workflows.workchains.learn.node_hours", lambda node: 2.5)
    code = finish(process, {NEAR: 30}, SETTLED, GOOD | {"forces": 9.0})
    assert code.status == 603 and "2.5 node-hours" in code.message and "raise max_node_hours" in code.message
    assert not process.should_run_iteration()
    table = {c["name"]: c for c in process.outputs["convergence"]["iterations"][-1]["criteria"]}
    assert (table["node_hours"]["value"], table["node_hours"]["threshold"]) == (2.5, 2.0)


def test_node_hours_count_machines_and_leave_out_what_was_cached(aiida_localhost):
    study = orm.WorkflowNode().store()

    def job(seconds, machines, cached=False):
        node = orm.CalcJobNode(computer=aiida_localhost)
        node.set_option("resources", {"num_machines": machines, "num_mpiprocs_per_machine": 1})
        node.base.links.add_incoming(study, LinkType.CALL_CALC, f"job{seconds}{cached}")
        node.set_last_job_info(JobInfo({"job_id": "1", "wallclock_time_seconds": seconds}))
        node.store()
        if cached:
            node.base.extras.set(node.base.caching.CACHED_FROM_KEY, "another")

    for given in ((1800, 2), (3600, 1), (7200, 4, True)):
        job(*given)
    assert node_hours(study) == pytest.approx(2.0)


def test_failed_stages_lose_nothing(learn, make_model):
    process = learn()
    trained(process, make_model().store())
    process.ctx.exploration = node(status=510)
    code = process.inspect_exploration()
    assert code.status == 405 and "round 1" in code.message
    assert {"model", "frames", "learning_curve"} <= set(process.outputs)


def stopped(*statuses, status=0, **outputs):
    """An exploration whose replicas ended so."""
    return node(status, results=orm.Dict({"replicas": [{"status": s} for s in statuses]}), **outputs)


def test_dynamics_that_broke_down_is_what_labels_are_for(learn, make_model, make_track, host, sites, make_frames):
    """Also where so little was seen that the exploration failed. Their errors do not count as those of hop frames."""
    process = learn(selection={"before_stop": [10]})
    trained(process, make_model().store())
    process.ctx.seed = orm.Int(1)
    track = make_track([], []).store()
    seen = catalogue_of(track, host, orm.Dict({"species": "O"}), orm.Str("explore-01"))
    process.ctx.exploration = stopped("unstable", "unstable", status=510, track=track, catalogue=seen)
    assert process.inspect_exploration() is None
    process.update_catalogue()
    assert process.needs_labels()
    process.select_frames()
    process.run_labelling()
    assert process.calls[-1][0] == "LabelFramesWorkChain" and process.ctx.n_asked == 2
    asked = process.ctx.selected.get_frames()
    level = process.inputs.frames.get_frames()[0].settings
    answers = [
        replace(a, label=q.label, source="label") for a, q in zip(make_frames(2, settings=level), asked, strict=True)
    ]
    process.ctx.labelling = node(
        frames=FrameSetData.from_frames(answers).store(), rejected=FrameSetData.from_frames([]).store(),
        outcomes=orm.Dict({"labels": {f.id: {"outcome": "verified"} for f in asked}, "counts": {}, "total": 2}),
    )  # fmt: skip
    assert process.inspect_labelling() is None
    process.ctx.evaluation = node(results=evaluated(answers, 9.0))
    assert process.inspect_evaluation() is None
    process.merge_frames()
    assert process.ctx.needs_training and process.ctx.holdout is None and len(process.ctx.frames) == 6
    process.check_convergence()
    failing = process.ctx.assessment["failing"]
    assert process.ctx.state == "continue" and "stopped" in failing
    assert "guards stopped 100% of the replicas" in process.ctx.assessment["next_step"]


def test_a_carrier_that_was_lost_gives_nothing_to_label(learn, make_model):
    process = learn()
    trained(process, make_model().store())
    process.ctx.exploration = stopped("carrier_lost", status=510)
    assert process.inspect_exploration().status == 405
    process = learn(selection={"before_stop": []})
    trained(process, make_model().store())
    process.ctx.exploration = stopped("unstable", status=510)
    assert process.inspect_exploration().status == 405, "not asked for"


def test_failed_training_keeps_the_frames(learn):
    process = learn()
    process.run_training()
    process.ctx.training = node(status=401)
    assert process.inspect_training().status == 404
    assert "frames" in process.outputs and "model" not in process.outputs


def test_unanswered_labels_end_learning_with_their_record(learn, make_model, make_frames):
    process = learn()
    trained(process, make_model().store())
    process.ctx.catalogue = catalogue({NEAR: 20})
    asked = make_frames(2, pathway=NEAR, forces=None)
    process.ctx.selected = FrameSetData.from_frames(asked).store()
    outcomes = orm.Dict({"labels": {f.id: {"outcome": "failed"} for f in asked}, "counts": {"failed": 2}, "total": 2})
    empty = FrameSetData.from_frames([]).store()
    process.ctx.labelling = node(status=411, frames=empty, rejected=empty, outcomes=outcomes)
    assert process.inspect_labelling().status == 411
    assert process.outputs["label_outcomes"]["counts"] == {"failed": 2}


def test_spec_refuses_bad_settings(learn, make_frames):
    with pytest.raises(ValueError, match="did you mean 'max_rounds'"):
        learn(max_round=3)
    with pytest.raises(ValueError, match="min_hops"):
        learn(criteria={"min_hops": -3})
    with pytest.raises(ValueError, match="no carrier_sites"):
        learn(frames=FrameSetData.from_frames(make_frames(2, carrier_sites=())))
    with pytest.raises(ValueError, match="no frame"):
        learn(frames=FrameSetData.from_frames([]))


def test_frames_that_labels_could_not_join_are_refused_at_launch(learn, make_frames):
    """Before any label is paid for: of another level of theory, or of another cell than the host's."""
    with pytest.raises(ValueError, match=r"frames: level of theory s, but labels will have [0-9a-f]{16}"):
        learn(frames=FrameSetData.from_frames(make_frames(2)))
    with pytest.raises(ValueError, match=r"frames: cell of 8\.0000"):
        learn(frames=FrameSetData.from_frames([replace(f, cell=8 * np.eye(3)) for f in make_frames(2)]))


def spent(**changes):
    return orm.Dict({"asked": 0, "labels": 0, "node_hours": 0.0, "untrained": False} | changes)


def test_criteria_have_values_thresholds_and_verdicts():
    settings = orm.Dict({"criteria": {"min_hops": 4}, "selection": {"min_verified": 1}})
    first = assess(catalogue({NEAR: 3, FAR: 1}, {NEAR: {"verified": 2}}), settings, orm.Int(1), spent())
    table = {c["name"]: c for c in first["criteria"]}
    assert (table["hops"]["value"], table["hops"]["threshold"], table["hops"]["passed"]) == (4, 4, True)
    assert table["unseen_mass"]["value"] == 0.25 and first["lacking_labels"] == [FAR]
    assert table["force_rmse"]["value"] is None and not table["force_rmse"]["passed"]
    both = catalogue({NEAR: 3, FAR: 1}, {NEAR: {"verified": 2}, FAR: {"verified": 1}})
    second = assess(both, settings, orm.Int(2), spent(), previous=first)
    third = assess(both, settings, orm.Int(3), spent(), previous=second)
    assert [a["quiet"] for a in (first, second, third)] == [0, 1, 2]
    asked = assess(both, settings, orm.Int(3), spent(asked=5), previous=second)
    assert asked["quiet"] == 0, "an exploration that needed labels is not quiet, whatever they answered"
    blind = assess(catalogue({}, {NEAR: {"verified": 2}}), settings, orm.Int(4), spent(), previous=third)
    assert blind["quiet"] == 2, "an exploration without a hop proves nothing"
    record = gather_convergence(round_01=first, round_02=second)
    assert [i["round"] for i in record["iterations"]] == [1, 2] and "force_rmse" in record["failing"]


def test_hop_errors_by_pathway(make_frames):
    near, far = make_frames(2, pathway=NEAR), make_frames(1, pathway=FAR, seed=3)
    found = hop_frame_errors(evaluated([*near, *far], 0.1, 0.1, 0.3))
    assert found["pathways"][FAR]["forces"] == pytest.approx(0.3)
    assert found["pathways"][NEAR]["n_frames"] == 2 and found["n_frames"] == 3
    assert found["forces"] == pytest.approx(np.sqrt((2 * 0.01 + 0.09) / 3))
    assert found["carrier_site_accuracy"] == 1.0 and found["occupations"] is None
    beside = hop_frame_errors(evaluated([*near, *make_frames(1, seed=9)], 0.1, 0.1, 5.0))
    assert beside["forces"] == pytest.approx(0.1), "frames from before a stop are no hop frames"


def test_learning_curve_and_outcomes_are_gathered_by_round():
    curve = gather_learning_curve(
        round_01_training=orm.Dict({"errors": {"train": ERRORS, "test": ERRORS}, "data": {"train": 9}, "epochs": 5}),
        round_01_new_labels=orm.Dict({"forces": 0.4}),
        round_02_holdout=orm.Dict({"forces": 0.1}),
    )
    first, second = curve["rounds"]
    assert first["test"]["forces"]["rmse"] == 0.05 and first["new_labels"]["forces"] == 0.4
    assert second == {"round": 2, "holdout": {"forces": 0.1}}
    outcomes = gather_label_outcomes(
        round_01_labels=orm.Dict({"counts": {"verified": 2, "moved": 1}, "total": 3, "labels": {}}),
        round_02_labels=orm.Dict({"counts": {"verified": 1}, "total": 1, "labels": {}}),
    )
    assert outcomes["counts"] == {"verified": 3, "moved": 1} and outcomes["total"] == 4
