"""Configurations of defects and carriers to the reference and back: labels are what was reached."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from leopold_model.frames import Frame
from leopold_model.patterns.composition import random_configuration
from leopold_model.patterns.structures import to_structure
from leopold_workflows.calculations import functions_patterns as f
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp.adapter import lower
from leopold_workflows.workchains.patterns import PatternsWorkChain
from leopold_workflows.workchains.patterns_label import LabelPatternsWorkChain


@pytest.fixture
def study(standin, leopold_code):
    """Inputs of a study of the thin slab."""
    return PatternsWorkChain.get_builder_from_protocol(standin, leopold_code, material="tio2_110_thin", protocol="fast")


def given(study):
    return study.learn.lattice, study.learn.supercell


@pytest.fixture
def cell(study):
    return f.read_lattice(study.learn.lattice).supercell("4x2")


@pytest.fixture
def subsurface(cell):
    """Two vacancies far apart and four carriers below, one to a row site: the stand-in keeps them there."""
    row = np.zeros(cell.n_sites, dtype=np.int8)
    code = cell.lattice.code
    row[np.flatnonzero(cell.labels == "Obr")[[0, 5]]] = code("VO")
    row[np.flatnonzero(cell.labels == "S1A")[[0, 2, 4, 6]]] = code("polaron")
    return row


def rows(*configurations, **more):
    return orm.ArrayData({"occupations": np.array(configurations), **more})


def test_one_configuration_in_three_steps(study):
    """In half the supercell of the others: the steps are the same."""
    cell = f.read_lattice(study.learn.lattice).supercell("2x2")
    subsurface = np.zeros(cell.n_sites, dtype=np.int8)
    subsurface[np.flatnonzero(cell.labels == "Obr")[0]] = cell.lattice.code("VO")
    subsurface[np.flatnonzero(cell.labels == "S1A")[[0, 2]]] = cell.lattice.code("polaron")
    inputs = study.learn.label._inputs(prune=True)
    inputs["relaxation_incar"] = orm.Dict({"nsw": 40})
    outputs, node = run_get_node(
        LabelPatternsWorkChain, lattice=study.learn.lattice, supercell=orm.Str("2x2"),
        configurations=rows(subsurface), **inputs,
    )  # fmt: skip
    assert node.is_finished_ok, node.exit_message
    jobs = [n for n in node.called_descendants if n.process_label == "LeopoldVaspCalculation"]
    first, imposed, free = sorted(jobs, key=lambda n: n.pk)
    incars = [lower(job.inputs.parameters.get_dict()) for job in (first, imposed, free)]
    assert [i["ispin"] for i in incars] == [1, 2, 2] and [i.get("occext") for i in incars] == [None, 1, None]
    # the vacancies' electrons are in the cell from the beginning, delocalised
    assert len({i["nelect"] for i in incars}) == 1 and incars[0]["nelect"] == 24 * 10 + 47 * 6
    assert first.inputs.carrier["n"] == 2 and "carrier" not in first.outputs
    # carriers go into the relaxed slab, and the third step starts from structure and orbitals of the second
    relaxed = first.outputs.frames.get_frames()[-1].positions
    np.testing.assert_allclose(imposed.inputs.structure.get_ase().positions, relaxed, atol=1e-6)
    assert free.inputs.restart_folder.uuid == imposed.outputs.remote_folder.uuid
    assert free.inputs.structure.uuid == imposed.outputs.structure.uuid
    # the bottom layer stays in all of them
    atoms = to_structure(cell, cell.aligned(subsurface)).atoms
    held = atoms.constraints[0].index
    for job in (first, imposed, free):
        moved = job.outputs.structure.get_ase().positions - job.inputs.structure.get_ase().positions
        assert np.abs(moved[held]).max() < 1e-6 < 0.01 < np.abs(moved).max()

    (outcome,) = outputs["outcomes"]["labels"].values()
    assert outcome["outcome"] in ("verified", "moved")
    assert outcome["origin"] == free.outputs.frames.uuid
    labels = outputs["labels"].get_labels()
    assert len(labels) == 2 and labels.keys[0] == outcome["reached_key"]
    total = free.outputs.frames.get_frames()[-1].energy
    assert labels.energies[0] == pytest.approx(total - outputs["reference"].value)
    assert labels.energies[1] == 0 and f.carriers_in(cell, labels.groups[0].occupations[1]) == 0
    (pattern,) = outputs["delocalised"].get_frames()
    assert pattern.label == f.pattern_key(cell, subsurface) and outputs["reference"].value == pattern.energy


# ------------------------------------------------------------------------------------- what is a label, without jobs


def released(cell, occupations, sites=None, energy=-10.0, force=0.01, moment=0.9, **fields):
    """The last frame of a release whose carriers are on `sites` (lattice sites; default: where asked)."""
    wanted = to_structure(cell, occupations)
    on = wanted.carrier_sites if sites is None else [int(wanted.atom_of_site[s]) for s in sites]
    moments = np.full(len(wanted.atoms), 0.01)
    moments[list(on)] = moment
    forces = np.full((len(moments), 3), force / np.sqrt(3))
    forces[wanted.atoms.constraints[0].index] = 5.0  # on held atoms they mean nothing
    frame = Frame(
        wanted.atoms.numbers, wanted.atoms.positions, wanted.atoms.cell.array, energy=energy, forces=forces,
        moments=moments, carrier_sites=tuple(sorted(on)),
    )  # fmt: skip
    return FrameSetData.from_frames([replace(frame, **fields)])


def gathered(study, cell, configuration, relaxation, outcome="verified", **arrays):
    bare = to_structure(cell, cell.without_carriers(configuration)).atoms
    frame = Frame(bare.numbers, bare.positions, bare.cell.array, energy=-9.0, label="p")
    (key,) = f.requests(cell, rows(configuration))
    verdict = orm.Dict({"outcome": outcome, "requested": [0, 1, 2, 3]})
    made = f.gather_labels(
        *given(study), rows(configuration, **arrays), FrameSetData.from_frames([frame]), orm.Float(-9.0),
        orm.Float(0.05), orm.Dict({}), **{f"relaxation_{key}": relaxation, f"verdict_{key}": verdict},
    )  # fmt: skip
    return made["outcomes"]["labels"][key], made["labels"].get_labels()


def test_a_label_is_kept_for_the_configuration_that_was_reached(study, cell, subsurface):
    aligned = cell.aligned(subsurface)
    asked, labels = gathered(study, cell, subsurface, released(cell, aligned), energies=np.array([-0.9]), spreads=[0.1])
    assert asked["outcome"] == "verified" and asked["reached_key"] == cell.key(subsurface)
    assert (asked["energy_eV"], asked["predicted_eV"], asked["spread_eV"]) == (-1.0, -0.9, 0.1)
    assert sorted(labels.energies) == [-1.0, 0.0]

    sites = np.flatnonzero(aligned == cell.lattice.code("polaron"))
    free = np.flatnonzero((cell.labels == "S1B") & (aligned == 0))[0]
    moved, labels = gathered(study, cell, subsurface, released(cell, aligned, [*sites[:3], free]), "moved")
    assert moved["outcome"] == "moved" and moved["reached_key"] != cell.key(subsurface)
    assert moved["reached_key"] in labels.keys and cell.key(subsurface) not in labels.keys


@pytest.mark.parametrize(
    ("change", "verdict", "outcome"),
    [
        ({"force": 0.2}, "verified", "not_relaxed"),
        ({"moment": 0.45}, "moved", "delocalised"),
        ({}, "delocalised", "delocalised"),
        ({}, "other_spin", "other_spin"),
        ({}, "not_converged", "not_converged"),
    ],
)
def test_what_is_no_label_is_told_and_left_out(study, cell, subsurface, change, verdict, outcome):
    found, labels = gathered(study, cell, subsurface, released(cell, cell.aligned(subsurface), **change), verdict)
    assert found["outcome"] == outcome and "energy_eV" not in found
    assert len(labels) == 1  # that of the pattern alone


def test_a_carrier_where_the_lattice_has_no_site_is_told_as_such(study, cell, subsurface):
    aligned = cell.aligned(subsurface)
    relaxation = released(cell, aligned).get_frames()[-1]
    moments = np.where(relaxation.moments > 0.5, 0.01, relaxation.moments)
    deep = np.flatnonzero((relaxation.numbers == 22) & (relaxation.positions[:, 2] < 8.0))[:4]
    moments[deep] = 0.9
    found, _ = gathered(study, cell, subsurface, FrameSetData.from_frames([replace(relaxation, moments=moments)]))
    assert found["outcome"] == "off_lattice" and "has no label" in found["why"]


def test_equivalent_labels_keep_the_lowest(study, cell, subsurface):
    aligned = cell.aligned(subsurface)
    sets = [gathered(study, cell, subsurface, released(cell, aligned, energy=e))[1] for e in (-10.0, -10.5)]
    nodes = [f._labels_node(labels) for labels in sets]
    merged = f.merge_labels(a=nodes[0], b=nodes[1]).get_labels()
    assert sorted(merged.energies) == [-1.5, 0.0]


def test_structures_of_one_pattern_are_the_same_atoms(study, cell):
    """Two configurations whose vacancies are images of each other go into the same relaxed slab."""
    rng = np.random.default_rng(4)
    one = random_configuration(cell, f.read_lattice(study.learn.lattice).composition("4x2"), rng)
    other = cell.images(one)[5].copy()
    carriers = np.flatnonzero(other == cell.lattice.code("polaron"))
    free = np.flatnonzero((other == 0) & (cell.labels == "S1A"))
    other[carriers[0]], other[free[0]] = 0, cell.lattice.code("polaron")
    wanted = f.requests(cell, rows(one, other))
    assert len(wanted) == 2
    bare = [to_structure(cell, cell.without_carriers(row)).atoms.positions for row in wanted.values()]
    np.testing.assert_array_equal(*bare)


def test_first_configurations_are_different_and_recorded_by_their_seed(study, cell):
    settings = orm.Dict({"n": 12, "charge_share": 0.5})
    first, again, other = (
        f.initial_configurations(*given(study), study.learn.counts, settings, orm.Int(seed)).get_array("occupations")
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({cell.key(row) for row in first}) == 12
    energies = f.point_charge_energies(cell, first)
    assert energies[:6].max() < np.median(energies[6:])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"configurations": {"occupations": np.zeros((0, 40), dtype=np.int8)}}, "none; give at least one"),
        ({"configurations": {"occupations": np.zeros((1, 41), dtype=np.int8)}}, "configurations"),
        ({"supercell": "4y2"}, "give repeats"),
        ({"lattice": "name: 3"}, "lattice"),
    ],
)
def test_bad_input_is_refused_before_any_job(study, change, words):
    import io

    from aiida.engine.utils import instantiate_process
    from aiida.manage import get_manager

    inputs = {
        "lattice": study.learn.lattice,
        "supercell": study.learn.supercell,
        **study.learn.label._inputs(prune=True),
    }
    inputs["configurations"] = orm.ArrayData(change.get("configurations", {"occupations": np.zeros((1, 40), np.int8)}))
    if "supercell" in change:
        inputs["supercell"] = orm.Str(change["supercell"])
    if "lattice" in change:
        inputs["lattice"] = orm.SinglefileData(io.StringIO(change["lattice"]), filename="lattice.yaml")
    with pytest.raises(ValueError, match=words):
        instantiate_process(get_manager().get_runner(), LabelPatternsWorkChain, **inputs)
