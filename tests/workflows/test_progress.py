"""What a running study is said to do, on a tree of processes made by hand."""

import io

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from rich.console import Console

from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.pattern_progress import snapshot as pattern_snapshot
from leopold_workflows.process_tree import descendants, inputs, outputs
from leopold_workflows.progress import snapshot

ERRORS = {"test": {"forces": {"rmse": 0.05}, "occupations": {"rmse": 0.01}, "carrier_site_accuracy": 0.98}}


@pytest.fixture
def process(aiida_localhost):
    """A process node, running where no status is given: `process(label, caller, status, link, given, made, job)`."""

    def make(label, caller=None, status=None, link="", given=None, made=None, job=False):
        node = orm.CalcJobNode(computer=aiida_localhost) if job else orm.WorkflowNode()
        node.set_process_label(label)
        node.set_process_state(ProcessState.RUNNING if status is None else ProcessState.FINISHED)
        if status is not None:
            node.set_exit_status(status)
        if caller is not None:
            kind = LinkType.CALL_CALC if job else LinkType.CALL_WORK
            node.base.links.add_incoming(caller, kind, link or f"{label}_{caller.pk}")
        for name, data in (given or {}).items():
            node.base.links.add_incoming(data.store(), LinkType.INPUT_CALC if job else LinkType.INPUT_WORK, name)
        node.store()
        for name, data in (made or {}).items():
            data.base.links.add_incoming(node, LinkType.CREATE, name)
            data.store()
        return node

    return make


@pytest.fixture
def study(process, make_frames):
    """A study in its third round: trained in two of them, now exploring, two labels answered and one under way."""
    top = process("PolaronDynamicsWorkChain")
    seed = process("SeedWorkChain", top, 0)
    process("LeopoldVaspCalculation", seed, 0, made={"frames": FrameSetData.from_frames(make_frames(2))}, job=True)
    learn = process("LearnWorkChain", top, given={"settings": orm.Dict({"max_rounds": 5, "max_labels": 96})})
    for number, n_frames in ((1, 2), (2, 3)):
        base = process("TrainBaseWorkChain", learn, 0, link=f"round_{number:02d}_train")
        frames = FrameSetData.from_frames(make_frames(n_frames, seed=number))
        results = orm.Dict({"errors": ERRORS})
        process("TrainCalculation", base, 0, given={"frames": frames}, made={"results": results}, job=True)
    labels = process("LabelFramesWorkChain", learn, 0, link="round_02_label")
    for status in (0, 502, None):
        process("LabelWorkChain", labels, status, link=f"label_{status}")
    explore = process("ExploreWorkChain", learn, link="round_03_explore")
    process("MDCalculation", process("MDBaseWorkChain", explore), job=True)
    process("LabelWorkChain", process("PolaronDynamicsWorkChain"), 0)  # of another study
    return top


def test_the_tree_is_every_process_once_below_its_caller(study):
    found = descendants(study)
    assert len(found) == len(study.called_descendants) == 14
    place = {p.pk: k for k, p in enumerate(found)}
    for node in study.called_descendants:
        told = found[place[node.pk]]
        assert (told.label, told.is_terminated, told.is_finished_ok, told.is_job) == (
            node.process_label, node.is_terminated, node.is_finished_ok, isinstance(node, orm.CalcJobNode)
        )  # fmt: skip
        assert node.caller.pk == study.pk or place[node.caller.pk] < place[node.pk]
    trainings = [p for p in found if p.label == "TrainCalculation"]
    assert inputs(trainings, FrameSetData, "attributes.n_frames", "frames") == [2, 3]
    assert outputs(trainings, orm.Dict, "attributes.errors", "results") == [ERRORS, ERRORS]
    assert outputs([], orm.Dict, "id") == []


def test_a_snapshot_tells_stage_round_frames_errors_and_labels(study):
    told = snapshot(study)
    assert told.stage == "explore: machine-learned dynamics"
    assert (told.round, told.frames, told.state) == (3, 3, "running")
    assert told.rounds == [ERRORS["test"]] * 2 and told.labels == {"verified": 1, "moved": 1, "running": 1}
    assert told.jobs == {"LeopoldVaspCalculation": 1, "TrainCalculation": 2}
    assert len(told.running) == 1 and told.running[0].startswith("MDCalculation")
    assert 0 < told.fraction < 1
    assert "round 3 | 3 frames | forces 50 meV/A, carrier site 98.0 %" in told.line()
    assert told.sources == {"fpmd": 3}
    assert told.budget == {"rounds": (3, 5), "labels": (3, 96), "node-hours": (0.0, None)} and told.failing == []


