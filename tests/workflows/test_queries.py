"""Queries on graphs made by hand, and the command that asks them."""

import json
from dataclasses import replace

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.schedulers.datastructures import JobInfo
from click.testing import CliRunner

from leopold_workflows import queries
from leopold_workflows.cli import main
from leopold_workflows.data.frames import FrameSetData


def step(label, computer, *given):
    """A job that made a number out of `given`."""
    job = orm.CalcJobNode(computer=computer)
    job.set_process_label(label)
    for k, data in enumerate(given):
        job.base.links.add_incoming(data, LinkType.INPUT_CALC, f"given_{k}")
    job.store()
    made = orm.Int(0)
    made.base.links.add_incoming(job, LinkType.CREATE, "made")
    return made.store()


def test_data_that_part_and_are_merged_round_after_round_are_followed_once(aiida_localhost):
    """A study merges what it labelled with what it had, round after round: here 2^25 paths lead to the first run."""
    first = step("LeopoldVaspCalculation", aiida_localhost, orm.Int(1).store())
    a = b = first
    for _ in range(25):
        a, b = step("TrainCalculation", aiida_localhost, a, b), step("MDCalculation", aiida_localhost, a, b)
    stranger = step("TrainCalculation", aiida_localhost, first)
    assert [run.pk for run in queries.vasp_runs(a)] == [first.creator.pk]
    trained = queries.trainings(a)
    assert len(trained) == 25 and a.creator.pk == trained[-1].pk and stranger.creator.pk not in {n.pk for n in trained}
    assert [n.ctime for n in trained] == sorted(n.ctime for n in trained)
    assert queries.vasp_runs(orm.Int(3).store()) == []


@pytest.fixture
def show(monkeypatch):
    """`show("provenance", pk, ...)` in the profile of the test."""
    monkeypatch.setattr("aiida.load_profile", lambda *_: None)
    return lambda *arguments: CliRunner().invoke(main, ["show", *map(str, arguments)])


def test_provenance_leads_from_a_result_to_the_runs_and_back(aiida_localhost, show):
    runs = [step("LeopoldVaspCalculation", aiida_localhost, orm.Int(k).store()) for k in range(2)]
    model = step("TrainCalculation", aiida_localhost, *runs)
    result = step("MDCalculation", aiida_localhost, model)
    assert [p.pk for p in queries.made_by(result)] == [n.creator.pk for n in (*runs, model, result)]
    assert [p.pk for p in queries.made_with(runs[1])] == [n.creator.pk for n in (model, result)]
    assert queries.made_with(result) == []
    told = json.loads(show("provenance", model.pk, "--json").output)
    vasp, trained, moved = ([node.creator.pk for node in nodes] for nodes in (runs, [model], [result]))
    assert told["made_by"] == {"LeopoldVaspCalculation": vasp, "TrainCalculation": trained}
    assert told["made_with"] == {"MDCalculation": moved}
    words = show("provenance", model.pk).output
    assert "2  LeopoldVaspCalculation" in words and "1  MDCalculation" in words
    assert "went into: nothing" in show("provenance", result.pk).output


def test_provenance_of_a_workchain_is_that_of_what_it_returned(aiida_localhost, show, tmp_path):
    made = step("TrainCalculation", aiida_localhost, step("LeopoldVaspCalculation", aiida_localhost))
    study = orm.WorkChainNode()
    study.set_process_label("LearnWorkChain")
    study.store()
    made.base.links.add_incoming(study, LinkType.RETURN, "model")
    picture = tmp_path / "graph.png"
    told = json.loads(show("provenance", study.pk, "--json", "--picture", picture).output)
    assert set(told["made_by"]) == {"LeopoldVaspCalculation", "TrainCalculation"} and picture.stat().st_size > 0
    refused = show("provenance", made.pk, "--picture", picture)
    assert refused.exit_code == 2 and "--picture is of a WorkChain" in refused.output


def test_node_hours_by_pathway_are_those_of_the_jobs_of_its_labels(aiida_localhost, make_frames):
    """Two frames of one class on two nodes each, one frame of no hop: 2 x 2 x 0.5 h, and 0.25 h."""
    frames = [replace(f, pathway=name) for f, name in zip(make_frames(3), ("a", "a", ""), strict=True)]
    asked = FrameSetData.from_frames(frames).store()
    study, fan_out = orm.WorkChainNode().store(), orm.WorkChainNode()
    fan_out.set_process_label("LabelFramesWorkChain")
    fan_out.base.links.add_incoming(asked, LinkType.INPUT_WORK, "frames")
    fan_out.base.links.add_incoming(study, LinkType.CALL_WORK, "labels")
    fan_out.store()
    for frame, (nodes, seconds) in zip(frames, ((2, 1800), (2, 1800), (1, 900)), strict=True):
        label = orm.WorkChainNode()
        label.set_process_label("LabelWorkChain")
        label.base.links.add_incoming(orm.Str(frame.id).store(), LinkType.INPUT_WORK, "frame")
        label.base.links.add_incoming(fan_out, LinkType.CALL_WORK, f"label_{frame.id}")
        label.store()
        job = orm.CalcJobNode(computer=aiida_localhost)
        job.set_option("resources", {"num_machines": nodes, "num_mpiprocs_per_machine": 1})
        job.base.links.add_incoming(label, LinkType.CALL_CALC, "release")
        job.store()
        ended = JobInfo()
        ended.wallclock_time_seconds = seconds
        job.set_last_job_info(ended)
    assert queries.node_hours_by_pathway(study) == pytest.approx({"a": 2.0, "": 0.25})
    assert list(queries.node_hours_by_pathway(study)) == ["a", ""], "the dearest first"
    assert queries.node_hours(study) == pytest.approx(2.25)
