"""Frames to VASP and back: verified ones become data, misses are kept with a reason, results are keyed by frame."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import enable_caching, get_manager

from leopold_model.frames import Frame
from leopold_model.vasp.occmatrix import read_occmatrix
from leopold_workflows.calculations.functions_localisation import distort_around
from leopold_workflows.calculations.functions_vasp import carrier_template, label_request
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp.calculation import LeopoldVaspCalculation
from leopold_workflows.vasp.verdict import shortest
from leopold_workflows.workchains.label import LabelWorkChain
from leopold_workflows.workchains.label_frames import LabelFramesWorkChain
from tests.called import called


@pytest.fixture
def hop_frames(mgo):
    """Frames of the 64-atom cell as dynamics would propose them, without labels; the carrier on sites 32 and 45."""
    random = np.random.default_rng(0)
    relaxed = {
        s: distort_around(
            mgo.structure, mgo.carrier, orm.List([s]), orm.Float(0.05), orm.Float(0.0), orm.Int(1)
        ).get_ase()
        for s in (32, 45)
    }
    return [
        Frame(
            numbers=relaxed[site].numbers,
            positions=relaxed[site].positions + 0.02 * random.normal(size=(64, 3)),
            cell=relaxed[site].cell.array,
            carrier="hole",
            carrier_sites=(site,),
            source="ml",
            run=f"explore-{k}",
            step=100 + k,
            pathway="O-O 2.96 A <110> x12",
            temperature=600.0,
        )
        for k, site in enumerate((32, 45))
    ]


@pytest.fixture
def template(mgo):
    """A hole in p_z of atom 40, its ligands along z closer than the others; p = y, z, x in VASP's order."""
    atoms = squeezed(mgo.structure.get_ase(), 40, along=2)
    frame = Frame(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, carrier_sites=(40,))
    up, down = 0.61 * np.eye(3), np.diag([0.6, 0.05, 0.6])
    shells = [{"site": 40, "l": 1, "up": up.tolist(), "down": down.tolist()}]
    return carrier_template(orm.Dict({"shells": shells}), FrameSetData.from_frames([frame]), mgo.structure)


def squeezed(atoms, site, along, amount=0.05):
    atoms = atoms.copy()
    vectors = atoms.get_distances(site, range(len(atoms)), mic=True, vector=True)
    lengths = np.linalg.norm(vectors, axis=1)
    for i in np.flatnonzero((lengths > 0) & (lengths < 2.3)):
        atoms.positions[i] += (-amount if abs(vectors[i, along]) > 1 else amount) * vectors[i]
    return atoms


def test_a_template_is_imposed_where_it_fits_and_nominal_occupations_elsewhere(mgo, hop_frames, template, tmp_path):
    def imposed(frame, *given):
        frames = FrameSetData.from_frames([frame])
        made = label_request(frames, orm.Str(frame.id), mgo.carrier, mgo.vasp["hubbard"], *given)["occmatrix"]
        assert made.creator.process_label == "label_request"
        (tmp_path / "OCCMATRIX").write_bytes(made.content)
        ((site, (degree, up, down)),) = read_occmatrix(tmp_path / "OCCMATRIX").items()
        assert (site, degree) == (frame.carrier_sites[0], 1)
        return up, down, made.description

    for along, empty in ((0, 2), (1, 0), (2, 1)):  # the emptied orbital is the one along the short bonds
        atoms = squeezed(mgo.structure.get_ase(), 45, along)
        up, down, said = imposed(replace(hop_frames[1], positions=atoms.positions), template)
        assert said == "atom 45 harvested"
        assert np.array_equal(up, 0.61 * np.eye(3))
        assert np.array_equal(np.diag(down), np.where(np.arange(3) == empty, 0.05, 0.6))
    nominal = imposed(hop_frames[1])
    assert nominal[2] == "atom 45 nominal: no template" and np.array_equal(nominal[0], np.eye(3))
    # of another shell than VASP corrects, or of a crystal that this is not
    content = template.get_dict()
    five = np.eye(5).tolist()
    other = content | {"shells": [{"site": 40, "l": 2, "up": five, "down": five}]}
    up, down, said = imposed(hop_frames[1], orm.Dict(other))
    assert "the template has l = 2, hubbard l = 1" in said and np.array_equal(down, nominal[1])
    stretched = content | {"host": content["host"] | {"lattice": (1.3 * np.array(content["host"]["lattice"])).tolist()}}
    up, down, said = imposed(hop_frames[1], orm.Dict(stretched))
    assert "not a supercell of the host" in said and np.array_equal(down, nominal[1])


