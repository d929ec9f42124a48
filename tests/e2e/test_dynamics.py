"""A whole study in this process: a crystal goes in, a mobility comes out. Tiny network, short runs, the VASP stand-in.

Numbers mean nothing here; that every stage runs on the outputs of the one before, and that nothing is lost, does.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida.orm import CalcJobNode
from aiida.plugins import WorkflowFactory
from aiida.tools.archive import create_archive

from leopold_model.tracks import read_track
from leopold_workflows import queries
from tests.called import called
from tests.e2e.answers import answers
from tests.e2e.tiny import TINY


@pytest.fixture(scope="module")
def builder(aiida_profile, installed):
    """Inputs of the study; called again, equal inputs."""

    def make():
        return WorkflowFactory("leopold.dynamics").get_builder_from_protocol(
            installed["vasp"], installed["leopold"], material="mgo", protocol="fast", overrides=TINY
        )

    return make


@pytest.fixture(scope="module")
def study(builder):
    """One PolaronDynamicsWorkChain, run to its end, whatever that is."""
    return run_get_node(builder()).node


def test_study_ends_with_every_output(study):
    assert study.exit_status in (0, 601, 602, 603), study.exit_message
    wanted = {"frames", "model", "catalogue", "convergence", "learning_curve", "label_outcomes", "transport"}
    assert wanted <= set(study.outputs)
    learning = next(n for n in study.called if n.process_label == "LearnWorkChain")
    assert study.outputs.convergence["converged"] == learning.is_finished_ok
    assert {"frames", "validation", "starts", "structure", "template"} <= set(study.outputs.seed)


def test_hop_frames_were_labelled_and_learned(study):
    outcomes = study.outputs.label_outcomes
    assert outcomes["total"] == sum(outcomes["counts"].values()) >= 3
    assert outcomes["counts"]["verified"] == len(study.outputs.labels)
    first, second = queries.trainings(study.outputs.model)[:2]
    assert second.inputs.initial_model.uuid == first.outputs.model.uuid
    added = {f.label for f in second.inputs.frames.get_frames()} - {f.label for f in first.inputs.frames.get_frames()}
    asked = {f.id for f in study.outputs.selected.get_frames()}
    assert added and added <= asked
    # a study that ran out of rounds may hold frames its model was not trained on yet
    trained_on = {f.id for f in queries.training_frames(study.outputs.model).get_frames()}
    assert trained_on <= {f.id for f in study.outputs.frames.get_frames()}


def test_labels_are_of_the_structures_that_were_asked(study):
    pairs = queries.labelled_hops(study)
    assert len(pairs) == study.outputs.label_outcomes["counts"]["verified"] > 0
    for asked, label in pairs:
        moved = (asked.positions - label.positions) @ np.linalg.inv(label.cell)
        assert np.abs((moved - np.rint(moved)) @ label.cell).max() < 1e-4
        assert label.carrier_sites == asked.carrier_sites == label.requested_sites
        assert label.pathway == asked.pathway and label.labelled and label.source == "label"
    imposed = [n.inputs.occmatrix for n in study.called_descendants if "occmatrix" in n.inputs]
    of_labels = [node.description for node in imposed if node.creator.process_label == "label_request"]
    assert of_labels and all("harvested" in description for description in of_labels)
    missed = queries.failed_labels(study)
    assert len(missed) + len(pairs) == study.outputs.label_outcomes["total"]
    assert {m["outcome"] for m in missed} <= {"moved", "delocalised", "wrong_orbital", "not_converged", "failed"}


def test_production_was_prolonged_and_tells_what_it_lacks(study):
    (production,) = (n for n in study.called if n.process_label == "TransportWorkChain")
    assert production.exit_status == 602 and "10000 wanted" in production.exit_message
    first, second = called(production, "ExploreWorkChain")
    assert second.inputs.dynamics.md.restart_folder.uuid == first.outputs.remote_folder.uuid
    whole, begun = (read(n.outputs.track) for n in (second, first))
    for replica, before in zip(whole.replicas, begun.replicas, strict=True):
        if before.status == "finished":
            assert len(before) == 500 < len(replica)
        np.testing.assert_array_equal(replica.sites[: len(before)], before.sites)


def read(track):
    with track.as_path() as path:
        return read_track(path)


def test_catalogue_and_criteria_agree(study):
    last = study.outputs.convergence["iterations"][-1]
    seen = {p["name"]: p for p in study.outputs.catalogue.pathways if p["hops"]}
    assert set(last["seen"]) == set(seen)
    table = {c["name"]: c for c in last["criteria"]}
    assert table["hops"]["value"] == sum(p["hops"] for p in seen.values())
    assert table["labels_per_class"]["value"] == min(p["verified_labels"] for p in seen.values())
    assert len(queries.errors_by_round(study)) == len(study.outputs.convergence["iterations"])


def test_provenance_reaches_from_the_mobility_to_every_vasp_run(study):
    runs = {run.pk for run in queries.vasp_runs(study.outputs.transport)}
    all_runs = {n.pk for n in study.called_descendants if n.process_label == "LeopoldVaspCalculation"}
    (seeding,) = called(study, "SeedWorkChain")
    seed = {n.pk for n in seeding.called_descendants if n.process_label == "LeopoldVaspCalculation"}
    labels = all_runs - seed
    # those of labels only as far as a model was trained on them
    assert seed <= runs <= all_runs and runs & labels
    assert study.pk in {s.pk for s in queries.studies_with_model(study.outputs.model)}
    names = {c.process_label for c in queries.functions_between(study.outputs.transport)}
    assert {"thin_runs", "merge_frames", "catalogue_of", "transport_of"} <= names


@pytest.fixture(scope="module")
def archive(study, tmp_path_factory):
    """The study as a file that may be given away."""
    path = tmp_path_factory.mktemp("archive") / "study.aiida"
    create_archive([study], filename=path)
    return path


def test_an_archive_answers_the_same_in_another_profile(study, archive, tmp_path):
    environment = {**os.environ, "AIIDA_PATH": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    (tmp_path / ".aiida").mkdir()

    def call(*command):
        done = subprocess.run([sys.executable, *map(str, command)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    verdi = Path(sys.executable).parent / "verdi"
    call(verdi, "profile", "setup", "core.sqlite_dos", "--non-interactive", "--profile-name=other", "--set-as-default",
         "--email=other@localhost", "--first-name=A", "--last-name=B", "--institution=C")  # fmt: skip
    call(verdi, "archive", "import", archive)
    assert json.loads(call("-m", "tests.e2e.answers", study.uuid).splitlines()[-1]) == answers(study.uuid)


def test_no_licensed_file_leaves_with_a_study(archive):
    with zipfile.ZipFile(archive) as contents:
        found = {name: contents.read(name) for name in contents.namelist()}
    # OUTCAR repeats the titles of POTCARs; this line closes the header of every one of them and stands nowhere else
    assert not [name for name, content in found.items() if b"END of PSCTR" in content]
    assert any(b"OCCEXT" in content for content in found.values())  # what was looked through holds the inputs


@pytest.mark.slow  # `make test-cluster` does the same
def test_a_relaunch_recomputes_nothing(study, builder):
    again = builder()
    again.frames = study.outputs.seed.frames
    again.test, again.starts = study.outputs.seed.validation, study.outputs.seed.starts
    again.template = study.outputs.seed.template
    with enable_caching(identifier="aiida.calculations:leopold.*"):
        node = run_get_node(again).node
    assert node.exit_status == study.exit_status
    jobs = [n for n in node.called_descendants if isinstance(n, CalcJobNode)]
    fresh = [f"{j.process_label}<{j.pk}>" for j in jobs if not j.base.caching.is_created_from_cache]
    assert jobs and not fresh
    assert node.outputs.model.content == study.outputs.model.content
    assert node.outputs.transport.get_dict() == study.outputs.transport.get_dict()
