"""The seed: a carrier localised, released and verified, then dynamics with a held-out run."""

import re

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from leopold_model.frames import Frame
from leopold_model.standin.crystals import ideal_cell
from leopold_model.vasp.template import Template
from leopold_workflows.calculations.functions_vasp import initial_velocities
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp.doping import arrangements as arrangements_of
from leopold_workflows.vasp.doping import with_defect
from leopold_workflows.vasp.verdict import judge
from leopold_workflows.workchains.label import LabelWorkChain
from leopold_workflows.workchains.seed import SeedWorkChain
from leopold_workflows.workchains.seed_configurations import SeedConfigurationsWorkChain

SMALL = {
    "seed": {"runs_per_temperature": 1, "temperatures": [600], "relaxation_steps": 8, "stride": 2, "sites": [40]},
    "fpmd": {"steps": 6, "segment_steps": 4},
}


def test_from_a_crystal_to_frames(standin):
    builder = SeedWorkChain.get_builder_from_protocol(standin, material="mgo", protocol="fast", overrides=SMALL)
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    assert outputs["verdict"]["outcome"] == "verified" and outputs["verdict"]["sites"] == [40]

    frames, validation = outputs["frames"].get_frames(), outputs["validation"].get_frames()
    assert [f.step for f in frames] == [1, 3, 5] == [f.step for f in validation]
    assert {f.run for f in frames}.isdisjoint(f.run for f in validation)
    assert {f.source for f in frames} == {"fpmd"} and all(f.labelled and f.carrier == "hole" for f in frames)
    assert len({f.settings for f in [*frames, *validation]}) == 1
    (start,) = outputs["starts"].get_frames()
    assert start.velocities is not None and start.carrier_sites and not start.labelled
    assert set(outputs["remote_folders"]) == {"fpmd_600K_1", "validation"}

    # the constrained relaxation has the bias in its forces: its steps exist, marked, and reach no output
    constrained = next(n for n in node.called if "occmatrix" in n.inputs)
    assert constrained.outputs.frames.base.attributes.get("sources") == {"omc": constrained.outputs.frames.n_frames}
    assert outputs["relaxation"].base.attributes.get("sources") == {"relaxation": outputs["relaxation"].n_frames}
    # the occupations it was released into, for labels on other sites, and how they came about
    made_by = outputs["template"].creator
    assert made_by.process_label == "carrier_template" and made_by.inputs.host.uuid == node.inputs.structure.uuid
    released = made_by.inputs.occupations.creator
    assert released.outputs.frames.uuid == outputs["relaxation"].uuid and "occmatrix" not in released.inputs
    assert "occupations" not in constrained.outputs
    template = Template.from_dict(outputs["template"].get_dict())
    assert list(template.shells) == [40]
    degree, up, down = template.shells[40]
    printed = outputs["relaxation"].get_frames()[-1].occupations[40]
    assert degree == 1 and np.array([np.trace(up), np.trace(down)]) == pytest.approx(printed, abs=1e-9)
    # the polaron is a minimum with its neighbours pushed outward
    atoms = outputs["structure"].get_ase()
    near = np.sort(atoms.get_distances(40, range(32), mic=True))[:6]
    assert (near > 4.181 / 2 + 0.05).all()


def arrangements(atoms, sites, *runs, carrier="hole"):
    """The crystal with the carrier asked for on one of `sites` after the other."""
    return FrameSetData.from_frames(
        [
            Frame(atoms.numbers, atoms.positions, atoms.cell.array, carrier=carrier, carrier_sites=(site,), run=run)
            for site, run in zip(sites, runs, strict=True)
        ]
    )


def doped(repeat=(2, 2, 3)):
    """Rutile with F on its last oxygen, and titanium atoms near to and far from it."""
    atoms = ideal_cell("tio2", repeat)
    atoms.symbols[-1] = "F"
    titanium = np.flatnonzero(atoms.symbols == "Ti")
    order = titanium[np.argsort(atoms.get_distances(len(atoms) - 1, titanium, mic=True))]
    return atoms, [int(order[0]), int(order[-1])]