@pytest.mark.parametrize("harvested", [False, True])
def test_a_frame_is_verified_on_the_site_it_asked_for(standin, hop_frames, template, harvested):
    asked = hop_frames[1]
    builder = LabelWorkChain.get_builder_from_protocol(
        standin, FrameSetData.from_frames(hop_frames), asked.id, material="mgo", protocol="fast"
    )
    if harvested:
        builder.template = template
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    (frame,) = outputs["frames"].get_frames()
    assert frame.carrier_sites == frame.requested_sites == (45,) and frame.label == asked.id
    assert frame.labelled and frame.occupations is not None
    assert (frame.source, frame.run, frame.pathway) == ("label", asked.run, asked.pathway)
    assert np.abs(shortest(frame.positions - asked.positions, frame.cell)).max() < 1e-5

    constrained, released = called(node, "LeopoldVaspCalculation")
    assert ("harvested" in constrained.inputs.occmatrix.description) == harvested
    (shell,) = released.outputs.occupations["shells"]
    assert (shell["site"], shell["l"]) == (45, 1) and "occupations" not in constrained.outputs
    assert constrained.inputs.parameters["occext"] == 1 and "occext" not in released.inputs.parameters.get_dict()
    assert released.inputs.restart_folder.uuid == constrained.outputs.remote_folder.uuid
    # the bias of the constrained run is in its energy, so that run must not have made the label
    assert frame.energy != pytest.approx(constrained.outputs.misc["energy"], abs=1e-3)


def test_a_vasp_without_the_patch_is_found_out_and_served_by_moments(standin, hop_frames):
    def label(localisation):
        builder = LabelWorkChain.get_builder_from_protocol(
            standin, FrameSetData.from_frames(hop_frames[:1]), hop_frames[0].id, material="mgo", protocol="fast",
            overrides={"label": {"localisation": localisation}},
            options={"prepend_text": "export LEOPOLD_STANDIN_UNPATCHED=1"},
        )  # fmt: skip
        return run_get_node(builder)

    _, node = label("omc")
    assert node.exit_status == LabelWorkChain.exit_codes.ERROR_OCCUPATIONS_NOT_IMPOSED.status == 320
    assert "localisation 'moment'" in node.exit_message
    job = next(n for n in node.called if n.process_label == "LeopoldVaspCalculation")
    assert job.exit_status == 320 and "not patched" in job.exit_message

    outputs, node = label("moment")
    assert node.is_finished_ok, node.exit_message
    (frame,) = outputs["frames"].get_frames()
    assert frame.carrier_sites == frame.requested_sites == hop_frames[0].carrier_sites
    (job,) = (n for n in node.called if n.process_label == "LeopoldVaspCalculation")
    assert "occext" not in job.inputs.parameters.get_dict() and "restart_folder" not in job.inputs
    with pytest.raises(ValueError, match="localisation = 'substitution': choose 'omc'"):
        label("substitution")


def test_misses_are_kept_and_keyed_by_frame(standin, hop_frames, tmp_path):
    """One label is drawn to another site (the first to run), the other is verified; one frame is asked for twice."""
    marker = tmp_path / "marker"
    # the constrained run of either is spared by `moved`, so the marker must be made by a released one
    prepend = f'grep -q OCCEXT INCAR || export LEOPOLD_STANDIN_FAIL=moved LEOPOLD_STANDIN_FAIL_ONCE="{marker}"'
    builder = LabelFramesWorkChain.get_builder_from_protocol(
        standin,
        FrameSetData.from_frames([*hop_frames, hop_frames[0]]),
        material="mgo",
        protocol="fast",
        overrides={"label": {"max_concurrent": 1}},
        options={"prepend_text": prepend},
    )
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    outcomes = outputs["outcomes"].get_dict()
    assert outcomes["total"] == 2 and outcomes["counts"]["verified"] == outcomes["counts"]["moved"] == 1
    (verified,), (missed,) = outputs["frames"].get_frames(), outputs["rejected"].get_frames()
    assert outcomes["labels"][verified.label]["outcome"] == "verified"
    assert outcomes["labels"][missed.label]["outcome"] == "moved"
    assert missed.carrier_sites != missed.requested_sites
    asked = {f.id: f for f in hop_frames}
    for frame in (verified, missed):
        assert np.abs(shortest(frame.positions - asked[frame.label].positions, frame.cell)).max() < 1e-5
    assert 502 in [n.exit_status for n in node.called if n.process_label == "LabelWorkChain"]


