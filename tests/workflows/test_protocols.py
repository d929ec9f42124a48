"""Protocols: levels differ, overrides are merged, what has no place is refused with the nearest name."""

import numpy as np
import pytest
from aiida import orm

from leopold_model.vasp.poscar import blocks
from leopold_workflows.protocols import FOLDER, ProtocolError, material, protocol
from leopold_workflows.vasp.study import study, supercell

OURS = ("vasp", "seed", "fpmd", "label")


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("level", ["fast", "balanced", "stringent", None])
def test_every_level_exists(name, level):
    assert protocol(name, level)


@pytest.mark.parametrize("name", ["vasp", "train", "explore", "transport", "barrier"])
def test_options_are_whole_whatever_is_laid_over_them(name):
    """A builder refuses options without resources, also where only a queue is asked for."""
    options = protocol(name, "fast", {"options": {"queue_name": "gpu"}})["options"]
    assert options["queue_name"] == "gpu" and options["resources"]["num_machines"] == 1


def test_overrides_are_merged_and_unknown_keys_refused():
    assert protocol("seed", "fast", {"stride": 7})["stride"] == 7
    assert protocol("vasp", "fast", {"incar": {"nelm": 99}})["incar"]["nelm"] == 99
    with pytest.raises(ProtocolError, match=r"'strid': did you mean 'stride'\?"):
        protocol("seed", "fast", {"strid": 7})
    with pytest.raises(ProtocolError, match=r"'balancd'.*'balanced'"):
        protocol("seed", "balancd")
    with pytest.raises(ProtocolError, match=r"tio: did you mean 'tio2'"):
        material("tio")
    assert material("tio2", {"incar": {"system": "rutile"}, "rows": None})["incar"] == {"system": "rutile"}


@pytest.mark.parametrize("name", sorted(p.stem for p in (FOLDER / "materials").glob("*.yaml")))
def test_materials_are_whole(name):
    recipe = material(name)
    cell = supercell(recipe["lattice"])
    symbols = cell.get_chemical_symbols()
    charges = recipe["carrier"]["formal_charges"]
    assert sum(charges[s] for s in symbols) == 0, "the perfect crystal is a closed shell"
    assert set(recipe["carrier"]["species"]) <= set(symbols) & set(recipe["hubbard"])
    assert set(symbols) <= set(recipe["potentials"])
    order = [symbol for symbol, _ in blocks(symbols)]
    assert len(order) == len(set(order)), "sites of one species stand together"
    distances = cell.get_all_distances(mic=True)[np.triu_indices(len(cell), 1)]
    assert distances.min() > 1.5


def test_the_crystals_are_those_of_the_standin():
    from leopold_model.standin.crystals import ideal_cell

    for name in ("mgo", "tio2", "anatase"):
        lattice = material(name)["lattice"]
        ours, theirs = supercell(lattice), ideal_cell(name, lattice["repeat"])
        assert ours.get_chemical_symbols() == theirs.get_chemical_symbols()
        np.testing.assert_allclose(ours.cell.array, theirs.cell.array, atol=1e-10)
        first = np.sort(ours.get_all_distances(mic=True), axis=1)
        second = np.sort(theirs.get_all_distances(mic=True), axis=1)
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_a_material_has_a_say_in_the_incar_between_protocol_and_overrides(standin):
    """Its tags are laid over those of the protocol, and those of a study over both."""

    def tags(**overrides):
        recipe = {"incar": {"encut": 450, "system": "a crystal"}}
        return study(standin, material_name="mgo", overrides={"material": recipe, **overrides}).vasp["parameters"]

    assert tags().get_dict() == {"encut": 450, "prec": "Normal", "system": "a crystal"}
    assert tags(vasp={"incar": {"encut": 520}})["encut"] == 520


def test_vasp_itself_needs_a_family(aiida_code_installed, aiida_localhost):
    code = aiida_code_installed(
        default_calc_job_plugin="leopold.vasp", computer=aiida_localhost, label="vasp", filepath_executable="/bin/true"
    )
    with pytest.raises(ProtocolError, match="potential_family is missing"):
        study(code, material_name="mgo")


def test_builders_take_overrides(standin):
    from leopold_workflows.workchains.seed import SeedWorkChain

    builder = SeedWorkChain.get_builder_from_protocol(
        standin,
        material="mgo",
        protocol="fast",
        overrides={"seed": {"sites": [40]}, "fpmd": {"steps": 11}, "material": {"temperatures": [500]}},
    )
    assert builder.sites.get_list() == [40] and builder.steps.value == 11
    assert builder.temperatures.get_list() == [500.0]
    with pytest.raises(ProtocolError, match=r"'sede': did you mean 'seed'"):
        SeedWorkChain.get_builder_from_protocol(standin, material="mgo", overrides={"sede": {}})


def test_a_reducer_is_a_code_on_the_computer_of_vasp(standin, aiida_localhost):
    def vasp(reducer):
        return study(standin, material_name="mgo", overrides={"vasp": {"reducer": reducer}}).vasp

    here = orm.InstalledCode(label="reduces", computer=aiida_localhost, filepath_executable="/bin/true").store()
    assert "reducer" not in vasp(None) and vasp("reduces@localhost")["reducer"].uuid == here.uuid
    with pytest.raises(ProtocolError, match=r"reducer = 'reduce@localhost': no such code; `verdi code list`"):
        vasp("reduce@localhost")
    other = orm.Computer("gpu", "gpu.invalid", transport_type="core.local", scheduler_type="core.direct").store()
    orm.InstalledCode(label="reduces", computer=other, filepath_executable="/bin/true").store()
    with pytest.raises(ProtocolError, match="reducer = 'reduces@gpu' is on gpu, but VASP on localhost"):
        vasp("reduces@gpu")


def test_atoms_that_a_material_fixes_stay_for_vasp_and_in_learned_dynamics(standin, leopold_code):
    from leopold_workflows.workchains.dynamics import PolaronDynamicsWorkChain

    def build(fixed):
        return PolaronDynamicsWorkChain.get_builder_from_protocol(
            standin, leopold_code, material="mgo", protocol="fast", overrides={"material": {"fixed": fixed}}
        )

    builder = build([3, 40])
    for vasp in (builder.seed.vasp, builder.learn.label.vasp):
        free = np.array(vasp.dynamics["positions_dof"])
        assert free.shape == (64, 3) and np.flatnonzero(~free.any(axis=1)).tolist() == [3, 40]
    for stage in (builder.learn.explore, builder.transport):
        assert stage.dynamics.md.parameters["fixed"] == [3, 40]
    with pytest.raises(ValueError, match="atom 64, but the supercell has atoms 0 to 63"):
        build([64])
    with pytest.raises(ValueError, match="fixed: a vacancy takes an atom out"):
        material("tio2_vo", {"fixed": [1]})