def seen_on_a_terminal(panel) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(panel)
    return console.file.getvalue()


def test_the_panel_tells_what_is_spent_what_is_lacking_and_what_was_never_seen(study, process):
    """As the round before assessed it: node-hours, criteria not met, classes without a hop."""
    criteria = [{"name": "node_hours", "value": 2.5}]
    process("assess", study, 0, made={"result": orm.Dict({"criteria": criteria, "failing": ["hops"]})}, job=True)
    classes = [{"name": "O-O 2.96 A <110> x12", "hops": 7, "verified_labels": 2}, {"name": "Ti-Ti 3.0 A [001] x2"}]
    classes += [{"name": f"far {k}"} for k in range(6)]
    catalogue = PathwaySetData.from_catalogue({"pathways": classes})
    process("catalogue_of", study, 0, made={"result": catalogue}, job=True)
    told = snapshot(study)
    assert told.budget["node-hours"] == (2.5, None) and told.failing == ["hops"]
    shown = seen_on_a_terminal(told.panel(elapsed=600.0))
    for words in (
        "3   3 fpmd", "3 of 5 rounds  3 of 96 labels  2.5 node-hours", "not met  hops",
        "not seen: Ti-Ti 3.0 A [001] x2, far 0, far 1, far 2 and 3 more", "10.0 min", "min left",
    ):  # fmt: skip
        assert words in shown, shown
    assert "\x1b" not in shown, "colours are for terminals"


def test_before_the_first_training_frames_are_those_of_the_seed(process, make_frames):
    top = process("PolaronDynamicsWorkChain")
    seed = process("SeedWorkChain", top)
    process("LeopoldVaspCalculation", seed, 0, made={"frames": FrameSetData.from_frames(make_frames(2))}, job=True)
    told = snapshot(top)
    assert (told.stage, told.round, told.frames) == ("seed: localise the carrier", 0, 2)


def test_between_two_stages_the_last_and_the_next_are_told(process, make_frames):
    """Each stage of a study ends before the one after it is submitted."""
    top = process("PolaronDynamicsWorkChain")
    assert snapshot(top).stage == "nothing done yet; next: seed"
    given = process("PolaronDynamicsWorkChain", given={"frames": FrameSetData.from_frames(make_frames(2))})
    assert snapshot(given).stage == "nothing done yet; next: learn"
    process("FPMDWorkChain", process("SeedWorkChain", top, 0, link="seed"), 0)
    assert snapshot(top).stage == "seed done; next: learn"
    learn = process("LearnWorkChain", top, link="learn")
    assert snapshot(top).stage == "seed done; next: learn"
    for label, link, status, told in (
        ("TrainBaseWorkChain", "train", 0, "train done; next: explore"),
        ("ExploreWorkChain", "explore", 510, "explore ended with 510; next: label, unless nothing is new"),
        ("EvaluateCalculation", "holdout", 0, "explore ended with 510; next: label, unless nothing is new"),
        ("LabelFramesWorkChain", "label", 0, "label done; next: evaluate, then train"),
        ("EvaluateCalculation", "new_labels", 0, "evaluate done; next: train"),
    ):
        process(label, learn, status, link=f"round_01_{link}", job=label.endswith("Calculation"))
        assert snapshot(top).stage == told
    learn.set_process_state(ProcessState.FINISHED)
    learn.set_exit_status(601)
    assert snapshot(top).stage == "learn ended with 601; next: transport"
    process("TransportWorkChain", top, 0, link="transport")
    assert snapshot(top).stage == "transport done; next: results"
    top.set_process_state(ProcessState.FINISHED)
    top.set_exit_status(601)
    assert snapshot(top).stage == "finished [601]"


def test_the_same_of_patterns(process):
    top = process("PatternsWorkChain")
    assert pattern_snapshot(top).stage == "nothing done yet; next: learn"
    learn = process("LearnPatternsWorkChain", top)
    assert pattern_snapshot(top).stage == "nothing done yet; next: label"
    process("LabelPatternsWorkChain", learn, 0)
    assert pattern_snapshot(top).stage == "label done; next: train"
    base = process("TrainPatternsBaseWorkChain", learn)
    training = process("PatternTrainCalculation", base, job=True)
    assert pattern_snapshot(top).stage == "train: fit the networks"
    training.set_process_state(ProcessState.EXCEPTED)
    assert pattern_snapshot(top).stage == "train excepted; next: suggest, unless it has settled"
