"""What a VASP job is given: files in the order of the sites, and bad input named before submission."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.common.folders import SandboxFolder
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from ase.io import read

from leopold_model.vasp.occmatrix import read_occmatrix
from leopold_model.vasp.poscar import read_magmom, read_poscar
from leopold_workflows.vasp import adapter
from leopold_workflows.vasp.calculation import LeopoldVaspCalculation


@pytest.fixture
def prepare():
    """Files and CalcInfo of a job that is not run: `prepare(inputs, folder)`."""

    def run(inputs, folder):
        inputs.metadata.options.resources = {"num_machines": 1}
        process = instantiate_process(get_manager().get_runner(), LeopoldVaspCalculation, **inputs)
        return process.prepare_for_submission(folder)

    return run


def message(inputs) -> str:
    """What the launch of these inputs is refused with."""
    with pytest.raises(ValueError) as error:
        instantiate_process(get_manager().get_runner(), LeopoldVaspCalculation, **inputs)
    return str(error.value)


def with_tags(inputs, **tags):
    """The inputs with INCAR tags changed; None removes one."""
    parameters = inputs.parameters.get_dict() | tags
    inputs.parameters = orm.Dict({k: v for k, v in parameters.items() if v is not None})
    return inputs


def test_files_of_a_run(prepare, vasp_inputs, mgo):
    with SandboxFolder() as folder:
        calcinfo = prepare(vasp_inputs("md", incar={"nsw": 5}), folder)
        incar = Path(folder.get_abs_path("INCAR")).read_text()
        atoms, velocities = read_poscar(folder.get_abs_path("POSCAR"))
        potcar = Path(folder.get_abs_path("POTCAR")).read_text()
        assert set(folder.get_content_list()) == {"INCAR", "KPOINTS", "POSCAR", "POTCAR"}
    assert re.search(r"NELECT\s*=\s*447", incar), "32 Mg (8) + 32 O (6) less one electron"
    assert read_magmom(re.search(r"MAGMOM\s*=\s*(.*)", incar).group(1)) == [float(i == 32) for i in range(64)]
    assert re.search(r"LDAUL\s*=\s*-1 1", incar) and re.search(r"LDAUU\s*=\s*0.0 10.0", incar)
    assert atoms.get_chemical_symbols() == ["Mg"] * 32 + ["O"] * 32 and velocities is None
    np.testing.assert_allclose(atoms.positions, mgo.structure.get_ase().positions, atol=1e-12)
    assert re.findall(r"TITEL  = PAW_PBE (\w+)", potcar) == ["Mg_pv", "O"]
    assert "POTCAR" in calcinfo.provenance_exclude_list, "licensed files never enter the repository"
    assert sorted(calcinfo.retrieve_list) == ["CONTCAR", "vasp_output"]
    assert "OUTCAR" in calcinfo.retrieve_temporary_list, "dynamics: read, not stored"


def test_what_a_single_point_keeps(prepare, vasp_inputs):
    with SandboxFolder() as folder:
        calcinfo = prepare(vasp_inputs("static"), folder)
    assert sorted(calcinfo.retrieve_list) == ["CONTCAR", "OUTCAR", "vasp_output"]


def test_velocities_keep_every_digit(prepare, vasp_inputs, mgo):
    velocities = np.random.default_rng(0).normal(size=(64, 3)) * 1e-2
    node = orm.ArrayData({"velocities": velocities})
    with SandboxFolder() as folder:
        prepare(vasp_inputs("md", incar={"nsw": 5}, velocities=node), folder)
        _, back = read_poscar(folder.get_abs_path("POSCAR"))
        atoms = read(folder.get_abs_path("POSCAR"), format="vasp")
    np.testing.assert_allclose(back, velocities, rtol=1e-15)
    assert len(atoms) == 64


def test_occupations_go_to_the_site_that_was_named(prepare, vasp_inputs, mgo, tmp_path):
    from leopold_workflows.calculations.functions_vasp import occupation_matrix

    node = occupation_matrix(mgo.structure, mgo.carrier, mgo.vasp["hubbard"], orm.List([40]))
    with SandboxFolder() as folder:
        calcinfo = prepare(vasp_inputs("static", occmatrix=node, sites=(40,)), folder)
        assert "OCCEXT" in Path(folder.get_abs_path("INCAR")).read_text()
    assert (node.uuid, node.filename, "OCCMATRIX") in calcinfo.local_copy_list
    (tmp_path / "OCCMATRIX").write_bytes(node.content)
    ((atom, (shell, up, down)),) = read_occmatrix(tmp_path / "OCCMATRIX").items()
    assert (atom, shell) == (40, 1)
    assert np.trace(up) - np.trace(down) == pytest.approx(1.0), "one hole: one unpaired electron, majority up"


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"ispin": 1}, ("ISPIN = 1", "set ISPIN = 2")),
        ({"lorbit": 0}, ("LORBIT = 0", "set LORBIT = 11")),
        ({"lorbit": None}, ("LORBIT = 0", "set LORBIT = 11")),
        ({"nelect": 448.0}, ("NELECT = 448", "no carrier", "447")),
        ({"nelect": None}, ("NELECT is absent", "no carrier", "447")),
        ({"nelect": 446.0}, ("NELECT = 446", "447")),
        ({"magmom": "31*0 1"}, ("MAGMOM has 32 values for 64", "per site")),
        ({"occext": 1}, ("OCCEXT = 1", "`occmatrix`")),
        ({"lorbti": 11}, ("LORBTI", "LORBIT")),
        ({"isym": 2}, ("ISYM = 2", "set ISYM = 0")),
    ],
)
def test_bad_tags_are_named_with_value_and_remedy(vasp_inputs, tags, words):
    said = message(with_tags(vasp_inputs("static"), **tags))
    for word in words:
        assert word in said


def test_an_occupation_matrix_needs_its_tag(vasp_inputs):
    inputs = vasp_inputs("static")
    inputs.occmatrix = orm.SinglefileData(io.StringIO("1\n"), filename="OCCMATRIX")
    assert "OCCEXT = 1" in message(inputs)


def test_a_missing_potcar_is_named_by_kind(vasp_inputs):
    inputs = vasp_inputs("static")
    inputs.potential = {"Mg": inputs.potential["Mg"]}
    said = message(inputs)
    assert "kind 'O'" in said and "potential.O" in said


def test_a_potcar_absent_from_the_family_is_named_by_kind(mgo):
    with pytest.raises(ValueError, match=r"'Mg_sv' for kind 'Mg' in family 'leopold-standin'"):
        adapter.potentials(["Mg", "O"], "leopold-standin", {"Mg": "Mg_sv"})


def test_a_potcar_known_by_name_only_is_told_apart(vasp_inputs, monkeypatch):
    """What an imported archive leaves: the node of the potential without its licensed file."""
    from aiida.common.exceptions import NotExistent
    from aiida_vasp.data.potcar import PotcarFileData

    def absent(**_):
        raise NotExistent

    inputs = vasp_inputs("static")
    monkeypatch.setattr(PotcarFileData, "find_one", absent)
    adapter._valence.cache_clear()
    assert "only its name" in message(inputs)


def test_interleaved_kinds_are_refused(vasp_inputs, mgo):
    atoms = mgo.structure.get_ase()
    mixed = orm.StructureData(ase=atoms[[0, 32, *range(1, 32), *range(33, 64)]])
    inputs = vasp_inputs("static")
    inputs.structure = mixed
    assert "blocks Mg O Mg O" in message(inputs)


def test_a_carrier_without_its_species_is_refused(vasp_inputs, mgo):
    inputs = vasp_inputs("static")
    inputs.carrier = orm.Dict(mgo.carrier.get_dict() | {"species": ["Ti"]})
    said = message(inputs)
    assert "['Ti']" in said and "['Mg', 'O']" in said


def test_a_dopant_brings_its_carrier_along(standin):
    """One F for O in TiO2: the neutral cell already has the electron, so NELECT is the neutral count."""
    from leopold_workflows.vasp.study import study

    pure = study(standin, material_name="tio2", level="fast")
    atoms = pure.structure.get_ase()
    atoms.symbols[-1] = "F"
    doped = study(standin, material_name="tio2", level="fast", structure=orm.StructureData(ase=atoms))
    cell = adapter.cell_of(doped.structure, doped.vasp["potential"], doped.carrier.get_dict())
    assert cell.nelect == 32 * 10 + 63 * 6 + 7
    inputs = adapter.job_inputs(doped.vasp, doped.structure, doped.carrier, stage="static", sites=[0], run="x")
    assert inputs.parameters["nelect"] == cell.nelect and inputs.parameters["ldaul"] == [2, -1, -1]


def test_settings_hash_tells_levels_of_theory_apart(vasp_inputs):
    def hash_of(mesh=(1, 1, 1), **tags):
        inputs = with_tags(vasp_inputs("static"), **tags)
        inputs.kpoints = orm.KpointsData()
        inputs.kpoints.set_kpoints_mesh(mesh)
        return adapter.settings_hash(inputs.structure, inputs.parameters.get_dict(), inputs.potential, inputs.kpoints)

    reference = hash_of()
    assert hash_of(nsw=50, ibrion=2, algo="All", ediff=1e-8, magmom=None) == reference
    assert hash_of(encut=400.0) == reference
    assert hash_of(ldauu=[0.0, 9.0]) != reference
    assert hash_of(encut=500) != reference
    assert hash_of(prec="Accurate") != reference
    assert hash_of(ldauj=[0.0, 1.0]) != reference
    assert hash_of(ldaul=[-1, 2]) != reference
    assert hash_of(lmaxmix=6) != reference
    assert hash_of(mesh=(2, 2, 2)) != reference
    # one setting has many spellings, its absence among them
    assert hash_of(prec=None) == hash_of(prec="N") == hash_of(prec="normal") == reference
    assert hash_of(lasph=".TRUE.") == hash_of(lasph="T") == reference != hash_of(lasph=None)
    assert hash_of(addgrid=False, ivdw=0) == reference
    assert hash_of(ldaul=[1, 1]) == reference, "a shell with U = 0 is printed, not corrected"


def test_settings_hash_holds_cell_and_potentials(vasp_inputs, mgo):
    inputs = vasp_inputs("static")

    def hash_of(structure, potential=inputs.potential):
        return adapter.settings_hash(structure, inputs.parameters.get_dict(), potential, inputs.kpoints)

    atoms = mgo.structure.get_ase()
    reference = hash_of(mgo.structure)
    atoms.rattle(0.1)
    assert hash_of(orm.StructureData(ase=atoms)) == reference
    atoms.set_cell(1.01 * atoms.cell.array)
    assert hash_of(orm.StructureData(ase=atoms)) != reference
    swapped = {"Mg": inputs.potential["Mg"], "O": inputs.potential["Mg"]}
    assert hash_of(mgo.structure, swapped) != reference
    assert adapter.stage_settings(mgo.vasp, mgo.structure, mgo.carrier, "md") == reference
