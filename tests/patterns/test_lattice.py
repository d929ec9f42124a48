"""The parents of configurations: sites, symmetry, the shipped lattices, and what a wrong file is told."""

import numpy as np
import pytest
import yaml
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor

from leopold_model.patterns import PatternError
from leopold_model.patterns.lattice import Species, lattice_from_structure
from leopold_model.patterns.lattice_file import SHIPPED, lattice_from_text, load_lattice, shipped

POLARON = Species("polaron", "carrier", -1, moment=1.0)
HOLE = Species("hole", "carrier", 1, moment=-1.0)
LI = Species("Li", "dopant", -1, element="Li")


def edited(name, **changes) -> str:
    return yaml.safe_dump(yaml.safe_load((SHIPPED / f"{name}.yaml").read_text()) | changes, sort_keys=False)


@pytest.mark.parametrize(
    ("name", "order", "groups"),
    [
        ("tio2_110", 4, {"S0A": "mm2", "S1A": "mm2", "Obr": "mm2"}),  # layer group p2mm
        ("srtio3_001", 8, {"S0": "4mm", "S1": "4mm"}),
        ("rutile_f", 16, {"Ti": "mmm", "O": "mm2"}),
    ],
)
def test_shipped_lattices_have_the_symmetry_of_their_crystal(name, order, groups):
    lattice = load_lattice(name).lattice
    assert len(lattice.operations) == order
    assert dict(zip(lattice.site_labels, lattice.site_symmetry, strict=True)) == groups


def test_the_surface_is_that_of_the_rutile_110_literature():
    """Ti5c bare above, subsurface Ti half a row vector along [001] below it, bridging O in the other row."""
    lattice = load_lattice("tio2_110").lattice
    np.testing.assert_allclose(lattice.site_positions[:, :2], [[0, 0], [0.5, 0], [0, 0.5]], atol=1e-6)
    positions = lattice.positions @ lattice.cell
    assert len(positions) == 30
    ti, sub, bridge = lattice.site_atoms
    assert positions[bridge, 2] == positions[:, 2].max()
    np.testing.assert_allclose(positions[ti, 2] - positions[sub, 2], 4.650 / np.sqrt(2), atol=1e-3)
    oxygen = lattice.numbers == 8
    shifts = np.array([[i, j, 0] for i in (-1, 0, 1) for j in (-1, 0, 1)]) @ lattice.cell
    images = (positions[oxygen][None] + shifts[:, None]).reshape(-1, 3)
    neighbours = [np.sum(np.linalg.norm(images - positions[t], axis=1) < 2.2) for t in (ti, 1, sub)]
    assert neighbours == [5, 6, 6]


def test_every_operation_maps_the_atoms_onto_themselves():
    for name in shipped():
        lattice = load_lattice(name).lattice
        for operation in lattice.operations:
            moved = lattice.site_positions @ operation.rotation.T
            reached = lattice.site_positions[operation.to] + operation.shift
            translation = reached - moved
            np.testing.assert_allclose(translation, translation[0] * np.ones_like(translation), atol=2e-5)


def test_a_lattice_from_ase_and_from_pymatgen_is_the_same():
    mgo = bulk("MgO", "rocksalt", a=4.212)
    arguments = ([HOLE, LI], {"O": [1], "Mg": [0]}, {"O": ["hole"], "Mg": ["Li"]})
    ours = lattice_from_structure(mgo, *arguments)
    theirs = lattice_from_structure(AseAtomsAdaptor.get_structure(mgo), *arguments)
    assert len(ours.operations) == len(theirs.operations) == 48
    np.testing.assert_allclose(ours.site_positions, theirs.site_positions)
    assert ours.site_table[0] == {
        "site": 0, "label": "O", "position": [0.5, 0.5, 0.5], "host": "O", "species": ["hole"], "point_group": "m-3m"
    }  # fmt: skip


def test_a_structure_file_beside_the_yaml_is_kept_in_the_text(tmp_path):
    mgo = bulk("MgO", "rocksalt", a=4.212)
    mgo.write(tmp_path / "POSCAR", format="vasp")
    text = """
    {kind: lattice, name: mgo, pbc: [true, true, true], structure: {file: POSCAR},
     species: {hole: {kind: carrier, charge: 1, moment: -1.0}}, sites: {O: {atoms: [1], species: [hole]}}}"""
    (tmp_path / "mgo.yaml").write_text(text)
    found = load_lattice(tmp_path / "mgo.yaml")
    again = lattice_from_text(found.text)  # stands alone
    assert len(again.lattice.operations) == len(found.lattice.operations) == 48


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sites": {"S0A": {"atoms": [0], "species": ["polarn"]}}}, "'polarn' is not among polaron, VO"),
        ({"sites": {"S0A": {"atoms": [99], "species": ["polaron"]}}}, "the cell has atoms 0 to 29"),
        ({"sites": {"S0A": {"species": ["polaron"]}}}, "give either atoms or positions"),
        ({"sites": {"A": {"atoms": [0], "species": ["VO"]}, "B": {"atoms": [0], "species": ["VO"]}}}, "two labels"),
        ({"species": {"polaron": {"kind": "carrier", "charge": -1}}}, "a carrier has both"),
        ({"species": {"F": {"kind": "dopant", "charge": 1}}}, "needs an element symbol"),
        ({"specis": {}}, "did you mean 'species'"),
        ({"structure": {"file": "nowhere.vasp"}}, "nowhere.vasp"),
    ],
)
def test_a_wrong_file_is_refused_with_field_and_remedy(changes, message):
    with pytest.raises(PatternError, match=message):
        lattice_from_text(edited("tio2_110", **changes))


def test_an_unknown_lattice_names_those_there_are():
    with pytest.raises(PatternError, match="rutile_f, srtio3_001, tio2_110"):
        load_lattice("anatase")
