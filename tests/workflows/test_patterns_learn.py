"""The decisions of LearnPatternsWorkChain, taken one by one with stand-ins for the processes it would call."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from leopold_model.frames import Frame
from leopold_model.patterns.composition import random_configuration
from leopold_model.patterns.labels import Labels, LabelSet
from leopold_model.patterns.lattice_file import load_lattice
from leopold_workflows.calculations import functions_patterns as f
from leopold_workflows.calculations.functions_patterns_learn import assess_patterns, gather_pattern_outcomes, tried_keys
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.patterns import PatternLabelsData, PatternModelData
from leopold_workflows.workchains.patterns import PatternsWorkChain
from tests.patterns.random_models import random_model
from tests.workflows.processes import node

THIN = load_lattice("tio2_110_thin")
CELL = THIN.supercell("4x2")
REPORT = {part: {"mae": 1.0} for part in ("train", "validation", "test")} | {
    "labels": {"train": 3}, "pair_expansion": {"test": {"mae": 2.0}},
}  # fmt: skip


@pytest.fixture
def model(tmp_path):
    random_model(THIN).save(tmp_path / "patterns.npz")
    return PatternModelData(tmp_path / "patterns.npz").store()


@pytest.fixture
def learn(aiida_localhost, leopold_code):
    """A LearnPatternsWorkChain that has been set up, with `calls` in place of submissions: `learn(**settings)`."""
    vasp = orm.InstalledCode(
        label="vasp", computer=aiida_localhost, filepath_executable="/nowhere/leopold-vasp-standin"
    ).store()

    def make(inputs=(), **settings):
        builder = PatternsWorkChain.get_builder_from_protocol(
            vasp, leopold_code, material="tio2_110_thin", protocol="fast",
            overrides={"patterns": {"learn": {"initial": {"n": 6}, "max_labels": 10, **settings}}},
        ).learn  # fmt: skip
        from leopold_workflows.workchains.patterns_learn import LearnPatternsWorkChain

        given = {**builder._inputs(prune=True), **dict(inputs)}
        process = instantiate_process(get_manager().get_runner(), LearnPatternsWorkChain, **given)
        process.calls = []
        process.submit = lambda cls, **inputs: process.calls.append((cls.__name__, inputs)) or node()
        process.to_context = lambda **nodes: process.ctx.update(nodes)
        process.setup()
        return process

    return make


def labelled(configurations, energies, outcome="verified", predicted=None):
    """Outputs of a labelling in which each configuration came to this energy (eV), or to nothing (None)."""
    records, rows, kept = {}, [], []
    for k, (row, energy) in enumerate(zip(configurations, energies, strict=True)):
        record = {"outcome": outcome if energy is not None else "failed", "predicted_eV": predicted and predicted[k]}
        if energy is not None:
            record |= {"energy_eV": energy, "reached": row.tolist(), "reached_key": CELL.key(row)}
            rows.append(row)
            kept.append(energy)
        records[CELL.key(row)] = record
    labels = f._labels_node(LabelSet(THIN, (Labels(CELL, np.array(rows), np.array(kept)),)))
    answered = sum(e is not None for e in energies)
    counts = {"verified": answered, "moved": 0, "failed": len(records) - answered, "not_converged": 0}
    outcomes = orm.Dict({"counts": counts, "total": len(records), "labels": records})
    frame = Frame(np.array([22]), np.zeros((1, 3)), 4 * np.eye(3), energy=-9.0, label="p")
    return {
        "labels": labels,
        "outcomes": outcomes,
        "delocalised": FrameSetData.from_frames([frame]),
        "reference": orm.Float(-9.0),
    }


def a_round(process, energies, model, rows=None, predicted=None, status=0):
    """One round up to its training; `energies` of the configurations in the order they were asked for."""
    assert process.should_run_round()
    process.begin_round()
    if process.has_model():
        process.run_suggestion()
        found = orm.ArrayData({"occupations": rows, "energies": np.zeros(len(rows)), "spreads": np.zeros(len(rows))})
        process.ctx.suggestion = node(configurations=found)
        process.inspect_suggestion()
    else:
        process.first_configurations()
    if process.has_configurations():
        process.run_labelling()
        asked = process.ctx.configurations.get_array("occupations")
        process.ctx.labelling = node(status, **labelled(asked, energies, predicted=predicted))
        failure = process.inspect_labelling()
        if failure is not None:
            return failure
    process.check_convergence()
    if process.has_configurations():
        train(process, model)
    return None


def train(process, model, status=0):
    """A training that gives `model`."""
    process.run_training()
    process.ctx.training = node(status, model=model, results=orm.Dict(REPORT))
    return process.inspect_training()


def random_rows(n, seed):
    rng = np.random.default_rng(seed)
    return np.array([random_configuration(CELL, THIN.composition("4x2"), rng) for _ in range(n)])


def test_rounds_until_nothing_lower_is_confirmed_and_the_model_is_right(learn, model):
    process = learn()
    a_round(process, [-1.0, -1.2, -0.8, None, -0.9, -1.1], model)
    assert [name for name, _ in process.calls] == ["LabelPatternsWorkChain", "TrainPatternsBaseWorkChain"]
    assert process.ctx.assessment["best_energy_eV"] == -1.2 and process.ctx.state == "continue"

    rows = random_rows(2, 7)
    a_round(process, [-1.21, -1.0], model, rows, predicted=[-1.20, -1.03])
    name, inputs = process.calls[2]
    # nothing that was tried is asked for again, the failed one neither; no more than the budget has left
    assert name == "SuggestBaseWorkChain" and inputs["search"]["number"].value == 4
    first = process.ctx.records.label_outcomes["round_01"]["labels"]
    assert set(inputs["search"]["known"].get_list()) == set(first) and len(first) == 6
    told = process.ctx.assessment
    assert told["quiet"] == 1, "lower by no more than the tolerance is not lower"
    assert told["window_error_meV"] == pytest.approx(1e3 * (0.01 + 0.03) / 2 / 6)
    assert told["converged"] and not process.should_run_round()
    assert process.results() is None
    assert process.outputs["labels"].base.attributes.get("n_labels") == 7
    assert process.outputs["convergence"]["converged"]
    assert process.outputs["label_outcomes"]["counts"]["failed"] == 1
    assert [r["round"] for r in process.outputs["learning_curve"]["rounds"]] == [1, 2]


def test_a_lower_one_keeps_it_going_until_the_budget_is_out(learn, model):
    process = learn()
    a_round(process, [-1.0] * 6, model)
    a_round(process, [-1.5, -1.6, -1.1, -1.0], model, random_rows(4, 3), predicted=[-1.5, -1.6, -1.1, -1.0])
    assert process.ctx.assessment["quiet"] == 0 and process.ctx.state == "budget_exhausted"
    assert not process.should_run_round()
    ended = process.results()
    assert ended.status == 603 and "10 labels" in ended.message and "quiet rounds" in ended.message


def test_a_model_that_is_wrong_where_it_is_low_is_not_settled(learn, model):
    process = learn(max_rounds=2)
    a_round(process, [-1.0] * 6, model)
    a_round(process, [-0.5, -0.4], model, random_rows(2, 3), predicted=[-1.9, -1.8])
    ended = process.results()
    assert ended.status == 601 and "error on suggested labels" in ended.message and "raise max_rounds" in ended.message


def test_nothing_new_to_suggest_counts_as_a_quiet_round(learn, model):
    process = learn(criteria={"quiet_rounds": 2})
    a_round(process, [-1.0] * 6, model)
    a_round(process, [-0.9], model, random_rows(1, 5), predicted=[-0.9])
    a_round(process, [], model, np.zeros((0, CELL.n_sites), np.int8))
    assert process.ctx.assessment["quiet"] == 2 and process.ctx.state == "converged"
    assert len(process.ctx.records.label_outcomes) == 2


def test_too_few_answers_end_with_what_there_is(learn, model):
    process = learn()
    ended = a_round(process, [-1.0, None, None, None, None, None], model, status=411)
    assert ended.status == 411 and process.outputs["labels"].base.attributes.get("n_labels") == 1


def test_labels_of_an_earlier_run_are_trained_on_first(learn, model):
    before = labelled(random_rows(5, 1), [-1.0, -1.1, -1.2, -1.3, -1.4])
    given = {name: before[name] for name in ("labels", "delocalised", "reference")}
    process = learn(given)
    assert process.has_labels()
    train(process, model)
    assert [name for name, _ in process.calls] == ["TrainPatternsBaseWorkChain"]
    a_round(process, [-1.0], model, random_rows(1, 2), predicted=[-1.0])
    name, inputs = process.calls[1]
    assert name == "SuggestBaseWorkChain" and set(inputs["search"]["known"].get_list()) == set(
        before["labels"].get_labels().keys
    )
    assert process.calls[2][1]["reference"].value == -9.0
    process.results()
    assert [r["round"] for r in process.outputs["learning_curve"]["rounds"]] == [0, 1]


def test_labels_that_cannot_be_trained_on_end_it_before_vasp_runs(learn, model):
    before = labelled(random_rows(5, 1), [-1.0, -1.1, -1.2, -1.3, -1.4])
    process = learn({name: before[name] for name in ("labels", "delocalised", "reference")})
    ended = train(process, model, status=310)
    assert ended.status == 404 and "because" in ended.message
    assert [name for name, _ in process.calls] == ["TrainPatternsBaseWorkChain"]


@pytest.mark.parametrize(
    ("settings", "inputs", "words"),
    [
        ({"per_rounds": 3}, {}, "did you mean 'per_round'"),
        ({}, {"counts": {"VO": 2, "polaron": 3}}, "need 4 polaron"),
        ({}, {"supercell": "2x1", "counts": {"VO": 1, "polaron": 2}}, "too small"),
        ({}, {"reference": -9.0}, "give both"),
    ],
)
def test_bad_input_is_refused_before_any_job(learn, settings, inputs, words):
    kinds = {"counts": orm.Dict, "supercell": orm.Str, "reference": orm.Float}
    with pytest.raises(ValueError, match=words):
        learn({name: kinds[name](value) for name, value in inputs.items()}, **settings)


def test_labels_without_a_carrier_are_no_best_configuration():
    labels = labelled(np.array([CELL.without_carriers(random_rows(1, 1)[0])]), [-5.0])["labels"]
    told = assess_patterns(labels, orm.Dict({}), orm.Int(1), orm.Dict({"labels": 1, "new": True}))
    assert told["best_energy_eV"] is None and not told["converged"]


def test_records_of_rounds(learn):
    rows = random_rows(3, 1)
    first, second = labelled(rows[:2], [-1.0, None])["outcomes"], labelled(rows[2:], [-2.0])["outcomes"]
    merged = gather_pattern_outcomes(round_01=first, round_02=second)
    assert merged["total"] == 3 and merged["counts"]["verified"] == 2 and merged["rounds"][1]["round"] == 2
    known = tried_keys(labelled(rows[:1], [-1.0])["labels"], round_01=first, round_02=second).get_list()
    assert sorted(known) == sorted(CELL.key(row) for row in rows)
    assert isinstance(labelled(rows[:1], [-1.0])["labels"], PatternLabelsData)
