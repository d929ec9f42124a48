"""Structure files of others: what ASE reads, and the supercell of phonopy's YAML."""

import numpy as np
import pytest
import yaml
from ase.build import bulk, make_supercell
from ase.io import write
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.phonopy import get_structure_from_dict

from leopold_model.structures import StructureError, read_structure

UNIT = bulk("NiO", "rocksalt", a=4.17)


def section(atoms, length=1.0, moments=None) -> dict:
    """A cell as phonopy writes it, lengths in units of `length` Angstrom."""
    rows = zip(atoms.get_chemical_symbols(), atoms.get_scaled_positions().tolist(), atoms.get_masses(), strict=True)
    points = [{"symbol": s, "coordinates": x, "mass": float(m)} for s, x, m in rows]
    for point, moment in zip(points, moments or [], strict=False):
        point["magnetic_moment"] = moment
    return {"lattice": (atoms.cell.array / length).tolist(), "points": points}


@pytest.mark.parametrize(("unit", "length"), [("angstrom", 1.0), ("au", 0.529177210903)])
def test_the_supercell_of_phonopy_is_that_of_pymatgen(tmp_path, unit, length):
    large = make_supercell(UNIT, 2 * np.ones((3, 3)) - 3 * np.eye(3))
    moments = [float(2 * (k % 2)) for k in range(len(large))]
    document = {
        "phonopy": {"version": "2.40.0"},
        "physical_unit": {"atomic_mass": "AMU", "length": unit},
        "primitive_cell": section(UNIT, length),
        "unit_cell": section(UNIT, length),
        "supercell": section(large, length, moments),
        "displacements": [{"atom": 1, "displacement": [0.01, 0.0, 0.0]}],
    }
    path = tmp_path / "phonopy_disp.yaml"
    path.write_text(yaml.safe_dump(document))
    found = read_structure(path)
    theirs = AseAtomsAdaptor.get_atoms(get_structure_from_dict(section(large)))
    assert (found.numbers == theirs.numbers).all() and found.pbc.all()
    assert np.allclose(found.cell, theirs.cell, atol=1e-8) and np.allclose(found.positions, theirs.positions, atol=1e-8)
    assert found.get_initial_magnetic_moments().tolist() == moments
    del document["supercell"]
    path.write_text(yaml.safe_dump(document))
    assert len(read_structure(path)) == 2


def test_what_ase_reads_is_read(tmp_path):
    for name in ("POSCAR", "nio.cif", "nio.xyz"):
        write(tmp_path / name, UNIT, direct=True) if name == "POSCAR" else write(tmp_path / name, UNIT)
        assert sorted(read_structure(tmp_path / name).numbers) == [8, 28]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("material: mgo\n", "no supercell or unit_cell or primitive_cell with `lattice`"),
        ("unit_cell: {lattice: 3}\n", "no supercell"),
        (
            "unit_cell: {lattice: [], points: []}\nphysical_unit: {length: nm}\n",
            "'nm': known are angstrom, au",
        ),
        ("[]\n", "no supercell"),
        ("unit_cell: [\n", "not valid YAML"),
        ("!!python/object/apply:os.system [exit 3]\n", "not valid YAML"),
        ("a: &a [1]\nb: &b [" + "*a, " * 2000 + "]\nc: [" + "*b, " * 2000 + "]\n", "unfold"),
        ("unit_cell: {lattice: 3, points: [{symbol: Xx, coordinates: [0, 0, 0]}]}\n", "not a readable structure file"),
    ],
)
def test_a_file_without_a_structure_is_named_with_what_it_lacks(tmp_path, text, message):
    path = tmp_path / "phonopy.yaml"
    path.write_text(text)
    with pytest.raises(StructureError, match=message) as caught:
        read_structure(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StructureError, match=r"none\.cif: not a readable structure file"):
        read_structure(tmp_path / "none.cif")
