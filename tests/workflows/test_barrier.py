"""One hop by model and reference: with the reference's own surface for a model, the two must agree."""

import sys
from dataclasses import replace
from textwrap import dedent

import numpy as np
import pytest
from aiida import orm
from aiida.common.folders import SandboxFolder
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from leopold_model import barrier_command
from leopold_model.frames import read_frames
from leopold_model.standin.crystals import ideal_cell
from leopold_workflows.calculations.barrier import BarrierCalculation
from leopold_workflows.calculations.functions_barrier import hop_of_class, other_end, turned
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.workchains.barrier import BarrierWorkChain
from leopold_workflows.workchains.localise import LocaliseWorkChain
from tests.workflows.processes import node, start

NEAREST = "O-O 2.96 A <110> x12"
TEACHER = f"""\
    #!{sys.executable}
    import numpy as np
    from leopold_model import barrier_command
    from leopold_model.barrier import standin_surface
    from leopold_model.checkpoint import Model
    from leopold_model.cli import main
    from leopold_model.network import Spec

    spec = Spec(elements=(8, 12), cutoff=4.0, layers=1, scalars=2, vectors=1)
    header = {{"carrier": "hole", "n_carriers": 1}}
    barrier_command.load_model = lambda path: Model(spec, {{"embedding": np.zeros(1)}}, np.zeros(2), header)
    barrier_command.learned_surface = lambda atoms, calculator: standin_surface(atoms)
    main()
"""


@pytest.fixture
def teacher(aiida_localhost, aiida_code_installed, tmp_path):
    """`leopold` as a code whose model is the stand-in itself."""
    path = tmp_path / "leopold"
    path.write_text(dedent(TEACHER))
    path.chmod(0o755)
    return aiida_code_installed(
        default_calc_job_plugin="leopold.barrier.learned",
        computer=aiida_localhost,
        label="teacher",
        filepath_executable=str(path),
        prepend_text="export OMP_NUM_THREADS=1",
    )


@pytest.fixture
def build(standin, teacher, make_model):
    def make(code=teacher, model=None, overrides=None, **inputs):
        builder = BarrierWorkChain.get_builder_from_protocol(
            standin, code, model or make_model(), material="mgo", protocol="fast", overrides=overrides or {}, **inputs
        )
        return builder

    return make


def test_a_model_that_is_the_reference_agrees_with_it(build):
    """From the perfect crystal: localised, turned onto the other site, labelled on the nearer branch, and told to the
    model; its search for the minimum-energy path is broken off."""
    builder = build(
        pathway=NEAREST,
        overrides={
            "barrier": {"images": 3, "branches": "nearest", "steps": 1, "fmax": 1e-3},
            "seed": {"localisation": "distortion"},
            "label": {"localisation": "moment", "max_concurrent": 8},
        },
    )
    outputs, process = run_get_node(builder)
    assert process.exit_status == BarrierWorkChain.exit_codes.ERROR_PATH_NOT_CONVERGED.status == 604
    found = outputs["barrier"].get_dict()
    i, j = found["sites"]
    assert (found["pathway"], found["carrier"], found["species"]) == (NEAREST, "hole", "O")
    assert found["barrier_neb_eV"] is None and "after 1 steps" in found["neb_missing"]
    reference = found["reference"]
    # the stand-in's own barrier, known from tests/model/test_barrier.py
    for side in (found, reference):
        assert side["barrier_linear_eV"] == pytest.approx(0.189, abs=0.003)
        assert side["reaction_energy_eV"] == pytest.approx(0.0, abs=1e-4) and side["verdict"] == "adiabatic"
        assert side["crossing"]["s"] == pytest.approx(0.5, abs=1e-3)
        assert side["moments"][0][0][0] == pytest.approx(side["moments"][-1][1][1], abs=1e-3)
    assert found["deviation"]["n"] == 3
    assert found["deviation"]["energy_meV"]["largest"] < 0.01 and found["deviation"]["moment_muB"]["largest"] < 2e-4
    assert [e is None for e in reference["energy_j"]] == [True, False, False]
    assert outputs["path"].n_frames == outputs["labels"].n_frames == outputs["outcomes"]["total"] == 4
    assert {f.carrier_sites[0] for f in outputs["path"].get_frames()} == {i, j}
    # one relaxation served both ends
    assert sum(n.process_label == "LocaliseWorkChain" for n in process.called) == 1
    assert outputs["final"].creator.process_label == "other_end"