def test_several_arrangements_of_a_dopant_and_its_electron_are_seeded_each(standin):
    """One of two loses its carrier; the other gives its data, under a name of its own."""
    atoms, (near, far) = doped()
    short = {"seed": SMALL["seed"] | {"relaxation_steps": 20}, "fpmd": {"steps": 2, "segment_steps": 2}}
    builder = SeedConfigurationsWorkChain.get_builder_from_protocol(
        standin, arrangements(atoms, (near, far), "near", "far", carrier="electron"), material="tio2",
        protocol="fast", overrides=short,
        options={"prepend_text": f'grep -qE "MAGMOM *= *{far}" INCAR && export LEOPOLD_STANDIN_FAIL=delocalised'},
    )  # fmt: skip
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    frames = outputs["frames"].get_frames()
    assert {f.run for f in frames} == {"near-fpmd_600K_1"}
    assert {f.run for f in outputs["validation"].get_frames()} == {"near-validation"}
    assert all(np.array_equal(f.numbers, atoms.numbers) and f.carrier == "electron" for f in frames)
    # the dopant brings its electron: nothing is added to the neutral cell
    (job, *_) = (n for n in node.called_descendants if n.process_label == "LeopoldVaspCalculation")
    valences = {"Ti": 10, "O": 6, "F": 7}
    assert job.inputs.parameters["nelect"] == sum(valences[s] for s in atoms.get_chemical_symbols())
    verdicts = [outputs["verdicts"][key] for key in sorted(outputs["verdicts"])]
    assert [(v["outcome"], v["requested"]) for v in verdicts] == [("verified", [near]), ("delocalised", [far])]


def test_two_electrons_of_a_vacancy_are_seeded_and_labelled(standin):
    """The vacancy brings both; each is imposed on its site, released, and found there again, in dynamics and in a label
    of one of its frames."""
    crystal = ideal_cell("tio2", (2, 2, 3))
    atoms = with_defect(crystal, {"replace": "O", "by": None})
    carrier = {"kind": "electron", "n": 2, "species": ["Ti"]}
    pairs = arrangements_of(crystal, {"replace": "O", "by": None}, carrier, 4).get_frames()
    start = FrameSetData.from_frames(pairs[1:2])  # the first pair moves to other sites
    short = {"seed": SMALL["seed"] | {"relaxation_steps": 20}, "fpmd": {"steps": 2, "segment_steps": 2}}
    builder = SeedConfigurationsWorkChain.get_builder_from_protocol(
        standin, start, material="tio2_vo", protocol="fast", overrides=short
    )
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    frames = outputs["frames"].get_frames()
    wanted = pairs[1].carrier_sites
    assert frames and all(f.carrier_sites == wanted and len(f) == len(atoms) for f in frames)
    (verdict,) = outputs["verdicts"].values()
    assert (verdict["outcome"], verdict["requested"]) == ("verified", list(wanted))
    assert verdict["cell_moment"] == pytest.approx(2.0)
    (job, *_) = (n for n in node.called_descendants if n.process_label == "LeopoldVaspCalculation")
    assert job.inputs.parameters["nelect"] == 10 * 24 + 6 * 47, "the neutral cell without its oxygen"

    label = LabelWorkChain.get_builder_from_protocol(
        standin, outputs["frames"], frames[-1].id, material="tio2_vo", protocol="fast"
    )
    label.template = outputs["template"]
    labelled, node = run_get_node(label)
    assert node.is_finished_ok, node.exit_message
    (found,) = labelled["frames"].get_frames()
    assert found.carrier_sites == wanted and found.energy == pytest.approx(frames[-1].energy, abs=1e-4)
    assert found.settings == frames[-1].settings


def test_configurations_that_cannot_be_seeded_are_refused_at_launch(standin, mgo):
    builder = SeedWorkChain.get_builder_from_protocol(standin, material="mgo", protocol="fast", overrides=SMALL)
    inputs = {k: v for k, v in builder._inputs(prune=True).items() if k not in ("structure", "sites")}

    def message(frames):
        with pytest.raises(ValueError) as error:
            instantiate_process(
                get_manager().get_runner(), SeedConfigurationsWorkChain, configurations=frames, **inputs
            )
        return str(error.value)

    crystal = mgo.structure.get_ase()
    assert "two are called 'a'" in message(arrangements(crystal, (40, 45), "a", "a"))
    assert "configuration-1: sites: atom 3 is Mg" in message(arrangements(crystal, (3,), ""))
    assert "give structures with carrier_sites" in message(FrameSetData.from_frames([]))