def test_a_quorum_that_is_not_met(standin, hop_frames):
    builder = LabelFramesWorkChain.get_builder_from_protocol(
        standin, FrameSetData.from_frames(hop_frames[:1]), material="mgo", protocol="fast",
        options={"prepend_text": "export LEOPOLD_STANDIN_FAIL=crash"},
    )  # fmt: skip
    outputs, node = run_get_node(builder)
    assert node.exit_status == LabelFramesWorkChain.exit_codes.ERROR_LABEL_QUORUM_NOT_MET.status
    assert outputs["outcomes"]["counts"]["failed"] == 1 and outputs["frames"].n_frames == 0


def test_bad_requests_are_refused_at_launch(standin, hop_frames):
    frames = FrameSetData.from_frames([replace(hop_frames[0], carrier_sites=()), hop_frames[1]])

    def message(frame_id, **inputs):
        builder = LabelWorkChain.get_builder_from_protocol(standin, frames, hop_frames[1].id, material="mgo")
        inputs = {**builder._inputs(prune=True), "frame": orm.Str(frame_id), **inputs}
        with pytest.raises(ValueError) as error:
            instantiate_process(get_manager().get_runner(), LabelWorkChain, **inputs)
        return str(error.value)

    assert "no frame with id 'nonsense'" in message("nonsense")
    assert "take the output of a seed" in message(hop_frames[1].id, template=orm.Dict({"shells": []}))
    assert "0 carrier_sites but 1 carriers" in message(frames.get_frames()[0].id)


def test_frames_that_cannot_be_labelled_are_refused_at_launch(standin, hop_frames):
    def message(frames, **overrides):
        builder = LabelFramesWorkChain.get_builder_from_protocol(
            standin, FrameSetData.from_frames(frames), material="mgo", overrides=overrides
        )
        with pytest.raises(ValueError) as error:
            instantiate_process(get_manager().get_runner(), LabelFramesWorkChain, **builder._inputs(prune=True))
        return str(error.value)

    assert "0 carrier_sites for 1 carriers" in message([hop_frames[0], replace(hop_frames[1], carrier_sites=())])
    assert "LORBIT = 5" in message(hop_frames, label={"incar": {"lorbit": 5}})
    assert "incar: NELMM is not an INCAR tag" in message(hop_frames, label={"incar": {"nelmm": 5}})


def test_a_frame_whose_carrier_cannot_be_imposed_leaves_the_others(standin, hop_frames):
    """The carrier on Mg, which has no DFT+U: that frame is counted as failed, the other one is submitted."""
    wrong, right = replace(hop_frames[0], carrier_sites=(3,)), hop_frames[1]
    builder = LabelFramesWorkChain.get_builder_from_protocol(
        standin, FrameSetData.from_frames([wrong, right]), material="mgo", protocol="fast"
    )
    process = instantiate_process(get_manager().get_runner(), LabelFramesWorkChain, **builder._inputs(prune=True))
    submitted = []

    def submit(process_class, **inputs):
        instantiate_process(get_manager().get_runner(), process_class, **inputs)  # raises as a real submission does
        submitted.append(inputs["frame"].value)

    process.submit = submit
    process.to_context = lambda **nodes: None
    process.setup()
    process.run_labels()
    assert submitted == [right.id] == process.ctx.running and process.ctx.failed == {wrong.id: None}


def test_a_label_asked_for_again_is_not_computed_again(standin, hop_frames, template):
    builder = LabelWorkChain.get_builder_from_protocol(
        standin, FrameSetData.from_frames(hop_frames), hop_frames[0].id, material="mgo", protocol="fast"
    )
    builder.template = template
    first, _ = run_get_node(builder)
    with enable_caching(identifier="aiida.calculations:leopold.vasp"):
        # other nodes of the same content, as another launch would make
        again = LabelWorkChain.get_builder_from_protocol(
            standin, FrameSetData.from_frames(hop_frames), hop_frames[0].id, material="mgo", protocol="fast"
        )
        again.template = orm.Dict(template.get_dict())
        second, node = run_get_node(again)
    jobs = [n for n in node.called if n.process_label == "LeopoldVaspCalculation"]
    assert len(jobs) == 2 and all(job.base.caching.is_created_from_cache for job in jobs)
    assert second["frames"].content == first["frames"].content


@pytest.fixture
def in_p_z(mgo):
    """A hole in p_z of atom 40 as a template, and a request for atom 45: both with their ligands along z farther than
    the others, which is where the stand-in puts that orbital."""

    def frame(site, amount):
        bonds = (mgo.structure, mgo.carrier, orm.List([site]), orm.Float(amount), orm.Float(0.0), orm.Int(1))
        atoms = squeezed(distort_around(*bonds).get_ase(), site, along=2, amount=-0.02)
        return Frame(
            numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, carrier="hole",
            carrier_sites=(site,), source="ml", run="explore-1", pathway="O-O 2.96 A <110> x12",
        )  # fmt: skip

    shells = [{"site": 40, "l": 1, "up": (0.61 * np.eye(3)).tolist(), "down": np.diag([0.6, 0.05, 0.6]).tolist()}]
    found = carrier_template(orm.Dict({"shells": shells}), FrameSetData.from_frames([frame(40, 0.0)]), mgo.structure)
    return found, FrameSetData.from_frames([frame(45, 0.05)])