@pytest.fixture
def shape(build):
    """A process of the WorkChain, set up and with its ends given, that submits nothing."""
    host = orm.StructureData(ase=ideal_cell("mgo", (2, 2, 2))).store()
    process = start(build(sites=[32, 33], structure=host))
    process.ctx.initial = process.ctx.final = host
    return process


def test_every_half_that_fails_has_its_code_and_leaves_the_other(shape):
    shape.ctx.initial_run = node(501)
    assert shape.inspect_initial().status == 403 and "atom 32, exit status 501" in shape.inspect_initial().message
    shape.ctx.final_run = node(502)
    assert "atom 33, exit status 502" in shape.inspect_final().message

    shape.run_paths()
    (name, labels), (job, learned) = shape.calls
    assert (name, job) == ("LabelFramesWorkChain", "BarrierCalculation")
    assert labels["frames"].n_frames == 10 and learned["sites"].get_list() == [32, 33]
    empty = FrameSetData.from_frames([]).store()
    shape.ctx.labels = node(411, frames=empty, rejected=empty, outcomes=orm.Dict({}).store())
    shape.ctx.learned = node(520)
    shape.inspect_paths()
    missed = shape.results()
    assert missed.status == 404 and "the start of the path has no label" in missed.message
    found = shape.outputs["barrier"]
    assert found["reference"] is None and found["pathway"] == NEAREST and "energy_i" not in found.get_dict()


def test_a_model_without_a_barrier_leaves_the_reference(shape):
    shape.run_paths()
    answers = []
    for frame in shape.outputs["path"].get_frames():
        site = 32 if frame.step < 2 or (frame.step == 2 and frame.carrier_sites == (32,)) else 33
        moments = np.where(np.arange(len(frame)) == site, 0.7, 0.0)
        fields = {"energy": -((frame.step - 2.0) ** 2), "forces": np.zeros((64, 3)), "moments": moments}
        answers.append(replace(frame, **fields, label=frame.id))
    labels, none = (FrameSetData.from_frames(frames).store() for frames in (answers, []))
    shape.ctx.labels = node(0, frames=labels, rejected=none, outcomes=orm.Dict({}).store())
    shape.ctx.learned = node(520)
    shape.inspect_paths()
    missed, reference = shape.results(), shape.outputs["barrier"]["reference"]
    assert missed.status == 405 and "exit status 520" in missed.message
    assert reference["verdict"] == "diabatic" and reference["barrier_linear_eV"] == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"sites": [32, 32]}, r"sites = \[32, 32\]: give two different atoms"),
        ({"sites": [32, 64]}, r"sites = \[32, 64\]: the structure has atoms 0 to 63"),
        ({"sites": [0, 32]}, "Mg and O; a carrier hops between atoms of one element"),
        ({"sites": [0, 1]}, "localise: sites: atom 0 is Mg; choose one of"),
        ({}, "give either `sites`, the two atoms of the hop, or `pathway`"),
        ({"sites": [32, 33], "pathway": NEAREST}, "give either `sites`"),
        ({"pathway": "O-O 2.96 A <110> x4"}, r"no such class below .* there are O-O 2.96 A <110> x12"),
        ({"sites": [32, 33], "overrides": {"barrier": {"images": 2}}}, "images = 2: give at least 3"),
        ({"sites": [32, 33], "overrides": {"barrier": {"branches": "one"}}}, "branches = 'one': choose 'both'"),
        ({"sites": [32, 33], "overrides": {"barrier": {"fmax": 0.0}}}, "fmax = 0.0: must be positive"),
        ({"sites": [32, 33], "overrides": {"barrier": {"image": 5}}}, "did you mean 'images'"),
        (
            {"sites": [32, 33], "overrides": {"label": {"relaxation_steps": 3}}},
            "label.relaxation_steps = 3: the images",
        ),
        ({"sites": [32, 33], "overrides": {"label": {"incar": {"nelmm": 5}}}}, "label: .*NELMM is not an INCAR tag"),
    ],
)
def test_bad_inputs_are_refused_at_launch(build, inputs, words):
    with pytest.raises(ValueError, match=words):
        instantiate_process(get_manager().get_runner(), build(**inputs))


