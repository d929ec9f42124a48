"""Every strategy puts the carrier on its site, by its own means and without a word about energy; misses are typed."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from leopold_model.vasp.poscar import read_magmom
from leopold_workflows.calculations.functions_localisation import (
    distort_around,
    outward,
    restore_host,
    substitute_on,
)
from leopold_workflows.vasp.bonds import neighbours
from leopold_workflows.vasp.study import study
from leopold_workflows.vasp.verdict import judge_released
from leopold_workflows.workchains.seed import SeedWorkChain
from tests.called import called

SITE = {"mgo": 40, "tio2": 5}


class Localised(SeedWorkChain):
    """The seed without its dynamics."""

    def run_dynamics(self):
        pass

    def inspect_dynamics(self):
        pass

    def results(self):
        pass


@pytest.fixture
def localise(standin):
    """Run a strategy: `localise(material, strategy)` gives outputs and node."""

    def run(material, strategy, prepend="", **seed):
        settings = {"localisation": strategy, "sites": [SITE[material]], "relaxation_steps": 12, "temperatures": [600]}
        builder = Localised.get_builder_from_protocol(
            standin, material=material, protocol="fast", overrides={"seed": settings | seed},
            options={"prepend_text": prepend},
        )  # fmt: skip
        return run_get_node(builder)

    return run


@pytest.mark.parametrize(
    ("material", "strategy"),
    [("mgo", "distortion"), ("mgo", "moment"), ("tio2", "substitution")],
)
def test_a_strategy_puts_the_carrier_on_its_site(localise, material, strategy):
    site = SITE[material]
    outputs, node = localise(material, strategy)
    assert node.is_finished_ok, node.exit_message
    found = outputs["verdict"].get_dict()
    assert (found["outcome"], found["sites"]) == ("verified", [site]) and "energy" not in found
    assert found["gap"] > 0.5 and found["cell_moment"] == pytest.approx(1.0)
    (bonds,) = found["bonds"]
    assert bonds["site"] == site and len(bonds["host"]) == len(bonds["now"]) == 6
    assert 0.01 < bonds["mean_change"] < 0.08, "both carriers push their neighbours away"
    before = np.mean(bonds["host"])
    assert bonds["mean_change"] == pytest.approx(np.mean(bonds["now"]) / before - 1, abs=0.01)

    jobs = called(node, "LeopoldVaspCalculation")
    released = jobs[-1].inputs
    moments = read_magmom(released.parameters["magmom"])
    if strategy == "distortion":
        assert np.allclose(moments, [0.0] * 32 + [0.031] * 32), "no site is named in MAGMOM: the bonds alone decide"
        assert released.structure.creator.inputs.seed.value == 1, "the rattle can be repeated"
    else:
        assert np.flatnonzero(moments).tolist() == [site]
    if strategy == "substitution":
        impure = jobs[0]
        assert impure.inputs.structure.sites[-1].kind_name == "V" and impure.inputs.potential.V.full_name == "V_pv"
        assert impure.outputs.carrier["sites"] == [95], "the impurity holds the electron"
        assert impure.outputs.frames.base.attributes.get("sources") == {"substituted": impure.outputs.frames.n_frames}
        assert "V" not in released.structure.get_kind_names() and "restart_folder" not in released
    assert (
        outputs["structure"].get_ase().get_chemical_formula() == node.inputs.structure.get_ase().get_chemical_formula()
    )


@pytest.mark.parametrize(
    ("material", "strategy", "prepend", "status"),
    [
        # in rutile the moment alone leaves the electron on its chain along c
        ("tio2", "moment", "", SeedWorkChain.exit_codes.ERROR_POLARON_DELOCALISED.status),
        (
            "mgo",
            "omc",
            "export LEOPOLD_STANDIN_UNPATCHED=1",
            SeedWorkChain.exit_codes.ERROR_OCCUPATIONS_NOT_IMPOSED.status,
        ),
    ],
)
def test_a_strategy_that_fails_says_how(localise, material, strategy, prepend, status):
    outputs, node = localise(material, strategy, prepend)
    assert node.exit_status == status
    if strategy == "omc":
        assert "lacks the occupation-matrix patch" in node.exit_message and "'distortion'" in node.exit_message
        assert not outputs, "nothing of a run that ignored its constraint is used"
    else:
        assert outputs["verdict"]["participation"] > 3
        assert set(outputs) == {"verdict", "relaxation", "structure"}, "what it reached is kept"


def test_bad_choices_are_refused_with_a_remedy(standin):
    def message(seed, material=None, without=None):
        with pytest.raises(ValueError) as error:
            builder = SeedWorkChain.get_builder_from_protocol(
                standin, material="tio2", overrides={"seed": seed, "material": material or {}}
            )
            if without:
                builder.vasp.potential.pop(without)
            instantiate_process(get_manager().get_runner(), SeedWorkChain, **builder._inputs(prune=True))
        return str(error.value)

    substitution = {"localisation": "substitution"}
    assert "localisation = 'distorsion': did you mean 'distortion'?" in message({"localisation": "distorsion"})
    assert "distortion = 0.6: give 0 to 0.3 of the bond" in message({"distortion": 0.6})
    assert "rattle = -1: give 0 to 0.3 Angstrom" in message({"rattle": -1.0})
    assert "substitute is missing" in message(substitution, {"substitute": None})
    assert "substitute = 'Vv': no chemical symbol" in message(substitution, {"substitute": "Vv"})
    assert "substitute = 'O': the structure has that already" in message(substitution, {"substitute": "O"})
    assert "no POTCAR 'Nb' for kind 'Nb'" in message(substitution, {"substitute": "Nb"})
    assert "no entry for the substitute 'F'" in message(substitution, {"substitute": "F"})
    assert "add vasp.potential.V" in message(substitution, without="V")
    wrong = {"carrier": {"formal_charges": {"V": 4}}}
    assert "with V on the site" in message(substitution | {"incar": {"nelect": 705}}, wrong)


def test_distortion_and_rattle(mgo):
    """Six neighbours go outward by the fraction asked, every atom by the rattle, the same for the same seed."""
    make = lambda amount, rattle, seed: distort_around(  # noqa: E731
        mgo.structure, mgo.carrier, orm.List([40]), orm.Float(amount), orm.Float(rattle), orm.Int(seed)
    ).get_ase()
    host = mgo.structure.get_ase()
    near, vectors = neighbours(host, 40)
    moved = make(0.05, 0.0, 1).positions - host.positions
    assert sorted(np.flatnonzero(np.abs(moved).max(axis=1) > 1e-9)) == sorted(near) and len(near) == 6
    assert np.allclose(moved[near], 0.05 * vectors)
    rattled = make(0.0, 0.02, 1).positions - host.positions
    assert rattled.std() == pytest.approx(0.02, rel=0.15)
    assert np.allclose(host.get_masses() @ rattled, 0.0)
    assert np.array_equal(make(0.0, 0.02, 1).positions, make(0.0, 0.02, 1).positions)
    assert not np.array_equal(make(0.0, 0.02, 1).positions, make(0.0, 0.02, 2).positions)


def test_neighbours_move_away_from_a_carrier_of_the_other_sign():
    charges = {"formal_charges": {"Ti": 4, "O": -2}}
    assert outward({"kind": "electron", **charges}, "Ti") == outward({"kind": "hole", **charges}, "O") == 1
    assert outward({"kind": "hole", **charges}, "Ti") == outward({"kind": "electron", **charges}, "O") == -1
    assert outward({"kind": "hole"}, "O") == 1


def test_a_substitute_is_put_back_where_it_was(standin):
    """Impurities stand last; their cell is neutral; the host comes back with every atom in its place."""
    shared = study(standin, material_name="tio2", level="fast")
    changed = substitute_on(shared.structure, shared.carrier, orm.List([9, 3]), orm.Str("V"))
    impure, host = changed["structure"].get_ase(), shared.structure.get_ase()
    assert impure.get_chemical_symbols()[-2:] == ["V", "V"]
    assert np.allclose(impure.positions[-2:], host.positions[[3, 9]])
    assert changed["carrier"]["formal_charges"]["V"] == 5 and "V" in changed["carrier"]["species"]
    back = restore_host(changed["structure"], shared.structure, orm.List([9, 3])).get_ase()
    assert back.get_chemical_symbols() == host.get_chemical_symbols()
    assert np.allclose(back.positions, host.positions)


@pytest.mark.parametrize(
    ("moments", "cell_moment", "outcome"),
    [
        ({4: 0.7}, 1.0, "verified"),
        ({4: 0.7}, None, "verified"),
        ({5: 0.7}, 1.0, "moved"),
        ({4: 0.4, 5: 0.35}, 1.0, "delocalised"),
        ({4: 0.7}, 3.0, "other_spin"),
    ],
)
def test_a_relaxed_carrier_is_judged_by_moments(make_frames, moments, cell_moment, outcome):
    values = np.zeros(8)
    for site, moment in moments.items():
        values[site] = moment
    (frame,) = make_frames(1, moments=values)
    found = judge_released(frame, frame.to_atoms(), cell_moment, [4], ["O"])
    assert found.outcome == outcome and found.bonds[0]["mean_change"] == pytest.approx(0.0, abs=1e-12)