@pytest.mark.parametrize(("failure", "outcome"), [("", "verified"), ("orbital", "wrong_orbital")])
def test_a_carrier_in_another_orbital_than_the_one_imposed_is_no_label(standin, in_p_z, failure, outcome):
    builder = LabelFramesWorkChain.get_builder_from_protocol(
        standin, in_p_z[1], material="mgo", protocol="fast",
        options={"prepend_text": f"grep -q OCCEXT INCAR || export LEOPOLD_STANDIN_FAIL={failure}"},
    )  # fmt: skip
    builder.template = in_p_z[0]
    outputs, node = run_get_node(builder)
    (label,) = outputs["outcomes"]["labels"].values()
    assert label["outcome"] == outcome and outputs["outcomes"]["counts"][outcome] == 1
    assert (label["orbital_share"] > 0.9) == (outcome == "verified")
    assert outputs["frames"].n_frames == (outcome == "verified") and outputs["rejected"].n_frames == (failure != "")
    (chain,) = (n for n in node.called if n.process_label == "LabelWorkChain")
    assert chain.exit_status == (506 if failure else 0), chain.exit_message


def test_a_short_relaxation_gives_a_label_for_every_verified_step(standin, hop_frames):
    builder = LabelWorkChain.get_builder_from_protocol(
        standin, FrameSetData.from_frames(hop_frames), hop_frames[1].id, material="mgo", protocol="fast",
        overrides={"label": {"relaxation_steps": 3}},
    )  # fmt: skip
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    frames = outputs["frames"].get_frames()
    constrained, released = called(node, "LeopoldVaspCalculation")
    assert (constrained.inputs.parameters["nsw"], released.inputs.parameters["nsw"]) == (0, 3)
    assert len(frames) == 3 and frames[2].energy < frames[0].energy
    assert np.abs(shortest(frames[0].positions - hop_frames[1].positions, frames[0].cell)).max() < 1e-5
    assert {f.label for f in frames} == {hop_frames[1].id} and {f.carrier_sites for f in frames} == {(45,)}
    assert {f.settings for f in frames} == set(constrained.outputs.frames.base.attributes.get("settings"))


def test_a_released_run_that_spent_its_iterations_goes_on_with_another_algorithm(standin, hop_frames, tmp_path):
    fail = f"export LEOPOLD_STANDIN_FAIL=nelm LEOPOLD_STANDIN_FAIL_ONCE={tmp_path}/once"
    builder = LabelWorkChain.get_builder_from_protocol(
        standin, FrameSetData.from_frames(hop_frames[:1]), hop_frames[0].id, material="mgo", protocol="fast",
        options={"prepend_text": f"grep -q OCCEXT INCAR || {fail}"},
    )  # fmt: skip
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    _, released, further = called(node, "LeopoldVaspCalculation")
    unconverged = LeopoldVaspCalculation.exit_codes.ERROR_ELECTRONIC_NOT_CONVERGED.status
    assert (released.exit_status, further.exit_status) == (unconverged, 0)
    assert further.inputs.restart_folder.uuid == released.outputs.remote_folder.uuid
    ours, theirs = (job.inputs.parameters.get_dict() for job in (further, released))
    assert ours["algo"] == "All" and {k: v for k, v in ours.items() if theirs.get(k) != v} == {"algo": "All"}
    (frame,) = outputs["frames"].get_frames()
    assert frame.converged and frame.settings == released.outputs.frames.get_frames()[0].settings


@pytest.mark.parametrize(
    ("failure", "status"),
    [("nelm", 504), ("truncate", 404), ("glued", 404)],
)
def test_every_way_a_released_run_fails_has_its_code_and_makes_no_label(standin, hop_frames, failure, status):
    builder = LabelWorkChain.get_builder_from_protocol(
        standin, FrameSetData.from_frames(hop_frames[:1]), hop_frames[0].id, material="mgo", protocol="fast",
        options={"prepend_text": f"grep -q OCCEXT INCAR || export LEOPOLD_STANDIN_FAIL={failure}"},
    )  # fmt: skip
    outputs, node = run_get_node(builder)
    assert node.exit_status == status, node.exit_message
    assert "frames" not in outputs