def test_a_model_or_an_end_that_does_not_fit_is_refused_at_launch(build, make_model):
    def refused(builder, words):
        with pytest.raises(ValueError, match=words):
            instantiate_process(get_manager().get_runner(), builder)

    refused(build(sites=[32, 33], model=make_model(elements=["O", "Ti"])), "species Mg are not in the model")
    builder = build(sites=[32, 33])
    builder.final = builder.host
    refused(builder, "final without initial")
    builder.initial = orm.StructureData(ase=ideal_cell("mgo", (1, 1, 1)))
    refused(builder, "initial: other atoms, another order or another cell than the host")


def test_a_localisation_by_itself_is_the_first_half_of_a_seed(standin):
    def made(**inputs):
        return LocaliseWorkChain.get_builder_from_protocol(standin, material="mgo", protocol="fast", **inputs)

    instantiate_process(get_manager().get_runner(), made(sites=[40]))
    for builder, words in (
        (made(sites=[3]), "sites: atom 3 is Mg; choose one of"),
        (made(sites=[32, 33]), r"sites: \[32, 33\] for 1 carriers"),
        (made(sites=[99]), "sites: 99 but the structure has atoms 0 to 63"),
        (made(overrides={"seed": {"incar": {"ispin": 1}}}), "ISPIN = 1"),
    ):
        with pytest.raises(ValueError, match=words):
            instantiate_process(get_manager().get_runner(), builder)


def test_a_class_names_two_atoms_and_the_other_end_is_the_first_turned():
    host = ideal_cell("tio2", (2, 2, 3))
    for name, distance in (("Ti-Ti 2.99 A [001] x2", 2.99), ("Ti-Ti 3.52 A <111> x8", 3.52)):
        i, j = hop_of_class(host, "Ti", name, 5.0)
        assert host.get_distance(i, j, mic=True) == pytest.approx(distance, abs=0.01)
    bent = host.copy()
    near = np.argsort(host.get_distances(i, range(len(host)), mic=True))[1:7]
    bent.positions[near] += 0.1 * host.get_distances(i, near, mic=True, vector=True)
    nodes = [orm.StructureData(ase=atoms) for atoms in (bent, host)]
    end = other_end(*nodes, orm.List([i, j])).get_ase()
    before, after = (
        np.sort(a.get_distances(k, range(len(a)), mic=True))[1:7] for a, k in ((bent, i), (end, j))
    )  # fmt: skip
    np.testing.assert_allclose(after, before, atol=1e-6)
    broken = host.copy()
    broken.symbols[near[0]] = "F"  # a dopant beside the first site only
    assert turned(broken, broken, [i, j]) is None


def test_the_job_writes_what_leopold_barrier_reads(teacher, make_model):
    host = orm.StructureData(ase=ideal_cell("mgo", (2, 2, 2)))

    def prepared(**ends):
        options = {"resources": {"num_machines": 1, "num_mpiprocs_per_machine": 1}}
        inputs = {"code": teacher, "model": make_model(), "sites": orm.List([32, 33]), "initial": host, **ends}
        process = instantiate_process(
            get_manager().get_runner(), BarrierCalculation, metadata={"options": options}, **inputs
        )
        with SandboxFolder() as folder:
            arguments = process.prepare_for_submission(folder).codes_info[0].cmdline_params
            return arguments, read_frames(folder.get_abs_path("ends.h5"))

    arguments, frames = prepared(final=host)
    assert [f.carrier_sites for f in frames] == [(32,), (33,)] and {f.carrier for f in frames} == {"hole"}
    command = barrier_command.command.make_context("barrier", arguments[1:]).params
    assert (command["start"], command["end"], command["ends"], command["images"]) == (32, 33, True, 13)
    assert command["as_json"] and (command["fmax"], command["steps"]) == (0.01, 300)
    arguments, frames = prepared()
    assert len(frames) == 1 and "--ends" not in arguments


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ('{"status": "no_barrier", "reason": "the carrier left it"}', 520, "the carrier left it"),
        ('{"status": "finished", "verdict": "adiabatic"}', None, None),
        ("{}", 311, "status is None"),
        ("", 311, "it is empty"),
    ],
)
def test_the_parser_tells_a_model_without_a_barrier_from_a_broken_job(parse_job, text, status, words):
    results, node = parse_job("leopold.barrier.learned", {"result.json": text, "leopold.err": ""})
    assert (node.exit_status or None) == status
    assert words is None or words in node.exit_message
    assert ("results" in results) == (status != 311 or text == "{}")