def test_velocities_have_their_temperature_and_seed(mgo):
    from aiida import orm
    from ase import units

    make = lambda seed: initial_velocities(mgo.structure, orm.Float(600.0), orm.Int(seed)).get_array("velocities")  # noqa: E731
    atoms = mgo.structure.get_ase()
    atoms.set_velocities(make(3) / units.fs)
    assert atoms.get_temperature() * 64 / 63 == pytest.approx(600.0, rel=1e-3)  # ASE counts 3N modes
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-9
    assert np.array_equal(make(3), make(3)) and not np.array_equal(make(3), make(4))


def test_bad_inputs_are_refused_at_launch(standin):
    def message(overrides, without=None):
        with pytest.raises(ValueError) as error:
            builder = SeedWorkChain.get_builder_from_protocol(standin, material="mgo", overrides=overrides)
            if without:
                builder.vasp.potential.pop(without)
            instantiate_process(get_manager().get_runner(), SeedWorkChain, **builder._inputs(prune=True))
        return str(error.value)

    assert "atom 3 is Mg; choose one of ['O']" in message({"seed": {"sites": [3]}})
    assert "64 but the structure has atoms 0 to 63" in message({"seed": {"sites": [64]}})
    assert "ISPIN = 1" in message({"vasp": {"incar": {"ispin": 1}}})
    assert "ISYM = 2" in message({"fpmd": {"incar": {"isym": 2}}})
    assert "no POTCAR for kind 'O'" in message({}, without="O")
    assert "localisation = 'magic': choose omc, distortion" in message({"seed": {"localisation": "magic"}})
    assert "relaxation_incar: NSWW is not an INCAR tag: did you mean NSW?" in message({"seed": {"incar": {"nsww": 9}}})
    assert "material mgo: unknown key 'hubbard.O.uu': did you mean 'u'?" in message(
        {"material": {"hubbard": {"O": {"l": 1, "uu": 3}}}}
    )
    assert "orbital = 9" in message({"material": {"carrier": {"orbital": 9}}})
    assert "[40, 40] names an atom twice" in message({"seed": {"sites": [40, 40]}, "material": {"carrier": {"n": 2}}})
    assert "validation_temperature: -3.0" in message({"seed": {"temperatures": [-3]}})


def test_a_carrier_that_lacks_a_key_is_refused_and_not_crashed_on(standin):
    builder = SeedWorkChain.get_builder_from_protocol(standin, material="mgo")
    for key, words in (("n", "carrier: n = None"), ("species", "carrier: species = []"), ("kind", "carrier: kind = N")):
        inputs = builder._inputs(prune=True)
        inputs["carrier"] = orm.Dict({k: v for k, v in inputs["carrier"].get_dict().items() if k != key})
        with pytest.raises(ValueError, match=re.escape(words)):
            instantiate_process(get_manager().get_runner(), SeedWorkChain, **inputs)


def test_two_carriers_each_need_a_site_of_their_own(make_frames):
    def outcome(**moments):
        values = np.full(8, 0.02)
        for site, moment in moments.items():
            values[int(site[1:])] = moment
        return judge(make_frames(1, moments=values)[0], [4, 5], ["O"]).outcome

    assert outcome(O4=0.7, O5=0.65) == "verified"
    assert outcome(O4=0.7, O5=0.35, O6=0.3) == "verified", "a crossing of one beside the other at rest"
    assert outcome(O4=0.7, O6=0.65) == "moved"
    assert outcome(O4=1.5, O5=0.1) == "merged"
    assert outcome(O4=0.7, O5=0.1) == "delocalised", "one is lost, though the sites asked for lead"


@pytest.mark.parametrize(
    ("moments", "converged", "outcome"),
    [
        ({4: 0.7}, True, "verified"),
        ({5: 0.7}, True, "moved"),
        ({4: 0.4, 5: 0.35}, True, "verified"),
        ({4: 0.1, 5: 0.1, 6: 0.1, 7: 0.1}, True, "delocalised"),
        ({4: 0.7}, False, "not_converged"),
    ],
)
def test_verdicts(make_frames, moments, converged, outcome):
    values = np.zeros(8)
    for site, moment in moments.items():
        values[site] = moment
    (frame,) = make_frames(1, moments=values, converged=converged)
    assert judge(frame, [4], ["O"]).outcome == outcome
    wrong = judge(frame, [4], ["O"], orbital_share=0.3).outcome
    assert wrong == ("wrong_orbital" if outcome == "verified" else outcome)
