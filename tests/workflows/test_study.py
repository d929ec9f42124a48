"""The whole study: which stages run on what, how it ends, and what is refused at launch."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm

from leopold_model.analysis.sites import Host
from leopold_model.frames import Frame
from leopold_model.vasp.template import Template
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.protocols import material
from leopold_workflows.vasp.study import supercell
from leopold_workflows.workchains.dynamics import PolaronDynamicsWorkChain
from leopold_workflows.workchains.label import label_settings
from tests.workflows.processes import node, start


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
        ({"learn": {"retraining": {"epoch": 3}}}, "retraining of leopold.train: unknown key 'epoch': did you mean"),
        ({"train": {"parameters": {"network": {"cutof": 4}}}}, "unknown key 'network.cutof': did you mean 'cutoff'"),
        ({"explore": {"parameters": {"replica": 2}}}, "unknown key 'replica': did you mean 'replicas'"),
        ({"vasp": {"options": {"queue": "long"}}}, "vasp.options: unknown key 'queue': did you mean 'queue_name'"),
        (
            {"train": {"options": {"queu_name": "gpu"}}},
            "train.options: unknown key 'queu_name': did you mean 'queue_name'",
        ),
        (
            {"explore": {"options": {"resources": {"num_machine": 2}}}},
            "explore.options.resources: unknown key 'num_machine': did you mean 'num_machines'",
        ),
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
